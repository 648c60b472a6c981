// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Tells containers apart by content, reads their contents, and asks each format for what it understands.
#include "formats/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "formats/container/ggml_types.h"
#include "formats/container/gguf_model.h"
#include "formats/container/onnx_file.h"
#include "formats/container/safetensors.h"
#include "formats/container/sharded.h"
#include "formats/container/strict_json.h"
#include "formats/container/text.h"
#include "formats/container/zwq_file.h"
#include "formats/formats.h"

namespace zenwoq::formats {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view index_suffix = ".index.json";
constexpr std::string_view safetensors_extension = ".safetensors";
constexpr std::string_view gguf_extension = ".gguf";
constexpr std::string_view onnx_extension = ".onnx";
constexpr std::string_view zwq_extension = ".zwq";

// What git leaves in place of a large file that was not fetched.
void refuse_lfs_pointer(ByteView bytes, const std::string& where) {
  if (bytes.text().starts_with("version https://git-lfs.github.com/spec/")) {
    fail("{}: is a git-lfs pointer, not the file itself: fetch that with git lfs pull", where);
  }
}

// The files of a checkpoint, of which none may be a pointer.
class FetchedFiles final : public Files {
 public:
  explicit FetchedFiles(Files& files) : files_(files) {}

  ByteView require(const std::string& name) override {
    const ByteView bytes = files_.require(name);
    refuse_lfs_pointer(bytes, shown_path(name));
    return bytes;
  }
  std::optional<ByteView> find(const std::string& name) override {
    const std::optional<ByteView> bytes = files_.find(name);
    if (bytes) refuse_lfs_pointer(*bytes, shown_path(name));
    return bytes;
  }

 private:
  Files& files_;
};

[[noreturn]] void refuse_lone_shard(const std::string& where, const std::string& which) {
  fail("{}: is {}, and layers may go on in the others: open the {} beside it", where, which, index_suffix);
}

// Reads the tensors of the file into contents.
void read_file(ByteView bytes, const std::string& name, Files& files, Contents& contents) {
  const std::string& where = contents.where;
  refuse_lfs_pointer(bytes, where);
  if (has_suffix(name, onnx_extension)) {  // protobuf has nothing to be told by
    contents.onnx = parse_onnx(bytes, where, files);
  } else if (has_suffix(name, index_suffix)) {
    contents.set = read_shards(bytes, where, files);
  } else if (looks_like_zwq(bytes)) {
    contents.zwq = bytes;
  } else if (looks_like_gguf(bytes)) {
    contents.gguf = read_gguf_model(bytes, where, name, files);
  } else if (bytes.text().starts_with("PK\x03\x04")) {
    fail("{}: is a zip file (a PyTorch pickle?), which is not read; save the model as safetensors", where);
  } else if (looks_like_safetensors(bytes)) {
    if (const std::optional<ShardName> shard = parse_shard_name(name, safetensors_extension)) {
      refuse_lone_shard(where, formatted("shard {} of {}", shard->number, shard->count));
    }
    contents.set = parse_safetensors(bytes, where);
  } else {
    fail("{}: is neither a safetensors nor a GGUF nor a .zwq file, and not called .onnx", where);
  }
}

std::string rest_reason(const GgufTensor& tensor) {
  if (is_empty(tensor)) return formatted("shape {}, no values", shown(tensor.dimensions));
  return plain_ggml_reason(tensor.type, tensor.dimensions.size());
}

// What no format has taken.
void leave_rest(Contents& contents, FoundLayers& found) {
  found.left_alone.reserve(found.left_alone.size() + contents.set.tensors.size() + contents.onnx.tensors.size() +
                           contents.set.left_alone.size() + contents.gguf.size());
  for (TensorMap* tensors : {&contents.set.tensors, &contents.onnx.tensors}) {
    while (!tensors->empty()) {  // taken out one by one, so that there is never all of it twice
      TensorMap::node_type tensor = tensors->extract(tensors->begin());
      found.left_alone.push_back(
          {std::move(tensor.key()), plain_tensor_reason(tensor.mapped()), stored(tensor.mapped())});
    }
  }
  std::move(contents.set.left_alone.begin(), contents.set.left_alone.end(), std::back_inserter(found.left_alone));
  for (const GgufTensor& tensor : contents.gguf) {
    found.left_alone.push_back({tensor.name, rest_reason(tensor), stored(tensor)});
  }
}

FoundLayers find_layers(Contents& contents) {
  FoundLayers found;
  for (const Format& format : kFormats) format.find(contents, found);
  // Numbers of the file that no format looks at stand in descriptions.
  for (const auto& layer : found.layers) layer->packed_bytes();
  leave_rest(contents, found);
  return found;
}

// What lies beside tensors in memory.
class GivenConfig final : public Files {
 public:
  explicit GivenConfig(std::string text) : text_(std::move(text)) {}

  ByteView require(const std::string& name) override {
    const std::optional<ByteView> bytes = find(name);
    if (!bytes) fail("there is no {} beside tensors in memory", shown(name));
    return *bytes;
  }
  std::optional<ByteView> find(const std::string& name) override {
    if (text_.empty() || name != config_name) return std::nullopt;
    return ByteView(reinterpret_cast<const std::uint8_t*>(text_.data()), text_.size());
  }

 private:
  std::string text_;
};

void check_blocks(const GivenTensor& given, const GgmlType& type, const std::string& where) {
  const std::uint64_t bytes = bytes_of(type, given.shape, where);
  if (bytes == given.data.size()) return;
  fail("{}: {} of shape {} has {} bytes, it should have {}", where, type.name, shown(given.shape), given.data.size(),
       bytes);
}

void add_given(const GivenTensor& given, Contents& contents) {
  const std::string where = formatted("{}: tensor {}", contents.where, given.name);
  if (const GgmlType* type = find_ggml_type(given.type)) {
    check_blocks(given, *type, where);
    contents.gguf.push_back({given.name, {given.shape.rbegin(), given.shape.rend()}, type->number, 0, given.data});
    return;
  }
  if (!element_bits(given.type)) fail("{}: is of the unknown type {}", where, shown(given.type));
  const Tensor tensor{given.type, given.shape, given.data};
  check_size(tensor, where);
  contents.set.tensors.emplace(given.name, tensor);
}

// Of both kinds: of safetensors, and of GGUF.
void add_given(const std::vector<GivenTensor>& tensors, Contents& contents) {
  std::set<std::string_view> names;
  for (const GivenTensor& tensor : tensors) {
    check_name(tensor.name, contents.where);
    if (!names.insert(tensor.name).second) fail("{}: tensor {}: is there twice", contents.where, tensor.name);
    add_given(tensor, contents);
  }
}

void add_metadata(const std::string& text, TensorSet& set) {
  const std::string where = set.where + ": metadata";
  const nlohmann::json entries = parse_strict_json(text, where);
  if (!entries.is_object()) fail("{}: is no JSON object", where);
  for (const auto& entry : entries.items()) {
    if (!entry.value().is_string()) fail("{} of {} is no string", where, shown(entry.key()));
    set.metadata[entry.key()].insert(entry.value().get<std::string>());
  }
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
  if (error) fail("{}: cannot be listed: {}", shown_path(directory.string()), error.message());
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
    if (several) refuse_lone_shard(shown_path(file.string()), "one of several shards");
  }
}

// The path of a directory's checkpoint, which has one of the file names that Hugging Face uses.
fs::path checkpoint_in(const fs::path& directory) {
  std::error_code error;
  for (const char* name : {"model.safetensors.index.json", "model.safetensors"}) {
    if (fs::exists(directory / name, error)) return directory / name;
  }
  const std::string where = shown_path(directory.string());
  const std::vector<fs::path> gguf_files = gguf_models_in(directory);
  if (gguf_files.size() > 1) fail("{}: the directory has {} .gguf files, name one of them", where, gguf_files.size());
  if (gguf_files.size() == 1) return gguf_files[0];
  if (fs::exists(directory / "model.onnx", error)) return directory / "model.onnx";
  for (const std::string_view extension : {onnx_extension, zwq_extension}) {
    const std::vector<fs::path> files = files_in(directory, extension, error);
    if (files.size() > 1) fail("{}: the directory has {} {} files, name one of them", where, files.size(), extension);
    if (files.size() == 1) return files[0];
  }
  fail(
      "{}: the directory has no model.safetensors.index.json, no model.safetensors, no .gguf, no .onnx and no .zwq file",
      where);
}

// The file's own, else the one beside it.
Config read_config(const Contents& contents, Files& files) {
  if (contents.zwq.size() != 0) return {contents.config, {}};
  try {
    return {files.find(config_name), {}};
  } catch (const ReadError& error) {
    return {std::nullopt, error.what()};
  }
}

// readable: `files`, or what checks them.
std::unique_ptr<Checkpoint> checkpoint_of(Contents& contents, Files& readable, std::unique_ptr<Files> files) {
  FoundLayers found = find_layers(contents);
  Config config = read_config(contents, readable);
  return std::make_unique<Checkpoint>(std::move(found), std::move(files), contents.where, contents.zwq,
                                      std::move(config));
}

}  // namespace

std::optional<ByteView> Checkpoint::config() const {
  if (!config_.error.empty()) throw ReadError(config_.error);
  return config_.bytes;
}

void Checkpoint::verify() const { verify_zwq(zwq_, where_); }

std::unique_ptr<Checkpoint> open_checkpoint(std::unique_ptr<Files> files, const std::string& name,
                                            const std::string& where, const ReadOptions& options) {
  FetchedFiles fetched(*files);
  Contents contents(where, fetched, options);
  read_file(files->require(name), name, fetched, contents);
  return checkpoint_of(contents, fetched, std::move(files));
}

std::unique_ptr<Checkpoint> open_tensors(const std::vector<GivenTensor>& tensors, std::string config,
                                         const std::string& metadata, const ReadOptions& options) {
  auto files = std::make_unique<GivenConfig>(std::move(config));
  Contents contents("tensors in memory", *files, options);
  contents.set.where = contents.where;
  add_given(tensors, contents);
  if (!metadata.empty()) add_metadata(metadata, contents.set);
  Files& given = *files;
  return checkpoint_of(contents, given, std::move(files));
}

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& path, const ReadOptions& options) {
  std::error_code error;
  const fs::path file = fs::is_directory(path, error) ? checkpoint_in(path) : fs::path(path);
  std::unique_ptr<Checkpoint> checkpoint =
      open_checkpoint(std::make_unique<FolderFiles>(file.parent_path().string()), file.filename().string(),
                      shown_path(file.string()), options);
  refuse_file_of_an_index(file);
  return checkpoint;
}

}  // namespace zenwoq::formats
