/* SPDX-FileCopyrightText: 2026 The zenwoq authors
 * SPDX-License-Identifier: Apache-2.0
 *
 * A host that loads plugins which use zenwoq: twice, two at once, with threads and a fork after they are closed.
 *   usage: dlopen_test PLUGIN-WITH-THE-SHARED-LIBRARY PLUGIN-WITH-THE-STATIC-LIBRARY LIBZENWOQ
 * Both plugins are examples/hello.c with its main() as hello(). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "zenwoq/zenwoq.h"

static pthread_barrier_t barrier;

static void check(int condition, const char *what) {
  if (condition) return;
  fprintf(stderr, "failed: %s (%s)\n", what, dlerror());
  exit(1);
}

static void *open_library(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  check(library != NULL, path);
  return library;
}

static void *symbol(void *library, const char *name) {
  void *address = dlsym(library, name);
  check(address != NULL, name);
  return address;
}

static void run_hello(void *plugin) {
  int (*hello)(void);
  *(void **)&hello = symbol(plugin, "hello");
  check(hello() == 0, "hello() of a plugin");
}

/* Uses the plugin and ends only after it is closed: what the library keeps for a thread is freed then. */
static void *outlive(void *plugin) {
  run_hello(plugin);
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  return NULL;
}

static void open_use_close(const char *path) {
  void *plugin = open_library(path);
  pthread_t thread;
  pid_t child;
  int status = -1;
  check(pthread_create(&thread, NULL, outlive, plugin) == 0, "a thread");
  run_hello(plugin);
  pthread_barrier_wait(&barrier);
  check(dlclose(plugin) == 0, "closing a plugin");
  pthread_barrier_wait(&barrier);
  pthread_join(thread, NULL);
  child = fork(); /* runs the library's handlers of fork, if they are still there */
  if (child == 0) _exit(0);
  check(waitpid(child, &status, 0) == child && status == 0, "a fork after a plugin is closed");
}

static void two_at_once(const char *first, const char *second) {
  void *a = open_library(first), *b = open_library(second), *again = open_library(first);
  run_hello(a), run_hello(b);
  check(dlclose(again) == 0, "closing one of two handles");
  run_hello(a), run_hello(b);
  check(dlclose(b) == 0, "closing the other plugin");
  run_hello(a);
  check(dlclose(a) == 0, "closing the last");
}

/* A host that closes the library before it destroys a context: the code that its threads are in stays. */
static void closed_too_early(const char *path) {
  void *library = open_library(path);
  zenwoq_status (*create)(const zenwoq_context_options *, zenwoq_context **);
  void (*destroy)(zenwoq_context *);
  zenwoq_context_options options;
  zenwoq_context *context = NULL;
  *(void **)&create = symbol(library, "zenwoq_context_create");
  *(void **)&destroy = symbol(library, "zenwoq_context_destroy");
  zenwoq_context_options_init(&options);
  options.threads = 4;
  check(create(&options, &context) == ZENWOQ_OK, "a context");
  check(dlclose(library) == 0, "closing the library");
  destroy(context);
}

int main(int argc, char **argv) {
  int round;
  check(argc == 4, "three arguments");
  pthread_barrier_init(&barrier, NULL, 2);
  for (round = 0; round < 2; round++) {
    open_use_close(argv[1]);
    open_use_close(argv[2]);
    two_at_once(argv[1], argv[2]);
  }
  closed_too_early(argv[3]);
  return 0;
}
