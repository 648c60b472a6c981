// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the AVX-512 BF16 kernel. A unit is one tile's strips over the whole of K: units walk the columns.
#include "jit/gemm_avx512.h"

#include <algorithm>
#include <bit>
#include <new>

#include "jit/number.h"
#include "src/weight/packed.h"

namespace zenwoq {

using Xbyak::RegExp;
using Xbyak::Zmm;

namespace {

constexpr std::size_t kMaxCodeBytes = 64 * 1024;
constexpr std::uint32_t kPairs = 4;                // (k, k+1) pairs in a step
constexpr std::uint32_t kStepXBytes = kStepK * 2;  // of one row
constexpr std::uint32_t kLowRows = 6;              // rows addressed from x_low

std::uint32_t u32(std::uint64_t value) { return static_cast<std::uint32_t>(value); }

}  // namespace

std::string unsupported_reason(const KernelKey& key) {
  const Tile tile = key.tile;
  const bool strips_known = tile.strips == 1 || tile.strips == 2 || tile.strips == 4 || tile.strips == 8;
  if (tile.rows == 0 || tile.rows > kMaxTileRows || !strips_known) {
    return fmt::format("tile m{}x{}: rows must be 1..{}, strips 1, 2, 4 or 8", tile.rows, tile.strips, kMaxTileRows);
  }
  if (!VectorMap(key).fits())
    return fmt::format("tile m{}x{} does not fit 32 vector registers", tile.rows, tile.strips);
  if (!key.per_channel() && key.group % kStepK != 0) return fmt::format("group {}: must be a multiple of 8", key.group);
  // Two panels of codes, f32 scales and f32 offsets must be reached by 32-bit displacements.
  constexpr std::uint64_t kMaxK = std::uint64_t{1} << 21;
  if (key.k > kMaxK) return fmt::format("k = {}: kernels are generated up to {}", key.k, kMaxK);
  if (key.output_type == ZENWOQ_F16) return "output f16: must be f32 or bf16";
  return {};
}

Status emit_gemm(const KernelKey& key, std::vector<std::uint8_t>* code, std::vector<Note>* notes) {
  if (std::string reason = unsupported_reason(key); !reason.empty())
    return {ZENWOQ_ERROR_UNSUPPORTED, std::move(reason)};
  try {
    code->resize(kMaxCodeBytes);
    code->resize(GemmAvx512(key, code->data(), code->size(), notes).generate());
  } catch (const Xbyak::Error& error) {
    return {ZENWOQ_ERROR_UNSUPPORTED, fmt::format("{}: cannot be encoded: {}", key.name(), error.what())};
  } catch (const std::bad_alloc&) {
    return {ZENWOQ_ERROR_OUT_OF_MEMORY, "no memory to emit a kernel"};
  }
  return {};
}

GemmAvx512::GemmAvx512(const KernelKey& key, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes)
    : Emitter(buffer, capacity, notes),
      key_(key),
      tuning_(tuning_of(key.tuning)),
      layout_(key.layout()),
      v_(key),
      r_{.x_low = rsi,
         .x_high = rcx,
         .ldx = rdx,
         .ldx3 = r8,
         .ldx5 = r9,
         .codes = r10,
         .scales = r11,
         .zeros = rbx,
         .xsum = r12,
         .steps = r13,
         .groups = r14,
         .strip_offset = r15,
         .temp = rax} {
  std::uint32_t next = 0;
  const auto reserve = [&next](std::uint32_t bytes) { return std::exchange(next, next + bytes); };
  local_.totals = reserve(v_.totals_in_memory() ? key.tile.rows * key.tile.strips * 64 : 0);
  local_.x_tail = reserve(key.k % kStepK != 0 ? key.tile.rows * kStepXBytes : 0);
  for (std::uint32_t* slot : {&local_.x, &local_.panel, &local_.xsum, &local_.xsum_bytes, &local_.bias, &local_.y,
                              &local_.ldy_bytes, &local_.columns}) {
    *slot = reserve(8);
  }
  local_.bytes = (next + 63) / 64 * 64;
}

std::size_t GemmAvx512::generate() {
  open_frame(local_.bytes + 64);  // 64: rsp is rounded down
  load_arguments();
  if (key_.k % kStepK != 0) load_x_tail();
  Xbyak::Label unit;
  L(unit);
  label("unit");
  begin_unit();
  all_groups();
  store_unit();
  next_unit();
  cmp(qword[local(local_.columns)], 0);
  jg(unit, T_NEAR);
  close_frame();
  return getSize();
}

// in: rdi. out: strides, table, locals.
void GemmAvx512::load_arguments() {
  const auto argument = [this](std::size_t offset) { return qword[rdi + offset]; };
  const auto to_local = [&](std::uint32_t slot, std::size_t offset) {
    mov(r_.temp, argument(offset));
    mov(qword[local(slot)], r_.temp);
  };
  mov(r_.temp, argument(offsetof(GemmArgs, table)));
  note("table: the 16 values of the codes in bf16, twice");
  vmovdqu16(v_.table(), ptr[r_.temp]);
  mov(r_.ldx, argument(offsetof(GemmArgs, ldx_bytes)));
  lea(r_.ldx3, ptr[r_.ldx + r_.ldx * 2]);
  lea(r_.ldx5, ptr[r_.ldx + r_.ldx * 4]);
  to_local(local_.x, offsetof(GemmArgs, x));
  to_local(local_.panel, offsetof(GemmArgs, panels));
  to_local(local_.y, offsetof(GemmArgs, y));
  to_local(local_.ldy_bytes, offsetof(GemmArgs, ldy_bytes));
  to_local(local_.columns, offsetof(GemmArgs, columns));
  if (key_.bias) to_local(local_.bias, offsetof(GemmArgs, bias));
  if (key_.zero_kind != ZENWOQ_ZERO_NONE) {
    to_local(local_.xsum, offsetof(GemmArgs, xsum));
    to_local(local_.xsum_bytes, offsetof(GemmArgs, xsum_bytes));
  }
  xor_(r_.strip_offset.cvt32(), r_.strip_offset.cvt32());
}

// The last k % 8 activations of each row, completed with +0, so that no step reads behind a row.
void GemmAvx512::load_x_tail() {
  const std::uint64_t k = key_.k / kStepK * kStepK;
  note("the last {} activations of each row, completed with +0 to 8", key_.k - k);
  mov(r_.temp.cvt32(), (1u << (key_.k - k)) - 1);
  kmovd(k1, r_.temp.cvt32());
  mov(r_.temp, qword[local(local_.x)]);
  for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
    vmovdqu16(Xbyak::Xmm(v_.weight(0).getIdx()) | k1 | T_z, ptr[r_.temp + u32(k * 2)]);
    vmovdqu8(ptr[local(local_.x_tail + row * kStepXBytes)], Xbyak::Xmm(v_.weight(0).getIdx()));
    if (row + 1 < key_.tile.rows) add(r_.temp, r_.ldx);
  }
}

// Pointers of this unit's strips, first group, k = 0; totals = +0.
void GemmAvx512::begin_unit() {
  mov(r_.x_low, qword[local(local_.x)]);
  if (key_.tile.rows > kLowRows) lea(r_.x_high, ptr[r_.x_low + r_.ldx3 * 2]);
  mov(r_.codes, qword[local(local_.panel)]);
  add(r_.codes, r_.strip_offset);
  // A strip is 64 bytes of codes and 16 columns: strip_offset / 4 elements of scales and zeros. codes is ahead by
  // strip_offset.
  const auto locate = [this](const Xbyak::Reg64& distance, std::uint32_t element_bytes) {
    mov(distance, r_.strip_offset);
    if (element_bytes < 4) shr(distance, element_bytes == 2 ? 1 : 2);
    sub(distance, r_.strip_offset);
  };
  locate(r_.scales, u32(dtype_bytes(key_.scale_type)));
  if (key_.zero_kind != ZENWOQ_ZERO_NONE) {
    locate(r_.zeros, zero_bytes());
    add(r_.zeros, u32(kPanelColumns * dtype_bytes(key_.scale_type)));
    mov(r_.xsum, qword[local(local_.xsum)]);
  }
  if (v_.totals_in_memory()) vpxord(v_.zero(), v_.zero(), v_.zero());
  for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
    for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) {
      if (v_.totals_in_registers()) vpxord(v_.total(row, strip), v_.total(row, strip), v_.total(row, strip));
      if (v_.totals_in_memory()) vmovups(ptr[local(total_offset(row, strip))], v_.zero());
    }
  }
}

void GemmAvx512::all_groups() {
  const std::uint64_t full = key_.per_channel() ? 0 : key_.k / key_.group;
  const std::uint64_t rest = key_.k - full * key_.group;
  if (full > 0) loop("group", r_.groups, full, [&] { one_group({key_.group / kStepK, false}); });
  if (rest > 0) one_group({rest / kStepK, rest % kStepK != 0});
}

void GemmAvx512::one_group(const Group& group) {
  note("group sums = +0");
  for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
    for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) {
      vpxord(v_.acc(row, strip), v_.acc(row, strip), v_.acc(row, strip));
    }
  }
  multiply_steps(group.steps);
  if (group.partial) {
    multiply_step(0, true);
    add(r_.codes, u32(kStepBytes));
  }
  flush_group();
}

// in: codes, x_low, x_high at the group's first step; out: behind its last whole step.
void GemmAvx512::multiply_steps(std::uint64_t count) {
  const std::uint32_t dots = key_.tile.rows * key_.tile.strips * kPairs;
  const std::uint64_t unroll =
      std::min<std::uint64_t>(count, std::bit_floor(std::max(tuning_.unrolled_dots / dots, 1u)));
  if (count == 0) return;
  const auto body = [&](std::uint64_t steps) {
    for (std::uint32_t step = 0; step < steps; ++step) multiply_step(step, false);
    advance_k(steps);
  };
  loop("steps", r_.steps, count / unroll, [&] { body(unroll); });
  if (count % unroll != 0) body(count % unroll);
}

void GemmAvx512::advance_k(std::uint64_t steps) {
  add(r_.codes, u32(steps * kStepBytes));
  add(r_.x_low, u32(steps * kStepXBytes));
  if (key_.tile.rows > kLowRows) add(r_.x_high, u32(steps * kStepXBytes));
}

// One step of 8 k for the whole tile, `step` steps ahead of the pointers.
void GemmAvx512::multiply_step(std::uint32_t step, bool x_from_tail) {
  for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) {
    prefetch(code_address(step, strip), strip);
    // Units of two strips walk a panel twice: the first walk brings both halves, the second finds its own in the L2
    // cache.
    if (key_.tile.strips == 2) prefetch(code_address(step, strip) + 2 * kStripBytes, strip);
    if (v_.codes_in_registers()) vmovdqu32(v_.codes(strip), ptr[code_address(step, strip)]);
  }
  for (std::uint32_t pair = 0; pair < kPairs; ++pair) multiply_pair(step, pair, x_from_tail);
}

// The cache line that is as far behind `now` as the tuning says; every n-th line if the hardware is to bring the
// others. It may lie behind the weight: prefetches never fault.
void GemmAvx512::prefetch(const RegExp& now, std::uint32_t line) {
  const Prefetch p = tuning_.prefetch_for(key_.tile.rows);
  if (p.bytes == 0 || line % p.lines != 0) return;
  // Whole groups, where they are short: strips must meet their own lines again on the other side of scales and zeros.
  const std::uint64_t group = layout_.group_bytes();
  const std::uint64_t groups = (p.bytes + group / 2) / group;
  const std::uint32_t ahead = key_.groups() > 1 && groups > 0 ? u32(groups * group) : p.bytes;
  if (p.to_l2) {
    prefetcht1(ptr[now + ahead]);
  } else {
    prefetcht0(ptr[now + ahead]);
  }
}

// out: weight = bf16 of k = 2 pair (even words) and 2 pair + 1 (odd words), 16 columns.
void GemmAvx512::decode(std::uint32_t step, std::uint32_t strip, std::uint32_t pair, const Zmm& weight) {
  if (v_.codes_in_registers()) {
    if (pair == 0) {
      vpermw(weight, v_.codes(strip), v_.table());
      return;
    }
    vpsrlw(weight, v_.codes(strip), static_cast<std::uint8_t>(4 * pair));
  } else if (pair == 0) {
    vmovdqu32(weight, ptr[code_address(step, strip)]);
  } else {
    vpsrlw(weight, ptr[code_address(step, strip)], static_cast<std::uint8_t>(4 * pair));
  }
  vpermw(weight, weight, v_.table());
}

void GemmAvx512::multiply_pair(std::uint32_t step, std::uint32_t pair, bool x_from_tail) {
  const Tile tile = key_.tile;
  note("step +{}: k = {}, {} of it, {} rows x {} columns", step, 2 * pair, 2 * pair + 1, tile.rows, tile.strips * 16);
  const auto broadcast = [&](std::uint32_t row) {
    if (v_.shares_x()) vpbroadcastd(v_.x_pair(), ptr[x_address(row, step, pair, x_from_tail)]);
  };
  const auto dot = [&](std::uint32_t row, std::uint32_t strip, const Zmm& weight) {
    if (v_.shares_x()) {
      vdpbf16ps(v_.acc(row, strip), weight, v_.x_pair());
    } else {
      vdpbf16ps(v_.acc(row, strip), weight, ptr_b[x_address(row, step, pair, x_from_tail)]);
    }
  };
  if (v_.decodes_first()) {
    for (std::uint32_t strip = 0; strip < tile.strips; ++strip) decode(step, strip, pair, v_.weight(strip));
    for (std::uint32_t row = 0; row < tile.rows; ++row) {
      broadcast(row);
      for (std::uint32_t strip = 0; strip < tile.strips; ++strip) dot(row, strip, v_.weight(strip));
    }
    return;
  }
  broadcast(0);  // shared by strips in turn only where there is one row
  for (std::uint32_t strip = 0; strip < tile.strips; ++strip) {
    decode(step, strip, pair, v_.weight(strip % 2));
    for (std::uint32_t row = 0; row < tile.rows; ++row) dot(row, strip, v_.weight(strip % 2));
  }
}

// totals += scale * (acc + (8 - zero) * xsum), or totals += scale * acc, then offset * xsum.
void GemmAvx512::flush_group() {
  for (std::uint32_t line = 0; line < layout_.parameter_bytes() / kStripBytes; ++line) {
    prefetch(r_.codes + line * u32(kStripBytes), line);
  }
  for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) {
    note("flush: scales of strip {}", strip);
    load_parameters(v_.scale(), key_.scale_type, r_.scales, strip);
    load_zeros(strip);
    for (std::uint32_t row = 0; row < key_.tile.rows; ++row) flush_accumulator(row, strip);
  }
  if (key_.groups() == 1) return;
  add(r_.codes, u32(layout_.parameter_bytes()));
  if (key_.zero_kind == ZENWOQ_ZERO_NONE) return;
  add(r_.xsum, qword[local(local_.xsum_bytes)]);
}

// in: scale, zero. out: the running total; the accumulator itself where there is a single group.
void GemmAvx512::flush_accumulator(std::uint32_t row, std::uint32_t strip) {
  const Zmm acc = v_.acc(row, strip);
  const auto xsum = ptr_b[r_.xsum + row * 4];
  if (key_.zero_kind == ZENWOQ_ZERO_INTEGER) vfmadd231ps(acc, v_.zero(), xsum);
  Zmm total = acc;
  if (v_.totals_in_registers()) {
    total = v_.total(row, strip);
    vfmadd231ps(total, acc, v_.scale());
  } else if (v_.totals_in_memory()) {
    vfmadd213ps(acc, v_.scale(), ptr[local(total_offset(row, strip))]);
  } else {
    vpxord(v_.result(), v_.result(), v_.result());
    vfmadd213ps(acc, v_.scale(), v_.result());
  }
  if (key_.zero_kind == ZENWOQ_ZERO_OFFSET) vfmadd231ps(total, v_.zero(), xsum);
  if (v_.totals_in_memory()) vmovups(ptr[local(total_offset(row, strip))], acc);
}

// 16 scales or offsets of a strip, widened to f32. Strips 4..7 are in the next panel.
void GemmAvx512::load_parameters(const Zmm& to, zenwoq_dtype type, const Xbyak::Reg64& from, std::uint32_t strip) {
  const RegExp address = parameter_address(from, u32(dtype_bytes(type)), strip);
  if (type == ZENWOQ_F32) {
    vmovups(to, ptr[address]);
  } else if (type == ZENWOQ_F16) {
    vcvtph2ps(to, ptr[address]);
  } else {
    vpmovzxwd(to, ptr[address]);
    vpslld(to, to, 16);
  }
}

void GemmAvx512::load_zeros(std::uint32_t strip) {
  if (key_.zero_kind == ZENWOQ_ZERO_OFFSET) load_parameters(v_.zero(), key_.scale_type, r_.zeros, strip);
  if (key_.zero_kind != ZENWOQ_ZERO_INTEGER) return;
  note("8 - zero of strip {}", strip);
  vpmovsxbd(v_.zero(), ptr[parameter_address(r_.zeros, 1, strip)]);
  vcvtdq2ps(v_.zero(), v_.zero());
}

// Writes the columns that exist; columns counts those from this unit's first on.
void GemmAvx512::store_unit() {
  Xbyak::Label done;
  for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) {
    if (strip > 0) {
      cmp(qword[local(local_.columns)], static_cast<int>(strip * kStripColumns));
      jle(done, T_NEAR);
    }
    store_strip(strip);
  }
  L(done);
}

// The loop counters are free here: groups counts the valid columns, steps walks the rows of y.
void GemmAvx512::store_strip(std::uint32_t strip) {
  const Xbyak::Reg64& count = r_.groups;
  note("store strip {}: min(columns - {}, 16) lanes", strip, strip * 16);
  mov(count, qword[local(local_.columns)]);
  sub(count, static_cast<int>(strip * kStripColumns));
  mov(r_.temp.cvt32(), static_cast<int>(kStripColumns));
  cmp(count, r_.temp);
  cmovg(count, r_.temp);
  mov(r_.temp.cvt32(), 0xFFFF);
  bzhi(r_.temp.cvt32(), r_.temp.cvt32(), count.cvt32());
  kmovw(k1, r_.temp.cvt32());
  if (key_.bias) {
    mov(r_.temp, qword[local(local_.bias)]);
    vmovups(v_.scale(), ptr[r_.temp + strip * 64]);
  }
  const Xbyak::Reg64& y = r_.steps;
  const std::uint32_t y_bytes = u32(dtype_bytes(key_.output_type));
  mov(y, qword[local(local_.y)]);
  for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
    const Zmm value = total_register(row, strip);
    if (v_.totals_in_memory()) vmovups(value, ptr[local(total_offset(row, strip))]);
    if (key_.bias) vaddps(value, value, v_.scale());
    const auto to = ptr[y + strip * kStripColumns * y_bytes];
    if (key_.output_type == ZENWOQ_F32) {
      vmovups(to | k1, value);
    } else {
      vcvtneps2bf16(Xbyak::Ymm(value.getIdx()), value);
      vmovdqu16(to | k1, Xbyak::Ymm(value.getIdx()));
    }
    if (row + 1 < key_.tile.rows) add(y, qword[local(local_.ldy_bytes)]);
  }
}

// The unit to the right: the next strips of this panel, or the first of the next.
void GemmAvx512::next_unit() {
  const std::uint32_t unit_columns = key_.tile.strips * u32(kStripColumns);
  add(qword[local(local_.y)], unit_columns * u32(dtype_bytes(key_.output_type)));
  if (key_.bias) add(qword[local(local_.bias)], unit_columns * 4);
  const auto next_panel = [this] { add(qword[local(local_.panel)], u32(layout_.bytes() * panels_per_unit())); };
  if (key_.tile.strips >= kPanelStrips) {
    next_panel();
  } else {
    Xbyak::Label same_panel;
    add(r_.strip_offset, key_.tile.strips * u32(kStripBytes));
    cmp(r_.strip_offset, static_cast<int>(kStepBytes));
    jl(same_panel);
    xor_(r_.strip_offset.cvt32(), r_.strip_offset.cvt32());
    next_panel();
    L(same_panel);
  }
  sub(qword[local(local_.columns)], unit_columns);
}

RegExp GemmAvx512::x_address(std::uint32_t row, std::uint32_t step, std::uint32_t pair, bool from_tail) const {
  const std::uint32_t offset = pair * 4 + (from_tail ? row : step) * kStepXBytes;
  if (from_tail) return local(local_.x_tail + offset);
  const RegExp base = (row < kLowRows ? r_.x_low : r_.x_high) + offset;
  switch (row % kLowRows) {
    case 1: return base + r_.ldx;
    case 2: return base + r_.ldx * 2;
    case 3: return base + r_.ldx3;
    case 4: return base + r_.ldx * 4;
    case 5: return base + r_.ldx5;
    default: return base;
  }
}

RegExp GemmAvx512::code_address(std::uint32_t step, std::uint32_t strip) const {
  return r_.codes +
         u32(step * kStepBytes + strip % kPanelStrips * kStripBytes + strip / kPanelStrips * layout_.bytes());
}

// Where the group's scales (or zeros) of a strip are, once codes is behind its last step.
RegExp GemmAvx512::parameter_address(const Xbyak::Reg64& from, std::uint32_t element_bytes, std::uint32_t strip) const {
  return r_.codes + from +
         u32(strip % kPanelStrips * kStripColumns * element_bytes + strip / kPanelStrips * layout_.bytes());
}

// Where the epilogue has a total: in its own register, loaded from memory, or in the accumulator of a single group.
Zmm GemmAvx512::total_register(std::uint32_t row, std::uint32_t strip) const {
  if (v_.totals_in_registers()) return v_.total(row, strip);
  return v_.totals_in_memory() ? v_.result() : v_.acc(row, strip);
}

std::uint32_t GemmAvx512::total_offset(std::uint32_t row, std::uint32_t strip) const {
  return local_.totals + (row * key_.tile.strips + strip) * 64;
}

std::uint32_t GemmAvx512::zero_bytes() const {
  return key_.zero_kind == ZENWOQ_ZERO_INTEGER ? 1 : u32(dtype_bytes(key_.scale_type));
}

}  // namespace zenwoq
