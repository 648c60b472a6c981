// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Follows "weight_map" of an index, which may not leave the index's own directory.
#include "formats/container/sharded.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "formats/container/safetensors.h"
#include "formats/container/strict_json.h"
#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

using nlohmann::json;

constexpr std::size_t max_index_bytes = 100'000'000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Tensor names by shard.
using ShardContents = std::map<std::string, std::set<std::string>>;

ShardContents parse_index(ByteView index, const std::string& where) {
  if (index.size() > max_index_bytes) {
    fail("{}: has {} bytes, the limit of an index is {}", where, index.size(), max_index_bytes);
  }
  const json root = parse_strict_json(index.text(), where);
  if (!root.is_object()) fail("{}: is no JSON object", where);
  const auto weight_map = root.find("weight_map");
  if (weight_map == root.end() || !weight_map->is_object()) {
    fail("{}: weight_map is missing or no JSON object", where);
  }
  ShardContents contents;
  for (const auto& item : weight_map->items()) {
    check_name(item.key(), where);
    if (!item.value().is_string()) fail("{}: weight_map of {} is no string", where, item.key());
    const auto shard = item.value().get<std::string>();
    check_file_name(shard, where);
    contents[shard].insert(item.key());
  }
  return contents;
}

// Takes up to nine digits off the end of the text.
std::string_view take_digits(std::string_view& text) {
  std::size_t digits = 0;
  while (digits < 9 && digits < text.size() && is_digit(text[text.size() - 1 - digits])) ++digits;
  const std::string_view taken = text.substr(text.size() - digits);
  text.remove_suffix(digits);
  return taken;
}

bool take_end(std::string_view& text, std::string_view end) {
  if (!text.ends_with(end)) return false;
  text.remove_suffix(end.size());
  return true;
}

std::uint64_t number_of(std::string_view digits) {
  std::uint64_t number = 0;
  for (const char digit : digits) number = number * 10 + static_cast<std::uint64_t>(digit - '0');
  return number;
}

// Moves the tensors that the index places in this shard into set.
void add_shard(TensorSet shard, const std::set<std::string>& names, TensorSet& set) {
  for (const std::string& name : names) {
    if (shard.tensors.count(name) == 0) {
      fail("{}: tensor {} should be in {}, but is not", set.where, name, shard.where);
    }
  }
  for (auto& [name, tensor] : shard.tensors) {
    if (names.count(name) != 0) {
      set.tensors[name] = std::move(tensor);
    } else {
      StoredTensor part = stored(tensor);
      part.values_type.reset();  // it is not part of the checkpoint
      set.left_alone.push_back(
          {name, fmt::format("in {}, where the index does not look for it", shard.where), std::move(part)});
    }
  }
  for (auto& [key, values] : shard.metadata) set.metadata[key].merge(values);
}

}  // namespace

std::string ShardName::file_of(std::uint64_t shard, std::string_view extension) const {
  return fmt::format("{}-{:0{}}-of-{:0{}}{}", stem, shard, digits, count, digits, extension);
}

std::optional<ShardName> parse_shard_name(std::string_view file_name, std::string_view extension) {
  if (!has_suffix(file_name, extension)) return std::nullopt;
  std::string_view rest = without_suffix(file_name, extension);
  const std::string_view count = take_digits(rest);
  if (!take_end(rest, "-of-")) return std::nullopt;
  const std::string_view number = take_digits(rest);
  if (!take_end(rest, "-") || count.empty() || number.empty()) return std::nullopt;
  const ShardName shard{std::string(rest), number_of(number), number_of(count), number.size()};
  return shard.count > 1 ? std::optional(shard) : std::nullopt;
}

bool is_one_of_several(ByteView index, const std::string& where, const std::string& file_name) {
  const ShardContents contents = parse_index(index, where);
  return contents.size() > 1 && contents.count(file_name) != 0;
}

TensorSet read_shards(ByteView index, const std::string& where, Files& files) {
  TensorSet set;
  set.where = where;
  for (const auto& [shard, names] : parse_index(index, where)) {
    add_shard(parse_safetensors(files.require(shard), shard), names, set);
  }
  return set;
}

}  // namespace zenwoq::formats
