// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Walks a GGUF file once, front to back. No memory is taken for a declared count before the file is known
// to be long enough for it.
#include "formats/container/gguf_file.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "formats/container/ggml_types.h"
#include "formats/container/tensor_set.h"
#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

constexpr std::string_view magic = "GGUF";
constexpr std::uint64_t default_alignment = 32;
constexpr std::uint64_t max_alignment = 1u << 20;
constexpr int max_array_depth = 4;
constexpr std::uint32_t max_dimensions = 4;
constexpr std::uint64_t max_dimension = (1u << 31) - 1;

// The smallest sizes that entries of a file can have; they bound the declared counts.
constexpr std::uint64_t min_pair_bytes = 8 + 4 + 1;        // key length, type, value
constexpr std::uint64_t min_tensor_bytes = 8 + 4 + 4 + 8;  // name length, n_dims, type, offset
constexpr std::uint64_t min_string_bytes = 8;
constexpr std::uint64_t min_array_bytes = 4 + 8;

// Value types of key-value pairs.
enum ValueType : std::uint32_t {
  u32_value = 4,
  f32_value = 6,
  bool_value = 7,
  string_value = 8,
  array_value = 9,
  f64_value = 12
};

// Bytes of each value type; 0 for strings and arrays, which carry their length with them.
constexpr std::array<std::uint64_t, 13> value_bytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

class Cursor {
 public:
  Cursor(ByteView file, const std::string& where) : file_(file), where_(where) {}

  std::uint64_t position() const { return at_; }
  const std::string& where() const { return where_; }

  template <std::integral T>
  T take(const char* what) {
    const std::uint64_t begin = at_;
    skip(sizeof(T), what);
    return file_.read_le<T>(begin);
  }

  std::string_view take_string(const char* what) {
    const auto length = take<std::uint64_t>(what);
    const std::uint64_t begin = at_;
    skip(length, what);
    return file_.sub(begin, length).text();
  }

  // Reads a count of things that take at least min_bytes each.
  std::uint64_t take_count(std::uint64_t min_bytes, const char* what) {
    const auto count = take<std::uint64_t>(what);
    const std::uint64_t possible = (file_.size() - at_) / min_bytes;
    if (count > possible) {
      fail("{}: {} is {}, but the file has room for {} at most", where_, what, count, possible);
    }
    return count;
  }

  void skip(std::uint64_t bytes, const char* what) {
    if (!file_.contains(at_, bytes)) {
      fail("{}: the file ends at {}, inside {} of {} bytes at {} (cut off?)", where_, file_.size(), what, bytes, at_);
    }
    at_ += bytes;
  }

 private:
  ByteView file_;
  const std::string& where_;
  std::uint64_t at_ = 0;
};

void check_version(Cursor& cursor) {
  cursor.skip(magic.size(), "the magic");
  const auto version = cursor.take<std::uint32_t>("the version");
  if (version == 2 || version == 3) return;
  const bool big_endian = version == __builtin_bswap32(2) || version == __builtin_bswap32(3);
  if (big_endian) fail("{}: is a big-endian GGUF file, only little-endian ones are read", cursor.where());
  fail("{}: has GGUF version {}, only 2 and 3 are read", cursor.where(), version);
}

std::uint32_t take_value_type(Cursor& cursor, std::string_view key) {
  const auto type = cursor.take<std::uint32_t>("a value type");
  if (type >= value_bytes.size()) {
    fail("{}: key {} has the unknown value type {}", cursor.where(), shown(key), type);
  }
  return type;
}

void skip_value(Cursor& cursor, std::uint32_t type, std::string_view key, int depth);

void skip_array(Cursor& cursor, std::string_view key, int depth) {
  if (depth >= max_array_depth) {
    fail("{}: key {} has arrays nested deeper than {}", cursor.where(), shown(key), max_array_depth);
  }
  const std::uint32_t type = take_value_type(cursor, key);
  if (value_bytes[type] != 0) {
    const std::uint64_t count = cursor.take_count(value_bytes[type], "an array length");
    cursor.skip(count * value_bytes[type], "an array");  // no overflow: the file has room for it
    return;
  }
  const std::uint64_t min_bytes = type == string_value ? min_string_bytes : min_array_bytes;
  const std::uint64_t count = cursor.take_count(min_bytes, "an array length");
  for (std::uint64_t i = 0; i < count; ++i) skip_value(cursor, type, key, depth + 1);
}

void skip_value(Cursor& cursor, std::uint32_t type, std::string_view key, int depth) {
  if (type == string_value) {
    cursor.take_string("a string");
  } else if (type == array_value) {
    skip_array(cursor, key, depth);
  } else {
    cursor.skip(value_bytes[type], "a value");
  }
}

std::uint64_t take_alignment(Cursor& cursor, std::uint32_t type) {
  if (type != u32_value) {
    fail("{}: general.alignment has value type {}, it should be u32", cursor.where(), type);
  }
  const auto alignment = cursor.take<std::uint32_t>("general.alignment");
  const bool power_of_two = alignment != 0 && (alignment & (alignment - 1)) == 0;
  if (!power_of_two || alignment > max_alignment) {
    fail("{}: general.alignment is {}, it should be a power of two up to {}", cursor.where(), alignment, max_alignment);
  }
  return alignment;
}

// An integer of any type; a negative one becomes larger than anything that a file has.
std::uint64_t take_integer(Cursor& cursor, std::uint32_t type, const char* what) {
  if (type != f32_value && type != bool_value && type != f64_value) {
    switch (value_bytes[type]) {
      case 1: return cursor.take<std::uint8_t>(what);
      case 2: return cursor.take<std::uint16_t>(what);
      case 4: return cursor.take<std::uint32_t>(what);
      case 8: return cursor.take<std::uint64_t>(what);
      default: break;
    }
  }
  fail("{}: {} has value type {}, it should be an integer", cursor.where(), what, type);
}

// Of the pairs only general.alignment, which is returned, and split.* matter here.
std::uint64_t walk_pairs(Cursor& cursor, std::uint64_t count, GgufFile& file) {
  std::uint64_t alignment = default_alignment;
  std::set<std::string_view> keys;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string_view key = cursor.take_string("a key");
    if (!keys.insert(key).second) fail("{}: has the key {} twice", cursor.where(), shown(key));
    const std::uint32_t type = take_value_type(cursor, key);
    if (key == "general.alignment") {
      alignment = take_alignment(cursor, type);
    } else if (key == "split.no") {
      file.shard = take_integer(cursor, type, "split.no");
    } else if (key == "split.count") {
      file.shards = std::max<std::uint64_t>(take_integer(cursor, type, "split.count"), 1);
    } else if (key == "split.tensors.count") {
      file.tensors_of_all = take_integer(cursor, type, "split.tensors.count");
    } else {
      skip_value(cursor, type, key, 0);
    }
  }
  if (file.shard >= file.shards) {
    fail("{}: split.no is {}, counted from 0, but split.count is {}", cursor.where(), file.shard, file.shards);
  }
  return alignment;
}

GgufTensor take_tensor(Cursor& cursor) {
  GgufTensor tensor;
  const std::string_view name = cursor.take_string("a tensor name");
  check_name(name, cursor.where());
  tensor.name = std::string(name);
  const auto dimensions = cursor.take<std::uint32_t>("a number of dimensions");
  if (dimensions > max_dimensions) {
    fail("{}: tensor {} has {} dimensions, {} are possible", cursor.where(), name, dimensions, max_dimensions);
  }
  for (std::uint32_t i = 0; i < dimensions; ++i) {
    const auto size = cursor.take<std::uint64_t>("a dimension");
    if (size > max_dimension) {
      fail("{}: tensor {} has a dimension of {}, 0 to {} are possible", cursor.where(), name, size, max_dimension);
    }
    tensor.dimensions.push_back(size);
  }
  tensor.type = cursor.take<std::uint32_t>("a tensor type");
  tensor.offset = cursor.take<std::uint64_t>("a tensor offset");
  return tensor;
}

std::vector<GgufTensor> take_tensors(Cursor& cursor, std::uint64_t count) {
  std::vector<GgufTensor> tensors;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < count; ++i) {
    tensors.push_back(take_tensor(cursor));
    if (!names.insert(tensors.back().name).second) {
      fail("{}: has tensor {} twice", cursor.where(), tensors.back().name);
    }
  }
  return tensors;
}

// Bytes of the tensor's data; 0 for a type of unknown size. Throws ReadError for an impossible size.
std::uint64_t data_bytes(const GgufTensor& tensor, const std::string& where) {
  const GgmlType* type = find_ggml_type(tensor.type);
  if (type == nullptr) return 0;
  return bytes_of(*type, {tensor.dimensions.rbegin(), tensor.dimensions.rend()},
                  formatted("{}: tensor {}", where, tensor.name));
}

void find_data(GgufTensor& tensor, ByteView data, std::uint64_t alignment, const std::string& where) {
  if (tensor.offset % alignment != 0) {
    fail("{}: tensor {} is at offset {}, not a multiple of {}", where, tensor.name, tensor.offset, alignment);
  }
  if (is_empty(tensor)) return;
  const std::uint64_t bytes = data_bytes(tensor, where);
  if (!data.contains(tensor.offset, bytes)) {
    fail("{}: tensor {} needs {} bytes at offset {}, but the file has {} bytes of data (cut off?)", where, tensor.name,
         bytes, tensor.offset, data.size());
  }
  tensor.data = data.sub(tensor.offset, bytes);
}

void check_no_overlap(const std::vector<GgufTensor>& tensors, const std::string& where) {
  std::vector<const GgufTensor*> by_offset;
  for (const GgufTensor& tensor : tensors) by_offset.push_back(&tensor);
  // An empty tensor comes before the one whose data begin at its offset.
  std::sort(by_offset.begin(), by_offset.end(), [](const GgufTensor* a, const GgufTensor* b) {
    return std::pair(a->offset, a->data.size()) < std::pair(b->offset, b->data.size());
  });
  for (std::size_t i = 1; i < by_offset.size(); ++i) {
    const GgufTensor& before = *by_offset[i - 1];
    if (by_offset[i]->offset < before.offset + before.data.size()) {
      fail("{}: tensors {} and {} overlap", where, before.name, by_offset[i]->name);
    }
  }
}

ByteView data_section(ByteView file, std::uint64_t header_end, std::uint64_t alignment) {
  const std::uint64_t begin = (header_end + alignment - 1) / alignment * alignment;  // no overflow: both small
  if (begin >= file.size()) return {};                                               // no tensor will fit
  return file.sub(begin, file.size() - begin);
}

}  // namespace

bool is_empty(const GgufTensor& tensor) {
  return std::find(tensor.dimensions.begin(), tensor.dimensions.end(), 0u) != tensor.dimensions.end();
}

StoredTensor stored(const GgufTensor& tensor) {
  const GgmlType* type = find_ggml_type(tensor.type);
  StoredTensor result = stored_floats(type != nullptr ? type->name : formatted("{}", tensor.type),
                                      {tensor.dimensions.rbegin(), tensor.dimensions.rend()}, tensor.data,
                                      float_type_of_ggml(tensor.type));
  if (!tensor.dimensions.empty()) result.unpack = find_unpack(tensor.type);
  if (result.unpack != nullptr) {
    result.values_type = ZENWOQ_F32;
    result.block_bytes = type->block_bytes;
    result.block_values = type->block_elements;
  }
  return result;
}

bool looks_like_gguf(ByteView file) { return file.text().starts_with(magic); }

GgufFile parse_gguf(ByteView bytes, const std::string& where) {
  Cursor cursor(bytes, where);
  GgufFile file;
  check_version(cursor);
  const std::uint64_t tensor_count = cursor.take_count(min_tensor_bytes, "the number of tensors");
  const std::uint64_t pair_count = cursor.take_count(min_pair_bytes, "the number of key-value pairs");
  check_entry_count(tensor_count + pair_count, bytes.size(), where);  // both are below the file's size
  const std::uint64_t alignment = walk_pairs(cursor, pair_count, file);
  file.tensors = take_tensors(cursor, tensor_count);
  const ByteView data = data_section(bytes, cursor.position(), alignment);
  for (GgufTensor& tensor : file.tensors) find_data(tensor, data, alignment, where);
  check_no_overlap(file.tensors, where);
  return file;
}

}  // namespace zenwoq::formats
