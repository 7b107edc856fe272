#include "proxy/upstream/proxy_header.h"

namespace pinnace::upstream {

using base::Address;

namespace {

std::string line(const Address& source, const Address& destination) {
  std::string out = source.kind() == Address::Kind::kIpv4 ? "PROXY TCP4 " : "PROXY TCP6 ";
  out += source.ip_text() + ' ' + destination.ip_text() + ' ';
  out += std::to_string(source.port()) + ' ' + std::to_string(destination.port()) + "\r\n";
  return out;
}

std::string binary(const Address* source, const Address* destination) {
  std::string out("\r\n\r\n\0\r\nQUIT\n", 12);
  auto number = [&](unsigned value) {
    out += static_cast<char>(value >> 8);
    out += static_cast<char>(value & 255);
  };
  if (!source) {
    out += "\x20";  // LOCAL
    out += '\0';
    number(0);
    return out;
  }
  size_t one = source->kind() == Address::Kind::kIpv4 ? 4 : 16;
  out += '\x21';  // PROXY
  out += one == 4 ? '\x11' : '\x21';
  number(static_cast<unsigned>(2 * one + 4));
  for (const Address* address : {source, destination}) {
    out.append(reinterpret_cast<const char*>(address->bytes().data()), one);
  }
  number(source->port());
  number(destination->port());
  return out;
}

}  // namespace

std::string proxy_header(model::ProxyProtocol version, const Address* source, const Address* destination) {
  bool known = source && destination && source->is_ip() && source->kind() == destination->kind();
  if (!known) source = destination = nullptr;
  if (version == model::ProxyProtocol::kV2) return binary(source, destination);
  return known ? line(*source, *destination) : "PROXY UNKNOWN\r\n";
}

}  // namespace pinnace::upstream
