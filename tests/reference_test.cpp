// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The reference kernels against the contract's definition, scalar by scalar.
#include <gtest/gtest.h>

#include <cstring>

#include "src/cpu/cpu.h"
#include "src/reference/reference.h"
#include "src/run/layer.h"
#include "src/weight/buffer.h"
#include "tests/support/random_weight.h"

namespace zenwoq::test {
namespace {

struct Case {
  std::size_t n, k, group, m;
  ParameterFormat format;
  zenwoq_dtype output_type;
  zenwoq_tensor_scale_kind tensor_scale;
  bool bias, nasty;
};

Case random_case(Rng& rng) {
  Case c{};
  c.n = pick(rng, 1, 70);
  c.k = rng() % 8 == 0 ? pick(rng, 200, 700) : pick(rng, 1, 90);
  c.group = rng() % 3 == 0 ? 0 : 8 * pick(rng, 1, 12);
  c.m = pick(rng, 1, 10);
  c.format = random_format(rng);
  if (c.format.has_two_levels()) {
    c.group = 8 * pick(rng, 1, 4);
    c.k = fitting_k(c.format, c.k, c.group);
  }
  c.tensor_scale = static_cast<zenwoq_tensor_scale_kind>(rng() % 3);
  c.output_type = rng() % 2 ? ZENWOQ_F32 : ZENWOQ_BF16;
  c.bias = rng() % 2;
  c.nasty = rng() % 2;
  return c;
}

void check(Rng& rng, const Case& c, ReferenceFunction reference) {
  RandomWeight weight = random_weight(rng, c.n, c.k, c.group, c.format);
  weight.tensor_scale_kind = c.tensor_scale;
  if (c.tensor_scale != ZENWOQ_TENSOR_SCALE_NONE)
    weight.tensor_scale = std::max(bf16_to_f32(random_bf16(rng, false)), 0x1p-130f);
  PackedHeader header;
  ASSERT_TRUE(make_header(weight.desc(), &header).ok());
  PackedBuffer packed = allocate_packed(header.total_bytes);
  ASSERT_TRUE(pack_rows(header, weight.source(), 0, c.n, packed.get()).ok());
  const PackedView view{header, packed.get()};
  const Layer layer(view, c.output_type, nullptr, nullptr);

  std::vector<std::vector<std::uint16_t>> x(c.m, std::vector<std::uint16_t>(c.k));
  std::vector<std::uint16_t> flat;
  for (auto& row : x) {
    for (auto& value : row) value = random_bf16(rng, c.nasty);
    flat.insert(flat.end(), row.begin(), row.end());
  }
  std::vector<float> bias(header.panels() * 64);
  for (float& b : bias) b = bf16_to_f32(random_bf16(rng, false));
  std::vector<float> xsum(c.m * header.groups());
  sum_groups(ZENWOQ_BF16, flat.data(), c.k * 2, c.m, c.k, header.group(), xsum.data(), c.m);

  KernelKey key;
  key.k = c.k;
  key.group = header.group();
  key.scale_type = c.format.scale_type;
  key.zero_kind = c.format.zero_kind;
  key.zero_type = c.format.zero_type;
  key.epilogue.tensor_scale = c.tensor_scale;
  key.output_type = c.output_type;
  key.epilogue.bias = c.bias;
  const std::size_t y_bytes = dtype_bytes(c.output_type);
  std::vector<std::uint8_t> y(c.m * c.n * y_bytes);
  const GemmArgs args{.x = flat.data(),
                      .ldx_bytes = c.k * 2,
                      .panels = view.panel(0),
                      .xsum = xsum.data(),
                      .xsum_bytes = c.m * 4,
                      .bias = bias.data(),
                      .y = y.data(),
                      .ldy_bytes = c.n * y_bytes,
                      .columns = c.n,
                      .table = &layer.table,
                      .tensor_scale = weight.tensor_scale};
  reference(key, c.m, args);
  for (std::size_t m = 0; m < c.m; ++m) {
    for (std::size_t n = 0; n < c.n; ++n) {
      const float expected = contract_element(weight, n, x[m], c.bias ? bias.data() : nullptr);
      if (c.output_type == ZENWOQ_F32) {
        ASSERT_TRUE(same_f32(load_as_f32(ZENWOQ_F32, y.data(), m * c.n + n), expected))
            << key.name() << " m " << m << " n " << n << ": " << load_as_f32(ZENWOQ_F32, y.data(), m * c.n + n) << " "
            << expected;
      } else {
        std::uint16_t bits;
        std::memcpy(&bits, y.data() + (m * c.n + n) * 2, 2);
        ASSERT_TRUE(same_bf16(bits, f32_to_bf16(expected))) << key.name() << " m " << m << " n " << n;
      }
    }
  }
}

TEST(Reference, Avx2FmaEqualsTheContract) {
  if (!describe_cpu(probe_cpu()).runs(ZENWOQ_TIER_AVX2)) GTEST_SKIP() << "this CPU has no AVX2 and FMA";
  Rng rng(1);
  for (int i = 0; i < 600 && !HasFatalFailure(); ++i) check(rng, random_case(rng), reference_gemm_avx2_fma);
}

TEST(Reference, PortableEqualsTheContract) {
  Rng rng(2);
  for (int i = 0; i < 200 && !HasFatalFailure(); ++i) check(rng, random_case(rng), reference_gemm_portable);
}

}  // namespace
}  // namespace zenwoq::test
