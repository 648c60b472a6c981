// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What formats find in a checkpoint: layers that can be loaded, and tensors that are left alone, with the reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "formats/container/byte_view.h"
#include "formats/container/floats.h"
#include "formats/container/tensor_set.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq::formats {

// A source for zenwoq_weight_create. Its pointers lead into the checkpoint's files, or into `owned` where values had to
// be converted.
struct Prepared {
  Prepared() { zenwoq_weight_source_init(&source); }
  Prepared(const Prepared&) = delete;
  Prepared& operator=(const Prepared&) = delete;
  Prepared(Prepared&&) = default;  // which leaves the bytes of `owned` where they are
  Prepared& operator=(Prepared&&) = default;

  void set_codes(zenwoq_code_layout layout, ByteView codes, std::size_t row_bytes = 0);  // 0: rows without gaps
  // [N,G]; or all of them [G,N], which by_group() says.
  void set_scales(ByteView scales);
  void set_zeros(ByteView zeros);
  void by_group() { source.parameters_by_group = 1; }
  // [K] each; kept by the layer.
  void set_permutation(const std::vector<std::uint32_t>& permutation);
  void set_x_scale(const std::vector<float>& x_scale);

  // Takes the bytes over. The view is for one of the above.
  ByteView own(std::vector<std::uint8_t> bytes);

  zenwoq_weight_source source;

 private:
  std::vector<std::vector<std::uint8_t>> owned_;
};

// A layer with one weight or, of a mixture of experts, with several of the same description. All sizes are checked
// against the files when it is found; codes, scales and zeros are only looked at when a weight is made.
struct LayerSource {
  LayerSource() { zenwoq_weight_desc_init(&desc); }
  LayerSource(const LayerSource&) = delete;
  LayerSource& operator=(const LayerSource&) = delete;
  virtual ~LayerSource() = default;

  // Weight number `expert`, which is below `experts`. Throws ReadError for impossible values (a zero point of 9).
  virtual Prepared prepare(std::size_t expert) const = 0;

  // Weight number `expert` as it lies packed in the file; without bytes where it does not.
  virtual ByteView packed(std::size_t expert) const;

  std::string where;        // file and weight, as messages name them
  std::string name;         // of the linear, without ".weight"
  std::string format;       // "torchao intx", "gguf q4_0"
  zenwoq_weight_desc desc;  // of each weight
  std::size_t experts = 1;  // weights
  ByteView bias;            // [experts, N], without bytes if the layer has no bias
  zenwoq_dtype bias_type = ZENWOQ_F32;
  std::uint64_t bytes = 0;  // that the weights take in the files, biases not counted

  // Of each weight. Throws ReadError for a description of a weight that cannot be.
  std::uint64_t packed_bytes() const;

  bool has_bias() const { return bias.size() != 0; }
  ByteView bias_of(std::size_t expert) const;
};

// A layer whose codes, scales and zeros are used as they lie in tensors, experts one after another.
struct PlainLayer final : LayerSource {
  Prepared prepare(std::size_t expert) const override;

  zenwoq_code_layout layout = ZENWOQ_CODES_NIBBLES;
  ByteView codes, scales, zeros;  // zeros without bytes if there are none
  bool by_group = false;          // scales and zeros are [G,N]
};

struct FoundLayers {
  std::vector<std::unique_ptr<LayerSource>> layers;
  std::vector<LeftAlone> left_alone;
  std::vector<std::vector<std::uint8_t>> owned;  // bytes that both may point into, beside those of the files
};

// Values that share a scale, and scales in a row.
inline std::size_t group_of(const zenwoq_weight_desc& desc) {
  return desc.group_size == 0 || desc.group_size > desc.k ? desc.k : desc.group_size;
}
inline std::size_t groups_of(const zenwoq_weight_desc& desc) { return (desc.k + group_of(desc) - 1) / group_of(desc); }

struct WeightDeleter {
  void operator()(zenwoq_weight* weight) const { zenwoq_weight_destroy(weight); }
};
using Weight = std::unique_ptr<zenwoq_weight, WeightDeleter>;

// Packs what layer.prepare() gave on the context's threads. Throws ReadError, which names the layer, for a value that
// cannot be packed, and std::bad_alloc.
Weight pack(zenwoq_context* context, const LayerSource& layer, const Prepared& prepared);

// Weight number `expert`: packed, or a copy of what is packed already. Throws as pack() does.
Weight load(zenwoq_context* context, const LayerSource& layer, std::size_t expert);

}  // namespace zenwoq::formats
