// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// There is one way to write a directory: what is read is written again and compared, so that no field that is reserved
// or without a meaning can hold anything, and places are computed, so that none overlap and none are hidden.
#include "formats/container/zwq_file.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include "formats/container/checksum.h"
#include "formats/container/floats.h"
#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

// The first byte is no text, line ends are of both kinds, 0x1A ends a text file: what a copy as text breaks.
constexpr std::uint8_t magic[8] = {0x89, 'Z', 'W', 'Q', '\r', '\n', 0x1A, '\n'};
constexpr std::size_t known_by = 4;  // bytes of the magic that such a copy leaves alone
constexpr std::uint32_t format_version = 1;

constexpr std::uint64_t page = 4096;  // weights begin on pages, which processes share
constexpr std::uint64_t line = 64;
constexpr std::size_t record_multiple = 8;

struct HeaderBytes {
  std::uint8_t magic[8];
  std::uint32_t version;
  std::uint32_t records;
  std::uint64_t file_bytes;
  std::uint64_t directory_bytes;
  std::uint32_t packed_version;
  std::uint32_t arithmetic_version;
  std::uint64_t reserved;
  std::uint64_t directory_checksum;
  std::uint64_t header_checksum;  // of the bytes before it
};
static_assert(sizeof(HeaderBytes) == 64);

struct ExtentBytes {
  std::uint64_t offset, bytes, checksum;
};

// Name and type follow it, without ends, then zeros up to a multiple of record_multiple.
struct RecordBytes {
  std::uint32_t kind;
  std::uint32_t name_bytes;
  std::uint32_t type_bytes;
  std::uint32_t rank;
  std::uint64_t shape[zwq_max_rank];
  ExtentBytes values;
  // Of layers, 0 for other kinds:
  ExtentBytes bias;
  std::uint32_t bias_type;
  std::uint32_t scale_type;
  std::uint32_t zero_kind;
  std::uint32_t zero_type;  // 0 unless zeros are fractions
  std::uint64_t group_size;
  std::uint32_t tensor_scale_kind;
  float tensor_scale;  // 0 unless there is one
  std::uint32_t permuted;
  std::uint32_t x_scaled;
  float table[16];
  std::uint8_t reserved[24];
};
static_assert(sizeof(RecordBytes) == 256);

constexpr std::uint64_t min_record_bytes = sizeof(RecordBytes) + record_multiple;  // a name has a byte

std::uint64_t round_up(std::uint64_t value, std::uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

std::uint64_t record_bytes(std::uint64_t name_bytes, std::uint64_t type_bytes) {
  return round_up(sizeof(RecordBytes) + name_bytes + type_bytes, record_multiple);
}

// Where the bytes of entries lie: in the directory's order, each at the next page or line.
class Placement {
 public:
  explicit Placement(std::uint64_t directory_bytes) : end_(sizeof(HeaderBytes) + directory_bytes) {}

  std::uint64_t end() const { return end_; }

  // Gives the place of `bytes` bytes. Throws ReadError if there cannot be so many.
  std::uint64_t place(std::uint64_t bytes, std::uint64_t multiple, const std::string& what) {
    const std::uint64_t begin = round_up(end_, multiple);
    const std::optional<std::uint64_t> end = checked_sum(begin, bytes);
    if (!end || *end > INT64_MAX) fail("{}: {} bytes at {} are more than a file can have", what, bytes, begin);
    end_ = *end;
    return begin;
  }

 private:
  std::uint64_t end_;
};

ExtentBytes bytes_of(const ZwqExtent& extent) { return {extent.offset, extent.bytes, extent.checksum}; }
ZwqExtent extent_of(const ExtentBytes& bytes) { return {bytes.offset, bytes.bytes, bytes.checksum}; }

void describe(const ZwqEntry& entry, RecordBytes& record) {
  const zenwoq_weight_desc& desc = entry.desc;
  record.bias = bytes_of(entry.bias);
  record.bias_type = entry.has_bias() ? static_cast<std::uint32_t>(entry.bias_type) : 0;
  record.scale_type = desc.scale_type;
  record.zero_kind = desc.zero_kind;
  record.zero_type = desc.zero_kind == ZENWOQ_ZERO_FLOAT ? static_cast<std::uint32_t>(desc.zero_type) : 0;
  record.group_size = desc.group_size;
  record.tensor_scale_kind = desc.tensor_scale_kind;
  record.tensor_scale = desc.tensor_scale_kind == ZENWOQ_TENSOR_SCALE_NONE ? 0.0f : desc.tensor_scale;
  record.permuted = desc.permuted;
  record.x_scaled = desc.x_scaled;
  std::memcpy(record.table, desc.table, sizeof record.table);
}

zenwoq_weight_desc description(const RecordBytes& record) {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  desc.n = record.shape[1];
  desc.k = record.shape[2];
  desc.group_size = record.group_size;
  desc.scale_type = static_cast<zenwoq_dtype>(record.scale_type);
  desc.zero_kind = static_cast<zenwoq_zero_kind>(record.zero_kind);
  if (record.zero_type != 0) desc.zero_type = static_cast<zenwoq_dtype>(record.zero_type);
  desc.tensor_scale_kind = static_cast<zenwoq_tensor_scale_kind>(record.tensor_scale_kind);
  if (record.tensor_scale_kind != 0) desc.tensor_scale = record.tensor_scale;
  desc.permuted = record.permuted != 0 ? 1 : 0;
  desc.x_scaled = record.x_scaled != 0 ? 1 : 0;
  std::memcpy(desc.table, record.table, sizeof desc.table);
  return desc;
}

// The record with its texts, appended to the directory.
void append_record(const ZwqEntry& entry, std::vector<std::uint8_t>& directory) {
  RecordBytes record{};
  record.kind = static_cast<std::uint32_t>(entry.kind);
  record.name_bytes = static_cast<std::uint32_t>(entry.name.size());
  record.type_bytes = static_cast<std::uint32_t>(entry.type.size());
  record.rank = static_cast<std::uint32_t>(entry.shape.size());
  std::copy(entry.shape.begin(), entry.shape.end(), record.shape);
  record.values = bytes_of(entry.values);
  if (entry.kind == ZwqKind::layer) describe(entry, record);
  const auto* fixed = reinterpret_cast<const std::uint8_t*>(&record);
  directory.insert(directory.end(), fixed, fixed + sizeof record);
  directory.insert(directory.end(), entry.name.begin(), entry.name.end());
  directory.insert(directory.end(), entry.type.begin(), entry.type.end());
  directory.resize(round_up(directory.size(), record_multiple));
}

HeaderBytes check_header(ByteView file, const std::string& where) {
  if (file.size() < sizeof magic || std::memcmp(file.data(), magic, sizeof magic) != 0) {
    fail("{}: begins as a .zwq file, but goes on otherwise: cut off, or copied as text", where);
  }
  if (file.size() < sizeof(HeaderBytes)) {
    fail("{}: has {} bytes, the header of a .zwq file has {} (cut off?)", where, file.size(), sizeof(HeaderBytes));
  }
  HeaderBytes header;
  std::memcpy(&header, file.data(), sizeof header);
  if (header.version != format_version) {
    fail("{}: is of version {} of .zwq, this library reads version {}", where, header.version, format_version);
  }
  const std::uint64_t checksum = checksum_of(file.sub(0, offsetof(HeaderBytes, header_checksum)));
  if (header.header_checksum != checksum) {
    fail("{}: the header's checksum is {:016x}, computed {:016x}: damaged", where, header.header_checksum, checksum);
  }
  if (header.reserved != 0) fail("{}: a reserved field of the header is {}, not 0", where, header.reserved);
  if (header.file_bytes != file.size()) {
    fail("{}: has {} bytes, its header says {} ({})", where, file.size(), header.file_bytes,
         file.size() < header.file_bytes ? "cut off?" : "something was appended?");
  }
  return header;
}

void check_versions(const HeaderBytes& header, const std::string& where) {
  if (header.packed_version > ZENWOQ_PACKED_VERSION) {
    fail("{}: has packed weights of version {}, this library reads up to {}", where, header.packed_version,
         ZENWOQ_PACKED_VERSION);
  }
  if (header.arithmetic_version != ZENWOQ_ARITHMETIC_VERSION) {
    fail("{}: is of arithmetic version {}, this library computes {}", where, header.arithmetic_version,
         ZENWOQ_ARITHMETIC_VERSION);
  }
}

ByteView check_directory(ByteView file, const HeaderBytes& header, const std::string& where) {
  if (!file.contains(sizeof header, header.directory_bytes)) {
    fail("{}: has a directory of {} bytes, which the file of {} has no room for", where, header.directory_bytes,
         file.size());
  }
  const ByteView directory = file.sub(sizeof header, header.directory_bytes);
  const std::uint64_t checksum = checksum_of(directory);
  if (header.directory_checksum != checksum) {
    fail("{}: the directory's checksum is {:016x}, computed {:016x}: damaged", where, header.directory_checksum,
         checksum);
  }
  if (header.records > directory.size() / min_record_bytes) {
    fail("{}: has {} records, its directory of {} bytes has room for {} at most", where, header.records,
         directory.size(), directory.size() / min_record_bytes);
  }
  return directory;
}

bool is_bias_type(std::uint32_t type) { return type >= ZENWOQ_F32 && type <= ZENWOQ_BF16; }

// Bytes of the experts' weights, and of their biases.
void check_layer(const RecordBytes& record, ZwqEntry& entry, const std::string& where) {
  entry.desc = description(record);
  std::size_t packed_bytes = 0;
  if (zenwoq_weight_packed_bytes(&entry.desc, &packed_bytes) != ZENWOQ_OK) fail("{}: {}", where, zenwoq_last_error());
  const std::optional<std::uint64_t> bytes = checked_product(packed_bytes, record.shape[0]);
  if (record.rank != 3 || record.shape[0] == 0 || bytes != record.values.bytes) {
    fail("{}: shape {} has {} bytes, it should be experts, n and k, and {} bytes each", where, shown(entry.shape),
         record.values.bytes, packed_bytes);
  }
  if (record.bias.bytes == 0) return;
  entry.bias = extent_of(record.bias);
  if (!is_bias_type(record.bias_type)) {
    fail("{}: a bias of type {}, 1 (f32), 2 (f16) and 3 (bf16) are possible", where, record.bias_type);
  }
  entry.bias_type = static_cast<zenwoq_dtype>(record.bias_type);
  // No overflow: the packed weights, which are larger, have passed.
  const std::uint64_t bias_bytes = record.shape[0] * record.shape[1] * float_bytes(entry.bias_type);
  if (record.bias.bytes != bias_bytes) {
    fail("{}: a bias of {} bytes, shape {} needs {}", where, record.bias.bytes, shown(entry.shape), bias_bytes);
  }
}

// Throws ReadError for a name or a type that no entry may have.
void check_texts(const ZwqEntry& entry, const std::string& where) {
  check_name(entry.name, where);
  if (shown(entry.type, entry.type.size()) != entry.type) {
    fail("{}: {}: its type {} is not printable UTF-8", where, entry.name, shown(entry.type));
  }
}

// The record at the start of `rest`. *bytes: of all of it.
ZwqEntry read_record(ByteView rest, const std::string& where, std::uint64_t* bytes) {
  if (rest.size() < min_record_bytes) fail("{}: the directory ends inside a record", where);
  RecordBytes record;
  std::memcpy(&record, rest.data(), sizeof record);
  *bytes = record_bytes(record.name_bytes, record.type_bytes);
  if (*bytes > rest.size()) {
    fail("{}: texts of {} and {} bytes go beyond the directory", where, record.name_bytes, record.type_bytes);
  }
  ZwqEntry entry;
  entry.name = rest.sub(sizeof record, record.name_bytes).text();
  entry.type = rest.sub(sizeof record + record.name_bytes, record.type_bytes).text();
  check_texts(entry, where);
  const std::string tensor = formatted("{}: {}", where, entry.name);
  if (record.rank > zwq_max_rank) fail("{}: {} dimensions, {} are possible", tensor, record.rank, zwq_max_rank);
  entry.shape.assign(record.shape, record.shape + record.rank);
  entry.values = extent_of(record.values);
  entry.kind = static_cast<ZwqKind>(record.kind);
  switch (entry.kind) {
    case ZwqKind::layer: check_layer(record, entry, tensor); break;
    case ZwqKind::tensor: break;
    case ZwqKind::file:
      if (record.rank != 0 || record.type_bytes != 0) fail("{}: is a file with a type or a shape", tensor);
      break;
    default: fail("{}: is of the unknown kind {}", tensor, record.kind);
  }
  std::vector<std::uint8_t> written;
  append_record(entry, written);
  const auto differs = std::mismatch(written.begin(), written.end(), rest.begin()).first;
  if (differs != written.end()) {
    fail("{}: byte {} of its record is {}, it should be {}", tensor, differs - written.begin(),
         rest.data()[differs - written.begin()], *differs);
  }
  return entry;
}

struct Places {
  std::uint64_t values = 0;
  std::uint64_t bias = 0;
};

Places place(const ZwqEntry& entry, Placement& placement, const std::string& where) {
  Places places;
  places.values = placement.place(entry.values.bytes, entry.kind == ZwqKind::layer ? page : line, where);
  if (entry.has_bias()) places.bias = placement.place(entry.bias.bytes, line, where);
  return places;
}

// Throws ReadError unless the entry's bytes are where they should be.
void check_places(const ZwqEntry& entry, std::uint64_t file_bytes, Placement& placement, const std::string& where) {
  const std::string tensor = formatted("{}: {}", where, entry.name);
  const Places right = place(entry, placement, tensor);
  const auto check = [&](const char* what, std::uint64_t offset, std::uint64_t place) {
    if (offset != place) fail("{}: its {} is at {}, it should be at {}", tensor, what, offset, place);
  };
  check("content", entry.values.offset, right.values);
  check("bias", entry.bias.offset, right.bias);
  if (placement.end() > file_bytes) {
    fail("{}: ends at {}, behind the file of {} bytes", tensor, placement.end(), file_bytes);
  }
}

// A dictionary by kind and name loses nothing.
void check_names(std::vector<std::pair<ZwqKind, std::string_view>> names, const std::string& where) {
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) fail("{}: has {} twice", where, twice->second);
}

// Compares what lies in the file with what was written there.
class Verification {
 public:
  Verification(ByteView file, const std::string& where, std::uint64_t begin) : file_(file), where_(where), at_(begin) {}

  void check(const ZwqExtent& extent, const std::string& name, const char* what) {
    const ByteView padding = file_.sub(at_, extent.offset - at_);
    const auto* byte = std::find_if(padding.begin(), padding.end(), [](std::uint8_t value) { return value != 0; });
    if (byte != padding.end()) {
      fail("{}: byte {}, between entries, is {}, not 0: damaged", where_, byte - file_.data(), *byte);
    }
    const std::uint64_t checksum = checksum_of(file_.sub(extent.offset, extent.bytes));
    if (checksum != extent.checksum) {
      fail("{}: the {} of {}, {} bytes at {}, has checksum {:016x}, it was {:016x} when it was written: damaged",
           where_, what, name, extent.bytes, extent.offset, checksum, extent.checksum);
    }
    at_ = extent.offset + extent.bytes;
  }

 private:
  ByteView file_;
  const std::string& where_;
  std::uint64_t at_;  // what comes before it is checked
};

std::uint64_t directory_bytes(const std::vector<ZwqEntry>& entries) {
  std::uint64_t bytes = 0;
  for (const ZwqEntry& entry : entries) bytes += record_bytes(entry.name.size(), entry.type.size());
  return bytes;
}

}  // namespace

bool looks_like_zwq(ByteView file) { return file.size() >= known_by && std::memcmp(file.data(), magic, known_by) == 0; }

void read_zwq(ByteView file, const std::string& where, const std::function<void(ZwqEntry)>& take) {
  const HeaderBytes header = check_header(file, where);
  check_versions(header, where);
  const ByteView directory = check_directory(file, header, where);
  Placement placement(directory.size());
  std::vector<std::pair<ZwqKind, std::string_view>> names;
  names.reserve(header.records);
  std::uint64_t at = 0;
  for (std::uint32_t i = 0; i < header.records; ++i) {
    const ByteView rest = directory.sub(at, directory.size() - at);
    std::uint64_t bytes = 0;
    ZwqEntry entry = read_record(rest, where, &bytes);
    check_places(entry, file.size(), placement, where);
    names.emplace_back(entry.kind, rest.sub(sizeof(RecordBytes), entry.name.size()).text());
    take(std::move(entry));
    at += bytes;
  }
  if (at != directory.size()) {
    fail("{}: the records end at {}, the directory has {} bytes", where, at, directory.size());
  }
  if (placement.end() != file.size()) {
    fail("{}: the entries end at {}, the file has {} bytes", where, placement.end(), file.size());
  }
  check_names(std::move(names), where);
}

void verify_zwq(ByteView file, const std::string& where) {
  Verification verification(file, where, sizeof(HeaderBytes) + check_header(file, where).directory_bytes);
  read_zwq(file, where, [&](const ZwqEntry& entry) {
    verification.check(entry.values, entry.name, entry.kind == ZwqKind::layer ? "packed weight" : "content");
    if (entry.has_bias()) verification.check(entry.bias, entry.name, "bias");
  });
}

std::uint64_t place_zwq(std::vector<ZwqEntry>& entries) {
  std::vector<std::pair<ZwqKind, std::string_view>> names;
  Placement placement(directory_bytes(entries));
  for (ZwqEntry& entry : entries) {
    check_texts(entry, "the checkpoint");
    const Places places = place(entry, placement, entry.name);
    entry.values.offset = places.values;
    entry.bias.offset = places.bias;
    names.emplace_back(entry.kind, entry.name);
  }
  check_names(std::move(names), "the checkpoint");
  return placement.end();
}

std::vector<std::uint8_t> zwq_head(const std::vector<ZwqEntry>& entries, std::uint64_t file_bytes,
                                   std::uint32_t packed_version) {
  std::vector<std::uint8_t> head(sizeof(HeaderBytes));
  for (const ZwqEntry& entry : entries) append_record(entry, head);
  const ByteView directory(head.data() + sizeof(HeaderBytes), head.size() - sizeof(HeaderBytes));
  HeaderBytes header{};
  std::memcpy(header.magic, magic, sizeof magic);
  header.version = format_version;
  header.records = static_cast<std::uint32_t>(entries.size());
  header.file_bytes = file_bytes;
  header.directory_bytes = directory.size();
  header.packed_version = packed_version;
  header.arithmetic_version = ZENWOQ_ARITHMETIC_VERSION;
  header.directory_checksum = checksum_of(directory);
  header.header_checksum =
      checksum_of({reinterpret_cast<const std::uint8_t*>(&header), offsetof(HeaderBytes, header_checksum)});
  std::memcpy(head.data(), &header, sizeof header);
  return head;
}

std::uint32_t packed_version_of(ByteView packed) { return packed.read_le<std::uint32_t>(8); }

}  // namespace zenwoq::formats
