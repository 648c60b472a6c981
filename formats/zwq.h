// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Layers that lie packed in a .zwq file, as weights.
#pragma once

#include <memory>
#include <string>

#include "formats/container/files.h"
#include "formats/layer.h"

namespace zenwoq::formats {

// Both for a layer whose packed() has bytes. Throw ReadError, which names the layer, for packed bytes that are damaged
// or are not what the directory says, and std::bad_alloc.
Weight copy_packed(const LayerSource& layer, std::size_t expert);

// Borrows the file's bytes, and keeps `files`, which have them, for as long as the weight or a linear needs them.
Weight map_packed(const LayerSource& layer, std::size_t expert, std::shared_ptr<const Files> files);

// What the layer was before it came into a .zwq file.
std::string source_format(const LayerSource& layer);

}  // namespace zenwoq::formats
