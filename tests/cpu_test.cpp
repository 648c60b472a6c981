// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The CPU report, from made-up CPUID tables of CPUs and virtual machines, and compared with this machine's
// /proc/cpuinfo.
#include "src/cpu/cpu.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

namespace zenwoq {
namespace {

constexpr uint32_t kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;  // leaf 1 ecx
constexpr uint32_t kAvx2 = 1u << 5, kBmi2 = 1u << 8, kF = 1u << 16, kDq = 1u << 17;          // leaf 7 ebx
constexpr uint32_t kBw = 1u << 30, kVl = 1u << 31, kAvx512 = kF | kDq | kBw | kVl;           // leaf 7 ebx
constexpr uint32_t kBf16 = 1u << 5;                                                          // leaf 7.1 eax

uint32_t word(const char* text) {
  uint32_t value;
  std::memcpy(&value, text, sizeof value);
  return value;
}

CpuidLeaf vendor_leaf(const std::string& vendor) {
  return {0, 0, 0x10, word(vendor.data()), word(vendor.data() + 8), word(vendor.data() + 4)};
}

// The signature that leaf 1 has for families from 0Fh on.
uint32_t signature(uint32_t family, uint32_t model, uint32_t stepping) {
  return (family - 0xF) << 20 | (model >> 4) << 16 | 0xF00 | (model & 0xF) << 4 | stepping;
}

// An AMD CPU with AVX2, FMA, F16C and BMI2, all states enabled, and no cache information.
RawCpu amd(uint32_t family, uint32_t model, uint32_t stepping = 1) {
  RawCpu raw;
  raw.leaves = {vendor_leaf("AuthenticAMD"),
                {1, 0, signature(family, model, stepping), 0, kFma | kOsxsave | kAvx | kF16c, 0},
                {7, 0, 1, kAvx2 | kBmi2, 0, 0},
                {7, 1, 0, 0, 0, 0}};
  raw.xcr0 = 0x7;
  return raw;
}

CpuidLeaf& leaf(RawCpu& raw, uint32_t number, uint32_t subleaf = 0) {
  for (CpuidLeaf& l : raw.leaves) {
    if (l.leaf == number && l.subleaf == subleaf) return l;
  }
  raw.leaves.push_back({number, subleaf, 0, 0, 0, 0});
  return raw.leaves.back();
}

RawCpu amd_avx512(uint32_t family, uint32_t model) {
  RawCpu raw = amd(family, model);
  leaf(raw, 7).ebx |= kAvx512;
  leaf(raw, 7, 1).eax = kBf16;
  raw.xcr0 = 0xE7;
  return raw;
}

// Leaf 8000001Dh as on an EPYC 7003: L1D 32 KiB, L1I (here twice as large), L2 512 KiB, L3 32 MiB.
void add_topology(RawCpu& raw, uint32_t number) {
  raw.leaves.insert(raw.leaves.end(), {{number, 0, 0x121, 0x1C0003F, 0x3F, 0},
                                       {number, 1, 0x122, 0x1C0003F, 0x7F, 0},
                                       {number, 2, 0x143, 0x1C0003F, 0x3FF, 2},
                                       {number, 3, 0x4163, 0x3C0003F, 0x7FFF, 1}});
}

void add_legacy_caches(RawCpu& raw) {
  raw.leaves.push_back({0x80000005, 0, 0, 0, 0x20080140, 0x20080140});
  raw.leaves.push_back({0x80000006, 0, 0x48002200, 0x68004200, 0x02006140, 0x08009140});
}

constexpr zenwoq_tier kAvx2Tier = ZENWOQ_TIER_AVX2, kAvx512Tier = ZENWOQ_TIER_AVX512BF16;

// Why a machine does not run a tier.
std::string why_not(const CpuReport& report, zenwoq_tier tier) {
  for (size_t i = 0; i < tiers().size(); ++i) {
    if (tiers()[i].tier == tier) return report.why_not.at(i);
  }
  return "no such tier";
}
std::string why_not_avx512(const RawCpu& raw) { return why_not(describe_cpu(raw), kAvx512Tier); }

TEST(Cpu, UarchOfEveryZen) {
  const struct {
    uint32_t family, model;
    const char *uarch, *tuning;
  } cases[] = {{0x17, 0x01, "zen1", "zen2"},       {0x17, 0x08, "zen1", "zen2"},      {0x17, 0x11, "zen1", "zen2"},
               {0x17, 0x31, "zen2", "zen2"},       {0x17, 0x60, "zen2", "zen2"},      {0x17, 0x71, "zen2", "zen2"},
               {0x17, 0x90, "zen2", "zen2"},       {0x17, 0xA0, "zen2", "zen2"},      {0x19, 0x01, "zen3", "zen3"},
               {0x19, 0x21, "zen3", "zen3"},       {0x19, 0x44, "zen3", "zen3"},      {0x19, 0x50, "zen3", "zen3"},
               {0x19, 0x11, "zen4", "zen4"},       {0x19, 0x18, "zen4", "zen4"},      {0x19, 0x61, "zen4", "zen4"},
               {0x19, 0x74, "zen4", "zen4"},       {0x19, 0xA0, "zen4", "zen4"},      {0x1A, 0x02, "zen5", "zen5"},
               {0x1A, 0x11, "zen5", "zen5"},       {0x1A, 0x24, "zen5", "zen4"},      {0x1A, 0x44, "zen5", "zen5"},
               {0x1A, 0x60, "zen5", "zen4"},       {0x1A, 0x70, "zen5", "zen5"},      {0x1A, 0x50, "unknown", "zen5"},
               {0x1B, 0x00, "unknown", "generic"}, {0x15, 0x70, "unknown", "generic"}};
  for (const auto& c : cases) {
    const CpuReport report = describe_cpu(amd(c.family, c.model));
    EXPECT_EQ(report.family, c.family);
    EXPECT_EQ(report.model, c.model);
    EXPECT_EQ(report.uarch, c.uarch) << std::hex << c.family << " " << c.model;
    EXPECT_EQ(report.tuning, c.tuning) << std::hex << c.family << " " << c.model;
  }
}

TEST(Cpu, IdentityAndBrand) {
  RawCpu raw = amd(0x19, 0x01, 2);
  raw.leaves.push_back({0x80000002, 0, word("  AM"), word("D EP"), word("YC 7"), word("B13 ")});
  raw.leaves.push_back({0x80000003, 0, word("64-C"), word("ore "), 0x20202020, 0x20202020});
  raw.usable_cpus = 0;
  const CpuReport report = describe_cpu(raw);
  EXPECT_EQ(report.vendor, "AuthenticAMD");
  EXPECT_EQ(report.brand, "AMD EPYC 7B13 64-Core");
  EXPECT_EQ(report.stepping, 2u);
  EXPECT_EQ(report.usable_cpus, 1u) << "at least 1";
}

TEST(Cpu, Zen2And3HaveNoBf16) {
  const CpuReport zen2 = describe_cpu(amd(0x17, 0x31));
  EXPECT_TRUE(zen2.runs(kAvx2Tier));
  EXPECT_FALSE(zen2.runs(kAvx512Tier));
  EXPECT_EQ(why_not(zen2, kAvx512Tier), "the CPU has no AVX-512 BF16 (Zen 2, family 17h model 31h)");
  EXPECT_EQ(why_not_avx512(amd(0x19, 0x01)), "the CPU has no AVX-512 BF16 (Zen 3, family 19h model 01h)");
}

TEST(Cpu, Zen4And4cAnd5Run) {
  for (const RawCpu& raw : {amd_avx512(0x19, 0x11), amd_avx512(0x19, 0xA0), amd_avx512(0x1A, 0x02)}) {
    const CpuReport report = describe_cpu(raw);
    EXPECT_TRUE(report.runs(kAvx512Tier) && report.runs(kAvx2Tier));
    EXPECT_EQ(why_not(report, kAvx512Tier), "");
  }
}

TEST(Cpu, SapphireRapidsRunsWithGenericTuning) {
  RawCpu raw = amd_avx512(0x1A, 0x02);
  leaf(raw, 0) = vendor_leaf("GenuineIntel");
  leaf(raw, 1).eax = 0x806F8;
  add_topology(raw, 4);
  const CpuReport report = describe_cpu(raw);
  EXPECT_EQ(report.vendor, "GenuineIntel");
  EXPECT_EQ(report.family, 6u);
  EXPECT_EQ(report.model, 0x8Fu);
  EXPECT_EQ(report.stepping, 8u);
  EXPECT_EQ(report.uarch, "unknown");
  EXPECT_EQ(report.tuning, "generic");
  EXPECT_TRUE(report.runs(kAvx512Tier));
  EXPECT_EQ(report.cache_source, "cpuid");
  EXPECT_EQ(report.l3_bytes, 32u << 20);
  leaf(raw, 7, 1).eax = 0;
  EXPECT_EQ(why_not_avx512(raw), "the CPU has no AVX-512 BF16 (GenuineIntel, family 06h model 8Fh)");
}

TEST(Cpu, HygonIsZen1) {
  RawCpu raw = amd(0x18, 0x00);
  leaf(raw, 0) = vendor_leaf("HygonGenuine");
  EXPECT_EQ(describe_cpu(raw).uarch, "zen1");
}

TEST(Cpu, EveryNeededBitIsNeeded) {
  const struct {
    uint32_t bit;
    const char* name;
  } bits[] = {{kF, "AVX-512 F"}, {kBw, "AVX-512 BW"}, {kDq, "AVX-512 DQ"}, {kVl, "AVX-512 VL"}, {kBmi2, "BMI2"}};
  for (const auto& [bit, name] : bits) {
    RawCpu raw = amd_avx512(0x1A, 0x02);
    leaf(raw, 7).ebx &= ~bit;
    EXPECT_EQ(describe_cpu(raw).runs(kAvx2Tier), bit != kBmi2);
    EXPECT_FALSE(describe_cpu(raw).runs(kAvx512Tier));
    EXPECT_EQ(why_not_avx512(raw), std::string("the CPU has no ") + name + " (Zen 5, family 1Ah model 02h)");
  }
  for (uint32_t bit : {kFma, kAvx, kF16c, kOsxsave}) {
    RawCpu raw = amd(0x19, 0x01);
    leaf(raw, 1).ecx &= ~bit;
    EXPECT_FALSE(describe_cpu(raw).runs(kAvx2Tier)) << std::hex << bit;
  }
  RawCpu raw = amd(0x19, 0x01);
  leaf(raw, 7).ebx &= ~kAvx2;
  EXPECT_FALSE(describe_cpu(raw).runs(kAvx2Tier));
}

TEST(Cpu, EachTierHasItsOwnReason) {
  RawCpu raw = amd(0x17, 0x31);
  leaf(raw, 7).ebx &= ~kAvx2;
  EXPECT_EQ(why_not(describe_cpu(raw), kAvx2Tier), "the CPU has no AVX2 (Zen 2, family 17h model 31h)");
  EXPECT_EQ(why_not(describe_cpu(raw), kAvx512Tier), "the CPU has no AVX-512 BF16 (Zen 2, family 17h model 31h)");
  EXPECT_EQ(why_not(describe_cpu(raw), ZENWOQ_TIER_REFERENCE), "");
  raw = amd(0x19, 0x01);
  raw.xcr0 = 0x3;
  EXPECT_EQ(why_not(describe_cpu(raw), kAvx2Tier), "the operating system does not enable YMM state (XCR0 = 0x3)");
}

TEST(Cpu, TiersHaveNamesThatParse) {
  EXPECT_EQ(tiers().back().tier, ZENWOQ_TIER_REFERENCE) << "the last resort";
  for (const TierInfo& tier : tiers()) {
    EXPECT_EQ(find_tier(std::string_view(tier.name))->tier, tier.tier);
    EXPECT_EQ(find_tier(tier.tier)->name, std::string(tier.name));
  }
  EXPECT_EQ(find_tier(ZENWOQ_TIER_BEST), nullptr);
  EXPECT_EQ(find_tier("best"), nullptr);
  EXPECT_EQ(tier_names(), "reference, avx2 or avx512bf16");
}

TEST(Cpu, EveryNeededStateIsNeeded) {
  for (uint64_t state : {1, 2, 5, 6, 7}) {
    RawCpu raw = amd_avx512(0x1A, 0x02);
    raw.xcr0 &= ~(1ull << state);
    const CpuReport report = describe_cpu(raw);
    EXPECT_EQ(report.runs(kAvx512Tier), false) << state;
    EXPECT_EQ(report.runs(kAvx2Tier), state > 2) << state;
  }
  RawCpu raw = amd_avx512(0x1A, 0x02);
  raw.xcr0 = 0x7;
  EXPECT_EQ(why_not_avx512(raw), "the operating system does not enable ZMM state (XCR0 = 0x7)");
}

TEST(Cpu, NoOsxsave) {
  RawCpu raw = amd_avx512(0x1A, 0x02);
  leaf(raw, 1).ecx &= ~kOsxsave;
  raw.xcr0 = 0;
  const CpuReport report = describe_cpu(raw);
  EXPECT_FALSE(report.runs(kAvx512Tier));
  EXPECT_FALSE(report.runs(kAvx2Tier));
  EXPECT_EQ(why_not(report, kAvx512Tier), "the operating system does not enable XSAVE (CR4.OSXSAVE = 0)");
}

TEST(Cpu, CacheSourcesInOrder) {
  RawCpu raw = amd(0x19, 0x01);
  auto expect = [&raw](const char* source, uint64_t l1d, uint64_t l2, uint64_t l3) {
    const CpuReport report = describe_cpu(raw);
    EXPECT_EQ(report.cache_source, source);
    EXPECT_EQ(report.l1d_bytes, l1d);
    EXPECT_EQ(report.l2_bytes, l2);
    EXPECT_EQ(report.l3_bytes, l3);
  };
  expect("fallback", 32 << 10, 1 << 20, 32 << 20);
  add_legacy_caches(raw);  // a VM without TopologyExtensions; its 256 MiB of L3 are of the package, not of a CCX
  expect("cpuid", 32 << 10, 512 << 10, 32 << 20);
  leaf(raw, 0x80000006).edx = 16 << 18;
  expect("cpuid", 32 << 10, 512 << 10, 8 << 20);
  add_topology(raw, 0x8000001D);
  expect("cpuid", 32 << 10, 512 << 10, 32 << 20);
}

TEST(Cpu, EmptyTableIsNoCrash) {
  const CpuReport report = describe_cpu({});
  EXPECT_FALSE(report.runs(kAvx2Tier) || report.runs(kAvx512Tier));
  EXPECT_EQ(report.cache_source, "fallback");
}

class Cgroup : public testing::Test {
 protected:
  Cgroup() {
    std::string name = testing::TempDir() + "/zenwoq-cgroup-XXXXXX";
    root_ = mkdtemp(name.data());
  }
  ~Cgroup() override { std::filesystem::remove_all(root_); }
  void write(const std::string& group, const char* file, const std::string& text) {
    std::filesystem::create_directories(root_ + group);
    std::ofstream(root_ + group + "/" + file) << text;
  }
  void write(const std::string& group, const std::string& text) { write(group, "cpu.max", text); }
  void write_v1(const std::string& group, const std::string& quota) {
    write(group, "cpu.cfs_quota_us", quota + "\n");
    write(group, "cpu.cfs_period_us", "100000\n");
  }
  std::string root_;
};

TEST_F(Cgroup, SmallestQuotaOnTheWayUp) {
  const char* membership = "1:name=systemd:/else\n0::/pod/box\n";
  EXPECT_EQ(cgroup_cpu_limit(membership, root_), 0u) << "no files";
  write("/pod/box", "max 100000\n");
  EXPECT_EQ(cgroup_cpu_limit(membership, root_), 0u);
  write("/pod", "450000 100000\n");
  EXPECT_EQ(cgroup_cpu_limit(membership, root_), 5u) << "rounded up";
  write("/pod/box", "200000 100000\n");
  EXPECT_EQ(cgroup_cpu_limit(membership, root_), 2u);
  write("", "1000 100000\n");
  EXPECT_EQ(cgroup_cpu_limit(membership, root_), 1u);
  EXPECT_EQ(cgroup_cpu_limit("0::/", root_), 1u) << "inside a container the path is the root";
}

TEST_F(Cgroup, Version1) {
  const char* membership = "12:cpuset:/pod\n4:cpu,cpuacct:/pod/box\n3:memory:/pod/box\n1:name=systemd:/pod/box\n0::/\n";
  EXPECT_EQ(cgroup_cpu_limit(membership, root_), 0u) << "no files";
  write_v1("/cpu,cpuacct/pod/box", "-1");
  write_v1("/cpuset/pod", "100000");
  write_v1("/memory/pod/box", "100000");
  EXPECT_EQ(cgroup_cpu_limit(membership, root_), 0u) << "-1 is no limit, other controllers have none";
  write_v1("/cpu,cpuacct/pod", "650000");
  EXPECT_EQ(cgroup_cpu_limit(membership, root_), 7u);
  write_v1("/cpu,cpuacct/pod/box", "300000");
  EXPECT_EQ(cgroup_cpu_limit(membership, root_), 3u);
  write_v1("/cpu,cpuacct", "200000");
  EXPECT_EQ(cgroup_cpu_limit("4:cpu,cpuacct:/docker/not/here\n", root_), 2u)
      << "a container that sees its group as the root, and the path of the host";
  std::filesystem::rename(root_ + "/cpu,cpuacct", root_ + "/cpu");
  EXPECT_EQ(cgroup_cpu_limit("4:cpuacct,cpu:/pod/box\n", root_), 2u) << "mounted under its short name";
  EXPECT_EQ(cgroup_cpu_limit("4:cpuacct,cpuset:/pod/box\n0::/pod\n", root_), 0u);
}

TEST_F(Cgroup, HybridTakesTheSmallerOfBoth) {
  const char* membership = "4:cpu,cpuacct:/pod\n0::/pod\n";
  write_v1("/cpu,cpuacct/pod", "400000");
  EXPECT_EQ(cgroup_cpu_limit(membership, root_), 4u);
  write("/unified/pod", "250000 100000\n");
  EXPECT_EQ(cgroup_cpu_limit(membership, root_), 3u);
  write_v1("/cpu,cpuacct/pod", "100000");
  EXPECT_EQ(cgroup_cpu_limit(membership, root_), 1u);
}

TEST_F(Cgroup, NonsenseDoesNotLimit) {
  for (const char* text : {"", "max", "7", "7 ", "0 100000", "100000 0", "-1 100000", "x y", "1e5 100000"}) {
    write("", text);
    EXPECT_EQ(cgroup_cpu_limit("0::/", root_), 0u) << text;
  }
  write("", "100000 100000");
  for (const char* membership : {"", "1:cpu:/", "10::/pod", "0::", "\n\n", "::", "cpu"}) {
    EXPECT_EQ(cgroup_cpu_limit(membership, root_), 0u) << membership;
  }
  std::filesystem::remove(root_ + "/cpu.max");
  std::filesystem::create_directory(root_ + "/cpu.max");
  EXPECT_EQ(cgroup_cpu_limit("0::/", root_), 0u) << "a file that cannot be read";
}

// The first processor's lines of /proc/cpuinfo.
std::map<std::string, std::string> proc_cpuinfo() {
  std::map<std::string, std::string> fields;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line) && !line.empty();) {
    const size_t colon = line.find(':');
    const std::string key = line.substr(0, line.find_last_not_of("\t ", colon - 1) + 1);
    fields[key] = colon + 2 <= line.size() ? line.substr(colon + 2) : "";
  }
  return fields;
}

TEST(Cpu, ThisMachineAgreesWithTheKernel) {
  const CpuReport report = describe_cpu(probe_cpu());
  EXPECT_GE(report.usable_cpus, 1u);
  EXPECT_LE(report.usable_cpus, static_cast<unsigned>(sysconf(_SC_NPROCESSORS_CONF)));
  EXPECT_GT(report.l1d_bytes, 0u);
  EXPECT_GT(report.l2_bytes, report.l1d_bytes);
  EXPECT_GT(report.l3_bytes, 0u);
  EXPECT_EQ(why_not(report, kAvx512Tier).empty(), report.runs(kAvx512Tier));
  std::map<std::string, std::string> proc = proc_cpuinfo();
  if (proc["flags"].empty()) GTEST_SKIP() << "no /proc/cpuinfo";
  EXPECT_EQ(report.vendor, proc["vendor_id"]);
  EXPECT_EQ(report.brand, proc["model name"]);
  EXPECT_EQ(std::to_string(report.family), proc["cpu family"]);
  EXPECT_EQ(std::to_string(report.model), proc["model"]);
  EXPECT_EQ(std::to_string(report.stepping), proc["stepping"]);
  auto all_flags = [&](const char* wanted) {
    bool all = true;
    std::istringstream words(wanted);
    for (std::string word; words >> word;) {
      all = all && (" " + proc["flags"] + " ").find(" " + word + " ") != std::string::npos;
    }
    return all;
  };
  EXPECT_EQ(report.runs(kAvx2Tier), all_flags("avx avx2 fma f16c bmi2"));
  EXPECT_EQ(report.runs(kAvx512Tier), all_flags("avx512f avx512bw avx512dq avx512vl avx512_bf16 bmi2"));
}

// A cache of the first CPU as the kernel reports it: 0 if it does not.
uint64_t sysfs_cache_bytes(int level) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index);
    auto field = [&folder](const char* name) {
      std::string word;
      std::ifstream(folder + "/" + name) >> word;
      return word;
    };
    if (field("level") == std::to_string(level) && field("type") != "Instruction") {
      return std::stoull(field("size")) << 10;  // "32K"
    }
  }
  return 0;
}

TEST(Cpu, ThisMachineAgreesWithTheKernelOnCaches) {
  const CpuReport report = describe_cpu(probe_cpu());
  const uint64_t caches[] = {sysfs_cache_bytes(1), sysfs_cache_bytes(2), sysfs_cache_bytes(3)};
  if (caches[0] == 0 || caches[1] == 0 || caches[2] == 0) GTEST_SKIP() << "/sys does not tell all caches";
  EXPECT_EQ(report.l1d_bytes, caches[0]);
  EXPECT_EQ(report.l2_bytes, caches[1]);
  EXPECT_EQ(report.l3_bytes, caches[2]);
  EXPECT_EQ(report.cache_source, "cpuid");
}

}  // namespace
}  // namespace zenwoq
