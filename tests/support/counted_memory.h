// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// How much memory of operator new a program has, and had at most: counted in every program that links this.
#pragma once

#include <cstddef>

namespace zenwoq::test {

std::size_t counted_bytes();       // now
std::size_t counted_peak_bytes();  // since start_counted_peak()
void start_counted_peak();

}  // namespace zenwoq::test
