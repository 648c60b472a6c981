// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Emission of the AVX2 data path for few rows.
#include "jit/gemm_avx2.h"

#include <algorithm>

#include "jit/number.h"

namespace zenwoq {

using Xbyak::Reg64;
using Xbyak::RegExp;
using Xbyak::Ymm;

namespace {

constexpr std::uint32_t kHalves = 2;  // vectors of 8 columns in a strip
constexpr std::uint32_t kHalfBytes = 32;
constexpr std::uint8_t kPlusZero[kHalfBytes] = {};

}  // namespace

Avx2Registers::Avx2Registers(const KernelKey& key, std::uint32_t vectors)
    : rows_(key.tile.rows),
      tile_vectors_(key.tile.strips * kHalves),
      vectors_(vectors),
      totals_in_memory_(key.groups() > 1 || vectors < tile_vectors_),
      next_(rows_ * vectors_) {
  const std::uint32_t kept = rows_ * vectors_;  // all other registers are free between two groups
  if (key.codes == Codes::integer) {
    for (Ymm* constant : {&decode_.mask, &decode_.flip, &decode_.subtract}) *constant = take();
    // One strip: both halves are decoded, then each row's x meets them. More: every row's x stays, a vector at a time.
    for (std::uint32_t i = 0; i < (key.tile.strips == 1 ? kHalves : 1); ++i) weight_.push_back(take());
    for (std::uint32_t i = 0; i < (key.tile.strips == 1 ? 1 : rows_); ++i) x_.push_back(take());
    decode_.temp = weight_[0];
    decode_.spare = x_[0];
  } else {
    for (Ymm& pack : decode_.pack) pack = take();
    weight_.push_back(decode_.temp = take());
    x_.push_back(decode_.spare = take());
    if (next_ < 16) decode_.high_words = take();
    if (next_ < 16) decode_.nibbles = take();
  }
  for (std::uint32_t i = kept; i < 16; ++i) scratch_.push_back(ymm(i));
  next_ = std::max(next_, kept + 3);  // flush: scale, zero, xsum
  const bool own = !totals_in_memory_ && !key.long_epilogue();
  next_ = std::max(next_, (own ? kept : 0) + kHalves + EpilogueAvx2::kRegisters);
}

Avx2Registers::Avx2Registers(const KernelKey& key) : Avx2Registers(key, key.tile.strips * kHalves) {
  for (std::uint32_t vectors = tile_vectors_; !fits() && vectors > kHalves; --vectors) {
    *this = Avx2Registers(key, vectors - 1);
  }
}

// All but the registers of a loaded total; accumulators too, where the totals are in memory.
std::vector<Ymm> Avx2Registers::free_in_epilogue(bool is_long) const {
  if (is_long) return {ymm(4), ymm(5), ymm(6)};
  std::vector<Ymm> free(scratch_.begin() + kHalves, scratch_.end());
  for (std::uint32_t i = 0; i < rows_ * vectors_; ++i) free.push_back(ymm(i));
  return free;
}

std::vector<RegisterUse> Avx2Registers::uses(const KernelKey& key) const {
  std::vector<RegisterUse> uses;
  const auto use = [&](const char* scope, const char* role, const Ymm& at) {
    uses.push_back({scope, role, at.toString()});
  };
  for (std::uint32_t row = 0; row < rows_; ++row) {
    for (std::uint32_t i = 0; i < vectors_; ++i) {
      if (passes() > 1) {
        use("", "acc of a pass", acc(row, i));
        continue;
      }
      const int strip = static_cast<int>(i / kHalves);
      uses.push_back(
          {"", i % kHalves == 0 ? "acc low" : "acc high", acc(row, i).toString(), static_cast<int>(row), strip});
    }
  }
  uses.push_back({"", "total", totals_in_memory_ ? "in memory" : "acc, as there is a single group"});
  if (key.codes == Codes::integer) {
    use("multiply", "mask", decode_.mask);
    use("multiply", "flip", decode_.flip);
    use("multiply", "subtract", decode_.subtract);
  } else {
    for (const Ymm& pack : decode_.pack) use("multiply", "pack", pack);
    if (decode_.high_words) use("multiply", "high words", *decode_.high_words);
    if (decode_.nibbles) use("multiply", "low nibbles", *decode_.nibbles);
  }
  for (const Ymm& weight : weight_) use("multiply", "weight", weight);
  for (const Ymm& x : x_) use("multiply", "x", x);
  use("flush", "scale", scale());
  if (key.zero_kind != ZENWOQ_ZERO_NONE) use("flush", "zero", zero());
  if (key.zero_kind != ZENWOQ_ZERO_NONE) use("flush", "xsum", xsum());
  if (key.long_epilogue()) uses.push_back({"epilogue", "total", EpilogueAvx2::kLongPlace});
  return uses;
}

std::string GemmAvx2::why_not(const KernelKey& key) {
  if (std::string reason = Gemm::why_not(key); !reason.empty()) return reason;
  if (key.habits.share_x || key.habits.decode_first) return "df and xs: this tier has neither habit";
  if (key.tile.panels() > 1) return "tile of two panels: this tier walks them one by one";
  if (Avx2Registers(key).fits()) return {};
  return formatted("tile m{}x{} does not fit 16 vector registers", key.tile.rows, key.tile.strips);
}

std::size_t GemmAvx2::emit(const KernelKey& key, std::uint8_t* buffer, std::size_t capacity, std::vector<Note>* notes) {
  return GemmAvx2(key, Avx2Registers(key), buffer, capacity, notes).generate();
}

GemmAvx2::GemmAvx2(const KernelKey& key, const Avx2Registers& v, std::uint8_t* buffer, std::size_t capacity,
                   std::vector<Note>* notes)
    : Gemm(key,
           {.x_bytes = 4,
            .products_per_step = key.tile.rows * v.vectors() * static_cast<std::uint32_t>(kStepK),
            .totals_in_memory = v.totals_in_memory(),
            .stage_bytes = EpilogueAvx2::kStageBytes,
            .x_completed = true,
            .passes = v.passes(),
            .tensor_scales = 8},
           buffer, capacity, notes),
      v_(v),
      decode_(*this, v_.decode()),
      parameters_(*this, key_.format()),
      epilogue_(*this, key_, v_.free_in_epilogue(key_.long_epilogue())) {}

RegExp GemmAvx2::codes_of(std::uint32_t step, std::uint32_t i) const {
  return code_address(step, (first_ + i) / kHalves) + (first_ + i) % kHalves * kHalfBytes;
}

RegExp GemmAvx2::total_of(std::uint32_t row, std::uint32_t vector) const {
  return total_address(row, vector / kHalves) + vector % kHalves * kHalfBytes;
}

RegExp GemmAvx2::parameters_of(const Reg64& from, std::uint32_t element_bytes, std::uint32_t i) const {
  return parameter_address(from, element_bytes, (first_ + i) / kHalves) + (first_ + i) % kHalves * 8 * element_bytes;
}

void GemmAvx2::begin_pass(std::uint32_t pass) {
  first_ = pass * v_.vectors();
  if (v_.passes() > 1) note("pass {}: columns {} to {}", pass, first_ * 8, (first_ + vectors()) * 8 - 1);
  if (key_.codes == Codes::table) decode_.load_constants();  // the epilogue of the last unit took their registers
}

void GemmAvx2::zero_totals() {
  if (!v_.totals_in_memory()) return;
  vxorps(v_.nothing(), v_.nothing(), v_.nothing());
  for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
    for (std::uint32_t i = 0; i < key_.tile.strips * kHalves; ++i) {
      vmovups(ptr[total_of(row, i)], v_.nothing());
    }
  }
}

void GemmAvx2::zero_sums() {
  for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
    for (std::uint32_t i = 0; i < vectors(); ++i) vxorps(v_.acc(row, i), v_.acc(row, i), v_.acc(row, i));
  }
}

void GemmAvx2::broadcast_x(const Ymm& to, std::uint32_t row, std::uint32_t step, std::uint32_t k) {
  vbroadcastss(to, ptr[x_address(row, step, k, false)]);
}

void GemmAvx2::multiply_step(std::uint32_t step, bool) {
  // Narrow units walk a panel twice or four times, and each step asks for all four strips: the first walk brings them.
  for (std::uint32_t strip = 0; first_ == 0 && strip < key_.tile.strips; ++strip) {
    prefetch_codes(step, strip, kPanelStrips);
  }
  key_.codes == Codes::integer ? multiply_integers(step) : multiply_table(step);
}

// k outside, columns inside: neighbouring FMAs are of different chains, and the constants of a nibble serve all
// columns.
void GemmAvx2::multiply_integers(std::uint32_t step) {
  const Tile tile = key_.tile;
  for (const std::uint32_t k : kChainOrder) {
    if (k % 2 == 1) decode_.load_nibble(table(), k / 2);
    note("step +{}: k = {} of it, {} rows x {} columns", step, k, tile.rows, vectors() * 8);
    if (tile.strips == 1) {
      for (std::uint32_t i = 0; i < vectors(); ++i) decode_.integer(v_.weight(i), codes_of(step, i), k);
      for (std::uint32_t row = 0; row < tile.rows; ++row) {
        broadcast_x(v_.x(0), row, step, k);
        for (std::uint32_t i = 0; i < vectors(); ++i) vfmadd231ps(v_.acc(row, i), v_.weight(i), v_.x(0));
      }
      continue;
    }
    for (std::uint32_t row = 0; row < tile.rows; ++row) broadcast_x(v_.x(row), row, step, k);
    for (std::uint32_t i = 0; i < vectors(); ++i) {
      decode_.integer(v_.weight(0), codes_of(step, i), k);
      for (std::uint32_t row = 0; row < tile.rows; ++row) vfmadd231ps(v_.acc(row, i), v_.weight(0), v_.x(row));
    }
  }
}

// A vector of columns at a time: its eight k come out of the lookup in another order than the chain's.
void GemmAvx2::multiply_table(std::uint32_t step) {
  const Tile tile = key_.tile;
  for (std::uint32_t i = 0; i < vectors(); ++i) {
    note("step +{}: columns {} to {}, {} rows", step, (first_ + i) * 8, (first_ + i) * 8 + 7, tile.rows);
    decode_.lookup(table(), codes_of(step, i));
    for (const std::uint32_t k : kChainOrder) {
      decode_.unpack(v_.weight(0), k);
      for (std::uint32_t row = 0; row < tile.rows; ++row) {
        broadcast_x(v_.x(0), row, step, k);
        vfmadd231ps(v_.acc(row, i), v_.weight(0), v_.x(0));
      }
    }
  }
}

void GemmAvx2::widen_f16(const RegExp& from, const RegExp& to) {
  for (std::uint32_t half = 0; half < kHalves; ++half) {
    parameters_.widen_f16(from + half * 16, to + half * kHalfBytes, v_.scale());
  }
}

void GemmAvx2::flush_group() {
  const auto scale_bytes = static_cast<std::uint32_t>(key_.format().scale_bytes());
  const auto zero_bytes = static_cast<std::uint32_t>(key_.format().zero_bytes());
  for (std::uint32_t i = 0; i < vectors(); ++i) {
    note("flush: scales of columns {} to {}", (first_ + i) * 8, (first_ + i) * 8 + 7);
    const auto supers = [&](bool offsets) {
      return super_address(offsets, (first_ + i) / kHalves) + (first_ + i) % kHalves * kHalfBytes;
    };
    parameters_.load_scales(v_.scale(), parameters_of(r_.scales, scale_bytes, i), supers(false));
    parameters_.load_zeros(v_.zero(), parameters_of(r_.zeros, zero_bytes, i), supers(true));
    for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
      const Ymm acc = v_.acc(row, i);
      const RegExp total = total_of(row, first_ + i);
      const auto so_far = v_.totals_in_memory() ? ptr[total] : ptr[constant(kPlusZero, "+0")];
      parameters_.flush(acc, v_.scale(), v_.zero(), v_.xsum(), xsum_address(row), so_far);
      if (v_.totals_in_memory()) vmovups(ptr[total], acc);
    }
  }
}

void GemmAvx2::spill_totals(const RegExp& to) {
  for (std::uint32_t row = 0; row < key_.tile.rows; ++row) {
    for (std::uint32_t i = 0; i < key_.tile.strips * kHalves; ++i) {
      const Ymm total = v_.totals_in_memory() ? v_.acc(0, 0) : v_.acc(row, i);
      if (v_.totals_in_memory()) vmovaps(total, ptr[total_of(row, i)]);
      vmovaps(ptr[to + (row * key_.tile.strips * kHalves + i) * kHalfBytes], total);
    }
  }
}

void GemmAvx2::store_row(std::uint32_t row, std::uint32_t strip, const RegExp& y) {
  Ymm total[kHalves];
  for (std::uint32_t half = 0; half < kHalves; ++half) {
    const std::uint32_t vector = strip * kHalves + half;
    total[half] = v_.totals_in_memory() ? v_.value(half) : v_.acc(row, vector);
    if (v_.totals_in_memory()) vmovups(total[half], ptr[total_of(row, vector)]);
  }
  if (key_.epilogue.tensor_scale != ZENWOQ_TENSOR_SCALE_NONE) {
    epilogue_.scale(total[0], total[1], tensor_scale_address());
  }
  if (key_.epilogue.bias) {
    load_bias_address(r_.temp);
    epilogue_.add_bias(total[0], total[1], r_.temp + strip * 64);
  }
  // Pointers and counters of the unit are free here; groups has the columns that exist.
  epilogue_.store(total[0], total[1], y, r_.groups, r_.x_low, r_.temp, stage_address());
}

}  // namespace zenwoq
