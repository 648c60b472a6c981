// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// What others see of generated code: lines of ZENWOQ_VERBOSE, files of ZENWOQ_PERF (and what these must never touch),
// and backtraces through kernels.
#include <execinfo.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "src/system/log.h"
#include "src/system/profile.h"
#include "tests/support/forked.h"
#include "tools/api_handles.h"

namespace zenwoq::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::MatchesRegex;

// A variable of the environment for the length of a test.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) { setenv(name, value.c_str(), 1); }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* const name_;
};

// A layer of 64 x 64 and its first kernel.
struct Layer {
  explicit Layer(zenwoq_log_fn log = nullptr) {
    zenwoq_context_options options;
    zenwoq_context_options_init(&options);
    options.threads = 1;
    options.log = log;
    context = tools::make_context_from(options);
    const std::vector<std::uint8_t> codes(64 * 32, 0x9A);
    const std::vector<float> scales(64 * 2, 0.25f);
    zenwoq_weight_desc desc;
    zenwoq_weight_desc_init(&desc);
    desc.n = desc.k = 64, desc.group_size = 32, desc.scale_type = ZENWOQ_F32;
    zenwoq_weight_source source;
    zenwoq_weight_source_init(&source);
    source.codes = codes.data(), source.codes_bytes = codes.size();
    source.scales = scales.data(), source.scales_bytes = scales.size() * sizeof(float);
    weight = tools::make_weight(context.get(), desc, source);
    linear = tools::make_linear(context.get(), weight.get());
  }

  zenwoq_kernel_info kernel(std::size_t m) const {
    zenwoq_kernel_info info;
    zenwoq_kernel_info_init(&info);
    std::size_t count = 0;
    tools::require(zenwoq_linear_kernel(linear.get(), m, 0, &count, &info));
    return info;
  }

  zenwoq_status run(std::size_t m) const {
    const std::vector<std::uint16_t> x(m * 64, 0x3F80);
    std::vector<float> y(m * 64);
    zenwoq_run_args args;
    zenwoq_run_args_init(&args);
    args.m = m, args.x = x.data(), args.x_bytes = x.size() * 2, args.y = y.data(), args.y_bytes = y.size() * 4;
    const zenwoq_status status = zenwoq_linear_run(linear.get(), &args);
    return std::all_of(y.begin(), y.end(), [](float v) { return v == 24.0f; }) ? status : ZENWOQ_ERROR_INTERNAL;
  }

  tools::ContextHandle context;
  tools::WeightHandle weight;
  tools::LinearHandle linear;
};

bool generates() { return Layer().kernel(1).address != nullptr; }

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// ---- ZENWOQ_VERBOSE

// What a context, a run and an error write to stderr.
std::string lines_of(const char* level, zenwoq_log_fn log = nullptr) {
  const Variable verbose("ZENWOQ_VERBOSE", level);
  testing::internal::CaptureStderr();
  {
    const Layer layer(log);
    EXPECT_EQ(layer.run(2), ZENWOQ_OK);
    EXPECT_EQ(zenwoq_linear_run(layer.linear.get(), nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT);
  }
  return testing::internal::GetCapturedStderr();
}

bool best_tier_runs() {
  zenwoq_cpu_info info;
  zenwoq_cpu_info_init(&info);
  tools::require(zenwoq_context_cpu_info(Layer().context.get(), &info));
  return info.tier_reason[0] == '\0';
}

// False: this system has no PR_SET_MDWE (Linux 6.3).
bool forbid_executable_memory() {
  constexpr int kSetMdwe = 65, kRefuseExecGain = 1;  // for anonymous pages
  const rlimit limit{1 << 20, RLIM_INFINITY};        // for those of a file, which might have to be larger
  return setrlimit(RLIMIT_FSIZE, &limit) == 0 && prctl(kSetMdwe, kRefuseExecGain, 0, 0, 0) == 0;
}

// What makes runs slower than they could be, unless somebody asked for it.
TEST(Verbose, ASlowerTierIsAWarning) {
  const std::string warning = "zenwoq: warn: tier reference";
  {
    const Variable tier("ZENWOQ_TIER", "reference");
    EXPECT_THAT(lines_of("warn"), testing::Not(HasSubstr(warning)));
  }
  EXPECT_EQ(exit_of_child([&] {
              if (!forbid_executable_memory()) return true;
              EXPECT_THAT(lines_of("warn"), HasSubstr(warning));
              return !testing::Test::HasFailure();
            }),
            0);
}

TEST(Verbose, ALineAnEventUpToTheLevel) {
  const std::string error = "zenwoq: error: ZENWOQ_ERROR_INVALID_ARGUMENT: zenwoq_run_args is NULL\n";
  EXPECT_EQ(lines_of(""), "");
  EXPECT_EQ(lines_of("error"), error);
  if (best_tier_runs()) EXPECT_EQ(lines_of("warn"), error);
  const std::string info = lines_of("info");
  EXPECT_THAT(info, HasSubstr(best_tier_runs() ? "zenwoq: info: tier " : "zenwoq: warn: tier "));
  EXPECT_THAT(info, HasSubstr(error));
  EXPECT_THAT(info, testing::Not(HasSubstr("dispatch")));
  const std::string all = lines_of("dispatch");
  EXPECT_THAT(all, HasSubstr("zenwoq: dispatch: run m=2 n=64 k=64 threads=1 kernels="));
  if (generates()) {
    EXPECT_THAT(all, HasSubstr("kernels=gemm_bf16_"));
    EXPECT_THAT(info, HasSubstr("zenwoq: info: generated gemm_bf16_"));
  }
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), generates() ? 4 : 3);
}

TEST(Verbose, ALogFunctionKeepsStderrSilent) {
  EXPECT_EQ(lines_of("info", [](void*, const char*) {}), "");
}

// Other threads of a program may change the environment while a call fails.
TEST(Verbose, AFailureDoesNotReadTheEnvironment) {
  testing::internal::CaptureStderr();
  const Layer layer;
  const Variable verbose("ZENWOQ_VERBOSE", "error");
  EXPECT_EQ(zenwoq_linear_run(layer.linear.get(), nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// Runs in another process, started by the next test: no context has read the environment there.
TEST(Verbose, DISABLED_AFailureWithoutAContext) {
  EXPECT_EQ(zenwoq_code_table_fill(ZENWOQ_TABLE_UNSIGNED, nullptr), ZENWOQ_ERROR_INVALID_ARGUMENT);
}

TEST(Verbose, AFailureWithoutAContextIsALineToo) {
  const std::string command = "ZENWOQ_VERBOSE=error /proc/" + std::to_string(getpid()) +
                              "/exe --gtest_also_run_disabled_tests --gtest_filter=*AFailureWithoutAContext 2>&1";
  FILE* const output = popen(command.c_str(), "r");
  ASSERT_NE(output, nullptr);
  std::string text;
  for (int c; (c = std::fgetc(output)) != EOF;) text.push_back(static_cast<char>(c));
  EXPECT_EQ(pclose(output), 0);
  EXPECT_THAT(text, HasSubstr("zenwoq: error: ZENWOQ_ERROR_INVALID_ARGUMENT: "));
}

TEST(Verbose, AnUnknownLevelIsAnError) {
  const Variable verbose("ZENWOQ_VERBOSE", "2");
  zenwoq_context* context = nullptr;
  EXPECT_EQ(zenwoq_context_create(nullptr, &context), ZENWOQ_ERROR_INVALID_ARGUMENT);
  EXPECT_THAT(zenwoq_last_error(), HasSubstr("ZENWOQ_VERBOSE is \"2\": must be error, warn, info or dispatch"));
}

TEST(Verbose, ALineStaysOneLine) {
  testing::internal::CaptureStderr();
  print_line(LogLevel::warn, "two\nlines " + std::string(10000, 'x'));
  const std::string line = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  EXPECT_EQ(line.substr(0, 25), "zenwoq: warn: two lines x");
  EXPECT_EQ(line.size(), 4096u);
}

// ---- ZENWOQ_PERF

// A folder for a test, gone at its end.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/zenwoq-test-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

fs::path map_file() { return "/tmp/perf-" + std::to_string(getpid()) + ".map"; }

// Each in a child, as the file has the process's number.
template <typename Body>
void in_a_child(const char* perf, const Body& body) {
  EXPECT_EQ(exit_of_child([&] {
              const Variable variable("ZENWOQ_PERF", perf);
              body();
              fs::remove(map_file());
              return !testing::Test::HasFailure();
            }),
            0);
}

TEST(Perf, TheMapNamesKernels) {
  if (!generates()) GTEST_SKIP() << "nothing is generated on this CPU";
  in_a_child("map", [] {
    const Layer first, second;
    std::string expected;
    for (const Layer* layer : {&first, &second}) {
      const zenwoq_kernel_info info = layer->kernel(1);
      char line[200];
      std::snprintf(line, sizeof line, "%zx %zx %s\n", reinterpret_cast<std::size_t>(info.address), info.code_bytes,
                    info.name);
      expected += line;
    }
    EXPECT_EQ(text_of(map_file()), expected);
    struct stat made;
    EXPECT_EQ(stat(map_file().c_str(), &made), 0);
    EXPECT_EQ(made.st_mode & 07777, 0600u);
    zenwoq_cpu_info cpu;
    zenwoq_cpu_info_init(&cpu);
    EXPECT_EQ(zenwoq_context_cpu_info(first.context.get(), &cpu), ZENWOQ_OK);
    EXPECT_STREQ(cpu.code_memory, "mprotect") << "perf takes code in a memfd for a file's";
  });
}

// Anybody can make a file of that name in /tmp before.
TEST(Perf, TheMapIsNeverSomebodyElsesFile) {
  if (!generates()) GTEST_SKIP() << "nothing is generated on this CPU";
  const Folder folder;
  const fs::path victim = folder.path() / "victim";
  const auto refuses = [&](const char* what, const auto& plant) {
    in_a_child("map", [&] {
      std::ofstream(victim) << "mine";
      fs::permissions(victim, fs::perms::owner_read | fs::perms::owner_write);
      plant();
      const Variable verbose("ZENWOQ_VERBOSE", "warn");
      testing::internal::CaptureStderr();
      EXPECT_EQ(Layer().run(1), ZENWOQ_OK);
      EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("zenwoq: warn: cannot write /tmp/perf-")) << what;
      EXPECT_EQ(text_of(victim), "mine") << what;
    });
  };
  refuses("a symbolic link", [&] { fs::create_symlink(victim, map_file()); });
  refuses("a dangling link", [&] { fs::create_symlink(folder.path() / "none", map_file()); });
  EXPECT_FALSE(fs::exists(folder.path() / "none"));
  refuses("a hard link", [&] { EXPECT_EQ(link(victim.c_str(), map_file().c_str()), 0); });
  refuses("a FIFO", [&] { EXPECT_EQ(mkfifo(map_file().c_str(), 0600), 0); });
  refuses("a folder", [&] { fs::create_directory(map_file()); });
  refuses("a file for all to write", [&] {
    std::ofstream(map_file()) << "";
    fs::permissions(map_file(), fs::perms::all);
  });
  if (geteuid() == 0) {
    refuses("another user's file", [&] {
      std::ofstream(map_file()) << "";
      EXPECT_EQ(chown(map_file().c_str(), 12345, 12345), 0);
    });
  }
}

struct DumpRecord {
  std::uint32_t id, bytes;
  std::uint64_t time;
  std::uint32_t process, thread;
  std::uint64_t address, code_address, code_bytes, index;
};

TEST(Perf, TheJitdumpHasNamesAndCode) {
  if (!generates()) GTEST_SKIP() << "nothing is generated on this CPU";
  const Folder folder;
  in_a_child(("jitdump:" + folder.path().string()).c_str(), [&] {
    const Layer first, second;
    const std::vector<zenwoq_kernel_info> kernels = {first.kernel(1), second.kernel(2), first.kernel(3)};
    const fs::path file = folder.path() / ("jit-" + std::to_string(getpid()) + ".dump");
    const std::string dump = text_of(file);
    ASSERT_GE(dump.size(), 40u);
    std::uint32_t header[6];
    std::memcpy(header, dump.data(), sizeof header);
    EXPECT_EQ(header[0], 0x4A695444u);
    EXPECT_EQ(header[1], 1u);
    EXPECT_EQ(header[2], 40u);
    EXPECT_EQ(header[3], 62u) << "EM_X86_64";
    EXPECT_EQ(header[5], static_cast<std::uint32_t>(getpid()));
    std::size_t at = 40, index = 0;
    for (const zenwoq_kernel_info& kernel : kernels) {
      DumpRecord record;
      ASSERT_GE(dump.size(), at + sizeof record);
      std::memcpy(&record, &dump[at], sizeof record);
      EXPECT_EQ(record.id, 0u);
      EXPECT_EQ(record.address, reinterpret_cast<std::size_t>(kernel.address));
      EXPECT_EQ(record.code_bytes, kernel.code_bytes);
      EXPECT_EQ(record.index, index++);
      const std::string name = kernel.name;
      EXPECT_EQ(record.bytes, sizeof record + name.size() + 1 + kernel.code_bytes);
      EXPECT_STREQ(&dump[at + sizeof record], kernel.name);
      EXPECT_EQ(std::memcmp(&dump[at + sizeof record + name.size() + 1], kernel.address, kernel.code_bytes), 0);
      at += record.bytes;
    }
    EXPECT_EQ(dump.size(), at);
    EXPECT_THAT(text_of("/proc/self/maps"), HasSubstr(file.string())) << "perf learns of the file by a mapping";
  });
}

fs::path jitdump_in(const Folder& folder) { return folder.path() / ("jit-" + std::to_string(getpid()) + ".dump"); }

// Two kernels, of which the second must not warn again.
void expect_one_warning(const std::string& what) {
  static std::vector<std::string> lines;
  lines.clear();
  const Layer layer([](void*, const char* line) { lines.push_back(line); });
  EXPECT_EQ(layer.run(1), ZENWOQ_OK);
  EXPECT_EQ(layer.run(2), ZENWOQ_OK);
  EXPECT_EQ(
      std::count_if(lines.begin(), lines.end(), [](const std::string& l) { return l.starts_with("cannot write"); }), 1)
      << what;
}

TEST(Perf, TheJitdumpIsNeverSomebodyElsesFile) {
  if (!generates()) GTEST_SKIP() << "nothing is generated on this CPU";
  const Folder folder;
  const fs::path victim = folder.path() / "victim";
  std::ofstream(victim) << "mine";
  const auto refuses = [&](const char* what, const auto& plant) {
    in_a_child(("jitdump:" + folder.path().string()).c_str(), [&] {
      plant(jitdump_in(folder));
      expect_one_warning(what);
      EXPECT_EQ(text_of(victim), "mine") << what;
    });
  };
  refuses("a symbolic link", [&](const fs::path& file) { fs::create_symlink(victim, file); });
  refuses("a dangling link", [&](const fs::path& file) { fs::create_symlink(folder.path() / "none", file); });
  EXPECT_FALSE(fs::exists(folder.path() / "none"));
  refuses("a hard link", [&](const fs::path& file) { fs::create_hard_link(victim, file); });
  refuses("a FIFO", [&](const fs::path& file) { EXPECT_EQ(mkfifo(file.c_str(), 0600), 0); });
  refuses("a folder", [&](const fs::path& file) { fs::create_directory(file); });
}

// The system gives numbers of processes again.
TEST(Perf, AJitdumpThatWasLeftBehindIsWrittenAnew) {
  if (!generates()) GTEST_SKIP() << "nothing is generated on this CPU";
  const Folder folder;
  in_a_child(("jitdump:" + folder.path().string()).c_str(), [&] {
    const fs::path file = jitdump_in(folder);
    std::ofstream(file) << std::string(100000, 'x');
    fs::permissions(file, fs::perms(0600));
    EXPECT_EQ(Layer().run(1), ZENWOQ_OK);
    EXPECT_EQ(text_of(file).substr(0, 4), "DTiJ");
    EXPECT_LT(fs::file_size(file), 100000u) << "nothing is left of it";
  });
}

TEST(Perf, TwoFoldersHaveAJitdumpEach) {
  if (!generates()) GTEST_SKIP() << "nothing is generated on this CPU";
  const Folder first, second;
  in_a_child(("jitdump:" + first.path().string()).c_str(), [&] {
    const Layer one;
    const Variable other("ZENWOQ_PERF", "jitdump:" + second.path().string());
    const Layer two;
    for (const std::size_t m : {1, 2}) {
      EXPECT_EQ(one.run(m), ZENWOQ_OK);
      EXPECT_EQ(two.run(m), ZENWOQ_OK);
    }
    const std::string text = text_of(jitdump_in(first));
    EXPECT_GT(text.size(), 1000u);
    EXPECT_EQ(text_of(jitdump_in(second)).size(), text.size());
  });
}

TEST(Perf, AJitdumpThatCannotBeWrittenIsGivenUp) {
  if (!generates()) GTEST_SKIP() << "nothing is generated on this CPU";
  const Folder folder;
  for (const std::size_t limit : {20, 100}) {  // in the header, in the first record
    in_a_child(("jitdump:" + folder.path().string()).c_str(), [&] {
      signal(SIGXFSZ, SIG_IGN);
      const rlimit limits{limit, RLIM_INFINITY};
      EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limits), 0);
      expect_one_warning("a full disk");
      EXPECT_EQ(fs::exists(jitdump_in(folder)), limit > 40) << limit;
      if (limit > 40) EXPECT_EQ(fs::file_size(jitdump_in(folder)), 40u) << "what was whole";
    });
  }
}

TEST(Perf, AnUnknownValueIsAnError) {
  for (const char* value : {"1", "jitdump", "jitdump:", "maps"}) {
    const Variable variable("ZENWOQ_PERF", value);
    zenwoq_context* context = nullptr;
    EXPECT_EQ(zenwoq_context_create(nullptr, &context), ZENWOQ_ERROR_INVALID_ARGUMENT) << value;
    EXPECT_THAT(zenwoq_last_error(), HasSubstr("must be unwind, map or jitdump:FOLDER"));
  }
}

constexpr int kNotRaised = 77;  // exit status: the system did not raise the privileges

// Runs in a set-user-id copy of this program, started by the next test.
TEST(Perf, DISABLED_WithRaisedPrivileges) {
  if (getauxval(AT_SECURE) == 0) _exit(kNotRaised);
  Profile profile;
  LogLevel level = LogLevel::silent;
  const bool silent = Profile::read(&profile).ok() && read_verbosity(&level).ok();
  _exit(silent && !profile.map && level == LogLevel::silent ? 0 : 1);
}

TEST(Perf, NothingIsWrittenWithRaisedPrivileges) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can make a set-user-id program of another user";
  const Folder folder;
  const fs::path program = folder.path() / "program";
  fs::copy_file("/proc/self/exe", program);
  fs::permissions(folder.path(), fs::perms(0755));
  ASSERT_EQ(chown(program.c_str(), 12345, 12345), 0);
  fs::permissions(program, fs::perms(04755));
  const int end = wait_for_child(start_child([&] {
    if (setresuid(12346, 12346, 12346) != 0) return kNotRaised;
    const char* arguments[] = {program.c_str(), "--gtest_also_run_disabled_tests",
                               "--gtest_filter=Perf.DISABLED_WithRaisedPrivileges", nullptr};
    const char* variables[] = {"ZENWOQ_PERF=map", "ZENWOQ_VERBOSE=dispatch", nullptr};
    execve(program.c_str(), const_cast<char**>(arguments), const_cast<char**>(variables));
    return kNotRaised;
  }));
  if (end == kNotRaised) GTEST_SKIP() << "the system does not raise privileges here";
  EXPECT_EQ(end, 0);
}

// ---- backtrace()

// A kernel is called with the CPU's single-step flag set: the handler runs after each of its instructions.
struct Steps {
  std::uintptr_t begin = 0, end = 0;  // of the kernel
  void* returns_to = nullptr;         // what the first instruction finds on the stack
  void* callers[8] = {};              // of the function that calls it
  int caller_count = 0;
  std::size_t seen = 0, wrong = 0;
  std::uintptr_t first_wrong = 0;
} steps;

void at_step(int, siginfo_t*, void* context) {
  const greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto at = static_cast<std::uintptr_t>(registers[REG_RIP]);
  if (at < steps.begin || at >= steps.end) return;
  if (at == steps.begin) std::memcpy(&steps.returns_to, reinterpret_cast<void*>(registers[REG_RSP]), sizeof(void*));
  void* frames[32];
  const int count = backtrace(frames, 32);
  void** const end = frames + count;
  void** found = std::find(frames, end, reinterpret_cast<void*>(at));
  bool right = found != end && ++found != end && *found == steps.returns_to;
  // Not the frame that calls: it is at another place of its function by now.
  for (int i = 1; right && i < steps.caller_count; ++i) {
    right = found + 1 != end && std::find(found, end, steps.callers[i]) != end;
  }
  ++steps.seen;
  if (!right && ++steps.wrong == 1) steps.first_wrong = at - steps.begin;
}

__attribute__((noinline)) zenwoq_status run_step_by_step(const Layer& layer, std::size_t m) {
  steps.caller_count = backtrace(steps.callers, 8);
  __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
  const zenwoq_status status = layer.run(m);
  __asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "memory", "cc");
  return status;
}

TEST(Backtrace, SeesThroughEveryInstructionOfAKernel) {
  const Variable unwind("ZENWOQ_PERF", "unwind");
  if (!generates()) GTEST_SKIP() << "nothing is generated on this CPU";
  const Layer layer;
  for (const std::size_t m : {1, 5}) {
    const zenwoq_kernel_info kernel = layer.kernel(m);
    steps = {};
    steps.begin = reinterpret_cast<std::uintptr_t>(kernel.address);
    steps.end = steps.begin + kernel.code_bytes;
    struct sigaction action {
    }, before;
    action.sa_sigaction = at_step;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, &before);
    EXPECT_EQ(run_step_by_step(layer, m), ZENWOQ_OK);
    sigaction(SIGTRAP, &before, nullptr);
    EXPECT_GT(steps.seen, 100u);
    EXPECT_GE(steps.caller_count, 4);
    EXPECT_EQ(steps.wrong, 0u) << "of " << steps.seen << ", first at byte " << steps.first_wrong << " of "
                               << kernel.name;
  }
}

// Code memory that is gone leaves nothing with the compiler's runtime: a throw looks through all that is registered.
TEST(Backtrace, ThrowingGoesOnAfterContextsAreGone) {
  const Variable unwind("ZENWOQ_PERF", "unwind");
  for (int i = 0; i < 20; ++i) {
    {
      const Layer layer;
      for (std::size_t m = 1; m <= 6; ++m) (void)layer.kernel(m);
      EXPECT_THROW(throw i, int);
    }
    EXPECT_THROW(throw i, int);
  }
  Layer layer;
  (void)layer.kernel(1);
  EXPECT_EQ(exit_of_child([&] {
              layer = Layer();  // destroys what the parent registered
              (void)layer.kernel(2);
              try {
                throw 1;
              } catch (int) {
                return true;
              }
            }),
            0);
}

}  // namespace
}  // namespace zenwoq::test
