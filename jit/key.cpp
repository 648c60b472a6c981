// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Names of kernels, printed and parsed.
#include "jit/key.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "jit/number.h"

namespace zenwoq {
namespace {

constexpr std::array<const char*, 3> kTuningNames = {"generic", "zen4", "zen5"};
constexpr std::array<const char*, 3> kZeroNames = {"z0", "zi", "za"};
constexpr const char* kIsaName = "avx512bf16";

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

template <typename Int>
bool parse_number(std::string_view text, std::string_view prefix, Int* value) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

bool parse_dtype(std::string_view text, char prefix, zenwoq_dtype* type) {
  for (const zenwoq_dtype candidate : {ZENWOQ_F32, ZENWOQ_F16, ZENWOQ_BF16}) {
    if (text == fmt::format("{}{}", prefix, dtype_name(candidate))) return *type = candidate, true;
  }
  return false;
}

bool parse_tile(std::string_view text, Tile* tile) {
  const std::size_t cross = text.find('x');
  return cross != std::string_view::npos && parse_number(text.substr(0, cross), "m", &tile->rows) &&
         parse_number(text.substr(cross), "x", &tile->strips);
}

}  // namespace

const char* tuning_name(Tuning tuning) { return kTuningNames[static_cast<std::size_t>(tuning)]; }

std::optional<Tuning> parse_tuning(std::string_view name) {
  const auto found = std::find(kTuningNames.begin(), kTuningNames.end(), name);
  if (found == kTuningNames.end()) return std::nullopt;
  return static_cast<Tuning>(found - kTuningNames.begin());
}

PanelLayout KernelKey::layout() const {
  const std::size_t scale_bytes = dtype_bytes(scale_type);
  const std::size_t zero_bytes = zero_kind == ZENWOQ_ZERO_NONE ? 0 : zero_kind == ZENWOQ_ZERO_INTEGER ? 1 : scale_bytes;
  return {k, group, scale_bytes, zero_bytes};
}

std::string KernelKey::name() const {
  const std::string granularity = per_channel() ? "pc" : fmt::format("g{}", group);
  return fmt::format("gemm_bf16_t4_{}_k{}_s{}_{}_m{}x{}_y{}{}_{}_{}", granularity, k, dtype_name(scale_type),
                     kZeroNames[zero_kind], tile.rows, tile.strips, dtype_name(output_type), bias ? "_bias" : "",
                     kIsaName, tuning_name(tuning));
}

std::optional<KernelKey> parse_kernel_name(std::string_view name) {
  std::vector<std::string_view> parts = split(name, '_');
  KernelKey key;
  key.bias = parts.size() == 12 && parts[9] == "bias";
  if (key.bias) parts.erase(parts.begin() + 9);
  if (parts.size() != 11 || parts[0] != "gemm" || parts[1] != "bf16" || parts[2] != "t4" || parts[9] != kIsaName)
    return std::nullopt;
  const auto zero = std::find(kZeroNames.begin(), kZeroNames.end(), parts[6]);
  const std::optional<Tuning> tuning = parse_tuning(parts[10]);
  if (!parse_number(parts[4], "k", &key.k) || key.k == 0 || !parse_dtype(parts[5], 's', &key.scale_type) ||
      zero == kZeroNames.end() || !parse_tile(parts[7], &key.tile) || !parse_dtype(parts[8], 'y', &key.output_type) ||
      !tuning) {
    return std::nullopt;
  }
  key.zero_kind = static_cast<zenwoq_zero_kind>(zero - kZeroNames.begin());
  key.tuning = *tuning;
  key.group = key.k;
  if (parts[3] != "pc" && !parse_number(parts[3], "g", &key.group)) return std::nullopt;
  if (key.group == 0 || key.name() != name) return std::nullopt;  // leading zeros, a group of K and above
  return key;
}

std::uint64_t hash_value(const KernelKey& key) {
  std::uint64_t hash = 0;
  const auto mix = [&hash](std::uint64_t value) {
    hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  };
  mix(key.k);
  mix(key.group);
  mix(key.tile.rows | std::uint64_t{key.tile.strips} << 8 | std::uint64_t{key.scale_type} << 16 |
      std::uint64_t{key.zero_kind} << 24 | std::uint64_t{key.output_type} << 32 | std::uint64_t{key.bias} << 40 |
      static_cast<std::uint64_t>(key.tuning) << 48);
  return hash;
}

}  // namespace zenwoq
