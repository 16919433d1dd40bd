// What is remembered of peers: decaying figures, addresses, worth, and who is forgotten.
#include "flood/peers/peer_book.h"

#include "gtest/gtest.h"

namespace overlay::flood {
namespace {

using namespace std::chrono_literals;

constexpr Time kNow{100000s};

NodeKey Key(uint32_t n) {
  NodeKey key;
  key.bytes[0] = static_cast<uint8_t>(n >> 8);
  key.bytes[1] = static_cast<uint8_t>(n);
  key.bytes[31] = 1;
  return key;
}

SocketAddress Address(uint32_t n) { return SocketAddress::V4(0x0a000000 + n, 11625); }

TEST(Decayed, HalvesInItsHalfLifeAndNeverBackwards) {
  Decayed sum(10s);
  EXPECT_EQ(sum.At(kNow), 0);
  sum.Add(kNow, 8);
  EXPECT_DOUBLE_EQ(sum.At(kNow), 8);
  EXPECT_NEAR(sum.At(kNow + 10s), 4, 1e-9);
  EXPECT_NEAR(sum.At(kNow + 30s), 1, 1e-9);
  EXPECT_DOUBLE_EQ(sum.At(kNow - 30s), 8);
  sum.Add(kNow + 10s, 4);
  EXPECT_NEAR(sum.At(kNow + 20s), 4, 1e-9);
  sum.Add(kNow - 10s, 1);  // as if at the latest time that it knows
  EXPECT_NEAR(sum.At(kNow + 20s), 4.5, 1e-9);
}

TEST(Decayed, CountsWhatWasBeforeTheClocksStart) {
  Decayed sum(10s);
  sum.Add(Time{} - 10s, 8);
  EXPECT_NEAR(sum.At(Time{}), 4, 1e-9);
}

TEST(Decayed, MeanForgetsOldSamples) {
  DecayedMean mean(10s);
  EXPECT_FALSE(mean.At(kNow));
  mean.Add(kNow, 4);
  EXPECT_DOUBLE_EQ(*mean.At(kNow + 100s), 4);
  mean.Add(kNow + 10s, 1);  // the first one weighs half
  EXPECT_NEAR(*mean.At(kNow + 10s), 2, 1e-9);
  EXPECT_FALSE(mean.At(kNow + 1h));
}

TEST(PeerBook, AddsOncePerKey) {
  PeerBook book;
  EXPECT_EQ(book.Find(Key(1)), nullptr);
  KnownPeer& peer = book.Add(kNow, Key(1));
  EXPECT_EQ(peer.last_seen, kNow);
  peer.connected_total = 3;
  EXPECT_EQ(book.Add(kNow + 1s, Key(1)).connected_total, 3u);
  EXPECT_EQ(book.Find(Key(1)), &peer);
  book.CheckInvariants();
}

TEST(PeerBook, WorthIsWhatItDidLessWhatItCosts) {
  KnownPeer idle;
  idle.last_seen = kNow;
  KnownPeer first = idle;
  first.first_envelopes.Add(kNow, 100);
  KnownPeer second = idle;
  second.first_envelopes.Add(kNow, 50);
  EXPECT_EQ(idle.Worth(kNow), 0);
  EXPECT_NEAR(first.Worth(kNow) - second.Worth(kNow), 1, 0.05);  // twice as much: one more
  KnownPeer transactions = idle;
  transactions.first_transactions.Add(kNow, 1000);
  EXPECT_NEAR(transactions.Worth(kNow), first.Worth(kNow), 1e-9);
  KnownPeer served = idle;
  served.fetches_ok.Add(kNow, 10);
  EXPECT_NEAR(served.Worth(kNow), first.Worth(kNow), 1e-9);
  served.fetches_failed.Add(kNow, 10);
  EXPECT_NEAR(served.Worth(kNow), 0, 1e-9);
  KnownPeer far = first;
  far.rtt.Add(kNow, 0.1);
  EXPECT_NEAR(far.Worth(kNow), first.Worth(kNow) - 1, 1e-9);
  far.rtt.Add(kNow, 1000);
  EXPECT_NEAR(far.Worth(kNow), first.Worth(kNow) - 5, 1e-9);  // no more than that
}

TEST(PeerBook, WorthFallsByTheDayUnlessConnected) {
  KnownPeer peer;
  peer.last_seen = kNow;
  EXPECT_NEAR(peer.Worth(kNow + 48h), -2, 1e-9);
  EXPECT_NEAR(peer.Worth(kNow + 24h * 365), -30, 1e-9);
  EXPECT_EQ(peer.Worth(kNow - 1h), 0);
  peer.state = PeerState::kConnected;
  EXPECT_EQ(peer.Worth(kNow + 48h), 0);
}

TEST(PeerBook, TheNewcomerDisplacesTheOneOfLeastWorth) {
  PeerBook book;
  for (uint32_t i = 0; i < kBookPeersMax; ++i) {
    book.Add(kNow, Key(i)).first_envelopes.Add(kNow, 1 + i % 500);
  }
  book.Find(Key(0))->state = PeerState::kConnected;
  book.Find(Key(500))->configured = true;
  book.Find(Key(500))->state = PeerState::kWaiting;
  book.Find(Key(1))->state = PeerState::kDialling;
  EXPECT_EQ(book.peers().size(), kBookPeersMax);
  book.Add(kNow, Key(2000)).first_envelopes.Add(kNow, 1000);
  EXPECT_EQ(book.peers().size(), kBookPeersMax);
  EXPECT_EQ(book.Find(Key(501)), nullptr);  // the least of those that nothing keeps
  for (const uint32_t kept : {0u, 1u, 2u, 500u, 2000u}) EXPECT_NE(book.Find(Key(kept)), nullptr);
  book.CheckInvariants();
}

TEST(PeerBook, MoreThanTheBoundStayOnlyWhileTheyAreKept) {
  PeerBook book;
  for (uint32_t i = 0; i < kBookPeersMax + 10; ++i) {
    KnownPeer& peer = book.Add(kNow, Key(i));
    peer.configured = true;
    peer.state = PeerState::kWaiting;
  }
  EXPECT_EQ(book.peers().size(), kBookPeersMax + 10);
  for (uint32_t i = 0; i < 20; ++i) {
    book.Find(Key(i))->configured = false;
    book.Find(Key(i))->state = PeerState::kLost;
  }
  book.Trim(kNow);
  EXPECT_EQ(book.peers().size(), kBookPeersMax);
  book.CheckInvariants();
}

TEST(PeerBook, ANewAddressTakesThePlaceOfTheOldestSuccess) {
  PeerBook book;
  KnownPeer& peer = book.Add(kNow, Key(1));
  for (uint32_t i = 0; i < kBookAddressesMax; ++i) {
    book.Learn(Key(1), {Address(i), AddressSource::kFile,
                        kNow + 1s * (i == 3 ? -100 : static_cast<int>(i))});
  }
  EXPECT_EQ(peer.addresses.size(), kBookAddressesMax);
  const auto has = [&](uint32_t n) { return book.OwnerOf(Address(n)).has_value(); };
  book.Learn(Key(1), {Address(20), AddressSource::kListens, std::nullopt});
  EXPECT_FALSE(has(3));
  EXPECT_TRUE(has(20));
  book.Learn(Key(1), {Address(21), AddressSource::kFile, kNow});  // the one without any success
  EXPECT_FALSE(has(20));
  EXPECT_TRUE(has(0) && has(21));
  EXPECT_EQ(peer.addresses.size(), kBookAddressesMax);
  book.CheckInvariants();
}

TEST(PeerBook, WhatAPeerSaysNeverUndoesWhatADialShowed) {
  PeerBook book;
  KnownPeer& peer = book.Add(kNow, Key(1));
  book.Learn(Key(1), {Address(1), AddressSource::kListens, std::nullopt});
  EXPECT_EQ(peer.addresses[0].source, AddressSource::kListens);
  book.Learn(Key(1), {Address(1), AddressSource::kFile, kNow});
  book.Learn(Key(1), {Address(1), AddressSource::kListens, std::nullopt});
  ASSERT_EQ(peer.addresses.size(), 1u);
  EXPECT_EQ(peer.addresses[0].source, AddressSource::kFile);
  EXPECT_EQ(peer.addresses[0].last_success, kNow);
}

TEST(PeerBook, AnAddressIsOfTheLastOneFoundThere) {
  PeerBook book;
  book.Add(kNow, Key(1));
  book.Add(kNow, Key(2));
  book.Learn(Key(1), {Address(1), AddressSource::kFile, kNow});
  EXPECT_EQ(book.OwnerOf(Address(1)), Key(1));
  book.Learn(Key(2), {Address(1), AddressSource::kFile, kNow + 1s});
  EXPECT_EQ(book.OwnerOf(Address(1)), Key(2));
  EXPECT_TRUE(book.Find(Key(1))->addresses.empty());
}

}  // namespace
}  // namespace overlay::flood
