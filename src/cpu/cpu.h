// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What this CPU is, which tiers run on it and why not, its caches, and how many CPUs the process may use.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "jit/tier.h"

namespace zenwoq {

struct CpuidLeaf {
  uint32_t leaf, subleaf, eax, ebx, ecx, edx;
};

struct CacheBytes {
  uint64_t l1d = 0, l2 = 0, l3 = 0;  // per core, per core, per CCX; 0 = not known
};

// What libcpuinfo says. A feature counts only if it and CPUID agree; without it CPUID alone decides.
struct LibraryFacts {
  bool initialized = false;
  std::bitset<kCpuFeatures> features;  // by CpuFeature
  CacheBytes caches;
};

// The raw facts; a test writes its own.
struct RawCpu {
  std::vector<CpuidLeaf> leaves;  // a leaf that is not here reads as zeros
  uint64_t xcr0 = 0;              // 0 if the operating system does not enable XSAVE
  LibraryFacts library;
  unsigned usable_cpus = 1;
};

struct CpuReport {
  std::string vendor, brand;
  std::string uarch = "unknown";  // "zen1".."zen5", or "unknown"
  uint32_t family = 0, model = 0, stepping = 0;
  std::vector<std::string> why_not;  // why this machine cannot run a tier, empty if it can; in the order of tiers()
  uint64_t l1d_bytes = 0, l2_bytes = 0, l3_bytes = 0;
  std::string cache_source;        // "cpuinfo", "cpuid" or "fallback"
  unsigned usable_cpus = 1;        // affinity mask and cgroup v2 quota; at least 1
  std::string tuning = "generic";  // "zen4", "zen5" or "generic"

  bool runs(zenwoq_tier tier) const;  // the machine has the instructions and the operating system saves the registers
};

CpuReport describe_cpu(const RawCpu& raw);  // a pure function
RawCpu probe_cpu();                         // reads CPUID, XGETBV, libcpuinfo, the affinity mask and the cgroup

// CPUs that the cgroup v2 quotas above this process allow, rounded up; 0 = no limit. membership is the text of
// /proc/self/cgroup, mount the folder that the cgroup v2 tree is mounted on.
unsigned cgroup_cpu_limit(std::string_view membership, const std::string& mount);

}  // namespace zenwoq
