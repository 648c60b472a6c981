// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Calls machine code on this CPU and checks that it kept to the System V calling convention: callee-saved registers,
// stack pointer, MXCSR, clean upper halves of the vector registers.
#pragma once

#include <string>

namespace zenwoq::test {

// Runs function(argument) with garbage in scratch registers, and signalling NaN patterns in those vector registers that
// the CPU has. Returns what was not kept; empty if all was.
std::string checked_call(const void* function, const void* argument);

}  // namespace zenwoq::test
