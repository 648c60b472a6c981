// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What an internal function says of its success: a C status and the sentence for zenwoq_last_error().
#pragma once

#include <string>
#include <utility>

#include "src/text/formatted.h"
#include "zenwoq/zenwoq.h"

namespace zenwoq {

class [[nodiscard]] Status {
 public:
  Status() = default;  // ZENWOQ_OK
  Status(zenwoq_status code, std::string text) : code_(code), text_(std::move(text)) {}

  bool ok() const { return code_ == ZENWOQ_OK; }
  zenwoq_status code() const { return code_; }
  const std::string& text() const { return text_; }

 private:
  zenwoq_status code_ = ZENWOQ_OK;
  std::string text_;
};

template <typename... Args>
Status invalid(fmt::format_string<Args...> text, Args&&... args) {
  return {ZENWOQ_ERROR_INVALID_ARGUMENT, formatted(text, std::forward<Args>(args)...)};
}

}  // namespace zenwoq
