// tests/sim/in_child.h
//
// Runs of the simulator that must not feel each other. GnuTLS keeps the state of its random
// generator for the whole process, so a run is the same to the last byte only if it begins in the
// same state: each is a child of a process that has not run any itself.
#ifndef OVERLAY_TESTS_SIM_IN_CHILD_H_
#define OVERLAY_TESTS_SIM_IN_CHILD_H_

#include <functional>
#include <optional>
#include <string>

namespace overlay::sim {

// What `run` returned in a child process; nullopt if that died (it has said why on standard error).
std::optional<std::string> InChild(const std::function<std::string()>& run);

}  // namespace overlay::sim

#endif  // OVERLAY_TESTS_SIM_IN_CHILD_H_
