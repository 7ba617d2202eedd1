// llama.cpp's speed on a file, through the prebuilt libraries of the npm package node-llama-cpp.
// Prints one JSON line: {"prefill_tps", "decode_tps"}.
//   node llama_cpp.mjs PACKAGE_DIRECTORY MODEL PROMPT_TOKENS DECODE_TOKENS THREADS
import {createRequire} from "node:module";
import {join, resolve} from "node:path";
import {pathToFileURL} from "node:url";

const [packages, file, ...numbers] = process.argv.slice(2);
const [promptTokens, decodeTokens, threads] = numbers.map(Number);
if (!threads) {
  console.error("usage: node llama_cpp.mjs PACKAGE_DIRECTORY MODEL PROMPT_TOKENS DECODE_TOKENS THREADS");
  process.exit(2);
}
const find = createRequire(join(resolve(packages), "any.js"));
const {getLlama} = await import(pathToFileURL(find.resolve("node-llama-cpp")).href);
const llama = await getLlama({gpu: false, build: "never", logLevel: "error", maxThreads: threads});
const model = await llama.loadModel({modelPath: resolve(file), gpuLayers: 0});
const context = await model.createContext({contextSize: promptTokens + decodeTokens + 32, batchSize: 2048, threads});
const sequence = context.getSequence();

// The same ids as `hadal bench` takes: their meaning does not matter, their spread does.
const ids = Array.from({length: promptTokens}, (_, i) => (1000 + i * 7919) % 20000);
const seconds = async (work) => {
  const begin = performance.now();
  await work();
  return (performance.now() - begin) / 1000;
};

await sequence.evaluateWithoutGeneratingNewTokens(ids.slice(0, Math.min(64, promptTokens)));
await sequence.clearHistory();
const prefill = await seconds(() => sequence.evaluateWithoutGeneratingNewTokens(ids));

// The first token after the prompt ends the prefill; the clock runs over those that follow it.
const tokens = sequence.evaluate([ids[0]], {temperature: 0});
await tokens.next();
let count = 0;
const decode = await seconds(async () => {
  while (count < decodeTokens && !(await tokens.next()).done) count += 1;
});
console.log(JSON.stringify({prefill_tps: promptTokens / prefill, decode_tps: count / decode}));
process.exit(0);
