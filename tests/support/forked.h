// SPDX-FileCopyrightText: 2026 The zenwoq authors
// SPDX-License-Identifier: Apache-2.0
//
// Forked children of tests.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#if defined(__SANITIZE_THREAD__)
#define ZENWOQ_TSAN true
#elif defined(__has_feature)
#define ZENWOQ_TSAN __has_feature(thread_sanitizer)
#else
#define ZENWOQ_TSAN false
#endif

#if ZENWOQ_TSAN
// A child's first loop starts threads, at which ThreadSanitizer would end it.
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }
#endif

namespace zenwoq::test {

inline constexpr unsigned kChildSeconds = 120;

// Starts a child that runs body() -> exit status and is ended by SIGALRM if it hangs, by SIGABRT if body throws.
template <typename Body>
pid_t start_child(const Body& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(kChildSeconds);
    _exit([&]() noexcept { return body(); }());
  }
  return child;
}

constexpr int kNoChild = 2000;

// Its exit status, 1000 + the signal that ended it, or kNoChild + errno if the fork failed or there is no such child.
inline int wait_for_child(pid_t child) {
  if (child <= 0) return kNoChild + errno;
  int status = 0;
  pid_t ended;
  do ended = waitpid(child, &status, 0);
  while (ended < 0 && errno == EINTR);
  if (ended != child) return kNoChild + errno;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

// 0 if body() -> bool is true in a child.
template <typename Body>
int exit_of_child(const Body& body) {
  return wait_for_child(start_child([&] { return body() ? 0 : 1; }));
}

}  // namespace zenwoq::test
