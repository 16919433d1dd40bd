#include "client-sdk/overlayctl/doctor.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace overlay::ctl {
namespace {

using testing::HasSubstr;

class DoctorTest : public testing::Test {
 protected:
  DoctorTest() {
    v1::StatusResponse& status = daemon_.status;
    status.set_node_strkey("GKEY");
    status.set_uptime_ms(600'000);
    status.set_peer_address("0.0.0.0:11625");
    status.set_peers_connected(1);
    status.set_peers_inbound(1);
    status.mutable_core()->set_tracking(true);
    status.set_last_envelope_age_ms(500);
    status.set_newest_closed_slot(7);
    v1::PeerDetail peer;
    peer.set_state(v1::PeerDetail::STATE_CONNECTED);
    peer.set_configured("one.example:1");
    daemon_.peers.push_back(peer);
    v1::NameDetail name;
    name.set_host("one.example");
    name.set_state(v1::NameDetail::STATE_OK);
    daemon_.names.push_back(name);
    daemon_.metrics = {{"overlay_clock_median_offset_seconds", 0.001},
                       {"overlay_wire_offloads_count{gso}", 1},
                       {"overlay_wire_offloads_count{gro}", 1},
                       {"overlay_wire_offloads_count{ipv6}", 1},
                       {"overlay_process_descriptors_count{open}", 40},
                       {"overlay_process_descriptors_count{limit}", 1024}};
    host_ = {.is_daemons = true,
             .rmem_max = 4 << 20,
             .wmem_max = 2 << 20,
             .udp_drops = 0,
             .clock_synchronized = true};
  }
  // What is not in order: "fail peers".
  std::vector<std::string> Complaints() {
    std::vector<std::string> complaints;
    for (const Finding& finding : Diagnose(daemon_, host_)) {
      if (finding.verdict == Verdict::kOk || finding.verdict == Verdict::kUnknown) {
        EXPECT_EQ(finding.remedy, "") << finding.what;
        continue;
      }
      EXPECT_NE(finding.remedy, "") << finding.what;
      complaints.push_back(std::string(VerdictName(finding.verdict)) + " " + finding.what);
    }
    return complaints;
  }
  Finding Of(const std::string& what) {
    for (const Finding& finding : Diagnose(daemon_, host_)) {
      if (finding.what == what) return finding;
    }
    ADD_FAILURE() << "no finding about " << what;
    return {};
  }
  void Figure(const std::string& name, double value) { daemon_.metrics[name] = value; }

  DaemonFacts daemon_;
  HostFacts host_;
};

using Strings = std::vector<std::string>;

TEST_F(DoctorTest, AHealthyDaemonGetsNoComplaint) { EXPECT_EQ(Complaints(), Strings{}); }

TEST_F(DoctorTest, ASharedKey) {
  Figure("overlay_peers_keys_shared_total", 1);
  EXPECT_EQ(Complaints(), Strings{"fail key"});
}

TEST_F(DoctorTest, TheCore) {
  daemon_.status.mutable_core()->set_tracking(false);
  EXPECT_EQ(Complaints(), Strings{"warn core"});
  daemon_.status.clear_core();
  EXPECT_EQ(Complaints(), Strings{"fail core"});
}

TEST_F(DoctorTest, EachMissingPeerWithWhatItsReasonAsksFor) {
  v1::PeerDetail peer;
  peer.set_state(v1::PeerDetail::STATE_WAITING);
  peer.set_configured("two.example:2");
  peer.set_last_reason("wrong_key");
  peer.set_dials_failed(3);
  daemon_.peers.push_back(peer);
  EXPECT_EQ(Complaints(), Strings{"warn peer"});
  EXPECT_EQ(Of("peer").found, "two.example:2 is waiting; last: wrong_key; dials failed: 3");
  EXPECT_THAT(Of("peer").remedy, HasSubstr("another key answers"));
  EXPECT_EQ(Of("peers").found, "1 connected, 1 of 2 configured are missing");
  daemon_.peers.back().clear_last_reason();
  EXPECT_THAT(Of("peer").remedy, HasSubstr("ask again"));
  // Our own name in the list of all is no fault.
  daemon_.peers.back().set_last_reason("self");
  EXPECT_EQ(Complaints(), Strings{});
}

TEST_F(DoctorTest, NobodyConnected) {
  daemon_.peers.clear();
  daemon_.status.set_peers_connected(0);
  daemon_.status.set_peers_inbound(0);
  EXPECT_EQ(Complaints(), Strings{"fail peers"});
}

TEST_F(DoctorTest, AListOfFailuresStaysReadable) {
  for (int i = 0; i < 1000; ++i) {
    v1::PeerDetail peer;
    peer.set_state(v1::PeerDetail::STATE_WAITING);
    peer.set_configured("x");
    daemon_.peers.push_back(peer);
  }
  EXPECT_EQ(Complaints().size(), 10u);
  EXPECT_EQ(Of("peers").found, "1 connected, 1000 of 1001 configured are missing");
}

TEST_F(DoctorTest, NamesThatFail) {
  daemon_.names[0].set_state(v1::NameDetail::STATE_FAILED);
  daemon_.names[0].add_addresses("192.0.2.1:1");
  EXPECT_EQ(Complaints(), Strings{"warn dns"});  // it still has what it had
  daemon_.names[0].clear_addresses();
  EXPECT_EQ(Complaints(), Strings{"fail dns"});
}

TEST_F(DoctorTest, APortThatNobodyReaches) {
  daemon_.status.set_peers_inbound(0);
  EXPECT_EQ(Complaints(), Strings{"warn port"});
  daemon_.status.set_uptime_ms(60'000);  // too early to say
  EXPECT_EQ(Complaints(), Strings{});
}

TEST_F(DoctorTest, TheClock) {
  Figure("overlay_clock_median_offset_seconds", -0.3);
  EXPECT_EQ(Complaints(), Strings{"warn clock"});
  EXPECT_EQ(Of("clock").found, "0.300 s ahead of the peers'");
  Figure("overlay_clock_median_offset_seconds", 1.5);
  EXPECT_EQ(Complaints(), Strings{"fail clock"});
  EXPECT_EQ(Of("clock").found, "1.500 s behind the peers'");
  Figure("overlay_clock_median_offset_seconds", 0);
  host_.clock_synchronized = false;
  EXPECT_EQ(Complaints(), Strings{"warn clock"});
  host_.clock_synchronized.reset();
  daemon_.metrics.erase("overlay_clock_median_offset_seconds");
  EXPECT_EQ(Of("clock").verdict, Verdict::kUnknown);
}

TEST_F(DoctorTest, ANetworkThatStandsStill) {
  daemon_.status.set_last_envelope_age_ms(61'000);
  EXPECT_EQ(Complaints(), Strings{"fail traffic"});
  daemon_.status.clear_last_envelope_age_ms();
  EXPECT_EQ(Complaints(), Strings{"fail traffic"});
}

TEST_F(DoctorTest, TheKernel) {
  host_.rmem_max = 212'992;
  host_.udp_drops = 3;
  Figure("overlay_wire_offloads_count{gso}", 0);
  Figure("overlay_wire_offloads_count{ipv6}", 0);
  EXPECT_EQ(Complaints(),
            (Strings{"warn kernel buffers", "warn udp drops", "warn gso", "warn ipv6"}));
  EXPECT_THAT(Of("kernel buffers").remedy, HasSubstr("sysctl -w net.core.rmem_max=4194304"));
  // Another machine's kernel says nothing about the daemon's.
  host_ = {};
  EXPECT_EQ(Complaints(), (Strings{"warn gso", "warn ipv6"}));
}

TEST_F(DoctorTest, TheProcess) {
  Figure("overlay_process_descriptors_count{open}", 900);
  Figure("overlay_process_bugs_total", 1);
  Figure("overlay_log_lost_total", 1);
  Figure("overlay_memory_pressed_count", 1);
  EXPECT_EQ(Complaints(), (Strings{"warn descriptors", "warn bugs", "warn log", "warn memory"}));
}

TEST_F(DoctorTest, ADrainIsSaid) {
  daemon_.status.set_draining(true);
  EXPECT_EQ(Complaints(), Strings{"fail drain"});
}

}  // namespace
}  // namespace overlay::ctl
