// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Calls machine code on this CPU and looks whether it kept the promises of System V: callee-saved registers, stack
// pointer, MXCSR, clean upper halves of the vector registers.
#pragma once

#include <string>

namespace zenwoq::test {

// Runs function(argument) on garbage: scratch and vector registers hold signalling NaN patterns where the CPU has them.
// Empty if all was kept, else what was not.
std::string checked_call(const void* function, const void* argument);

}  // namespace zenwoq::test
