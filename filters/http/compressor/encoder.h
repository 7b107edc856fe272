// Encoder: one body on its way into a content coding (RFC 9110 8.4.1), by the library that is kept for it. Coding: its
// settings, from compressor_library; makes encoders. What a call returns is flushed: a receiver can decode all that was
// sent so far. THREAD: Coding any; an Encoder its stream's worker.
#pragma once

#include <google/protobuf/any.pb.h>

#include <memory>
#include <string_view>
#include <vector>

#include "proxy/base/block_pool.h"
#include "proxy/base/result.h"

namespace pinnace::filters::compressor {

class Encoder {
 public:
  virtual ~Encoder() = default;
  // Appends to `out` what `in` becomes, and with `end` the end. False: the library failed, and goes on failing.
  virtual bool add(base::Bytes in, bool end, std::vector<uint8_t>& out) = 0;
};

class Coding {
 public:
  // How it is named in content-encoding, and in the names of its counters.
  Coding(std::string_view name, std::string_view stat_name) : name_(name), stat_name_(stat_name) {}
  virtual ~Coding() = default;
  std::string_view name() const { return name_; }
  std::string_view stat_name() const { return stat_name_; }
  // nullptr: out of memory.
  virtual std::unique_ptr<Encoder> make() const = 0;

 private:
  std::string_view name_, stat_name_;
};

// envoy.extensions.compression.{gzip,brotli,zstd}.compressor.v3. ERRORS: name the field.
Result<std::shared_ptr<const Coding>> compile_gzip(const google::protobuf::Any& any);
Result<std::shared_ptr<const Coding>> compile_brotli(const google::protobuf::Any& any);
Result<std::shared_ptr<const Coding>> compile_zstd(const google::protobuf::Any& any);

// Grows `out` by room to write into; the caller gives back what it did not use with out.resize().
inline uint8_t* grow(std::vector<uint8_t>& out, size_t room) {
  size_t used = out.size();
  out.resize(used + room);
  return out.data() + used;
}
inline constexpr size_t kPiece = 4096;  // ENVOY: chunk_size when it is not set

}  // namespace pinnace::filters::compressor
