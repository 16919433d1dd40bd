// flood/slab.h
//
// Slab<T>: records with stable addresses, named by small indices, in chunks, so that neither growth
// nor removal ever moves one (a vector of 100,000 records would stop the loop for milliseconds when
// it grows). IndexList: a doubly linked list threaded through such records by a member, for orders
// that need O(1) removal from the middle: queues by age, one list per peer.
//
// An index is reused after Free(); `generation(i)` differs then, so TxRef-like pairs tell.
// Cost O(1) each, one allocation per kChunkCount records, memory is kept. Threads: none.
#ifndef OVERLAY_FLOOD_SLAB_H_
#define OVERLAY_FLOOD_SLAB_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "flood/base/check.h"

namespace overlay::flood {

inline constexpr uint32_t kNoIndex = UINT32_MAX;

template <class T>
class Slab {
 public:
  uint32_t Allocate() {
    if (free_.empty()) Grow();
    const uint32_t index = free_.back();
    free_.pop_back();
    Cell& cell = CellAt(index);
    cell.used = true;
    ++size_;
    return index;
  }
  void Free(uint32_t index) {
    Cell& cell = CellAt(index);
    OVERLAY_CHECK(cell.used);
    cell.value = T{};
    cell.used = false;
    ++cell.generation;
    free_.push_back(index);
    --size_;
  }

  T& operator[](uint32_t index) { return CellAt(index).value; }
  const T& operator[](uint32_t index) const { return CellAt(index).value; }
  uint32_t generation(uint32_t index) const { return CellAt(index).generation; }
  bool IsUsed(uint32_t index) const { return index < capacity() && CellAt(index).used; }
  size_t size() const { return size_; }
  // Indices are below this.
  uint32_t capacity() const { return static_cast<uint32_t>(chunks_.size() * kChunkCount); }

 private:
  static constexpr uint32_t kChunkCount = 256;
  struct Cell {
    T value{};
    uint32_t generation = 0;
    bool used = false;
  };
  using Chunk = std::array<Cell, kChunkCount>;

  Cell& CellAt(uint32_t index) { return (*chunks_[index / kChunkCount])[index % kChunkCount]; }
  const Cell& CellAt(uint32_t index) const {
    return (*chunks_[index / kChunkCount])[index % kChunkCount];
  }
  void Grow() {
    const uint32_t first = capacity();
    chunks_.push_back(std::make_unique<Chunk>());
    // Lowest first, so that indices stay dense.
    for (uint32_t i = kChunkCount; i > 0; --i) free_.push_back(first + i - 1);
  }

  std::vector<std::unique_ptr<Chunk>> chunks_;
  std::vector<uint32_t> free_;
  size_t size_ = 0;
};

struct IndexLink {
  uint32_t previous = kNoIndex;
  uint32_t next = kNoIndex;
};

// kLink: pointer to the IndexLink member of the record that this list uses. A record is in at most
// one list per member. `Records` is anything with operator[](index).
template <auto kLink>
class IndexList {
 public:
  bool empty() const { return head_ == kNoIndex; }
  size_t size() const { return size_; }
  uint32_t front() const { return head_; }
  uint32_t back() const { return tail_; }

  template <class Records>
  void PushBack(Records& records, uint32_t index) {
    IndexLink& link = records[index].*kLink;
    link = {tail_, kNoIndex};
    (tail_ == kNoIndex ? head_ : (records[tail_].*kLink).next) = index;
    tail_ = index;
    ++size_;
  }
  // Before `next`, which is in this list; at the end for kNoIndex.
  template <class Records>
  void InsertBefore(Records& records, uint32_t next, uint32_t index) {
    if (next == kNoIndex) return PushBack(records, index);
    IndexLink& after = records[next].*kLink;
    records[index].*kLink = {after.previous, next};
    (after.previous == kNoIndex ? head_ : (records[after.previous].*kLink).next) = index;
    after.previous = index;
    ++size_;
  }
  template <class Records>
  void Remove(Records& records, uint32_t index) {
    IndexLink& link = records[index].*kLink;
    (link.previous == kNoIndex ? head_ : (records[link.previous].*kLink).next) = link.next;
    (link.next == kNoIndex ? tail_ : (records[link.next].*kLink).previous) = link.previous;
    link = {};
    --size_;
  }
  template <class Records>
  static uint32_t Next(const Records& records, uint32_t index) {
    return (records[index].*kLink).next;
  }

 private:
  uint32_t head_ = kNoIndex;
  uint32_t tail_ = kNoIndex;
  size_t size_ = 0;
};

}  // namespace overlay::flood

#endif  // OVERLAY_FLOOD_SLAB_H_
