// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Computes the f64 product of eight rows of x at a time, so that the compiler can vectorize it.
#include "tools/exact_product.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "jit/number.h"

namespace zenwoq::tools {
namespace {

// The contract reads denormal f32 operands as zero.
double operand(float value) { return std::fabs(value) < FLT_MIN ? 0.0 : static_cast<double>(value); }

// Rounded to bf16 as the contract does before anything else.
double activation(const Layer& layer, const RunRows& runs, std::size_t row, std::size_t place) {
  const std::size_t column = layer.column(place);
  const float x = bf16_to_f32(runs.x[row * layer.info.k + column]);
  if (layer.x_scale.empty()) return x;
  const double product = static_cast<double>(x) * operand(layer.x_scale[column]);
  return operand(bf16_to_f32(f32_to_bf16(static_cast<float>(product))));
}

}  // namespace

// One row of W, widened to f64.
struct ExactProduct::Column {
  std::vector<double> t;         // [K] table values of the codes
  std::vector<double> scale;     // [G]
  std::vector<double> x_factor;  // [G] what the sum of x is multiplied by: S * (8 - z), -S * z, or B
  double tensor_scale = 1;
  double bias = 0;
};

ExactProduct::ExactProduct(const Layer& layer, const RunRows& runs) : layer_(layer), runs_(runs) {
  const LayerInfo& info = layer.info;
  group_ = info.group();
  groups_ = info.groups();
  blocks_ = (runs.rows + kLanes - 1) / kLanes;
  for (std::size_t i = 0; i < 16; ++i) table_[i] = bf16_to_f32(f32_to_bf16(info.table[i]));
  x_.resize(blocks_ * info.k);
  x_sums_.resize(blocks_ * groups_);
  x_sizes_.resize(blocks_ * groups_);
  for (std::size_t row = 0; row < runs.rows; ++row) {
    const std::size_t block = row / kLanes;
    for (std::size_t k = 0; k < info.k; ++k) {
      const double x = activation(layer, runs, row, k);
      x_[block * info.k + k].lane[row % kLanes] = x;
      x_sums_[block * groups_ + k / group_].lane[row % kLanes] += x;
      x_sizes_[block * groups_ + k / group_].lane[row % kLanes] += std::fabs(x);
    }
  }
}

ExactProduct::Column ExactProduct::read_column(std::size_t n) const {
  const LayerInfo& info = layer_.info;
  Column column;
  column.t.resize(info.k);
  for (std::size_t k = 0; k < info.k; ++k) column.t[k] = table_[layer_.code(n, layer_.column(k))];
  if (info.tensor_scale_kind != ZENWOQ_TENSOR_SCALE_NONE) column.tensor_scale = operand(info.tensor_scale);
  if (info.tensor_scale_kind == ZENWOQ_TENSOR_SCALE_BY) column.tensor_scale = 1 / column.tensor_scale;
  for (std::size_t i = n * groups_; i < (n + 1) * groups_; ++i) {
    const double scale = operand(layer_.scale(i)) * column.tensor_scale;
    double x_factor = 0;
    if (info.zero_kind == ZENWOQ_ZERO_INTEGER) x_factor = scale * (8.0 - layer_.zero(i));
    if (info.zero_kind == ZENWOQ_ZERO_FLOAT) x_factor = scale * -operand(layer_.zero(i));
    if (info.zero_kind == ZENWOQ_ZERO_OFFSET) x_factor = operand(layer_.offset(i)) * column.tensor_scale;
    column.scale.push_back(scale);
    column.x_factor.push_back(x_factor);
  }
  if (info.has_bias) column.bias = operand(load_as_f32(info.bias_type, layer_.bias.data(), n));
  return column;
}

void ExactProduct::multiply_group(const Column& column, std::size_t block, std::size_t g, Lanes* exact,
                                  Lanes* magnitude) const {
  const std::size_t end = std::min(layer_.info.k, (g + 1) * group_);
  const Lanes* x = &x_[block * layer_.info.k];
  Lanes sum;
  Lanes size;
  for (std::size_t k = g * group_; k < end; ++k) {
    const double t = column.t[k];
    const double t_size = std::fabs(t);
    for (std::size_t i = 0; i < kLanes; ++i) sum.lane[i] += t * x[k].lane[i];
    for (std::size_t i = 0; i < kLanes; ++i) size.lane[i] += t_size * std::fabs(x[k].lane[i]);
  }
  const Lanes& x_sum = x_sums_[block * groups_ + g];
  const Lanes& x_size = x_sizes_[block * groups_ + g];
  for (std::size_t i = 0; i < kLanes; ++i) {
    exact->lane[i] += column.scale[g] * sum.lane[i] + column.x_factor[g] * x_sum.lane[i];
    magnitude->lane[i] += std::fabs(column.scale[g]) * size.lane[i] + std::fabs(column.x_factor[g]) * x_size.lane[i];
  }
}

double ExactProduct::block_error(const Column& column, std::size_t n, std::size_t block, const Lanes& exact,
                                 const Lanes& magnitude) const {
  const auto steps = static_cast<double>(layer_.info.k + 2 * groups_ + 8);
  // Of sums before the tensor scale, and of their product with it.
  const double flushes = static_cast<double>(2 * groups_ + 2) * std::max(1.0, std::fabs(column.tensor_scale)) + 1;
  double worst = 0;
  for (std::size_t row = block * kLanes; row < std::min(runs_.rows, (block + 1) * kLanes); ++row) {
    const double size = magnitude.lane[row % kLanes];
    const double y = runs_.y[row * layer_.info.n + n];
    if (std::isinf(y) && size + std::fabs(column.bias) >= FLT_MAX) continue;
    const double bound = steps * 0x1p-24 * size + std::fabs(column.bias) * 0x1p-23 + flushes * 0x1p-126;
    const double ratio = std::fabs(y - (exact.lane[row % kLanes] + column.bias)) / bound;
    worst = std::max(worst, std::isnan(ratio) ? std::numeric_limits<double>::infinity() : ratio);
  }
  return worst;
}

double ExactProduct::max_error_over_bound(std::size_t n_begin, std::size_t n_end) const {
  double worst = 0;
  for (std::size_t n = n_begin; n < n_end; ++n) {
    const Column column = read_column(n);
    for (std::size_t block = 0; block < blocks_; ++block) {
      Lanes exact;
      Lanes magnitude;
      for (std::size_t g = 0; g < groups_; ++g) multiply_group(column, block, g, &exact, &magnitude);
      worst = std::max(worst, block_error(column, n, block, exact, magnitude));
    }
  }
  return worst;
}

}  // namespace zenwoq::tools
