// tests/sim/entropy.h
//
// Takes chance and the date away from GnuTLS: the executable defines getrandom(), which libraries
// then call, and GnuTLS is told a clock that stands still. So no draw of the kernel's decides what
// a simulation does.
#ifndef OVERLAY_TESTS_SIM_ENTROPY_H_
#define OVERLAY_TESTS_SIM_ENTROPY_H_

#include <cstdint>

namespace overlay::sim {

void SeedEntropy(uint64_t seed);
// Calls that came to our getrandom(): zero would mean that the library went elsewhere.
uint64_t EntropyCalls();

}  // namespace overlay::sim

#endif  // OVERLAY_TESTS_SIM_ENTROPY_H_
