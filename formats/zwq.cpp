// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The layers of .zwq files: packed weights that are opened where they lie.
#include "formats/zwq.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "formats/container/ggml_types.h"
#include "formats/container/text.h"
#include "formats/container/zwq_file.h"
#include "formats/formats.h"

namespace zenwoq::formats {
namespace {

constexpr const char* format_prefix = "zwq of ";

// Bytes of one scale or zero; of two levels, of the group's.
std::size_t parameter_bytes(zenwoq_dtype type) {
  switch (type) {
    case ZENWOQ_F32: return 4;
    case ZENWOQ_F16:
    case ZENWOQ_BF16: return 2;
    default: return 1;
  }
}

std::size_t zero_bytes(const zenwoq_weight_desc& desc) {
  switch (desc.zero_kind) {
    case ZENWOQ_ZERO_INTEGER: return 1;
    case ZENWOQ_ZERO_OFFSET: return parameter_bytes(desc.scale_type);
    case ZENWOQ_ZERO_FLOAT: return parameter_bytes(desc.zero_type);
    default: return 0;
  }
}

bool has_two_levels(zenwoq_dtype scale_type) { return scale_type == ZENWOQ_U8_F16 || scale_type == ZENWOQ_S8_F16; }

void require(zenwoq_status status) {
  if (status == ZENWOQ_ERROR_OUT_OF_MEMORY) throw std::bad_alloc();
  if (status != ZENWOQ_OK) throw std::logic_error(zenwoq_last_error());
}

// Codes and all else as they were packed, for whoever packs them again.
class Unpacked {
 public:
  explicit Unpacked(const zenwoq_weight_desc& desc) : desc_(desc) {}

  Prepared of(const zenwoq_weight* weight) {
    const std::size_t parameters = desc_.n * groups_of(desc_);
    Prepared prepared;
    const ByteView codes = own(prepared, desc_.n * ((desc_.k + 1) / 2));
    const ByteView scales = own(prepared, parameters * parameter_bytes(desc_.scale_type));
    const ByteView zeros = own(prepared, parameters * zero_bytes(desc_));
    require(
        zenwoq_weight_unpack(weight, out(codes), codes.size(), out(scales), scales.size(), out(zeros), zeros.size()));
    prepared.set_codes(ZENWOQ_CODES_NIBBLES, codes);
    prepared.set_scales(scales);
    if (zeros.size() != 0) prepared.set_zeros(zeros);
    take_extras(weight, parameters / super_groups * 2, prepared);
    return prepared;
  }

 private:
  static constexpr std::size_t super_groups = 8;

  static ByteView own(Prepared& prepared, std::size_t bytes) {
    return bytes == 0 ? ByteView() : prepared.own(std::vector<std::uint8_t>(bytes));
  }
  // The bytes are this object's own.
  static void* out(ByteView bytes) { return const_cast<std::uint8_t*>(bytes.data()); }

  void take_extras(const zenwoq_weight* weight, std::size_t super_bytes, Prepared& prepared) const {
    zenwoq_weight_extras extras;
    zenwoq_weight_extras_init(&extras);
    const bool two_levels = has_two_levels(desc_.scale_type);
    const bool offsets = two_levels && desc_.zero_kind == ZENWOQ_ZERO_OFFSET;
    const ByteView super_scales = own(prepared, two_levels ? super_bytes : 0);
    const ByteView super_offsets = own(prepared, offsets ? super_bytes : 0);
    const ByteView permutation = own(prepared, desc_.permuted != 0 ? desc_.k * sizeof(std::uint32_t) : 0);
    const ByteView x_scale = own(prepared, desc_.x_scaled != 0 ? desc_.k * sizeof(float) : 0);
    extras.super_scales = out(super_scales);
    extras.super_scales_bytes = super_scales.size();
    extras.super_offsets = out(super_offsets);
    extras.super_offsets_bytes = super_offsets.size();
    extras.permutation = static_cast<std::uint32_t*>(out(permutation));
    extras.permutation_bytes = permutation.size();
    extras.x_scale = static_cast<float*>(out(x_scale));
    extras.x_scale_bytes = x_scale.size();
    require(zenwoq_weight_unpack_extras(weight, &extras));
    prepared.source.super_scales = extras.super_scales;
    prepared.source.super_scales_bytes = extras.super_scales_bytes;
    prepared.source.super_offsets = extras.super_offsets;
    prepared.source.super_offsets_bytes = extras.super_offsets_bytes;
    prepared.source.permutation = extras.permutation;
    prepared.source.permutation_bytes = extras.permutation_bytes;
    prepared.source.x_scale = extras.x_scale;
    prepared.source.x_scale_bytes = extras.x_scale_bytes;
  }

  const zenwoq_weight_desc& desc_;
};

struct ZwqLayer final : LayerSource {
  Prepared prepare(std::size_t expert) const override {
    const Weight weight = copy_packed(*this, expert);
    return Unpacked(desc).of(weight.get());
  }
  ByteView packed(std::size_t expert) const override { return weights.sub(expert * each, each); }

  ByteView weights;
  std::size_t each = 0;
};

std::unique_ptr<LayerSource> make_layer(ByteView file, const std::string& where, ZwqEntry entry) {
  auto layer = std::make_unique<ZwqLayer>();
  layer->where = formatted("{}: weight {}", where, entry.name);
  layer->name = std::move(entry.name);
  layer->format = format_prefix + entry.type;
  layer->desc = entry.desc;
  layer->experts = entry.shape[0];
  layer->bytes = entry.values.bytes;
  layer->weights = file.sub(entry.values.offset, entry.values.bytes);
  layer->each = entry.values.bytes / layer->experts;
  if (entry.has_bias()) {
    layer->bias = file.sub(entry.bias.offset, entry.bias.bytes);
    layer->bias_type = entry.bias_type;
  }
  return layer;
}

// Types have the names of GGUF, those of safetensors differ in capitals alone.
LeftAlone left_alone(ZwqEntry entry, ByteView content, const std::string& where) {
  const GgmlType* type = find_ggml_type(lower_case(entry.type));
  LeftAlone left{std::move(entry.name), {}};
  if (type == nullptr) {
    left.reason = formatted("unknown type {}", entry.type);
    left.tensor = stored_floats(std::move(entry.type), std::move(entry.shape), content, std::nullopt);
    return left;
  }
  const std::string tensor = formatted("{}: tensor {}", where, left.name);
  const std::uint64_t bytes = bytes_of(*type, entry.shape, tensor);
  if (bytes != content.size()) {
    fail("{}: {} of shape {} has {} bytes, it should have {}", tensor, entry.type, shown(entry.shape), content.size(),
         bytes);
  }
  left.reason = plain_ggml_reason(type->number, entry.shape.size());
  left.tensor = stored({{}, {entry.shape.rbegin(), entry.shape.rend()}, type->number, 0, content});
  left.tensor.type = std::move(entry.type);
  return left;
}

// Refuses a weight that is not what the directory says; the directory's checksum does not know the weight.
void require_described(const zenwoq_weight* weight, const LayerSource& layer) {
  zenwoq_weight_desc desc;
  zenwoq_weight_desc_init(&desc);
  require(zenwoq_weight_describe(weight, &desc));
  if (std::memcmp(&desc, &layer.desc, sizeof desc) == 0) return;
  fail("{}: the packed weight is of n = {}, k = {}, {}, the directory says n = {}, k = {}: damaged", layer.where,
       desc.n, desc.k, zenwoq_weight_text(weight), layer.desc.n, layer.desc.k);
}

Weight opened(zenwoq_status status, zenwoq_weight* weight, const LayerSource& layer) {
  if (status == ZENWOQ_ERROR_BAD_PACKED) fail("{}: {}", layer.where, zenwoq_last_error());
  require(status);
  Weight owned(weight);
  require_described(weight, layer);
  return owned;
}

}  // namespace

Weight copy_packed(const LayerSource& layer, std::size_t expert) {
  const ByteView packed = layer.packed(expert);
  zenwoq_weight* weight = nullptr;
  const zenwoq_status status = zenwoq_weight_open(packed.data(), packed.size(), ZENWOQ_COPY, &weight);
  return opened(status, weight, layer);
}

Weight map_packed(const LayerSource& layer, std::size_t expert, std::shared_ptr<const Files> files) {
  using Keeper = std::shared_ptr<const Files>;
  const ByteView packed = layer.packed(expert);
  if (reinterpret_cast<std::uintptr_t>(packed.data()) % ZENWOQ_PACKED_ALIGNMENT != 0) return copy_packed(layer, expert);
  auto keeper = std::make_unique<Keeper>(std::move(files));
  zenwoq_weight* weight = nullptr;
  const zenwoq_status status = zenwoq_weight_open_kept(
      packed.data(), packed.size(), [](void* user) { delete static_cast<Keeper*>(user); }, keeper.get(), &weight);
  if (status == ZENWOQ_OK) static_cast<void>(keeper.release());  // it is the weight's
  return opened(status, weight, layer);
}

std::string source_format(const LayerSource& layer) {
  const std::string prefix = format_prefix;
  return layer.format.starts_with(prefix) ? layer.format.substr(prefix.size()) : layer.format;
}

void find_zwq(Contents& contents, FoundLayers& found) {
  if (contents.zwq.size() == 0) return;
  const ByteView file = contents.zwq;
  read_zwq(file, contents.where, [&](ZwqEntry entry) {
    const ByteView content = file.sub(entry.values.offset, entry.values.bytes);
    switch (entry.kind) {
      case ZwqKind::layer: found.layers.push_back(make_layer(file, contents.where, std::move(entry))); break;
      case ZwqKind::tensor: found.left_alone.push_back(left_alone(std::move(entry), content, contents.where)); break;
      case ZwqKind::file:
        if (entry.name == config_name) contents.config = content;
        break;
    }
  });
}

}  // namespace zenwoq::formats
