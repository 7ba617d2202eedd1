import { expect, test } from "vitest";
import { SseParser } from "./sse";

// Goal: payloads come out whole wherever the bytes are cut; comments are skipped.
test("any split gives the same payloads", () => {
  const stream = ': keep-alive\n\ndata: {"a":1}\n\ndata: line one\ndata: line two\r\n\r\nevent: x\ndata:[DONE]\n\n';
  const expected = ['{"a":1}', "line one\nline two", "[DONE]"];
  for (let cut = 0; cut <= stream.length; ++cut) {
    const parser = new SseParser();
    expect([...parser.push(stream.slice(0, cut)), ...parser.push(stream.slice(cut))]).toEqual(expected);
  }
});
