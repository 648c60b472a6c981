// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Tags, integers of seven bits a byte, and values with a length.
#include "formats/container/protobuf.h"

#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

constexpr unsigned max_shift = 63;  // of the tenth byte, which has one bit of 64

std::uint64_t take_varint(ByteView bytes, std::uint64_t& at, const std::string& where) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift <= max_shift; shift += 7) {
    if (at == bytes.size()) fail("{}: an integer is cut off after {} bytes", where, bytes.size());
    const std::uint8_t byte = bytes.data()[at++];
    if (shift == max_shift && byte > 1) break;
    value |= std::uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
  fail("{}: an integer before byte {} has more than 64 bits", where, at);
}

}  // namespace

std::uint64_t ProtobufReader::take_integer() { return take_varint(message_, at_, where_); }

bool ProtobufReader::next() {
  if (at_ == message_.size()) return false;
  const std::uint64_t tag = take_integer();
  field_ = static_cast<std::uint32_t>(tag >> 3);
  wire_ = static_cast<std::uint32_t>(tag & 7);
  if (tag >> 32 != 0 || field_ == 0) fail("{}: byte {} begins no field of protobuf (tag {})", where_, at_, tag);
  std::uint64_t size = 0;
  switch (wire_) {
    case integer_wire: integer_ = take_integer(); return true;
    case bits64_wire: size = 8; break;
    case bits32_wire: size = 4; break;
    case bytes_wire: size = take_integer(); break;
    default: fail("{}: field {} has wire type {}, which is not read", where_, field_, wire_);
  }
  if (!message_.contains(at_, size)) {
    fail("{}: field {} needs {} bytes at {}, but there are {} (cut off?)", where_, field_, size, at_, message_.size());
  }
  bytes_ = message_.sub(at_, size);
  at_ += size;
  return true;
}

void ProtobufReader::require(Wire wire) const {
  if (wire_ != wire) fail("{}: field {} has wire type {}, it should be {}", where_, field_, wire_, +wire);
}

std::uint64_t ProtobufReader::integer() const {
  require(integer_wire);
  return integer_;
}

float ProtobufReader::f32() const {
  require(bits32_wire);
  return std::bit_cast<float>(bytes_.read_le<std::uint32_t>(0));
}

ByteView ProtobufReader::bytes() const {
  require(bytes_wire);
  return bytes_;
}

std::uint64_t PackedIntegers::take() { return take_varint(bytes_, at_, where_); }

}  // namespace zenwoq::formats
