// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Any text as the name of a kernel: refused, or the code of a kernel with exactly that name, the same bytes twice.
#include <string>

#include "jit/key.h"
#include "tests/fuzz/fuzz.h"

using namespace zenwoq::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string name(reinterpret_cast<const char*>(data), size);
  const auto key = zenwoq::parse_kernel_name(name);
  if (key) ZENWOQ_PROMISE(key->name() == name);
  std::size_t bytes = 0;
  const std::string terminated = name.substr(0, name.find('\0'));
  const zenwoq_status status = zenwoq_kernel_emit(terminated.c_str(), nullptr, 0, &bytes);
  if (status == ZENWOQ_ERROR_INVALID_ARGUMENT) {
    ZENWOQ_PROMISE(!zenwoq::parse_kernel_name(terminated));
    return 0;
  }
  if (status == ZENWOQ_ERROR_UNSUPPORTED) return 0;
  ZENWOQ_PROMISE(status == ZENWOQ_ERROR_BUFFER_TOO_SMALL || status == ZENWOQ_OK);
  std::vector<std::uint8_t> code(bytes), again(bytes);
  ZENWOQ_PROMISE(zenwoq_kernel_emit(terminated.c_str(), code.data(), code.size(), &bytes) == ZENWOQ_OK);
  ZENWOQ_PROMISE(zenwoq_kernel_emit(terminated.c_str(), again.data(), again.size(), &bytes) == ZENWOQ_OK);
  ZENWOQ_PROMISE(bytes == code.size() && code == again);
  return 0;
}
