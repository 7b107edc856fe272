#include "proxy/stats/store.h"

#include <stdexcept>

namespace pinnace::stats {

Store::Store() { shared_ = &add_thread(); }

Store::~Store() {
  for (auto& thread : threads_) {
    for (auto& chunk : thread->chunks_) delete[] chunk.load();
  }
}

void Store::configure(std::vector<TagExtractor> extractors, Inclusion included) {
  extractors_ = std::move(extractors);
  included_ = std::move(included);
}

Cells& Store::add_thread() {
  std::lock_guard lock(mutex_);
  threads_.push_back(std::make_unique<Cells>());
  Cells& cells = *threads_.back();
  uint32_t chunks = chunks_ == 0 ? 1 : chunks_;
  for (uint32_t i = 0; i < chunks; i++) cells.chunks_[i].store(new Cells::Cell[Cells::kChunk]());
  chunks_ = chunks;
  return cells;
}

void Store::add_chunk() {
  if (chunks_ == Cells::kMaxChunks) throw std::runtime_error("more than 4 million stats cells");
  for (auto& thread : threads_) {
    thread->chunks_[chunks_].store(new Cells::Cell[Cells::kChunk](), std::memory_order_release);
  }
  chunks_++;
}

uint32_t Store::make(std::string_view name, Kind kind) {
  std::lock_guard lock(mutex_);
  auto found = names_.find(name);
  if (found != names_.end()) return found->second.kind == kind ? found->second.cell : 0;
  if (included_ && !included_(name)) {
    // Readers ask for rejected names again and again; remembering them would grow with the mesh.
    return 0;
  }
  Entry entry{kind, 0, nullptr, {}, {}};
  extract_tags(name, entry);
  return add_entry(name, std::move(entry));
}

std::string Store::full_name(std::string_view name, const Tags& tags) {
  std::string out(name);
  for (const auto& tag : tags) out.append(".").append(tag.name).append(".").append(tag.value);
  return out;
}

Store::Known Store::known(std::string_view name, const Tags& tags) const {
  std::string full = full_name(name, tags);
  if (included_ && !included_(full)) return Known::kRejected;
  std::lock_guard lock(mutex_);
  return names_.contains(full) ? Known::kThere : Known::kNew;
}

uint32_t Store::make_tagged(std::string_view name, const Tags& tags, Kind kind) {
  std::string full = full_name(name, tags);
  std::lock_guard lock(mutex_);
  auto found = names_.find(full);
  if (found != names_.end()) return found->second.kind == kind ? found->second.cell : 0;
  if (included_ && !included_(full)) return 0;
  if (next_cell_ + 2 * Cells::kChunk > Cells::kMaxChunks * Cells::kChunk)
    return 0;  // peers make these: full is no fault
  return add_entry(full, Entry{kind, 0, nullptr, std::string(name), tags});
}

// REQUIRES: mutex_ is held.
uint32_t Store::add_entry(std::string_view name, Entry entry) {
  uint32_t need = entry.kind == Kind::kHistogram ? kHistogramCells : 1;
  if (next_cell_ % Cells::kChunk + need > Cells::kChunk) next_cell_ = (next_cell_ / Cells::kChunk + 1) * Cells::kChunk;
  while (next_cell_ + need > chunks_ * Cells::kChunk) add_chunk();
  uint32_t cell = entry.cell = next_cell_;
  next_cell_ += need;
  names_.emplace(name, std::move(entry));
  return cell;
}

void Store::extract_tags(std::string_view name, Entry& entry) const {
  std::string rest(name);
  for (const auto& extractor : extractors_) {
    std::string_view remove, value;
    if (!extractor.match(rest, remove, value)) continue;
    entry.tags.push_back({extractor.tag_name, std::string(value)});
    rest.erase(static_cast<size_t>(remove.data() - rest.data()), remove.size());
  }
  entry.tag_name = std::move(rest);
}

void Store::computed_gauge(std::string_view name, std::function<uint64_t()> read) {
  make(name, Kind::kGauge);
  std::lock_guard lock(mutex_);
  auto found = names_.find(name);
  if (found != names_.end()) found->second.computed = std::move(read);
}

void Store::add_shared(Counter counter, uint64_t n) {
  std::lock_guard lock(shared_mutex_);
  shared_->add(counter, n);
}

void Store::add_shared(Gauge gauge, int64_t n) {
  std::lock_guard lock(shared_mutex_);
  shared_->add(gauge, n);
}

void Store::set_shared(Gauge gauge, uint64_t value) {
  std::lock_guard lock(shared_mutex_);
  shared_->add(gauge, static_cast<int64_t>(value - shared_->read(gauge.cell)));
}

uint64_t Store::sum(uint32_t cell) const {
  uint64_t total = 0;
  for (const auto& thread : threads_) total += thread->read(cell);
  return total;
}

// Readers take their time; workers that meet a new name do not wait for them. Entries are never taken out.
void Store::each(const std::function<void(const Sample&)>& visit) const {
  std::vector<const Names::value_type*> all;
  std::map<uint32_t, uint64_t> before;
  {
    std::lock_guard lock(mutex_);
    before = counted_before_;
    all.reserve(names_.size());
    for (const auto& named : names_) all.push_back(&named);
  }
  for (const auto* named : all) {
    const auto& [name, entry] = *named;
    Sample sample;
    sample.name = name;
    sample.kind = entry.kind;
    sample.tag_name = entry.tag_name;
    sample.tags = &entry.tags;
    if (entry.kind == Kind::kHistogram) {
      for (size_t i = 0; i < sample.buckets.size(); i++) {
        sample.buckets[i] = sum(entry.cell + static_cast<uint32_t>(i));
        sample.count += sample.buckets[i];
      }
      sample.sum = sum(entry.cell + kHistogramCells - 1);
      sample.used = sample.count > 0;
    } else {
      sample.value = entry.computed ? entry.computed() : sum(entry.cell);
      if (auto reset = before.find(entry.cell); reset != before.end()) sample.value -= reset->second;
      // ENVOY: a gauge counts as used once it was set, even to 0; server.state must print as 0.
      sample.used = sample.value != 0 || entry.computed != nullptr;
    }
    visit(sample);
  }
}

void Store::reset_counters() {
  std::lock_guard lock(mutex_);
  for (const auto& [name, entry] : names_) {
    if (entry.kind == Kind::kCounter) counted_before_[entry.cell] = sum(entry.cell);
  }
}

uint64_t Store::value(std::string_view name) const {
  std::lock_guard lock(mutex_);
  auto found = names_.find(name);
  if (found == names_.end()) return 0;
  return found->second.computed ? found->second.computed() : sum(found->second.cell);
}

uint64_t Store::value(Gauge gauge) const {
  std::lock_guard lock(mutex_);
  return sum(gauge.cell);
}

}  // namespace pinnace::stats
