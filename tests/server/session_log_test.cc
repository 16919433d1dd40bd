// What the log says of peers, as the edge hears of them.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/sessions_fixture.h"
#include "tests/support/captured_stderr.h"

namespace overlay::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(SessionLog, NamesWhoBreaksTheProtocolAndHow) {
  CapturedStderr captured;
  Log log(LogLevel::kInfo, LogFormat::kText);
  FakeNode node;
  CoreSessionsOptions options;
  options.log = &log;
  CoreSessions sessions(options, &node, Random(1));
  NodeKey key;
  key.bytes.fill(7);
  sessions.OnPeerNews(Time{}, flood::PeerOffended{key, Offence::kWrongHash});
  EXPECT_THAT(captured.Lines(),
              ElementsAre(HasSubstr("peer_offence peer=" + ToStrkey(key) + " kind=wrong_hash")));
}

}  // namespace
}  // namespace overlay::server
