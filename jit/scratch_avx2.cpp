// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the AVX2 kernel for many rows: the walk over strips and segments, and decoding. Tiles:
// scratch_avx2_tiles.cpp.
#include "jit/scratch_avx2.h"

#include <algorithm>

#include "jit/gemm.h"
#include "jit/gemm_avx2.h"
#include "jit/number.h"

namespace zenwoq {

using Xbyak::Reg64;
using Xbyak::RegExp;
using Xbyak::Ymm;

namespace {

constexpr std::uint32_t kMaxTile = 6;  // 12 sums, 2 weights, 2 x

std::uint32_t u32(std::uint64_t value) { return static_cast<std::uint32_t>(value); }

// While codes are decoded no register holds anything else.
DecodeAvx2::Registers decode_registers() {
  return {.mask = Ymm(0),
          .flip = Ymm(1),
          .subtract = Ymm(2),
          .pack = {Ymm(2), Ymm(3), Ymm(4), Ymm(5)},
          .temp = Ymm(6),
          .spare = Ymm(7),
          .nibbles = Ymm(0),
          .high_words = Ymm(1)};
}
constexpr std::uint32_t kDecoders = 8;  // registers that decoded values take in turn
Ymm decoded(std::uint32_t i) { return Ymm(static_cast<int>(8 + i % kDecoders)); }

}  // namespace

std::string ScratchAvx2::why_not(const KernelKey& key) {
  if (std::string reason = Gemm::why_not(key); !reason.empty()) return reason;
  const std::uint32_t strips = key.tile.gated ? kStrips / 2 : kStrips;
  if (key.tile.rows < 2 || key.tile.rows > kMaxTile || key.tile.strips != strips) {
    return formatted("tile m{}x{}sc{}: rows must be 2..{}, strips {}", key.tile.rows, key.tile.strips,
                     key.tile.gated ? "gu" : "", kMaxTile, strips);
  }
  const Habits only_prefetch{.prefetch = key.habits.prefetch};
  return key.habits == only_prefetch ? "" : "df and xs: this tier has neither habit";
}

std::size_t ScratchAvx2::emit(const KernelKey& key, std::uint8_t* buffer, std::size_t capacity,
                              std::vector<Note>* notes) {
  return ScratchAvx2(key, buffer, capacity, notes).generate();
}

std::vector<RegisterUse> ScratchAvx2::registers(const KernelKey& key) {
  std::vector<RegisterUse> uses;
  for (std::uint32_t i = 0; i < key.tile.rows * kHalves; ++i) {
    uses.push_back({"multiply", i % kHalves == 0 ? "acc low" : "acc high", formatted("ymm{}", i),
                    static_cast<int>(i / kHalves), 0});
  }
  for (const auto& [role, place] :
       {std::pair("weight", "ymm12"), {"weight", "ymm13"}, {"x", "ymm14"}, {"x", "ymm15"}}) {
    uses.push_back({"multiply", role, place});
  }
  uses.push_back({"flush", "scale", "ymm12"});
  if (key.zero_kind != ZENWOQ_ZERO_NONE) uses.push_back({"flush", "zero", "ymm13"});
  if (key.zero_kind != ZENWOQ_ZERO_NONE) uses.push_back({"flush", "xsum", "ymm14"});
  if (key.long_epilogue()) uses.push_back({"epilogue", "total", EpilogueAvx2::kLongPlace});
  uses.push_back({"", "total", "in memory"});
  return uses;
}

ScratchAvx2::ScratchAvx2(const KernelKey& key, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes)
    : Emitter(buffer, capacity, notes),
      key_(key),
      layout_(key.layout()),
      r_{.table = rdi,
         .ldx = rdx,
         .ldx3 = r8,
         .ldx5 = r9,
         .codes = r10,
         .scales = r11,
         .zeros = rcx,
         .x_tile = rbx,
         .x = rsi,
         .totals = r12,
         .xsum = r15,
         .steps = r13,
         .tiles = r14,
         .temp = rax},
      decode_(*this, decode_registers()),
      parameters_(*this, key_.format()),
      epilogue_(*this, key_,
                key_.long_epilogue() ? std::vector{Ymm(4), Ymm(5), Ymm(6)} : std::vector{Ymm(2), Ymm(3), Ymm(4)}) {
  std::uint32_t next = 0;
  const auto reserve = [&next](std::uint32_t bytes) { return std::exchange(next, next + bytes); };
  local_.scratch = reserve(kStrips * kSegmentSteps * u32(kStepK) * kRowBytes);
  local_.totals = reserve(kMaxScratchRows * kStrips * kRowBytes);
  local_.waiting = reserve(sums_wait() ? kMaxScratchRows * kStrips * kRowBytes : 0);
  local_.stage = reserve(EpilogueAvx2::kStageBytes);
  const bool supers = layout_.super_bytes() != 0;
  local_.super_scales = reserve(supers ? kStrips * kRowBytes : 0);
  local_.super_offsets = reserve(supers && key.format().has_offsets() ? kStrips * kRowBytes : 0);
  local_.tensor_scale = reserve(has_tensor_scale() ? kHalfBytes * (gated() ? 2 : 1) : 0);
  for (std::uint32_t* slot :
       {&local_.x, &local_.panel, &local_.xsum, &local_.xsum_bytes, &local_.bias, &local_.y, &local_.ldy_bytes,
        &local_.columns, &local_.tall, &local_.low, &local_.strip_offset, &local_.x_offset, &local_.xsum_now,
        &local_.k_left, &local_.codes, &local_.group_left, &local_.segment}) {
    *slot = reserve(8);
  }
  local_.super_left = reserve(supers ? 8 : 0);
  local_.up = reserve(gated() ? 8 : 0);
  local_.up_bias = reserve(gated() ? 8 : 0);
  local_.operands = reserve(EpilogueOperands::slot_bytes(key.epilogue));
  operands_.emplace(static_cast<Emitter&>(*this), key_, local_.operands,
                    OperandRegisters{.factor = r_.codes, .residual = {r_.scales, r_.zeros}});
  local_.bytes = (next + 63) / 64 * 64;
}

std::size_t ScratchAvx2::generate() {
  open_frame(local_.bytes + 64);  // 64: rsp is rounded down
  load_arguments();
  Xbyak::Label pair, segment;
  L(pair);
  label("strips");
  begin_pair();
  L(segment);
  label("segment");
  begin_segment();
  decode_segment();
  multiply_segment();
  end_segment();
  cmp(slot(local_.k_left), 0);
  jg(segment, T_NEAR);
  store_pair();
  next_pair();
  cmp(slot(local_.columns), 0);
  jg(pair, T_NEAR);
  close_frame();
  emit_constants();
  return getSize();
}

void ScratchAvx2::set(std::uint32_t to, std::uint32_t from) {
  mov(r_.temp, slot(from));
  mov(slot(to), r_.temp);
}

// in: rdi. out: strides, table, locals.
void ScratchAvx2::load_arguments() {
  const auto to_local = [this](std::uint32_t to, std::size_t offset) {
    mov(r_.temp, qword[rdi + offset]);
    mov(slot(to), r_.temp);
  };
  mov(r_.ldx, qword[rdi + offsetof(GemmArgs, ldx_bytes)]);
  lea(r_.ldx3, ptr[r_.ldx + r_.ldx * 2]);
  lea(r_.ldx5, ptr[r_.ldx + r_.ldx * 4]);
  to_local(local_.x, offsetof(GemmArgs, x));
  to_local(local_.panel, offsetof(GemmArgs, panels));
  to_local(local_.y, offsetof(GemmArgs, y));
  to_local(local_.ldy_bytes, offsetof(GemmArgs, ldy_bytes));
  to_local(local_.columns, offsetof(GemmArgs, columns));
  to_local(local_.tall, offsetof(GemmArgs, tall_tiles));
  to_local(local_.low, offsetof(GemmArgs, low_tiles));
  if (key_.epilogue.bias) to_local(local_.bias, offsetof(GemmArgs, bias));
  if (key_.epilogue.bias && gated()) to_local(local_.up_bias, offsetof(GemmArgs, up_bias));
  if (gated()) {
    mov(r_.temp, qword[rdi + offsetof(GemmArgs, up_panels)]);
    sub(r_.temp, qword[rdi + offsetof(GemmArgs, panels)]);
    mov(slot(local_.up), r_.temp);
  }
  operands_->load_arguments(rdi, r_.temp);
  if (key_.zero_kind != ZENWOQ_ZERO_NONE) {
    to_local(local_.xsum, offsetof(GemmArgs, xsum));
    to_local(local_.xsum_bytes, offsetof(GemmArgs, xsum_bytes));
  }
  if (has_tensor_scale()) {
    vbroadcastss(acc(0, 0), dword[rdi + offsetof(GemmArgs, tensor_scale)]);
    vmovups(ptr[local(local_.tensor_scale)], acc(0, 0));
    if (gated()) {
      vbroadcastss(acc(0, 0), dword[rdi + offsetof(GemmArgs, up_tensor_scale)]);
      vmovups(ptr[local(local_.tensor_scale + kHalfBytes)], acc(0, 0));
    }
  }
  mov(slot(local_.strip_offset), 0);
  mov(r_.table, qword[rdi + offsetof(GemmArgs, table)]);
}

// Totals = +0, and what waits; pointers at the first k.
void ScratchAvx2::begin_pair() {
  const Ymm nothing = acc(0, 0);
  vxorps(nothing, nothing, nothing);
  lea(r_.totals, ptr[local(local_.totals)]);
  const auto clear = [&](std::uint32_t rows, std::uint32_t count_slot) {
    Xbyak::Label again, done;
    mov(r_.tiles, slot(count_slot));
    test(r_.tiles, r_.tiles);
    jz(done, T_NEAR);
    L(again);
    for (std::uint32_t at = 0; at < rows * kStrips * kRowBytes; at += kHalfBytes) {
      vmovups(ptr[r_.totals + at], nothing);
      if (sums_wait()) vmovups(ptr[r_.totals + (local_.waiting - local_.totals) + at], nothing);
    }
    add(r_.totals, rows * kStrips * kRowBytes);
    dec(r_.tiles);
    jnz(again, T_NEAR);
    L(done);
  };
  note("totals = +0");
  clear(key_.tile.rows, local_.tall);
  clear(key_.tile.rows - 1, local_.low);
  mov(r_.codes, slot(local_.panel));
  add(r_.codes, slot(local_.strip_offset));
  mov(slot(local_.x_offset), 0);
  mov(slot(local_.k_left), static_cast<int>(layout_.steps()));
  mov(slot(local_.group_left), static_cast<int>(layout_.group_steps()));
  if (key_.zero_kind != ZENWOQ_ZERO_NONE) set(local_.xsum_now, local_.xsum);
  if (layout_.super_bytes() != 0) mov(slot(local_.super_left), 0);
}

// Before every eighth group come the f16 of eight: they go to the stack, widened. codes is then at the next group's.
void ScratchAvx2::begin_super() {
  Xbyak::Label within;
  cmp(slot(local_.super_left), 0);
  jne(within, T_NEAR);
  note("scales of eight groups");
  mov(r_.temp, slot(local_.strip_offset));  // as in multiply_segment, for elements of two bytes
  shr(r_.temp, 1);
  sub(r_.temp, slot(local_.strip_offset));
  const auto widen = [&](std::uint32_t at, std::uint32_t to, std::uint32_t vectors) {
    for (std::uint32_t i = 0; i < vectors; ++i) {
      parameters_.widen_f16(r_.codes + r_.temp + (at + i * 16), local(to + i * kHalfBytes), scale());
    }
  };
  // to: bytes to the first of `vectors` times 8 columns.
  const auto widen_both = [&](std::uint32_t to, std::uint32_t vectors) {
    widen(0, local_.super_scales + to, vectors);
    if (key_.format().has_offsets()) widen(u32(kPanelColumns * 2), local_.super_offsets + to, vectors);
  };
  widen_both(0, gated() ? kHalves : kStrips * kHalves);
  if (gated()) {
    add(r_.temp, slot(local_.up));
    widen_both(kRowBytes, kHalves);
  }
  add(r_.codes, u32(layout_.super_bytes()));
  mov(slot(local_.super_left), static_cast<int>(PanelLayout::kSuperGroups));
  L(within);
}

// segment = min(group_left, 16) steps, taken off what is left.
void ScratchAvx2::begin_segment() {
  if (layout_.super_bytes() != 0) begin_super();
  mov(r_.temp, slot(local_.group_left));
  mov(r_.steps.cvt32(), static_cast<int>(kSegmentSteps));
  cmp(r_.steps, r_.temp);
  cmovg(r_.steps, r_.temp);
  mov(slot(local_.segment), r_.steps);
  sub(slot(local_.group_left), r_.steps);
  sub(slot(local_.k_left), r_.steps);
}

// out: scratch, codes past the segment. in: steps.
void ScratchAvx2::decode_segment() {
  const Reg64& to = r_.totals;                                  // free until tiles are multiplied
  const auto scratch = [&](std::uint32_t i, std::uint32_t k) {  // i: half strips
    return to + (i / kHalves * kSegmentSteps * u32(kStepK) + k) * kRowBytes + i % kHalves * kHalfBytes;
  };
  const Reg64& up_codes = r_.temp;
  const auto codes = [&](std::uint32_t i) {
    return gated() && i >= kHalves ? up_codes + (i - kHalves) * kHalfBytes : r_.codes + i * kHalfBytes;
  };
  Xbyak::Label step;
  lea(to, ptr[local(local_.scratch)]);
  if (gated()) {
    mov(up_codes, slot(local_.up));
    add(up_codes, r_.codes);
  }
  if (key_.codes == Codes::table) decode_.load_constants();
  L(step);
  label("decode");
  // All four strips: the first two of a panel bring the other two into the L2 cache.
  const Prefetch p = key_.habits.prefetch;
  for (std::uint32_t line = 0; p.bytes != 0 && line < kPanelStrips; line += p.every) {
    for (const Reg64& from : {r_.codes, up_codes}) {
      if (from == up_codes && !gated()) continue;
      const auto ahead = ptr[from + p.bytes + line * u32(kStripBytes)];
      p.to_l2 ? prefetcht1(ahead) : prefetcht0(ahead);
    }
  }
  if (key_.codes == Codes::integer) {
    for (std::uint32_t k = 0; k < kStepK; ++k) {
      if (k % 2 == 0) decode_.load_nibble(r_.table, k / 2);
      for (std::uint32_t i = 0; i < kStrips * kHalves; ++i) {
        decode_.integer(decoded(i), codes(i), k);
        vmovaps(ptr[scratch(i, k)], decoded(i));
      }
    }
  } else {
    for (std::uint32_t i = 0; i < kStrips * kHalves; ++i) {
      decode_.lookup(r_.table, codes(i));
      for (std::uint32_t k = 0; k < kStepK; ++k) {
        decode_.unpack(decoded(k), k);
        vmovaps(ptr[scratch(i, k)], decoded(k));
      }
    }
  }
  add(r_.codes, u32(kStepBytes));
  if (gated()) add(up_codes, u32(kStepBytes));
  add(to, u32(kStepK) * kRowBytes);
  dec(r_.steps);
  jnz(step, T_NEAR);
}

// All rows with what is decoded. Where the scales are once codes is past the group's last step: see Gemm::begin_walk.
void ScratchAvx2::multiply_segment() {
  const auto locate = [this](const Reg64& to, std::size_t element_bytes) {
    mov(to, slot(local_.strip_offset));
    if (element_bytes < 4) shr(to, element_bytes == 2 ? 1 : 2);
    sub(to, slot(local_.strip_offset));
    add(to, r_.codes);
  };
  locate(r_.scales, key_.format().scale_bytes());
  if (key_.zero_kind != ZENWOQ_ZERO_NONE) {
    locate(r_.zeros, key_.format().zero_bytes());
    add(r_.zeros, u32(kPanelColumns * key_.format().scale_bytes()));
    mov(r_.xsum, slot(local_.xsum_now));
  }
  mov(slot(local_.codes), r_.codes);
  mov(r_.x_tile, slot(local_.x));
  add(r_.x_tile, slot(local_.x_offset));
  lea(r_.totals, ptr[local(local_.totals)]);
  tiles(key_.tile.rows, local_.tall);
  tiles(key_.tile.rows - 1, local_.low);
  mov(r_.codes, slot(local_.codes));
}

// To the next segment; past scales and zeros and to the next group's sums if the group has ended.
void ScratchAvx2::end_segment() {
  Xbyak::Label done;
  mov(r_.temp, slot(local_.segment));
  shl(r_.temp, 5);  // 8 f32 a step
  add(slot(local_.x_offset), r_.temp);
  cmp(slot(local_.group_left), 0);
  jne(done, T_NEAR);
  add(r_.codes, u32(layout_.parameter_bytes()));
  if (layout_.super_bytes() != 0) dec(slot(local_.super_left));
  if (key_.zero_kind != ZENWOQ_ZERO_NONE) {
    mov(r_.temp, slot(local_.xsum_bytes));
    add(slot(local_.xsum_now), r_.temp);
  }
  mov(r_.temp, slot(local_.k_left));
  mov(r_.steps.cvt32(), static_cast<int>(layout_.group_steps()));
  cmp(r_.steps, r_.temp);
  cmovg(r_.steps, r_.temp);
  mov(slot(local_.group_left), r_.steps);
  L(done);
}

// Writes the columns that exist; columns counts those from the first strip on.
void ScratchAvx2::store_pair() {
  lea(r_.totals, ptr[local(local_.totals)]);
  mov(r_.x, slot(local_.y));
  operands_->begin_strip(0);
  store_tiles(key_.tile.rows, local_.tall);
  store_tiles(key_.tile.rows - 1, local_.low);
}

// The strips to the right: of this panel, or the first of the next.
void ScratchAvx2::next_pair() {
  const std::uint32_t columns = key_.tile.columns();
  add(slot(local_.y), columns * u32(dtype_bytes(key_.output_type)));
  operands_->next_unit(columns);
  if (key_.epilogue.bias) add(slot(local_.bias), columns * 4);
  if (key_.epilogue.bias && gated()) add(slot(local_.up_bias), columns * 4);
  Xbyak::Label same_panel;
  if (gated()) {
    mov(r_.temp, slot(local_.strip_offset));
    add(r_.temp, u32(kStripBytes));
    and_(r_.temp, u32(kStepBytes) - 1);
    mov(slot(local_.strip_offset), r_.temp);
    test(r_.temp, r_.temp);
  } else {
    xor_(slot(local_.strip_offset), static_cast<int>(kStrips * kStripBytes));
  }
  jnz(same_panel);
  add(slot(local_.panel), u32(layout_.bytes()));
  L(same_panel);
  sub(slot(local_.columns), columns);
}

}  // namespace zenwoq
