// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The key of a kernel as JSON.
#pragma once

#include "tools/json_output.h"
#include "tools/planned_kernels.h"

namespace zenwoq::tools {

// Has every field of the key, the name, the size of the code and the versions.
Json kernel_json(const EmittedKernel& kernel);

}  // namespace zenwoq::tools
