// ServerSide: an application behind a ServerCodec. It takes what a client sends in pieces, reacts to each request in
// one of a few ways, and keeps what it was told. It holds the codec to its contract (http/codec.h) on the way.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proxy/http/h1/server_codec.h"
#include "tests/fuzz/story.h"
#include "tests/fuzz/wire.h"

namespace pinnace::fuzz {

// How an input is taken, by its first byte: '@' and the characters after it, so that seeds can be read.
struct How {
  enum Reaction : uint8_t {
    kAtEnd,       // answers with a head when the request has come
    kAtEndLater,  // the same in the next turn, with a body of known length
    kAtHead,      // answers before the body
    kEcho,        // sends the body back as it comes
    kPause,       // stops reading for a turn
    kReset,       // gives up
    kTrailers,    // 103, then an answer with trailers
    kRefuse,      // 403 before the body
  };
  explicit How(uint8_t byte)
      : reaction(byte & 7),
        trailers((byte & 8) != 0),
        small((byte & 16) != 0),
        slow_reader((byte & 32) != 0),
        preserve_case((byte & 64) == 0),
        drain((byte & 128) != 0) {}
  uint8_t reaction;
  bool trailers;       // are passed on
  bool small;          // limits
  bool slow_reader;    // of answers; breaks the connection off in the end
  bool preserve_case;  // of field names
  bool drain;          // the listener goes away meanwhile
};

class ServerRequest;

class ServerSide final : public http::ServerCodec::Owner {
 public:
  using MakeCodec = std::unique_ptr<http::ServerCodec> (*)(net::Connection&, http::ServerCodec::Owner&, const How&,
                                                           const http::h1::ServerSettings&);

  // Takes all of `input`, at most `reads` pieces a turn, and ends the connection.
  ServerSide(MakeCodec make_codec, const How& how, Bytes input, Split split, int reads);
  ~ServerSide();

  const std::vector<Story>& stories() const { return stories_; }
  struct Told {
    bool answered = false;  // to the end
    bool tunnel = false;
    bool to_head = false;
  };
  // Of each story.
  const std::vector<Told>& told() const { return told_; }
  const std::string& output() const { return wire_.output(); }
  // Why the connection ended, if it is to blame.
  const std::string& fault() const { return fault_; }

 private:
  friend class ServerRequest;

  http::RequestReceiver& new_stream(http::ResponseSender& sender) override;
  void on_partial_head() override;
  void on_codec_fault(std::string_view detail) override;
  void on_codec_done() override;
  bool turn();
  void feed();
  void drain();
  void end_input();
  void ended(ServerRequest& request);
  bool has_due() const;

  const How& how_;
  http::h1::ServerSettings settings_;
  Pieces pieces_;
  const size_t input_size_;
  const int reads_;
  Wire wire_;
  std::unique_ptr<http::ServerCodec> codec_;
  std::vector<ServerRequest*> live_;
  std::vector<Story> stories_;
  std::vector<Told> told_;
  std::string fault_;
  bool done_ = false;
  size_t turns_ = 0, quiet_turns_ = 0;
};

}  // namespace pinnace::fuzz
