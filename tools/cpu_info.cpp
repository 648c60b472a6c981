// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The CPU report of a context: read, named, as JSON.
#include "tools/cpu_info.h"

#include <nlohmann/json.hpp>

#include "tools/api_handles.h"

namespace zenwoq::tools {

zenwoq_cpu_info read_cpu_info(const zenwoq_context* context) {
  zenwoq_cpu_info info{};
  info.struct_size = sizeof info;
  require(zenwoq_context_cpu_info(context, &info));
  return info;
}

const char* isa_name(zenwoq_isa isa) { return isa == ZENWOQ_ISA_AVX512BF16 ? "avx512bf16" : "reference"; }

Json cpu_json(const zenwoq_cpu_info& info) {
  return {
      {"vendor", info.vendor},
      {"brand", info.brand},
      {"uarch", info.uarch},
      {"family", info.family},
      {"model", info.model},
      {"stepping", info.stepping},
      {"avx2_fma", info.avx2_fma != 0},
      {"avx512bf16", info.avx512bf16 != 0},
      {"l1d_bytes", info.l1d_bytes},
      {"l2_bytes", info.l2_bytes},
      {"l3_bytes", info.l3_bytes},
      {"cache_source", info.cache_source},
      {"threads", info.threads},
      {"tuning", info.tuning},
      {"isa", isa_name(info.isa)},
      {"isa_reason", info.isa_reason},
      {"code_memory", info.code_memory},
  };
}

}  // namespace zenwoq::tools
