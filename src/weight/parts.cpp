// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Packed weights cut and joined as bytes. Rows are whole panels; a range of K that begins and ends with groups is one
// run of bytes in each panel, with its scales and zeros.
#include <cstring>

#include "src/weight/packed.h"

namespace zenwoq {
namespace {

constexpr std::size_t panels_of(std::size_t n) { return (n + kPanelColumns - 1) / kPanelColumns; }

// What K can be cut at: a multiple of it, and how that is called.
struct Border {
  std::uint64_t multiple;
  const char* name;
};

Border border_of(const PackedHeader& header) {
  if (header.format().has_two_levels()) return {PanelLayout::kSuperGroups * header.group(), "eight groups"};
  if (header.groups() == 1) return {kStepK, "a step of codes"};
  return {header.group(), "a group"};
}

Status check_columns(const PackedHeader& header, std::size_t k_begin, std::size_t k_end) {
  if (k_begin >= k_end || k_end > header.k) return invalid("columns [{}, {}) of k = {}", k_begin, k_end, header.k);
  if (k_begin == 0 && k_end == header.k) return {};
  if (header.permuted) {
    return invalid("columns [{}, {}) of k = {} in act-order: a group's columns lie apart, so only all can be taken",
                   k_begin, k_end, header.k);
  }
  const Border border = border_of(header);
  if (k_begin % border.multiple == 0 && (k_end % border.multiple == 0 || k_end == header.k)) return {};
  return invalid("columns [{}, {}) of k = {}, {}: must begin and end at multiples of {} ({}), or end at k", k_begin,
                 k_end, header.k, header.text(), border.multiple, border.name);
}

// The places of `to` of one panel, from this step of `from` on. Of one group of a row, a part has its scale again.
void copy_steps(const PanelLayout& from, const std::uint8_t* panel, std::size_t first, const PanelLayout& to,
                std::uint8_t* out) {
  const std::uint8_t* begin = panel + from.step(first) - from.super_bytes();
  if (from.groups() > 1) {
    std::memcpy(out, begin, to.bytes());
    return;
  }
  std::memcpy(out, begin, to.steps() * kStepBytes);
  std::memcpy(out + to.scales(0), panel + from.scales(0), to.parameter_bytes());
}

// Permutation and factors of x from column k_begin on, after the last panel.
void copy_columns(const PackedView& view, std::size_t k_begin, const PackedHeader& to, std::uint8_t* packed) {
  std::memset(packed + to.permutation_at, 0, to.total_bytes - to.permutation_at);
  if (to.permuted) std::memcpy(packed + to.permutation_at, view.permutation(), to.k * 4);
  if (to.x_scaled) std::memcpy(packed + to.x_scale_at, view.x_scale() + k_begin * 4, to.k * 4);
}

Status check_joinable(const PackedView& first, const PackedView& other, std::size_t i) {
  const PackedHeader &f = first.header, &o = other.header;
  if (f.k != o.k) return invalid("weights[{}] has k = {}, weights[0] k = {}: must be equal", i, o.k, f.k);
  if (!quantized_alike(f, o)) {
    return invalid("weights[{}] is {}, weights[0] {}: must be quantized alike", i, o.text(), f.text());
  }
  if (std::memcmp(&f.tensor_scale, &o.tensor_scale, sizeof f.tensor_scale) != 0) {
    return invalid("weights[{}] has tensor scale {}, weights[0] {}: must be equal", i, o.tensor_scale, f.tensor_scale);
  }
  if (!same_array(first.permutation(), other.permutation(), f.k * sizeof(std::uint32_t))) {
    return invalid("weights[{}] and weights[0]: columns must be permuted alike", i);
  }
  if (!same_array(first.x_scale(), other.x_scale(), f.k * sizeof(float))) {
    return invalid("weights[{}] and weights[0]: must have the same factors of columns", i);
  }
  return {};
}

}  // namespace

bool quantized_alike(const PackedHeader& a, const PackedHeader& b) {
  return a.group() == b.group() && a.scale_type == b.scale_type && a.zero_kind == b.zero_kind &&
         a.zero_type == b.zero_type && a.tensor_scale_kind == b.tensor_scale_kind &&
         std::memcmp(&a.table, &b.table, sizeof a.table) == 0;
}

Status check_rows(const PackedHeader& header, std::size_t n_begin, std::size_t n_end) {
  const bool end_fits = n_end == header.n || n_end % kPanelColumns == 0;
  if (n_begin >= n_end || n_end > header.n || n_begin % kPanelColumns != 0 || !end_fits) {
    return invalid("rows [{}, {}) of n = {}: must be a range of whole panels of 64, or end at n", n_begin, n_end,
                   header.n);
  }
  return {};
}

Status slice_header(const PackedHeader& header, const WeightRange& range, PackedHeader* part) {
  if (Status status = check_rows(header, range.n_begin, range.n_end); !status.ok()) return status;
  if (Status status = check_columns(header, range.k_begin, range.k_end); !status.ok()) return status;
  zenwoq_weight_desc desc = header.desc();
  desc.n = range.n_end - range.n_begin;
  desc.k = range.k_end - range.k_begin;
  return make_header(desc, part);
}

void slice(const PackedView& view, const WeightRange& range, const PackedHeader& part, std::uint8_t* packed) {
  const std::size_t begin = range.n_begin / kPanelColumns;
  write_header(part, packed);
  if (part.k == view.header.k) {
    std::memcpy(packed + kHeaderBytes, view.panel(begin), part.panels() * part.panel_bytes);
  } else {
    const PanelLayout from = view.header.layout(), to = part.layout();
    for (std::size_t i = 0; i < part.panels(); ++i) {
      copy_steps(from, view.panel(begin + i), range.k_begin / kStepK, to, packed + kHeaderBytes + i * part.panel_bytes);
    }
  }
  copy_columns(view, range.k_begin, part, packed);
}

std::uint8_t* cut(const PackedHeader& header, const WeightRange& rows, const PackedHeader& part, std::uint8_t* packed) {
  const std::size_t begin = rows.n_begin / kPanelColumns, end = panels_of(rows.n_end);
  std::uint8_t* first = packed + begin * header.panel_bytes;
  if (end < header.panels()) {  // else they are where they belong, and their pages stay untouched
    std::uint8_t* columns = first + part.permutation_at;
    std::memmove(columns, packed + header.permutation_at, part.total_bytes - kSpareBytes - part.permutation_at);
    std::memset(first + part.total_bytes - kSpareBytes, 0, kSpareBytes);
  }
  if (begin > 0) std::memset(packed, 0, kHeaderBytes);  // a weight of broken panels is none
  if (begin > 0 || part.n != header.n) write_header(part, first);
  return first;
}

Status join_header(std::span<const PackedView* const> views, PackedHeader* joined) {
  zenwoq_weight_desc desc = views[0]->header.desc();
  desc.n = 0;
  for (std::size_t i = 0; i < views.size(); ++i) {
    const PackedHeader& header = views[i]->header;
    if (Status status = check_joinable(*views[0], *views[i], i); !status.ok()) return status;
    if (header.n % kPanelColumns != 0 && i + 1 < views.size()) {
      return invalid("weights[{}] has n = {}: every one but the last must have a multiple of {}", i, header.n,
                     kPanelColumns);
    }
    if (__builtin_add_overflow(desc.n, header.n, &desc.n)) {
      return {ZENWOQ_ERROR_OVERFLOW, formatted("the rows of {} weights overflow", views.size())};
    }
  }
  return make_header(desc, joined);
}

void join(std::span<const PackedView* const> views, const PackedHeader& joined, std::uint8_t* packed) {
  std::uint8_t* to = packed + kHeaderBytes;
  for (const PackedView* view : views) {
    const std::size_t bytes = view->header.panels() * view->header.panel_bytes;
    std::memcpy(to, view->panel(0), bytes);
    to += bytes;
  }
  write_header(joined, packed);
  copy_columns(*views[0], 0, joined, packed);
}

}  // namespace zenwoq
