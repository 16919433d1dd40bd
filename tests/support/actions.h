// tests/support/actions.h
//
// Picks actions of one kind out of an ActionList: Commands<RequestSet>(out),
// Outputs<SetAvailable>(out), Computes(out).
#ifndef OVERLAY_TESTS_SUPPORT_ACTIONS_H_
#define OVERLAY_TESTS_SUPPORT_ACTIONS_H_

#include <variant>
#include <vector>

#include "flood/action.h"

namespace overlay::flood {

template <class Command>
std::vector<Command> Commands(const ActionList& actions) {
  std::vector<Command> found;
  for (const Action& action : actions) {
    const auto* command = std::get_if<PeerCommand>(&action);
    if (command == nullptr) continue;
    if (const auto* wanted = std::get_if<Command>(command)) found.push_back(*wanted);
  }
  return found;
}

template <class Output>
std::vector<Output> Outputs(const ActionList& actions) {
  std::vector<Output> found;
  for (const Action& action : actions) {
    const auto* output = std::get_if<CoreOutput>(&action);
    if (output == nullptr) continue;
    if (const auto* wanted = std::get_if<Output>(output)) found.push_back(*wanted);
  }
  return found;
}

template <class News>
std::vector<News> AllNews(const ActionList& actions) {
  std::vector<News> found;
  for (const Action& action : actions) {
    const auto* news = std::get_if<PeerNews>(&action);
    if (news == nullptr) continue;
    if (const auto* wanted = std::get_if<News>(news)) found.push_back(*wanted);
  }
  return found;
}

inline std::vector<Compute> Computes(const ActionList& actions) {
  std::vector<Compute> found;
  for (const Action& action : actions) {
    if (const auto* compute = std::get_if<Compute>(&action)) found.push_back(*compute);
  }
  return found;
}

inline std::vector<PeerOffence> Offences(const ActionList& actions) {
  std::vector<PeerOffence> found;
  for (const Action& action : actions) {
    if (const auto* offence = std::get_if<PeerOffence>(&action)) found.push_back(*offence);
  }
  return found;
}

}  // namespace overlay::flood

#endif  // OVERLAY_TESTS_SUPPORT_ACTIONS_H_
