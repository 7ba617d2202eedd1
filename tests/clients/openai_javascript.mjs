// The official OpenAI SDK for JavaScript, and a WebSocket client, against a running server.
import assert from "node:assert/strict";
import OpenAI from "openai";
import WebSocket from "ws";

const url = process.env.HADAL_URL;
const model = "smollm2-135m";
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const question = {
  model, temperature: 0, max_tokens: 24,
  messages: [{ role: "user", content: "What is the capital of France? Answer in one sentence." }],
};

// One exchange over /stream: sends `first`, collects frames until one says done.
function exchange(first, onFrame = () => {}) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url.replace("http", "ws") + "/stream");
    const frames = [];
    socket.on("open", () => socket.send(first));
    socket.on("error", reject);
    socket.on("message", (data) => {
      const frame = JSON.parse(data);
      frames.push(frame);
      onFrame(socket, frame, frames);
      if (frame.done) { socket.close(); resolve(frames); }
    });
  });
}

const tests = {
  async "lists models"() {
    const ids = [];
    for await (const entry of client.models.list()) ids.push(entry.id);
    assert.ok(ids.includes(model));
  },
  async "chats"() {
    const answer = await client.chat.completions.create(question);
    assert.match(answer.choices[0].message.content, /Paris/);
  },
  async "streams the same words"() {
    const whole = await client.chat.completions.create(question);
    const stream = await client.chat.completions.create({ ...question, stream: true });
    let text = "";
    for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
    assert.equal(text, whole.choices[0].message.content);
  },
  async "streaming helper accumulates"() {
    const answer = await client.chat.completions.stream(question).finalChatCompletion();
    assert.match(answer.choices[0].message.content, /Paris/);
  },
  async "stops on abort"() {
    const stream = await client.chat.completions.create({ ...question, stream: true, max_tokens: 1000, ignore_eos: true });
    for await (const _ of stream) break;
    for (let i = 0; i < 200; ++i) {
      const health = await (await fetch(`${url}/health`)).json();
      if (health.running === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.fail("the row of an aborted stream is still running");
  },
  async "maps errors"() {
    await assert.rejects(client.chat.completions.create({ ...question, model: "nope" }), OpenAI.NotFoundError);
    await assert.rejects(client.chat.completions.create({ ...question, temperature: -1 }), OpenAI.BadRequestError);
  },
  async "answers over responses"() {
    const ask = { model, temperature: 0, max_output_tokens: 24, input: question.messages[0].content };
    const whole = await client.responses.create(ask);
    assert.match(whole.output_text, /Paris/);
    const final = await client.responses.stream(ask).finalResponse();
    assert.equal(final.output_text, whole.output_text);
    const types = [];
    for await (const event of await client.responses.create({ ...ask, stream: true })) types.push(event.type);
    assert.equal(types[0], "response.created");
    assert.equal(types.at(-1), `response.${whole.status}`);
    const next = await client.responses.create({ ...ask, input: "Why?", previous_response_id: whole.id });
    assert.equal(next.previous_response_id, whole.id);
    assert.equal((await client.responses.retrieve(whole.id)).output_text, whole.output_text);
    const items = [];
    for await (const item of client.responses.inputItems.list(whole.id)) items.push(item);
    assert.equal(items[0].role, "user");
    await client.responses.delete(whole.id);
    await assert.rejects(client.responses.retrieve(whole.id), OpenAI.NotFoundError);
  },
  async "WebSocket streams tokens"() {
    const frames = await exchange(JSON.stringify({ prompt: "1, 2, 3, 4,", max_tokens: 8, temperature: 0 }));
    assert.match(frames.map((frame) => frame.text ?? "").join(""), /5/);
    assert.equal(frames.at(-1).finish_reason, "length");
  },
  async "WebSocket STOP ends the answer"() {
    let sent = false;
    const frames = await exchange(JSON.stringify({ prompt: "Once", max_tokens: 4000, ignore_eos: true }), (socket) => {
      if (!sent) { sent = true; socket.send("STOP"); }
    });
    assert.ok(frames.at(-1).done && frames.length < 1000);
    assert.notEqual(frames.at(-1).finish_reason, "length");
  },
};

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    await test();
    console.log(`ok ${name}`);
  } catch (error) {
    ++failed;
    console.log(`FAILED ${name}: ${error.stack}`);
  }
}
console.log(`${Object.keys(tests).length - failed} passed, ${failed} failed, 0 skipped`);
process.exit(failed ? 1 : 0);
