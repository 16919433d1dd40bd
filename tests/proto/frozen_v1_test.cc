// v1 of the protocols never changes under those who speak it: fields, numbers, types and calls are
// compared with the copy in frozen_v1/. Additions are compatible, but must be added to the copy, on
// purpose.
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "overlay/v1/core.pb.h"
#include "overlay/v1/operator.pb.h"
#include "overlay/v1/peer.pb.h"
#include "tests/proto/descriptor_dump.h"

namespace overlay {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::string> ReadFrozen(const std::string& name) {
  std::ifstream file("tests/proto/frozen_v1/" + name + ".txt");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

void ExpectAsFrozen(const std::string& name, const google::protobuf::FileDescriptor& file,
                    size_t lines_min) {
  const std::vector<std::string> frozen = ReadFrozen(name);
  ASSERT_GE(frozen.size(), lines_min) << "tests/proto/frozen_v1/" << name << ".txt is not whole";
  EXPECT_THAT(CompareWithFrozen(frozen, DumpFile(file)), IsEmpty());
}

TEST(FrozenV1, CoreProtocolIsAsFrozen) {
  ExpectAsFrozen("core", *v1::ScpUp::descriptor()->file(), 200);
}

TEST(FrozenV1, OperatorProtocolIsAsFrozen) {
  ExpectAsFrozen("operator", *v1::StatusRequest::descriptor()->file(), 80);
}

TEST(FrozenV1, PeerProtocolIsAsFrozen) {
  ExpectAsFrozen("peer", *v1::peer::Hello::descriptor()->file(), 80);
}

// The comparison itself: each kind of change is found, and named.
TEST(FrozenV1, EachKindOfChangeIsNamed) {
  const std::vector<std::string> frozen = {"message a.M:", "field a.M.x: 1 uint64 singular",
                                           "rpc a.S.Do: a.M returns stream a.M"};
  EXPECT_THAT(CompareWithFrozen(frozen, frozen), IsEmpty());

  std::vector<std::string> renumbered = frozen;
  renumbered[1] = "field a.M.x: 2 uint64 singular";
  EXPECT_THAT(CompareWithFrozen(frozen, renumbered),
              ElementsAre("field a.M.x was \"1 uint64 singular\" in v1 and is now "
                          "\"2 uint64 singular\""));

  std::vector<std::string> without_stream = frozen;
  without_stream[2] = "rpc a.S.Do: a.M returns a.M";
  EXPECT_THAT(CompareWithFrozen(frozen, without_stream), ElementsAre(HasSubstr("rpc a.S.Do was")));

  std::vector<std::string> removed = {frozen[0], frozen[2]};
  EXPECT_THAT(CompareWithFrozen(frozen, removed),
              ElementsAre(HasSubstr("field a.M.x (1 uint64 singular) is gone")));

  std::vector<std::string> added = frozen;
  added.push_back("field a.M.y: 2 bytes repeated");
  EXPECT_THAT(CompareWithFrozen(frozen, added),
              ElementsAre(HasSubstr("field a.M.y (2 bytes repeated) is new: add it")));
}

// A dump shows what a change could break: numbers, types, labels, oneofs, streaming.
TEST(FrozenV1, DumpShowsNumbersTypesLabelsOneofsAndStreaming) {
  const std::vector<std::string> core = DumpFile(*v1::ScpUp::descriptor()->file());
  EXPECT_THAT(core,
              testing::IsSupersetOf(
                  {"package overlay.v1:",
                   "rpc overlay.v1.Core.Scp: stream overlay.v1.ScpUp returns stream "
                   "overlay.v1.ScpDown",
                   "field overlay.v1.ScpUp.broadcast: 1 overlay.v1.ScpBroadcast singular in "
                   "oneof message",
                   "field overlay.v1.ScpBroadcast.id: 2 uint64 optional",
                   "field overlay.v1.LedgerClosedRequest.keep_slots: 4 uint64 repeated packed",
                   "value overlay.v1.SetKind.SET_KIND_QUORUM_SET: 2",
                   "value overlay.v1.SubmitResult.Outcome.OUTCOME_TOO_LARGE: 7"}));
}

}  // namespace
}  // namespace overlay
