// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Random kernels of every tile that the grammar knows give the same bits as the reference, access nothing but their
// operands, change nothing of the caller's, and are the same code wherever they are emitted.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstdlib>
#include <cstring>

#include "jit/jit.h"
#include "jit/mxcsr.h"
#include "jit/tier.h"
#include "src/run/layer.h"
#include "tests/support/guard_buffer.h"
#include "tests/support/kernel_host.h"
#include "tests/support/random_weight.h"

namespace zenwoq::test {
namespace {

constexpr int kCases = 12000;
constexpr unsigned kCallerMxcsr[] = {0x1F80, 0x9FC0, 0x1FC0, 0x9F80,
                                     0x3F80, 0x5F80, 0x7FBF};  // rounding, flags, flushing

struct Case {
  KernelKey key;
  std::size_t rows, tall, low, panels, columns, x_shift, y_shift, x_gap, y_gap;
  unsigned mxcsr;
  bool nasty;
  bool in_place;  // the last residual is y itself
};

Habits random_habits(Rng& rng) {
  Habits habits;
  habits.decode_first = rng() % 2;
  habits.share_x = rng() % 2;
  if (rng() % 2) {
    habits.prefetch = {static_cast<std::uint32_t>(64 * pick(rng, 1, 256)), static_cast<std::uint32_t>(pick(rng, 1, 4)),
                       rng() % 2 == 0};
  }
  return habits;
}

// Half of them short: as a linear without epilogue has them.
Epilogue random_epilogue(Rng& rng, bool gated) {
  Epilogue epilogue;
  epilogue.tensor_scale = static_cast<zenwoq_tensor_scale_kind>(rng() % 2 ? 0 : rng() % 3);
  epilogue.bias = rng() % 2;
  if (gated || rng() % 2) epilogue.activation = static_cast<zenwoq_activation>(rng() % (gated ? 6 : 5));
  if (!gated && rng() % 4 == 0) epilogue.factor = true;
  if (!gated && rng() % 4 == 0) epilogue.residuals = static_cast<std::uint8_t>(rng() % 3);
  return epilogue;
}

// Any key of the tier; the weight that goes with it decides whether codes may be integers.
Case random_case(Rng& rng, zenwoq_tier tier) {
  constexpr std::uint32_t kStrips[] = {1, 2, 4, 8};
  Case c{};
  do {
    c.key.tier = tier;
    c.key.codes = static_cast<Codes>(rng() % 2);
    c.key.tile = {static_cast<std::uint32_t>(pick(rng, 1, kMaxTileRows)), kStrips[rng() % 4], rng() % 2 == 0,
                  rng() % 4 == 0};
    c.key.k = rng() % 4 == 0 ? pick(rng, 1024, 1600) : pick(rng, 1, 300);
    c.key.group = rng() % 4 == 0 ? c.key.k : 8 * (rng() % 4 == 0 ? pick(rng, 1, 128) : pick(rng, 1, 16));
    if (c.key.group > c.key.k) c.key.group = c.key.k;
    const ParameterFormat format = random_format(rng);
    c.key.scale_type = format.scale_type;
    c.key.zero_kind = format.zero_kind;
    c.key.zero_type = format.zero_type;
    if (format.has_two_levels()) {
      c.key.group = 8 * pick(rng, 1, rng() % 8 == 0 ? 40 : 6);
      c.key.k = fitting_k(format, c.key.k, c.key.group);
    }
    c.key.output_type = rng() % 2 ? ZENWOQ_F32 : ZENWOQ_BF16;
    c.key.epilogue = random_epilogue(rng, c.key.tile.gated);
    c.key.habits =
        tier == ZENWOQ_TIER_AVX512BF16 ? random_habits(rng) : Habits{.prefetch = random_habits(rng).prefetch};
  } while (!why_not(c.key).empty());
  const std::size_t unit = c.key.tile.panels();
  c.tall = !c.key.tile.scratch ? 1 : rng() % 16 == 0 ? kMaxScratchRows / c.key.tile.rows : pick(rng, 0, 4);
  const std::size_t room = (kMaxScratchRows - c.tall * c.key.tile.rows) / std::max(c.key.tile.rows - 1, 1u);
  c.low = c.key.tile.scratch ? std::min(room, pick(rng, c.tall == 0, 3)) : 0;
  c.rows = c.tall * c.key.tile.rows + c.low * (c.key.tile.rows - 1);
  c.panels = unit * pick(rng, 1, c.key.k >= 1024 ? 1 : 3);
  // More than two runs of panels.
  if (c.key.tile.gated && c.key.tile.rows == 1 && c.key.tile.strips == 4) c.panels = pick(rng, 1, 20);
  c.columns = (c.panels - 1) * 64 + pick(rng, 1, 64);
  c.x_shift = rng() % 4;
  c.y_shift = rng() % 4;
  c.x_gap = rng() % 3 == 0 ? rng() % 40 : 0;
  c.y_gap = rng() % 3 == 0 ? rng() % 40 : 0;
  c.mxcsr = kCallerMxcsr[rng() % std::size(kCallerMxcsr)];
  c.nasty = rng() % 2;
  c.in_place = rng() % 2;
  return c;
}

// The operands of one case. What the kernel may read is read-only; everything ends at a page that nobody may touch.
class Operands {
 public:
  Operands(Rng& rng, const Case& c)
      : rows_(c.rows),
        kernel_type_(find_tier(c.key.tier)->x_type),
        ldx_((c.key.k + c.x_gap) * 2),
        ldy_((c.columns + c.y_gap) * dtype_bytes(c.key.output_type)),
        y_row_(c.columns * dtype_bytes(c.key.output_type)),
        weight_(random_weight(rng, c)),
        up_weight_(random_weight_with_table(rng, c, weight_)),
        x_((rows_ - 1) * ldx_ + c.key.k * 2 + c.x_shift, 0xFF),
        xsum_(c.key.groups() * rows_ * 4),
        bias_(c.panels * 64 * 4),
        up_bias_(c.panels * 64 * 4),
        y_((rows_ - 1) * ldy_ + y_row_ + c.y_shift),
        expected_(y_.size()) {
    if (!make_header(weight_.desc(), &view_.header).ok()) std::abort();
    packed_ = std::make_unique<GuardBuffer>(view_.header.total_bytes);
    if (!pack_rows(view_.header, weight_.source(), 0, c.columns, packed_->data()).ok()) std::abort();
    view_.base = packed_->data();
    up_packed_ = std::make_unique<GuardBuffer>(view_.header.total_bytes);
    if (!pack_rows(view_.header, up_weight_.source(), 0, c.columns, up_packed_->data()).ok()) std::abort();
    layer_ = std::make_unique<Layer>(view_, ZENWOQ_F32, nullptr, nullptr);
    fill(rng, c);
    make_kernel_x(c.key.k);
    args_ = {.x = x_.data(),
             .ldx_bytes = ldx_,
             .panels = view_.panel(0),
             .xsum = reinterpret_cast<const float*>(xsum_.data()),
             .xsum_bytes = rows_ * 4,
             .bias = reinterpret_cast<const float*>(bias_.data()),
             .y = y_.data(),
             .ldy_bytes = ldy_,
             .columns = c.columns,
             .table = &layer_->table,
             .tall_tiles = c.tall,
             .low_tiles = c.low,
             .tensor_scale = bf16_to_f32(random_bf16(rng, false)),
             .up_tensor_scale = bf16_to_f32(random_bf16(rng, false)),
             .up_panels = up_packed_->data() + kHeaderBytes,
             .up_bias = reinterpret_cast<const float*>(up_bias_.data())};
    make_operands(rng, c);
    for (GuardBuffer* read_only : {packed_.get(), up_packed_.get(), &x_, &xsum_, &bias_, &up_bias_}) {
      read_only->make_read_only();
    }
  }

  // What the kernel is given: the same rows, in the form that its tier takes.
  GemmArgs kernel_args() const {
    GemmArgs args = args_;
    if (kernel_type_ == ZENWOQ_F32) args.x = kernel_x_->data(), args.ldx_bytes = kernel_ldx_;
    return args;
  }

  // One range per row: not even the gap between two rows may be read or written.
  std::vector<emulator::Range> ranges() {
    std::vector<emulator::Range> result = {{view_.base, view_.header.total_bytes, false, "packed weight"},
                                           {xsum_.data(), xsum_.size(), false, "xsum"},
                                           {up_packed_->data(), up_packed_->size(), false, "second weight"},
                                           {bias_.data(), bias_.size(), false, "bias"},
                                           {up_bias_.data(), up_bias_.size(), false, "bias of up"},
                                           {args_.table, sizeof *args_.table, false, "table"}};
    for (std::size_t r = 0; r < rows_; ++r) {
      const auto* x = static_cast<const std::uint8_t*>(kernel_args().x);
      const std::size_t x_bytes = kernel_type_ == ZENWOQ_F32 ? completed_ * 4 : view_.header.k * 2;
      result.push_back({x + r * kernel_args().ldx_bytes, x_bytes, false, fmt::format("x row {}", r)});
      result.push_back({y_.data() + r * ldy_, y_row_, true, fmt::format("y row {}", r)});
      for (std::size_t i = 0; i < operands_.size(); ++i) {
        const std::uint8_t* row = operands_[i]->data() + r * operand_ld(i);
        result.push_back({row, y_row_, false, fmt::format("matrix {} row {}", i, r)});
      }
    }
    return result;
  }

  void compute_expected(const KernelKey& key) {
    GemmArgs args = args_;
    args.y = expected_.data();
    if (args.residual[in_place_] == y_.data()) args.residual[in_place_] = expected_.data();
    reference_gemm_avx2_fma(key, rows_, args);
  }

  // Compares all bytes of y, those between the rows included. Empty if equal; any NaN equals any other.
  std::string difference(zenwoq_dtype type) {
    if (std::memcmp(y_.data(), expected_.data(), y_.size()) == 0) return "";
    for (std::size_t i = 0; i < y_.size(); ++i) {
      if (y_.data()[i] == expected_.data()[i]) continue;
      const std::size_t column = i % ldy_ / dtype_bytes(type);
      const std::uint8_t* got = y_.data() + i / ldy_ * ldy_ + column * dtype_bytes(type);
      const std::uint8_t* want = expected_.data() + (got - y_.data());
      const float a = load_as_f32(type, got, 0);
      const float b = load_as_f32(type, want, 0);
      if (i % ldy_ >= y_row_) return fmt::format("byte {} after row {} was written", i % ldy_ - y_row_, i / ldy_);
      if (!same_f32(a, b)) return fmt::format("row {}, column {}: {}, the reference has {}", i / ldy_, column, a, b);
    }
    return "";
  }

 private:
  void fill(Rng& rng, const Case& c) {
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t k = 0; k < c.key.k; ++k) {
        const std::uint16_t bits = random_bf16(rng, c.nasty);
        std::memcpy(x_.data() + r * ldx_ + k * 2, &bits, 2);
      }
    }
    for (GuardBuffer* bias : {&bias_, &up_bias_}) {
      for (std::size_t i = 0; i < bias->size(); i += 4) {
        // Also a NaN whose payload is all ones: rounded like a number it would become -0.
        const bool full_nan = c.nasty && rng() % 32 == 0;
        const float value = full_nan ? std::bit_cast<float>(0x7FFFFFFFu) : bf16_to_f32(random_bf16(rng, c.nasty));
        std::memcpy(bias->data() + i, &value, 4);
      }
    }
    sum_groups(ZENWOQ_BF16, x_.data(), ldx_, rows_, c.key.k, c.key.group, reinterpret_cast<float*>(xsum_.data()),
               rows_);
  }

  std::size_t operand_ld(std::size_t i) const { return ldy_ + 8 * i; }

  // Matrices that the epilogue reads, each with rows of its own length; one of them may be y, which then has values.
  void make_operands(Rng& rng, const Case& c) {
    const auto fill = [&](std::uint8_t* rows, std::size_t ld) {
      for (std::size_t r = 0; r < rows_; ++r) {
        for (std::size_t i = 0; i < c.columns; ++i) {
          const std::uint16_t bits = random_bf16(rng, c.nasty);
          const float value = bf16_to_f32(bits);
          std::uint8_t* to = rows + r * ld + i * dtype_bytes(c.key.output_type);
          c.key.output_type == ZENWOQ_F32 ? std::memcpy(to, &value, 4) : std::memcpy(to, &bits, 2);
        }
      }
    };
    const auto add = [&](const void** data, std::uint64_t* row_bytes) {
      const std::size_t ld = operand_ld(operands_.size());
      operands_.push_back(std::make_unique<GuardBuffer>((rows_ - 1) * ld + y_row_));
      fill(operands_.back()->data(), ld);
      operands_.back()->make_read_only();
      *data = operands_.back()->data();
      *row_bytes = ld;
    };
    if (c.key.epilogue.factor) add(&args_.factor, &args_.factor_bytes);
    for (std::size_t i = 0; i < c.key.epilogue.residuals; ++i) {
      if (i + 1 == c.key.epilogue.residuals && c.in_place) {
        in_place_ = i;
        fill(y_.data(), ldy_);
        std::memcpy(expected_.data(), y_.data(), y_.size());
        args_.residual[i] = y_.data();
        args_.residual_bytes[i] = ldy_;
      } else {
        add(&args_.residual[i], &args_.residual_bytes[i]);
      }
    }
  }

  static RandomWeight random_weight_with_table(Rng& rng, const Case& c, const RandomWeight& of) {
    RandomWeight weight = random_weight(rng, c);
    weight.table = of.table;
    return weight;
  }

  static RandomWeight random_weight(Rng& rng, const Case& c) {
    RandomWeight weight;
    do {
      weight = test::random_weight(rng, c.columns, c.key.k, c.key.per_channel() ? 0 : c.key.group, c.key.format());
    } while (c.key.codes == Codes::integer && !make_decode_table(weight.table).integer);
    return weight;
  }

  // f32 rows, completed with +0, with gaps that the kernel must not read.
  void make_kernel_x(std::size_t k) {
    completed_ = (k + 7) / 8 * 8;
    kernel_ldx_ = (completed_ + ldx_ / 2 - k) * 4;
    kernel_x_ = std::make_unique<GuardBuffer>((rows_ - 1) * kernel_ldx_ + completed_ * 4, 0xFF);
    for (std::size_t r = 0; r < rows_; ++r) {
      std::uint8_t* to = kernel_x_->data() + r * kernel_ldx_;
      std::memset(to, 0, completed_ * 4);
      for (std::size_t i = 0; i < k; ++i) {
        const float value = load_as_f32(ZENWOQ_BF16, x_.data() + r * ldx_, i);
        std::memcpy(to + i * 4, &value, 4);
      }
    }
    kernel_x_->make_read_only();
  }

  const std::size_t rows_;
  const zenwoq_dtype kernel_type_;
  const std::size_t ldx_, ldy_, y_row_;
  const RandomWeight weight_, up_weight_;
  GuardBuffer x_, xsum_, bias_, up_bias_, y_, expected_;
  PackedView view_{};
  std::unique_ptr<GuardBuffer> packed_, up_packed_;
  std::vector<std::unique_ptr<GuardBuffer>> operands_;
  std::size_t in_place_ = 0;
  std::unique_ptr<Layer> layer_;
  std::unique_ptr<GuardBuffer> kernel_x_;
  std::size_t completed_ = 0, kernel_ldx_ = 0;
  GemmArgs args_{};
};

std::string check(Rng& rng, const Case& c, KernelHost& host) {
  if (parse_kernel_name(c.key.name()) != c.key) return "the name does not parse back to the key";
  std::vector<std::uint8_t> code, again;
  if (const Status status = emit(c.key, &code); !status.ok()) return status.text();
  if (!emit(c.key, &again).ok() || code != again) return "emitted twice, the bytes differ";
  Operands operands(rng, c);
  operands.compute_expected(c.key);
  std::string problem;
  unsigned mxcsr_after = 0;
  {
    const MxcsrScope caller(c.mxcsr);
    problem = host.call(code, operands.kernel_args(), operands.ranges());
    mxcsr_after = _mm_getcsr();
  }
  if (!problem.empty()) return problem;
  if (mxcsr_after != c.mxcsr) return fmt::format("MXCSR was {:x}, is {:x}", c.mxcsr, mxcsr_after);
  return operands.difference(c.key.output_type);
}

class KernelProperty : public testing::TestWithParam<zenwoq_tier> {};

TEST_P(KernelProperty, SameBitsAsTheReference) {
  const zenwoq_tier tier = GetParam();
  std::printf("kernels of %s run %s\n", find_tier(tier)->name,
              KernelHost::native(tier) ? "on this CPU" : "in the emulator: this CPU cannot run them");
  Rng rng(20260101);
  int large = 0;
  auto host = std::make_unique<KernelHost>(tier);
  for (int i = 0; i < kCases; ++i) {
    if (i % 1000 == 999) host = std::make_unique<KernelHost>(tier);  // frees the code of a thousand kernels
    const Case c = random_case(rng, tier);
    large += c.key.k >= 1024;
    const std::string problem = check(rng, c, *host);
    ASSERT_EQ(problem, "") << c.key.name() << ", " << c.rows << " rows, " << c.columns << " columns, case " << i
                           << ", nasty " << c.nasty;
  }
  EXPECT_GE(large, kCases / 5);
  RecordProperty("cases", kCases);
}

INSTANTIATE_TEST_SUITE_P(Tiers, KernelProperty, testing::Values(ZENWOQ_TIER_AVX2, ZENWOQ_TIER_AVX512BF16),
                         [](const auto& tier) { return find_tier(tier.param)->name; });

}  // namespace
}  // namespace zenwoq::test
