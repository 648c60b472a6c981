// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A checkpoint of the C API that closes itself.
#pragma once

#include <memory>

#include "zenwoq/formats.h"

namespace zenwoq::formats {

struct CheckpointDeleter {
  void operator()(zenwoq_checkpoint* checkpoint) const { zenwoq_checkpoint_destroy(checkpoint); }
};
using CheckpointHandle = std::unique_ptr<zenwoq_checkpoint, CheckpointDeleter>;

}  // namespace zenwoq::formats
