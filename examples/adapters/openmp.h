/* SPDX-FileCopyrightText: 2026 The zenwoq authors
 * SPDX-License-Identifier: Apache-2.0
 *
 * OpenMP's threads for zenwoq, in C or C++, compiled with -fopenmp:
 *
 *   options.parallel_for = run_on_openmp;
 *   options.threads = omp_get_max_threads();
 *
 * zenwoq_run_args has the same fields for one run, where threads must be set too: it says how many tasks to cut.
 */
#pragma once

#include <stddef.h>

static void run_on_openmp(void* user, size_t n, void (*task)(void* arg, size_t i), void* arg) {
  (void)user;
#pragma omp parallel for schedule(dynamic, 1)
  for (size_t i = 0; i < n; i++) task(arg, i);
}
