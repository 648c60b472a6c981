// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Any other CPU with AVX-512 BF16 (Intel since Cooper Lake, AMD to come): tiles that suit both known designs.
#include "jit/tuning.h"

namespace zenwoq {

const CpuTuning kTuningGeneric = {
    .strips_for = {0, 4, 4, 4, 4, 4, 4, 2, 2},
    .max_rows = 8,
    .broadcast_once = true,
    .prefetch_rows = 4,
    .prefetch_bytes = 2048,
    .unrolled_dots = 96,
};

}  // namespace zenwoq
