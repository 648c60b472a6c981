// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Plans and emits kernels without weights to run them on.
#include "tools/planned_kernels.h"

#include "src/api/boundary.h"
#include "tools/packed_layer.h"

namespace zenwoq::tools {
namespace {

void require_ok(const Status& status) {
  if (!status.ok()) throw ToolError(status.text());
}

}  // namespace

std::vector<KernelKey> planned_kernels(const LayerInfo& info, std::size_t m, zenwoq_dtype output_type,
                                       zenwoq_context* context) {
  PackedHeader header;
  require_ok(make_header(weight_desc(info), &header));
  // The plan looks at the description of a weight only, so this one has no bytes.
  const auto weight = std::make_shared<const Weight>(PackedView{header, nullptr}, nullptr);
  KernelKey key;
  key.k = header.k;
  key.group = header.group();
  key.scale_type = header.scale();
  key.zero_kind = header.zero();
  key.output_type = output_type;
  key.bias = info.has_bias;
  key.tuning = context->context->tuning();
  std::vector<KernelKey> keys;
  for (const Tile& tile : Linear(context->context, weight, output_type, {}).tiles(m)) {
    key.tile = tile;
    keys.push_back(key);
  }
  return keys;
}

EmittedKernel emit_kernel(const KernelKey& key) {
  EmittedKernel kernel{key, {}, {}};
  require_ok(emit_gemm(key, &kernel.code, &kernel.notes));
  return kernel;
}

const char* zero_kind_name(zenwoq_zero_kind kind) {
  return kind == ZENWOQ_ZERO_NONE ? "none" : kind == ZENWOQ_ZERO_INTEGER ? "integer" : "offset";
}

}  // namespace zenwoq::tools
