#!/usr/bin/env python3
"""Writes src/tensor/testdata/quant_vectors.txt: block decoding results of the independent numpy
decoder in the PyPI package "gguf" (needs gguf and numpy; tests only read the committed file).

Line forms (all numbers hexadecimal unless said otherwise):
  blocks TYPE BYTES SCALES SEED COUNT HASH   COUNT (decimal) blocks from splitmix64(SEED), see below
  block  TYPE HEX HASH                       one adversarial block
  floats TYPE HEX BITS,BITS,...              one block with every expected float
  table  TYPE HASH                           all 65536 codes of a 16-bit type that are not NaN
  encode TYPE SEED COUNT HASH                floats from the high words of splitmix64, NaN skipped

SCALES lists the offsets (decimal) of f16 fields; there, codes of infinity and NaN lose bit 14, in
the test alike. HASH is FNV-1a over whole words: h = (h ^ word) * 0x100000001b3, start
0xcbf29ce484222325, word = float bits (encode: the 16-bit code).
"""
import pathlib
import struct

import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf import quants

MASK = (1 << 64) - 1
OUT = pathlib.Path(__file__).resolve().parent.parent / "src/tensor/testdata/quant_vectors.txt"
# type: (block bytes, offsets of f16 fields)
TYPES = {
    "Q4_0": (18, [0]), "Q4_1": (20, [0, 2]), "Q5_0": (22, [0]), "Q5_1": (24, [0, 2]), "Q8_0": (34, [0]),
    "Q2_K": (84, [80, 82]), "Q3_K": (110, [108]), "Q4_K": (144, [0, 2]), "Q5_K": (176, [0, 2]),
    "Q6_K": (210, [208]), "IQ4_NL": (18, [0]), "IQ4_XS": (136, [0]), "MXFP4": (17, []),
}
HALVES = {"zero": 0x0000, "minus zero": 0x8000, "least": 0x0001, "greatest subnormal": 0x03FF,
          "least normal": 0x0400, "minus one": 0xBC00, "greatest": 0x7BFF, "minus greatest": 0xFBFF}


def splitmix(seed):
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def fnv(words):
    h = 0xCBF29CE484222325
    for word in words:
        h = ((h ^ int(word)) * 0x100000001B3) & MASK
    return f"{h:016x}"


def finite(data, block_bytes, scales):
    data = bytearray(data)
    for start in range(0, len(data), block_bytes):
        for offset in scales:
            if data[start + offset + 1] & 0x7C == 0x7C:
                data[start + offset + 1] &= 0xBF
    return bytes(data)


def decode(name, data):
    values = quants.dequantize(np.frombuffer(data, np.uint8), Q[name]).astype(np.float32)
    assert not np.isnan(values).any(), name
    return values.view(np.uint32).reshape(-1)


def random_bytes(seed, count):
    source = splitmix(seed)
    return b"".join(struct.pack("<Q", next(source)) for _ in range((count + 7) // 8))[:count]


def adversarial(name):
    size, scales = TYPES[name]
    bodies = [bytes(size), b"\xff" * size, b"\xaa" * size, bytes((17 * i) & 255 for i in range(size))]
    for body in bodies:
        if not scales:  # MXFP4: the ends of the exponent instead
            for exponent in (0, 1, 2, 127, 253, 254, 255):
                yield bytes([exponent]) + body[1:]
        for half in HALVES.values() if scales else ():
            block = bytearray(body)
            for offset in scales:
                block[offset:offset + 2] = struct.pack("<H", half)
            yield bytes(block)


def lines():
    for seed, (name, (size, scales)) in enumerate(TYPES.items(), 1):
        count = 256 if size > 40 else 1024
        data = finite(random_bytes(seed, size * count), size, scales)
        offsets = ",".join(map(str, scales)) or "-"
        yield f"blocks {name} {size} {offsets} {seed:x} {count} {fnv(decode(name, data))}"
        for block in adversarial(name):
            yield f"block {name} {block.hex()} {fnv(decode(name, block))}"
        block = finite(random_bytes(seed + 1000, size), size, scales)
        yield f"floats {name} {block.hex()} {','.join(f'{word:x}' for word in decode(name, block))}"
    codes = np.arange(65536, dtype=np.uint16)
    half = codes.view(np.float16).astype(np.float32)
    yield f"table F16 {fnv(half[~np.isnan(half)].view(np.uint32))}"
    brain = (codes.astype(np.uint32) << 16).view(np.float32)
    yield f"table BF16 {fnv(brain[~np.isnan(brain)].view(np.uint32))}"
    source = splitmix(77)
    words = np.array([next(source) >> 32 for _ in range(100000)], dtype=np.uint32)
    # Half of them within the range of f16, subnormals included, and many near ties.
    words[::2] = (words[::2] & 0x80000FFF) | (((words[::2] >> 12) & 0x7FFF) % 0x3800 + 0x3300 << 12 & 0x7FFFF000)
    values = words.view(np.float32)
    values = values[~np.isnan(values)]
    with np.errstate(over="ignore"):
        yield f"encode F16 4d {len(words)} {fnv(values.astype(np.float16).view(np.uint16))}"
    brain = quants.quantize(values, Q.BF16).view(np.uint16)
    yield f"encode BF16 4d {len(words)} {fnv(brain)}"


if __name__ == "__main__":
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("\n".join(lines()) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")
