// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the AVX2 kernel for many rows: one tile of rows times what is decoded, and what becomes of its sums.
#include "jit/gemm.h"
#include "jit/gemm_avx2.h"
#include "jit/number.h"
#include "jit/scratch_avx2.h"

namespace zenwoq {

using Xbyak::Reg64;
using Xbyak::RegExp;
using Xbyak::Ymm;

namespace {

constexpr std::uint32_t kXBytes = 4;

std::uint32_t u32(std::uint64_t value) { return static_cast<std::uint32_t>(value); }

}  // namespace

void ScratchAvx2::tiles(std::uint32_t rows, std::uint32_t count_slot) {
  Xbyak::Label again, done;
  mov(r_.tiles, slot(count_slot));
  test(r_.tiles, r_.tiles);
  jz(done, T_NEAR);
  L(again);
  label("tile of {}", rows);
  for (std::uint32_t strip = 0; strip < kStrips; ++strip) multiply_tile(rows, strip);
  next_rows(r_.x_tile, rows);
  add(r_.totals, rows * kStrips * kRowBytes);
  if (key_.zero_kind != ZENWOQ_ZERO_NONE) add(r_.xsum, rows * 4);
  dec(r_.tiles);
  jnz(again, T_NEAR);
  L(done);
}

void ScratchAvx2::multiply_tile(std::uint32_t rows, std::uint32_t strip) {
  const auto waiting = [&](std::uint32_t row, std::uint32_t half) {
    const std::uint32_t place = (row * kStrips + strip) * kRowBytes + half * kHalfBytes;
    return ptr[r_.totals + (local_.waiting - local_.totals) + place];
  };
  const auto each = [&](auto&& body) {
    for (std::uint32_t row = 0; row < rows; ++row) {
      for (std::uint32_t half = 0; half < kHalves; ++half) body(row, half);
    }
  };
  each([&](std::uint32_t row, std::uint32_t half) {
    if (sums_wait()) {
      vmovaps(acc(row, half), waiting(row, half));
    } else {
      vxorps(acc(row, half), acc(row, half), acc(row, half));
    }
  });
  multiply_steps(rows, strip);
  if (!sums_wait()) return flush_tile(rows, strip);
  Xbyak::Label ends, done;
  cmp(slot(local_.group_left), 0);
  je(ends, T_NEAR);
  note("the group goes on: its sums wait");
  each([&](std::uint32_t row, std::uint32_t half) { vmovaps(waiting(row, half), acc(row, half)); });
  jmp(done, T_NEAR);
  L(ends);
  flush_tile(rows, strip);
  vxorps(scale(), scale(), scale());
  each([&](std::uint32_t row, std::uint32_t half) { vmovaps(waiting(row, half), scale()); });
  L(done);
}

void ScratchAvx2::multiply_steps(std::uint32_t rows, std::uint32_t strip) {
  const Reg64& from = r_.temp;
  const Reg64& x_next = r_.codes;
  Xbyak::Label step;
  mov(r_.x, r_.x_tile);
  mov(x_next, r_.x_tile);
  next_rows(x_next, rows);
  mov(r_.steps, slot(local_.segment));
  lea(from, ptr[local(local_.scratch + strip * kSegmentSteps * u32(kStepK) * kRowBytes)]);
  L(step);
  // Short segments take a line or two of each row, too few for the hardware's prefetchers to see. Prefetches never
  // fault.
  for (std::uint32_t row = 0; strip == 0 && row < rows; ++row) prefetcht0(ptr[row_of(x_next, row)]);
  for (const std::uint32_t k : kChainOrder) {
    for (std::uint32_t half = 0; half < kHalves; ++half) {
      vmovaps(weight(half), ptr[from + k * kRowBytes + half * kHalfBytes]);
    }
    for (std::uint32_t row = 0; row < rows; ++row) {
      vbroadcastss(x(row), ptr[row_of(r_.x, row) + k * kXBytes]);
      for (std::uint32_t half = 0; half < kHalves; ++half) vfmadd231ps(acc(row, half), weight(half), x(row));
    }
  }
  add(r_.x, u32(kStepK) * kXBytes);
  if (strip == 0) add(x_next, u32(kStepK) * kXBytes);
  add(from, u32(kStepK) * kRowBytes);
  dec(r_.steps);
  jnz(step, T_NEAR);
}

void ScratchAvx2::flush_tile(std::uint32_t rows, std::uint32_t strip) {
  const std::uint32_t scale_bytes = u32(key_.format().scale_bytes()), zero_bytes = u32(key_.format().zero_bytes());
  const bool up = gated() && strip == 1;
  if (up) mov(r_.temp, slot(local_.up));
  const auto parameters = [&](const Reg64& first, std::uint32_t bytes) {
    return up ? first + r_.temp + bytes : RegExp(first) + bytes;
  };
  for (std::uint32_t half = 0; half < kHalves; ++half) {
    const std::uint32_t column = strip * u32(kStripColumns) + half * 8;  // in the tile
    const std::uint32_t in_weight = up ? half * 8 : column;
    note("flush: scales of columns {} to {}", column, column + 7);
    parameters_.load_scales(scale(), parameters(r_.scales, in_weight * scale_bytes),
                            local(local_.super_scales + column * 4));
    parameters_.load_zeros(zero(), parameters(r_.zeros, in_weight * zero_bytes),
                           local(local_.super_offsets + column * 4));
    for (std::uint32_t row = 0; row < rows; ++row) {
      const auto total = ptr[r_.totals + (row * kStrips + strip) * kRowBytes + half * kHalfBytes];
      parameters_.flush(acc(row, half), scale(), zero(), xsum(), r_.xsum + row * 4, total);
      vmovaps(total, acc(row, half));
    }
  }
}

// Row by row. x walks the rows of y here; the pointers of tiles are free.
void ScratchAvx2::store_tiles(std::uint32_t rows, std::uint32_t count_slot) {
  const Reg64& y = r_.x;
  const Reg64& columns = r_.xsum;
  Xbyak::Label again, done;
  mov(r_.tiles, slot(count_slot));
  imul(r_.tiles, r_.tiles, static_cast<int>(rows));
  test(r_.tiles, r_.tiles);
  jz(done, T_NEAR);
  L(again);
  label("rows of y");
  Xbyak::Label row_done;
  for (std::uint32_t strip = 0; strip < key_.tile.strips; ++strip) {
    const Ymm low(0), high(1);
    mov(columns, slot(local_.columns));
    if (strip > 0) {
      sub(columns, static_cast<int>(strip * kStripColumns));
      jle(row_done, T_NEAR);
    }
    if (key_.long_epilogue()) {
      finish_strip(strip);
      continue;
    }
    vmovaps(low, ptr[r_.totals + strip * kRowBytes]);
    vmovaps(high, ptr[r_.totals + strip * kRowBytes + kHalfBytes]);
    if (has_tensor_scale()) epilogue_.scale(low, high, local(local_.tensor_scale));
    if (key_.epilogue.bias) {
      mov(r_.temp, slot(local_.bias));
      epilogue_.add_bias(low, high, r_.temp + strip * kRowBytes);
    }
    epilogue_.store(low, high, y + strip * u32(kStripColumns * dtype_bytes(key_.output_type)), columns, r_.steps,
                    r_.temp, local(local_.stage));
  }
  L(row_done);
  add(r_.totals, kStrips * kRowBytes);
  add(y, slot(local_.ldy_bytes));
  operands_->next_row();
  dec(r_.tiles);
  jnz(again, T_NEAR);
  L(done);
}

// in: the registers of store_tiles.
void ScratchAvx2::finish_strip(std::uint32_t strip) {
  const std::uint32_t bytes = strip * u32(kStripColumns * dtype_bytes(key_.output_type));
  epilogue_.finish({.total = r_.totals + strip * kRowBytes,
                    .up_total = r_.totals + kRowBytes,
                    .tensor_scale = local(local_.tensor_scale),
                    .up_tensor_scale = local(local_.tensor_scale + kHalfBytes),
                    .bias_slot = local(local_.bias),
                    .up_bias_slot = local(local_.up_bias),
                    .bias_bytes = strip * kRowBytes,
                    .y = r_.x + bytes,
                    .operands = operands_->registers(),
                    .operand_bytes = bytes,
                    .columns = r_.xsum,
                    .count = r_.steps,
                    .temp = r_.temp,
                    .stage = local(local_.stage)});
}

void ScratchAvx2::next_rows(const Reg64& pointer, std::uint32_t rows) {
  if (rows == 6) {
    lea(pointer, ptr[pointer + r_.ldx3 * 2]);
  } else {
    lea(pointer, ptr[row_of(pointer, rows)]);
  }
}

RegExp ScratchAvx2::row_of(const Reg64& base, std::uint32_t row) const {
  return row_address(base, row, r_.ldx, r_.ldx3, r_.ldx5);
}

}  // namespace zenwoq
