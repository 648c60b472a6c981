// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Zen 4 (256-bit datapath: a zmm operation holds a pipe for two cycles). Six accumulators hide the dot product's
// latency, so 6x2 with its totals in registers is full; a dot product's broadcast operand costs nothing there.
#include "plan/tuning.h"

namespace zenwoq {

const CpuTuning kTuningZen4 = {
    .strips_for = {0, 4, 4, 4, 4, 2, 2},
    .max_rows = 6,
    .broadcast_once = false,
    .prefetch_rows = 4,
    .prefetch_bytes = 3072,
    .unrolled_dots = 96,
};

}  // namespace zenwoq
