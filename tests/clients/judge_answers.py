"""A second judge of structured output: validates answers that golden_test kept, with Python's jsonschema.

    HADAL_SCHEMAS=1000 HADAL_ANSWERS=answers.jsonl build/dev/tests/golden_test --gtest_filter='Structured.*'
    python judge_answers.py answers.jsonl

One JSON object a line: schema, finish, content. Answers that max_tokens cut off are counted, not judged.
"""
import json
import sys

import jsonschema


def main():
    counts = {"passed": 0, "failed": 0, "cut": 0}
    with open(sys.argv[1], encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["finish"] != "stop":
                counts["cut"] += 1
                continue
            try:
                jsonschema.Draft202012Validator.check_schema(row["schema"])
                jsonschema.Draft202012Validator(row["schema"]).validate(json.loads(row["content"]))
                counts["passed"] += 1
            except (ValueError, jsonschema.ValidationError) as error:
                counts["failed"] += 1
                print(f"FAILED {row['schema']}\n  {row['content']}\n  {str(error)[:300]}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, 0 skipped ({counts['cut']} cut off)")
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
