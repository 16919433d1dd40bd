// tests/bench/process_figures.h
//
// What the kernel says of a running process, from /proc. Zero where the process has gone.
#ifndef OVERLAY_TESTS_BENCH_PROCESS_FIGURES_H_
#define OVERLAY_TESTS_BENCH_PROCESS_FIGURES_H_

#include <sys/types.h>

#include <cstdint>

#include "flood/base/time.h"

namespace overlay::bench {

uint64_t ResidentBytes(pid_t pid);
// Not backed by a file: heap, stacks, and what else only this process pays for.
uint64_t AnonymousBytes(pid_t pid);
// Of all its threads that are alive.
uint64_t VoluntarySwitches(pid_t pid);
// On a CPU, of all its threads that are alive: in nanoseconds, where stat has ticks of 10 ms.
Duration CpuTimeOfThreads(pid_t pid);

}  // namespace overlay::bench

#endif  // OVERLAY_TESTS_BENCH_PROCESS_FIGURES_H_
