#!/usr/bin/env python3
"""Writes src/tensor/testdata/encode_vectors.txt: what the numpy encoders of the PyPI package "gguf"
make of some rows (needs gguf and numpy; tests only read the committed file).

Line forms:
  row NAME BITS,BITS,...        float values of a row, as hexadecimal words
  code TYPE NAME HEX            the bytes that the package writes for the row; the formats whose encoder
                                is defined bit by bit
  error TYPE NAME SUM           the squared error of the package's encoder, which ours must not exceed
"""
import pathlib

import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf import quants

OUT = pathlib.Path(__file__).resolve().parent.parent / "src/tensor/testdata/encode_vectors.txt"
EXACT = ("Q8_0", "Q4_0", "MXFP4")
BOUNDED = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4")


def rows():
    random = np.random.default_rng(20)
    yield "normal", random.standard_normal(256) * 0.02
    yield "heavy", random.standard_t(3, 256) * 0.05
    yield "positive", np.abs(random.standard_normal(256)) * 3
    yield "shifted", random.standard_normal(256) * 0.01 + 0.3
    outlier = random.standard_normal(128) * 0.001
    outlier[5], outlier[77] = 40, -40
    yield "outlier", outlier
    yield "steps", np.arange(-64, 64) / 8
    yield "ties", np.tile([5.0, -5.0, 2.5, -2.5, 0.25, -0.25, 6.0, -6.0], 8)
    yield "zeros", np.zeros(32)
    yield "small", random.standard_normal(64) * 1e-4
    yield "one", np.eye(1, 32, 9).reshape(-1) * -3.0


def main():
    lines = []
    for name, row in rows():
        row = row.astype(np.float32)
        lines.append(f"row {name} " + ",".join(f"{word:08x}" for word in row.view(np.uint32)))
        for kind in BOUNDED:
            code = quants.quantize(row.reshape(1, -1), Q[kind]).reshape(-1).view(np.uint8)
            if kind in EXACT:
                lines.append(f"code {kind} {name} {code.tobytes().hex()}")
            back = quants.dequantize(code, Q[kind]).reshape(-1).astype(np.float64)
            lines.append(f"error {kind} {name} {float(np.sum((back - row) ** 2)):.9e}")
    OUT.write_text("\n".join(lines) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
