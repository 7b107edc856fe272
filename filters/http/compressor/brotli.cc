// br (RFC 7932) on libbrotli.
#include <brotli/encode.h>

#include "envoy/extensions/compression/brotli/compressor/v3/brotli.pb.h"
#include "filters/http/compressor/encoder.h"
#include "xds_client/compile/context.h"

namespace pinnace::filters::compressor {
namespace {

using pb = envoy::extensions::compression::brotli::compressor::v3::Brotli;

struct Parameters {
  uint32_t quality = 3, window_bits = 18, block_bits = 24;  // ENVOY
  BrotliEncoderMode mode = BROTLI_MODE_GENERIC;
  bool no_literal_contexts = false;
};

struct Destroy {
  void operator()(BrotliEncoderState* state) const { BrotliEncoderDestroyInstance(state); }
};
using State = std::unique_ptr<BrotliEncoderState, Destroy>;

class BrotliEncoder final : public Encoder {
 public:
  explicit BrotliEncoder(State state) : state_(std::move(state)) {}

  bool add(base::Bytes in, bool end, std::vector<uint8_t>& out) override {
    const uint8_t* next = in.data();
    size_t left = in.size();
    do {
      size_t room = kPiece;
      uint8_t* to = grow(out, room);
      auto done = BrotliEncoderCompressStream(state_.get(), end ? BROTLI_OPERATION_FINISH : BROTLI_OPERATION_FLUSH,
                                              &left, &next, &room, &to, nullptr);
      out.resize(out.size() - room);
      if (!done) return false;
    } while (left > 0 || BrotliEncoderHasMoreOutput(state_.get()));
    return !end || BrotliEncoderIsFinished(state_.get());
  }

 private:
  State state_;
};

class BrotliCoding final : public Coding {
 public:
  explicit BrotliCoding(Parameters parameters) : Coding("br", "brotli"), parameters_(parameters) {}

  std::unique_ptr<Encoder> make() const override {
    State state(BrotliEncoderCreateInstance(nullptr, nullptr, nullptr));
    if (!state) return nullptr;
    BrotliEncoderSetParameter(state.get(), BROTLI_PARAM_MODE, parameters_.mode);
    BrotliEncoderSetParameter(state.get(), BROTLI_PARAM_QUALITY, parameters_.quality);
    BrotliEncoderSetParameter(state.get(), BROTLI_PARAM_LGWIN, parameters_.window_bits);
    BrotliEncoderSetParameter(state.get(), BROTLI_PARAM_LGBLOCK, parameters_.block_bits);
    BrotliEncoderSetParameter(state.get(), BROTLI_PARAM_DISABLE_LITERAL_CONTEXT_MODELING,
                              parameters_.no_literal_contexts);
    return std::make_unique<BrotliEncoder>(std::move(state));
  }

 private:
  Parameters parameters_;
};

}  // namespace

Result<std::shared_ptr<const Coding>> compile_brotli(const google::protobuf::Any& any) {
  pb proto;
  if (!any.UnpackTo(&proto)) return error("typed_config does not parse");
  auto known = compile::only_fields(proto, {"quality", "encoder_mode", "window_bits", "input_block_bits", "chunk_size",
                                            "disable_literal_context_modeling"});
  if (!known) return known.error();
  Parameters parameters;
  if (proto.has_quality()) parameters.quality = proto.quality().value();
  if (proto.has_window_bits()) parameters.window_bits = proto.window_bits().value();
  if (proto.has_input_block_bits()) parameters.block_bits = proto.input_block_bits().value();
  if (parameters.quality > 11) return error("quality: must be 0 to 11");
  if (parameters.window_bits < 10 || parameters.window_bits > 24) return error("window_bits: must be 10 to 24");
  if (parameters.block_bits < 16 || parameters.block_bits > 24) return error("input_block_bits: must be 16 to 24");
  if (proto.encoder_mode() == pb::TEXT) parameters.mode = BROTLI_MODE_TEXT;
  if (proto.encoder_mode() == pb::FONT) parameters.mode = BROTLI_MODE_FONT;
  parameters.no_literal_contexts = proto.disable_literal_context_modeling();
  return std::shared_ptr<const Coding>(std::make_shared<BrotliCoding>(parameters));
}

}  // namespace pinnace::filters::compressor
