// Ollama's own client for JavaScript against a running server.
import assert from "node:assert/strict";
import { Ollama } from "ollama";

const client = new Ollama({ host: process.env.HADAL_URL });
const model = "smollm2-135m";
const messages = [{ role: "user", content: "What is the capital of France? Answer in one sentence." }];
const options = { temperature: 0, num_predict: 24 };

const checks = {
  async "list, show, ps and version"() {
    assert.ok((await client.list()).models.some((entry) => entry.model === model));
    assert.equal((await client.show({ model })).details.format, "gguf");
    assert.ok((await client.ps()).models.some((entry) => entry.model === model));
    assert.match((await client.version()).version, /^0\./);
  },
  async "says the same whole and streamed"() {
    const whole = await client.chat({ model, messages, options });
    assert.match(whole.message.content, /Paris/);
    let text = "";
    for await (const part of await client.chat({ model, messages, options, stream: true })) text += part.message.content;
    assert.equal(text, whole.message.content);
  },
  async "stops in mid-stream"() {
    const stream = await client.generate({ model, prompt: "1, 2, 3,", raw: true, stream: true, options: { num_predict: 500 } });
    await assert.rejects(async () => {
      for await (const part of stream) if (part.response) stream.abort();
    }, { name: "AbortError" });
  },
  async "log-probabilities"() {
    const answer = await client.generate({ model, prompt: "1, 2, 3,", raw: true, logprobs: true, top_logprobs: 3,
                                           options: { temperature: 0, num_predict: 4 } });
    assert.equal(answer.logprobs.length, 4);
    assert.equal(answer.logprobs[0].top_logprobs.length, 3);
  },
  async "keeps to a schema"() {
    const format = { type: "object", properties: { city: { enum: ["Paris", "Rome"] } }, required: ["city"] };
    const answer = await client.chat({ model, messages, format, options: { temperature: 0, num_predict: 60 } });
    assert.ok(["Paris", "Rome"].includes(JSON.parse(answer.message.content).city));
  },
  async "vectors"() {
    const { embeddings } = await client.embed({ model, input: ["Rain falls.", "The sky is blue."] });
    assert.equal(embeddings.length, 2);
    assert.deepEqual((await client.embeddings({ model, prompt: "Rain falls." })).embedding, embeddings[0]);
  },
  async "a closed store"() {
    const parts = [];
    for await (const part of await client.pull({ model, stream: true })) parts.push(part.status);
    assert.equal(parts.at(-1), "success");
    await assert.rejects(client.pull({ model: "hf:ORG/REPO/x.gguf" }), { status_code: 403 });
    await assert.rejects(client.delete({ model }), { status_code: 403 });
    await assert.rejects(client.copy({ source: model, destination: "x" }), { status_code: 403 });
    await assert.rejects(client.push({ model }), { status_code: 501 });
  },
  async "mistakes"() {
    await assert.rejects(client.chat({ model: "nobody", messages }), { status_code: 404, message: /nobody/ });
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}:`, error);
  }
}
console.log(`${Object.keys(checks).length - failed} passed, ${failed} failed, 0 skipped`);
process.exit(failed ? 1 : 0);
