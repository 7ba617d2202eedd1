"""Each rule of tidy.py against a planted fault, and against clean code."""
import unittest

import tidy

LAYERS = tidy.read_layers("base:\ntensor: base\ntext: base\nkernels: base tensor\n")


def faults(path, text):
    return list(tidy.check_file(path, text, LAYERS))


class TidyRules(unittest.TestCase):
    def planted(self, path, text, part):
        found = faults(path, text)
        self.assertTrue(any(part in fault for fault in found), f"{part!r} not in {found}")

    def test_layers(self):
        self.planted("src/text/a.cc", '#include "tensor/tensor.h"\n', "may not include")
        self.planted("src/kernels/a.cc", '#include "tensor/file/reader.h"\n', "private")
        self.assertEqual(faults("src/tensor/a.cc", '#include "base/result.h"\n'), [])
        with self.assertRaises(ValueError):
            tidy.read_layers("a: b\nb:\n")

    def test_banned(self):
        self.planted("src/base/a.cc", "int x = std::stoi(s);\n", "banned")
        self.planted("src/base/a.cc", "x.at(1);\n", "banned")
        self.planted("src/base/a.cc", "  throw Error();\n", "throws nothing")
        self.planted("src/base/a.cc", 'getenv("HOME");\n', "getenv")
        self.assertEqual(faults("src/base/a.cc", "// std::stoi is banned\nstatic_assert(true);\n"), [])

    def test_shape(self):
        self.planted("src/base/a.cc", "x" * 101 + "\n", "100 columns")
        self.planted("src/base/a.cc", "\n" * 801, "800 lines")
        self.planted("src/base/a.h", "int x;\n", "pragma once")
        self.planted("src/base/a_test.cc", "// TEST(A, B) {\n", "commented out")
        self.planted("src/base/a.cc", "// TO" + "DO later\n", "unfinished")

    def test_functions(self):
        long_function = "void f(int x) {\n" + "  x++;\n" * 70 + "}\n"
        self.planted("src/base/a.cc", long_function, "function has 72 lines")
        self.assertEqual(faults("src/kernels/a.cc", long_function), [])
        self.assertEqual(faults("src/base/a.cc", "namespace hadal {\n" + "int a;\n" * 90 + "}\n"), [])

    def test_isa(self):
        self.planted("src/kernels/cpu/isa_dot.cc", "#include <vector>\n", "shared inline")
        self.assertEqual(faults("src/kernels/cpu/isa_dot.cc", '#include <immintrin.h>\n#include "kernels/cpu/vec.h"\n'), [])

    def test_text(self):
        self.planted("docs/a.md", "# t\nsee /ro" + "ot/x\n", "path of one machine")
        self.planted("docs/a.md", "# t\npy" + "pi.org\n", "registry")
        self.planted("docs/a.md", "# a\n# b\n", "exactly one title")


if __name__ == "__main__":
    result = unittest.TextTestRunner(verbosity=0).run(unittest.defaultTestLoader.loadTestsFromTestCase(TidyRules))
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed, 0 skipped")
    raise SystemExit(bad != 0)
