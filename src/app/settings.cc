#include <cstdlib>

#include "app/app.h"

namespace hadal {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);  // the one file that asks the environment
  return value == nullptr ? "" : value;
}

std::string without_slash(std::string address) {
  while (!address.empty() && address.back() == '/') address.pop_back();
  return address;
}

std::string address(const char* name, const char* otherwise) {
  const std::string value = without_slash(variable(name));
  return value.empty() ? otherwise : value;
}

std::filesystem::path directory(const char* name, const std::filesystem::path& otherwise) {
  const std::string value = variable(name);
  return value.empty() ? otherwise : std::filesystem::path(value);
}

}  // namespace

Settings Settings::from_environment() {
  const std::filesystem::path user = directory("HOME", "/");
  const std::filesystem::path cache = directory("XDG_CACHE_HOME", user / ".cache");
  Settings settings;
  settings.home = directory("HADAL_HOME", cache / "hadal");
  settings.hf_home = directory("HF_HOME", cache / "huggingface");
  settings.hf_cache = directory("HF_HUB_CACHE", settings.hf_home / "hub");
  settings.hf_endpoint = address("HF_ENDPOINT", "https://huggingface.co");
  settings.hf_token = variable("HF_TOKEN");
  settings.modelscope_endpoint = address("MODELSCOPE_ENDPOINT", "https://modelscope.cn");
  settings.mirror = address("HADAL_MIRROR", "");
  if (variable("HADAL_PACKED_CACHE") == "off") settings.packed_cache = PackedCacheUse::kOff;
  settings.memory = variable("HADAL_MEMORY");
  settings.isa = variable("HADAL_ISA");
  return settings;
}

}  // namespace hadal
