// zstd (RFC 8878) on libzstd.
#include <zstd.h>

#include "envoy/extensions/compression/zstd/compressor/v3/zstd.pb.h"
#include "filters/http/compressor/encoder.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters::compressor {
namespace {

using pb = envoy::extensions::compression::zstd::compressor::v3::Zstd;

struct Parameters {
  int level = ZSTD_CLEVEL_DEFAULT;
  int strategy = 0;  // the level's
  bool checksum = false;
};

struct Free {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
using ContextPtr = std::unique_ptr<ZSTD_CCtx, Free>;

class ZstdEncoder final : public Encoder {
 public:
  explicit ZstdEncoder(ContextPtr context) : context_(std::move(context)) {}

  bool add(base::Bytes in, bool end, std::vector<uint8_t>& out) override {
    ZSTD_inBuffer input{in.data(), in.size(), 0};
    size_t left;
    do {
      ZSTD_outBuffer output{grow(out, kPiece), kPiece, 0};
      left = ZSTD_compressStream2(context_.get(), &output, &input, end ? ZSTD_e_end : ZSTD_e_flush);
      out.resize(out.size() - (kPiece - output.pos));
      if (ZSTD_isError(left)) return false;
    } while (left > 0 || input.pos < input.size);
    return true;
  }

 private:
  ContextPtr context_;
};

class ZstdCoding final : public Coding {
 public:
  explicit ZstdCoding(Parameters parameters) : Coding("zstd", "zstd"), parameters_(parameters) {}

  std::unique_ptr<Encoder> make() const override {
    ContextPtr context(ZSTD_createCCtx());
    if (!context) return nullptr;
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_compressionLevel, parameters_.level);
    ZSTD_CCtx_setParameter(context.get(), ZSTD_c_checksumFlag, parameters_.checksum);
    if (parameters_.strategy > 0) ZSTD_CCtx_setParameter(context.get(), ZSTD_c_strategy, parameters_.strategy);
    return std::make_unique<ZstdEncoder>(std::move(context));
  }

 private:
  Parameters parameters_;
};

}  // namespace

Result<std::shared_ptr<const Coding>> compile_zstd(const google::protobuf::Any& any) {
  pb proto;
  if (!any.UnpackTo(&proto)) return error("typed_config does not parse");
  auto known = compile::only_fields(proto, {"compression_level", "enable_checksum", "strategy", "chunk_size"});
  if (!known) return known.error();
  Parameters parameters;
  if (proto.has_compression_level()) {
    int64_t level = proto.compression_level().value();
    if (level > ZSTD_maxCLevel()) return error("compression_level: must be 0 to " + std::to_string(ZSTD_maxCLevel()));
    parameters.level = static_cast<int>(level);
  }
  parameters.strategy = proto.strategy();  // the same numbers
  parameters.checksum = proto.enable_checksum();
  return std::shared_ptr<const Coding>(std::make_shared<ZstdCoding>(parameters));
}

}  // namespace pinnace::filters::compressor
