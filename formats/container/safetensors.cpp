// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Parses a safetensors header and checks that offsets lie inside the file, that sizes match shapes, and that tensors
// neither overlap nor leave gaps.
#include "formats/container/safetensors.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <utility>

#include "formats/container/strict_json.h"
#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

constexpr std::uint64_t length_bytes = 8;
constexpr std::uint64_t max_header_bytes = 100'000'000;  // the limit of the safetensors library

constexpr std::size_t max_dimensions = 64;  // torch's

struct Extent {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  const std::string* name = nullptr;  // in the set
};

ByteView header_text(ByteView file, const std::string& where) {
  if (file.size() < length_bytes) fail("{}: has {} bytes, too few for a header", where, file.size());
  const auto length = file.read_le<std::uint64_t>(0);
  if (length > max_header_bytes) {
    fail("{}: declares a header of {} bytes, the limit is {}", where, length, max_header_bytes);
  }
  if (!file.contains(length_bytes, length)) {
    fail("{}: declares a header of {} bytes, but the file has {} (cut off?)", where, length, file.size());
  }
  return file.sub(length_bytes, length);
}

// The format allows neither overlaps nor gaps: if there is one, an offset is damaged.
void check_tiling(std::vector<Extent> extents, std::uint64_t data_bytes, const std::string& where) {
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t end = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != end) {
      fail("{}: tensor {}: its data begin at {}, but those before it end at {}", where, *extent.name, extent.begin,
           end);
    }
    end = extent.end;
  }
  if (end != data_bytes) {
    fail("{}: the tensors' data end at {}, but the file has {} bytes of data", where, end, data_bytes);
  }
}

// Puts what the header says into a set: {"__metadata__": {KEY: text}, NAME: {"dtype": text, "shape": [],
// "data_offsets":
// []}}. Other fields of tensors are skipped.
class HeaderWalk final : public JsonWalk {
 public:
  HeaderWalk(ByteView data, std::uint64_t file_bytes, TensorSet& set)
      : data_(data), file_bytes_(file_bytes), set_(set) {}

  void key(int depth, std::string& key) override {
    if (depth == of_header) {
      start_entry(std::move(key));
    } else if (depth == of_entry && in_metadata_) {
      if (set_.metadata.count(key) != 0) fail_duplicate_key(key, set_.where);
      key_ = std::move(key);
    } else if (depth == of_entry) {
      field_ = key == "dtype"          ? Field::dtype
               : key == "shape"        ? Field::shape
               : key == "data_offsets" ? Field::offsets
                                       : Field::other;
      seen_[static_cast<std::size_t>(field_)] = true;
    }
  }

  void value(int depth, const JsonValue& value) override {
    switch (depth) {
      case 0:
        if (value.kind != JsonKind::object) fail("{}: the header is no JSON object", set_.where);
        break;
      case of_header:
        if (value.kind == JsonKind::object) break;
        if (in_metadata_) fail("{}: __metadata__ is no JSON object", set_.where);
        fail("{}: entry is no JSON object", where_tensor());
      case of_entry: in_metadata_ ? add_metadata(value) : set_field(value); break;
      case of_field:
        if (!in_metadata_ && field_ != Field::dtype && field_ != Field::other) add_number(value);
        break;
      default: break;
    }
  }

  void end(int depth) override {
    if (depth == of_header && !in_metadata_) finish_tensor();
  }

  bool has_own_keys(int depth) const override { return depth == of_header || (depth == of_entry && in_metadata_); }

  std::vector<Extent>& extents() { return extents_; }

 private:
  enum Depth { of_header = 1, of_entry = 2, of_field = 3 };  // that values of these have
  enum class Field { dtype, shape, offsets, other };

  std::string where_tensor() const { return formatted("{}: tensor {}", set_.where, name_); }

  void start_entry(std::string name) {
    in_metadata_ = name == "__metadata__";
    if (in_metadata_ ? std::exchange(has_metadata_, true) : set_.tensors.count(name) != 0) {
      fail_duplicate_key(name, set_.where);
    }
    if (in_metadata_) return;
    check_name(name, set_.where);
    name_ = std::move(name);
    tensor_ = Tensor();
    shape_.clear();
    offsets_.clear();
    seen_ = {};
  }

  void add_metadata(const JsonValue& value) {
    if (value.kind != JsonKind::string) fail("{}: __metadata__ of {} is no string", set_.where, shown(key_));
    set_.metadata[std::move(key_)].insert(std::move(*value.text));
    check_count();
  }

  void set_field(const JsonValue& value) {
    if (field_ == Field::dtype) {
      if (value.kind != JsonKind::string) fail("{}: dtype is no string", where_tensor());
      tensor_.dtype = std::move(*value.text);
    } else if (field_ != Field::other && value.kind != JsonKind::array) {
      fail("{}: {} is no array", where_tensor(), field_name());
    }
  }

  void add_number(const JsonValue& value) {
    if (value.kind != JsonKind::unsigned_number) {
      fail("{}: {} holds something else than whole numbers from 0 on", where_tensor(), field_name());
    }
    std::vector<std::uint64_t>& numbers = field_ == Field::shape ? shape_ : offsets_;
    if (numbers.size() == max_dimensions) {
      fail("{}: {} holds more than {} numbers", where_tensor(), field_name(), max_dimensions);
    }
    numbers.push_back(value.number);
  }

  const char* field_name() const { return field_ == Field::shape ? "shape" : "data_offsets"; }

  void finish_tensor() {
    const std::string where = where_tensor();
    constexpr const char* names[] = {"dtype", "shape", "data_offsets"};
    for (std::size_t i = 0; i < std::size(names); ++i) {
      if (!seen_[i]) fail("{}: {} is missing", where, names[i]);
    }
    if (offsets_.size() != 2 || offsets_[0] > offsets_[1]) {
      fail("{}: data_offsets are {}, they should be a begin and an end", where, shown(offsets_));
    }
    if (offsets_[1] > data_.size()) {
      fail("{}: data_offsets are {}, but the file has {} bytes of data (cut off?)", where, shown(offsets_),
           data_.size());
    }
    tensor_.shape = {shape_.begin(), shape_.end()};  // of exactly their size
    tensor_.data = data_.sub(offsets_[0], offsets_[1] - offsets_[0]);
    check_size(tensor_, where);
    const auto added = set_.tensors.emplace(std::move(name_), std::move(tensor_)).first;
    extents_.push_back({offsets_[0], offsets_[1], &added->first});
    check_count();
  }

  void check_count() const { check_entry_count(set_.tensors.size() + set_.metadata.size(), file_bytes_, set_.where); }

  ByteView data_;
  std::uint64_t file_bytes_;
  TensorSet& set_;
  std::vector<Extent> extents_;
  bool in_metadata_ = false, has_metadata_ = false;
  std::string key_;   // of metadata
  std::string name_;  // of the tensor that the rest is of
  Tensor tensor_;
  std::vector<std::uint64_t> shape_, offsets_;
  Field field_ = Field::other;
  std::array<bool, 4> seen_{};  // by Field
};

}  // namespace

bool looks_like_safetensors(ByteView file) {
  return file.size() > length_bytes && file.read_le<std::uint8_t>(length_bytes) == '{';
}

TensorSet parse_safetensors(ByteView file, const std::string& where) {
  const ByteView text = header_text(file, where);
  const ByteView data = file.sub(length_bytes + text.size(), file.size() - length_bytes - text.size());
  TensorSet set;
  set.where = where;
  HeaderWalk walk(data, file.size(), set);
  walk_strict_json(text.text(), where, walk);
  check_tiling(std::move(walk.extents()), data.size(), where);
  return set;
}

}  // namespace zenwoq::formats
