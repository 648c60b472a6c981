// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A context's report on its CPU, which several commands print.
#pragma once

#include <string>
#include <vector>

#include "tools/json_output.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq::tools {

struct TierState {
  const char* name;
  std::string why_not;  // empty if it can run
};

struct CpuInfo {
  zenwoq_cpu_info info;
  std::vector<TierState> tiers;  // best first
};

CpuInfo read_cpu_info(const zenwoq_context* context);

Json cpu_json(const CpuInfo& cpu);

}  // namespace zenwoq::tools
