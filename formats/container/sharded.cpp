// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Follows "weight_map" of an index, which may not leave the index's own directory.
#include "formats/container/sharded.h"

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "formats/container/safetensors.h"
#include "formats/container/strict_json.h"
#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

constexpr std::size_t max_index_bytes = 100'000'000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct IndexContents {
  std::set<std::string> tensors;
  std::map<std::string, std::vector<const std::string*>> by_shard;  // of the above
};

// {"weight_map": {TENSOR: SHARD}}; whatever else there is, is skipped.
class IndexWalk final : public JsonWalk {
 public:
  IndexWalk(std::size_t index_bytes, const std::string& where)
      : where_(where), max_tensors_(always_tensors + index_bytes / bytes_of_each) {}

  void key(int depth, std::string& key) override {
    if (depth == of_index) {
      in_weight_map_ = key == "weight_map";
    } else if (in_weight_map_) {
      check_name(key, where_);
      tensor_ = std::move(key);
    }
  }

  void value(int depth, const JsonValue& value) override {
    if (depth == 0 && value.kind != JsonKind::object) fail("{}: is no JSON object", where_);
    if (!in_weight_map_) return;
    if (depth == of_index) {
      if (value.kind != JsonKind::object) fail_without_map();
      has_weight_map_ = true;
      return;
    }
    if (value.kind != JsonKind::string) fail("{}: weight_map of {} is no string", where_, tensor_);
    add(std::move(*value.text));
  }

  void end(int) override {}

  bool has_own_keys(int depth) const override { return depth == of_weight_map && in_weight_map_; }

  IndexContents contents() {
    if (!has_weight_map_) fail_without_map();
    return std::move(contents_);
  }

 private:
  enum Depth { of_index = 1, of_weight_map = 2 };  // that keys of these have

  // A name takes some hundred bytes in memory, and its line in an index as a rule not much fewer.
  static constexpr std::size_t always_tensors = 8192, bytes_of_each = 48;
  static constexpr std::size_t max_shards = 10'000;

  [[noreturn]] void fail_without_map() const { fail("{}: weight_map is missing or no JSON object", where_); }

  void add(std::string shard) {
    check_file_name(shard, where_);
    const auto [tensor, is_new] = contents_.tensors.insert(std::move(tensor_));
    if (!is_new) fail_duplicate_key(*tensor, where_);
    if (contents_.tensors.size() > max_tensors_) {
      fail("{}: weight_map has more than {} tensors, too many for its size", where_, max_tensors_);
    }
    contents_.by_shard[std::move(shard)].push_back(&*tensor);
    if (contents_.by_shard.size() > max_shards) fail("{}: names more than {} shards", where_, max_shards);
  }

  const std::string& where_;
  std::size_t max_tensors_;
  bool in_weight_map_ = false, has_weight_map_ = false;
  std::string tensor_;
  IndexContents contents_;
};

IndexContents parse_index(ByteView index, const std::string& where) {
  if (index.size() > max_index_bytes) {
    fail("{}: has {} bytes, the limit of an index is {}", where, index.size(), max_index_bytes);
  }
  IndexWalk walk(index.size(), where);
  walk_strict_json(index.text(), where, walk);
  return walk.contents();
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
void add_shard(TensorSet shard, const std::vector<const std::string*>& names, TensorSet& set) {
  for (const std::string* name : names) {
    TensorMap::node_type tensor = shard.tensors.extract(*name);
    if (tensor.empty()) fail("{}: tensor {} should be in {}, but is not", set.where, *name, shard.where);
    set.tensors.insert(std::move(tensor));
  }
  for (const auto& [name, tensor] : shard.tensors) {
    StoredTensor part = stored(tensor);
    part.values_type.reset();  // it is not part of the checkpoint
    set.left_alone.push_back(
        {name, formatted("in {}, where the index does not look for it", shard.where), std::move(part)});
  }
  for (auto& [key, values] : shard.metadata) set.metadata[key].merge(values);
}

}  // namespace

std::string ShardName::file_of(std::uint64_t shard, std::string_view extension) const {
  return formatted("{}-{:0{}}-of-{:0{}}{}", stem, shard, digits, count, digits, extension);
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
  const IndexContents contents = parse_index(index, where);
  return contents.by_shard.size() > 1 && contents.by_shard.count(file_name) != 0;
}

TensorSet read_shards(ByteView index, const std::string& where, Files& files) {
  TensorSet set;
  set.where = where;
  std::uint64_t bytes = index.size(), entries = 0;
  const IndexContents contents = parse_index(index, where);
  for (const auto& [shard_name, names] : contents.by_shard) {
    const ByteView file = files.require(shard_name);
    TensorSet shard = parse_safetensors(file, shard_name);
    bytes += file.size();
    entries += shard.tensors.size() + shard.metadata.size();
    check_entry_count(entries, bytes, where);
    add_shard(std::move(shard), names, set);
  }
  return set;
}

}  // namespace zenwoq::formats
