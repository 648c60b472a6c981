// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What the opaque handles of the C API own. Each keeps what it is made from alive.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "src/run/layer.h"
#include "src/weight/buffer.h"

struct zenwoq_context {
  std::shared_ptr<zenwoq::Context> context;
};

struct zenwoq_weight {
  struct Owned {
    zenwoq::PackedView view;
    zenwoq::PackedBuffer bytes;  // NULL where the caller owns them
    // Where it wants to know that they are needed no longer:
    zenwoq_release_fn release = nullptr;
    void* user = nullptr;

    Owned(const zenwoq::PackedView& of, zenwoq::PackedBuffer own) : view(of), bytes(std::move(own)) {}
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    ~Owned() {
      if (release != nullptr) release(user);
    }
  };
  std::shared_ptr<Owned> owned;
  std::string text;

  explicit zenwoq_weight(const zenwoq::PackedView& view, zenwoq::PackedBuffer bytes)
      : owned(std::make_shared<Owned>(view, std::move(bytes))), text(view.header.text()) {}
  const zenwoq::PackedHeader& header() const { return owned->view.header; }
};

struct zenwoq_linear {
  std::shared_ptr<zenwoq::Context> context;
  std::shared_ptr<const zenwoq_weight::Owned> weight, up;  // up: of a gated product whose weight has no halves
  std::vector<float> biases;                               // the layer's
  zenwoq::KernelSlots slots;
  zenwoq::Layer layer;

  zenwoq_linear(std::shared_ptr<zenwoq::Context> on, std::shared_ptr<const zenwoq_weight::Owned> of,
                zenwoq_dtype output_type)
      : context(std::move(on)), weight(std::move(of)), layer(weight->view, output_type, nullptr, &slots) {}
};
