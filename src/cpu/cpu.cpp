// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Turns raw CPU facts into the report: a pure function, so that tests describe machines they do not have.
#include "src/cpu/cpu.h"

#include <algorithm>
#include <cstring>

#include "src/cpu/zen_models.h"
#include "src/text/formatted.h"

namespace zenwoq {
namespace {

enum class Register { eax, ebx, ecx, edx };

struct CpuidBit {
  const char* name;
  uint32_t leaf, subleaf;
  Register reg;
  unsigned bit;
};

constexpr CpuidBit kOsxsave = {"OSXSAVE", 1, 0, Register::ecx, 27};

CpuidBit cpuid_bit(CpuFeature feature) {
  switch (feature) {
    case CpuFeature::avx: return {"AVX", 1, 0, Register::ecx, 28};
    case CpuFeature::fma: return {"FMA", 1, 0, Register::ecx, 12};
    case CpuFeature::f16c: return {"F16C", 1, 0, Register::ecx, 29};
    case CpuFeature::avx2: return {"AVX2", 7, 0, Register::ebx, 5};
    case CpuFeature::bmi2: return {"BMI2", 7, 0, Register::ebx, 8};
    case CpuFeature::avx512f: return {"AVX-512 F", 7, 0, Register::ebx, 16};
    case CpuFeature::avx512dq: return {"AVX-512 DQ", 7, 0, Register::ebx, 17};
    case CpuFeature::avx512bw: return {"AVX-512 BW", 7, 0, Register::ebx, 30};
    case CpuFeature::avx512vl: return {"AVX-512 VL", 7, 0, Register::ebx, 31};
    case CpuFeature::avx512bf16: return {"AVX-512 BF16", 7, 1, Register::eax, 5};
  }
  return {};
}

struct CacheBytes {
  uint64_t l1d = 0, l2 = 0, l3 = 0;  // per core, per core, per CCX; 0 = not known
};

constexpr CacheBytes kFallbackCaches = {32 << 10, 1 << 20, 32 << 20};

CpuidLeaf leaf_of(const RawCpu& raw, uint32_t leaf, uint32_t subleaf = 0) {
  for (const CpuidLeaf& l : raw.leaves) {
    if (l.leaf == leaf && l.subleaf == subleaf) return l;
  }
  return {leaf, subleaf, 0, 0, 0, 0};
}

bool has(const RawCpu& raw, const CpuidBit& bit) {
  const CpuidLeaf l = leaf_of(raw, bit.leaf, bit.subleaf);
  const uint32_t registers[] = {l.eax, l.ebx, l.ecx, l.edx};
  return (registers[static_cast<int>(bit.reg)] >> bit.bit & 1) != 0;
}

bool complete(const CacheBytes& c) { return c.l1d != 0 && c.l2 != 0 && c.l3 != 0; }

void describe_identity(const RawCpu& raw, CpuReport& report) {
  const CpuidLeaf vendor = leaf_of(raw, 0);
  for (uint32_t part : {vendor.ebx, vendor.edx, vendor.ecx}) {
    report.vendor.append(reinterpret_cast<const char*>(&part), sizeof part);
  }
  char brand[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const CpuidLeaf l = leaf_of(raw, 0x80000002 + i);
    const uint32_t part[4] = {l.eax, l.ebx, l.ecx, l.edx};
    std::memcpy(brand + 16 * i, part, sizeof part);
  }
  report.brand = brand;
  report.brand.erase(0, report.brand.find_first_not_of(' '));
  report.brand.erase(report.brand.find_last_not_of(' ') + 1);

  const uint32_t eax = leaf_of(raw, 1).eax;
  const uint32_t base_family = eax >> 8 & 0xF, base_model = eax >> 4 & 0xF;
  const bool extended_model = base_family == 0xF || base_family == 6;
  report.family = base_family == 0xF ? base_family + (eax >> 20 & 0xFF) : base_family;
  report.model = extended_model ? (eax >> 16 & 0xF) << 4 | base_model : base_model;
  report.stepping = eax & 0xF;
}

void describe_uarch(CpuReport& report) {
  if (report.vendor != "AuthenticAMD" && report.vendor != "HygonGenuine") return;
  for (const ZenModels& models : kZenModels) {
    if (report.family != models.family) continue;
    if (report.model < models.first_model || report.model > models.last_model) continue;
    report.uarch = models.uarch;
    report.tuning = models.tuning;
    return;
  }
}

// Why this machine cannot run a tier; empty if it can.
std::string why_not(const RawCpu& raw, const CpuReport& report, const TierInfo& tier) {
  if (tier.features.empty()) return {};
  for (const CpuFeature feature : tier.features) {
    const CpuidBit bit = cpuid_bit(feature);
    if (has(raw, bit)) continue;
    const std::string who = report.uarch == "unknown" ? report.vendor : formatted("Zen {}", report.uarch.back());
    return formatted("the CPU has no {} ({}, family {:02X}h model {:02X}h)", bit.name, who, report.family,
                     report.model);
  }
  if (!has(raw, kOsxsave)) return "the operating system does not enable XSAVE (CR4.OSXSAVE = 0)";
  if ((raw.xcr0 & tier.xcr0) != tier.xcr0) {
    return formatted("the operating system does not enable {} state (XCR0 = {:#x})", tier.state, raw.xcr0);
  }
  return {};
}

// The deterministic cache parameters: leaf 8000001Dh on AMD, which needs TopologyExtensions, or leaf 4 elsewhere.
CacheBytes caches_of_topology(const RawCpu& raw, uint32_t leaf) {
  CacheBytes caches;
  for (uint32_t i = 0; i < 8; ++i) {
    const CpuidLeaf l = leaf_of(raw, leaf, i);
    const uint32_t type = l.eax & 0x1F, level = l.eax >> 5 & 7;  // type: 0 none, 1 data, 2 instruction, 3 unified
    if (type == 0) break;
    if (type == 2) continue;
    const uint64_t line = (l.ebx & 0xFFF) + 1, partitions = (l.ebx >> 12 & 0x3FF) + 1, ways = (l.ebx >> 22) + 1;
    const uint64_t bytes = line * partitions * ways * (uint64_t{l.ecx} + 1);
    if (level == 1) caches.l1d = bytes;
    if (level == 2) caches.l2 = bytes;
    if (level == 3) caches.l3 = bytes;
  }
  return caches;
}

CacheBytes caches_of_legacy_leaves(const RawCpu& raw) {
  const CpuidLeaf l1 = leaf_of(raw, 0x80000005), l2 = leaf_of(raw, 0x80000006);
  // L3 comes as the sum over the package, in halves of a MiB; a core reaches one CCX of it.
  const uint64_t package_l3 = uint64_t{l2.edx >> 18} << 19;
  return {uint64_t{l1.ecx >> 24} << 10, uint64_t{l2.ecx >> 16} << 10, std::min(package_l3, kFallbackCaches.l3)};
}

void describe_caches(const RawCpu& raw, CpuReport& report) {
  const bool amd = report.vendor == "AuthenticAMD" || report.vendor == "HygonGenuine";
  struct Source {
    const char* name;
    CacheBytes caches;
  };
  const Source sources[] = {{"cpuid", caches_of_topology(raw, amd ? 0x8000001D : 4)},
                            {"cpuid", caches_of_legacy_leaves(raw)},
                            {"fallback", kFallbackCaches}};
  for (const Source& source : sources) {
    if (!complete(source.caches)) continue;
    report.l1d_bytes = source.caches.l1d;
    report.l2_bytes = source.caches.l2;
    report.l3_bytes = source.caches.l3;
    report.cache_source = source.name;
    return;
  }
}

}  // namespace

bool CpuReport::runs(zenwoq_tier tier) const {
  for (std::size_t i = 0; i < tiers().size(); ++i) {
    if (tiers()[i].tier == tier) return why_not[i].empty();
  }
  return false;
}

CpuReport describe_cpu(const RawCpu& raw) {
  CpuReport report;
  describe_identity(raw, report);
  describe_uarch(report);
  for (const TierInfo& tier : tiers()) report.why_not.push_back(why_not(raw, report, tier));
  describe_caches(raw, report);
  report.usable_cpus = std::max(raw.usable_cpus, 1u);
  return report;
}

}  // namespace zenwoq
