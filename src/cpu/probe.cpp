// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Reads the raw facts from the machine: CPUID, XGETBV, libcpuinfo, the affinity mask and the cgroup.
#include <cpuid.h>
#include <cpuinfo.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <string>

#include "src/cpu/cpu.h"

namespace zenwoq {
namespace {

std::vector<CpuidLeaf> read_leaves() {
  std::vector<CpuidLeaf> leaves;
  auto read = [&](uint32_t leaf, uint32_t subleaf) {
    CpuidLeaf l = {leaf, subleaf, 0, 0, 0, 0};
    if (__get_cpuid_count(leaf, subleaf, &l.eax, &l.ebx, &l.ecx, &l.edx)) leaves.push_back(l);
    return l;
  };
  read(0, 0);
  read(1, 0);
  if (read(7, 0).eax >= 1) read(7, 1);  // eax: the last subleaf
  for (uint32_t leaf : {0x80000002, 0x80000003, 0x80000004, 0x80000005, 0x80000006}) read(leaf, 0);
  for (uint32_t i = 0; i < 8; ++i) {
    read(4, i);
    read(0x8000001D, i);
  }
  return leaves;
}

uint64_t read_xcr0() {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE)) return 0;  // XGETBV would be illegal
  __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return uint64_t{edx} << 32 | eax;
}

bool library_has(CpuFeature feature) {
  switch (feature) {
    case CpuFeature::avx: return cpuinfo_has_x86_avx();
    case CpuFeature::fma: return cpuinfo_has_x86_fma3();
    case CpuFeature::f16c: return cpuinfo_has_x86_f16c();
    case CpuFeature::avx2: return cpuinfo_has_x86_avx2();
    case CpuFeature::bmi2: return cpuinfo_has_x86_bmi2();
    case CpuFeature::avx512f: return cpuinfo_has_x86_avx512f();
    case CpuFeature::avx512dq: return cpuinfo_has_x86_avx512dq();
    case CpuFeature::avx512bw: return cpuinfo_has_x86_avx512bw();
    case CpuFeature::avx512vl: return cpuinfo_has_x86_avx512vl();
    case CpuFeature::avx512bf16: return cpuinfo_has_x86_avx512bf16();
  }
  return false;
}

LibraryFacts ask_library() {
  LibraryFacts facts;
  if (!cpuinfo_initialize()) return facts;
  facts.initialized = true;
  for (size_t i = 0; i < kCpuFeatures; ++i) facts.features[i] = library_has(static_cast<CpuFeature>(i));
  const cpuinfo_processor* processor = cpuinfo_get_processors_count() > 0 ? cpuinfo_get_processor(0) : nullptr;
  if (processor == nullptr) return facts;
  auto bytes = [](const cpuinfo_cache* cache) { return cache == nullptr ? uint64_t{0} : uint64_t{cache->size}; };
  facts.caches = {bytes(processor->cache.l1d), bytes(processor->cache.l2), bytes(processor->cache.l3)};
  return facts;
}

unsigned affinity_cpus() {
  // The kernel refuses a mask smaller than its own, so the mask grows from the size of cpu_set_t.
  for (size_t sets = 1; sets <= 64; sets *= 2) {
    std::vector<cpu_set_t> mask(sets);
    if (sched_getaffinity(0, sets * sizeof(cpu_set_t), mask.data()) == 0) {
      return static_cast<unsigned>(CPU_COUNT_S(sets * sizeof(cpu_set_t), mask.data()));
    }
    if (errno != EINVAL) break;
  }
  return 1;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// "150000 100000" (quota and period in microseconds) allows 2 CPUs; "max 100000" and nonsense do not limit.
unsigned quota_cpus(const std::string& cpu_max) {
  uint64_t quota = 0, period = 0;
  const char* end = cpu_max.data() + cpu_max.size();
  const auto first = std::from_chars(cpu_max.data(), end, quota);
  if (first.ec != std::errc() || first.ptr == end) return 0;
  const auto second = std::from_chars(first.ptr + 1, end, period);
  if (second.ec != std::errc() || quota == 0 || period == 0) return 0;
  return static_cast<unsigned>(std::min<uint64_t>((quota - 1) / period + 1, 1u << 20));
}

}  // namespace

unsigned cgroup_cpu_limit(std::string_view membership, const std::string& mount) {
  const size_t line = membership.rfind("0::/", 0) == 0 ? 0 : membership.find("\n0::/");
  if (line == std::string_view::npos) return 0;
  const std::string_view rest = membership.substr(membership.find('/', line));
  std::string path(rest.substr(0, rest.find('\n')));
  unsigned limit = 0;
  while (true) {  // every group up to the root has its own quota
    const unsigned cpus = quota_cpus(text_of(mount + path + "/cpu.max"));
    if (cpus != 0) limit = limit == 0 ? cpus : std::min(limit, cpus);
    if (path.empty()) return limit;
    path.resize(path.rfind('/'));
  }
}

RawCpu probe_cpu() {
  RawCpu raw;
  raw.leaves = read_leaves();
  raw.xcr0 = read_xcr0();
  raw.library = ask_library();
  raw.usable_cpus = affinity_cpus();
  const unsigned limit = cgroup_cpu_limit(text_of("/proc/self/cgroup"), "/sys/fs/cgroup");
  if (limit != 0) raw.usable_cpus = std::min(raw.usable_cpus, limit);
  return raw;
}

}  // namespace zenwoq
