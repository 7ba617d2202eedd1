// The server's API, as the page uses it.
import { SseParser } from "./sse";

export interface ApiMessage {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface ChatOptions {
  model: string;
  messages: ApiMessage[];
  temperature: number | null;
  max_tokens: number | null;
}

export interface ChatDelta {
  content: string;
  reasoning: string;
  finish: string | null;
  completionTokens: number | null;
}

export class ApiError extends Error {}

async function failure(response: Response): Promise<ApiError> {
  const body = await response.json().catch(() => null);
  return new ApiError(body?.error?.message ?? `${response.status} ${response.statusText}`);
}

export async function listModels(): Promise<string[]> {
  const response = await fetch("/v1/models");
  if (!response.ok) throw await failure(response);
  return (await response.json()).data.map((model: { id: string }) => model.id);
}

/** Streams one answer; calls `onDelta` for each piece. Aborting `signal` ends it without an error. */
export async function streamChat(options: ChatOptions, signal: AbortSignal, onDelta: (delta: ChatDelta) => void): Promise<void> {
  const body: Record<string, unknown> = {
    model: options.model,
    messages: options.messages,
    stream: true,
    stream_options: { include_usage: true },
  };
  if (options.temperature !== null) body.temperature = options.temperature;
  if (options.max_tokens !== null) body.max_tokens = options.max_tokens;
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    if (!response.ok) throw await failure(response);
    await readStream(response, onDelta);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

async function readStream(response: Response, onDelta: (delta: ChatDelta) => void): Promise<void> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new SseParser();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new ApiError("the stream ended early");
    for (const payload of parser.push(value)) {
      if (payload === "[DONE]") return;
      const chunk = JSON.parse(payload);
      if (chunk.error) throw new ApiError(chunk.error.message);
      const choice = chunk.choices?.[0];
      onDelta({
        content: choice?.delta?.content ?? "",
        reasoning: choice?.delta?.reasoning_content ?? "",
        finish: choice?.finish_reason ?? null,
        completionTokens: chunk.usage?.completion_tokens ?? null,
      });
    }
  }
}
