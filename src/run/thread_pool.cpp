// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// The threads of a process are a team. A fork at any moment leaves the child a team without threads, whose loops end
// all the same, and in whose place the next loop puts a new one.
#include "src/run/thread_pool.h"

#include <immintrin.h>
#include <sched.h>
#include <signal.h>

#include <chrono>
#include <exception>
#include <mutex>
#include <vector>

namespace zenwoq {
namespace {

constexpr uint32_t kOpen = 1u << 31;

// Longer than the gap between two layers of a model, short enough not to be seen on an idle machine. Time and not a
// number of pauses: a pause takes 28 ns on Zen 3 and several times that elsewhere, and who has lost its CPU meanwhile
// must not spin on when it gets it back.
constexpr std::chrono::microseconds kSpin{30};
constexpr int kLooks = 16;  // between two looks at the clock

// Workers awake in this process, under the count of forks that they belong to: a child begins at none.
class Census {
 public:
  void add(int workers) {
    uint64_t before = state_.load(std::memory_order_relaxed);
    while (!state_.compare_exchange_weak(before, pack(count_of(before) + static_cast<unsigned>(workers)),
                                         std::memory_order_relaxed)) {}
  }
  unsigned count() const { return count_of(state_.load(std::memory_order_relaxed)); }

 private:
  static uint64_t pack(unsigned count) { return uint64_t{fork_count()} << 32 | count; }
  static unsigned count_of(uint64_t state) { return state >> 32 == fork_count() ? static_cast<unsigned>(state) : 0; }

  std::atomic<uint64_t> state_{0};
};

constinit Census awake;

// True as soon as done() is, false if it is not for a few looks.
template <typename Done>
bool look_for(unsigned cpus, Done done) {
  const bool crowded = workers_awake() >= cpus;  // the caller is one more
  for (int i = 0; i < (crowded ? 1 : kLooks); ++i) {
    if (done()) return true;
    if (crowded) {
      sched_yield();
    } else {
      _mm_pause();
    }
  }
  return done();
}

// The same for kSpin.
template <typename Done>
bool spin_until(unsigned cpus, Done done) {
  if (look_for(cpus, done)) return true;
  for (const auto end = std::chrono::steady_clock::now() + kSpin; std::chrono::steady_clock::now() < end;) {
    if (look_for(cpus, done)) return true;
  }
  return false;
}

// Handlers of the program must not run on workers. Faults are not blocked: a blocked one kills without a report.
sigset_t signals_to_block() {
  sigset_t set;
  sigfillset(&set);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&set, fault);
  return set;
}

}  // namespace

unsigned workers_awake() { return awake.count(); }

// All that threads share. It holds no lock, only atomics.
class ThreadPool::Team {
 public:
  Team(unsigned threads, unsigned cpus, CreateThread create);
  ~Team();

  bool is_here() const { return process_ == fork_count(); }  // no fork has left its workers behind
  unsigned threads() const { return static_cast<unsigned>(workers_.size()) + 1; }
  void take_the_place_of(Team* before) { before_.reset(before); }
  void parallel_for(size_t n, Task task, void* arg);

 private:
  static void* worker_main(void* team);
  void work();
  uint32_t wait_for_epoch_after(uint32_t seen);
  bool enter();
  void leave();
  void take_tasks();
  void close_and_wait();

  const unsigned cpus_;
  const uint32_t process_ = fork_count();
  std::vector<pthread_t> workers_;  // plain handles: a forked child must neither join nor detach them
  std::unique_ptr<Team> before_;    // whose loop may be the one that forked
  std::atomic<bool> stop_{false};

  // The loop. Written only while the gate is closed and empty, read only by those inside.
  std::atomic<bool> busy_{false};
  Task task_ = nullptr;
  void* arg_ = nullptr;
  size_t n_ = 0;

  // One cache line each, since all threads write the last two.
  alignas(64) std::atomic<uint32_t> epoch_{0};  // counts loops (and the end): what workers wait for
  alignas(64) std::atomic<size_t> next_{0};     // the first index nobody has taken
  alignas(64) std::atomic<uint32_t> gate_{0};   // kOpen while workers may enter, plus the number of workers inside
};

ThreadPool::ThreadPool(unsigned threads, unsigned cpus, CreateThread create)
    : threads_(threads == 0 ? 1 : threads), cpus_(cpus), create_(create) {
  if (threads_ < 2) return;
  team_ = new_team().release();
  threads_ = team_.load()->threads();
}

ThreadPool::~ThreadPool() { delete team_.load(); }

std::unique_ptr<ThreadPool::Team> ThreadPool::new_team() const {
  return std::make_unique<Team>(threads_, cpus_, create_);
}

// The team of this process; NULL where there is no memory for one.
ThreadPool::Team* ThreadPool::team() noexcept {
  Team* team = team_.load(std::memory_order_acquire);
  if (team->is_here()) return team;
  try {
    const std::lock_guard lock(starting_anew_);
    team = team_.load(std::memory_order_acquire);
    if (team->is_here()) return team;
    std::unique_ptr<Team> made = new_team();
    made->take_the_place_of(team);
    team_.store(made.get(), std::memory_order_release);
    return made.release();
  } catch (const std::exception&) {
    return nullptr;
  }
}

void ThreadPool::parallel_for(size_t n, Task task, void* arg) noexcept {
  Team* const team = n < 2 || threads_ < 2 ? nullptr : this->team();
  if (team != nullptr) return team->parallel_for(n, task, arg);
  for (size_t i = 0; i < n; ++i) task(arg, i);
}

ThreadPool::Team::Team(unsigned threads, unsigned cpus, CreateThread create) : cpus_(cpus) {
  const sigset_t blocked = signals_to_block();
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &blocked, &before);  // inherited by the workers
  try {
    workers_.reserve(threads - 1);  // so that no handle is lost after its thread runs
    for (unsigned i = 1; i < threads; ++i) {
      pthread_t worker;
      if (create(&worker, nullptr, worker_main, this) != 0) break;
      workers_.push_back(worker);
    }
  } catch (const std::exception&) {
    // No memory for the handles: the caller works alone.
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

ThreadPool::Team::~Team() {
  if (!is_here()) return;  // a forked child has no workers, and their handles may be other threads' by now
  stop_ = true;
  ++epoch_;
  epoch_.notify_all();
  for (pthread_t worker : workers_) pthread_join(worker, nullptr);
}

void ThreadPool::Team::parallel_for(size_t n, Task task, void* arg) {
  if (workers_.empty() || busy_.exchange(true, std::memory_order_acquire)) {
    for (size_t i = 0; i < n; ++i) task(arg, i);
    return;
  }
  task_ = task;
  arg_ = arg;
  n_ = n;
  next_.store(0, std::memory_order_relaxed);
  gate_.store(kOpen, std::memory_order_release);
  ++epoch_;
  epoch_.notify_all();
  take_tasks();
  close_and_wait();
  busy_.store(false, std::memory_order_release);
}

// Once the gate is closed nobody enters, and once it is empty nobody reads the loop: then the caller's arg may die.
void ThreadPool::Team::close_and_wait() {
  gate_.fetch_and(~kOpen, std::memory_order_acquire);
  if (!is_here()) return;  // a task forked, this is the child: the workers inside do not exist here
  if (spin_until(cpus_, [&] { return gate_.load(std::memory_order_acquire) == 0; })) return;
  while (const uint32_t inside = gate_.load(std::memory_order_acquire)) gate_.wait(inside);
}

void ThreadPool::Team::take_tasks() {
  for (size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n_;) task_(arg_, i);
}

void* ThreadPool::Team::worker_main(void* team) {
  pthread_setname_np(pthread_self(), "zenwoq");
  Team& self = *static_cast<Team*>(team);
  awake.add(1);
  self.work();
  if (self.is_here()) awake.add(-1);  // else a child, which has not counted it
  return nullptr;
}

void ThreadPool::Team::work() {
  uint32_t seen = 0;
  while (true) {
    seen = wait_for_epoch_after(seen);
    if (stop_) return;
    // The loop may have ended by now (the gate is closed), or another one may be running: joining it is fine.
    if (!enter()) continue;
    take_tasks();
    if (!is_here()) return;  // a task forked on this worker, and has come back in the child, where no loop will come
    leave();
  }
}

uint32_t ThreadPool::Team::wait_for_epoch_after(uint32_t seen) {
  if (!spin_until(cpus_, [&] { return epoch_.load(std::memory_order_acquire) != seen; })) {
    awake.add(-1);
    epoch_.wait(seen);
    awake.add(1);
  }
  return epoch_.load(std::memory_order_acquire);
}

bool ThreadPool::Team::enter() {
  uint32_t gate = gate_.load(std::memory_order_relaxed);
  while (gate & kOpen) {
    if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) return true;
  }
  return false;
}

void ThreadPool::Team::leave() {
  if (gate_.fetch_sub(1, std::memory_order_release) == 1) gate_.notify_one();  // closed, and this was the last
}

}  // namespace zenwoq
