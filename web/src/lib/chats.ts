// Conversations, kept in this browser only.

export interface Message {
  role: "user" | "assistant";
  content: string;
  reasoning?: string;
  /** Seconds spent reasoning, once the answer began. */
  reasoningSeconds?: number;
  tokensPerSecond?: number;
  tokens?: number;
  error?: string;
  stopped?: boolean;
}

export interface Chat {
  id: string;
  title: string;
  messages: Message[];
}

export interface Settings {
  system: string;
  temperature: number | null;
  maxTokens: number | null;
}

const kChats = "hadal.chats";
const kSettings = "hadal.settings";
const kChatsMax = 100;
const kTitleChars = 40;

function load<T>(key: string, fallback: T): T {
  try {
    return (JSON.parse(localStorage.getItem(key) ?? "null") as T) ?? fallback;
  } catch {
    return fallback;
  }
}

export const loadChats = (): Chat[] => load<Chat[]>(kChats, []);
export const loadSettings = (): Settings => load(kSettings, { system: "", temperature: null, maxTokens: null });
export const saveSettings = (settings: Settings): void => localStorage.setItem(kSettings, JSON.stringify(settings));

/** Keeps the newest chats; when the browser's store is full, fewer of them. */
export function saveChats(chats: Chat[]): void {
  for (let count = Math.min(chats.length, kChatsMax); count >= 0; count = Math.floor(count / 2)) {
    try {
      localStorage.setItem(kChats, JSON.stringify(chats.slice(0, count)));
      return;
    } catch {
      if (count === 0) return;
    }
  }
}

/** A title from the first words of a question; cut by characters, not bytes. */
export function titleOf(text: string): string {
  const line = text.trim().split("\n")[0] ?? "";
  const characters = [...line];
  return characters.length > kTitleChars ? characters.slice(0, kTitleChars).join("") + "…" : line;
}
