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
      "responses-disk: 0\nresponses-days: 7\nresponses-dir: /cache/r\n"
      "kv-cache-dir: /cache/kv\nkv-cache-ram-seconds: 600\nkv-cache-disk-seconds: 86400\n",
      {"9001", "--port"});
  EXPECT_EQ(parsed.error, "");
  EXPECT_EQ(parsed.options.model, std::vector<std::string>{"m.gguf"});
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
  EXPECT_EQ(parsed.options.responses_disk, "0");
  EXPECT_EQ(parsed.options.responses_days, 7);
  EXPECT_EQ(parsed.options.responses_dir, "/cache/r");
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
                           "responses-disk: much\n",
                           "responses-days: 0\n",
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
                           "models: 5\n",
                           "models: [[a]]\n",
                           "models: [{ctx: 512}]\n",
                           "models: [{model: a, cxt: 512}]\n",
                           "models: [{model: a, port: 80}]\n",
                           "models: [{model: a, ctx: 1}]\n",
                           "models: [{model: a, preload: maybe}]\n",
                           "models: [{model: a, keep-alive: soon}]\n",
                           "aliases: [a]\n",
                           "aliases: {a: [b]}\n",
                           "keep-alive: 5 parsecs\n",
                           "model-memory: much\n",
                           "load-wait: -1\n",
                           "allow-store: perhaps\n",
                           "a: [\n",
                           "? [x]\n: 1\n"}) {
    const std::string error = apply(text).error;
    EXPECT_NE(error.find("serve.yaml"), std::string::npos) << text << error;
  }
}

TEST(ServeOptions, ModelsHaveSettingsOfTheirOwn) {
  // Goal: a model's keys are its own, what it leaves out is the whole file's, wherever that stands.
  const Parsed parsed = apply(
      "models:\n  - big\n  - {model: small, alias: [s, t], ctx: 64, keep-alive: 5m, kv-cache-ram: "
      "1GiB}\nctx: 256\nparallel: 3\nkv-cache-ram: 2GiB\naliases: {claude-*: big, gpt: s}\n"
      "keep-alive: -1\nallow-store: true\n");
  ASSERT_EQ(parsed.error, "");
  const std::vector<ListedModel> served = parsed.options.served();
  ASSERT_EQ(served.size(), 2u);
  EXPECT_EQ(served[0].model, "big");
  EXPECT_EQ(served[0].settings.ctx, 256);
  EXPECT_EQ(served[0].settings.keep_alive, "-1");
  EXPECT_EQ(served[0].settings.kv_cache_ram, "2GiB");
  EXPECT_TRUE(served[0].settings.preload);
  EXPECT_EQ(served[1].model, "small");
  EXPECT_EQ(served[1].settings.alias, (std::vector<std::string>{"s", "t"}));
  EXPECT_EQ(served[1].settings.ctx, 64);
  EXPECT_EQ(served[1].settings.parallel, 3);
  EXPECT_EQ(served[1].settings.keep_alive, "5m");
  EXPECT_EQ(served[1].settings.kv_cache_ram, "1GiB");
  EXPECT_FALSE(served[1].settings.preload);
  EXPECT_EQ(parsed.options.map, (std::vector<std::string>{"claude-*=big", "gpt=s"}));
  EXPECT_TRUE(parsed.options.allow_store);
}

TEST(ServeOptions, ModelsOfTheCommandLine) {
  // Goal: several --model; the first has the names and the tiers of the command line.
  const Parsed parsed =
      apply("", {"1GiB", "--kv-cache-ram", "x", "--alias", "b", "--model", "a", "--model"});
  const std::vector<ListedModel> served = parsed.options.served();
  ASSERT_EQ(served.size(), 2u);
  EXPECT_EQ(served[0].model, "a");
  EXPECT_EQ(served[0].settings.alias, std::vector<std::string>{"x"});
  EXPECT_EQ(served[0].settings.kv_cache_ram, "1GiB");
  EXPECT_EQ(served[1].model, "b");
  EXPECT_TRUE(served[1].settings.alias.empty());
  EXPECT_EQ(served[1].settings.kv_cache_ram, "");
}

}  // namespace
}  // namespace hadal
