// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// How operators refuse what they are given.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace zenwoq::torch_ops {

// Why an operator does not compute.
struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Like STD_TORCH_CHECK, but without the place in this file in front of the message.
template <typename... Parts>
void check(bool condition, const Parts&... parts) {
  if (condition) return;
  std::ostringstream text;
  (text << ... << parts);
  throw Refusal(text.str());
}

// What an operator does; refusals get its name in front.
template <typename Body>
auto in_operator(const char* name, const Body& body) {
  try {
    return body();
  } catch (const Refusal& refusal) {
    throw std::runtime_error(std::string("zenwoq::") + name + ": " + refusal.what());
  }
}

}  // namespace zenwoq::torch_ops
