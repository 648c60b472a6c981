// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// All places are known before the first weight is packed, since packed bytes have a size that follows from the
// description; the head, which has their checksums, is written last.
#include "formats/convert.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "formats/container/checksum.h"
#include "formats/container/text.h"
#include "formats/container/whole_file.h"
#include "formats/container/zwq_file.h"
#include "formats/zwq.h"

namespace zenwoq::formats {
namespace {

ZwqEntry entry_of(const LayerSource& layer) {
  ZwqEntry entry;
  entry.kind = ZwqKind::layer;
  entry.name = layer.name;
  entry.type = source_format(layer);
  entry.shape = {layer.experts, layer.desc.n, layer.desc.k};
  entry.desc = layer.desc;
  entry.values.bytes = layer.experts * layer.packed_bytes();
  if (layer.has_bias()) {
    entry.bias.bytes = layer.bias.size();
    entry.bias_type = layer.bias_type;
  }
  return entry;
}

ZwqEntry entry_of(const LeftAlone& left) {
  ZwqEntry entry;
  entry.kind = ZwqKind::tensor;
  entry.name = left.name;
  entry.type = left.tensor.type;
  entry.shape = left.tensor.shape;
  entry.values.bytes = left.tensor.data.size();
  return entry;
}

ZwqEntry entry_of_config(ByteView config) {
  ZwqEntry entry;
  entry.kind = ZwqKind::file;
  entry.name = config_name;
  entry.values.bytes = config.size();
  return entry;
}

ByteView packed_bytes(const zenwoq_weight* weight) {
  const void* packed = nullptr;
  std::size_t bytes = 0;
  if (zenwoq_weight_packed(weight, &packed, &bytes) != ZENWOQ_OK) throw std::logic_error(zenwoq_last_error());
  return {static_cast<const std::uint8_t*>(packed), bytes};
}

// Writes the contents of entries in their order, and notes their checksums.
class Writer {
 public:
  Writer(const std::string& path, std::vector<ZwqEntry> entries)
      : entries_(std::move(entries)), bytes_(place_zwq(entries_)), file_(path, bytes_) {}

  void layer(const LayerSource& layer, zenwoq_context* context) {
    ZwqEntry& entry = next();
    Checksum checksum;
    std::uint64_t offset = entry.values.offset;
    for (std::size_t expert = 0; expert < layer.experts; ++expert) {
      const Weight weight = load(context, layer, expert);
      const ByteView packed = packed_bytes(weight.get());
      packed_version_ = std::max(packed_version_, packed_version_of(packed));
      checksum.add(packed);
      file_.write(offset, packed);
      offset += packed.size();
    }
    entry.values.checksum = checksum.value();
    if (layer.has_bias()) write(layer.bias, entry.bias);
  }
  void bytes(ByteView bytes) { write(bytes, next().values); }

  void commit() {
    const std::vector<std::uint8_t> head = zwq_head(entries_, bytes_, packed_version_);
    file_.write(0, {head.data(), head.size()});
    file_.commit();
  }

 private:
  ZwqEntry& next() { return entries_.at(next_++); }

  void write(ByteView bytes, ZwqExtent& extent) {
    extent.checksum = checksum_of(bytes);
    file_.write(extent.offset, bytes);
  }

  std::vector<ZwqEntry> entries_;
  std::uint64_t bytes_;
  WholeFile file_;
  std::size_t next_ = 0;
  std::uint32_t packed_version_ = 0;
};

// What is written, in the order of the file.
struct Plan {
  std::vector<const LayerSource*> layers;
  std::vector<const LeftAlone*> tensors;
  std::optional<ByteView> config;

  std::vector<ZwqEntry> entries() const {
    std::vector<ZwqEntry> entries;
    for (const LayerSource* layer : layers) entries.push_back(entry_of(*layer));
    for (const LeftAlone* left : tensors) entries.push_back(entry_of(*left));
    if (config) entries.push_back(entry_of_config(*config));
    return entries;
  }
};

Plan plan_of(const Checkpoint& checkpoint) {
  Plan plan;
  for (const auto& layer : checkpoint.layers()) plan.layers.push_back(layer.get());
  for (const LeftAlone& left : checkpoint.left_alone()) {
    if (is_written(left)) plan.tensors.push_back(&left);
  }
  plan.config = checkpoint.config();
  return plan;
}

}  // namespace

bool is_written(const LeftAlone& left) { return left.dense(); }

bool is_lost(const LeftAlone& left) {
  const std::vector<std::uint64_t>& shape = left.tensor.shape;
  const bool is_empty = std::find(shape.begin(), shape.end(), 0u) != shape.end();
  return !is_written(left) && !is_empty;
}

std::string losses(const Checkpoint& checkpoint) {
  const std::vector<LeftAlone>& left = checkpoint.left_alone();
  const auto lost = std::count_if(left.begin(), left.end(), is_lost);
  if (lost == 0) return {};
  const LeftAlone& first = *std::find_if(left.begin(), left.end(), is_lost);
  return formatted("{} of its tensors cannot be in a .zwq file, the first is {} ({}): skip leaves them out", lost,
                   first.name, first.reason);
}

void convert(const Checkpoint& checkpoint, zenwoq_context* context, const std::string& path,
             const ConvertProgress& progress) {
  const Plan plan = plan_of(checkpoint);
  std::vector<ZwqEntry> entries = plan.entries();
  const std::size_t total = entries.size();
  std::size_t done = 0;
  const auto next = [&] {
    if (progress) progress(done, total);
    ++done;
  };
  Writer writer(path, std::move(entries));
  for (const LayerSource* layer : plan.layers) {
    next();
    writer.layer(*layer, context);
  }
  for (const LeftAlone* left : plan.tensors) {
    next();
    writer.bytes(left->tensor.data);
  }
  if (plan.config) {
    next();
    writer.bytes(*plan.config);
  }
  writer.commit();
  next();
}

}  // namespace zenwoq::formats
