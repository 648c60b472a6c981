// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Walks an ONNX file once. Graphs inside of nodes (If, Loop) are not entered, other nodes than those of the list are
// not kept.
#include "formats/container/onnx_file.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include "formats/container/protobuf.h"
#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

// A file's entries are kept in more memory than they take in it, so that there is a limit to how many there are.
constexpr std::uint64_t free_entries = 32768;
constexpr std::uint64_t least_bytes = 200;  // of each entry beyond, with its name, shape and place
constexpr std::uint64_t most_uses = 2;      // of a byte of external data, on average: tensors may share some, not all
constexpr std::size_t max_dimensions = 16;
constexpr std::size_t max_node_parts = 8;  // inputs, outputs, attributes, integers of one: no node of the list has more

constexpr std::string_view kept_ops[] = {"MatMulNBits", "DequantizeLinear", "Transpose", "MatMul", "Gemm"};

// How onnx.proto numbers types, and as what they lie in int32_data where there is no raw data.
struct OnnxType {
  std::uint64_t number;
  const char* name;
  std::uint64_t bits;
  std::uint64_t bytes_in_int32 = 0;  // 0: not read from there
};

constexpr OnnxType types[] = {
    {1, "F32", 32},
    {2, "U8", 8, 1},
    {3, "I8", 8, 1},
    {4, "U16", 16, 2},
    {5, "I16", 16, 2},
    {6, "I32", 32},
    {7, "I64", 64},
    {9, "BOOL", 8, 1},
    {10, "F16", 16, 2},
    {11, "F64", 64},
    {12, "U32", 32},
    {13, "U64", 64},
    {14, "C64", 64},
    {15, "C128", 128},
    {16, "BF16", 16, 2},
    {17, "F8_E4M3", 8, 1},
    {18, "F8_E4M3FNUZ", 8, 1},
    {19, "F8_E5M2", 8, 1},
    {20, "F8_E5M2FNUZ", 8, 1},
    {21, "U4", 4, 1},  // two in a number
    {22, "I4", 4, 1},
    {23, "F4", 4, 1},
    {24, "F8_E8M0", 8, 1},
};

const OnnxType* find_type(std::uint64_t number) {
  const auto* found =
      std::find_if(std::begin(types), std::end(types), [&](const OnnxType& type) { return type.number == number; });
  return found == std::end(types) ? nullptr : found;
}

std::string type_name(std::uint64_t number) {
  if (const OnnxType* type = find_type(number)) return type->name;
  return number == 8 ? "STRING" : formatted("{}", number);
}

// A TensorProto as it stands in the file.
struct TensorEntry {
  std::string_view name;
  std::vector<std::uint64_t> shape;
  std::uint64_t type = 0;
  std::optional<ByteView> raw;
  std::optional<ByteView> floats, integers;  // packed float_data, int32_data
  bool other_numbers = false;                // in a field or a form that is not read
  bool external = false;
  std::string_view location, offset, length;  // of external data
};

void read_place(ByteView message, const std::string& where, TensorEntry& entry) {
  std::string_view key, value;
  for (ProtobufReader reader(message, where); reader.next();) {
    if (reader.field() == 1) key = reader.text();
    if (reader.field() == 2) value = reader.text();
  }
  if (key == "location") entry.location = value;
  if (key == "offset") entry.offset = value;
  if (key == "length") entry.length = value;
}

void add_dimension(std::uint64_t dimension, const std::string& where, TensorEntry& entry) {
  if (entry.shape.size() == max_dimensions) fail("{}: a tensor has more than {} dimensions", where, max_dimensions);
  entry.shape.push_back(dimension);
}

// What is in several parts, or not packed, is not read: writers of large tensors do neither.
void read_packed(const ProtobufReader& reader, std::optional<ByteView>& numbers, TensorEntry& entry) {
  entry.other_numbers |= !reader.is_bytes() || numbers.has_value();
  if (reader.is_bytes()) numbers = reader.bytes();
}

TensorEntry read_entry(ByteView message, const std::string& where) {
  TensorEntry entry;
  for (ProtobufReader reader(message, where); reader.next();) {
    switch (reader.field()) {
      case 1:
        if (reader.is_integer()) {
          add_dimension(reader.integer(), where, entry);
        } else {
          for (PackedIntegers dims(reader.bytes(), where); !dims.at_end();) add_dimension(dims.take(), where, entry);
        }
        break;
      case 2: entry.type = reader.integer(); break;
      case 4: read_packed(reader, entry.floats, entry); break;
      case 5: read_packed(reader, entry.integers, entry); break;
      case 7:
      case 10:
      case 11: entry.other_numbers = true; break;
      case 8: entry.name = reader.text(); break;
      case 9: entry.raw = reader.bytes(); break;
      case 13: read_place(reader.bytes(), where, entry); break;
      case 14: entry.external = reader.integer() == 1; break;
      default: break;
    }
  }
  return entry;
}

std::uint64_t number_of(std::string_view text, const char* what, const std::string& where) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    fail("{}: its external data has {} {}, which is no number of bytes", where, what, shown(text));
  }
  return number;
}

// Throws ReadError for more elements than there are numbers.
std::uint64_t bytes_of(const TensorEntry& entry, const OnnxType& type, const std::string& where) {
  if (std::find(entry.shape.begin(), entry.shape.end(), 0u) != entry.shape.end()) return 0;
  std::optional<std::uint64_t> bits = type.bits;
  for (const std::uint64_t dimension : entry.shape) {
    if (bits) bits = checked_product(*bits, dimension);
  }
  if (bits) bits = checked_sum(*bits, 7);
  if (!bits) fail("{}: shape {} is larger than any file", where, shown(entry.shape));
  return *bits / 8;
}

template <typename T>
void push(std::vector<T>& parts, T part, const std::string& where) {
  if (parts.size() == max_node_parts) fail("{}: a node has more than {} inputs or the like", where, max_node_parts);
  parts.push_back(std::move(part));
}

OnnxAttribute read_attribute(ByteView message, const std::string& where) {
  OnnxAttribute attribute;
  for (ProtobufReader reader(message, where); reader.next();) {
    switch (reader.field()) {
      case 1: attribute.name = reader.text(); break;
      case 2: attribute.number = reader.f32(); break;
      case 3: attribute.integer = static_cast<std::int64_t>(reader.integer()); break;
      case 8:
        if (reader.is_integer()) {
          push(attribute.integers, static_cast<std::int64_t>(reader.integer()), where);
        } else {
          for (PackedIntegers all(reader.bytes(), where); !all.at_end();) {
            push(attribute.integers, static_cast<std::int64_t>(all.take()), where);
          }
        }
        break;
      default: break;
    }
  }
  return attribute;
}

class ModelReader {
 public:
  ModelReader(ByteView file, const std::string& where, Files& files) : file_(file), where_(where), files_(files) {}

  OnnxModel read() {
    std::optional<ByteView> graph;
    for (ProtobufReader reader(file_, where_); reader.next();) {
      if (reader.field() != 7) continue;
      if (graph) fail("{}: has two graphs", where_);
      graph = reader.bytes();
    }
    if (!graph) fail("{}: is no ONNX model, it has no graph", where_);
    for (ProtobufReader reader(*graph, where_); reader.next();) {
      if (reader.field() == 1) add_node(reader.bytes());
      if (reader.field() == 5) add_tensor(reader.bytes());
    }
    return std::move(model_);
  }

 private:
  void count_entry(const char* what) {
    if (++entries_ > free_entries + file_.size() / least_bytes) {
      fail("{}: has more {} than a file of {} bytes can have", where_, what, file_.size());
    }
  }

  void add_node(ByteView message) {
    std::string_view op;
    for (ProtobufReader reader(message, where_); reader.next();) {
      if (reader.field() == 4) op = reader.text();
    }
    if (std::find(std::begin(kept_ops), std::end(kept_ops), op) == std::end(kept_ops)) return;
    count_entry("nodes");
    read_onnx_node(message, where_);
    model_.nodes.push_back(message);
  }

  void add_tensor(ByteView message) {
    count_entry("tensors");
    TensorEntry entry = read_entry(message, where_);
    check_name(entry.name, where_);
    const std::string where = formatted("{}: tensor {}", where_, entry.name);
    Tensor tensor;
    tensor.dtype = type_name(entry.type);
    tensor.data = data_of(entry, where);
    tensor.shape = std::move(entry.shape);
    if (!model_.tensors.emplace(entry.name, std::move(tensor)).second) fail("{}: is there twice", where);
  }

  ByteView data_of(const TensorEntry& entry, const std::string& where) {
    const OnnxType* type = find_type(entry.type);
    if (type == nullptr) return {};
    const std::uint64_t needed = bytes_of(entry, *type, where);
    ByteView data;
    if (entry.external) {
      data = external_data(entry, needed, where);
    } else if (entry.raw) {
      data = *entry.raw;
    } else if (entry.other_numbers) {
      return {};
    } else if (entry.floats && entry.type == 1) {
      data = *entry.floats;
    } else if (entry.integers && type->bytes_in_int32 != 0) {
      data = narrowed(*entry.integers, *type, needed, where);
    } else if (entry.floats || entry.integers) {
      return {};
    }
    if (data.size() != needed) {
      fail("{}: has {} bytes, but {} of shape {} take {}", where, data.size(), type->name, shown(entry.shape), needed);
    }
    return data;
  }

  ByteView external_data(const TensorEntry& entry, std::uint64_t needed, const std::string& where) {
    const std::string name(entry.location);
    if (!is_plain_file_name(name)) {
      fail("{}: its external data lies in {}, which is not a plain file name beside the model", where, shown(name));
    }
    const std::uint64_t offset = entry.offset.empty() ? 0 : number_of(entry.offset, "offset", where);
    const std::uint64_t length = entry.length.empty() ? needed : number_of(entry.length, "length", where);
    if (needed == 0) return {};
    ByteView file;
    try {
      file = files_.require(name);
    } catch (const ReadError& error) {
      fail("{}: its external data: {}", where, error.what());
    }
    if (!file.contains(offset, length)) {
      fail("{}: needs {} bytes at {} of {}, which has {} (cut off?)", where, length, offset, name, file.size());
    }
    std::uint64_t& used = used_[name];
    used += length;  // fits: files have few bytes
    if (used / most_uses > file.size())
      fail("{}: tensors take {} bytes of {}, which has {}", where, used, name, file.size());
    return file.sub(offset, length);
  }

  // int32_data in the bytes that raw data would have.
  ByteView narrowed(ByteView numbers, const OnnxType& type, std::uint64_t needed, const std::string& where) {
    if (needed / type.bytes_in_int32 > numbers.size()) {  // each takes a byte or more
      fail("{}: int32_data of {} bytes cannot have {} numbers", where, numbers.size(), needed / type.bytes_in_int32);
    }
    std::vector<std::uint8_t> bytes;
    bytes.reserve(needed);
    for (PackedIntegers all(numbers, where); !all.at_end();) {
      const std::uint64_t number = all.take();
      if (bytes.size() == needed) fail("{}: int32_data has more than {} numbers", where, needed / type.bytes_in_int32);
      for (std::uint64_t i = 0; i < type.bytes_in_int32; ++i) {
        bytes.push_back(static_cast<std::uint8_t>(number >> (8 * i)));
      }
    }
    model_.owned.push_back(std::move(bytes));
    return {model_.owned.back().data(), model_.owned.back().size()};
  }

  ByteView file_;
  const std::string& where_;
  Files& files_;
  std::uint64_t entries_ = 0;
  std::map<std::string, std::uint64_t> used_;  // bytes of external data, by file
  OnnxModel model_;
};

}  // namespace

OnnxNode read_onnx_node(ByteView message, const std::string& where) {
  OnnxNode node;
  for (ProtobufReader reader(message, where); reader.next();) {
    switch (reader.field()) {
      case 1: push(node.inputs, reader.text(), where); break;
      case 2: push(node.outputs, reader.text(), where); break;
      case 3: node.name = reader.text(); break;
      case 4: node.op = reader.text(); break;
      case 5: push(node.attributes, read_attribute(reader.bytes(), where), where); break;
      case 7: node.domain = reader.text(); break;
      default: break;
    }
  }
  if (node.domain == "ai.onnx") node.domain = {};  // both are the operators of ONNX itself
  return node;
}

const OnnxAttribute* OnnxNode::attribute(std::string_view attribute_name) const {
  const auto found = std::find_if(attributes.begin(), attributes.end(),
                                  [&](const OnnxAttribute& attribute) { return attribute.name == attribute_name; });
  return found == attributes.end() ? nullptr : &*found;
}

std::int64_t OnnxNode::integer(std::string_view attribute_name, std::int64_t otherwise) const {
  const OnnxAttribute* found = attribute(attribute_name);
  return found != nullptr ? found->integer : otherwise;
}

OnnxModel parse_onnx(ByteView file, const std::string& where, Files& files) {
  return ModelReader(file, where, files).read();
}

}  // namespace zenwoq::formats
