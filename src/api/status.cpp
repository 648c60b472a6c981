// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Status names, the error text of a thread, the version.
#include "src/api/boundary.h"

namespace {

thread_local char last_error[768];

void print_error(zenwoq_status code) noexcept {
  try {
    zenwoq::print_line(zenwoq::LogLevel::error, zenwoq::formatted("{}: {}", zenwoq_status_name(code), last_error));
  } catch (...) {
    // No memory for a line: the caller has the text.
  }
}

}  // namespace

namespace zenwoq {

zenwoq_status report(zenwoq_status code, const char* text, const Context* context) noexcept {
  const std::size_t length = std::min(std::strlen(text), sizeof last_error - 1);
  std::memcpy(last_error, text, length);
  last_error[length] = '\0';
  if (code != ZENWOQ_OK && prints_errors() && (context == nullptr || !context->logs_itself())) print_error(code);
  return code;
}

}  // namespace zenwoq

const char* zenwoq_last_error(void) { return last_error; }

zenwoq_status zenwoq_report(zenwoq_status status, const char* text) {
  return zenwoq::report(status, text == nullptr ? "" : text, nullptr);
}

const char* zenwoq_status_name(zenwoq_status status) {
  switch (status) {
    case ZENWOQ_OK: return "ZENWOQ_OK";
    case ZENWOQ_ERROR_INVALID_ARGUMENT: return "ZENWOQ_ERROR_INVALID_ARGUMENT";
    case ZENWOQ_ERROR_OVERFLOW: return "ZENWOQ_ERROR_OVERFLOW";
    case ZENWOQ_ERROR_BUFFER_TOO_SMALL: return "ZENWOQ_ERROR_BUFFER_TOO_SMALL";
    case ZENWOQ_ERROR_BAD_PACKED: return "ZENWOQ_ERROR_BAD_PACKED";
    case ZENWOQ_ERROR_UNSUPPORTED: return "ZENWOQ_ERROR_UNSUPPORTED";
    case ZENWOQ_ERROR_OUT_OF_MEMORY: return "ZENWOQ_ERROR_OUT_OF_MEMORY";
    case ZENWOQ_ERROR_INTERNAL: return "ZENWOQ_ERROR_INTERNAL";
    case ZENWOQ_ERROR_BAD_FILE: return "ZENWOQ_ERROR_BAD_FILE";
  }
  return "unknown status";
}

#define ZENWOQ_TEXT_OF(number) #number
#define ZENWOQ_VERSION_TEXT(major, minor, patch) \
  ZENWOQ_TEXT_OF(major) "." ZENWOQ_TEXT_OF(minor) "." ZENWOQ_TEXT_OF(patch)

const char* zenwoq_version(void) {
  return ZENWOQ_VERSION_TEXT(ZENWOQ_VERSION_MAJOR, ZENWOQ_VERSION_MINOR, ZENWOQ_VERSION_PATCH);
}
