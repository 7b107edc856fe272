// HTTP/1 requests, as the server: what the application hears is the same for every split, and every answer it gave can
// be read again.
#include "proxy/http/h1/body_reader.h"
#include "tests/fuzz/server_side.h"

namespace pinnace::fuzz {
namespace {

namespace h1 = http::h1;

std::unique_ptr<http::ServerCodec> make_codec(net::Connection& connection, http::ServerCodec::Owner& owner, const How&,
                                              const h1::ServerSettings& settings) {
  return std::make_unique<h1::H1ServerCodec>(connection, owner, settings);
}

// Takes one answer from the beginning of `text`; false when that is not a whole one.
bool read_answer(std::string& text, bool to_head, std::string& body) {
  base::BlockPool pool;
  base::Arena arena(pool);
  http::ResponseHead head(arena);
  h1::HeadResult result;
  do {
    size_t scanned = 0;
    size_t end = h1::find_head_end(text, scanned);
    if (end == 0) return false;
    std::string raw = text.substr(0, end);
    head.headers.clear();
    result = h1::parse_response(raw.data(), end, {}, to_head, head);
    check(result.error == h1::HeadError::kNone, "our own head can be read");
    text.erase(0, end);
  } while (head.status < 200 && head.status != 101);
  h1::BodyReader reader;
  reader.start(result.info);
  Bytes in{reinterpret_cast<const uint8_t*>(text.data()), text.size()}, data;
  for (;;) {
    auto event = reader.next(in, data);
    check(event != h1::BodyReader::Event::kError, "our own body can be read");
    if (event == h1::BodyReader::Event::kData) {
      body.append(data.begin(), data.end());
      continue;
    }
    bool whole = event != h1::BodyReader::Event::kNeedMore || result.info.framing == h1::Framing::kUntilClose;
    text.erase(0, text.size() - in.size());
    return whole;
  }
}

void check_output(const ServerSide& server, const How& how) {
  std::string text = server.output();
  for (size_t i = 0; i < server.told().size() && server.told()[i].answered; i++) {
    const Story& story = server.stories()[i];
    bool to_head = server.told()[i].to_head;
    std::string body;
    check(read_answer(text, to_head, body), "every answer is written");
    bool echoed = how.reaction == How::kEcho && story.end.ends_with("end");
    if (echoed && !to_head) check(body == story.body, "all of the body comes back");
  }
}

void serve(const How& how, Bytes input) {
  ServerSide whole(make_codec, how, input, Split::kWhole, 8);
  check_output(whole, how);
  for (Split split : {Split::kSmall, Split::kRandom}) {
    ServerSide again(make_codec, how, input, split, 8);
    check_output(again, how);
    if (!how.drain) compare(whole.stories(), again.stories());
  }
}

}  // namespace
}  // namespace pinnace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) pinnace::fuzz::serve(pinnace::fuzz::How(data[0]), {data + 1, size - 1});
  return 0;
}
