// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Instructions on general-purpose and mask registers, the stack and MXCSR, branches, and those that do nothing.
#include <cstring>
#include <type_traits>

#include "tests/emulator/operation.h"

namespace zenwoq::emulator {
namespace {

template <class T>
T get(Cpu& cpu, const Op& op, std::size_t i) {
  const Operand& operand = op.operand[i];
  if (operand.kind == Kind::gpr) return static_cast<T>(cpu.gpr[operand.index]);
  if (operand.kind == Kind::immediate) return static_cast<T>(op.immediate);
  T value;
  std::memcpy(&value, cpu.readable(address_of(cpu, op), sizeof value), sizeof value);
  return value;
}

// A write of 32 bits clears the upper half of the register; one of 8 or 16 bits keeps the rest.
template <class T>
void put(Cpu& cpu, const Op& op, T value) {
  const Operand& operand = op.operand[0];
  if (operand.kind != Kind::gpr) {
    std::memcpy(cpu.writable(address_of(cpu, op), sizeof value), &value, sizeof value);
  } else if constexpr (sizeof(T) >= 4) {
    cpu.gpr[operand.index] = value;
  } else {
    std::memcpy(&cpu.gpr[operand.index], &value, sizeof value);
  }
}

// dst = f(cpu, op, operand kA, operand kB) for any width; without kStores only the flags are wanted.
template <class F, std::size_t kA, std::size_t kB, bool kStores>
struct Sized {
  template <class T>
  static void run(Cpu& cpu, const Op& op) {
    const T a = get<T>(cpu, op, kA);
    const auto result = static_cast<T>(F{}(cpu, op, a, get<T>(cpu, op, kB)));
    if (kStores) put<T>(cpu, op, result);
  }

  static bool bind(Op& op, const Entry&) {
    switch (op.operand[0].bytes) {
      case 1: op.run = run<std::uint8_t>; break;
      case 2: op.run = run<std::uint16_t>; break;
      case 4: op.run = run<std::uint32_t>; break;
      default: op.run = run<std::uint64_t>; break;
    }
    return true;
  }
};

template <std::size_t kA, std::size_t kB, bool kStores = true, class F>
Entry sized(ZydisMnemonic mnemonic, F) {
  return {mnemonic, Sized<F, kA, kB, kStores>::bind};
}

template <class T>
inline constexpr unsigned kBits = sizeof(T) * 8;

template <class T>
bool top_bit(T value) {
  return (value >> (kBits<T> - 1) & 1) != 0;
}

template <class T>
std::int64_t sign_extended(T value) {
  return static_cast<std::make_signed_t<T>>(value);
}

template <class T>
T logic(Flags& flags, T result, bool carry = false) {
  flags = {sign_extended(result), carry, false};
  return result;
}

template <class T>
T add(Flags& flags, T a, T b) {
  const T result = static_cast<T>(a + b);
  flags = {sign_extended(result), result < a, top_bit(static_cast<T>((a ^ result) & (b ^ result)))};
  return result;
}

template <class T>
T subtract(Flags& flags, T a, T b) {
  const T result = static_cast<T>(a - b);
  flags = {sign_extended(result), a < b, top_bit(static_cast<T>((a ^ b) & (a ^ result)))};
  return result;
}

// inc and dec leave CF alone.
template <class T>
T step(Flags& flags, T a, bool up) {
  const bool carry = flags.carry;
  const T result = up ? add<T>(flags, a, 1) : subtract<T>(flags, a, 1);
  flags.carry = carry;
  return result;
}

struct Multiply {
  template <class T>
  T operator()(Cpu& cpu, const Op&, T a, T b) const {
    std::make_signed_t<T> result;
    const bool lost = __builtin_mul_overflow(sign_extended(a), sign_extended(b), &result);
    cpu.flags = {result, lost, lost};
    return static_cast<T>(result);
  }
};

// The form with one operand writes rdx as well and is not supported.
bool bind_multiply(Op& op, const Entry& entry) {
  if (op.operand[1].kind == Kind::none) return false;
  if (op.operand[2].kind == Kind::none) return Sized<Multiply, 0, 1, true>::bind(op, entry);
  return Sized<Multiply, 1, 2, true>::bind(op, entry);
}

// The count of a shift is masked to the operand's width, at least 32. A count of zero changes no flag.
template <class T>
unsigned masked_count(T count) {
  return static_cast<unsigned>(count & (sizeof(T) == 8 ? 63 : 31));
}

template <class T>
T shift_left(Flags& flags, T a, T by) {
  const unsigned count = masked_count(by);
  if (count == 0) return a;
  const T result = static_cast<T>(std::uint64_t{a} << count);
  const bool carry = count <= kBits<T> && (std::uint64_t{a} >> (kBits<T> - count) & 1) != 0;
  flags = {sign_extended(result), carry, top_bit(result) != carry};
  return result;
}

template <class T>
T shift_right(Flags& flags, T a, T by, bool arithmetic) {
  const unsigned count = masked_count(by);
  if (count == 0) return a;
  const std::uint64_t wide = arithmetic ? static_cast<std::uint64_t>(sign_extended(a)) : a;
  const bool carry = (wide >> (count - 1) & 1) != 0;
  const T result = static_cast<T>(arithmetic ? sign_extended(a) >> count : static_cast<std::int64_t>(wide >> count));
  flags = {sign_extended(result), carry, !arithmetic && top_bit(a)};
  return result;
}

template <class T>
T zero_high(Flags& flags, T a, T index) {
  const unsigned count = index & 0xFF;
  const bool whole = count >= kBits<T>;
  return logic<T>(flags, whole ? a : static_cast<T>(a & ((T{1} << count) - 1)), whole);
}

std::uint64_t narrow_source(Cpu& cpu, const Op& op) {
  return op.operand[1].bytes == 1 ? get<std::uint8_t>(cpu, op, 1) : get<std::uint16_t>(cpu, op, 1);
}

bool condition_holds(const Flags& flags, std::uint8_t condition) {
  bool holds = false;
  switch (condition >> 1) {
    case 1: holds = flags.carry; break;
    case 2: holds = flags.zero(); break;
    case 3: holds = flags.carry || flags.zero(); break;
    case 4: holds = flags.sign(); break;
    case 6: holds = flags.sign() != flags.overflow; break;
    default: holds = flags.zero() || flags.sign() != flags.overflow; break;
  }
  return holds != ((condition & 1) != 0);
}

void run_jump(Cpu& cpu, const Op& op) { cpu.pc = op.target; }

void run_jump_if(Cpu& cpu, const Op& op) {
  if (condition_holds(cpu.flags, op.condition)) cpu.pc = op.target;
}

// An immediate operand is a relative target, which decoding has resolved.
bool bind_direct(Op& op, const Entry& entry) { return op.operand[0].kind == Kind::immediate && bind_plain(op, entry); }

void run_push(Cpu& cpu, const Op& op) {
  const auto value = get<std::uint64_t>(cpu, op, 0);
  cpu.gpr[kRsp] -= sizeof value;
  std::memcpy(cpu.writable(cpu.gpr[kRsp], sizeof value), &value, sizeof value);
}

std::uint64_t pop(Cpu& cpu) {
  std::uint64_t value;
  std::memcpy(&value, cpu.readable(cpu.gpr[kRsp], sizeof value), sizeof value);
  cpu.gpr[kRsp] += sizeof value;
  return value;
}

void run_pop(Cpu& cpu, const Op& op) { put<std::uint64_t>(cpu, op, pop(cpu)); }

bool bind_stack(Op& op, const Entry& entry) {
  return (op.operand[0].kind == Kind::immediate || op.operand[0].bytes == 8) && bind_plain(op, entry);
}

void run_return(Cpu& cpu, const Op&) {
  const bool at_entry_level = cpu.gpr[kRsp] == cpu.entry_rsp;
  const std::uint64_t address = pop(cpu);
  if (!at_entry_level) {
    cpu.fail("rsp at ret is not what it was on entry");
  } else if (address != kReturnAddress) {
    cpu.fail("the return address was overwritten");
  }
  cpu.stop = true;
}

// `ret imm16` does not belong to this calling convention.
bool bind_return(Op& op, const Entry& entry) { return op.operand[0].kind == Kind::none && bind_plain(op, entry); }

void run_load_mxcsr(Cpu& cpu, const Op& op) {
  const auto value = get<std::uint32_t>(cpu, op, 0);
  if (value > 0xFFFF) return cpu.fail("a reserved bit of MXCSR would be set");
  cpu.mxcsr = value;
}

void run_store_mxcsr(Cpu& cpu, const Op& op) { put(cpu, op, cpu.mxcsr); }

void run_zero_upper(Cpu& cpu, const Op&) {
  for (unsigned i = 0; i < 16; ++i) std::memset(cpu.zmm[i].bytes + 16, 0, sizeof(Vec) - 16);
  cpu.upper_dirty = false;
}

void run_nothing(Cpu&, const Op&) {}

// kmov: reads or writes the low bits of a mask register, as many as T has.
template <class T>
void run_mask_move(Cpu& cpu, const Op& op) {
  const bool from_mask = op.operand[1].kind == Kind::mask;
  const T value = from_mask ? static_cast<T>(cpu.k[op.operand[1].index]) : get<T>(cpu, op, 1);
  switch (op.operand[0].kind) {
    case Kind::mask: cpu.k[op.operand[0].index] = value; break;
    case Kind::gpr: cpu.gpr[op.operand[0].index] = value; break;
    default: put(cpu, op, value); break;
  }
}

std::vector<Entry> integer_rows() {
  return {
      sized<1, 1>(M(MOV), [](Cpu&, const Op&, auto a, auto) { return a; }),
      sized<0, 0>(M(MOVZX), [](Cpu& c, const Op& op, auto, auto) { return narrow_source(c, op); }),
      sized<0, 0>(M(MOVSXD),
                  [](Cpu& c, const Op& op, auto, auto) { return sign_extended(get<std::uint32_t>(c, op, 1)); }),
      sized<0, 0>(M(LEA), [](Cpu& c, const Op& op, auto, auto) { return address_of(c, op); }),
      sized<0, 1>(M(ADD), [](Cpu& c, const Op&, auto a, auto b) { return add(c.flags, a, b); }),
      sized<0, 1>(M(SUB), [](Cpu& c, const Op&, auto a, auto b) { return subtract(c.flags, a, b); }),
      sized<0, 1, false>(M(CMP), [](Cpu& c, const Op&, auto a, auto b) { return subtract(c.flags, a, b); }),
      sized<0, 1>(M(AND), [](Cpu& c, const Op&, auto a, auto b) { return logic(c.flags, a &= b); }),
      sized<0, 1>(M(OR), [](Cpu& c, const Op&, auto a, auto b) { return logic(c.flags, a |= b); }),
      sized<0, 1>(M(XOR), [](Cpu& c, const Op&, auto a, auto b) { return logic(c.flags, a ^= b); }),
      sized<0, 1, false>(M(TEST), [](Cpu& c, const Op&, auto a, auto b) { return logic(c.flags, a &= b); }),
      sized<0, 0>(M(NOT), [](Cpu&, const Op&, auto a, auto) { return ~a; }),
      sized<0, 0>(M(NEG), [](Cpu& c, const Op&, auto a, auto) { return subtract(c.flags, decltype(a){0}, a); }),
      sized<0, 0>(M(INC), [](Cpu& c, const Op&, auto a, auto) { return step(c.flags, a, true); }),
      sized<0, 0>(M(DEC), [](Cpu& c, const Op&, auto a, auto) { return step(c.flags, a, false); }),
      sized<0, 1>(M(SHL), [](Cpu& c, const Op&, auto a, auto n) { return shift_left(c.flags, a, n); }),
      sized<0, 1>(M(SHR), [](Cpu& c, const Op&, auto a, auto n) { return shift_right(c.flags, a, n, false); }),
      sized<0, 1>(M(SAR), [](Cpu& c, const Op&, auto a, auto n) { return shift_right(c.flags, a, n, true); }),
      {M(IMUL), bind_multiply},
  };
}

constexpr std::pair<ZydisMnemonic, ZydisMnemonic> kConditional[] = {
    {M(JB), M(CMOVB)}, {M(JNB), M(CMOVNB)}, {M(JBE), M(CMOVBE)}, {M(JNBE), M(CMOVNBE)},
    {M(JL), M(CMOVL)}, {M(JNL), M(CMOVNL)}, {M(JLE), M(CMOVLE)}, {M(JNLE), M(CMOVNLE)},
    {M(JZ), M(CMOVZ)}, {M(JNZ), M(CMOVNZ)}, {M(JS), M(CMOVS)},   {M(JNS), M(CMOVNS)},
};

std::vector<Entry> control_rows() {
  std::vector<Entry> rows = {
      {M(JMP), bind_direct, run_jump},    {M(RET), bind_return, run_return}, {M(PUSH), bind_stack, run_push},
      {M(POP), bind_stack, run_pop},      plain(M(LDMXCSR), run_load_mxcsr), plain(M(STMXCSR), run_store_mxcsr),
      plain(M(PREFETCHT0), run_nothing),  plain(M(PREFETCHT1), run_nothing), plain(M(PREFETCHT2), run_nothing),
      plain(M(PREFETCHNTA), run_nothing), plain(M(ENDBR64), run_nothing),    plain(M(NOP), run_nothing),
  };
  for (const auto& [jump, move] : kConditional) {
    rows.push_back({jump, bind_direct, run_jump_if});
    // The source is read, and a 32-bit destination zero-extended, whether or not the condition holds.
    rows.push_back(sized<0, 1>(
        move, [](Cpu& c, const Op& op, auto a, auto b) { return condition_holds(c.flags, op.condition) ? b : a; }));
  }
  return rows;
}

std::vector<Entry> vex_rows() {
  return {
      plain(M(VLDMXCSR), run_load_mxcsr),
      plain(M(VSTMXCSR), run_store_mxcsr),
      plain(M(VZEROUPPER), run_zero_upper),
      sized<1, 2>(M(BZHI), [](Cpu& c, const Op&, auto a, auto n) { return zero_high(c.flags, a, n); }),
      sized<1, 2>(M(SHLX), [](Cpu&, const Op&, auto a, auto n) { return a << masked_count(n); }),
      sized<1, 2>(M(SHRX), [](Cpu&, const Op&, auto a, auto n) { return a >> masked_count(n); }),
  };
}

}  // namespace

std::vector<Table> scalar_tables() {
  const std::vector<Entry> mask_rows = {
      plain(M(KMOVB), run_mask_move<std::uint8_t>), plain(M(KMOVW), run_mask_move<std::uint16_t>),
      plain(M(KMOVD), run_mask_move<std::uint32_t>), plain(M(KMOVQ), run_mask_move<std::uint64_t>)};
  return {{kX86, integer_rows()}, {kX86, control_rows()}, {kAvx2, vex_rows()}, {kAvx512, mask_rows}};
}

}  // namespace zenwoq::emulator
