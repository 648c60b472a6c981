// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Puts the shards of a GGUF model together.
#include "formats/container/gguf_model.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include "formats/container/sharded.h"
#include "formats/container/tensor_set.h"
#include "formats/container/text.h"

namespace zenwoq::formats {
namespace {

constexpr std::string_view extension = ".gguf";

// The file's name as a shard's; throws ReadError unless it says the same as the file itself.
ShardName require_shard_name(const GgufFile& file, const std::string& where, const std::string& file_name) {
  const std::optional<ShardName> name = parse_shard_name(file_name, extension);
  if (name && name->number == file.shard + 1 && name->count == file.shards) return *name;
  fail("{}: is shard {} of {}, but not called NAME-{:05}-of-{:05}{}, as which the others could be found", where,
       file.shard + 1, file.shards, file.shard + 1, file.shards, extension);
}

// Adds the tensors of the other shards of a model in several files.
void add_other_shards(GgufFile& file, ByteView bytes, const std::string& where, const std::string& file_name,
                      Files& files) {
  const ShardName name = require_shard_name(file, where, file_name);
  std::uint64_t all_bytes = bytes.size();
  for (std::uint64_t i = 0; i < file.shards; ++i) {
    if (i == file.shard) continue;
    const std::string other_name = name.file_of(i + 1, extension);
    GgufFile other;
    try {
      const ByteView other_bytes = files.require(other_name);
      all_bytes += other_bytes.size();
      other = parse_gguf(other_bytes, shown(other_name));
    } catch (const ReadError& error) {
      fail("{}: is shard {} of {}: {}", where, file.shard + 1, file.shards, error.what());
    }
    if (other.shard != i || other.shards != file.shards) {
      fail("{}: is shard {} of {}, but {} says that it is shard {} of {}", where, file.shard + 1, file.shards,
           shown(other_name), other.shard + 1, other.shards);
    }
    check_entry_count(file.tensors.size() + other.tensors.size(), all_bytes, where);
    std::move(other.tensors.begin(), other.tensors.end(), std::back_inserter(file.tensors));
  }
  if (file.tensors_of_all != 0 && file.tensors_of_all != file.tensors.size()) {
    fail("{}: split.tensors.count is {}, but the {} shards have {} tensors", where, file.tensors_of_all, file.shards,
         file.tensors.size());
  }
}

}  // namespace

std::vector<GgufTensor> read_gguf_model(ByteView bytes, const std::string& where, const std::string& file_name,
                                        Files& files) {
  GgufFile file = parse_gguf(bytes, where);
  if (file.shards > 1) {
    add_other_shards(file, bytes, where, file_name, files);
  } else if (const std::optional<ShardName> name = parse_shard_name(file_name, extension)) {
    fail("{}: is called shard {} of {}, but has no split.count that says so", where, name->number, name->count);
  }
  std::set<std::string_view> names;
  for (const GgufTensor& tensor : file.tensors) {
    if (!names.insert(tensor.name).second) fail("{}: two shards have tensor {}", where, tensor.name);
  }
  return std::move(file.tensors);
}

}  // namespace zenwoq::formats
