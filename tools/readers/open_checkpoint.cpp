// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Tells the formats apart by content and hands each file to its reader.
#include "tools/readers/open_checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "tools/readers/found_layers.h"
#include "tools/readers/gguf.h"
#include "tools/readers/gguf_file.h"
#include "tools/readers/mapped_file.h"
#include "tools/readers/safetensors.h"
#include "tools/readers/text.h"
#include "tools/readers/torchao_intx.h"
#include "tools/readers/torchao_opaque.h"

namespace zenwoq::tools {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view index_suffix = ".index.json";
constexpr std::string_view safetensors_extension = ".safetensors";
constexpr std::string_view gguf_extension = ".gguf";
constexpr std::size_t shown_path_bytes = 400;

class OpenCheckpoint final : public Checkpoint {
 public:
  // `files` are the mappings that the layers point into; empty if the caller owns the bytes.
  OpenCheckpoint(FoundLayers found, std::vector<MappedFile> files)
      : sources_(std::move(found.layers)), files_(std::move(files)) {
    for (const auto& source : sources_) layers_.push_back(source->info);
    left_alone_ = std::move(found.left_alone);
  }

  Layer load(std::size_t index) const override { return sources_.at(index)->load(); }

 private:
  std::vector<std::unique_ptr<LayerSource>> sources_;
  std::vector<MappedFile> files_;
};

FoundLayers find_safetensors_layers(TensorSet set, const ReadOptions& options) {
  FoundLayers found;
  find_opaque_layers(set, options.opaque_layout, found);
  find_intx_layers(set, found);
  for (const auto& entry : set.tensors) {
    found.left_alone.push_back({entry.first, plain_tensor_reason(entry.second)});
  }
  std::move(set.left_alone.begin(), set.left_alone.end(), std::back_inserter(found.left_alone));
  return found;
}

// What git leaves in place of a large file that was not fetched.
void refuse_lfs_pointer(ByteView bytes, const std::string& where) {
  if (bytes.text().starts_with("version https://git-lfs.github.com/spec/")) {
    fail("{}: is a git-lfs pointer, not the file itself: fetch that with git lfs pull", where);
  }
}

[[noreturn]] void refuse_lone_shard(const std::string& where, const std::string& which) {
  fail("{}: is {}, and layers may go on in the others: open the {} beside it", where, which, index_suffix);
}

FoundLayers find_layers(ByteView bytes, const std::string& name, const ReadOptions& options,
                        const ShardSource& all_shard_bytes) {
  const std::string where = shown(name, shown_path_bytes);
  const std::string file_name = fs::path(name).filename().string();
  const ShardSource shard_bytes = [&all_shard_bytes](const std::string& shard) {
    const ByteView found = all_shard_bytes(shard);
    refuse_lfs_pointer(found, shown(shard, shown_path_bytes));
    return found;
  };
  refuse_lfs_pointer(bytes, where);
  if (has_suffix(name, index_suffix)) {
    return find_safetensors_layers(read_shards(bytes, where, shard_bytes), options);
  }
  if (looks_like_gguf(bytes)) return find_gguf_layers(bytes, where, file_name, shard_bytes);
  if (bytes.text().starts_with("PK\x03\x04")) {
    fail("{}: is a zip file (a PyTorch pickle?), which is not read; save the model as safetensors", where);
  }
  if (looks_like_safetensors(bytes)) {
    if (const std::optional<ShardName> shard = parse_shard_name(file_name, safetensors_extension)) {
      refuse_lone_shard(where, fmt::format("shard {} of {}", shard->number, shard->count));
    }
    return find_safetensors_layers(parse_safetensors(bytes, where), options);
  }
  fail("{}: is neither a safetensors nor a GGUF file", where);
}

// error: why the directory cannot be listed.
std::vector<fs::path> files_in(const fs::path& directory, std::string_view suffix, std::error_code& error) {
  std::vector<fs::path> files;
  for (fs::directory_iterator next(directory, error), end; !error && next != end; next.increment(error)) {
    if (next->path().filename().string().ends_with(suffix)) files.push_back(next->path());
  }
  return files;
}

// The GGUF files of a directory; of a model in several files, the first one. Where there are only later ones, one of
// them: opening it names the one that is missing.
std::vector<fs::path> gguf_models_in(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> files = files_in(directory, gguf_extension, error);
  if (error) fail("{}: cannot be listed: {}", shown(directory.string(), shown_path_bytes), error.message());
  const auto is_first = [](const fs::path& file) {
    const std::optional<ShardName> shard = parse_shard_name(file.filename().string(), gguf_extension);
    return !shard || shard->number == 1;
  };
  const auto later = std::stable_partition(files.begin(), files.end(), is_first);
  files.erase(later == files.begin() && later != files.end() ? later + 1 : later, files.end());
  return files;
}

// Throws ReadError for a safetensors file that an index beside it places among others.
void refuse_file_of_an_index(const fs::path& file) {
  const fs::path directory = file.has_parent_path() ? file.parent_path() : fs::path(".");
  if (!file.filename().string().ends_with(safetensors_extension)) return;
  const std::string suffix = std::string(safetensors_extension) + std::string(index_suffix);
  std::error_code error;  // a directory that cannot be listed has no index that is known
  for (const fs::path& index : files_in(directory, suffix, error)) {
    bool several = false;
    try {
      several = is_one_of_several(MappedFile(index.string()).bytes(), index.string(), file.filename().string());
    } catch (const ReadError&) {  // an index that cannot be read says nothing about this file
    }
    if (several) refuse_lone_shard(shown(file.string(), shown_path_bytes), "one of several shards");
  }
}

// The path of a directory's checkpoint, which has one of the file names that Hugging Face uses.
fs::path checkpoint_in(const fs::path& directory) {
  std::error_code error;
  for (const char* name : {"model.safetensors.index.json", "model.safetensors"}) {
    if (fs::exists(directory / name, error)) return directory / name;
  }
  const std::vector<fs::path> gguf_files = gguf_models_in(directory);
  if (gguf_files.size() == 1) return gguf_files[0];
  const std::string where = shown(directory.string(), shown_path_bytes);
  if (gguf_files.empty()) {
    fail("{}: the directory has no model.safetensors.index.json, no model.safetensors and no .gguf file", where);
  }
  fail("{}: the directory has {} .gguf files, name one of them", where, gguf_files.size());
}

}  // namespace

std::unique_ptr<Checkpoint> open_checkpoint_bytes(ByteView bytes, const std::string& name, const ReadOptions& options,
                                                  const ShardSource& shard_bytes) {
  return std::make_unique<OpenCheckpoint>(find_layers(bytes, name, options, shard_bytes), std::vector<MappedFile>());
}

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path, const ReadOptions& options) {
  std::error_code error;
  const fs::path file = fs::is_directory(path, error) ? checkpoint_in(path) : fs::path(path);
  std::vector<MappedFile> files;
  files.emplace_back(file.string());
  const ShardSource shard_bytes = [&files, &file](const std::string& file_name) {
    files.emplace_back((file.parent_path() / file_name).string());
    return files.back().bytes();
  };
  FoundLayers found = find_layers(files[0].bytes(), file.string(), options, shard_bytes);
  refuse_file_of_an_index(file);
  return std::make_unique<OpenCheckpoint>(std::move(found), std::move(files));
}

}  // namespace zenwoq::tools
