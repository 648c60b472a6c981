// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The library's context of this process, whose loops run on torch's threads.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include <cstdint>

#include "zenwoq/zenwoq.h"

namespace zenwoq::torch_ops {

// One on torch's threads, another one in forked children.
zenwoq_context* context();

uint32_t torch_threads();

}  // namespace zenwoq::torch_ops
