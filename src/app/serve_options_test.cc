// Goal: the configuration file of `hadal serve` means what its flags mean, and mistakes are named.
#include "app/serve_options.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

namespace hadal {
namespace {

struct Parsed {
  ServeOptions options;
  std::string error;
};

Parsed apply(const std::string& text, std::vector<std::string> arguments = {}) {
  Parsed out;
  CLI::App app;
  add_serve_options(app, out.options);
  app.parse(arguments);
  const Status status = apply_config_text(app, text, "serve.yaml", out.options);
  if (!status.ok()) out.error = status.error().text();
  return out;
}

TEST(ServeOptions, FileSetsAndCommandLineWins) {
  // CLI11 takes a vector of arguments in reverse.
  const Parsed parsed = apply(
      "model: m.gguf\nport: 9000\nallow-host: [a, b]\nkv-type: q8_0\nlog-level: warn\n"
      "kv-memory: 1.5GiB\nmax-queue: 7\nqueue-wait: 0\nlatency-target: 80\nstep-tokens: 64\n"
      "speculate: draft\ndraft-model: small\nkv-cache-ram: 2GiB\nkv-cache-disk: 50GB\n"
      "kv-cache-dir: /cache/kv\nkv-cache-ram-seconds: 600\nkv-cache-disk-seconds: 86400\n",
      {"9001", "--port"});
  EXPECT_EQ(parsed.error, "");
  EXPECT_EQ(parsed.options.model, "m.gguf");
  EXPECT_EQ(parsed.options.port, 9001);
  EXPECT_EQ(parsed.options.allow_host, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(parsed.options.kv_type, "q8_0");
  EXPECT_EQ(parsed.options.kv_memory, "1.5GiB");
  EXPECT_EQ(parsed.options.max_queue, 7);
  EXPECT_EQ(parsed.options.queue_wait, 0);
  EXPECT_EQ(parsed.options.latency_target, 80);
  EXPECT_EQ(parsed.options.step_tokens, 64);
  EXPECT_EQ(parsed.options.kv_cache_ram, "2GiB");
  EXPECT_EQ(parsed.options.kv_cache_disk, "50GB");
  EXPECT_EQ(parsed.options.kv_cache_dir, "/cache/kv");
  EXPECT_EQ(parsed.options.kv_cache_ram_seconds, 600);
  EXPECT_EQ(parsed.options.kv_cache_disk_seconds, 86400);
  EXPECT_EQ(parsed.options.log_level, "warn");
  EXPECT_EQ(parsed.options.speculation.mode, "draft");
  EXPECT_EQ(parsed.options.speculation.draft_model, "small");
  EXPECT_EQ(apply("").error, "");
}

TEST(ServeOptions, MistakesAreNamed) {
  EXPECT_NE(apply("prot: 9000\n").error.find("did you mean port"), std::string::npos);
  for (const char* text : {"port: 70000\n",
                           "log-level: loud\n",
                           "port: x\n",
                           "port: [1]\n",
                           "kv-type: q4\n",
                           "kv-memory: lots\n",
                           "kv-cache-disk: -1\n",
                           "kv-cache-ram-seconds: soon\n",
                           "speculate: yes\n",
                           "max-queue: 0\n",
                           "queue-wait: -1\n",
                           "latency-target: 50ms\n",
                           "step-tokens: 0\n",
                           "parallel: 0\n",
                           "ctx: 1e9\n",
                           "- port\n",
                           "just text\n",
                           "model: {a: b}\n",
                           "a: [\n",
                           "? [x]\n: 1\n"}) {
    const std::string error = apply(text).error;
    EXPECT_NE(error.find("serve.yaml"), std::string::npos) << text << error;
  }
}

}  // namespace
}  // namespace hadal
