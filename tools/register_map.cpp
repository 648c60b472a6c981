// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The register map of a kernel, read from the emitter's own VectorMap.
#include "tools/register_map.h"

#include <fmt/format.h>

#include "jit/gemm_avx512.h"

namespace zenwoq::tools {
namespace {

// "row 0 strips 0..3: zmm0 zmm1 zmm2 zmm3"
template <typename Register>
std::string sums(const char* name, const KernelKey& key, Register&& at) {
  std::string text;
  for (std::uint32_t row = 0; row < key.tile.rows; ++row) {
    text += fmt::format(";   {:<12}row {:<2}  ", row == 0 ? name : "", row);
    for (std::uint32_t strip = 0; strip < key.tile.strips; ++strip)
      text += fmt::format(" {:<5}", at(row, strip).toString());
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

template <typename Register>
std::string list(std::uint32_t count, Register&& at) {
  std::string text;
  for (std::uint32_t i = 0; i < count; ++i) text += std::string(i == 0 ? "" : " ") + at(i).toString();
  return text;
}

}  // namespace

std::string register_map(const KernelKey& key) {
  const VectorMap v(key);
  const auto line = [](const char* name, const std::string& text) {
    return text.empty() ? fmt::format(";   {}\n", name) : fmt::format(";   {:<12}{}\n", name, text);
  };
  std::string text = "; vector registers (a strip is 16 columns)\n";
  text += sums("acc", key, [&](std::uint32_t r, std::uint32_t s) { return v.acc(r, s); });
  if (v.totals_in_registers())
    text += sums("total", key, [&](std::uint32_t r, std::uint32_t s) { return v.total(r, s); });
  if (!v.totals_in_registers())
    text += line("total", v.totals_in_memory() ? "in memory" : "acc, as there is a single group");
  text += line("multiply:", "");
  text += line("  weight", list(v.weights(), [&](std::uint32_t i) { return v.weight(i); }));
  text += line("  x pair", v.shares_x() ? v.x_pair().toString() : "broadcast operand of the dot product");
  text += line("  codes", v.codes_in_registers() ? list(key.tile.strips, [&](std::uint32_t i) { return v.codes(i); })
                                                 : "memory operand");
  text += line("flush:", "");
  text += line("  scale", v.scale().toString());
  if (key.zero_kind != ZENWOQ_ZERO_NONE) text += line("  zero", v.zero().toString());
  text += line("table", v.table().toString());
  return text;
}

std::array<std::string, 32> sum_registers(const KernelKey& key) {
  const VectorMap v(key);
  std::array<std::string, 32> names;
  for (std::uint32_t row = 0; row < key.tile.rows; ++row) {
    for (std::uint32_t strip = 0; strip < key.tile.strips; ++strip) {
      const std::string lanes = fmt::format("row {}, columns {}..{}", row, strip * 16, strip * 16 + 15);
      names.at(static_cast<std::size_t>(v.acc(row, strip).getIdx())) = "acc " + lanes;
      if (v.totals_in_registers()) names.at(static_cast<std::size_t>(v.total(row, strip).getIdx())) = "total " + lanes;
    }
  }
  return names;
}

}  // namespace zenwoq::tools
