// CEL expressions come from configuration: whatever they are, they are refused or come to a value, the same each time.
#include "filters/cel/expression.h"
#include "tests/fuzz/input.h"

namespace pinnace::fuzz {
namespace {

using filters::cel::Expression;

std::string evaluated(const Expression& expression) {
  http::StreamInfo info;
  info.response_code = 200;
  info.protocol = "HTTP/1.1";
  info.upstream_host = "1.2.3.4:80";
  Expression::Scratch scratch;
  auto value = expression.evaluate({info}, scratch);
  return (value.failed() ? "failed " : "") + value.print();
}

void read(Bytes input) {
  auto own = copy(input);
  std::string_view text(reinterpret_cast<const char*>(own.data()), own.size());
  envoy::config::core::v3::Node node;
  node.set_id("sidecar");
  auto expression = Expression::compile(text, node);
  if (!expression) {
    check(!expression.error().message.empty(), "a refusal says why");
    return;
  }
  std::string first = evaluated(*expression);
  check(first == evaluated(*expression), "it comes to the same value each time");
}

}  // namespace
}  // namespace pinnace::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  pinnace::fuzz::read({data, size});
  return 0;
}
