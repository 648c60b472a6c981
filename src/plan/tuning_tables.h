// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The tuning tables by name; tuning.cpp lists them.
#pragma once

#include "src/plan/tuning.h"

namespace zenwoq {

extern const CpuTuning kZen4Avx512Bf16;
extern const CpuTuning kZen5Avx512Bf16;
extern const CpuTuning kGenericAvx512Bf16;
extern const CpuTuning kZen2Avx2;
extern const CpuTuning kZen3Avx2;
extern const CpuTuning kZen4Avx2;
extern const CpuTuning kZen5Avx2;
extern const CpuTuning kGenericAvx2;

}  // namespace zenwoq
