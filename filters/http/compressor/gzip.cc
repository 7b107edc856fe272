// gzip (RFC 1952) on zlib.
#include <zlib.h>

#include "envoy/extensions/compression/gzip/compressor/v3/gzip.pb.h"
#include "filters/http/compressor/encoder.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters::compressor {
namespace {

using pb = envoy::extensions::compression::gzip::compressor::v3::Gzip;

class GzipEncoder final : public Encoder {
 public:
  explicit GzipEncoder(z_stream stream) : stream_(stream) {}
  GzipEncoder(const GzipEncoder&) = delete;
  GzipEncoder& operator=(const GzipEncoder&) = delete;
  ~GzipEncoder() override { deflateEnd(&stream_); }

  bool begin(int level, int window_bits, int memory_level, int strategy) {
    constexpr int kGzipHeader = 16;  // zlib: added to the window bits
    return deflateInit2(&stream_, level, Z_DEFLATED, window_bits + kGzipHeader, memory_level, strategy) == Z_OK;
  }
  bool add(base::Bytes in, bool end, std::vector<uint8_t>& out) override {
    stream_.next_in = const_cast<Bytef*>(in.data());
    stream_.avail_in = static_cast<uInt>(in.size());
    int result = Z_OK;
    do {
      stream_.next_out = grow(out, kPiece);
      stream_.avail_out = kPiece;
      result = deflate(&stream_, end ? Z_FINISH : Z_SYNC_FLUSH);
      out.resize(out.size() - stream_.avail_out);
      if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return false;
    } while (stream_.avail_out == 0);
    return !end || result == Z_STREAM_END;
  }

 private:
  z_stream stream_;
};

class GzipCoding final : public Coding {
 public:
  GzipCoding(int level, int window_bits, int memory_level, int strategy)
      : Coding("gzip", "gzip"),
        level_(level),
        window_bits_(window_bits),
        memory_level_(memory_level),
        strategy_(strategy) {}

  std::unique_ptr<Encoder> make() const override {
    auto encoder = std::make_unique<GzipEncoder>(z_stream{});
    return encoder->begin(level_, window_bits_, memory_level_, strategy_) ? std::move(encoder) : nullptr;
  }

 private:
  int level_, window_bits_, memory_level_, strategy_;
};

int strategy_of(const pb& proto) {
  switch (proto.compression_strategy()) {
    case pb::FILTERED: return Z_FILTERED;
    case pb::HUFFMAN_ONLY: return Z_HUFFMAN_ONLY;
    case pb::RLE: return Z_RLE;
    case pb::FIXED: return Z_FIXED;
    default: return Z_DEFAULT_STRATEGY;
  }
}

}  // namespace

Result<std::shared_ptr<const Coding>> compile_gzip(const google::protobuf::Any& any) {
  pb proto;
  if (!any.UnpackTo(&proto)) return error("typed_config does not parse");
  // chunk_size: how much the library writes at once; ours grows.
  auto known = compile::only_fields(
      proto, {"memory_level", "compression_level", "compression_strategy", "window_bits", "chunk_size"});
  if (!known) return known.error();
  int window_bits = proto.has_window_bits() ? static_cast<int>(proto.window_bits().value()) : 12;    // ENVOY
  int memory_level = proto.has_memory_level() ? static_cast<int>(proto.memory_level().value()) : 5;  // ENVOY
  if (window_bits < 9 || window_bits > 15) return error("window_bits: must be 9 to 15");
  if (memory_level < 1 || memory_level > 9) return error("memory_level: must be 1 to 9");
  int level = proto.compression_level() == 0 ? Z_DEFAULT_COMPRESSION : static_cast<int>(proto.compression_level());
  return std::shared_ptr<const Coding>(
      std::make_shared<GzipCoding>(level, window_bits, memory_level, strategy_of(proto)));
}

}  // namespace pinnace::filters::compressor
