// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Pads the cells of a table and joins them to lines.
#include "tools/table.h"

#include <algorithm>

namespace zenwoq::tools {
namespace {

// The number of characters in UTF-8 text, whose continuation bytes do not count.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

}  // namespace

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = width_of(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, width_of(row[i]));
    widths.push_back(width);
  }
  std::string text;
  const auto add_cell = [&](std::size_t i, const std::string& cell) {
    const std::string padding(widths[i] - width_of(cell), ' ');
    const bool last = i + 1 == columns_.size();
    if (columns_[i].align == Align::right) {
      text += padding + cell;
    } else {
      text += cell + (last ? "" : padding);
    }
    text += last ? "\n" : "  ";
  };
  for (std::size_t i = 0; i < columns_.size(); ++i) add_cell(i, columns_[i].title);
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < columns_.size(); ++i) add_cell(i, row[i]);
  }
  return text;
}

}  // namespace zenwoq::tools
