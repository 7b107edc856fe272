// ClientSide: requests on a ClientCodec, and what was told of their answers. It sends some requests, takes what a
// server sends in pieces, and starts another request when the connection can take one. It holds the codec to its
// contract (http/codec.h) on the way.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/http/h1/client_codec.h"
#include "tests/fuzz/story.h"
#include "tests/fuzz/wire.h"

namespace pinnace::fuzz {

// What an input answers, by its first byte: '@' and the characters after it, so that seeds can be read.
struct Asked {
  enum Kind : uint8_t { kGet, kHead, kPost, kPostWithTrailers, kConnect, kWebsocket, kGetAndReset, kPausedPost };

  explicit Asked(uint8_t byte)
      : kind(byte & 7),
        trailers((byte & 8) != 0),
        small((byte & 16) != 0),
        at_once((byte & 32) != 0),
        preserve_case((byte & 64) == 0) {}
  uint8_t kind;        // of the first request; the next are of the kinds after it
  bool trailers;       // are passed on
  bool small;          // limits
  bool at_once;        // the next request starts while the last one ends, and the connection breaks off
  bool preserve_case;  // of field names
};

class ClientRequest;

class ClientSide final : public http::ClientCodec::Owner {
 public:
  using MakeCodec = std::unique_ptr<http::ClientCodec> (*)(net::Connection&, http::ClientCodec::Owner&, const Asked&,
                                                           const http::h1::ClientSettings&);

  // Takes all of `input`, at most `reads` pieces a turn, and ends the connection.
  ClientSide(MakeCodec make_codec, const Asked& asked, Bytes input, Split split, int reads);
  ~ClientSide();

  // One for each request.
  const std::vector<Story>& stories() const { return stories_; }
  const std::string& output() const { return wire_.output(); }

 private:
  friend class ClientRequest;

  void on_stream_end(bool reusable) override;
  void on_draining() override { usable_ = false; }
  void start_requests();
  bool turn();
  void feed();
  void ended(ClientRequest& request);

  static constexpr size_t kMostRequests = 6;

  const Asked& asked_;
  http::h1::ClientSettings settings_;
  Pieces pieces_;
  const size_t input_size_;
  const int reads_;
  Wire wire_;
  std::unique_ptr<http::ClientCodec> codec_;
  std::vector<ClientRequest*> live_;
  std::vector<Story> stories_;
  bool usable_ = true;     // takes new streams
  bool starting_ = false;  // one, now
  bool closed_ = false;
  size_t started_ = 0, stream_ends_ = 0;
  size_t quiet_turns_ = 0;
};

}  // namespace pinnace::fuzz
