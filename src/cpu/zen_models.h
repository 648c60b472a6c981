// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// AMD family and model numbers by microarchitecture; the ranges are those of the Linux kernel and of LLVM.
#pragma once

#include <cstdint>

namespace zenwoq {

struct ZenModels {
  uint32_t family, first_model, last_model;
  const char* uarch;
  const char* tuning;
};

// The first line that fits counts.
inline constexpr ZenModels kZenModels[] = {
    {0x17, 0x00, 0x2F, "zen1", "zen2"},  // Naples, Summit Ridge; Zen+: Pinnacle Ridge, Picasso; Raven Ridge, Dali
    {0x17, 0x30, 0x4F, "zen2", "zen2"},  // Rome, Castle Peak (Threadripper 3000), 4700S
    {0x17, 0x50, 0x5F, "zen1", "zen2"},  // FireFlight
    {0x17, 0x60, 0x7F, "zen2", "zen2"},  // Renoir, Lucienne, Matisse (Ryzen 3000)
    {0x17, 0x80, 0xAF, "zen2", "zen2"},  // Xbox Series, Van Gogh (Steam Deck), Mendocino
    {0x18, 0x00, 0xFF, "zen1", "zen2"},  // Hygon Dhyana
    {0x19, 0x00, 0x0F, "zen3", "zen3"},  // Milan, Milan-X, Chagall (Threadripper 5000)
    {0x19, 0x10, 0x1F, "zen4", "zen4"},  // Genoa, Genoa-X, Storm Peak (Threadripper 7000)
    {0x19, 0x20, 0x5F, "zen3", "zen3"},  // Vermeer (Ryzen 5000), Trento, Rembrandt, Cezanne
    {0x19, 0x60, 0x9F, "zen4", "zen4"},  // Raphael (Ryzen 7000), Phoenix, Hawk Point, MI300A
    {0x19, 0xA0, 0xAF, "zen4", "zen4"},  // Zen 4c: Bergamo, Siena
    {0x19, 0xB0, 0xFF, "unknown", "zen4"}, {0x1A, 0x00, 0x1F, "zen5", "zen5"},  // Turin; Zen 5c: Turin Dense
    {0x1A, 0x20, 0x2F, "zen5", "zen4"},  // Strix Point: Zen 5 with a 256-bit datapath, where Zen 4's tiles fit
    {0x1A, 0x40, 0x4F, "zen5", "zen5"},  // Granite Ridge (Ryzen 9000), Fire Range
    {0x1A, 0x60, 0x6F, "zen5", "zen4"},  // Krackan Point: 256-bit datapath like Strix Point
    {0x1A, 0x70, 0x7F, "zen5", "zen5"},  // Strix Halo
    {0x1A, 0x00, 0xFF, "unknown", "zen5"},
};

}  // namespace zenwoq
