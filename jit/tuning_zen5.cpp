// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Zen 5 (512-bit datapath, two dot products a cycle at latency 6): twelve accumulators or more, and x pairs broadcast
// once, since a broadcast operand slows each dot product from 0.50 to 0.58 cycles. One row alone has too few chains in
// one panel, so it takes two neighbouring panels at once.
#include "jit/tuning.h"

namespace zenwoq {

const CpuTuning kTuningZen5 = {
    .strips_for = {0, 8, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2},
    .max_rows = 12,
    .broadcast_once = true,
    .prefetch_rows = 4,
    .prefetch_bytes = 4096,
    .unrolled_dots = 96,
};

}  // namespace zenwoq
