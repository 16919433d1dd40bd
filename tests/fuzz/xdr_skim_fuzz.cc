// What is skimmed of envelopes and transactions, beside a second reader that knows no code for any
// structure: it interprets grammars, one string per XDR structure. Both must agree on what is
// refused and on every field, for the input and for each of its beginnings; so nothing that ends
// early is taken. (Reading beyond the end is the sanitizer's to find: inputs lie in buffers of
// their own.)
//
// The first byte chooses: raw bytes, or choices from which the same grammars make a message, so
// that nearly all of it is legal.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "flood/xdr_skim.h"
#include "tests/fuzz/second_model.h"

namespace overlay::flood {
namespace {

// A grammar: w 4 bytes, d 8 bytes, h 32 bytes, o a counted opaque, v the same with a value inside,
// ?(..) optional, *x counted many x. Spaces mean nothing.
constexpr std::string_view kEnvelopeHead = "w h d w";
constexpr std::array<std::string_view, 4> kStatements = {"h wv ?(wv) ?(wv) w w", "wv w w w h",
                                                         "wv w h", "h *v *v"};
constexpr std::string_view kSignature = "o";
constexpr std::string_view kValueHead = "h d *o w";
constexpr std::array<std::string_view, 3> kValueTails = {"", "w h o", "h h w w h o"};
constexpr std::array<std::string_view, 3> kPreconditions = {"", "d d", "?(dd) ?(ww) ?(d) d w"};
constexpr std::array<std::string_view, 5> kMemos = {"", "o", "d", "h", "h"};

uint64_t Number(std::string_view big_endian) {
  uint64_t number = 0;
  for (const char c : big_endian) number = number * 256 + static_cast<uint8_t>(c);
  return number;
}

// One thing that was read: bytes, or nothing (an absent optional's), or a list.
struct Field {
  std::optional<std::string> bytes;
  std::vector<std::string> list;
};

// Takes things off the front of what is left; false once it does not match.
struct Naive {
  std::string_view left;
  bool good = true;

  std::string Raw(size_t bytes) {
    if (bytes > left.size()) good = false;
    if (!good) return std::string(std::min<size_t>(bytes, 64), '\0');
    const std::string taken(left.substr(0, bytes));
    left = left.substr(bytes);
    return taken;
  }
  uint64_t Word() { return Number(Raw(4)); }
  bool Flag() {
    const uint64_t word = Word();
    if (word > 1) good = false;
    return good && word == 1;
  }
  std::string Opaque(size_t bytes_max = SIZE_MAX) {
    const size_t size = Word();
    if (size > bytes_max || size > left.size()) good = false;
    if (!good) return "";
    const std::string taken = Raw(size);
    const std::string padding = Raw((size + 3) / 4 * 4 - size);
    if (padding.find_first_not_of('\0') != std::string::npos) good = false;
    return taken;
  }
  std::vector<Field> Match(std::string_view grammar, bool absent = false) {
    std::vector<Field> fields;
    for (size_t i = 0; i < grammar.size() && good; ++i) {
      const char what = grammar[i];
      if (what == ' ') continue;
      Field field;
      if (what == '?') {
        const size_t close = grammar.find(')', i);
        const bool is_there = Flag();
        for (const Field& part : Match(grammar.substr(i + 2, close - i - 2), !is_there)) {
          fields.push_back(part);
        }
        i = close;
        continue;
      }
      if (what == '*') {
        ++i;
        for (uint64_t count = Word(); count > 0 && good; --count) field.list.push_back(Opaque());
      } else if (absent) {
        field.bytes = std::nullopt;
      } else if (what == 'o' || what == 'v') {
        field.bytes = Opaque();
      } else {
        field.bytes = Raw(what == 'w' ? 4 : what == 'd' ? 8 : 32);
      }
      fields.push_back(field);
    }
    return fields;
  }
};

// What a skim says, in one text.
using Said = std::optional<std::string>;

std::string Show(std::string_view bytes) {
  return HexEncode({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}
std::string Show(const std::vector<std::string>& list) {
  std::string text;
  for (const std::string& one : list) text += Show(one) + ",";
  return text;
}

// The tx set that a value names, or nothing.
std::string NaiveTxSet(const std::string& value) {
  Naive in{value};
  const std::vector<Field> head = in.Match(kValueHead);
  if (!in.good) return "";
  const std::vector<std::string>& upgrades = head[2].list;
  const bool too_long = std::any_of(upgrades.begin(), upgrades.end(),
                                    [](const std::string& one) { return one.size() > 128; });
  const uint64_t kind = Number(*head[3].bytes);
  if (upgrades.size() > 6 || too_long || kind > 2) return "";
  const std::vector<Field> tail = in.Match(kValueTails[kind]);
  if (!in.good || !in.left.empty()) return "";
  if (kind > 0) {
    if (tail.back().bytes->size() > 64) return "";
    if (Number(*tail[tail.size() - 3].bytes) != 0) return "";  // a key that is not Ed25519
  }
  const std::string hash = kind == 2 ? *tail[0].bytes : *head[0].bytes;
  return hash == std::string(32, '\0') ? "" : hash;
}

Said NaiveEnvelope(std::string_view bytes) {
  Naive in{bytes};
  const std::vector<Field> head = in.Match(kEnvelopeHead);
  if (!in.good || Number(*head[0].bytes) != 0 || Number(*head[3].bytes) > 3) return {};
  const uint64_t type = Number(*head[3].bytes);
  const std::vector<Field> fields = in.Match(kStatements[type]);
  const std::string signature = in.Opaque(64);
  if (!in.good || !in.left.empty()) return {};
  std::vector<std::string> sets;
  std::string text =
      fmt::format("node {} slot {} type {}", Show(*head[1].bytes), Number(*head[2].bytes), type);
  const auto ballot = [&](size_t at) {
    if (!fields[at].bytes) return std::string("none");
    sets.push_back(NaiveTxSet(*fields[at + 1].bytes));
    return fmt::format("({}, {})", Number(*fields[at].bytes), Show(*fields[at + 1].bytes));
  };
  const auto number = [&](size_t at) { return Number(*fields[at].bytes); };
  std::string quorum_set;
  if (type == 0) {
    quorum_set = *fields[0].bytes;
    text += ballot(1) + ballot(3) + ballot(5) + fmt::format("p0 h{}", number(8));
  } else if (type == 1) {
    quorum_set = *fields[5].bytes;
    text += ballot(0) + fmt::format("nonenonep{} h{}", number(2), number(4));
  } else if (type == 2) {
    quorum_set = *fields[3].bytes;
    text += ballot(0) + fmt::format("nonenonep0 h{}", number(2));
  } else {
    quorum_set = *fields[0].bytes;
    for (const std::string& value : fields[1].list) sets.push_back(NaiveTxSet(value));
    for (const std::string& value : fields[2].list) sets.push_back(NaiveTxSet(value));
    text += "(0, )nonenonep0 h0 votes " + Show(fields[1].list);
    text += " accepted " + Show(fields[2].list);
  }
  std::sort(sets.begin(), sets.end());
  sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
  std::erase(sets, "");
  return text + " quorum set " + Show(quorum_set) + " sets " + Show(sets);
}

Said RealEnvelope(std::string_view bytes) {
  const auto skim = SkimEnvelope({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  if (!skim.ok()) {
    OVERLAY_CHECK(skim.status().code() == absl::StatusCode::kInvalidArgument);
    return {};
  }
  const ScpStatement& statement = skim->statement;
  const bool nominates = statement.type == ScpStatementType::kNominate;
  OVERLAY_CHECK(nominates == (skim->phase == ScpPhase::kNomination));
  const auto ballot = [](const std::optional<ScpBallot>& ballot) {
    return ballot ? fmt::format("({}, {})", ballot->counter, Show(ballot->value)) : "none";
  };
  const auto copy = [](const std::vector<std::string_view>& list) {
    return std::vector<std::string>(list.begin(), list.end());
  };
  std::string text = fmt::format("node {} slot {} type {}", skim->refs.node.Hex(),
                                 skim->refs.slot.value, static_cast<int>(statement.type)) +
                     ballot(statement.ballot) + ballot(statement.prepared) +
                     ballot(statement.prepared_prime) +
                     fmt::format("p{} h{}", statement.prepared_counter, statement.high_counter);
  if (nominates) {
    text += " votes " + Show(copy(statement.votes)) + " accepted " + Show(copy(statement.accepted));
  }
  std::vector<std::string> sets;
  for (const SetHash& set : skim->refs.tx_sets) sets.emplace_back(set.view());
  return text + " quorum set " + skim->refs.quorum_set.Hex() + " sets " + Show(sets);
}

std::string NaiveAccount(Naive& in) {
  const uint64_t type = in.Word();
  if (type == 0x100) in.Raw(8);
  if (type != 0 && type != 0x100) in.good = false;
  return in.Raw(32);
}

void NaiveSigners(Naive& in) {
  const uint64_t signers = in.Word();
  if (signers > 2) in.good = false;
  for (uint64_t i = 0; i < signers && in.good; ++i) {
    const uint64_t type = in.Word();
    in.Raw(32);
    if (type > 3) in.good = false;
    if (type == 3) in.Opaque(64);
  }
}

Said NaiveTransaction(std::string_view bytes) {
  Naive in{bytes};
  uint64_t type = in.Word();
  const bool bumps = type == 5;
  int64_t fee = 0;
  if (bumps) {
    NaiveAccount(in);
    fee = static_cast<int64_t>(Number(in.Raw(8)));
    type = in.Word();
  }
  if (type != 2 && (type != 0 || bumps)) return {};
  const std::string source = type == 0 ? in.Raw(32) : NaiveAccount(in);
  const uint64_t inner_fee = in.Word();
  const int64_t sequence = static_cast<int64_t>(Number(in.Raw(8)));
  if (type == 0) {
    in.Match("?(dd)");
  } else {
    const uint64_t kind = in.Word();
    if (kind > 2 || !in.good) return {};
    in.Match(kPreconditions[kind]);
    if (kind == 2) NaiveSigners(in);
  }
  const uint64_t memo = in.Word();
  if (memo > 4 || !in.good) return {};
  const std::vector<Field> text = in.Match(kMemos[memo]);
  if (memo == 1 && in.good && text[0].bytes->size() > 28) return {};
  const uint64_t operations = in.Word();
  if (!in.good || operations < 1 || operations > 100) return {};
  if (in.left.size() < 8 * operations) return {};
  if (in.Flag()) NaiveAccount(in);
  const uint64_t operation = in.Word();
  if (!in.good || fee < 0) return {};
  return fmt::format("source {} sequence {} fee {} operations {} soroban {} bump {}", Show(source),
                     sequence, bumps ? fee : static_cast<int64_t>(inner_fee),
                     operations + (bumps ? 1 : 0), operation >= 24 && operation <= 26, bumps);
}

Said RealTransaction(std::string_view bytes) {
  const auto skim = SkimTransaction({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  if (!skim.ok()) {
    OVERLAY_CHECK(skim.status().code() == absl::StatusCode::kInvalidArgument);
    return {};
  }
  return fmt::format("source {} sequence {} fee {} operations {} soroban {} bump {}",
                     skim->source.Hex(), skim->sequence, skim->fee, skim->operations,
                     skim->lane == Lane::kSoroban, skim->is_fee_bump);
}

// The whole, and some beginnings of it: which ones is the input's choice.
template <class Real, class Expected>
void Compare(Judge& judge, const std::string& message, size_t shift, Real real, Expected expected) {
  constexpr size_t kCuts = 16;
  const size_t step = message.size() / kCuts + 1;
  std::vector<size_t> sizes{message.size()};
  for (size_t size = shift % step; size < message.size(); size += step) sizes.push_back(size);
  for (const size_t size : sizes) {
    judge.Begin("the first {} of {} bytes", size, message.size());
    // A buffer that ends where the message does.
    const auto buffer = std::make_unique<char[]>(size);
    std::copy_n(message.data(), size, buffer.get());
    const std::string_view bytes(buffer.get(), size);
    judge.Equal("skim", expected(bytes).value_or("refused"), real(bytes).value_or("refused"));
  }
}

// Messages made of choices.
class Writer {
 public:
  explicit Writer(FuzzInput& in) : in_(in) {}
  std::string out;

  void Word(uint64_t word) { Put(word, 4); }
  void Opaque(std::string_view bytes) {
    Word(bytes.size());
    out += bytes;
    out.append((4 - bytes.size() % 4) % 4, '\0');
  }
  void Write(std::string_view grammar) {
    for (size_t i = 0; i < grammar.size(); ++i) {
      switch (grammar[i]) {
        case 'w':
          Word(in_.Pick(std::array<uint32_t, 5>{0, 1, 2, 7, UINT32_MAX}));
          break;
        case 'd':
          Put(in_.Pick(std::array<uint64_t, 4>{7, 0, 1, UINT64_MAX}), 8);
          break;
        case 'h':
          Hash();
          break;
        case 'o':
          Opaque(std::string(in_.Pick(std::array<size_t, 6>{0, 1, 28, 64, 29, 65}), 'x'));
          break;
        case 'v':
          Opaque(Value());
          break;
        case '?':
          Flag(grammar.substr(i + 2, grammar.find(')', i) - i - 2));
          i = grammar.find(')', i);
          break;
        case '*':
          ++i;
          Many(grammar.substr(i, 1), 3);
          break;
      }
    }
  }
  void Hash() { out += std::string(32, static_cast<char>(in_.Below(3))); }
  void Account() {
    const bool muxed = in_.Flag();
    Word(muxed ? 0x100 : 0);
    Write(muxed ? "dh" : "h");
  }
  void Envelope() {
    Word(0);
    Write("h d");
    const size_t type = in_.Below(4);
    Word(type);
    Write(kStatements[type]);
    Write(kSignature);
  }
  void Transaction() {
    const size_t type = in_.Pick(std::array<size_t, 3>{2, 0, 5});
    Word(type);
    if (type == 5) {
      Account();
      Write("d");
      Word(2);
    }
    type == 0 ? Hash() : Account();
    Write("w d");
    if (type == 0) {
      Write("?(dd)");
    } else {
      Preconditions();
    }
    const size_t memo = in_.Below(5);
    Word(memo);
    Write(kMemos[memo]);
    const size_t operations = in_.Pick(std::array<size_t, 5>{1, 2, 0, 100, 101});
    Word(operations);
    const bool has_source = in_.Flag();
    Word(has_source ? 1 : 0);
    if (has_source) Account();
    Word(in_.Pick(std::array<uint32_t, 6>{1, 23, 24, 25, 26, 27}));
    out.append(8 * (operations - std::min<size_t>(operations, in_.Below(3))), '\1');
  }

 private:
  void Put(uint64_t number, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) out.push_back(static_cast<char>(number >> (8 * i)));
  }
  void Flag(std::string_view grammar) {
    const bool is_there = in_.Flag();
    Word(is_there ? 1 : 0);
    if (is_there) Write(grammar);
  }
  void Many(std::string_view grammar, size_t count_max) {
    const size_t count = in_.Below(count_max + 1);
    Word(count);
    for (size_t i = 0; i < count; ++i) Write(grammar);
  }
  void Preconditions() {
    const size_t kind = in_.Below(3);
    Word(kind);
    Write(kPreconditions[kind]);
    if (kind != 2) return;
    const size_t signers = in_.Below(4);
    Word(signers);
    for (size_t i = 0; i < signers; ++i) {
      const size_t type = in_.Below(5);
      Word(type);
      Hash();
      if (type == 3) Write("o");
    }
  }
  std::string Value() {
    Writer value(in_);
    value.Hash();
    value.Put(7, 8);
    const size_t upgrades = in_.Pick(std::array<size_t, 4>{0, 1, 6, 7});
    value.Word(upgrades);
    for (size_t i = 0; i < upgrades; ++i) {
      value.Opaque(std::string(in_.Pick(std::array<size_t, 3>{4, 128, 129}), 'u'));
    }
    const size_t kind = in_.Below(4);
    value.Word(kind);
    if (kind == 2) value.Write("h h w");
    if (kind == 1 || kind == 2) {
      value.Word(in_.Below(8) == 7 ? 1 : 0);
      value.Write("h o");
    }
    if (in_.Below(8) == 7) value.out.push_back('\0');
    return value.out;
  }

  FuzzInput& in_;
};

void Run(FuzzInput in) {
  Judge judge;
  const uint8_t how = in.Byte();
  const size_t shift = in.Byte();
  std::string message;
  if (how % 2 == 0) {
    const auto rest = in.Take(SIZE_MAX);
    message.assign(rest.begin(), rest.end());
  } else {
    Writer writer(in);
    how % 4 == 1 ? writer.Envelope() : writer.Transaction();
    message = writer.out;
    // Now and then one byte is another.
    if (how >= 128 && !message.empty()) {
      const size_t at = (in.Byte() * size_t{256} + in.Byte()) % message.size();
      message[at] = static_cast<char>(in.Byte());
    }
  }
  Compare(judge, message, shift, RealEnvelope, NaiveEnvelope);
  Compare(judge, message, shift, RealTransaction, NaiveTransaction);
}

}  // namespace
}  // namespace overlay::flood

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  overlay::flood::Run(overlay::FuzzInput(data, size));
  return 0;
}
