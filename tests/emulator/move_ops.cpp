// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Moves between vector registers, memory and general-purpose registers; broadcasts.

#include "tests/emulator/scalar.h"
#include "tests/emulator/vector.h"

namespace zenwoq::emulator {
namespace {

void copy(const Op&, const Sources& s, Vec& out) { out = *s.a; }

void run_load(Cpu& cpu, const Op& op) {
  const std::size_t bytes = op.operand[0].bytes;
  const std::uint64_t address = address_of(cpu, op);
  Vec& target = cpu.zmm[op.operand[0].index];
  if (op.mask == 0) {
    std::memcpy(target.bytes, cpu.readable(address, bytes), bytes);
  } else {
    const std::uint64_t active = active_bytes(cpu, op, bytes);
    cpu.check_active(address, active, false);
    if (cpu.stop) return;
    if (op.zeroing) target = kZeroVec;
    copy_active(target.bytes, reinterpret_cast<const std::uint8_t*>(address), active);
  }
  finish_register(cpu, op.operand[0].index, bytes);
}

void run_store(Cpu& cpu, const Op& op) {
  const std::size_t bytes = op.operand[0].bytes;
  const std::uint64_t address = address_of(cpu, op);
  const Vec& value = cpu.zmm[op.operand[1].index];
  if (op.mask == 0) {
    std::memcpy(cpu.writable(address, bytes), value.bytes, bytes);
    return;
  }
  const std::uint64_t active = active_bytes(cpu, op, bytes);
  cpu.check_active(address, active, true);
  if (!cpu.stop) copy_active(reinterpret_cast<std::uint8_t*>(address), value.bytes, active);
}

template <Handler inner>
void run_aligned(Cpu& cpu, const Op& op) {
  const std::size_t memory = op.operand[0].kind == Kind::memory ? 0 : 1;
  cpu.check_aligned(address_of(cpu, op), op.operand[memory].bytes);
  if (!cpu.stop) inner(cpu, op);
}

template <bool Aligned>
bool bind_move(Op& op, const Entry& entry) {
  op.compute = copy;
  op.element = entry.element;
  if (op.operand[0].kind == Kind::memory) {
    op.run = Aligned ? run_aligned<run_store> : run_store;
  } else if (op.operand[1].kind == Kind::memory) {
    op.run = Aligned ? run_aligned<run_load> : run_load;
  } else {
    op.run = run_vector;
  }
  return true;
}

Entry unaligned(ZydisMnemonic mnemonic, std::uint8_t element) {
  return {mnemonic, bind_move<false>, nullptr, nullptr, element};
}

Entry aligned(ZydisMnemonic mnemonic, std::uint8_t element) {
  return {mnemonic, bind_move<true>, nullptr, nullptr, element};
}

// vmovd, vmovq: Bytes low bytes from anywhere to anywhere, the rest of a register becomes zero.
template <std::size_t Bytes>
void run_move_low(Cpu& cpu, const Op& op) {
  Vec temporary;
  Vec out = kZeroVec;
  std::memcpy(out.bytes, fetch(cpu, op, 1, temporary).bytes, Bytes);
  const Operand& destination = op.operand[0];
  if (destination.kind == Kind::vector) {
    write_register(cpu, destination.index, 16, out);
  } else if (destination.kind == Kind::gpr) {
    cpu.gpr[destination.index] = lane<std::uint64_t>(out, 0);
  } else {
    std::memcpy(cpu.writable(address_of(cpu, op), Bytes), out.bytes, Bytes);
  }
}

// vmovss, vmovsd between registers: the first source with element 0 of the second.
void low_of_second(const Op&, const Sources& s, Vec& out) { out = *s.b; }

// A load of one element: bytes above it become zero, an inactive element is not read.
void run_load_scalar(Cpu& cpu, const Op& op) {
  const bool active = op.mask == 0 || (cpu.k[op.mask] & 1) != 0;
  Vec out = kZeroVec;
  if (active) {
    std::memcpy(out.bytes, cpu.readable(address_of(cpu, op), op.element), op.element);
  } else if (!op.zeroing) {
    std::memcpy(out.bytes, cpu.zmm[op.operand[0].index].bytes, op.element);
  }
  write_register(cpu, op.operand[0].index, 16, out);
}

void run_store_scalar(Cpu& cpu, const Op& op) {
  if (op.mask != 0 && (cpu.k[op.mask] & 1) == 0) return;
  const Vec& value = cpu.zmm[op.operand[1].index];
  std::memcpy(cpu.writable(address_of(cpu, op), op.element), value.bytes, op.element);
}

bool bind_move_scalar(Op& op, const Entry& entry) {
  op.element = entry.element;
  op.compute = low_of_second;
  if (op.operand[0].kind == Kind::memory)
    op.run = run_store_scalar;
  else
    op.run = op.operand[1].kind == Kind::memory ? run_load_scalar : run_low_element;
  return true;
}

// The low sizeof(Block) bytes of the source everywhere.
template <std::size_t Bytes>
void broadcast(const Op&, const Sources& s, Vec& out) {
  for (std::size_t at = 0; at < sizeof(Vec); at += Bytes) {
    std::memcpy(out.bytes + at, s.a->bytes, Bytes);
  }
}

template <class T>
void mask_to_lanes(const Op&, const Sources& s, Vec& out) {
  const auto bits = lane<std::uint64_t>(*s.a, 0);
  for (std::size_t i = 0; i < kLanes<T>; ++i) {
    set_lane<T>(out, i, (bits >> i & 1) != 0 ? static_cast<T>(~T{0}) : T{0});
  }
}

template <class T>
void insert_scalar(const Op& op, const Sources& s, Vec& out) {
  out = *s.a;
  set_lane<T>(out, op.immediate & (16 / sizeof(T) - 1), lane<T>(*s.b, 0));
}

template <class T>
void run_extract_scalar(Cpu& cpu, const Op& op) {
  const Vec& source = cpu.zmm[op.operand[1].index];
  const T value = lane<T>(source, op.immediate & (16 / sizeof(T) - 1));
  if (op.operand[0].kind == Kind::gpr) {
    cpu.gpr[op.operand[0].index] = value;
  } else {
    std::memcpy(cpu.writable(address_of(cpu, op), sizeof value), &value, sizeof value);
  }
}

template <class T>
void run_top_bits(Cpu& cpu, const Op& op) {
  const Vec& source = cpu.zmm[op.operand[1].index];
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < active_lanes<T>(op); ++i) {
    bits |= static_cast<std::uint64_t>(lane<T>(source, i) >> (8 * sizeof(T) - 1)) << i;
  }
  cpu.gpr[op.operand[0].index] = bits;
}

void append_broadcasts(std::vector<Entry>& table) {
  table.insert(table.end(), {
                                vector_entry(ZYDIS_MNEMONIC_VPBROADCASTB, 1, broadcast<1>),
                                vector_entry(ZYDIS_MNEMONIC_VPBROADCASTW, 2, broadcast<2>),
                                vector_entry(ZYDIS_MNEMONIC_VPBROADCASTD, 4, broadcast<4>),
                                vector_entry(ZYDIS_MNEMONIC_VPBROADCASTQ, 8, broadcast<8>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTSS, 4, broadcast<4>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTSD, 8, broadcast<8>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTF128, 4, broadcast<16>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTI128, 4, broadcast<16>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTF32X2, 4, broadcast<8>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTI32X2, 4, broadcast<8>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTF32X4, 4, broadcast<16>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTI32X4, 4, broadcast<16>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTF64X2, 8, broadcast<16>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTI64X2, 8, broadcast<16>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTF32X8, 4, broadcast<32>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTI32X8, 4, broadcast<32>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTF64X4, 8, broadcast<32>),
                                vector_entry(ZYDIS_MNEMONIC_VBROADCASTI64X4, 8, broadcast<32>),
                                vector_entry(ZYDIS_MNEMONIC_VPMOVM2B, 1, mask_to_lanes<std::uint8_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPMOVM2W, 2, mask_to_lanes<std::uint16_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPMOVM2D, 4, mask_to_lanes<std::uint32_t>),
                                vector_entry(ZYDIS_MNEMONIC_VPMOVM2Q, 8, mask_to_lanes<std::uint64_t>),
                                {ZYDIS_MNEMONIC_VPMOVB2M, bind_plain, run_to_mask, copy, 1},
                                {ZYDIS_MNEMONIC_VPMOVW2M, bind_plain, run_to_mask, copy, 2},
                                {ZYDIS_MNEMONIC_VPMOVD2M, bind_plain, run_to_mask, copy, 4},
                                {ZYDIS_MNEMONIC_VPMOVQ2M, bind_plain, run_to_mask, copy, 8},
                            });
}

}  // namespace

std::vector<Entry> move_table() {
  std::vector<Entry> table = {
      unaligned(ZYDIS_MNEMONIC_VMOVDQU, 1),
      unaligned(ZYDIS_MNEMONIC_VLDDQU, 1),
      unaligned(ZYDIS_MNEMONIC_VMOVDQU8, 1),
      unaligned(ZYDIS_MNEMONIC_VMOVDQU16, 2),
      unaligned(ZYDIS_MNEMONIC_VMOVDQU32, 4),
      unaligned(ZYDIS_MNEMONIC_VMOVDQU64, 8),
      unaligned(ZYDIS_MNEMONIC_VMOVUPS, 4),
      unaligned(ZYDIS_MNEMONIC_VMOVUPD, 8),
      aligned(ZYDIS_MNEMONIC_VMOVDQA, 1),
      aligned(ZYDIS_MNEMONIC_VMOVDQA32, 4),
      aligned(ZYDIS_MNEMONIC_VMOVDQA64, 8),
      aligned(ZYDIS_MNEMONIC_VMOVAPS, 4),
      aligned(ZYDIS_MNEMONIC_VMOVAPD, 8),
      aligned(ZYDIS_MNEMONIC_VMOVNTDQ, 1),
      aligned(ZYDIS_MNEMONIC_VMOVNTDQA, 1),
      aligned(ZYDIS_MNEMONIC_VMOVNTPS, 4),
      {ZYDIS_MNEMONIC_VMOVSS, bind_move_scalar, nullptr, nullptr, 4},
      {ZYDIS_MNEMONIC_VMOVSD, bind_move_scalar, nullptr, nullptr, 8},
      plain(ZYDIS_MNEMONIC_VMOVD, run_move_low<4>),
      plain(ZYDIS_MNEMONIC_VMOVQ, run_move_low<8>),
      vector_entry(ZYDIS_MNEMONIC_VPINSRB, 1, insert_scalar<std::uint8_t>),
      vector_entry(ZYDIS_MNEMONIC_VPINSRW, 2, insert_scalar<std::uint16_t>),
      vector_entry(ZYDIS_MNEMONIC_VPINSRD, 4, insert_scalar<std::uint32_t>),
      vector_entry(ZYDIS_MNEMONIC_VPINSRQ, 8, insert_scalar<std::uint64_t>),
      plain(ZYDIS_MNEMONIC_VPEXTRB, run_extract_scalar<std::uint8_t>),
      plain(ZYDIS_MNEMONIC_VPEXTRW, run_extract_scalar<std::uint16_t>),
      plain(ZYDIS_MNEMONIC_VPEXTRD, run_extract_scalar<std::uint32_t>),
      plain(ZYDIS_MNEMONIC_VPEXTRQ, run_extract_scalar<std::uint64_t>),
      plain(ZYDIS_MNEMONIC_VPMOVMSKB, run_top_bits<std::uint8_t>),
      plain(ZYDIS_MNEMONIC_VMOVMSKPS, run_top_bits<std::uint32_t>),
      plain(ZYDIS_MNEMONIC_VMOVMSKPD, run_top_bits<std::uint64_t>),
  };
  append_broadcasts(table);
  return table;
}

}  // namespace zenwoq::emulator
