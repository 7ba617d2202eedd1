#include "tensor/file/sniff.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "base/utf8.h"

namespace hadal {
namespace {

using std::string_view_literals::operator""sv;

constexpr const char* kConvert = "convert the model to GGUF first";
constexpr const char* kDownloadAgain = "download the file again";

struct Magic {
  std::string_view bytes;
  const char* what;
  const char* hint;
};

constexpr Magic kMagics[] = {
    {"PK\x03\x04"sv, "a zip archive (PyTorch .pt and .bin checkpoints are such)", kConvert},
    {"\x80\x02"sv, "a Python pickle", kConvert},
    {"\x80\x03"sv, "a Python pickle", kConvert},
    {"\x80\x04"sv, "a Python pickle", kConvert},
    {"\x80\x05"sv, "a Python pickle", kConvert},
    {"lmgg"sv, "an old GGML file from before GGUF", kConvert},
    {"tjgg"sv, "an old GGJT file from before GGUF", kConvert},
    {"fmgg"sv, "an old GGMF file from before GGUF", kConvert},
    {"algg"sv, "an old GGLA adapter from before GGUF", kConvert},
    {"\x89HDF\r\n\x1A\n"sv, "an HDF5 file", kConvert},
    {"version https://git-lfs"sv, "a Git LFS pointer, not the model itself", "run 'git lfs pull'"},
    {"\x1F\x8B"sv, "a gzip archive", "unpack it first"},
    {"\x28\xB5\x2F\xFD"sv, "a zstd archive", "unpack it first"},
    {"BZh"sv, "a bzip2 archive", "unpack it first"},
    {"\xFD"
     "7zXZ"sv,
     "an xz archive", "unpack it first"},
    {"7z\xBC\xAF\x27\x1C"sv, "a 7-zip archive", "unpack it first"},
    {"Rar!"sv, "a rar archive", "unpack it first"},
    {"\x7F"
     "ELF"sv,
     "a Linux program", ""},
};

bool is_safetensors(std::span<const std::byte> bytes) {
  uint64_t header = 0;
  if (bytes.size() < 10) return false;
  std::memcpy(&header, bytes.data(), sizeof(header));
  return header >= 2 && header <= bytes.size() - 8 && bytes[8] == std::byte{'{'};
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool starts_with_html(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const size_t start = text.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos) return false;
  std::string head(text.substr(start, 14));
  std::transform(head.begin(), head.end(), head.begin(), lower);
  return head.starts_with("<!doctype html") || head.starts_with("<html") ||
         head.starts_with("<head") || head.starts_with("<?xml");
}

bool looks_like_text(std::string_view text) {
  text = text.substr(0, utf8_complete_prefix(text));
  if (text.empty() || !utf8_valid(text)) return false;
  return std::none_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 && c != '\n' && c != '\r' && c != '\t' && c != '\f';
  });
}

}  // namespace

FileGuess guess_file(std::span<const std::byte> bytes) {
  if (bytes.empty()) return {"empty", kDownloadAgain};
  constexpr size_t kLook = 512;
  const std::string_view head(reinterpret_cast<const char*>(bytes.data()),
                              std::min(bytes.size(), kLook));
  if (is_safetensors(bytes)) {
    return {"a safetensors file", "name it *.safetensors, beside the model's config.json"};
  }
  for (const Magic& magic : kMagics) {
    if (head.starts_with(magic.bytes)) return {magic.what, magic.hint};
  }
  if (head.size() >= 262 && head.substr(257, 5) == "ustar")
    return {"a tar archive", "unpack it first"};
  if (starts_with_html(head)) {
    return {"a web page (HTML), probably an error page saved as a model", kDownloadAgain};
  }
  if (std::all_of(head.begin(), head.end(), [](char c) { return c == 0; })) {
    return {"zeros, probably an unfinished download", kDownloadAgain};
  }
  if (looks_like_text(head)) {
    const size_t start = head.find_first_not_of(" \t\r\n");
    const bool braces = start != std::string_view::npos && head[start] == '{';
    return {braces ? "a JSON text" : "a text file", ""};
  }
  std::string hex;
  for (size_t i = 0; i < std::min<size_t>(head.size(), 8); ++i) {
    hex += fmt::format("{}{:02X}", i == 0 ? "" : " ", static_cast<unsigned char>(head[i]));
  }
  return {fmt::format("of an unknown kind (it starts with bytes {})", hex), ""};
}

}  // namespace hadal
