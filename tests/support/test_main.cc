// main() of every test binary: survivable bugs are fatal, and under CI a skipped test fails the
// run.
#include <cstdlib>

#include "flood/base/check.h"
#include "gtest/gtest.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  overlay::BugsAreFatal(true);
  const int result = RUN_ALL_TESTS();
  const bool ci = std::getenv("CI") != nullptr;
  if (ci && testing::UnitTest::GetInstance()->skipped_test_count() > 0) return 1;
  return result;
}
