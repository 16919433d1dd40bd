#include "client-sdk/demo-core/report.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/status_matchers.h"

namespace overlay::demo {
namespace {

TEST(ReportTest, LinesAreJson) {
  ReportLine line("sent");
  line.Number("s", -7).Flag("r", true).Name("h", std::string(32, '\xab')).Names("x", {});
  line.Names("txs", {std::string(32, '\1'), std::string(32, '\2')});
  EXPECT_EQ(line.Finish(), R"({"e":"sent","s":-7,"r":true,"h":"abababababababab","x":[],)"
                           R"("txs":["0101010101010101","0202020202020202"]})"
                           "\n");
}

TEST(ReportTest, TextsOfOthersCannotBreakALine) {
  ReportLine line("error");
  line.Text("what", "a \"b\" \\ \n \x01 \xff");
  EXPECT_EQ(line.Finish(), R"({"e":"error","what":"a \"b\" \\ \u000a \u0001 \u00ff"})"
                           "\n");
}

TEST(ReportTest, AFileIsAppendedTo) {
  const std::string path = testing::TempDir() + "/report_test.jsonl";
  std::filesystem::remove(path);
  for (int life = 0; life < 2; ++life) {
    const auto report = Report::Open(path);
    ASSERT_THAT(report, IsOk());
    report->Say(ReportLine("attached").Number("n", life));
  }
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), "{\"e\":\"attached\",\"n\":0}\n{\"e\":\"attached\",\"n\":1}\n");
  std::filesystem::remove(path);
}

TEST(ReportTest, ABadPathIsNamed) {
  EXPECT_THAT(Report::Open("/nonexistent/report"),
              StatusIs(absl::StatusCode::kUnavailable, testing::HasSubstr("/nonexistent/report")));
  const auto silent = Report::Open("");
  ASSERT_THAT(silent, IsOk());
  silent->Say(ReportLine("nothing"));
}

}  // namespace
}  // namespace overlay::demo
