// tx, set: where one is.
#include <fmt/format.h>

#include "client-sdk/overlayctl/commands.h"
#include "client-sdk/overlayctl/operator_client.h"
#include "flood/base/ids.h"

namespace overlay::ctl {
namespace {

std::string AskedJson(const v1::AskedPeer& asked) {
  JsonObject out;
  out.Text("peer", asked.peer());
  out.Text("result", Plain(v1::AskedPeer::Result_Name(asked.result())));
  if (asked.has_asked_ms()) out.Number("asked_ms", asked.asked_ms());
  return out.Done();
}

void PrintAsked(const v1::AskedPeer& asked) {
  fmt::print("  {} {}{}\n", asked.peer(), Plain(v1::AskedPeer::Result_Name(asked.result())),
             asked.has_asked_ms() ? fmt::format(", asked {}", Age(true, asked.asked_ms())) : "");
}

std::string TransactionTraceJson(const v1::TransactionTrace& t) {
  JsonObject out;
  out.Text("place", Plain(v1::TransactionTrace::Place_Name(t.place())));
  if (t.fate() != 0) out.Text("fate", Plain(v1::TransactionTrace::Fate_Name(t.fate())));
  std::vector<std::string> announcers;
  for (const v1::AskedPeer& asked : t.announcers()) announcers.push_back(AskedJson(asked));
  out.List("announcers", announcers);
  if (t.size_bytes() == 0) return out.Done();
  out.Number("size_bytes", t.size_bytes()).Number("fee", t.fee());
  out.Number("operations", t.operations()).Text("lane", Plain(v1::Lane_Name(t.lane())));
  out.Text("account", HexText(t.account())).Number("sequence", t.sequence());
  out.Text("from", t.from()).Number("arrived_ms", t.arrived_ms());
  if (t.has_pooled_ms()) out.Number("pooled_ms", t.pooled_ms());
  out.Number("offers", t.offers());
  return out.List("known_by", Quoted(t.known_by())).Done();
}

void PrintTransactionTrace(const v1::TransactionTrace& t) {
  switch (t.place()) {
    case v1::TransactionTrace::PLACE_UNKNOWN:
      PrintLine("unknown: nobody announced it, or it is forgotten");
      break;
    case v1::TransactionTrace::PLACE_ANNOUNCED:
      PrintLine("announced, not here; nobody is asked for it at the moment");
      break;
    case v1::TransactionTrace::PLACE_ASKED:
      PrintLine("announced, not here; a peer is asked for it");
      break;
    case v1::TransactionTrace::PLACE_PENDING:
      fmt::print("pending: given to the core {} times, no verdict yet\n", t.offers());
      break;
    case v1::TransactionTrace::PLACE_POOLED:
      fmt::print("in the mempool since {}\n", Age(true, t.pooled_ms()));
      break;
    case v1::TransactionTrace::PLACE_REFUSED:
      fmt::print("gone, and not taken again for now: {}\n",
                 Plain(v1::TransactionTrace::Fate_Name(t.fate())));
      break;
    default:  // of a later version
      PrintLine(Plain(v1::TransactionTrace::Place_Name(t.place())));
  }
  for (const v1::AskedPeer& asked : t.announcers()) PrintAsked(asked);
  if (t.size_bytes() == 0) return;
  fmt::print("  from     {}, {}\n", t.from().empty() ? "the core" : t.from(),
             Age(true, t.arrived_ms()));
  fmt::print("  bid      {} stroops for {} operations, {}; {} bytes\n", t.fee(), t.operations(),
             Plain(v1::Lane_Name(t.lane())), t.size_bytes());
  fmt::print("  account  {}, sequence {}\n", HexText(t.account()), t.sequence());
  for (const std::string& peer : t.known_by()) fmt::print("  known by {}\n", peer);
}

std::string SetTraceJson(const v1::SetTrace& t) {
  JsonObject out;
  out.Text("place", Plain(v1::SetTrace::Place_Name(t.place())));
  if (t.has_slot()) out.Number("slot", t.slot());
  out.Bool("wanted_by_core", t.wanted_by_core()).Bool("named_by_peers", t.named_by_peers());
  out.Number("received_bytes", t.received_bytes()).Number("total_bytes", t.total_bytes());
  std::vector<std::string> sources;
  for (const v1::AskedPeer& asked : t.sources()) sources.push_back(AskedJson(asked));
  out.List("sources", sources).Number("passes", t.passes());
  if (t.has_next_pass_ms()) out.Number("next_pass_ms", t.next_pass_ms());
  out.Number("size_bytes", t.size_bytes()).Bool("guest", t.guest());
  out.Bool("externalized", t.externalized());
  return out.List("held_by", Quoted(t.held_by())).Done();
}

void PrintSetTrace(const v1::SetTrace& t) {
  switch (t.place()) {
    case v1::SetTrace::PLACE_UNKNOWN:
      PrintLine("unknown: neither here nor wanted");
      break;
    case v1::SetTrace::PLACE_WANTED:
      fmt::print("wanted{}{}: {} of {} bytes are here\n", t.wanted_by_core() ? " by the core" : "",
                 t.named_by_peers() ? ", named by peers" : "", t.received_bytes(),
                 t.total_bytes() == 0 ? "unknown" : fmt::format("{}", t.total_bytes()));
      break;
    case v1::SetTrace::PLACE_CACHED:
      fmt::print("here, {} bytes{}{}\n", t.size_bytes(),
                 t.guest() ? ", a guest: no envelope that names it was judged" : "",
                 t.externalized() ? ", externalized" : "");
      break;
    case v1::SetTrace::PLACE_OFFERED:
      PrintLine("on its way from the core");
      break;
    default:  // of a later version
      PrintLine(Plain(v1::SetTrace::Place_Name(t.place())));
  }
  if (t.has_slot()) fmt::print("  slot {}\n", t.slot());
  for (const v1::AskedPeer& asked : t.sources()) PrintAsked(asked);
  if (t.passes() > 0) {
    fmt::print("  all were asked in vain {} times{}\n", t.passes(),
               t.has_next_pass_ms() ? fmt::format(", again in {} ms", t.next_pass_ms()) : "");
  }
  for (const std::string& peer : t.held_by()) fmt::print("  held by {}\n", peer);
}

}  // namespace

absl::Status TraceTransaction(const Arguments& arguments, OperatorClient& client) {
  v1::TraceTransactionRequest request;
  request.set_hash(std::string(TxHash::FromHex(arguments.operand)->view()));
  v1::TransactionTrace trace;
  const auto context = client.Context();
  const grpc::Status status = client.stub().TraceTransaction(context.get(), request, &trace);
  if (!status.ok()) return client.Explain(status);
  if (arguments.json) {
    PrintLine(TransactionTraceJson(trace));
  } else {
    PrintTransactionTrace(trace);
  }
  return absl::OkStatus();
}

absl::Status TraceSet(const Arguments& arguments, OperatorClient& client) {
  v1::TraceSetRequest request;
  request.set_kind(arguments.quorum_set ? v1::SET_KIND_QUORUM_SET : v1::SET_KIND_TX_SET);
  request.set_hash(std::string(SetHash::FromHex(arguments.operand)->view()));
  v1::SetTrace trace;
  const auto context = client.Context();
  const grpc::Status status = client.stub().TraceSet(context.get(), request, &trace);
  if (!status.ok()) return client.Explain(status);
  if (arguments.json) {
    PrintLine(SetTraceJson(trace));
  } else {
    PrintSetTrace(trace);
  }
  return absl::OkStatus();
}

}  // namespace overlay::ctl
