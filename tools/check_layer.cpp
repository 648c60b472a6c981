// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Runs one layer through the library, compares its results and times it.
#include "tools/check_layer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <new>
#include <random>

#include "src/api/boundary.h"
#include "tools/exact_product.h"
#include "tools/packed_layer.h"
#include "tools/stopwatch.h"

namespace zenwoq::tools {
namespace {

constexpr std::array<std::size_t, 3> kRunRows = {1, 4, 33};  // one row, one block, several blocks of unequal length
constexpr std::size_t kAllRows = 38;
constexpr std::uint64_t kSeed = 0x5EED;

// bf16 values of random sign and mantissa from 2^-8 to 2^3, the magnitudes that activations have.
std::vector<std::uint16_t> random_activations(std::size_t count) {
  std::mt19937_64 random(kSeed);
  std::vector<std::uint16_t> x(count);
  for (std::uint16_t& value : x) {
    const std::uint64_t bits = random();
    const std::uint64_t exponent = 119 + (bits >> 16) % 11;
    value = static_cast<std::uint16_t>((bits & 0x8000) | exponent << 7 | (bits & 0x7F));
  }
  return x;
}

void run(zenwoq_linear* linear, const LayerInfo& info, std::size_t m, const std::uint16_t* x, float* y) {
  zenwoq_run_args args;
  zenwoq_run_args_init(&args);
  args.m = m;
  args.x = x;
  args.x_bytes = m * info.k * sizeof *x;
  args.y = y;
  args.y_bytes = m * info.n * sizeof *y;
  require(zenwoq_linear_run(linear, &args));
}

// Does one run for each entry of kRunRows, all on different rows. What a run leaves unwritten stays NaN.
std::vector<float> run_all(zenwoq_linear* linear, const LayerInfo& info, const std::vector<std::uint16_t>& x) {
  std::vector<float> y(kAllRows * info.n, std::nanf(""));
  std::size_t row = 0;
  for (const std::size_t m : kRunRows) {
    run(linear, info, m, &x[row * info.k], &y[row * info.n]);
    row += m;
  }
  return y;
}

bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

// Describes the first element whose bits differ; empty if there is none.
std::string first_difference(const std::vector<float>& y, const std::vector<float>& expected, std::size_t n) {
  std::size_t first = 0;
  while (first < y.size() && same_bits(y[first], expected[first])) ++first;
  if (first == y.size()) return {};
  std::size_t row = first / n;
  std::size_t run = 0;
  while (row >= kRunRows[run]) row -= kRunRows[run++];
  const auto shown = [](float value) {
    return fmt::format("{} (0x{:08x})", value, std::bit_cast<std::uint32_t>(value));
  };
  return fmt::format("M = {}: y[{},{}] is {}, the reference says {}", kRunRows[run], row, first % n, shown(y[first]),
                     shown(expected[first]));
}

std::vector<KernelUse> kernels_of(zenwoq_linear* linear) {
  std::vector<KernelUse> uses;
  for (const std::size_t m : kRunRows) {
    std::size_t count = 1;
    for (std::size_t i = 0; i < count; ++i) {
      zenwoq_kernel_info info;
      zenwoq_kernel_info_init(&info);
      require(zenwoq_linear_kernel(linear, m, i, &count, &info));
      const auto same_name = [&](const KernelUse& use) { return use.name == info.name; };
      if (std::any_of(uses.begin(), uses.end(), same_name)) continue;
      uses.push_back({info.name, info.code_bytes, static_cast<double>(info.generation_ns) * 1e-3, info.reason});
    }
  }
  return uses;
}

double median_run_seconds(zenwoq_linear* linear, const LayerInfo& info, const std::vector<std::uint16_t>& x) {
  constexpr std::size_t kRuns = 15;
  constexpr double kEnoughSeconds = 0.03;  // after which three runs are enough
  std::vector<float> y(info.n);
  std::vector<double> seconds;
  const Stopwatch all;
  while (seconds.size() < 3 || (seconds.size() < kRuns && all.seconds() < kEnoughSeconds)) {
    const Stopwatch watch;
    run(linear, info, 1, x.data(), y.data());
    seconds.push_back(watch.seconds());
  }
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
  return seconds[seconds.size() / 2];
}

// Computed on the context's threads, a few columns per task.
double max_error_over_bound(const Layer& layer, const RunRows& runs, zenwoq_context* context) {
  constexpr std::size_t kColumnsPerTask = 32;
  const ExactProduct product(layer, runs);
  std::vector<double> errors((layer.info.n + kColumnsPerTask - 1) / kColumnsPerTask);
  std::atomic<bool> out_of_memory = false;
  auto task = [&](std::size_t i) {  // must not throw
    try {
      errors[i] = product.max_error_over_bound(i * kColumnsPerTask, std::min(layer.info.n, (i + 1) * kColumnsPerTask));
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
  };
  context->context->parallel_for(
      errors.size(), [](void* arg, std::size_t i) { (*static_cast<decltype(task)*>(arg))(i); }, &task);
  if (out_of_memory) throw std::bad_alloc();
  return *std::max_element(errors.begin(), errors.end());
}

LayerCheck check_expert(const LayerSource& source, std::size_t expert, zenwoq_context* jit, zenwoq_context* reference) {
  LayerCheck check;
  const formats::Prepared prepared = source.prepare(expert);
  const PackedLayer packed = pack_layer(source, prepared, jit);
  const Layer layer = read_layer(source, prepared, expert);
  check.info = layer.info;
  check.quantization = packed.quantization;
  check.packed_bytes = packed.packed_bytes;
  check.pack_seconds = packed.pack_seconds;
  check.unpacks_exactly = unpacks_exactly(layer, packed.weight.get());

  const LinearHandle linear = make_linear(jit, packed.weight.get(), layer);
  check.kernels = kernels_of(linear.get());
  RunRows runs{kAllRows, random_activations(kAllRows * layer.info.k), {}};
  runs.y = run_all(linear.get(), layer.info, runs.x);
  const auto generated = [](const KernelUse& use) { return use.name != "reference"; };
  if (std::any_of(check.kernels.begin(), check.kernels.end(), generated)) {
    const LinearHandle expected = make_linear(reference, packed.weight.get(), layer);
    check.difference = first_difference(runs.y, run_all(expected.get(), layer.info, runs.x), layer.info.n);
    const bool all_generated = std::all_of(check.kernels.begin(), check.kernels.end(), generated);
    if (!check.difference.empty() || all_generated) check.bits_equal = check.difference.empty();
  }
  check.max_error_over_bound = max_error_over_bound(layer, runs, jit);
  check.run_seconds = median_run_seconds(linear.get(), layer.info, runs.x);
  return check;
}

// Adds what was found in another weight of the layer. Its times stay those of the first one.
void add_expert(LayerCheck& all, std::size_t expert, LayerCheck&& one) {
  ++all.experts_checked;
  all.unpacks_exactly = all.unpacks_exactly && one.unpacks_exactly;
  const bool both_equal = all.bits_equal.value_or(true) && one.bits_equal.value_or(true);
  if (!both_equal || (all.bits_equal && one.bits_equal)) {
    all.bits_equal = both_equal;
  } else {
    all.bits_equal.reset();
  }
  if (all.difference.empty() && !one.difference.empty()) {
    all.difference = fmt::format("expert {}: {}", expert, one.difference);
  }
  all.max_error_over_bound = std::max(all.max_error_over_bound, one.max_error_over_bound);
  for (KernelUse& kernel : one.kernels) {
    const auto same_name = [&](const KernelUse& use) { return use.name == kernel.name; };
    if (std::none_of(all.kernels.begin(), all.kernels.end(), same_name)) all.kernels.push_back(std::move(kernel));
  }
}

}  // namespace

LayerCheck check_layer(const LayerSource& source, std::size_t experts, zenwoq_context* jit, zenwoq_context* reference) {
  const std::size_t count = experts == 0 ? source.experts : std::min(experts, source.experts);
  LayerCheck check;
  for (std::size_t i = 0; i < count; ++i) {
    try {
      LayerCheck one = check_expert(source, i, jit, reference);
      if (i == 0) {
        check = std::move(one);
      } else {
        add_expert(check, i, std::move(one));
      }
    } catch (const ReadError& error) {
      if (source.experts == 1) throw;
      throw ReadError(fmt::format("expert {}: {}", i, error.what()));
    }
  }
  check.experts = source.experts;
  return check;
}

}  // namespace zenwoq::tools
