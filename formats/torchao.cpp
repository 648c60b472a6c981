// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Weights that TorchAO's metadata describes: each goes to the file of its tensor's class.
#include <algorithm>
#include <utility>

#include "formats/container/text.h"
#include "formats/formats.h"
#include "formats/parts.h"
#include "formats/torchao_metadata.h"

namespace zenwoq::formats {
namespace {

void import_weight(TensorSet& set, const std::string& weight, const WeightNames& names,
                   const std::set<std::string>& values, FoundLayers& found) {
  const std::string where = formatted("{}: weight {}", set.where, weight);
  const WeightMetadata metadata = parse_weight_metadata(values, where);
  if (metadata.is_plain_tensor()) return;
  const TensorMap parts = set.take_prefix(names.parts_prefix);
  const TensorClass* const classes[] = {&torchao_intx, &torchao_int4};
  const auto* const known = std::find_if(std::begin(classes), std::end(classes),
                                         [&](const TensorClass* c) { return metadata.type == c->type; });
  std::string reason = known == std::end(classes) ? formatted("torchao {}, not read", shown(metadata.type))
                                                  : (*known)->reason_to_leave(metadata, parts, where);
  if (reason.empty()) reason = bias_reason(set, names.bias);
  std::unique_ptr<LayerSource> layer;
  if (reason.empty()) {
    layer = (*known)->make(metadata, parts, where);
    reason = group_reason(group_of(layer->desc), layer->desc.k);
  }
  if (!reason.empty()) {
    found.left_alone.push_back({weight, std::move(reason)});
    return;
  }
  layer->name = names.layer;
  take_bias(set, names.bias, *layer);
  found.layers.push_back(std::move(layer));
}

// Leaves alone tensors that look like a TorchAO weight when no metadata says of which kind.
void leave_weights_without_metadata(TensorSet& set, FoundLayers& found) {
  // Names and prefixes, collected before any is taken, because taking changes the set.
  std::vector<std::pair<std::string, std::string>> weights;
  for (const auto& entry : set.tensors) {
    for (const std::string_view prefix_end : {"._weight_", ".weight:"}) {
      const std::string suffix = formatted("{}qdata", prefix_end);
      if (!has_suffix(entry.first, suffix)) continue;
      const std::string module(without_suffix(entry.first, suffix));
      weights.emplace_back(module + ".weight", formatted("{}{}", module, prefix_end));
    }
  }
  for (const auto& weight : weights) {
    set.take_prefix(weight.second);
    found.left_alone.push_back({weight.first, "no torchao metadata says what it is"});
  }
}

}  // namespace

void find_torchao(Contents& contents, FoundLayers& found) {
  TensorSet& set = contents.set;
  for (const auto& entry : set.metadata) {
    const std::optional<WeightNames> names = names_in_set(set, entry.first);
    if (names) import_weight(set, entry.first, *names, entry.second, found);
  }
  leave_weights_without_metadata(set, found);
}

}  // namespace zenwoq::formats
