// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What this CPU is, which tiers run on it and why not, its caches, and how many CPUs the process may use.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "jit/tier.h"

namespace zenwoq {

struct CpuidLeaf {
  uint32_t leaf, subleaf, eax, ebx, ecx, edx;
};

// The raw facts; a test writes its own.
struct RawCpu {
  std::vector<CpuidLeaf> leaves;  // a leaf that is not here reads as zeros
  uint64_t xcr0 = 0;              // 0 if the operating system does not enable XSAVE
  unsigned usable_cpus = 1;
};

struct CpuReport {
  std::string vendor, brand;
  std::string uarch = "unknown";  // "zen1".."zen5", or "unknown"
  uint32_t family = 0, model = 0, stepping = 0;
  std::vector<std::string> why_not;  // why this machine cannot run a tier, empty if it can; in the order of tiers()
  uint64_t l1d_bytes = 0, l2_bytes = 0, l3_bytes = 0;
  std::string cache_source;        // "cpuid" or "fallback"
  unsigned usable_cpus = 1;        // affinity mask and cgroup quota; at least 1
  std::string tuning = "generic";  // "zen4", "zen5" or "generic"

  bool runs(zenwoq_tier tier) const;  // the machine has the instructions and the operating system saves the registers
};

CpuReport describe_cpu(const RawCpu& raw);  // a pure function

// Reads CPUID, XGETBV, the calling thread's affinity mask and the cgroup. It prints nothing, whatever of /proc and /sys
// is missing (libcpuinfo does, so it is not asked; the tests compare with the kernel's own report).
RawCpu probe_cpu();

// CPUs that the cgroup quotas of this process and of every group above it allow, rounded up; 0 = no limit. membership
// is the text of /proc/self/cgroup, mount the folder where cgroups are mounted: the v2 tree, or a folder for each v1
// controller (and "unified" for v2).
unsigned cgroup_cpu_limit(std::string_view membership, const std::string& mount);

}  // namespace zenwoq
