// tests/transport/bulk_window_fixture.h
//
// A bulk window that is told by hand what happens on a path of 10 ms. It starts on a cold window;
// GoSteady() brings it past slow start to figures that the tests count on.
#ifndef OVERLAY_TESTS_TRANSPORT_BULK_WINDOW_FIXTURE_H_
#define OVERLAY_TESTS_TRANSPORT_BULK_WINDOW_FIXTURE_H_

#include <chrono>
#include <cstdint>

#include "flood/base/time.h"
#include "gtest/gtest.h"
#include "transport/bulk_window.h"

namespace overlay::transport {

// A path of 10 ms, told to the window by hand. In congestion avoidance with room to spare unless
// said.
class BulkWindowTest : public testing::Test {
 protected:
  void Write(uint64_t bytes) {
    flight.in_flight_bytes += bytes;
    window.OnFlight(now, flight);
    window.OnBulkWritten(now, bytes);
  }
  void Ack(Duration rtt, uint64_t bytes) {
    flight.in_flight_bytes -= bytes;
    window.OnSample(now, {rtt, srtt, cwnd, ssthresh, flight});
    window.CheckInvariants();
  }
  // Four samples of `bytes` each over the interval of an evaluation; the fourth evaluates.
  void AckFour(Duration rtt, uint64_t bytes) {
    for (int i = 0; i < 4; ++i) {
      now += srtt / 16;
      Ack(rtt, bytes);
    }
  }
  // Ends start with q = 2 ms: W = 0.5 x 15,972 x 9.5/12 = 6,322.25; nothing in flight, not holding.
  void GoSteady() {
    Write(14'520);
    AckFour(std::chrono::milliseconds(10), 363);
    Write(2'904);
    AckFour(std::chrono::milliseconds(12), 363);
    ASSERT_EQ(window.phase(), BulkWindow::Phase::kSteady);
    ASSERT_EQ(window.window_bytes(), 6'322u);
    ASSERT_TRUE(window.holding());
    DrainAll(std::chrono::milliseconds(10));
    // q = 0 ends the row of cuts; too little was used to grow.
    Write(400);
    AckFour(std::chrono::milliseconds(10), 100);
    ASSERT_EQ(window.queueing_delay(), Duration(0));
  }
  // All of the flight leaves in one interval.
  void DrainAll(Duration rtt) {
    const uint64_t each = flight.in_flight_bytes / 4;
    for (int i = 0; i < 3; ++i) {
      now += srtt / 16;
      Ack(rtt, each);
    }
    now += srtt / 16;
    Ack(rtt, flight.in_flight_bytes);
    ASSERT_FALSE(window.holding());
  }
  // Bytes that are no bulk of ours, control frames say.
  void WriteControl(uint64_t bytes) {
    flight.in_flight_bytes += bytes;
    window.OnFlight(now, flight);
  }
  void LoseAll() {
    flight = {};
    window.OnFlight(now, flight);
  }

  Time now{std::chrono::seconds(1000)};
  BulkWindow window{now};
  BulkWindow::Flight flight;
  Duration srtt = std::chrono::milliseconds(10);
  uint64_t cwnd = 10'000'000;
  uint64_t ssthresh = 1;
};

// A window grown on 20 MB/s over 10 ms, to twice what that path holds.
class LargeBulkWindowTest : public BulkWindowTest {
 protected:
  void SetUp() override {
    GoSteady();
    Write(1'000'000);
    for (int quarter = 0; quarter < 400; ++quarter) {
      AckFour(std::chrono::milliseconds(10), 12'500);
      if (quarter < 380) Write(50'000);
    }
    ASSERT_EQ(window.window_bytes(), 400'000u);
    ASSERT_EQ(flight.in_flight_bytes, 0u);
  }
};

}  // namespace overlay::transport

#endif  // OVERLAY_TESTS_TRANSPORT_BULK_WINDOW_FIXTURE_H_
