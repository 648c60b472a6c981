// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The pool runs every index exactly once and always returns, whether nested, shared, forked, or without any threads.
#include "src/run/thread_pool.h"

#include <gtest/gtest.h>
#include <immintrin.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "src/run/context.h"
#include "tests/support/forked.h"

namespace {
thread_local int yields = 0;  // of this thread
}  // namespace

// In the place of libc's, to count.
extern "C" int sched_yield() noexcept {
  ++yields;
  return static_cast<int>(syscall(SYS_sched_yield));
}

namespace zenwoq {
namespace {

using test::exit_of_child;

constexpr const char* kTsanMixesThreadsUp =
    "TSan takes a child's threads for those of its parent whose stacks they have, and ends the child";

template <typename Function>
void run(ThreadPool& pool, size_t n, Function function) {
  pool.parallel_for(
      n, [](void* arg, size_t i) { (*static_cast<Function*>(arg))(i); }, &function);
}

void expect_each_once(ThreadPool& pool, size_t n) {
  std::vector<std::atomic<int>> hits(n);
  run(pool, n, [&](size_t i) { ++hits[i]; });
  for (size_t i = 0; i < n; ++i) ASSERT_EQ(hits[i], 1) << "index " << i << " of " << n;
}

bool sums_right(ThreadPool& pool, size_t n) {
  std::atomic<size_t> sum{0};
  run(pool, n, [&](size_t i) { sum += i + 1; });
  return sum == n * (n + 1) / 2;
}

TEST(ThreadPool, EveryIndexOnce) {
  for (unsigned threads : {0u, 1u, 2u, 3u, 8u}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), std::max(threads, 1u));
    for (size_t n : {0, 1, 2, 3, 7, 1000}) expect_each_once(pool, n);
  }
}

// Whether two tasks run at the same time.
bool two_tasks_meet(ThreadPool& pool) {
  std::atomic<int> arrived{0}, alone{0};
  run(pool, 2, [&](size_t) {
    ++arrived;
    for (int ms = 0; arrived < 2; ++ms) {
      if (ms == 10000) return void(++alone);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  return alone == 0;
}

TEST(ThreadPool, WorkersDoTakePart) {
  ThreadPool pool(2);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(two_tasks_meet(pool)) << i;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // the worker goes to sleep
  }
}

TEST(ThreadPool, OneTaskRunsInTheCallerAndLeavesTheWorkersFree) {
  ThreadPool pool(2);
  std::thread::id id;
  bool met = false;
  run(pool, 1, [&](size_t) {
    id = std::this_thread::get_id();
    met = two_tasks_meet(pool);
  });
  EXPECT_EQ(id, std::this_thread::get_id());
  EXPECT_TRUE(met) << "the inner loop found no worker";
}

TEST(ThreadPool, TenThousandTinyLoops) {
  ThreadPool pool(3);
  for (int i = 0; i < 10000; ++i) ASSERT_TRUE(sums_right(pool, 5)) << i;
}

TEST(ThreadPool, LoopsAfterPausesOfAllLengths) {
  ThreadPool pool(3);
  for (int us = 0; us < 120; ++us) {  // around the moment at which workers go to sleep
    std::this_thread::sleep_for(std::chrono::microseconds(us));
    ASSERT_TRUE(sums_right(pool, 7)) << us;
  }
}

// A loop's state on the caller's stack dies with it: a late worker would write into the next loop's sums.
TEST(ThreadPool, NoTaskRunsAfterTheLoop) {
  ThreadPool pool(3);
  for (int i = 0; i < 3000; ++i) {
    auto alive = std::make_unique<std::atomic<bool>>(true);
    std::atomic<int> late{0};
    run(pool, 4, [&, flag = alive.get()](size_t task) {
      for (size_t pause = 0; pause < task * 10; ++pause) _mm_pause();
      if (!*flag) ++late;
    });
    *alive = false;
    ASSERT_EQ(late, 0);
  }
}

std::chrono::nanoseconds cpu_time() {
  timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

// Two libraries on the same cores, each with a pool: who waits takes no more than a moment of the other's CPU time.
TEST(ThreadPool, WhoWaitsSoonSleeps) {
  ThreadPool first(3, 1), second(3, 1), third(3);
  for (ThreadPool* pool : {&first, &second, &third}) ASSERT_TRUE(sums_right(*pool, 50));
  for (int ms = 0; ms < 10000 && workers_awake() > 0; ++ms) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(workers_awake(), 0u) << "all sleep";
  const auto before = cpu_time();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(cpu_time() - before, std::chrono::milliseconds(50));
  // A caller whose worker is slow sleeps too.
  std::atomic<int> arrived{0};
  const std::thread::id caller = std::this_thread::get_id();
  const auto start = cpu_time();
  run(first, 2, [&](size_t) {
    for (++arrived; arrived < 2;) std::this_thread::yield();
    if (std::this_thread::get_id() != caller) std::this_thread::sleep_for(std::chrono::milliseconds(200));
  });
  EXPECT_LT(cpu_time() - start, std::chrono::milliseconds(100));
}

// Who waits where more threads of pools are awake than there are CPUs gives its CPU away; who has one of its own keeps
// it.
TEST(ThreadPool, WhoWaitsInACrowdYields) {
  const auto yields_of_a_wait = [](unsigned cpus) {
    ThreadPool pool(2, cpus);
    const std::thread::id caller = std::this_thread::get_id();
    std::atomic<int> arrived{0};
    yields = 0;
    run(pool, 2, [&](size_t) {
      for (++arrived; arrived < 2;) _mm_pause();
      if (std::this_thread::get_id() != caller) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    });
    return yields;
  };
  // A wait that ends in sleep has a few of its own, of libstdc++'s.
  EXPECT_GT(yields_of_a_wait(1), yields_of_a_wait(UINT_MAX));
}

TEST(ThreadPool, WorkersAreCountedWhileTheyAreAwake) {
  for (int ms = 0; ms < 10000 && workers_awake() > 0; ++ms) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_EQ(workers_awake(), 0u);
  {
    ThreadPool first(3), second(2);
    std::atomic<int> arrived{0};
    std::atomic<bool> counted{false};
    const auto wait = [&](size_t) {
      for (++arrived; !counted;) std::this_thread::yield();
    };
    std::thread one([&] { run(first, 3, wait); }), other([&] { run(second, 2, wait); });
    while (arrived < 5) std::this_thread::yield();
    EXPECT_EQ(workers_awake(), 3u) << "two and one, callers are no workers";
    counted = true;
    one.join();
    other.join();
  }
  EXPECT_EQ(workers_awake(), 0u);
}

// Two pools at once on one CPU, where each thread that spins keeps the others from their work.
TEST(ThreadPool, TwoPoolsOnOneCpu) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);  // inherited by all threads made below
  {
    ThreadPool first(4, 1), second(4, 1);
    std::atomic<int> wrong{0};
    const auto loops = [&](ThreadPool& pool) {
      for (int i = 0; i < 500; ++i) wrong += sums_right(pool, 20) ? 0 : 1;
    };
    std::thread other([&] { loops(second); });
    loops(first);
    other.join();
    EXPECT_EQ(wrong, 0);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(ThreadPool, UnevenTasks) {
  ThreadPool pool(2);
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> arrived{0}, done{0};
  run(pool, 2, [&](size_t) {
    for (++arrived; arrived < 2;) std::this_thread::yield();
    // The caller is long asleep when the worker ends.
    if (std::this_thread::get_id() != caller) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ++done;
  });
  EXPECT_EQ(done, 2);
}

TEST(ThreadPool, Nested) {
  ThreadPool pool(3);
  std::atomic<size_t> inner{0};
  run(pool, 6, [&](size_t) { run(pool, 5, [&](size_t) { run(pool, 4, [&](size_t) { ++inner; }); }); });
  EXPECT_EQ(inner, 6u * 5 * 4);
}

TEST(ThreadPool, ManyThreadsShareOnePool) {
  ThreadPool pool(3);
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; ++t) {
    callers.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) wrong += sums_right(pool, static_cast<size_t>(t + i % 20)) ? 0 : 1;
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPool, ABusyPoolMakesNobodyWait) {
  ThreadPool pool(2);
  std::atomic<bool> release{false};
  std::atomic<int> started{0};
  std::thread first([&] {
    run(pool, 2, [&](size_t) {
      ++started;
      while (!release) std::this_thread::yield();
    });
  });
  while (started < 2) std::this_thread::yield();
  EXPECT_TRUE(sums_right(pool, 100));  // would hang if it waited for the first loop
  release = true;
  first.join();
}

TEST(ThreadPool, PoolsComeAndGo) {
  for (int i = 0; i < 200; ++i) {
    ThreadPool pool(3);
    for (int loop = 0; loop < i % 3; ++loop) ASSERT_TRUE(sums_right(pool, 10));
  }
}

std::atomic<int> threads_allowed;
int create_a_few(pthread_t* thread, const pthread_attr_t* attributes, void* (*main)(void*), void* arg) {
  return threads_allowed-- > 0 ? pthread_create(thread, attributes, main, arg) : EAGAIN;
}

TEST(ThreadPool, ThreadsThatCannotBeCreated) {
  for (int allowed : {0, 1, 2}) {
    threads_allowed = allowed;
    ThreadPool pool(8, UINT_MAX, create_a_few);
    EXPECT_EQ(pool.threads(), static_cast<unsigned>(allowed) + 1);
    EXPECT_EQ(threads_allowed, -1) << "one refusal is enough";
    expect_each_once(pool, 100);
  }
}

TEST(ThreadPool, WorkersBlockSignalsButNotFaults) {
  sigset_t in_caller, in_worker;
  ThreadPool pool(2);
  pthread_sigmask(SIG_SETMASK, nullptr, &in_caller);
  EXPECT_EQ(sigismember(&in_caller, SIGUSR1), 0);
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> arrived{0};
  run(pool, 2, [&](size_t) {
    if (std::this_thread::get_id() != caller) pthread_sigmask(SIG_SETMASK, nullptr, &in_worker);
    for (++arrived; arrived < 2;) std::this_thread::yield();
  });
  for (int blocked : {SIGINT, SIGTERM, SIGUSR1, SIGCHLD}) EXPECT_EQ(sigismember(&in_worker, blocked), 1) << blocked;
  for (int open : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) EXPECT_EQ(sigismember(&in_worker, open), 0) << open;
}

TEST(ThreadPool, AForkedChildHasThreadsAgain) {
  ThreadPool pool(3);
  ASSERT_TRUE(two_tasks_meet(pool));
  const auto child = [&] { return two_tasks_meet(pool) && sums_right(pool, 50) && sums_right(pool, 1000); };
  EXPECT_EQ(exit_of_child([&] { return child() && exit_of_child(child) == 0 && child(); }), 0) << "and its child too";
  EXPECT_TRUE(two_tasks_meet(pool)) << "the parent goes on";
}

// The first loops of a child come from several threads at once: one of them starts the team of all.
TEST(ThreadPool, AForkedChildStartsOneTeam) {
  if (ZENWOQ_TSAN) GTEST_SKIP() << kTsanMixesThreadsUp;
  ThreadPool pool(3);
  const auto child = [&] {
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int t = 0; t < 4; ++t) {
      callers.emplace_back([&] {
        for (int i = 0; i < 50; ++i) wrong += sums_right(pool, 20) ? 0 : 1;
      });
    }
    for (std::thread& caller : callers) caller.join();
    return wrong == 0 && workers_awake() <= 2;
  };
  for (int i = 0; i < 20; ++i) ASSERT_EQ(exit_of_child(child), 0) << i;
}

TEST(ThreadPool, ForkWhileAnotherThreadIsInALoop) {
  ThreadPool pool(3);
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) sums_right(pool, 10);
  });
  for (int i = 0; i < 50; ++i) ASSERT_EQ(exit_of_child([&] { return sums_right(pool, 50); }), 0) << i;
  stop = true;
  other.join();
}

TEST(ThreadPool, ForkInsideATask) {
  ThreadPool pool(3);
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> arrived{0};
  std::atomic<pid_t> child{-1};
  run(pool, 3, [&](size_t) {
    for (++arrived; arrived < 3;) std::this_thread::yield();  // all three are inside
    if (std::this_thread::get_id() == caller) {
      const pid_t forked = fork();
      if (forked == 0) alarm(test::kChildSeconds);
      child = forked;
    }
    while (child == -1) std::this_thread::yield();  // the others are still inside at the fork
  });
  if (child == 0) _exit(sums_right(pool, 50) ? 0 : 1);  // the child came out of the loop
  EXPECT_EQ(test::wait_for_child(child), 0);
}

// The child is in the middle of a loop whose workers it lacks, and runs another one, on workers of its own, before it
// ends the first.
TEST(ThreadPool, ForkInsideATaskAndALoopInTheChild) {
  ThreadPool pool(3);
  std::atomic<pid_t> child{-1};
  std::atomic<int> after{0};
  run(pool, 1, [&](size_t) {});
  std::atomic<bool> inner_right{true};
  const std::thread::id caller = std::this_thread::get_id();
  run(pool, 100, [&](size_t) {
    if (std::this_thread::get_id() == caller && child == -1) {
      const pid_t forked = fork();
      if (forked == 0) alarm(test::kChildSeconds);
      child = forked;
      if (forked == 0) inner_right = two_tasks_meet(pool) && sums_right(pool, 1000);
    }
    if (child == 0) ++after;
  });
  if (child == 0) _exit(inner_right && after > 0 && sums_right(pool, 50) ? 0 : 1);
  EXPECT_EQ(child == -1 ? 0 : test::wait_for_child(child), 0);
}

// Ends the process with its thread, with 0 if no worker is counted.
struct EndOfProcess {
  bool wanted = false;
  ~EndOfProcess() {
    if (wanted) _exit(workers_awake() == 0 ? 0 : 1);
  }
};
thread_local EndOfProcess end_of_process;

// A worker has nothing to return to in a child that its task made: the child ends instead of waiting for loops.
TEST(ThreadPool, ForkInsideATaskOfAWorker) {
  if (ZENWOQ_TSAN) GTEST_SKIP() << "TSan itself crashes in a child that lacks the main thread";
  ThreadPool pool(2);
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> arrived{0};
  std::atomic<pid_t> child{-1};
  run(pool, 2, [&](size_t) {
    for (++arrived; arrived < 2;) std::this_thread::yield();
    if (std::this_thread::get_id() == caller) return;
    const pid_t forked = fork();
    if (forked == 0) alarm(test::kChildSeconds), end_of_process.wanted = true;
    child = forked;
  });
  EXPECT_EQ(test::wait_for_child(child), 0) << "1: the worker's end was counted in a child that had not counted it";
}

TEST(ThreadPool, ChildMayDestroyThePool) {
  auto pool = std::make_unique<ThreadPool>(3);
  const int end = exit_of_child([&] {
    // glibc gives new threads the stacks of the workers that are gone, and with them their handles: joining those would
    // wait for the wrong threads. (Which is what TSan would do.)
    std::atomic<bool> release{false};
    std::vector<std::thread> others;
    for (int i = 0; i < (ZENWOQ_TSAN ? 0 : 2); ++i) others.emplace_back([&] { release.wait(false); });
    pool.reset();
    release = true;
    release.notify_all();
    for (std::thread& other : others) other.join();
    return true;
  });
  EXPECT_EQ(end, 0);
  EXPECT_TRUE(sums_right(*pool, 50));
}

// A context gives each thread a range of indices, then what is left of other ranges: on its pool, on a caller's threads
// even if some come late or never, and for any number of threads asked for.
TEST(ContextParallelFor, EveryIndexOnce) {
  const zenwoq_parallel_for_fn backwards = [](void*, size_t n, void (*task)(void* arg, size_t i), void* arg) {
    while (n-- > 0) task(arg, n);
  };
  for (const zenwoq_parallel_for_fn callers : {zenwoq_parallel_for_fn{nullptr}, backwards}) {
    ContextSettings settings;
    settings.threads = 3;
    settings.loop.parallel_for = callers;
    Context context(settings, {});
    for (const unsigned threads : {1u, 2u, 3u, 5u, 63u, 64u, 65u, 200u, 4096u}) {
      for (const size_t n : {0, 1, 2, 3, 7, 64, 65, 130, 1000}) {
        std::vector<std::atomic<int>> hits(n);
        context.parallel_for_at_most(
            n, threads, [](void* arg, size_t i) { ++(*static_cast<std::vector<std::atomic<int>>*>(arg))[i]; }, &hits);
        for (size_t i = 0; i < n; ++i) ASSERT_EQ(hits[i], 1) << "index " << i << " of " << n << " on " << threads;
      }
    }
  }
}

// A run that brings its own loop uses it, on a context with a pool, with another loop, or with a single thread.
TEST(ContextParallelFor, ALoopGivenForOneCallIsUsed) {
  struct Calls {
    std::vector<size_t> parts;
    static void loop(void* user, size_t n, void (*task)(void* arg, size_t i), void* arg) {
      static_cast<Calls*>(user)->parts.push_back(n);
      for (size_t i = 0; i < n; ++i) task(arg, i);
    }
  };
  Calls of_context, of_call;
  for (const bool has_loop : {false, true}) {
    ContextSettings settings;
    settings.threads = 1;
    if (has_loop) settings.loop = {Calls::loop, &of_context};
    Context context(settings, {});
    std::atomic<int> hits{0};
    const auto hit = [](void* arg, size_t) { ++*static_cast<std::atomic<int>*>(arg); };
    context.parallel_for_at_most(10, 4, hit, &hits, {Calls::loop, &of_call});
    context.parallel_for_at_most(10, 4, hit, &hits);
    EXPECT_EQ(hits, 20);
  }
  EXPECT_EQ(of_call.parts, (std::vector<size_t>{4, 4}));
  EXPECT_EQ(of_context.parts, (std::vector<size_t>{4}));
}

// The last of four threads comes first and does the work of all: its own range, then the next ones.
TEST(ContextParallelFor, EachThreadHasARun) {
  ContextSettings settings;
  settings.threads = 4;
  settings.loop.parallel_for = [](void*, size_t n, void (*task)(void* arg, size_t i), void* arg) {
    while (n-- > 0) task(arg, n);
  };
  Context context(settings, {});
  std::vector<size_t> order;
  context.parallel_for_at_most(
      10, 4, [](void* arg, size_t i) { static_cast<std::vector<size_t>*>(arg)->push_back(i); }, &order);
  EXPECT_EQ(order, (std::vector<size_t>{7, 8, 9, 0, 1, 2, 3, 4, 5, 6}));
}

}  // namespace
}  // namespace zenwoq
