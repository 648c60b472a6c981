// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Parts of packed weights at the C boundary: slice, cut in place, join.
#include "src/api/checks.h"

using namespace zenwoq;

namespace {

Status check_part(const zenwoq_weight* weight, const WeightRange& range, PackedHeader* part) {
  if (Status status = check_pointer("weight", weight); !status.ok()) return status;
  return slice_header(weight->header(), range, part);
}

// `packed` against the bytes that it is made from.
Status check_apart(const void* packed, const PackedHeader& header, const PackedView& source, const std::string& name) {
  if (!overlap(packed, header.total_bytes, source.base, source.header.total_bytes)) return {};
  return invalid("packed at {} overlaps {} at {}", packed, name, static_cast<const void*>(source.base));
}

using Views = std::vector<const PackedView*>;

Status check_weights(const zenwoq_weight* const* weights, std::size_t count, Views* views, PackedHeader* joined) {
  if (Status status = check_pointer("weights", weights); !status.ok()) return status;
  if (count == 0) return invalid("count is 0: must be at least 1");
  for (std::size_t i = 0; i < count; ++i) {  // grows as entries are found to be there: a huge count is no size yet
    if (weights[i] == nullptr) return invalid("weights[{}] is NULL", i);
    views->push_back(&weights[i]->owned->view);
  }
  return join_header(*views, joined);
}

}  // namespace

zenwoq_status zenwoq_weight_slice_bytes(const zenwoq_weight* weight, size_t n_begin, size_t n_end, size_t k_begin,
                                        size_t k_end, size_t* bytes) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("bytes", bytes); !status.ok()) return status;
    PackedHeader part;
    if (Status status = check_part(weight, {n_begin, n_end, k_begin, k_end}, &part); !status.ok()) return status;
    *bytes = part.total_bytes;
    return {};
  });
}

zenwoq_status zenwoq_weight_slice(const zenwoq_weight* weight, size_t n_begin, size_t n_end, size_t k_begin,
                                  size_t k_end, void* packed, size_t packed_bytes) {
  return at_boundary([&]() -> Status {
    const WeightRange range{n_begin, n_end, k_begin, k_end};
    PackedHeader part;
    if (Status status = check_part(weight, range, &part); !status.ok()) return status;
    const PackedView& view = weight->owned->view;
    if (Status status = check_packed_output(packed, packed_bytes, part); !status.ok()) return status;
    if (Status status = check_apart(packed, part, view, "the weight"); !status.ok()) return status;
    slice(view, range, part, static_cast<std::uint8_t*>(packed));
    return {};
  });
}

zenwoq_status zenwoq_weights_join_bytes(const zenwoq_weight* const* weights, size_t count, size_t* bytes) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("bytes", bytes); !status.ok()) return status;
    Views views;
    PackedHeader joined;
    if (Status status = check_weights(weights, count, &views, &joined); !status.ok()) return status;
    *bytes = joined.total_bytes;
    return {};
  });
}

zenwoq_status zenwoq_weights_join(const zenwoq_weight* const* weights, size_t count, void* packed,
                                  size_t packed_bytes) {
  return at_boundary([&]() -> Status {
    Views views;
    PackedHeader joined;
    if (Status status = check_weights(weights, count, &views, &joined); !status.ok()) return status;
    if (Status status = check_packed_output(packed, packed_bytes, joined); !status.ok()) return status;
    for (std::size_t i = 0; i < count; ++i) {
      const std::string name = formatted("weights[{}]", i);
      if (Status status = check_apart(packed, joined, *views[i], name); !status.ok()) return status;
    }
    join(views, joined, static_cast<std::uint8_t*>(packed));
    return {};
  });
}

zenwoq_status zenwoq_packed_cut(void* packed, size_t packed_bytes, size_t n_begin, size_t n_end, void** cut,
                                size_t* cut_bytes) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("packed", packed); !status.ok()) return status;
    if (Status status = check_pointer("cut", cut); !status.ok()) return status;
    if (Status status = check_pointer("cut_bytes", cut_bytes); !status.ok()) return status;
    PackedView view;
    if (Status status = open_packed(packed, packed_bytes, &view); !status.ok()) return status;
    const WeightRange rows{n_begin, n_end, 0, view.header.k};
    PackedHeader part;
    if (Status status = slice_header(view.header, rows, &part); !status.ok()) return status;
    *cut = zenwoq::cut(view.header, rows, part, static_cast<std::uint8_t*>(packed));
    *cut_bytes = part.total_bytes;
    return {};
  });
}
