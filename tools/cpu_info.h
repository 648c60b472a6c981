// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The report of a context about its CPU, as several commands print it.
#pragma once

#include "tools/json_output.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq::tools {

zenwoq_cpu_info read_cpu_info(const zenwoq_context* context);

// "reference", "avx512bf16"
const char* isa_name(zenwoq_isa isa);

Json cpu_json(const zenwoq_cpu_info& info);

}  // namespace zenwoq::tools
