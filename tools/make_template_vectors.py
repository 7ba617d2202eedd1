#!/usr/bin/env python3
"""Writes the template vectors: what Python's jinja2 makes of our cases, for the tests of room text.

The environment is the one Hugging Face renders chat templates in: immutable sandbox, trim_blocks,
lstrip_blocks, loop controls, a generation tag, tojson without escaping, raise_exception and
strftime_now (UTC here). Needs the package jinja2.

  make_template_vectors.py                       writes src/text/testdata/template_vectors.json
                                                 and template_conversations.json
  make_template_vectors.py --templates DIR       also template_digests.json, for the .jinja files
                                                 of DIR (they are not part of this repository)
"""
import argparse
import datetime
import json
import pathlib

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from template_cases import CONVERSATIONS, EXPRESSIONS, TEMPLATES, VARIABLES

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "src/text/testdata"
NOW = 1700000000


class Generation(Extension):
    """{% generation %}: the body as it is, in a scope of its own."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                      sort_keys=sort_keys)


def strftime_now(form):
    return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(form)


def namespace(*args, **kwargs):
    made = dict(*args, **kwargs)
    if any(str(name).startswith("_") for name in made):
        raise jinja2.exceptions.SecurityError("underscore")
    return jinja2.utils.Namespace(made)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.filters["from_json"] = json.loads  # not in Hugging Face; the V3.2 and V4 files ask for it
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    env.globals["namespace"] = namespace
    return env


ENV = environment()


def render(source, variables):
    """(text, None) or (None, error)."""
    try:
        values = {"bos_token": "<s>", "eos_token": "</s>", **json.loads(json.dumps(variables))}
        text = ENV.from_string(source).render(**values)
        text.encode()
        return text, None
    except Exception as error:  # whatever it is: ours must fail too
        return None, f"{type(error).__name__}: {error}"


def digest(text):
    """Length and FNV-1a (64 bits) of the UTF-8 bytes; the test program has no SHA-256 at hand."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{len(text.encode())}:{value:016x}"


def write(name, data):
    OUT.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(x, ensure_ascii=False) for x in data)
    (OUT / name).write_text("[\n" + lines + "\n]\n")
    print(name, len(data))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--templates", type=pathlib.Path)
    args = parser.parse_args()
    sources = ["{{ " + x + " }}" for x in EXPRESSIONS] + TEMPLATES
    vectors = [{"variables": VARIABLES}]
    for source in sources:
        text, error = render(source, VARIABLES)
        vectors.append({"source": source, "error": error} if error else {"source": source, "output": text})
    write("template_vectors.json", vectors)
    write("template_conversations.json", CONVERSATIONS)
    if args.templates:
        rows = []
        for path in sorted(args.templates.glob("*.jinja")):
            source = path.read_text()
            row = {"template": path.name, "source": digest(source), "outputs": {}}
            for conversation in CONVERSATIONS:
                text, error = render(source, conversation["variables"])
                row["outputs"][conversation["name"]] = "error" if error else digest(text)
            rows.append(row)
        write("template_digests.json", rows)


if __name__ == "__main__":
    main()
