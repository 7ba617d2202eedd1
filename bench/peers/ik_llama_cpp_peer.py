"""ik_llama.cpp through the library of the PyPI wheel ik-llama-cpp-python (0.1.5). The request and the
answer are those of compare.py and quality.py, one JSON object each:

    python ik_llama_cpp_peer.py '{"mode": "speed" | "first_token" | "logits", "model": FILE, "threads": N, ...}'
"""
import ctypes
import json
import re
import sys
import time

KV_TYPES = {"f16": 1, "q8_0": 8}  # GGUF's numbers
BATCH = 2048


def memory():
    with open("/proc/self/status") as status:
        text = status.read()
    return {name: int(re.search(rf"{name}:\s+(\d+)", text)[1]) * 1024 for name in ("VmHWM", "RssAnon")}


def spread(count):
    """The same ids as `hadal bench` takes: their meaning does not matter, their spread does."""
    return [(1000 + i * 7919) % 20000 for i in range(count)]


class Engine:
    def __init__(self, request, positions):
        from ik_llama_cpp import _ctypes_api as api
        self.api = api
        api.llama_backend_init()
        options = api.llama_model_default_params()
        options.repack_tensors = request.get("repack", False)
        if options.repack_tensors:
            options.use_mmap = False
        self.model = api.llama_model_load_from_file(request["model"].encode(), options)
        if not self.model:
            sys.exit(f"ik_llama.cpp does not load {request['model']}")
        options = api.llama_context_default_params()
        options.n_ctx, options.n_batch, options.n_ubatch = positions + 64, BATCH, 512
        options.n_threads = options.n_threads_batch = request["threads"]
        options.flash_attn = True
        options.type_k = options.type_v = KV_TYPES[request.get("kv", "f16")]
        self.context = api.llama_init_from_model(self.model, options)
        if not self.context:
            sys.exit("ik_llama.cpp makes no context")
        self.n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        self.batch = api.llama_batch_init(BATCH, 0, 1)

    def evaluate(self, ids, start, all_logits=False):
        batch = self.batch
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i] = token, start + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = all_logits or i == len(ids) - 1
        code = self.api.llama_decode(self.context, batch)
        if code != 0:
            sys.exit(f"llama_decode failed: {code}")

    def prefill(self, count):
        ids = spread(count)
        for begin in range(0, count, BATCH):
            self.evaluate(ids[begin:begin + BATCH], begin)

    def clear(self):
        self.api.llama_kv_cache_clear(self.context)


def speed(engine, prompt, decode):
    engine.evaluate(spread(min(64, prompt)), 0)
    engine.clear()
    start = time.perf_counter()
    engine.prefill(prompt)
    prefill_tps = prompt / (time.perf_counter() - start)
    start = time.perf_counter()
    for i, token in enumerate(spread(decode)):
        engine.evaluate([token], prompt + i)
    return {"prefill_tps": prefill_tps, "decode_tps": decode / (time.perf_counter() - start)}


def logits(engine, texts, out):
    """All logits of each text's positions, float32 in id order."""
    with open(out, "wb") as file:
        for ids in texts:
            engine.clear()
            for begin in range(0, len(ids), 512):
                part = ids[begin:begin + 512]
                engine.evaluate(part, begin, all_logits=True)
                for i in range(len(part)):
                    file.write(ctypes.string_at(engine.api.llama_get_logits_ith(engine.context, i), 4 * engine.n_vocab))
    return {}


def main():
    request = json.loads(sys.argv[1])
    before, started = memory(), time.perf_counter()
    mode, prompt, decode = request["mode"], request.get("prompt", 0), request.get("decode", 0)
    positions = max(map(len, request["ids"])) if mode == "logits" else prompt + decode
    engine = Engine(request, positions)
    if mode == "speed":
        answer = speed(engine, prompt, decode)
    elif mode == "first_token":
        engine.prefill(prompt)
        answer = {"first_token_ms": 1000 * (time.perf_counter() - started)}
    else:
        answer = logits(engine, request["ids"], request["out"])
    after = memory()
    print(json.dumps({**answer, "peak_bytes": after["VmHWM"] - before["RssAnon"],
                      "anonymous_bytes": after["RssAnon"] - before["RssAnon"]}))


if __name__ == "__main__":
    main()
