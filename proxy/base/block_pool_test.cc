// BlockPool and Chain, and the Arena that takes its blocks from the same pool.
#include "proxy/base/block_pool.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "proxy/base/arena.h"
#include "proxy/base/local_ref.h"
#include "proxy/base/rng.h"

namespace pinnace::base {
namespace {

Bytes view(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

std::string text_of(const Chain& chain) {
  std::string text;
  chain.each([&](Bytes part) { text.append(reinterpret_cast<const char*>(part.data()), part.size()); });
  return text;
}

std::string pattern(size_t size) {
  std::string text(size, 0);
  for (size_t i = 0; i < size; i++) text[i] = static_cast<char>('a' + i % 23);
  return text;
}

TEST(BlockPoolTest, reuses_what_was_given_back) {
  BlockPool pool;
  auto* first = pool.take();
  EXPECT_EQ(pool.in_use(), 1u);
  first->end = 7;
  pool.give(first);
  EXPECT_EQ(pool.in_use(), 0u);
  auto* second = pool.take();
  EXPECT_EQ(second, first);
  EXPECT_EQ(second->bytes().size(), 0u) << "empty again";
  EXPECT_EQ(second->room(), BlockPool::kCapacity);
  pool.give(second);
}

TEST(BlockPoolTest, survives_more_blocks_than_it_keeps) {
  BlockPool pool;
  std::vector<BlockPool::Block*> blocks;
  for (size_t i = 0; i < 3 * BlockPool::kMaxFree; i++) blocks.push_back(pool.take());
  EXPECT_EQ(pool.in_use(), blocks.size());
  for (auto* block : blocks) pool.give(block);
  EXPECT_EQ(pool.in_use(), 0u);
}

TEST(ChainTest, keeps_bytes_in_order_over_many_blocks) {
  BlockPool pool;
  {
    Chain chain(pool);
    EXPECT_TRUE(chain.empty());
    EXPECT_TRUE(chain.front().empty());
    std::string all;
    for (size_t size :
         {size_t{0}, size_t{1}, BlockPool::kCapacity - 1, BlockPool::kCapacity, size_t{1}, 5 * BlockPool::kBlockSize}) {
      std::string part = pattern(size);
      chain.append(view(part));
      all += part;
      EXPECT_EQ(chain.size(), all.size());
    }
    EXPECT_EQ(text_of(chain), all);
  }
  EXPECT_EQ(pool.in_use(), 0u);
}

TEST(ChainTest, drains_any_number_of_bytes) {
  const std::string all = pattern(3 * BlockPool::kCapacity + 100);
  for (size_t step :
       {size_t{1000}, BlockPool::kCapacity, BlockPool::kCapacity + 1, 2 * BlockPool::kCapacity, all.size()}) {
    BlockPool pool;
    Chain chain(pool);
    chain.append(view(all));
    size_t done = 0;
    while (!chain.empty()) {
      size_t n = std::min(step, chain.size());
      chain.drain(n);
      done += n;
      ASSERT_EQ(chain.size(), all.size() - done);
      ASSERT_EQ(text_of(chain), all.substr(done));
    }
    EXPECT_EQ(pool.in_use(), 0u) << "an empty chain holds no block";
    chain.append(view("again"));
    EXPECT_EQ(text_of(chain), "again");
  }
}

TEST(ChainTest, gives_blocks_back_when_moved_from_assigned_or_cleared) {
  BlockPool pool;
  Chain first(pool);
  first.append(view(pattern(50000)));
  Chain second(std::move(first));
  // NOLINTBEGIN(bugprone-use-after-move,clang-analyzer-cplusplus.Move): moved-from chains are empty ones, by contract
  EXPECT_TRUE(first.empty());
  EXPECT_EQ(second.size(), 50000u);
  first.append(view("new"));
  EXPECT_EQ(text_of(first), "new");
  second = std::move(first);
  EXPECT_EQ(text_of(second), "new");
  EXPECT_EQ(pool.in_use(), 1u);
  second.clear();
  EXPECT_EQ(pool.in_use(), 0u);
  // NOLINTEND(bugprone-use-after-move,clang-analyzer-cplusplus.Move)
}

TEST(ChainTest, agrees_with_a_string_on_random_work) {
  BlockPool pool;
  Chain chain(pool);
  std::string expected;
  Rng rng(3);
  for (int i = 0; i < 3000; i++) {
    if (rng.below(2) == 0) {
      std::string part = pattern(rng.below(20000));
      chain.append(view(part));
      expected += part;
    } else {
      size_t n = rng.below(expected.size() + 1);
      chain.drain(n);
      expected.erase(0, n);
    }
    ASSERT_EQ(chain.size(), expected.size());
    if (i % 50 == 0) {
      ASSERT_EQ(text_of(chain), expected);
    }
    Bytes front = chain.front();
    ASSERT_EQ(front.empty(), expected.empty());
    ASSERT_EQ(std::string_view(reinterpret_cast<const char*>(front.data()), front.size()),
              expected.substr(0, front.size()));
  }
}

TEST(ArenaTest, hands_out_memory_that_does_not_overlap) {
  BlockPool pool;
  {
    Arena arena(pool);
    std::vector<std::pair<std::string_view, std::string>> copies;
    Rng rng(5);
    for (int i = 0; i < 2000; i++) {
      std::string text = pattern(rng.below(i % 100 == 0 ? 40000 : 200));
      text += std::to_string(i);
      copies.emplace_back(arena.copy(text), text);
    }
    for (const auto& [copy, text] : copies) ASSERT_EQ(copy, text);
    EXPECT_TRUE(arena.copy("").empty());
  }
  EXPECT_EQ(pool.in_use(), 0u);
}

TEST(ArenaTest, aligns_what_it_hands_out) {
  BlockPool pool;
  Arena arena(pool);
  for (int i = 0; i < 3000; i++) {
    arena.take_chars(1 + static_cast<size_t>(i % 7));
    for (size_t align : {size_t{2}, size_t{8}, alignof(std::max_align_t)}) {
      auto at = reinterpret_cast<uintptr_t>(arena.take(i % 500 == 0 ? 20000 : 24, align));
      ASSERT_EQ(at % align, 0u) << "aligned to " << align;
    }
  }
}

TEST(ArenaTest, can_be_used_again_after_release) {
  BlockPool pool;
  Arena arena(pool);
  for (int round = 0; round < 3; round++) {
    EXPECT_EQ(arena.copy("text"), "text");
    EXPECT_EQ(arena.copy(pattern(100000)).size(), 100000u);
    arena.release();
    EXPECT_EQ(pool.in_use(), 0u);
  }
}

TEST(LocalRefTest, holds_one_shared_reference_for_all_its_pins) {
  auto shared = std::make_shared<const std::string>("x");
  {
    LocalRef<std::string> first(shared);
    EXPECT_EQ(shared.use_count(), 2);
    LocalRef<std::string> second = first, third;
    EXPECT_FALSE(third);
    EXPECT_EQ(third.get(), nullptr);
    third = second;
    EXPECT_EQ(shared.use_count(), 2) << "copies are counted without the shared pointer";
    EXPECT_EQ(*third, "x");
    first = LocalRef<std::string>();
    second = std::move(third);
    EXPECT_FALSE(third);  // NOLINT(bugprone-use-after-move): empty, by contract
    EXPECT_EQ(second->size(), 1u);
    EXPECT_EQ(shared.use_count(), 2);
    auto& same = second;
    second = same;  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): the analyzer loses count of self-assignment
    EXPECT_EQ(*second, "x");
  }
  EXPECT_EQ(shared.use_count(), 1) << "the last pin lets go";
  EXPECT_FALSE(LocalRef<std::string>(std::shared_ptr<const std::string>()));
}

}  // namespace
}  // namespace pinnace::base
