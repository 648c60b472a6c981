// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// NVIDIA ModelOpt NVFP4.
//
//   W[n,k] = E2M1(code) * (scale[n, k/16] * scale_2)
//
//   P.weight          U8 [N, K/2], two codes a byte, even k in the low half
//   P.weight_scale    F8_E4M3 [N, K/16], in rows: tiles of GPUs are of other shapes
//   P.weight_scale_2  F32 []
//   P.input_scale     of activations in fp4, which are not
#include <utility>

#include "formats/container/text.h"
#include "formats/formats.h"
#include "formats/parts.h"

namespace zenwoq::formats {
namespace {

constexpr std::uint64_t group = 16;

std::string reason_to_leave(const TensorMap& parts, const std::string& where) {
  const Tensor& weight = require_part(parts, "weight", where);
  const Tensor& scale = require_part(parts, "weight_scale", where);
  const Tensor& tensor_scale = parts.at("weight_scale_2");
  if (weight.dtype != "U8" || scale.dtype != "F8_E4M3" || tensor_scale.dtype != "F32") {
    return formatted("modelopt with a {} weight, {} weight_scale, {} weight_scale_2: nvfp4 has u8, f8_e4m3 and f32",
                     lower_case(shown(weight.dtype)), lower_case(shown(scale.dtype)),
                     lower_case(shown(tensor_scale.dtype)));
  }
  return fp4_reason(weight, "weight", scale, group);
}

}  // namespace

void find_modelopt(Contents& contents, FoundLayers& found) {
  for (const std::string& name : names_before(contents.set, ".weight_scale_2")) {
    const std::string where = formatted("{}: weight {}.weight", contents.set.where, name);
    TensorMap parts = take_parts(contents.set, name, {"weight", "weight_scale", "weight_scale_2", "input_scale"});
    add_layer(
        contents.set, name, reason_to_leave(parts, where),
        [&]() -> std::unique_ptr<LayerSource> {
          auto layer = make_fp4(parts.at("weight"), parts.at("weight_scale"), ZENWOQ_E4M3, where);
          layer->format = "modelopt nvfp4";
          set_tensor_scale(parts.at("weight_scale_2"), ZENWOQ_TENSOR_SCALE_TIMES, *layer);
          return layer;
        },
        found);
  }
}

}  // namespace zenwoq::formats
