// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The fields of one protobuf message, one after another. The wire format (protobuf.dev/programming-guides/encoding) is
// small, so that a library, and the code that its compiler generates, would be more to build and to embed than this.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "formats/container/byte_view.h"

namespace zenwoq::formats {

// A message inside of a message is a value of bytes, which the caller gives to another reader: nothing recurses here.
class ProtobufReader {
 public:
  // `where` names the message in errors and must outlive the reader.
  ProtobufReader(ByteView message, const std::string& where) : message_(message), where_(where) {}

  // Goes on to the next field; false at the end. Throws ReadError for what is no field, or is cut off.
  bool next();

  std::uint32_t field() const { return field_; }

  // The field's value. Throw ReadError if it is of another wire type.
  std::uint64_t integer() const;
  float f32() const;
  ByteView bytes() const;
  std::string_view text() const { return bytes().text(); }

  bool is_integer() const { return wire_ == integer_wire; }
  bool is_bytes() const { return wire_ == bytes_wire; }

 private:
  enum Wire : std::uint32_t { integer_wire = 0, bits64_wire = 1, bytes_wire = 2, bits32_wire = 5 };

  void require(Wire wire) const;
  std::uint64_t take_integer();

  ByteView message_;
  const std::string& where_;
  std::uint64_t at_ = 0;
  std::uint32_t field_ = 0;
  std::uint32_t wire_ = 0;
  std::uint64_t integer_ = 0;
  ByteView bytes_;
};

// The integers of a packed field, one after another.
class PackedIntegers {
 public:
  PackedIntegers(ByteView bytes, const std::string& where) : bytes_(bytes), where_(where) {}

  bool at_end() const { return at_ == bytes_.size(); }
  std::uint64_t take();  // throws ReadError

 private:
  ByteView bytes_;
  const std::string& where_;
  std::uint64_t at_ = 0;
};

}  // namespace zenwoq::formats
