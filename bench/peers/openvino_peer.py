"""OpenVINO GenAI on a GGUF file (PyPI openvino-genai 2026.4.1, its reader converts Q4_0, Q4_K_M, Q8_0 of
llama and qwen2). The request and the answer are those of compare.py; "logits" is not offered.

    python openvino_peer.py '{"mode": "speed" | "first_token", "model": FILE, "threads": N, ...}'
"""
import json
import sys
import time

from ik_llama_cpp_peer import memory, spread


def main():
    request = json.loads(sys.argv[1])
    if request["mode"] == "logits":
        sys.exit("OpenVINO GenAI gives no logits")
    before, started = memory(), time.perf_counter()
    import numpy
    import openvino
    import openvino_genai as genai
    config = {"INFERENCE_NUM_THREADS": request["threads"],
              "KV_CACHE_PRECISION": {"f16": openvino.Type.f16, "q8_0": openvino.Type.u8}[request.get("kv", "f16")]}
    pipeline = genai.LLMPipeline(request["model"], "CPU", **config)

    def generate(prompt, count):
        """(seconds to the first token, seconds per token after it)"""
        options = genai.GenerationConfig(max_new_tokens=count, min_new_tokens=count, ignore_eos=True, do_sample=False)
        ids = openvino.Tensor(numpy.array([spread(prompt)], dtype=numpy.int64))
        metrics = pipeline.generate(ids, options).perf_metrics
        return metrics.get_ttft().mean / 1000, metrics.get_tpot().mean / 1000

    prompt, decode = request["prompt"], request.get("decode", 0)
    if request["mode"] == "first_token":
        generate(prompt, 1)
        answer = {"first_token_ms": 1000 * (time.perf_counter() - started)}
    else:
        generate(min(64, prompt), 2)
        first, later = generate(prompt, decode + 1)
        answer = {"prefill_tps": prompt / first, "decode_tps": 1 / later}
    after = memory()
    print(json.dumps({**answer, "peak_bytes": after["VmHWM"] - before["RssAnon"],
                      "anonymous_bytes": after["RssAnon"] - before["RssAnon"]}))


if __name__ == "__main__":
    main()
