// llama.cpp through the prebuilt libraries of the npm package node-llama-cpp. The request and the
// answer are those of compare.py and quality.py, one JSON object each:
//   node llama_cpp.mjs PACKAGE_DIRECTORY '{"mode": "speed" | "first_token" | "logits", "model": FILE, "threads": N, ...}'
//
// Batches go to the library without the package's queue and sampler (`_ctx`, internal to the
// package, hence the fixed version 3.22.1): what is timed is llama.cpp itself.
import {readFileSync, openSync, writeSync, closeSync} from "node:fs";
import {createRequire} from "node:module";
import {join, resolve} from "node:path";
import {pathToFileURL} from "node:url";

const [packages, text] = process.argv.slice(2);
if (!text) {
  console.error("usage: node llama_cpp.mjs PACKAGE_DIRECTORY REQUEST");
  process.exit(2);
}
const request = JSON.parse(text);
const {mode, threads, prompt = 0, decode = 0, kv = "f16"} = request;

function memory() {
  const status = readFileSync("/proc/self/status", "utf8");
  const bytes = (name) => Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))[1]) * 1024;
  return {peak: bytes("VmHWM"), anonymous: bytes("RssAnon")};
}

/** The same ids as `hadal bench` takes: their meaning does not matter, their spread does. */
const spread = (count) => Array.from({length: count}, (_, i) => (1000 + i * 7919) % 20000);

const before = memory();
const started = performance.now();
const seconds = (since) => (performance.now() - since) / 1000;
const find = createRequire(join(resolve(packages), "any.js"));
const {getLlama} = await import(pathToFileURL(find.resolve("node-llama-cpp")).href);
const llama = await getLlama({gpu: false, build: "never", logLevel: "error", maxThreads: threads});
const model = await llama.loadModel({modelPath: resolve(request.model), gpuLayers: 0});
const positions = mode === "logits" ? Math.max(...request.ids.map((ids) => ids.length)) : prompt + decode;
const type = kv.toUpperCase();
const context = await model.createContext({
  contextSize: positions + 64, batchSize: 2048, threads, flashAttention: "auto",
  experimentalKvCacheKeyType: type, experimentalKvCacheValueType: type,
});

/** One call of llama_decode; only the last row gets logits. */
async function evaluate(ids, start) {
  context._ctx.initBatch(ids.length);
  context._ctx.addToBatch(0, start, Uint32Array.from(ids), Uint32Array.from([ids.length - 1]));
  await context._ctx.decodeBatch();
}

async function prefill() {
  const ids = spread(prompt);
  for (let begin = 0; begin < prompt; begin += 2048) await evaluate(ids.slice(begin, begin + 2048), begin);
}

async function speed() {
  await evaluate(spread(Math.min(64, prompt)), 0);
  context._ctx.disposeSequence(0);
  let since = performance.now();
  await prefill();
  const prefill_tps = prompt / seconds(since);
  const ids = spread(decode);
  since = performance.now();
  for (let i = 0; i < decode; ++i) await evaluate([ids[i]], prompt + i);
  return {prefill_tps, decode_tps: decode / seconds(since)};
}

/** All logits of each text's positions, float32 in id order, appended to request.out. */
async function logits() {
  const out = openSync(request.out, "w");
  const sequence = context.getSequence();
  for (const ids of request.ids) {
    await sequence.clearHistory();
    for (let begin = 0; begin < ids.length; begin += 64) {  // a result holds a map per position
      const part = ids.slice(begin, begin + 64).map((id) => [id, {generateNext: {logits: true, options: {temperature: 0}}}]);
      for (const {next} of await sequence.controlledEvaluate(part)) {
        const row = new Float32Array(next.logits.size);
        for (const [id, value] of next.logits) row[id] = value;
        writeSync(out, row);
      }
    }
  }
  closeSync(out);
  return {};
}

let answer;
if (mode === "speed") {
  answer = await speed();
} else if (mode === "first_token") {
  await prefill();
  answer = {first_token_ms: 1000 * seconds(started)};
} else {
  answer = await logits();
}
const after = memory();
console.log(JSON.stringify({...answer, peak_bytes: after.peak - before.anonymous, anonymous_bytes: after.anonymous - before.anonymous}));
process.exit(0);
