import { expect, test } from "vitest";
import { titleOf } from "./chats";

// Goal: titles are cut between characters, never inside one.
test("titles", () => {
  expect(titleOf("  hello\nworld")).toBe("hello");
  expect(titleOf("好".repeat(50))).toBe("好".repeat(40) + "…");
  expect(titleOf("😁".repeat(50))).toBe("😁".repeat(40) + "…");
});
