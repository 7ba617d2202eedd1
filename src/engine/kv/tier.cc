#include "engine/kv/tier.h"

#include <bit>
#include <cstring>

namespace hadal {
namespace {

/// SipHash-2-4 with 128 bits of output: J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast
/// short-input PRF" (2012), and the authors' extension to 128 bits.
class SipHash {
 public:
  explicit SipHash(const PageKey& key)
      : v0_(0x736f6d6570736575u ^ key.low),
        v1_(0x646f72616e646f6du ^ key.high ^ 0xee),
        v2_(0x6c7967656e657261u ^ key.low),
        v3_(0x7465646279746573u ^ key.high) {}

  PageKey operator()(std::span<const std::byte> bytes) {
    size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) absorb(load(bytes.subspan(at, 8)));
    absorb(load(bytes.subspan(at)) | static_cast<uint64_t>(bytes.size()) << 56);
    v2_ ^= 0xee;
    rounds(4);
    const uint64_t low = v0_ ^ v1_ ^ v2_ ^ v3_;
    v1_ ^= 0xdd;
    rounds(4);
    return {.high = v0_ ^ v1_ ^ v2_ ^ v3_, .low = low};
  }

 private:
  /// Up to 8 bytes, little-endian.
  static uint64_t load(std::span<const std::byte> bytes) {
    uint64_t word = 0;
    if (!bytes.empty()) std::memcpy(&word, bytes.data(), bytes.size());
    return word;
  }
  void absorb(uint64_t word) {
    v3_ ^= word;
    rounds(2);
    v0_ ^= word;
  }
  void rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0_ += v1_;
      v2_ += v3_;
      v1_ = std::rotl(v1_, 13) ^ v0_;
      v3_ = std::rotl(v3_, 16) ^ v2_;
      v0_ = std::rotl(v0_, 32);
      v2_ += v1_;
      v0_ += v3_;
      v1_ = std::rotl(v1_, 17) ^ v2_;
      v3_ = std::rotl(v3_, 21) ^ v0_;
      v2_ = std::rotl(v2_, 32);
    }
  }

  uint64_t v0_, v1_, v2_, v3_;
};

static_assert(std::endian::native == std::endian::little);

}  // namespace

PageKey root_key(std::string_view model_fingerprint, std::string_view salt) {
  const PageKey model = SipHash({})(std::as_bytes(std::span(model_fingerprint)));
  return SipHash(model)(std::as_bytes(std::span(salt)));
}

PageKey next_key(const PageKey& parent, std::span<const TokenId> page_tokens) {
  return SipHash(parent)(std::as_bytes(page_tokens));
}

}  // namespace hadal
