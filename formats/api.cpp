// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Checkpoints at the C boundary. Inside errors are exceptions; here they become statuses and sentences.
#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <new>
#include <string_view>
#include <utility>

#include "formats/checkpoint.h"
#include "formats/container/text.h"
#include "formats/convert.h"
#include "formats/zwq.h"
#include "zenwoq/formats.h"

using namespace zenwoq::formats;
using zenwoq::formatted;

namespace {

// An entry of the list that callers see.
struct Entry {
  const LayerSource* layer = nullptr;  // or ...
  const LeftAlone* left_alone = nullptr;
  std::string quantization;

  const std::string& name() const { return layer != nullptr ? layer->name : left_alone->name; }
};

Entry entry_of(const LayerSource& layer) {
  std::array<char, 160> text{};  // as long as one can be
  if (zenwoq_weight_desc_text(&layer.desc, text.data(), text.size()) != ZENWOQ_OK) {
    fail("{}: {}", layer.where, zenwoq_last_error());
  }
  return {&layer, nullptr, text.data()};
}

}  // namespace

struct zenwoq_checkpoint {
  explicit zenwoq_checkpoint(std::unique_ptr<Checkpoint> opened) : checkpoint(std::move(opened)) {
    entries.reserve(checkpoint->layers().size() + checkpoint->left_alone().size());
    by_name.reserve(entries.capacity());
    for (const auto& layer : checkpoint->layers()) entries.push_back(entry_of(*layer));
    for (const LeftAlone& left : checkpoint->left_alone()) entries.push_back({nullptr, &left, {}});
    for (std::size_t i = 0; i < entries.size(); ++i) by_name.emplace_back(entries[i].name(), i);
    std::sort(by_name.begin(), by_name.end());
  }

  std::unique_ptr<Checkpoint> checkpoint;
  std::vector<Entry> entries;
  std::vector<std::pair<std::string_view, std::size_t>> by_name;
};

namespace {

// What is wrong with a call, not with a file.
class CallError : public std::runtime_error {
 public:
  CallError(zenwoq_status status, const std::string& text) : std::runtime_error(text), status_(status) {}
  zenwoq_status status() const { return status_; }

 private:
  zenwoq_status status_;
};

template <typename... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> text, Args&&... args) {
  throw CallError(ZENWOQ_ERROR_INVALID_ARGUMENT, formatted(text, std::forward<Args>(args)...));
}

template <typename Body>
zenwoq_status at_boundary(Body&& body) noexcept {
  try {
    body();
    return zenwoq_report(ZENWOQ_OK, nullptr);
  } catch (const CallError& error) {
    return zenwoq_report(error.status(), error.what());
  } catch (const ReadError& error) {
    return zenwoq_report(ZENWOQ_ERROR_BAD_FILE, error.what());
  } catch (const std::bad_alloc&) {
    return zenwoq_report(ZENWOQ_ERROR_OUT_OF_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return zenwoq_report(ZENWOQ_ERROR_INTERNAL, error.what());
  } catch (...) {
    return zenwoq_report(ZENWOQ_ERROR_INTERNAL, "unknown exception");
  }
}

void require_pointer(const char* name, const void* pointer) {
  if (pointer == nullptr) refuse("{} is NULL", name);
}

constexpr std::size_t kMaxStructSize = 4096;  // beyond any struct to come: such a size is no size

// How much of a struct its caller knows, which is at least what its first version had.
template <typename Struct>
std::size_t struct_size(const char* name, const Struct* caller, std::size_t first_size) {
  require_pointer(name, caller);
  std::size_t size = 0;
  std::memcpy(&size, caller, sizeof size);
  if (size < first_size || size > kMaxStructSize) {
    refuse("{0}->struct_size is {1}, must be {2}: call {0}_init first", name, size, sizeof(Struct));
  }
  return size;
}

// A struct that the caller fills: fields that an older caller lacks are zero; those that this library lacks must be.
template <typename Struct>
Struct read_struct(const char* name, const Struct* caller, std::size_t first_size) {
  const std::size_t size = struct_size(name, caller, first_size);
  const auto* bytes = reinterpret_cast<const unsigned char*>(caller);
  if (std::any_of(bytes + std::min(size, sizeof *caller), bytes + size, [](unsigned char byte) { return byte != 0; })) {
    refuse("{} has fields set that this version ({}) does not know", name, zenwoq_version());
  }
  Struct own{};
  std::memcpy(static_cast<void*>(&own), caller, std::min(size, sizeof own));
  return own;
}

constexpr std::size_t kFirstOptionsSize = 16;
constexpr std::size_t kFirstConvertOptionsSize = 32;
constexpr std::size_t kFirstInfoSize = 96;
constexpr std::size_t kFirstTensorSize = 56;
constexpr std::size_t kFirstTensorsSize = 40;
static_assert(kFirstOptionsSize <= sizeof(zenwoq_checkpoint_options) &&
              kFirstConvertOptionsSize <= sizeof(zenwoq_convert_options) &&
              kFirstInfoSize <= sizeof(zenwoq_tensor_info) && kFirstTensorSize <= sizeof(zenwoq_tensor) &&
              kFirstTensorsSize <= sizeof(zenwoq_tensors));

zenwoq_convert_options read_options(const zenwoq_convert_options* caller) {
  constexpr const char* kName = "zenwoq_convert_options";
  if (caller == nullptr) return {};
  const zenwoq_convert_options options = read_struct(kName, caller, kFirstConvertOptionsSize);
  if (options.reserved != 0) refuse("{}->reserved is {}: must be 0", kName, options.reserved);
  if (options.skip > 1) refuse("skip is {}: must be 0 or 1", options.skip);
  return options;
}

ReadOptions read_options(const zenwoq_checkpoint_options* caller) {
  constexpr const char* kName = "zenwoq_checkpoint_options";
  if (caller == nullptr) return {};
  const zenwoq_checkpoint_options options = read_struct(kName, caller, kFirstOptionsSize);
  if (options.reserved != 0) refuse("{}->reserved is {}: must be 0", kName, options.reserved);
  switch (options.opaque_layout) {
    case ZENWOQ_OPAQUE_AVX512: return {ReadOptions::OpaqueLayout::avx512};
    case ZENWOQ_OPAQUE_AVX2: return {ReadOptions::OpaqueLayout::avx2};
  }
  refuse("opaque_layout {}: must be avx512 (0) or avx2 (1)", static_cast<int>(options.opaque_layout));
}

GivenTensor read_tensor(const zenwoq_tensor& tensor, std::size_t index) {
  if (tensor.name == nullptr || tensor.type == nullptr) refuse("tensors[{}] has no name, or no type", index);
  if (tensor.rank > max_rank) refuse("tensors[{}].rank is {}: must be at most {}", index, tensor.rank, max_rank);
  if (tensor.rank != 0 && tensor.shape == nullptr) refuse("tensors[{}].shape is NULL", index);
  if (tensor.data_bytes != 0 && tensor.data == nullptr) refuse("tensors[{}].data is NULL", index);
  GivenTensor given{tensor.name, tensor.type, {}, {}};
  if (tensor.rank != 0) given.shape.assign(tensor.shape, tensor.shape + tensor.rank);
  given.data = {static_cast<const std::uint8_t*>(tensor.data), tensor.data_bytes};
  return given;
}

// The tensors lie as far apart as the caller's struct is large.
std::vector<GivenTensor> read_tensors(const zenwoq_tensors& tensors) {
  std::vector<GivenTensor> given;
  if (tensors.count == 0) return given;
  require_pointer("tensors", tensors.tensors);
  const std::size_t distance = struct_size("zenwoq_tensor", tensors.tensors, kFirstTensorSize);
  const auto* next = reinterpret_cast<const unsigned char*>(tensors.tensors);
  for (std::size_t i = 0; i < tensors.count; ++i, next += distance) {
    const auto* tensor = reinterpret_cast<const zenwoq_tensor*>(next);
    const std::size_t size = struct_size("zenwoq_tensor", tensor, kFirstTensorSize);
    if (size != distance) refuse("tensors[{}].struct_size is {}, that of the first {}", i, size, distance);
    given.push_back(read_tensor(read_struct("zenwoq_tensor", tensor, kFirstTensorSize), i));
  }
  return given;
}

const Entry& entry_at(const zenwoq_checkpoint* checkpoint, std::size_t index) {
  require_pointer("checkpoint", checkpoint);
  if (index >= checkpoint->entries.size()) {
    refuse("index {}: the checkpoint has {} entries", index, checkpoint->entries.size());
  }
  return checkpoint->entries[index];
}

const LayerSource& layer_at(const zenwoq_checkpoint* checkpoint, std::size_t index) {
  const Entry& entry = entry_at(checkpoint, index);
  if (entry.layer == nullptr) refuse("{} is no layer: {}", entry.name(), entry.left_alone->reason);
  return *entry.layer;
}

const StoredTensor& dense_at(const zenwoq_checkpoint* checkpoint, std::size_t index) {
  const Entry& entry = entry_at(checkpoint, index);
  if (entry.layer != nullptr) refuse("{} is a layer, load it", entry.name());
  if (!entry.left_alone->dense()) refuse("{} is no dense tensor: {}", entry.name(), entry.left_alone->reason);
  return entry.left_alone->tensor;
}

void check_expert(const LayerSource& layer, std::size_t expert) {
  if (expert >= layer.experts) refuse("expert {}: {} has {} weights", expert, layer.name, layer.experts);
}

void set_shape(zenwoq_tensor_info& info, const std::vector<std::uint64_t>& shape) {
  info.rank = static_cast<std::uint32_t>(shape.size());
  std::copy_n(shape.begin(), std::min(shape.size(), max_rank), info.shape);
}

void set_left_alone(zenwoq_tensor_info& info, const LeftAlone& left) {
  info.kind = left.dense() ? ZENWOQ_TENSOR_DENSE : ZENWOQ_TENSOR_OTHER;
  info.reason = left.reason.c_str();
  info.type = left.tensor.type.c_str();
  info.source_bytes = left.tensor.data.size();
  if (left.dense()) info.values_type = *left.tensor.values_type;
  set_shape(info, left.tensor.shape);
}

zenwoq_tensor_info info_of(const Entry& entry) {
  zenwoq_tensor_info info;
  zenwoq_tensor_info_init(&info);
  info.name = entry.name().c_str();
  info.reason = info.format = info.quantization = info.type = "";
  if (entry.layer == nullptr) {
    set_left_alone(info, *entry.left_alone);
    return info;
  }
  const LayerSource& layer = *entry.layer;
  if (layer.experts > 1) {
    set_shape(info, {layer.experts, layer.desc.n, layer.desc.k});
  } else {
    set_shape(info, {layer.desc.n, layer.desc.k});
  }
  info.kind = ZENWOQ_TENSOR_LAYER;
  info.has_bias = layer.has_bias() ? 1 : 0;
  info.format = layer.format.c_str();
  info.quantization = entry.quantization.c_str();
  info.n = layer.desc.n;
  info.k = layer.desc.k;
  info.experts = layer.experts;
  info.source_bytes = layer.bytes;
  info.packed_bytes = layer.packed_bytes() * layer.experts;
  info.bias_type = layer.bias_type;
  return info;
}

// Throws unless count values of a file's type can be had as `type`, in a buffer of so many bytes. what: "bias".
void check_values(const char* what, zenwoq_dtype own, zenwoq_dtype type, std::uint64_t count, std::size_t bytes) {
  if (type != ZENWOQ_F32 && type != own) {
    throw CallError(ZENWOQ_ERROR_UNSUPPORTED, formatted("{} as type {}: must be ZENWOQ_F32 (1) or the file's, {}", what,
                                                        static_cast<int>(type), static_cast<int>(own)));
  }
  const std::optional<std::uint64_t> needed = checked_product(count, float_bytes(type));
  if (!needed || bytes < *needed) {
    throw CallError(ZENWOQ_ERROR_BUFFER_TOO_SMALL,
                    formatted("{}_bytes is {}, {} are needed", what, bytes, needed.value_or(UINT64_MAX)));
  }
}

// The only entry with this name for which wanted(entry); the count if there is none.
template <typename Wanted>
std::size_t find_entry(const zenwoq_checkpoint& checkpoint, std::string_view name, Wanted wanted) {
  const std::size_t none = checkpoint.entries.size();
  std::size_t found = none;
  const auto first =
      std::lower_bound(checkpoint.by_name.begin(), checkpoint.by_name.end(), std::pair(name, std::size_t{0}));
  for (auto next = first; next != checkpoint.by_name.end() && next->first == name; ++next) {
    if (!wanted(checkpoint.entries[next->second])) continue;
    if (found != none) refuse("entries {} and {} are both called {}: use the index", found, next->second, shown(name));
    found = next->second;
  }
  return found;
}

}  // namespace

zenwoq_status zenwoq_checkpoint_open(const char* path, const zenwoq_checkpoint_options* options,
                                     zenwoq_checkpoint** checkpoint) {
  return at_boundary([&] {
    require_pointer("checkpoint", checkpoint);
    *checkpoint = nullptr;
    require_pointer("path", path);
    *checkpoint = new zenwoq_checkpoint(open_checkpoint(path, read_options(options)));
  });
}

zenwoq_status zenwoq_checkpoint_open_tensors(const zenwoq_tensors* tensors, const zenwoq_checkpoint_options* options,
                                             zenwoq_checkpoint** checkpoint) {
  return at_boundary([&] {
    require_pointer("checkpoint", checkpoint);
    *checkpoint = nullptr;
    const zenwoq_tensors given = read_struct("zenwoq_tensors", tensors, kFirstTensorsSize);
    const auto text = [](const char* optional) { return std::string(optional == nullptr ? "" : optional); };
    *checkpoint = new zenwoq_checkpoint(
        open_tensors(read_tensors(given), text(given.config), text(given.metadata), read_options(options)));
  });
}

void zenwoq_checkpoint_destroy(zenwoq_checkpoint* checkpoint) { delete checkpoint; }

zenwoq_status zenwoq_checkpoint_count(const zenwoq_checkpoint* checkpoint, size_t* count) {
  return at_boundary([&] {
    require_pointer("checkpoint", checkpoint);
    require_pointer("count", count);
    *count = checkpoint->entries.size();
  });
}

zenwoq_status zenwoq_checkpoint_info(const zenwoq_checkpoint* checkpoint, size_t index, zenwoq_tensor_info* info) {
  return at_boundary([&] {
    zenwoq_tensor_info value = info_of(entry_at(checkpoint, index));
    const std::size_t size = struct_size("zenwoq_tensor_info", info, kFirstInfoSize);
    value.struct_size = size;
    std::memset(static_cast<void*>(info), 0, size);
    std::memcpy(info, &value, std::min(size, sizeof value));
  });
}

zenwoq_status zenwoq_checkpoint_find(const zenwoq_checkpoint* checkpoint, const char* name, size_t* index) {
  return at_boundary([&] {
    require_pointer("checkpoint", checkpoint);
    require_pointer("name", name);
    require_pointer("index", index);
    const std::size_t none = checkpoint->entries.size();
    std::size_t found = find_entry(*checkpoint, name, [](const Entry&) { return true; });
    if (found == none && has_suffix(name, ".weight")) {
      const auto is_layer = [](const Entry& entry) { return entry.layer != nullptr; };
      found = find_entry(*checkpoint, without_suffix(name, ".weight"), is_layer);
    }
    if (found == none) refuse("the checkpoint has no tensor {}", shown(name));
    *index = found;
  });
}

zenwoq_status zenwoq_checkpoint_describe(const zenwoq_checkpoint* checkpoint, size_t index, zenwoq_weight_desc* desc) {
  return at_boundary([&] {
    const LayerSource& layer = layer_at(checkpoint, index);
    const std::size_t size = struct_size("zenwoq_weight_desc", desc, sizeof(std::size_t));
    std::memset(static_cast<void*>(desc), 0, size);
    std::memcpy(desc, &layer.desc, std::min(size, sizeof layer.desc));
    desc->struct_size = size;
  });
}

zenwoq_status zenwoq_checkpoint_load(const zenwoq_checkpoint* checkpoint, size_t index, size_t expert,
                                     zenwoq_context* context, zenwoq_weight** weight) {
  return at_boundary([&] {
    require_pointer("weight", weight);
    *weight = nullptr;
    require_pointer("context", context);
    const LayerSource& layer = layer_at(checkpoint, index);
    check_expert(layer, expert);
    *weight = load(context, layer, expert).release();
  });
}

zenwoq_status zenwoq_checkpoint_map(const zenwoq_checkpoint* checkpoint, size_t index, size_t expert,
                                    zenwoq_weight** weight) {
  return at_boundary([&] {
    require_pointer("weight", weight);
    *weight = nullptr;
    const LayerSource& layer = layer_at(checkpoint, index);
    check_expert(layer, expert);
    if (layer.packed(expert).size() == 0) {
      throw CallError(ZENWOQ_ERROR_UNSUPPORTED,
                      formatted("{} is {} in its file, only packed weights of .zwq files can be mapped: load it, or "
                                "convert the file",
                                layer.name, layer.format));
    }
    *weight = map_packed(layer, expert, checkpoint->checkpoint->files()).release();
  });
}

zenwoq_status zenwoq_checkpoint_verify(const zenwoq_checkpoint* checkpoint) {
  return at_boundary([&] {
    require_pointer("checkpoint", checkpoint);
    if (!checkpoint->checkpoint->has_checksums()) {
      throw CallError(ZENWOQ_ERROR_UNSUPPORTED, "only .zwq files have checksums to compare with");
    }
    checkpoint->checkpoint->verify();
  });
}

zenwoq_status zenwoq_checkpoint_config(const zenwoq_checkpoint* checkpoint, const char** text, size_t* text_bytes) {
  return at_boundary([&] {
    require_pointer("checkpoint", checkpoint);
    require_pointer("text", text);
    require_pointer("text_bytes", text_bytes);
    const ByteView config = checkpoint->checkpoint->config().value_or(ByteView());
    *text = config.size() != 0 ? config.text().data() : nullptr;
    *text_bytes = config.size();
  });
}

zenwoq_status zenwoq_checkpoint_convert(const zenwoq_checkpoint* checkpoint, zenwoq_context* context, const char* path,
                                        const zenwoq_convert_options* options) {
  return at_boundary([&] {
    require_pointer("checkpoint", checkpoint);
    require_pointer("context", context);
    require_pointer("path", path);
    const zenwoq_convert_options chosen = read_options(options);
    const std::string lost = chosen.skip != 0 ? std::string() : losses(*checkpoint->checkpoint);
    if (!lost.empty()) throw CallError(ZENWOQ_ERROR_UNSUPPORTED, lost);
    convert(*checkpoint->checkpoint, context, path, [&](std::size_t done, std::size_t total) {
      if (chosen.progress != nullptr) chosen.progress(chosen.progress_user, done, total);
    });
  });
}

zenwoq_status zenwoq_checkpoint_bias(const zenwoq_checkpoint* checkpoint, size_t index, size_t expert,
                                     zenwoq_dtype type, void* bias, size_t bias_bytes) {
  return at_boundary([&] {
    require_pointer("bias", bias);
    const LayerSource& layer = layer_at(checkpoint, index);
    if (!layer.has_bias()) refuse("{} has no bias", layer.name);
    check_expert(layer, expert);
    check_values("bias", layer.bias_type, type, layer.desc.n, bias_bytes);
    copy_floats(layer.bias_type, layer.bias_of(expert).data(), layer.desc.n, type, static_cast<std::uint8_t*>(bias));
  });
}

zenwoq_status zenwoq_checkpoint_values(const zenwoq_checkpoint* checkpoint, size_t index, zenwoq_dtype type,
                                       void* values, size_t values_bytes) {
  return at_boundary([&] {
    const StoredTensor& tensor = dense_at(checkpoint, index);
    check_values("values", *tensor.values_type, type, tensor.values(), values_bytes);
    if (tensor.values() == 0) return;
    require_pointer("values", values);
    copy_values(tensor, type, static_cast<std::uint8_t*>(values));
  });
}
