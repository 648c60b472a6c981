// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Checks UTF-8 and escapes what a message or a terminal must not see.
#include "formats/container/text.h"

#include <algorithm>
#include <cstddef>

namespace zenwoq::formats {
namespace {

constexpr std::size_t max_name_bytes = 1024;
constexpr std::size_t max_path_bytes = 400;  // that are shown

struct Character {
  std::uint32_t code_point = 0;
  std::size_t bytes = 0;  // 0: not UTF-8
};

bool is_continuation(std::string_view text, std::size_t at) {
  return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
}

// The character at the start of a non-empty text; no surrogates, no overlong forms, nothing above U+10FFFF.
Character first_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {lead, 1};
  const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4) return {};
  std::uint32_t code_point = lead & (0x7Fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if (!is_continuation(text, i)) return {};
    code_point = code_point << 6 | (static_cast<unsigned char>(text[i]) & 0x3Fu);
  }
  const bool overlong = (bytes == 3 && code_point < 0x800) || (bytes == 4 && code_point < 0x10000);
  const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  if (overlong || surrogate || code_point > 0x10FFFF) return {};
  return {code_point, bytes};
}

// Control characters, line separators and the marks that reverse the order of a line's text are not
// printable.
bool is_printable(const Character& c) {
  const bool control = c.code_point < 0x20 || (c.code_point >= 0x7F && c.code_point <= 0x9F);
  const bool line_break = c.code_point == 0x2028 || c.code_point == 0x2029;
  const bool reordering =
      (c.code_point >= 0x202A && c.code_point <= 0x202E) || (c.code_point >= 0x2066 && c.code_point <= 0x2069);
  return c.bytes != 0 && !control && !line_break && !reordering;
}

}  // namespace

std::string shown(std::string_view text, std::size_t limit) {
  std::string line;
  while (!text.empty()) {
    if (line.size() >= limit) return line + "...";
    const Character c = first_character(text);
    if (is_printable(c)) {
      line += text.substr(0, c.bytes);
    } else {
      line += formatted("\\x{:02x}", static_cast<unsigned char>(text[0]));
    }
    text.remove_prefix(is_printable(c) ? c.bytes : 1);
  }
  return line;
}

std::string shown_path(std::string_view path) { return shown(path, max_path_bytes); }

std::string shown(const std::vector<std::uint64_t>& shape) {
  std::string line = "[";
  for (std::size_t i = 0; i < std::min<std::size_t>(shape.size(), 8); ++i) {
    line += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return line + (shape.size() > 8 ? ", ...]" : "]");
}

void check_name(std::string_view name, const std::string& where) {
  if (name.empty()) fail("{}: a tensor has an empty name", where);
  if (name.size() > max_name_bytes) {
    fail("{}: tensor name {} has {} bytes, the limit is {}", where, shown(name), name.size(), max_name_bytes);
  }
  for (std::string_view rest = name; !rest.empty();) {
    const Character c = first_character(rest);
    if (!is_printable(c)) {
      fail("{}: tensor name {} is not printable UTF-8 at byte {}", where, shown(name), name.size() - rest.size());
    }
    rest.remove_prefix(c.bytes);
  }
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

bool has_suffix(std::string_view text, std::string_view suffix) {
  return text.size() > suffix.size() && text.ends_with(suffix);
}

std::string_view without_suffix(std::string_view text, std::string_view suffix) {
  return has_suffix(text, suffix) ? text.substr(0, text.size() - suffix.size()) : text;
}

}  // namespace zenwoq::formats
