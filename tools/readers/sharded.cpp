// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Follows "weight_map" of an index, which may not leave the index's own directory.
#include "tools/readers/sharded.h"

#include <nlohmann/json.hpp>
#include <regex>
#include <utility>

#include "tools/readers/safetensors.h"
#include "tools/readers/strict_json.h"
#include "tools/readers/text.h"

namespace zenwoq::tools {
namespace {

using nlohmann::json;

constexpr std::size_t max_index_bytes = 100'000'000;

// Tensor names by shard.
using ShardContents = std::map<std::string, std::set<std::string>>;

void check_shard_name(const std::string& shard, const std::string& where) {
  const bool plain = !shard.empty() && shard != "." && shard != ".." && shown(shard, shard.size()) == shard &&
                     shard.find_first_of("/\\") == std::string::npos;
  if (!plain) fail("{}: shard {} is not a plain file name beside the index", where, shown(shard));
}

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
    check_shard_name(shard, where);
    contents[shard].insert(item.key());
  }
  return contents;
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
      set.left_alone.push_back({name, fmt::format("in {}, where the index does not look for it", shard.where)});
    }
  }
  for (auto& [key, values] : shard.metadata) set.metadata[key].merge(values);
}

}  // namespace

std::string ShardName::file_of(std::uint64_t shard, std::string_view extension) const {
  return fmt::format("{}-{:0{}}-of-{:0{}}{}", stem, shard, digits, count, digits, extension);
}

std::optional<ShardName> parse_shard_name(std::string_view file_name, std::string_view extension) {
  static const std::regex pattern("(.*)-([0-9]{1,9})-of-([0-9]{1,9})");
  if (!has_suffix(file_name, extension)) return std::nullopt;
  const std::string name(without_suffix(file_name, extension));
  std::smatch parts;
  if (!std::regex_match(name, parts, pattern)) return std::nullopt;
  const ShardName shard{parts[1], std::stoul(parts[2]), std::stoul(parts[3]),
                        static_cast<std::size_t>(parts[2].length())};
  return shard.count > 1 ? std::optional(shard) : std::nullopt;
}

bool is_one_of_several(ByteView index, const std::string& where, const std::string& file_name) {
  const ShardContents contents = parse_index(index, where);
  return contents.size() > 1 && contents.count(file_name) != 0;
}

TensorSet read_shards(ByteView index, const std::string& where, const ShardSource& shard_bytes) {
  TensorSet set;
  set.where = where;
  for (const auto& [shard, names] : parse_index(index, where)) {
    add_shard(parse_safetensors(shard_bytes(shard), shard), names, set);
  }
  return set;
}

}  // namespace zenwoq::tools
