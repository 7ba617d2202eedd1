// llama.cpp behind a small HTTP server, so that its library can be put under the same load as
// `hadal serve`. It is not llama-server: that binary is in no package. It is the library of the npm
// package node-llama-cpp (`npm install --prefix DIR node-llama-cpp@3.22.1`) and a loop that does
// what llama-server's does:
//   node llama_cpp_server.mjs DIR '{"model": FILE, "threads": N, "context": N, "sequences": N, "port": N, "batch": N}'
//
// - A slot per client, each with `context` positions. A request goes to the idle slot whose tokens
//   have the longest beginning in common with it if that is more than a tenth of the prompt, else to
//   the idle slot that was used longest ago; what is in common is not computed again. Requests beyond
//   the slots wait in order.
// - A pass of the model takes the next token of every answer, then tokens of prompts in the order of
//   slots, `batch` together (continuous batching). Flash attention where the library has it; keys and
//   values in F16.
// - POST /v1/completions (text or token ids; greedy; stream, max_tokens, ignore_eos),
//   POST /tokenize, GET /health.
//
// Batches and samplers are called directly (`_ctx`, `_sampler`: internal to the package, hence the
// fixed version), because the package's own queue does more than llama-server does per token.
import {createServer} from "node:http";
import {createRequire} from "node:module";
import {join, resolve} from "node:path";
import {pathToFileURL} from "node:url";

const [packages, text] = process.argv.slice(2);
if (!text) {
  console.error("usage: node llama_cpp_server.mjs PACKAGE_DIRECTORY OPTIONS");
  process.exit(2);
}
const {model: file, threads, context: positions, sequences, port, batch = 512} = JSON.parse(text);
const kSimilar = 0.1;   // llama-server's --slot-prompt-similarity
const kHeldTokens = 4;  // of a character that is not complete yet

const find = createRequire(join(resolve(packages), "any.js"));
const {getLlama} = await import(pathToFileURL(find.resolve("node-llama-cpp")).href);
const llama = await getLlama({gpu: false, build: "never", logLevel: "error", maxThreads: threads});
const model = await llama.loadModel({modelPath: resolve(file), gpuLayers: 0});
const context = await model.createContext({
  contextSize: positions, sequences, batchSize: batch, threads, flashAttention: "auto",
});
const native = context._ctx;
const passSize = context.batchSize;

function newSampler() {
  const sampler = new llama._bindings.AddonSampler(model._model);
  sampler.applyConfig({temperature: 0});
  return sampler;
}

/** cells: the tokens whose keys and values the slot has. */
const slots = Array.from({length: sequences}, (_, id) => (
  {id, cells: [], request: null, used: 0, sampler: newSampler()}));
const waiting = [];
let wake = null;
let clock = 0;

function common(a, b) {
  const most = Math.min(a.length, b.length);
  let n = 0;
  while (n < most && a[n] === b[n]) ++n;
  return n;
}

function slotFor(prompt) {
  const idle = slots.filter((slot) => !slot.request);
  let best = null, longest = 0, oldest = null;
  for (const slot of idle) {
    const n = common(slot.cells, prompt);
    if (n > longest) [best, longest] = [slot, n];
    if (!oldest || slot.used < oldest.used) oldest = slot;
  }
  return best && longest > kSimilar * prompt.length ? best : oldest;
}

function admit() {
  while (waiting.length > 0) {
    const slot = slotFor(waiting[0].prompt);
    if (!slot) return;
    const request = waiting.shift();
    const kept = Math.min(common(slot.cells, request.prompt), request.prompt.length - 1);
    if (kept < slot.cells.length) native.removeTokenCellsFromSequence(slot.id, kept, -1);
    slot.cells.length = kept;
    slot.request = request;
    request.cached = kept;
  }
}

function release(slot) {
  slot.request = null;
  slot.used = ++clock;
}

function detokenize(request, id) {
  request.held.push(id);
  const piece = model._model.detokenize(Uint32Array.from(request.held), false);
  if (piece.endsWith("\ufffd") && request.held.length < kHeldTokens) return "";
  request.held.length = 0;
  return piece;
}

function deliver(slot, id) {
  const {request} = slot;
  request.next = id;
  ++request.sampled;
  const ended = !request.ignoreEos && model._model.isEogToken(id);
  if (!ended) request.emit(detokenize(request, id));
  const full = slot.cells.length + 1 >= positions;
  if (!ended && request.sampled < request.maxTokens && !full) return;
  request.finish(ended ? "stop" : "length");
  release(slot);
}

async function pass() {
  const parts = [];
  let room = passSize;
  const add = (slot, tokens, last) => {
    parts.push({slot, tokens, last});
    room -= tokens.length;
  };
  for (const slot of slots) {
    if (slot.request?.sampled > 0) add(slot, [slot.request.next], true);
  }
  for (const slot of slots) {
    if (!slot.request || slot.request.sampled > 0 || room === 0) continue;
    const {prompt} = slot.request;
    const end = Math.min(prompt.length, slot.cells.length + room);
    add(slot, prompt.slice(slot.cells.length, end), end === prompt.length);
  }
  native.initBatch(passSize - room);
  for (const part of parts) {
    const wanted = part.last ? [part.tokens.length - 1] : [];
    [part.index] = native.addToBatch(part.slot.id, part.slot.cells.length, Uint32Array.from(part.tokens),
                                     Uint32Array.from(wanted));
  }
  await native.decodeBatch();
  for (const {slot, tokens} of parts) slot.cells.push(...tokens);
  const last = parts.filter((part) => part.last);
  const ids = await Promise.all(last.map(({slot, index}) => native.sampleToken(index, slot.sampler)));
  last.forEach(({slot}, i) => slot.request.gone ? release(slot) : deliver(slot, ids[i]));
}

async function run() {
  for (;;) {
    for (const slot of slots) if (slot.request?.gone) release(slot);
    admit();
    if (slots.some((slot) => slot.request)) {
      await pass();
      await new Promise(setImmediate);  // requests and closed connections are seen between passes
    } else {
      await new Promise((done) => { wake = done; });
    }
  }
}

const kHead = `{"object":"text_completion","model":"llama.cpp","choices":`;

const tokenize = (text) => Array.from(model._model.tokenize(text, true));

function answer(body, reply) {
  const prompt = typeof body.prompt === "string" ? tokenize(body.prompt) : body.prompt;
  if (!Array.isArray(prompt) || prompt.length === 0 || prompt.length >= positions) {
    reply.writeHead(400, {"content-type": "application/json"});
    reply.end(JSON.stringify({error: {message: "the prompt does not fit"}}));
    return;
  }
  const {stream = false} = body;
  let whole = "";
  const usage = (request) => ({prompt_tokens: prompt.length, completion_tokens: request.sampled,
                               total_tokens: prompt.length + request.sampled,
                               prompt_tokens_details: {cached_tokens: request.cached}});
  const request = {
    prompt, maxTokens: body.max_tokens ?? 16, ignoreEos: body.ignore_eos ?? false,
    sampled: 0, next: 0, cached: 0, held: [], gone: false,
    emit(piece) {
      whole += piece;
      if (!stream || piece === "") return;
      reply.write(`data: ${kHead}[{"index":0,"text":${JSON.stringify(piece)},"finish_reason":null}]}\n\n`);
    },
    finish(reason) {
      if (stream) {
        reply.write(`data: ${kHead}[{"index":0,"text":"","finish_reason":"${reason}"}]}\n\n`);
        reply.end(`data: ${kHead}[],"usage":${JSON.stringify(usage(request))}}\n\ndata: [DONE]\n\n`);
      } else {
        reply.setHeader("content-type", "application/json");
        const choice = {index: 0, text: whole, finish_reason: reason};
        reply.end(`${kHead}[${JSON.stringify(choice)}],"usage":${JSON.stringify(usage(request))}}`);
      }
    },
  };
  if (stream) reply.writeHead(200, {"content-type": "text/event-stream"});
  reply.on("close", () => { request.gone = true; });
  waiting.push(request);
  wake?.();
}

createServer((request, reply) => {
  if (request.method === "GET" && request.url === "/health") {
    reply.end("{}");
    return;
  }
  if (request.method !== "POST" || !["/v1/completions", "/tokenize"].includes(request.url)) {
    reply.writeHead(404);
    reply.end();
    return;
  }
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    try {
      const body = JSON.parse(Buffer.concat(pieces).toString("utf8"));
      if (request.url === "/tokenize") reply.end(JSON.stringify({tokens: tokenize(body.content)}));
      else answer(body, reply);
    } catch (problem) {
      reply.writeHead(400);
      reply.end(String(problem));
    }
  });
}).listen(port, "127.0.0.1", () => console.log("ready"));
run().catch((problem) => { console.error(problem); process.exit(1); });
