// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Names of kernels: one table of fields, from which both printing and parsing come.
#include "jit/key.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>
#include <span>
#include <vector>

#include "jit/number.h"
#include "jit/tier.h"
#include "src/text/formatted.h"

namespace zenwoq {
namespace {

// One part of a name, between two underscores.
struct Field {
  bool required;
  std::string (*print)(const KernelKey&);            // empty: left out
  bool (*parse)(std::string_view text, KernelKey*);  // false: the text is not of this field
};

// Takes "<prefix><number>" off the front of text.
template <typename Int>
bool take_number(std::string_view prefix, std::string_view* text, Int* value) {
  if (text->substr(0, prefix.size()) != prefix) return false;
  const char* const end = text->data() + text->size();
  const auto [rest, error] = std::from_chars(text->data() + prefix.size(), end, *value);
  *text = {rest, static_cast<std::size_t>(end - rest)};
  return error == std::errc();
}

template <typename Int>
bool parse_number(std::string_view prefix, std::string_view text, Int* value) {
  return take_number(prefix, &text, value) && text.empty();
}

bool parse_dtype(std::span<const zenwoq_dtype> candidates, std::string_view prefix, std::string_view text,
                 zenwoq_dtype* type) {
  for (const zenwoq_dtype candidate : candidates) {
    if (text == formatted("{}{}", prefix, dtype_name(candidate))) return *type = candidate, true;
  }
  return false;
}

std::string print_zeros(const KernelKey& key) {
  const bool floats = key.zero_kind == ZENWOQ_ZERO_FLOAT;
  return formatted("{}{}", zero_kind_tag(key.zero_kind), floats ? dtype_name(key.zero_type) : "");
}

bool parse_zeros(std::string_view text, KernelKey* key) {
  for (const zenwoq_zero_kind candidate : kZeroKinds) {
    if (text == zero_kind_tag(candidate)) return key->zero_kind = candidate, candidate != ZENWOQ_ZERO_FLOAT;
  }
  key->zero_kind = ZENWOQ_ZERO_FLOAT;
  return parse_dtype(kDtypes, zero_kind_tag(ZENWOQ_ZERO_FLOAT), text, &key->zero_type);
}

// The epilogue's first step; nothing where there is no tensor scale.
std::string print_tensor_scale(const KernelKey& key) {
  constexpr const char* kWords[] = {"", "ts", "td"};
  return kWords[key.epilogue.tensor_scale];
}

bool parse_tensor_scale(std::string_view text, KernelKey* key) {
  key->epilogue.tensor_scale = text == "ts" ? ZENWOQ_TENSOR_SCALE_TIMES : ZENWOQ_TENSOR_SCALE_BY;
  return text == "ts" || text == "td";
}

std::string print_activation(const KernelKey& key) {
  const zenwoq_activation activation = key.epilogue.activation;
  return activation == ZENWOQ_ACTIVATION_NONE ? "" : activation_name(activation);
}

bool parse_activation(std::string_view text, KernelKey* key) {
  for (const zenwoq_activation candidate : kAllActivations) {
    if (text == activation_name(candidate)) return key->epilogue.activation = candidate, true;
  }
  return false;
}

std::string print_residuals(const KernelKey& key) {
  constexpr const char* kWords[] = {"", "add", "add2"};
  return kWords[key.epilogue.residuals];
}

bool parse_residuals(std::string_view text, KernelKey* key) {
  key->epilogue.residuals = text == "add" ? 1 : 2;
  return text == "add" || text == "add2";
}

std::string print_tile(const KernelKey& key) {
  const Tile tile = key.tile;
  return formatted("m{}x{}{}{}", tile.rows, tile.strips, tile.scratch ? "sc" : "", tile.gated ? "gu" : "");
}

bool parse_tile(std::string_view text, KernelKey* key) {
  if (!take_number("m", &text, &key->tile.rows) || !take_number("x", &text, &key->tile.strips)) return false;
  key->tile.scratch = text.substr(0, 2) == "sc";
  if (key->tile.scratch) text.remove_prefix(2);
  key->tile.gated = text == "gu";
  return text.empty() || key->tile.gated;
}

std::string print_prefetch(const Prefetch& p) {
  if (p.bytes == 0) return {};
  const std::string every = p.every == 1 ? "" : formatted("e{}", p.every);
  return formatted("p{}{}{}", p.bytes, every, p.to_l2 ? "t1" : "");
}

bool parse_prefetch(std::string_view text, Prefetch* p) {
  if (!take_number("p", &text, &p->bytes)) return false;
  if (text.substr(0, 1) == "e" && !take_number("e", &text, &p->every)) return false;
  p->to_l2 = text == "t1";
  return (text.empty() || p->to_l2) && p->every > 0;
}

// A literal that every name has.
#define ZENWOQ_WORD(word)                                                                                          \
  {                                                                                                                \
    true, [](const KernelKey&) -> std::string { return word; }, [](auto text, KernelKey*) { return text == word; } \
  }
// A word that stands for a flag.
#define ZENWOQ_FLAG(word, member)                                                      \
  {                                                                                    \
    false, [](const KernelKey& key) -> std::string { return key.member ? word : ""; }, \
        [](auto text, KernelKey* key) { return text == word && (key->member = true); } \
  }

constexpr Field kFields[] = {
    ZENWOQ_WORD("gemm"),
    ZENWOQ_WORD("bf16"),  // Activation has one value
    {true, [](const KernelKey& key) -> std::string { return key.codes == Codes::table ? "t4" : "i4"; },
     [](std::string_view text, KernelKey* key) {
       key->codes = text == "i4" ? Codes::integer : Codes::table;
       return text == "i4" || text == "t4";
     }},
    {true, [](const KernelKey& key) { return key.per_channel() ? "pc" : formatted("g{}", key.group); },
     [](std::string_view text, KernelKey* key) { return text == "pc" || parse_number("g", text, &key->group); }},
    {true, [](const KernelKey& key) { return formatted("k{}", key.k); },
     [](std::string_view text, KernelKey* key) { return parse_number("k", text, &key->k); }},
    {true, [](const KernelKey& key) { return formatted("s{}", dtype_name(key.scale_type)); },
     [](std::string_view text, KernelKey* key) { return parse_dtype(kScaleTypes, "s", text, &key->scale_type); }},
    {true, print_zeros, parse_zeros},
    {true, print_tile, parse_tile},
    {true, [](const KernelKey& key) { return formatted("y{}", dtype_name(key.output_type)); },
     [](std::string_view text, KernelKey* key) { return parse_dtype(kDtypes, "y", text, &key->output_type); }},
    {false, print_tensor_scale, parse_tensor_scale},
    ZENWOQ_FLAG("bias", epilogue.bias),
    {false, print_activation, parse_activation},
    ZENWOQ_FLAG("mul", epilogue.factor),
    {false, print_residuals, parse_residuals},
    {true, [](const KernelKey& key) -> std::string { return find_tier(key.tier)->name; },
     [](std::string_view text, KernelKey* key) {
       const TierInfo* tier = find_tier(text);
       return tier != nullptr && (key->tier = tier->tier, true);
     }},
    ZENWOQ_FLAG("df", habits.decode_first),
    ZENWOQ_FLAG("xs", habits.share_x),
    {false, [](const KernelKey& key) { return print_prefetch(key.habits.prefetch); },
     [](std::string_view text, KernelKey* key) { return parse_prefetch(text, &key->habits.prefetch); }},
};
#undef ZENWOQ_WORD
#undef ZENWOQ_FLAG

}  // namespace

const char* activation_name(zenwoq_activation activation) {
  constexpr const char* kNames[] = {"none", "relu", "silu", "gelu", "gelutanh", "swigluoai"};
  return kNames[activation];
}

std::string KernelKey::name() const {
  std::string text;
  for (const Field& field : kFields) {
    const std::string part = field.print(*this);
    if (!part.empty()) text += (text.empty() ? "" : "_") + part;
  }
  return text;
}

std::optional<KernelKey> parse_kernel_name(std::string_view name) {
  KernelKey key;
  std::size_t begin = 0;
  for (const Field& field : kFields) {
    const std::size_t end = std::min(name.find('_', begin), name.size());
    KernelKey with_field = key;
    if (begin <= name.size() && field.parse(name.substr(begin, end - begin), &with_field)) {
      key = with_field;
      begin = end + 1;
    } else if (field.required) {
      return std::nullopt;
    }
  }
  if (key.group == 0) key.group = key.k;                      // "pc"
  if (key.k == 0 || key.name() != name) return std::nullopt;  // leading zeros, a group of K and above, parts left over
  return key;
}

std::uint64_t hash_value(const KernelKey& key) {
  // Fields side by side in four words, each multiplied by an odd constant of its own: the products do not wait for each
  // other.
  const Habits& habits = key.habits;
  const std::uint64_t shape = key.k << 24 ^ key.group;
  const auto at = [](auto value, unsigned shift) { return static_cast<std::uint64_t>(value) << shift; };
  const std::uint64_t types = at(key.zero_type, 60) | at(key.epilogue.tensor_scale, 56) | at(key.scale_type, 48) |
                              at(key.epilogue.activation, 44) | at(key.epilogue.residuals, 36) |
                              at(key.epilogue.factor, 7) | at(key.zero_kind, 40) | at(key.output_type, 32) |
                              at(key.activation, 24) | at(key.codes, 16) | at(key.tier, 8) | at(key.epilogue.bias, 0);
  const std::uint64_t tile = std::uint64_t{key.tile.rows} << 16 | std::uint64_t{key.tile.strips} << 8 |
                             std::uint64_t{key.tile.gated} << 3 | std::uint64_t{key.tile.scratch} << 2 |
                             std::uint64_t{habits.decode_first} << 1 | std::uint64_t{habits.share_x};
  const std::uint64_t prefetch =
      std::uint64_t{habits.prefetch.bytes} << 32 | habits.prefetch.every << 1 | std::uint64_t{habits.prefetch.to_l2};
  std::uint64_t hash = shape * 0x9E3779B97F4A7C15u ^ types * 0xC2B2AE3D27D4EB4Fu ^ tile * 0x165667B19E3779F9u ^
                       prefetch * 0xD6E8FEB86659FD93u;
  hash ^= hash >> 32;
  hash ^= hash >> 15;
  return hash;
}

}  // namespace zenwoq
