// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The container format .zwq: a header, a directory, and packed weights, tensors and small files, all of them in places
// that follow from the directory. docs/zwq.md has it byte by byte.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "formats/container/byte_view.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq::formats {

constexpr std::size_t zwq_max_rank = 8;

struct ZwqExtent {
  std::uint64_t offset = 0;  // from the file's first byte
  std::uint64_t bytes = 0;
  std::uint64_t checksum = 0;
};

enum class ZwqKind : std::uint32_t {
  layer = 1,   // packed weights, of experts one after another
  tensor = 2,  // as it lay in the source
  file = 3     // beside the source: config.json
};

struct ZwqEntry {
  ZwqEntry() { zenwoq_weight_desc_init(&desc); }

  ZwqKind kind = ZwqKind::layer;
  std::string name;
  std::string type;                  // of a layer what it was read as: "gptq"; of a tensor its elements: "bf16", "q6_k"
  std::vector<std::uint64_t> shape;  // of a tensor, rows first; of a layer [experts, n, k]
  ZwqExtent values;
  // Of a layer:
  zenwoq_weight_desc desc;
  ZwqExtent bias;  // [experts, n], without bytes if there is none
  zenwoq_dtype bias_type = ZENWOQ_F32;

  bool has_bias() const { return bias.bytes != 0; }
};

bool looks_like_zwq(ByteView file);

// Hands over the entries in their order. Looks at the header and the directory alone, and at all of both; on an error,
// which the directory's last entry may have, the entries are worth nothing. Throws ReadError.
void read_zwq(ByteView file, const std::string& where, const std::function<void(ZwqEntry)>& take);

// Reads all of the file. Throws ReadError if a byte is not as it was written.
void verify_zwq(ByteView file, const std::string& where);

// Fills the offsets of all extents, whose bytes are known. Returns the bytes of the file. Throws ReadError if two
// entries of a kind have one name, and for texts that read_zwq refuses.
std::uint64_t place_zwq(std::vector<ZwqEntry>& entries);

// Header and directory of placed entries whose checksums are known. packed_version: the highest of their weights.
std::vector<std::uint8_t> zwq_head(const std::vector<ZwqEntry>& entries, std::uint64_t file_bytes,
                                   std::uint32_t packed_version);

// The version that packed bytes say they have; there must be a whole header.
std::uint32_t packed_version_of(ByteView packed);

}  // namespace zenwoq::formats
