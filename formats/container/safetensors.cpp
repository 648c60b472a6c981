// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Parses a safetensors header and checks that offsets lie inside the file, that sizes match shapes, and that tensors
// neither overlap nor leave gaps.
#include "formats/container/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "formats/container/strict_json.h"
#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

using nlohmann::json;

constexpr std::uint64_t length_bytes = 8;
constexpr std::uint64_t max_header_bytes = 100'000'000;  // the limit of the safetensors library

struct Extent {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::string name;
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

const json& field(const json& entry, const char* key, const std::string& where) {
  if (!entry.is_object()) fail("{}: entry is no JSON object", where);
  const auto found = entry.find(key);
  if (found == entry.end()) fail("{}: {} is missing", where, key);
  return *found;
}

std::vector<std::uint64_t> unsigned_array(const json& entry, const char* key, const std::string& where) {
  const json& array = field(entry, key, where);
  if (!array.is_array()) fail("{}: {} is no array", where, key);
  std::vector<std::uint64_t> values;
  for (const json& value : array) {
    if (!value.is_number_unsigned()) {
      fail("{}: {} holds something else than whole numbers from 0 on", where, key);
    }
    values.push_back(value.get<std::uint64_t>());
  }
  return values;
}

Extent parse_extent(const json& entry, std::uint64_t data_bytes, const std::string& where) {
  const std::vector<std::uint64_t> offsets = unsigned_array(entry, "data_offsets", where);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fail("{}: data_offsets are {}, they should be a begin and an end", where, shown(offsets));
  }
  if (offsets[1] > data_bytes) {
    fail("{}: data_offsets are {}, but the file has {} bytes of data (cut off?)", where, shown(offsets), data_bytes);
  }
  return {offsets[0], offsets[1], {}};
}

// The format allows neither overlaps nor gaps: if there is one, an offset is damaged.
void check_tiling(std::vector<Extent> extents, std::uint64_t data_bytes, const std::string& where) {
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  std::uint64_t end = 0;
  for (const Extent& extent : extents) {
    if (extent.begin != end) {
      fail("{}: tensor {}: its data begin at {}, but those before it end at {}", where, extent.name, extent.begin, end);
    }
    end = extent.end;
  }
  if (end != data_bytes) {
    fail("{}: the tensors' data end at {}, but the file has {} bytes of data", where, end, data_bytes);
  }
}

void parse_metadata(const json& entry, const std::string& where, TensorSet& set) {
  if (!entry.is_object()) fail("{}: __metadata__ is no JSON object", where);
  for (const auto& item : entry.items()) {
    if (!item.value().is_string()) fail("{}: __metadata__ of {} is no string", where, shown(item.key()));
    set.metadata[item.key()].insert(item.value().get<std::string>());
  }
}

Tensor parse_tensor(const json& entry, ByteView data, const std::string& where, Extent& extent) {
  Tensor tensor;
  const json& dtype = field(entry, "dtype", where);
  if (!dtype.is_string()) fail("{}: dtype is no string", where);
  tensor.dtype = dtype.get<std::string>();
  tensor.shape = unsigned_array(entry, "shape", where);
  extent = parse_extent(entry, data.size(), where);
  tensor.data = data.sub(extent.begin, extent.end - extent.begin);
  check_size(tensor, where);
  return tensor;
}

}  // namespace

bool looks_like_safetensors(ByteView file) {
  return file.size() > length_bytes && file.read_le<std::uint8_t>(length_bytes) == '{';
}

TensorSet parse_safetensors(ByteView file, const std::string& where) {
  const ByteView text = header_text(file, where);
  const ByteView data = file.sub(length_bytes + text.size(), file.size() - length_bytes - text.size());
  const json header = parse_strict_json(text.text(), where);
  if (!header.is_object()) fail("{}: the header is no JSON object", where);
  TensorSet set;
  set.where = where;
  std::vector<Extent> extents;
  for (const auto& item : header.items()) {
    if (item.key() == "__metadata__") {
      parse_metadata(item.value(), where, set);
      continue;
    }
    check_name(item.key(), where);
    Extent extent;
    set.tensors[item.key()] = parse_tensor(item.value(), data, fmt::format("{}: tensor {}", where, item.key()), extent);
    extent.name = item.key();
    extents.push_back(std::move(extent));
  }
  check_tiling(std::move(extents), data.size(), where);
  return set;
}

}  // namespace zenwoq::formats
