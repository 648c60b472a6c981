// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Reads the raw facts from the machine: CPUID, XGETBV, the affinity mask and the cgroup.
#include <cpuid.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
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

// Empty if there is no such file or reading fails, as it does in a group that is being removed.
std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();  // sets a bit where a streambuf's iterator would throw
  return text.str();
}

std::optional<uint64_t> number_of(std::string_view word) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  return error == std::errc() && end == word.data() + word.size() ? std::optional(number) : std::nullopt;
}

// The text up to the first of these characters, which goes with it.
std::string_view cut(std::string_view* text, std::string_view ends) {
  const std::string_view part = text->substr(0, text->find_first_of(ends));
  text->remove_prefix(std::min(part.size() + 1, text->size()));
  return part;
}

// CPUs that the quota of one group allows. v2 has quota and period, in microseconds, in one file ("150000 100000" is 2
// CPUs), v1 in two; "max", -1 and nonsense do not limit: 0.
unsigned quota_cpus(const std::string& group) {
  std::string text = text_of(group + "/cpu.max");
  if (text.empty()) text = text_of(group + "/cpu.cfs_quota_us") + text_of(group + "/cpu.cfs_period_us");
  std::string_view rest = text;
  const auto quota = number_of(cut(&rest, " \n")), period = number_of(cut(&rest, " \n"));
  if (quota.value_or(0) == 0 || period.value_or(0) == 0) return 0;
  return static_cast<unsigned>(std::min<uint64_t>((*quota - 1) / *period + 1, 1u << 20));
}

unsigned smaller_limit(unsigned a, unsigned b) { return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b); }

// Of a group and of all above it. Where a container sees its own group as the root, the folders of a path that names
// the host's are missing, and the root's quota is the one.
unsigned limit_up_to(const std::string& root, std::string path) {
  unsigned limit = 0;
  while (true) {
    limit = smaller_limit(limit, quota_cpus(root + path));
    if (path.empty()) return limit;
    path.resize(path.rfind('/'));
  }
}

bool has_cpu(std::string_view controllers) {
  while (!controllers.empty()) {
    if (cut(&controllers, ",") == "cpu") return true;
  }
  return false;
}

}  // namespace

unsigned cgroup_cpu_limit(std::string_view membership, const std::string& mount) {
  unsigned limit = 0;
  while (!membership.empty()) {  // "0::/path" is of v2, "4:cpu,cpuacct:/path" of v1
    std::string_view path = cut(&membership, "\n");
    const std::string_view hierarchy = cut(&path, ":"), controllers = cut(&path, ":");
    if (path.empty() || path[0] != '/') continue;
    std::vector<std::string> roots;
    if (hierarchy == "0" && controllers.empty()) roots = {mount, mount + "/unified"};
    if (has_cpu(controllers)) roots = {mount + "/" + std::string(controllers), mount + "/cpu"};
    for (const std::string& root : roots) limit = smaller_limit(limit, limit_up_to(root, std::string(path)));
  }
  return limit;
}

RawCpu probe_cpu() {
  RawCpu raw;
  raw.leaves = read_leaves();
  raw.xcr0 = read_xcr0();
  raw.usable_cpus = smaller_limit(affinity_cpus(), cgroup_cpu_limit(text_of("/proc/self/cgroup"), "/sys/fs/cgroup"));
  return raw;
}

}  // namespace zenwoq
