// Markdown with maths and code to safe HTML, block by block, so that a growing answer only renders
// its last block anew. Model output is untrusted: DOMPurify always, no remote images.
import DOMPurify from "dompurify";
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import cpp from "highlight.js/lib/languages/cpp";
import css from "highlight.js/lib/languages/css";
import go from "highlight.js/lib/languages/go";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import katex from "katex";
import { Marked, type TokenizerAndRendererExtension } from "marked";

for (const [name, language] of Object.entries({
  bash, cpp, css, go, java, javascript, json, python, rust, sql, typescript, xml, yaml,
})) {
  hljs.registerLanguage(name, language);
}

/** MathML needs neither fonts nor inline styles, so the page's content policy can stay strict. */
function renderMath(source: string, displayMode: boolean): string {
  return katex.renderToString(source, { displayMode, output: "mathml", throwOnError: false, maxExpand: 200, maxSize: 20, strict: false });
}

function mathRule(name: string, level: "block" | "inline", start: RegExp, rule: RegExp, display: boolean): TokenizerAndRendererExtension {
  return {
    name,
    level,
    start: (source) => source.match(start)?.index,
    tokenizer(source) {
      const match = rule.exec(source);
      return match ? { type: name, raw: match[0], text: match[1]! } : undefined;
    },
    renderer: (token) => renderMath(token.text, display) + (level === "block" ? "\n" : ""),
  };
}

const escapeHtml = (text: string): string =>
  text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]!);

const marked = new Marked({
  gfm: true,
  breaks: true,
  extensions: [
    mathRule("mathBlockDollar", "block", /\$\$/, /^\$\$\s*([\s\S]+?)\s*\$\$(?:\n|$)/, true),
    mathRule("mathBlockBracket", "block", /\\\[/, /^\\\[\s*([\s\S]+?)\s*\\\](?:\n|$)/, true),
    mathRule("mathDisplayInline", "inline", /\$\$/, /^\$\$([^$]+?)\$\$/, true),
    mathRule("mathParen", "inline", /\\\(/, /^\\\(([\s\S]+?)\\\)/, false),
    mathRule("mathBracketInline", "inline", /\\\[/, /^\\\[([\s\S]+?)\\\]/, true),
    // A dollar opens maths only before a non-blank and closes only after one, not before a digit.
    mathRule("mathDollar", "inline", /\$/, /^\$(?!\s|\$)((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d)/, false),
  ],
  renderer: {
    code({ text, lang }) {
      const name = (lang ?? "").split(/\s/)[0]!.toLowerCase();
      const known = hljs.getLanguage(name);
      const html = known ? hljs.highlight(text, { language: name, ignoreIllegals: true }).value : escapeHtml(text);
      return `<figure class="code"><figcaption>${escapeHtml(name || "text")}</figcaption><pre><code>${html}</code></pre></figure>\n`;
    },
    // Markup in an answer is shown as what it is: text.
    html({ text }) {
      return escapeHtml(text);
    },
    image({ text, href }) {
      return `<span class="image-blocked">[${escapeHtml(text || href)}]</span>`;
    },
  },
});

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
  if (node.nodeName === "IMG") node.remove();
});

function renderBlock(raw: string): string {
  return DOMPurify.sanitize(marked.parse(raw, { async: false }), {
    FORBID_TAGS: ["style", "form", "input", "button", "iframe", "img", "video", "audio", "svg"],
    FORBID_ATTR: ["style"],
  });
}

const kCacheMax = 2000;
const cache = new Map<string, string>();

/** Safe HTML of each top-level block. Blocks seen before come from a cache. */
export function renderBlocks(source: string): string[] {
  return marked
    .lexer(source)
    .filter((token) => token.type !== "space")
    .map((token) => {
      const known = cache.get(token.raw);
      if (known !== undefined) return known;
      const html = renderBlock(token.raw);
      if (cache.size >= kCacheMax) cache.clear();
      cache.set(token.raw, html);
      return html;
    });
}
