// Base64 (RFC 4648 4) of a body that comes in pieces: what does not make a whole group waits for the next piece.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "proxy/base/block_pool.h"

namespace pinnace::base {

class Base64Encoder {
 public:
  // What add() and the pad() after it write at most.
  static constexpr size_t most(size_t size) { return (size + 2) / 3 * 4 + 4; }

  // Writes to `out`; returns where it ended.
  uint8_t* add(Bytes in, uint8_t* out) {
    for (uint8_t byte : in) {
      bits_ = bits_ << 8 | byte;
      if (++waiting_ == 3) out = put(out);
    }
    return out;
  }
  // Ends the group with padding; more may follow.
  uint8_t* pad(uint8_t* out) {
    if (waiting_ == 0) return out;
    unsigned missing = 3 - waiting_;
    bits_ <<= 8 * missing;
    out = put(out);
    for (unsigned i = 1; i <= missing; i++) *(out - i) = '=';
    return out;
  }

 private:
  uint8_t* put(uint8_t* out) {
    static constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int shift = 18; shift >= 0; shift -= 6) *out++ = static_cast<uint8_t>(kAlphabet[bits_ >> shift & 63]);
    bits_ = waiting_ = 0;
    return out;
  }

  uint32_t bits_ = 0, waiting_ = 0;
};

class Base64Decoder {
 public:
  // Writes at most as many bytes to `out` as came in; returns where it ended, nullptr when this is no base64. Padded
  // groups may follow each other, for a sender that encodes each of its pieces. UNLIKE ENVOY: wherever they were cut on
  // their way.
  uint8_t* add(Bytes in, uint8_t* out) {
    for (uint8_t character : in) {
      uint32_t value = 0;
      if (character == '=') {
        if (waiting_ + padding_ < 2) return nullptr;
        padding_++;
      } else {
        value = value_of(character);
        if (value > 63 || padding_ > 0) return nullptr;
        waiting_++;
      }
      bits_ = bits_ << 6 | value;
      if (waiting_ + padding_ < 4) continue;
      if ((bits_ & ((1u << (8 * padding_)) - 1)) != 0) return nullptr;  // RFC 4648 3.5: bits that nobody meant
      for (uint32_t i = 0; i < 3 - padding_; i++) *out++ = static_cast<uint8_t>(bits_ >> (16 - 8 * i));
      bits_ = waiting_ = padding_ = 0;
    }
    return out;
  }
  // Characters of a group that is not whole.
  size_t waiting() const { return waiting_ + padding_; }

 private:
  static uint32_t value_of(uint8_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26u;
    if (c >= '0' && c <= '9') return c - '0' + 52u;
    return c == '+' ? 62 : c == '/' ? 63 : 64;
  }

  uint32_t bits_ = 0, waiting_ = 0, padding_ = 0;
};

// All at once. from_base64() takes what lacks its padding; nullopt: it is none.
inline std::string to_base64(std::string_view text) {
  std::string out(Base64Encoder::most(text.size()), '\0');
  auto* begin = reinterpret_cast<uint8_t*>(out.data());
  Base64Encoder encoder;
  uint8_t* end = encoder.add({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, begin);
  out.resize(static_cast<size_t>(encoder.pad(end) - begin));
  return out;
}
inline std::optional<std::string> from_base64(std::string_view text) {
  static constexpr uint8_t kPadding[] = {'=', '=', '='};
  std::string out(text.size() + sizeof kPadding, '\0');
  auto* begin = reinterpret_cast<uint8_t*>(out.data());
  Base64Decoder decoder;
  uint8_t* end = decoder.add({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, begin);
  if (end && decoder.waiting() > 0) end = decoder.add({kPadding, 4 - decoder.waiting()}, end);
  if (!end) return {};
  out.resize(static_cast<size_t>(end - begin));
  return out;
}

}  // namespace pinnace::base
