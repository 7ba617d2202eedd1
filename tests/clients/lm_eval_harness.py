"""lm-eval against a running server: local-completions with a task of our own, no registry of data sets.

    python lm_eval_harness.py      needs HADAL_BINARY and HADAL_TEST_MODEL, and lm-eval installed

Facts are scored with lm-eval's remote tokenizer (/tokenizer_info, /tokenize; prompts travel as ids),
and the scores must be those that /v1/completions gives for the same text. A generation task checks stop
strings, with ids and with plain texts.
"""
import json
import os
import pathlib
import sys
import tempfile
import urllib.request

os.environ.update(HF_DATASETS_OFFLINE="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")

try:
    import lm_eval
    from lm_eval.tasks import TaskManager
except ImportError as problem:
    print(f"SKIPPED: lm-eval could not be installed: {problem}")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

import with_server

FACTS = [("The capital of France is", [" Rome", " Paris", " Tokyo"], 1), ("The capital of Japan is", [" Tokyo", " Berlin"], 0),
         ("1, 2, 3, 4,", [" 5", " 17"], 0), ("The opposite of hot is", [" purple", " cold"], 1),
         ("Monday, Tuesday,", [" Wednesday", " Paris"], 0), ("The sun rises in the", [" east", " spoon"], 0)]

CHOICE = """task: tiny_facts
dataset_path: json
dataset_kwargs: {data_files: {test: "%s"}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
target_delimiter: ""
metric_list: [{metric: acc}]
"""
COUNT = """task: tiny_count
dataset_path: json
dataset_kwargs: {data_files: {test: "%s"}}
output_type: generate_until
test_split: test
doc_to_text: "{{question}}"
doc_to_target: "{{text}}"
generation_kwargs: {until: [","], max_gen_toks: 8, temperature: 0}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""


def write_tasks(folder):
    (folder / "facts.jsonl").write_text("".join(json.dumps({"question": q, "choices": c, "answer": a}) + "\n" for q, c, a in FACTS))
    (folder / "count.jsonl").write_text(json.dumps({"question": "1, 2, 3, 4,", "text": " 5"}) + "\n")
    (folder / "facts.yaml").write_text(CHOICE % (folder / "facts.jsonl"))
    (folder / "count.yaml").write_text(COUNT % (folder / "count.jsonl"))


def evaluate(url, folder, tasks, **arguments):
    arguments = {"base_url": url + "/v1/completions", "model": with_server.MODEL_ALIAS, "num_concurrent": 2,
                 "max_retries": 1, "timeout": 60, "max_length": 1024, **arguments}
    return lm_eval.simple_evaluate(model="local-completions", model_args=arguments, tasks=tasks,
                                   task_manager=TaskManager(include_path=str(folder), include_defaults=False),
                                   bootstrap_iters=0, log_samples=True)


def post(url, path, **body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=60))


def expected_score(url, question, choice):
    """Log-probability of a choice after its question, from the echo of the whole text."""
    begin = len(post(url, "/tokenize", prompt=question, add_special_tokens=False)["tokens"])
    echo = post(url, "/v1/completions", prompt=question + choice, max_tokens=0, echo=True, logprobs=1)
    return sum(echo["choices"][0]["logprobs"]["token_logprobs"][begin:])


def scores(results):
    """What lm-eval scored, by question."""
    return {sample["doc"]["question"]: [float(answer[0]) for answer in sample["filtered_resps"]]
            for sample in results["samples"]["tiny_facts"]}


def main():
    checks = []
    with tempfile.TemporaryDirectory() as scratch, with_server.server("--ctx", "1024") as url:
        folder = pathlib.Path(scratch)
        write_tasks(folder)
        remote = evaluate(url, folder, ["tiny_facts", "tiny_count"], tokenizer_backend="remote", tokenized_requests=True)
        plain = evaluate(url, folder, ["tiny_count"], tokenizer_backend="none", tokenized_requests=False)
        accuracy = remote["results"]["tiny_facts"]["acc,none"]
        checks.append((f"accuracy {accuracy}", accuracy == 1.0))
        found = scores(remote)
        for question, choices, _ in FACTS:
            for choice, score in zip(choices, found[question]):
                expected = expected_score(url, question, choice)
                checks.append((f"{question!r} {choice!r}: {score}, expected {expected}", abs(score - expected) < 1e-3))
        for name, results in (("ids", remote), ("texts", plain)):
            exact = results["results"]["tiny_count"]["exact_match,none"]
            checks.append((f"{name}: generation stopped at the comma, exact match {exact}", exact == 1.0))
    for what, good in checks:
        print("ok    " if good else "FAILED", what)
    failed = sum(not good for _, good in checks)
    print(f"{len(checks) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
