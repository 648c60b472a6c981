// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// A weight that is ready to run: a checked view of packed bytes, owned or borrowed. Making one on borrowed bytes
// allocates nothing: a run from packed bytes does it at each call.
#pragma once

#include <memory>
#include <utility>

#include "jit/number.h"
#include "src/weight/buffer.h"
#include "src/weight/packed.h"

namespace zenwoq {

class Weight {
 public:
  // owned is NULL for borrowed bytes.
  Weight(const PackedView& view, PackedBuffer owned) : view_(view), owned_(std::move(owned)) {
    for (unsigned i = 0; i < 32; ++i) table_[i] = f32_to_bf16(view.header.table[i % 16]);
  }

  const PackedView& view() const { return view_; }
  const PackedHeader& header() const { return view_.header; }
  const std::uint16_t* table() const { return table_; }  // 32 entries: the 16 values in bf16, twice

 private:
  const PackedView view_;
  const PackedBuffer owned_;
  alignas(64) std::uint16_t table_[32];
};

}  // namespace zenwoq
