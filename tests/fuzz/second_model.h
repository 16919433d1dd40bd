// tests/fuzz/second_model.h
//
// What the fuzz targets with a second model share: an input read as a list of small choices (other
// fuzz targets read theirs so too), and a judge that compares the component with its model and
// aborts with a line that says which operation, what, expected, got.
//
// An exhausted input reads as zeros: cutting an input never makes another operation of what is
// left.
#ifndef OVERLAY_TESTS_FUZZ_SECOND_MODEL_H_
#define OVERLAY_TESTS_FUZZ_SECOND_MODEL_H_

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/types/span.h"
#include "flood/base/check.h"

namespace overlay {

class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : rest_(data, size) { BugsAreFatal(true); }

  bool empty() const { return rest_.empty(); }
  uint8_t Byte() {
    if (rest_.empty()) return 0;
    const uint8_t byte = rest_[0];
    rest_.remove_prefix(1);
    return byte;
  }
  bool Flag() { return Byte() % 2 != 0; }
  // Below `bound`, which is at most 256.
  size_t Below(size_t bound) { return Byte() % bound; }
  template <class T, size_t kCount>
  T Pick(const std::array<T, kCount>& choices) {
    return choices[Below(kCount)];
  }
  absl::Span<const uint8_t> Take(size_t bytes) {
    const auto taken = rest_.first(std::min(bytes, rest_.size()));
    rest_.remove_prefix(taken.size());
    return taken;
  }

 private:
  absl::Span<const uint8_t> rest_;
};

class Judge {
 public:
  // The operation that everything is compared after, until the next Begin(): a text with a {} for
  // each number. It is put together only when something differs.
  template <class... Numbers>
  void Begin(const char* operation, Numbers... numbers) {
    static_assert(sizeof...(numbers) <= 4);
    ++index_;
    operation_ = operation;
    numbers_ = {static_cast<uint64_t>(numbers)...};
    static const bool kTrace = std::getenv("FUZZ_TRACE") != nullptr;
    if (kTrace) std::fprintf(stderr, "%zu %s\n", index_, Text().c_str());
  }
  size_t index() const { return index_; }

  template <class T>
  void Equal(const char* what, const T& expected, const T& got) const {
    if (expected == got) return;
    Differ(what, fmt::format("{}", expected), fmt::format("{}", got));
  }
  void True(const char* what, bool holds) const {
    if (!holds) Differ(what, "true", "false");
  }
  [[noreturn]] void Differ(const char* what, const std::string& expected,
                           const std::string& got) const {
    const std::string operation =
        fmt::format(fmt::runtime(operation_), numbers_[0], numbers_[1], numbers_[2], numbers_[3]);
    std::fprintf(stderr, "operation %zu, %s: %s: expected %s, got %s\n", index_, operation.c_str(),
                 what, expected.c_str(), got.c_str());
    std::abort();
  }

 private:
  std::string Text() const {
    return fmt::format(fmt::runtime(operation_), numbers_[0], numbers_[1], numbers_[2],
                       numbers_[3]);
  }

  size_t index_ = 0;
  const char* operation_ = "start";
  std::array<uint64_t, 4> numbers_{};
};

}  // namespace overlay

#endif  // OVERLAY_TESTS_FUZZ_SECOND_MODEL_H_
