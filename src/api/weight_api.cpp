// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Weights at the C boundary: describe, pack, open, unpack.
#include <atomic>

#include "jit/mxcsr.h"
#include "src/api/checks.h"

using namespace zenwoq;

namespace {

Status too_small(const char* name, std::size_t bytes, std::size_t needed) {
  return {ZENWOQ_ERROR_BUFFER_TOO_SMALL, formatted("{} is {}, {} are needed", name, bytes, needed)};
}

Status read_description(const zenwoq_weight_desc* desc, PackedHeader* header) {
  zenwoq_weight_desc d;
  if (Status status = read_struct(desc, &d); !status.ok()) return status;
  return make_header(d, header);
}

Status read_source(const zenwoq_weight_source* source, const PackedHeader& header, zenwoq_weight_source* out) {
  if (Status status = read_struct(source, out); !status.ok()) return status;
  return check_source(header, *out);
}

// A buffer that a caller may leave out. `needed` cannot have overflowed: make_header has limited all sizes.
Status check_output(const char* name, const void* buffer, std::size_t bytes, std::size_t needed) {
  if (buffer == nullptr && bytes != 0) return invalid("{} is NULL with {} bytes", name, bytes);
  if (buffer != nullptr && bytes < needed) return too_small(formatted("{}_bytes", name).c_str(), bytes, needed);
  return {};
}

Status borrow(const void* packed, std::size_t bytes, PackedView* view) {
  if (Status status = check_pointer("packed", packed); !status.ok()) return status;
  if (reinterpret_cast<std::uintptr_t>(packed) % ZENWOQ_PACKED_ALIGNMENT != 0) {
    return invalid("packed at {}: borrowed bytes must be 64-byte aligned (or ask for a copy)", packed);
  }
  return open_packed(packed, bytes, view);
}

// Packs on the context's threads. The error is the one that a single thread would find first.
Status pack_parallel(Context& context, const PackedHeader& header, const zenwoq_weight_source& source,
                     std::uint8_t* packed) {
  // Tasks of a huge page, so that two threads seldom make the same page and one of them in vain; smaller ones where
  // that would leave threads without work.
  const std::size_t page_panels = kHugePageBytes / header.panel_bytes;
  const std::size_t share = header.panels() / (4 * std::size_t{context.threads()});
  struct Job {
    const PackedHeader& header;
    const zenwoq_weight_source& source;
    std::uint8_t* packed;
    std::size_t task_panels;
    std::atomic<std::size_t> failed;  // the first task that failed

    std::size_t begin(std::size_t i) const { return i * task_panels; }
    std::size_t end(std::size_t i) const { return std::min(begin(i) + task_panels, header.panels()); }
  } job{header, source, packed, std::max<std::size_t>(1, std::min(share, page_panels)), SIZE_MAX};
  // Tasks run on threads that expect no exception: they only take down that they failed.
  const auto task = [](void* arg, std::size_t i) {
    Job& j = *static_cast<Job*>(arg);
    if (pack_panels(j.header, j.source, j.begin(i), j.end(i), j.packed, code_kernels())) return;
    std::size_t first = j.failed;
    while (i < first && !j.failed.compare_exchange_weak(first, i)) {}
  };
  context.parallel_for((header.panels() + job.task_panels - 1) / job.task_panels, task, &job);
  const std::size_t failed = job.failed;
  return failed == SIZE_MAX ? Status() : source_error(header, source, job.begin(failed), job.end(failed));
}

}  // namespace

zenwoq_status zenwoq_code_table_fill(zenwoq_code_table kind, float table[16]) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("table", table); !status.ok()) return status;
    const auto values = code_table(kind);
    if (!values) {
      return invalid("code table {}: must be one of ZENWOQ_TABLE_MINUS_8 (0) to ZENWOQ_TABLE_IQ4_NL (6)",
                     static_cast<int>(kind));
    }
    std::copy(values->begin(), values->end(), table);
    return {};
  });
}

zenwoq_status zenwoq_permutation_fill(const int32_t* g_idx, size_t g_idx_bytes, size_t k, size_t group_size,
                                      uint32_t* permutation, size_t permutation_bytes, uint32_t* permuted) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("g_idx", g_idx); !status.ok()) return status;
    if (Status status = check_pointer("permutation", permutation); !status.ok()) return status;
    if (Status status = check_pointer("permuted", permuted); !status.ok()) return status;
    if (k == 0 || k > UINT32_MAX) return invalid("k is {}: must be in 1..{}", k, UINT32_MAX);
    if (g_idx_bytes < k * 4) return too_small("g_idx_bytes", g_idx_bytes, k * 4);
    if (permutation_bytes < k * 4) return too_small("permutation_bytes", permutation_bytes, k * 4);
    if (!is_group_size(group_size)) {
      return invalid("group_size {}: must be a multiple of 8, or 0 for per-channel", group_size);
    }
    return fill_permutation({g_idx, k}, group_size == 0 || group_size > k ? k : group_size, {permutation, k}, permuted);
  });
}

zenwoq_status zenwoq_weight_desc_text(const zenwoq_weight_desc* desc, char* text, size_t text_bytes) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("text", text); !status.ok()) return status;
    PackedHeader header;
    if (Status status = read_description(desc, &header); !status.ok()) return status;
    const std::string words = header.text();
    if (text_bytes <= words.size()) return too_small("text_bytes", text_bytes, words.size() + 1);
    std::memcpy(text, words.c_str(), words.size() + 1);
    return {};
  });
}

zenwoq_status zenwoq_weight_packed_bytes(const zenwoq_weight_desc* desc, size_t* bytes) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("bytes", bytes); !status.ok()) return status;
    PackedHeader header;
    if (Status status = read_description(desc, &header); !status.ok()) return status;
    *bytes = header.total_bytes;
    return {};
  });
}

zenwoq_status zenwoq_weight_pack(const zenwoq_weight_desc* desc, const zenwoq_weight_source* source, size_t n_begin,
                                 size_t n_end, void* packed, size_t packed_bytes) {
  return at_boundary([&]() -> Status {
    PackedHeader header;
    zenwoq_weight_source s;
    if (Status status = read_description(desc, &header); !status.ok()) return status;
    if (Status status = read_source(source, header, &s); !status.ok()) return status;
    if (Status status = check_rows(header, n_begin, n_end); !status.ok()) return status;
    if (Status status = check_packed_output(packed, packed_bytes, header); !status.ok()) return status;
    return pack_rows(header, s, n_begin, n_end, static_cast<std::uint8_t*>(packed));
  });
}

zenwoq_status zenwoq_weight_create(zenwoq_context* context, const zenwoq_weight_desc* desc,
                                   const zenwoq_weight_source* source, zenwoq_weight** weight) {
  return at_boundary(context_of(context), [&]() -> Status {
    if (Status status = check_pointer("weight", weight); !status.ok()) return status;
    *weight = nullptr;
    if (Status status = check_pointer("context", context); !status.ok()) return status;
    PackedHeader header;
    zenwoq_weight_source s;
    if (Status status = read_description(desc, &header); !status.ok()) return status;
    if (Status status = read_source(source, header, &s); !status.ok()) return status;
    PackedBuffer packed = allocate_packed(header.total_bytes);
    if (packed == nullptr) {
      return {ZENWOQ_ERROR_OUT_OF_MEMORY, formatted("no memory for {} bytes of packed weight", header.total_bytes)};
    }
    if (Status status = pack_parallel(*context->context, header, s, packed.get()); !status.ok()) return status;
    const PackedView view{header, packed.get()};
    *weight = new zenwoq_weight(view, std::move(packed));
    return {};
  });
}

zenwoq_status zenwoq_weight_open(const void* packed, size_t packed_bytes, zenwoq_ownership ownership,
                                 zenwoq_weight** weight) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("weight", weight); !status.ok()) return status;
    *weight = nullptr;
    if (Status status = check_pointer("packed", packed); !status.ok()) return status;
    if (ownership != ZENWOQ_BORROW && ownership != ZENWOQ_COPY) {
      return invalid("ownership {}: must be borrow (0) or copy (1)", static_cast<int>(ownership));
    }
    PackedView view;
    Status status =
        ownership == ZENWOQ_BORROW ? borrow(packed, packed_bytes, &view) : open_packed(packed, packed_bytes, &view);
    if (!status.ok()) return status;
    PackedBuffer owned;
    if (ownership == ZENWOQ_COPY) {
      owned = allocate_packed(view.header.total_bytes);
      if (owned == nullptr) {
        return {ZENWOQ_ERROR_OUT_OF_MEMORY,
                formatted("no memory to copy {} bytes of packed weight", view.header.total_bytes)};
      }
      std::memcpy(owned.get(), packed, view.header.total_bytes);
      view.base = owned.get();
    }
    *weight = new zenwoq_weight(view, std::move(owned));
    return {};
  });
}

zenwoq_status zenwoq_weight_open_kept(const void* packed, size_t packed_bytes, zenwoq_release_fn release, void* user,
                                      zenwoq_weight** weight) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("weight", weight); !status.ok()) return status;
    *weight = nullptr;
    if (release == nullptr) return invalid("release is NULL");
    PackedView view;
    if (Status status = borrow(packed, packed_bytes, &view); !status.ok()) return status;
    auto opened = std::make_unique<zenwoq_weight>(view, nullptr);
    opened->owned->release = release;  // only now: after an error the bytes are still the caller's
    opened->owned->user = user;
    *weight = opened.release();
    return {};
  });
}

void zenwoq_weight_destroy(zenwoq_weight* weight) { delete weight; }

zenwoq_status zenwoq_weight_describe(const zenwoq_weight* weight, zenwoq_weight_desc* desc) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("weight", weight); !status.ok()) return status;
    return write_struct(weight->header().desc(), desc);
  });
}

const char* zenwoq_weight_text(const zenwoq_weight* weight) {
  return weight == nullptr ? nullptr : weight->text.c_str();
}

zenwoq_status zenwoq_weight_packed(const zenwoq_weight* weight, const void** packed, size_t* packed_bytes) {
  return at_boundary([&]() -> Status {
    if (weight == nullptr || packed == nullptr || packed_bytes == nullptr) {
      return invalid("{} is NULL", weight == nullptr ? "weight" : packed == nullptr ? "packed" : "packed_bytes");
    }
    *packed = weight->owned->view.base;
    *packed_bytes = weight->header().total_bytes;
    return {};
  });
}

zenwoq_status zenwoq_weight_unpack(const zenwoq_weight* weight, void* codes, size_t codes_bytes, void* scales,
                                   size_t scales_bytes, void* zeros, size_t zeros_bytes) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("weight", weight); !status.ok()) return status;
    const PackedHeader& header = weight->header();
    const std::size_t parameters = header.n * header.groups();
    if (Status status = check_output("codes", codes, codes_bytes, header.n * ((header.k + 1) / 2)); !status.ok())
      return status;
    if (Status status = check_output("scales", scales, scales_bytes, parameters * header.scale_bytes()); !status.ok())
      return status;
    if (Status status = check_output("zeros", zeros, zeros_bytes, parameters * header.zero_bytes()); !status.ok())
      return status;
    unpack(weight->owned->view, {.codes = static_cast<std::uint8_t*>(codes),
                                 .scales = static_cast<std::uint8_t*>(scales),
                                 .zeros = static_cast<std::uint8_t*>(zeros)});
    return {};
  });
}

zenwoq_status zenwoq_weight_unpack_extras(const zenwoq_weight* weight, const zenwoq_weight_extras* extras) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("weight", weight); !status.ok()) return status;
    zenwoq_weight_extras e;
    if (Status status = read_struct(extras, &e); !status.ok()) return status;
    const PackedView& view = weight->owned->view;
    const PackedHeader& header = view.header;
    const std::size_t supers = header.n * header.supers() * 2, columns = header.k * 4;
    const struct {
      const char* name;
      const void* data;
      std::size_t bytes, needed;
    } arrays[] = {
        {"super_scales", e.super_scales, e.super_scales_bytes, supers},
        {"super_offsets", e.super_offsets, e.super_offsets_bytes, header.format().has_offsets() ? supers : 0},
        {"permutation", e.permutation, e.permutation_bytes, header.permuted ? columns : 0},
        {"x_scale", e.x_scale, e.x_scale_bytes, header.x_scaled ? columns : 0},
    };
    for (const auto& array : arrays) {
      if (array.data != nullptr && array.needed == 0) return invalid("{}: {} has none", array.name, header.text());
      if (Status status = check_output(array.name, array.data, array.bytes, array.needed); !status.ok()) return status;
    }
    unpack(view, {.super_scales = static_cast<std::uint8_t*>(e.super_scales),
                  .super_offsets = static_cast<std::uint8_t*>(e.super_offsets)});
    if (e.permutation != nullptr) std::memcpy(e.permutation, view.permutation(), columns);
    if (e.x_scale != nullptr) std::memcpy(e.x_scale, view.x_scale(), columns);
    return {};
  });
}

zenwoq_status zenwoq_weight_dequantize(const zenwoq_weight* weight, size_t n_begin, size_t n_end, float* values,
                                       size_t values_bytes) {
  return at_boundary([&]() -> Status {
    if (Status status = check_pointer("weight", weight); !status.ok()) return status;
    if (Status status = check_pointer("values", values); !status.ok()) return status;
    const PackedHeader& header = weight->header();
    if (n_begin >= n_end || n_end > header.n) return invalid("rows [{}, {}) of n = {}", n_begin, n_end, header.n);
    std::size_t needed;
    if (__builtin_mul_overflow((n_end - n_begin) * 4, header.k, &needed)) {
      return {ZENWOQ_ERROR_OVERFLOW, formatted("{} rows of {} f32 values overflow", n_end - n_begin, header.k)};
    }
    if (values_bytes < needed) return too_small("values_bytes", values_bytes, needed);
    const MxcsrScope ieee(MxcsrScope::kIeee);
    dequantize(weight->owned->view, n_begin, n_end, values);
    return {};
  });
}
