// Which of two statements is newer, beside the rules written out one by one. Three statements of
// one node and slot, all skimmed from envelopes, with so few values and counters that they often
// differ in one thing only; every pair is compared both ways, and the three as a chain.
#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "flood/base/bytes.h"
#include "flood/scp_order.h"
#include "tests/fuzz/second_model.h"

namespace overlay::flood {
namespace {

// A statement as the model knows it: no views, no skim.
struct Ballot {
  uint32_t counter = 0;
  std::string value;
};
struct Statement {
  uint32_t type = 0;  // as on the wire
  Ballot ballot;
  std::optional<Ballot> prepared, prepared_prime;
  uint32_t prepared_counter = 0, high_counter = 0, commit_counter = 0;
  std::vector<std::string> votes, accepted;
};

// -1, 0 or 1.
int Compare(uint64_t a, uint64_t b) { return a < b ? -1 : a > b ? 1 : 0; }
int CompareBytes(const std::string& a, const std::string& b) {
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const int order = Compare(static_cast<uint8_t>(a[i]), static_cast<uint8_t>(b[i]));
    if (order != 0) return order;
  }
  return Compare(a.size(), b.size());
}
int Compare(const Ballot& a, const Ballot& b) {  // R4
  const int order = Compare(a.counter, b.counter);
  return order != 0 ? order : CompareBytes(a.value, b.value);
}
int Compare(const std::optional<Ballot>& a, const std::optional<Ballot>& b) {
  if (a && b) return Compare(*a, *b);
  return Compare(a ? 1 : 0, b ? 1 : 0);
}
// The first that is not 0 decides.
bool Above(std::initializer_list<int> orders) {
  for (const int order : orders) {
    if (order != 0) return order > 0;
  }
  return false;
}

bool IsProperList(const std::vector<std::string>& values) {
  for (size_t i = 1; i < values.size(); ++i) {
    if (CompareBytes(values[i - 1], values[i]) >= 0) return false;
  }
  return true;
}
bool Contains(const std::vector<std::string>& all, const std::vector<std::string>& some) {
  return std::all_of(some.begin(), some.end(), [&](const std::string& value) {
    return std::count(all.begin(), all.end(), value) > 0;
  });
}

bool NaiveNewer(const Statement& a, const Statement& b) {
  constexpr uint32_t kPrepare = 0, kConfirm = 1, kExternalize = 2, kNominate = 3;
  if (a.type == kNominate && b.type == kNominate) {  // R5
    for (const auto* list : {&a.votes, &a.accepted, &b.votes, &b.accepted}) {
      if (!IsProperList(*list)) return false;
    }
    return Contains(a.votes, b.votes) && Contains(a.accepted, b.accepted) &&
           !(Contains(b.votes, a.votes) && Contains(b.accepted, a.accepted));
  }
  if (a.type == kNominate || b.type == kNominate) return false;  // R6
  if (a.type == kExternalize) return b.type != kExternalize;     // R1, R6
  if (a.type == kConfirm && b.type == kConfirm) {                // R3
    return Above({Compare(a.ballot, b.ballot), Compare(a.prepared_counter, b.prepared_counter),
                  Compare(a.high_counter, b.high_counter)});
  }
  if (a.type == kPrepare && b.type == kPrepare) {  // R2
    return Above({Compare(a.ballot, b.ballot), Compare(a.prepared, b.prepared),
                  Compare(a.prepared_prime, b.prepared_prime),
                  Compare(a.high_counter, b.high_counter)});
  }
  return a.type == kConfirm && b.type == kPrepare;  // R1
}

// ---- statements of the input's choice, and their bytes

uint32_t AnyCounter(FuzzInput& in) {
  return in.Pick(std::array<uint32_t, 5>{1, 2, 0, 256, UINT32_MAX});
}
std::string AnyValue(FuzzInput& in) {
  static const std::array<std::string, 6> kValues = {"a", "b", "", "ab", "\x7f", "\x80"};
  return in.Pick(kValues);
}
Ballot AnyBallot(FuzzInput& in) {
  const uint32_t counter = AnyCounter(in);
  return {counter, AnyValue(in)};
}
std::optional<Ballot> MaybeBallot(FuzzInput& in) {
  return in.Flag() ? std::optional(AnyBallot(in)) : std::nullopt;
}
std::vector<std::string> AnyValues(FuzzInput& in) {
  std::vector<std::string> values(in.Below(4));
  for (std::string& value : values) value = AnyValue(in);
  // Mostly what SCP would take.
  if (in.Below(8) == 7) return values;
  const auto before = [](const std::string& a, const std::string& b) {
    return CompareBytes(a, b) < 0;
  };
  std::sort(values.begin(), values.end(), before);
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}
Statement AnyStatement(FuzzInput& in) {
  Statement statement;
  statement.type = static_cast<uint32_t>(in.Below(4));
  if (statement.type == 3) {
    statement.votes = AnyValues(in);
    statement.accepted = AnyValues(in);
    return statement;
  }
  statement.ballot = AnyBallot(in);
  if (statement.type == 0) {
    statement.prepared = MaybeBallot(in);
    statement.prepared_prime = MaybeBallot(in);
  }
  if (statement.type == 1) statement.prepared_counter = AnyCounter(in);
  statement.commit_counter = AnyCounter(in);
  statement.high_counter = AnyCounter(in);
  return statement;
}
// One member of `statement` is chosen anew.
Statement Changed(Statement statement, FuzzInput& in) {
  const Statement other = AnyStatement(in);
  switch (in.Below(7)) {
    case 0:
      statement.ballot = other.ballot;
      break;
    case 1:
      statement.prepared = other.prepared;
      break;
    case 2:
      statement.prepared_prime = other.prepared_prime;
      break;
    case 3:
      statement.prepared_counter = other.prepared_counter;
      break;
    case 4:
      statement.high_counter = other.high_counter;
      break;
    case 5:
      statement.votes = other.votes;
      break;
    case 6:
      statement.accepted = other.accepted;
      break;
  }
  return statement;
}

class Writer {
 public:
  std::string Envelope(const Statement& statement) {
    Word(0);
    out_.append(32, 'n');
    Word(0);
    Word(7);  // the slot
    Word(statement.type);
    const std::string quorum_set(32, 'q');
    if (statement.type == 0 || statement.type == 3) out_ += quorum_set;
    if (statement.type == 3) {
      Values(statement.votes);
      Values(statement.accepted);
    } else {
      Write(statement.ballot);
    }
    if (statement.type == 0) {
      Write(statement.prepared);
      Write(statement.prepared_prime);
    }
    if (statement.type == 1) Word(statement.prepared_counter);
    if (statement.type < 2) Word(statement.commit_counter);
    if (statement.type < 3) Word(statement.high_counter);
    if (statement.type == 1 || statement.type == 2) out_ += quorum_set;
    Word(0);  // no signature
    return out_;
  }

 private:
  void Word(uint64_t word) {
    for (int shift = 24; shift >= 0; shift -= 8) out_.push_back(static_cast<char>(word >> shift));
  }
  void Opaque(const std::string& value) {
    Word(value.size());
    out_ += value;
    out_.append((4 - value.size() % 4) % 4, '\0');
  }
  void Write(const Ballot& ballot) {
    Word(ballot.counter);
    Opaque(ballot.value);
  }
  void Write(const std::optional<Ballot>& ballot) {
    Word(ballot ? 1 : 0);
    if (ballot) Write(*ballot);
  }
  void Values(const std::vector<std::string>& values) {
    Word(values.size());
    for (const std::string& value : values) Opaque(value);
  }

  std::string out_;
};

void Run(FuzzInput in) {
  Judge judge;
  while (!in.empty() && judge.index() < 300) {
    std::array<Statement, 3> statements{AnyStatement(in), {}, {}};
    for (size_t i = 1; i < 3; ++i) {
      statements[i] = in.Flag() ? Changed(statements[i - 1], in) : AnyStatement(in);
    }
    std::array<Bytes, 3> envelopes;
    std::array<EnvelopeSkim, 3> skims;
    for (size_t i = 0; i < 3; ++i) {
      envelopes[i] = Bytes::Take(Writer().Envelope(statements[i]));
      auto skim = SkimEnvelope(envelopes[i].span());
      OVERLAY_CHECK(skim.ok());
      skims[i] = *std::move(skim);
    }
    std::array<std::array<bool, 3>, 3> newer{};
    for (size_t a = 0; a < 3; ++a) {
      for (size_t b = 0; b < 3; ++b) {
        judge.Begin("types {} and {}", statements[a].type, statements[b].type);
        newer[a][b] = Newer(skims[a].statement, skims[b].statement);
        judge.Equal("newer", NaiveNewer(statements[a], statements[b]), newer[a][b]);
      }
    }
    for (size_t a = 0; a < 3; ++a) {
      judge.True("nothing is newer than itself", !newer[a][a]);
      for (size_t b = 0; b < 3; ++b) {
        judge.True("not both are newer", !(newer[a][b] && newer[b][a]));
        for (size_t c = 0; c < 3; ++c) {
          judge.True("transitive", !(newer[a][b] && newer[b][c]) || newer[a][c]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace overlay::flood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  overlay::flood::Run(overlay::FuzzInput(data, size));
  return 0;
}
