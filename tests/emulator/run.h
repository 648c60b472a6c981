// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What a run and the handlers of ret agree on.

#ifndef ZENWOQ_TESTS_EMULATOR_RUN_H_
#define ZENWOQ_TESTS_EMULATOR_RUN_H_

#include <cstdint>

namespace zenwoq::emulator {

// Stands on the emulated stack where a caller would have put its address; not canonical, so it is
// no address.
inline constexpr uint64_t kReturnAddress = 0x7E70'4E70'4E70'4E7F;

}  // namespace zenwoq::emulator

#endif  // ZENWOQ_TESTS_EMULATOR_RUN_H_
