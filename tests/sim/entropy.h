// tests/sim/entropy.h
//
// Takes chance and the date away from GnuTLS, so that a simulation is the same byte for byte in every
// process: the executable defines getrandom(), which libraries then call, and GnuTLS is told a clock
// that stands still.
//
// GnuTLS keeps generator state for the life of a process: the bytes of a run are repeatable only if it
// is the first of its process (or of a fork). Sizes and times of datagrams do not depend on them.
#ifndef OVERLAY_TESTS_SIM_ENTROPY_H_
#define OVERLAY_TESTS_SIM_ENTROPY_H_

#include <cstdint>

namespace overlay::sim {

void SeedEntropy(uint64_t seed);
// Calls that came to our getrandom(): zero would mean that the library went elsewhere.
uint64_t EntropyCalls();

}  // namespace overlay::sim

#endif  // OVERLAY_TESTS_SIM_ENTROPY_H_
