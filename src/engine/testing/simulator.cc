#include "engine/testing/simulator.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include <fmt/format.h>

#include "engine/schedule/loop.h"
#include "engine/testing/harness.h"
#include "engine/testing/numbers.h"
#include "engine/testing/oracle_drafter.h"
#include "engine/testing/sim_files.h"
#include "engine/testing/sim_tier.h"
#include "engine/tiered_pages.h"

namespace hadal::testing {
namespace {

constexpr const char* kForwardFault = "simulated failure of a forward pass";
constexpr int64_t kIdleMicros = 200;  ///< passes when a turn had nothing to compute
constexpr int64_t kNever = INT64_MAX;

/// What the weather is like in one story.
struct World {
  EngineOptions options;
  int lives = 1;  ///< the engine is stopped and started in between; tier and files stay
  int64_t requests = 0;
  int64_t gap_micros = 0;  ///< between arrivals, on average
  int tenants = 1;
  bool small = false;  ///< many short requests, most of them urgent
  bool tight = false;  ///< few pages for long answers
  bool alike = false;  ///< prompts begin alike
  // Once in so many; 0: never.
  int64_t cancels = 0;
  int64_t nan_rate = 0;
  int64_t forward_faults = 0;
  int64_t tier_faults = 0;
  bool with_tier = false;  ///< a made-up one
  bool with_disk = false;  ///< the real tiers on made-up files
  uint64_t ram_pages = 0;  ///< of the real tiers' memory
  int64_t disk_faults = 0;
  // A step's time in microseconds.
  double step_micros = 0;
  double token_micros = 0;
  double read_micros = 0;
  double guesses = -1;  ///< how often a guessed token is right; below 0: nobody guesses
};

World make_world(Numbers& numbers) {
  World w;
  EngineOptions& o = w.options;
  w.small = numbers.once_in(4);
  o.n_ctx = numbers.between(40, 190);
  o.max_batch = static_cast<int>(numbers.between(1, w.small ? 2 : 8));
  o.max_step_tokens = static_cast<int>(numbers.between(1, 70));
  o.max_queue = static_cast<int>(numbers.between(1, w.small ? 4 : 24));
  const int64_t waits[] = {0, 50'000, 400'000, 3'000'000};
  o.max_queue_micros = w.small ? 0 : numbers.pick(waits);
  o.age_micros = numbers.between(1, 60) * 1000;
  const int64_t targets[] = {0, 5000, 50'000};
  o.step_target_micros = numbers.pick(targets);
  w.requests = w.small ? numbers.between(60, 140) : numbers.between(3, 28);
  w.tenants = static_cast<int>(numbers.between(1, w.small ? 30 : 4));
  w.gap_micros = numbers.between(0, 30'000);
  w.cancels = numbers.once_in(3) ? 0 : numbers.between(2, 12);
  w.nan_rate = numbers.once_in(2) ? 0 : numbers.between(60, 800);
  w.forward_faults = numbers.once_in(2) ? 0 : numbers.between(20, 400);
  w.step_micros = static_cast<double>(numbers.between(100, 4000));
  w.token_micros = static_cast<double>(numbers.between(10, 900));
  w.read_micros = static_cast<double>(numbers.between(0, 40)) / 10;
  w.with_tier = numbers.once_in(2);
  w.tier_faults = numbers.once_in(3) ? 0 : numbers.between(2, 30);
  w.with_disk = !w.with_tier && numbers.once_in(2);
  w.ram_pages = static_cast<uint64_t>(numbers.below(4));
  w.disk_faults = numbers.once_in(3) ? 0 : numbers.between(2, 30);
  w.lives = static_cast<int>(w.with_disk ? numbers.between(1, 3) : numbers.once_in(4) ? 2 : 1);
  w.alike = w.with_disk || numbers.once_in(2);
  if (w.with_disk && !w.small) o.n_ctx = numbers.between(150, 400);
  if (w.alike) w.tenants = static_cast<int>(numbers.between(1, 2));
  o.tenant_share = numbers.once_in(2) ? 1 : 0.1 + 0.6 * numbers.unit();
  if (!numbers.once_in(3)) {
    const int64_t context = (o.n_ctx + kKvPageTokens - 1) / kKvPageTokens;
    w.tight = !w.small && numbers.once_in(2);
    const int64_t pages_max = w.tight ? context + 2 : context * o.max_batch;
    o.kv_bytes = FakeModel().kv_layout().bytes_per_token() * kKvPageTokens *
                 static_cast<uint64_t>(numbers.between(context, std::max(context, pages_max)));
  }
  if (numbers.once_in(2)) w.guesses = numbers.unit();
  return w;
}

/// FakeModel whose steps take virtual time and fail now and then. Looks at each batch as it comes.
class SimModel : public FakeModel {
 public:
  SimModel(const World& world, VirtualEnv& env, Numbers& numbers, std::string& failure)
      : world_(world), env_(env), numbers_(numbers), failure_(failure) {}

  Status forward(const Batch& batch, KvPool& kv, std::span<float> logits) override {
    ++passes;
    inspect(batch, kv);
    spend(batch);
    if (numbers_.once_in(world_.forward_faults)) {
      failed_rows += static_cast<int64_t>(batch.sequences.size());
      return Error{Code::kInternal, kForwardFault};
    }
    TRY_STATUS(FakeModel::forward(batch, kv, logits));
    for (size_t at = 0; at < logits.size(); at += kVocab) poison(logits.subspan(at, kVocab));
    return {};
  }

  /// Whether logits turn into NaN depends on what was computed, not on when.
  bool poisoned(std::span<const float> logits) const {
    if (world_.nan_rate == 0) return false;
    const auto bits = static_cast<uint64_t>((logits[3] + 4.0f) * (1 << 21));
    return hash_step(99, bits) % static_cast<uint64_t>(world_.nan_rate) == 0;
  }
  void poison(std::span<float> logits) const {
    if (poisoned(logits)) logits[50] = std::nanf("");
  }

  int64_t passes = 0;
  int64_t failed_rows = 0;  ///< sequences in passes that failed, since last looked at

 private:
  void broken(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }

  void inspect(const Batch& batch, const KvPool& kv) {
    const EngineOptions& o = world_.options;
    if (batch.sequences.size() > static_cast<size_t>(o.max_batch)) broken("batch too large");
    if (batch.rows.empty()) broken("an empty forward pass");
    if (batch.rows.size() > static_cast<size_t>(std::max(o.max_step_tokens, o.max_batch))) {
      broken(fmt::format("a step of {} tokens", batch.rows.size()));
    }
    std::map<PageId, int> holders;
    for (const KvSequence& sequence : batch.sequences) {
      for (const PageId page : sequence.pages) {
        if (page < 0 || page >= kv.n_pages()) broken("a page that is not there");
        ++holders[page];
      }
    }
    for (const BatchRow& row : batch.rows) {
      const KvSequence& sequence = batch.sequences[static_cast<size_t>(row.sequence)];
      const auto at = static_cast<size_t>(row.position / kv.page_tokens());
      if (at >= sequence.pages.size()) return broken("a position without a page");
      if (holders[sequence.pages[at]] > 1) broken("a pass writes a page that another row uses");
    }
  }

  void spend(const Batch& batch) {
    double micros = world_.step_micros;
    for (const BatchRow& row : batch.rows) {
      micros += world_.token_micros + world_.read_micros * row.position;
    }
    micros *= 0.9 + 0.2 * numbers_.unit();
    if (numbers_.once_in(200)) micros *= 20;  // the machine had something else to do
    env_.advance(std::max<int64_t>(static_cast<int64_t>(micros), 1));
  }

  const World& world_;
  VirtualEnv& env_;
  Numbers& numbers_;
  std::string& failure_;
};

/// What one client does, and what it saw.
struct Client {
  GenerateRequest request;
  int64_t arrives_at = 0;
  int life = 0;
  int64_t cancel_at = kNever;  ///< virtual time, by its own thread
  int cancel_after = -1;       ///< so many tokens, from inside its sink; 0: as it begins
  int submits_next = -1;       ///< submits this client from inside on_finish

  RequestId id = 0;
  bool submitted = false;
  int64_t submitted_at = 0;
  int64_t passes_at_cancel = -1;
  bool begun = false;
  int overtaken = 0;  ///< while overdue, by requests that came later
  std::vector<TokenId> ids;
  int64_t prompt_scores = 0;
  std::optional<FinishEvent> end;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : numbers_(seed),
        world_(make_world(numbers_)),
        tier_(seed + 1, world_.tier_faults),
        files_(seed + 2, world_.disk_faults),
        model_(world_, env_, numbers_, outcome_.failure) {
    if (world_.with_tier) world_.options.tier = &tier_;
    make_clients();
  }

  SimOutcome run();

  // From the sinks.
  void on_begin(Client& client);
  void on_token(Client& client, const TokenEvent& event);
  void on_prompt_token(Client& client, const TokenEvent& event);
  void on_finish(Client& client, const FinishEvent& event);
  int sinks_alive = 0;

 private:
  void make_clients();
  GenerateRequest make_request_of(int salt);
  void live(int life);
  void live_with(int life, TieredPages* disk);
  std::unique_ptr<TieredPages> open_disk();
  void close_disk(std::unique_ptr<TieredPages> disk);
  void submit(Client& client);
  void ask_cancel(Client& client);
  bool act(int life);
  void check_turn();
  void check_refusal(const Client& client, const Error& error);
  void check_waits(const Client& begun);
  void check_end(const Client& client);
  void check_after_stop();
  int64_t deadline_of(const Client& client) const;
  void broken(const Client& client, std::string_view what);
  void trace(uint64_t value) { outcome_.trace = hash_step(outcome_.trace, value); }

  Numbers numbers_;
  World world_;
  VirtualEnv env_;
  SimOutcome outcome_;
  SimTier tier_;
  SimFiles files_;
  SimModel model_;
  std::deque<Client> clients_;
  EngineLoop* loop_ = nullptr;
  int64_t n_ctx_ = 0;
  int64_t faults_seen_ = 0;       ///< requests that ended with kForwardFault, this turn
  int64_t stop_at_ = kNever;      ///< the engine is stopped with all that runs
  int64_t drain_at_ = kNever;     ///< it takes no more...
  int64_t drain_until_ = kNever;  ///< ...and nobody waits beyond
  bool stopped_ = false;
  bool draining_ = false;
};

class SimSink final : public TokenSink {
 public:
  SimSink(Simulation& simulation, Client& client) : simulation_(simulation), client_(client) {
    ++simulation_.sinks_alive;
  }
  ~SimSink() override { --simulation_.sinks_alive; }
  void on_begin() override { simulation_.on_begin(client_); }
  void on_token(const TokenEvent& event) override { simulation_.on_token(client_, event); }
  void on_prompt_token(const TokenEvent& event) override {
    simulation_.on_prompt_token(client_, event);
  }
  void on_finish(const FinishEvent& event) override { simulation_.on_finish(client_, event); }

 private:
  Simulation& simulation_;
  Client& client_;
};

/// What a request must get when nothing comes in between.
struct Expected {
  std::vector<TokenId> ids;
  FinishReason reason = FinishReason::kLength;
};

Expected expected_of(const GenerateRequest& request, int64_t n_ctx, const SimModel& model) {
  Expected out;
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  const int64_t room = n_ctx - prompt_tokens;
  const int64_t most = request.max_tokens == 0 ? room : std::min(request.max_tokens, room);
  Sampler sampler(request.sampling, request.prompt, 0);
  std::vector<float> logits(FakeModel::kVocab);
  uint64_t hash = FakeModel::kNothing;
  for (int64_t at = 0; at < prompt_tokens; ++at) {
    hash = hash_step(hash, static_cast<uint64_t>(request.prompt[static_cast<size_t>(at)]));
    if (!request.prompt_logprobs || at + 1 == prompt_tokens) continue;
    FakeModel::fill_logits(hash, logits);
    if (model.poisoned(logits)) return {{}, FinishReason::kError};
  }
  while (static_cast<int64_t>(out.ids.size()) < most) {
    FakeModel::fill_logits(hash, logits);
    model.poison(logits);
    const bool mask = static_cast<int64_t>(out.ids.size()) < request.min_tokens;
    const std::vector<TokenId> masked = mask ? request.stop_ids : std::vector<TokenId>{};
    const Result<Sampled> sampled = sampler.sample(logits, masked);
    if (!sampled.ok()) return {out.ids, FinishReason::kError};
    const TokenId id = sampled.value().id;
    const bool stops = std::ranges::find(request.stop_ids, id) != request.stop_ids.end();
    if (stops && !request.ignore_eos) return {out.ids, FinishReason::kStop};
    out.ids.push_back(id);
    hash = hash_step(hash, static_cast<uint64_t>(id));
  }
  return out;
}

GenerateRequest Simulation::make_request_of(int salt) {
  const int64_t n_ctx = world_.options.n_ctx;
  const int64_t prompt_max = world_.small ? 6 : world_.tight ? n_ctx / 3 : n_ctx - 1;
  const int64_t output_max = world_.tight ? n_ctx : 24;
  GenerateRequest request = make_request(static_cast<int>(numbers_.between(1, prompt_max)),
                                         static_cast<int>(numbers_.between(0, output_max)), salt);
  if (world_.small) request.max_tokens = numbers_.between(1, 4);
  if (world_.alike || numbers_.once_in(3)) {  // begins as others do
    const auto shared = make_prompt(static_cast<int>(n_ctx), static_cast<int>(numbers_.below(3)));
    const auto n =
        static_cast<ptrdiff_t>(numbers_.below(static_cast<int64_t>(request.prompt.size()) + 1));
    std::copy(shared.begin(), shared.begin() + n, request.prompt.begin());
  }
  if (numbers_.once_in(9)) request.max_tokens = 1'000'000'000;
  if (numbers_.once_in(3)) {
    for (int i = 0; i < 3; ++i) {
      request.stop_ids.push_back(static_cast<TokenId>(numbers_.between(-2, FakeModel::kVocab + 9)));
    }
    request.min_tokens = numbers_.below(6);
    request.ignore_eos = numbers_.once_in(5);
  }
  if (numbers_.once_in(8)) {
    request.sampling.top_logprobs = static_cast<int>(numbers_.below(4));
    request.prompt_logprobs = true;
  }
  request.tenant = fmt::format("t{}", numbers_.below(world_.tenants));
  if (request.tenant == "t0") request.tenant.clear();
  const Priority classes[] = {Priority::kInteractive, Priority::kNormal, Priority::kBatch};
  request.priority =
      world_.small && !numbers_.once_in(20) ? Priority::kInteractive : numbers_.pick(classes);
  if (numbers_.once_in(10)) request.max_queue_micros = numbers_.between(1, 30'000);
  return request;
}

void Simulation::make_clients() {
  int64_t now = env_.now_micros();
  for (int64_t i = 0; i < world_.requests; ++i) {
    Client& client = clients_.emplace_back();
    client.request = make_request_of(static_cast<int>(numbers_.below(40)));
    now += numbers_.below(2 * world_.gap_micros + 1);
    client.arrives_at = now;
    client.life = static_cast<int>(i * world_.lives / world_.requests);
    if (!numbers_.once_in(world_.cancels)) continue;
    if (numbers_.once_in(2)) {
      client.cancel_after = static_cast<int>(numbers_.below(6));
    } else {
      client.cancel_at = now + numbers_.below(200'000);
    }
  }
  for (size_t i = 0; i + 1 < clients_.size();
       ++i) {  // some clients come when another has its answer
    if (clients_[i].life != clients_[i + 1].life || !numbers_.once_in(6)) continue;
    clients_[i].submits_next = static_cast<int>(i) + 1;
    clients_[i + 1].arrives_at = kNever;
  }
  const int64_t length = now - env_.now_micros() + 1;
  if (world_.lives > 1) return;
  if (numbers_.once_in(6)) {
    stop_at_ = env_.now_micros() + numbers_.below(2 * length);
  } else if (numbers_.once_in(5)) {
    drain_at_ = env_.now_micros() + numbers_.below(2 * length);
    drain_until_ = drain_at_ + numbers_.below(100'000);
  }
}

SimOutcome Simulation::run() {
  for (int life = 0; life < world_.lives && outcome_.failure.empty(); ++life) live(life);
  if (outcome_.failure.empty()) {
    for (const Client& client : clients_) check_end(client);
  }
  outcome_.counts.steps = model_.passes;
  outcome_.counts.tier_pages = tier_.fetched();
  return outcome_;
}

std::unique_ptr<TieredPages> Simulation::open_disk() {
  if (!world_.with_disk) return nullptr;
  const PageShape shape = kv_page_shape(model_.kv_layout());
  auto disk = std::make_unique<TieredPages>(
      TieredPagesOptions{.shape = shape,
                         .ram_bytes = world_.ram_pages * shape.bytes,
                         .disk_bytes = static_cast<uint64_t>(numbers_.between(4, 400)) * 1024 *
                                       (shape.bytes / 1024 + 1),
                         .directory = "/disk/kv",
                         .fingerprint = "sim",
                         .own_thread = false},
      env_, files_);
  world_.options.tier = disk.get();
  world_.options.model_fingerprint = disk->fingerprint();
  return disk;
}

/// The engine is gone by now. Sometimes its pages are still written, sometimes it was killed.
void Simulation::close_disk(std::unique_ptr<TieredPages> disk) {
  if (disk == nullptr) return;
  if (numbers_.once_in(2)) {
    while (disk->work()) {
    }
  }
  const TierStats stats = disk->disk_stats();
  outcome_.counts.disk_pages += static_cast<int64_t>(stats.hits);
  outcome_.counts.disk_corrupt += static_cast<int64_t>(stats.corrupt);
  disk.reset();
  files_.rot();
}

void Simulation::live(int life) {
  std::unique_ptr<TieredPages> disk = open_disk();
  live_with(life, disk.get());
  close_disk(std::move(disk));
}

void Simulation::live_with(int life, TieredPages* disk) {
  std::unique_ptr<Drafter> drafter;
  if (world_.guesses >= 0) drafter = std::make_unique<OracleDrafter>(world_.guesses, 0);
  EngineLoop loop(model_, world_.options, env_, std::move(drafter));
  loop_ = &loop;
  n_ctx_ = loop.options().n_ctx;
  stopped_ = draining_ = false;
  const int64_t turns_max = 20'000;  // far more than any story needs
  for (int64_t turn = 0; outcome_.failure.empty(); ++turn) {
    if (turn == turns_max) {
      outcome_.failure = "the story does not end";
      break;
    }
    const bool more = act(life);
    if (loop.idle()) {
      if (!more) break;
      env_.advance(kIdleMicros * 5);
      continue;
    }
    for (int64_t i = disk != nullptr ? numbers_.below(4) : 0; i > 0 && disk->work(); --i) {
    }
    const int64_t passes = model_.passes;
    const bool alive = loop.turn();
    loop.check_integrity();
    check_turn();
    if (!alive) break;
    if (model_.passes == passes) env_.advance(kIdleMicros);
  }
  stopped_ = true;
  if (disk != nullptr && numbers_.once_in(2)) disk->begin_drain(env_.now_micros() + 1'000'000);
  loop.inbox().stop();
  while (loop.turn()) {
  }
  if (outcome_.failure.empty()) check_after_stop();
  const EngineStats stats = loop.inbox().stats(env_.now_micros());
  const KvStats& kv = stats.kv;
  outcome_.counts.preemptions += static_cast<int64_t>(kv.preemptions);
  outcome_.counts.evictions += static_cast<int64_t>(kv.evictions);
  outcome_.counts.guesses += static_cast<int64_t>(stats.drafted_tokens);
  outcome_.counts.guesses_right += static_cast<int64_t>(stats.accepted_tokens);
  loop_ = nullptr;
}

/// What the clients and the operator do now. False: nothing will come any more.
bool Simulation::act(int life) {
  const int64_t now = env_.now_micros();
  bool more = false;
  for (Client& client : clients_) {
    if (client.life != life) continue;
    if (!client.submitted && client.arrives_at <= now) submit(client);
    if (!client.submitted && client.arrives_at != kNever) more = true;
    if (client.submitted && !client.end && client.cancel_at <= now) ask_cancel(client);
  }
  if (now >= drain_at_ && !draining_) {
    draining_ = true;
    loop_->inbox().close_door(drain_until_);
  }
  if (now >= stop_at_) {
    stopped_ = true;
    loop_->inbox().stop();
  }
  return more && !stopped_;
}

void Simulation::submit(Client& client) {
  client.submitted = true;
  client.submitted_at = env_.now_micros();
  Result<RequestId> id = loop_->submit(client.request, std::make_unique<SimSink>(*this, client));
  trace(id.ok() ? 1 : 2);
  if (!id.ok()) return check_refusal(client, id.error());
  client.id = id.value();
  ++outcome_.counts.requests;
}

void Simulation::check_refusal(const Client& client, const Error& error) {
  ++outcome_.counts.refused;
  const bool full = error.code == Code::kExhausted &&
                    loop_->inbox().stats(env_.now_micros()).waiting == loop_->options().max_queue;
  const bool closed = error.code == Code::kUnavailable && (draining_ || stopped_);
  const bool invalid = error.code == Code::kInvalidArgument &&
                       static_cast<int64_t>(client.request.prompt.size()) >= n_ctx_;
  if (!full && !closed && !invalid) broken(client, "refused: " + error.message);
}

void Simulation::ask_cancel(Client& client) {
  if (client.passes_at_cancel < 0) client.passes_at_cancel = model_.passes;
  loop_->inbox().cancel(client.id);
}

void Simulation::on_begin(Client& client) {
  trace(3);
  if (client.begun || client.end) broken(client, "began twice");
  client.begun = true;
  check_waits(client);
  if (client.cancel_after != 0) return;
  ask_cancel(client);
  client.passes_at_cancel = model_.passes + 1;  // the pass that begins now
}

/// Whoever is overdue is overtaken by no more than three of four places.
void Simulation::check_waits(const Client& begun) {
  const int64_t now = env_.now_micros();
  const EngineOptions& o = world_.options;
  for (Client& other : clients_) {
    if (other.id == 0 || other.begun || other.end || other.id >= begun.id) continue;
    const auto asked = static_cast<int64_t>(other.request.priority);
    if (begun.submitted_at - other.submitted_at <= (asked + 1) * o.age_micros) continue;
    ++other.overtaken;
    const int bound = 4 * (o.max_queue + 1) + 2 * o.max_batch;
    if (other.overtaken > bound) {
      broken(other, fmt::format("starves: overtaken {} times in {} ms", other.overtaken,
                                (now - other.submitted_at) / 1000));
    }
  }
}

void Simulation::on_prompt_token(Client& client, const TokenEvent& event) {
  trace(static_cast<uint64_t>(event.id) + 1000);
  ++client.prompt_scores;
  if (!client.begun || !client.ids.empty() || client.end) broken(client, "a score out of order");
  const auto at = static_cast<size_t>(client.prompt_scores);
  if (at >= client.request.prompt.size() || client.request.prompt[at] != event.id) {
    broken(client, "a score of another token");
  }
}

void Simulation::on_token(Client& client, const TokenEvent& event) {
  trace(static_cast<uint64_t>(event.id) + 2000);
  ++outcome_.counts.tokens;
  if (!client.begun || client.end) broken(client, "a token out of order");
  if (client.passes_at_cancel >= 0 && model_.passes > client.passes_at_cancel) {
    broken(client, "a token of a step after the cancellation");
  }
  client.ids.push_back(event.id);
  if (static_cast<int>(client.ids.size()) == client.cancel_after) ask_cancel(client);
}

void Simulation::on_finish(Client& client, const FinishEvent& event) {
  trace(3000 + static_cast<uint64_t>(event.reason));
  trace(static_cast<uint64_t>(env_.now_micros()));
  if (client.end) broken(client, "ended twice");
  client.end = event;
  if (event.error == kForwardFault) ++faults_seen_;
  if (client.submits_next >= 0) submit(clients_[static_cast<size_t>(client.submits_next)]);
}

void Simulation::check_turn() {
  const EngineStats stats = loop_->inbox().stats(env_.now_micros());
  if (stats.running > world_.options.max_batch) outcome_.failure = "over-admission";
  if (stats.waiting > world_.options.max_queue) outcome_.failure = "the queue is too long";
  const int64_t faults = std::exchange(model_.failed_rows, 0);
  if (faults != std::exchange(faults_seen_, 0)) {
    outcome_.failure = "a failed pass ended other requests than its own";
  }
}

int64_t Simulation::deadline_of(const Client& client) const {
  const int64_t own = client.request.max_queue_micros;
  const int64_t wait = own > 0 ? own : world_.options.max_queue_micros;
  const int64_t deadline = wait == 0 ? kNever : client.submitted_at + wait;
  return drain_at_ == kNever ? deadline : std::min(deadline, drain_until_);
}

void Simulation::check_after_stop() {
  const EngineStats stats = loop_->inbox().stats(env_.now_micros());
  if (stats.running != 0 || stats.waiting != 0)
    outcome_.failure = "requests are left after the end";
  if (stats.kv.pages_free + stats.kv.pages_cached != stats.kv.pages)
    outcome_.failure = "pages leak";
  if (sinks_alive != 0) outcome_.failure = fmt::format("{} sinks leak", sinks_alive);
}

void Simulation::check_end(const Client& client) {
  if (client.id == 0) return;
  if (!client.end) return broken(client, "never ended");
  const FinishEvent& end = *client.end;
  const Expected expected = expected_of(client.request, n_ctx_, model_);
  const auto mine = static_cast<int64_t>(client.ids.size());
  if (client.ids.size() > expected.ids.size() ||
      !std::equal(client.ids.begin(), client.ids.end(), expected.ids.begin())) {
    return broken(client, "wrong tokens");
  }
  if (end.prompt_tokens != static_cast<int64_t>(client.request.prompt.size())) {
    broken(client, "wrong count of prompt tokens");
  }
  outcome_.counts.cached_tokens += end.cached_tokens;
  if (end.cached_tokens < 0 || end.cached_tokens >= end.prompt_tokens) {
    broken(client, "wrong count of cached tokens");
  }
  const int64_t extra = end.reason == FinishReason::kStop ? 1 : 0;
  if (end.completion_tokens != mine + extra) broken(client, "wrong count of tokens");
  switch (end.reason) {
    case FinishReason::kCancelled:
      ++outcome_.counts.cancelled;
      if (client.passes_at_cancel < 0 && !stopped_) broken(client, "cancelled unasked");
      return;
    case FinishReason::kExpired:
      ++outcome_.counts.expired;
      if (client.begun || end.queue_micros < deadline_of(client) - client.submitted_at) {
        broken(client, "expired before its time");
      }
      return;
    case FinishReason::kError:
      ++outcome_.counts.failed;
      if (end.error == kForwardFault) return;
      break;
    default:
      ++outcome_.counts.finished;
  }
  if (end.reason != expected.reason) {
    return broken(client,
                  fmt::format("ended for reason {}, expected {} ({})", static_cast<int>(end.reason),
                              static_cast<int>(expected.reason), end.error));
  }
  if (client.ids.size() != expected.ids.size()) broken(client, "tokens are missing");
  const bool scored = client.request.prompt_logprobs && end.reason != FinishReason::kError;
  if (scored && client.prompt_scores + 1 != end.prompt_tokens) broken(client, "scores are missing");
}

void Simulation::broken(const Client& client, std::string_view what) {
  if (!outcome_.failure.empty()) return;
  const auto at = std::ranges::find_if(clients_, [&](const Client& c) { return &c == &client; });
  outcome_.failure = fmt::format("client {}: {}", at - clients_.begin(), what);
}

}  // namespace

SimOutcome simulate(uint64_t seed) {
  return Simulation(seed).run();
}

}  // namespace hadal::testing
