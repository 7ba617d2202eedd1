#!/usr/bin/env python3
"""Quantises a GGUF file with llama.cpp's own quantiser, for comparison with ours.

    quantise_with_llama_cpp.py --library DIRECTORY/libllama.so IN.gguf OUT.gguf Q4_K_M

The library comes with packages such as node-llama-cpp. Only its C interface is used: the parameters
begin with the number of threads and the file type, the rest keeps its defaults.
"""
import argparse
import ctypes
import pathlib

FILE_TYPES = {"F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12,
              "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30}


class Parameters(ctypes.Structure):
    """More room than any version's parameters take."""
    _fields_ = [("threads", ctypes.c_int32), ("file_type", ctypes.c_int32), ("rest", ctypes.c_byte * 512)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", type=pathlib.Path, required=True)
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("type", choices=FILE_TYPES)
    options = parser.parse_args()
    folder = options.library.resolve().parent
    for name in ("libggml-base*.so", "libggml-cpu*haswell*.so", "libggml.*so", "libggml.so"):
        for path in sorted(folder.glob(name)):
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(options.library), mode=ctypes.RTLD_GLOBAL)
    library.llama_model_quantize_default_params.restype = Parameters
    library.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Parameters)]
    library.llama_model_quantize.restype = ctypes.c_uint32
    library.llama_backend_init()
    parameters = library.llama_model_quantize_default_params()
    parameters.threads = 2
    parameters.file_type = FILE_TYPES[options.type]
    failed = library.llama_model_quantize(options.source.encode(), options.output.encode(), ctypes.byref(parameters))
    if failed:
        raise SystemExit(f"llama_model_quantize returned {failed}")


if __name__ == "__main__":
    main()
