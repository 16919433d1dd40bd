// client-sdk/demo-core/report.h
//
// What a demo core says about itself, as JSON lines, for who checks the network (scripts/run).
// Times are CLOCK_MONOTONIC in nanoseconds, which all processes of the machine share.
//
//   {"e":"attached","node":"G...","t":1}      its daemon's key
//   {"e":"detached","why":"...","final":false,"t":1}
//   {"e":"peers","n":3,"peer":"G...","up":true,"why":"","t":1}        one daemon came or went
//   {"e":"error","what":"...","t":1}
//   {"e":"sent","s":7,"p":"ballot","h":"0123456789abcdef","t":1}      an envelope of its own
//   {"e":"seen","s":7,"v":"G...","h":"...","t":1,"r":false}           one of another validator
//   {"e":"proposed","s":7,"set":"...","n":12}                         a set that it made
//   {"e":"fetched","s":7,"set":"...","us":900,"kind":"tx"}            a set that it lacked
//   {"e":"missing","s":7,"set":"...","v":"G...","t":1}                lacked too long, named by
//   {"e":"refused_set","s":7,"set":"...","why":"..."}
//   {"e":"closed","s":7,"hash":"...","set":"...","txs":["..."],"t":1}
//   {"e":"jumped","s":7}                      ledgers up to 7 were not to be had
//   {"e":"slow","what":"TopTransactions"}     its deadline has passed
//   {"e":"submitted","h":["..."],"t":1}       {"e":"refused","h":"...","why":"..."}
//
// A line is one write, so a killed core leaves whole lines. Threads: one.
#ifndef OVERLAY_CLIENT_SDK_DEMO_CORE_REPORT_H_
#define OVERLAY_CLIENT_SDK_DEMO_CORE_REPORT_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "flood/base/time.h"

namespace overlay::demo {

// One JSON object, built field by field.
class ReportLine {
 public:
  explicit ReportLine(std::string_view event) { Text("e", event); }
  ReportLine& Text(std::string_view key, std::string_view value);
  ReportLine& Number(std::string_view key, int64_t value);
  ReportLine& Flag(std::string_view key, bool value);
  ReportLine& At(Time time) { return Number("t", time.time_since_epoch().count()); }
  // The first 8 bytes in hex, enough to tell things apart.
  ReportLine& Name(std::string_view key, std::string_view hash);
  ReportLine& Names(std::string_view key, const std::vector<std::string>& hashes);
  std::string Finish() const { return line_ + "}\n"; }

 private:
  void Key(std::string_view key);

  std::string line_;
};

class Report {
 public:
  // A path, or the number of an open descriptor; empty: nothing is said.
  static absl::StatusOr<Report> Open(const std::string& where);

  void Say(const ReportLine& line) const;

 private:
  explicit Report(int fd) : fd_(fd) {}

  int fd_;  // open until the process ends; -1: none
};

}  // namespace overlay::demo

#endif  // OVERLAY_CLIENT_SDK_DEMO_CORE_REPORT_H_
