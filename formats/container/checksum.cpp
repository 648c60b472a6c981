// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// xxHash, compiled in from its header: nothing to link and nothing to export.
#include "formats/container/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace zenwoq::formats {

struct Checksum::State {
  XXH64_state_t of_xxhash;
};

Checksum::Checksum() : state_(std::make_unique<State>()) { XXH64_reset(&state_->of_xxhash, 0); }

Checksum::~Checksum() = default;

void Checksum::add(ByteView bytes) {
  if (bytes.size() != 0) XXH64_update(&state_->of_xxhash, bytes.data(), bytes.size());
}

std::uint64_t Checksum::value() const { return XXH64_digest(&state_->of_xxhash); }

std::uint64_t checksum_of(ByteView bytes) { return XXH64(bytes.data(), bytes.size(), 0); }

}  // namespace zenwoq::formats
