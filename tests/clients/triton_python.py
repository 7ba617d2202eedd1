"""Triton's HTTP client against a running server: metadata, infer with binary and JSON tensors, repository."""
import unittest

import numpy
import tritonclient.http as triton

import with_server

MODEL = with_server.MODEL_ALIAS


def tensor(name, values, kind, binary=True):
    array = numpy.array(values, dtype=object if kind == "BYTES" else None).reshape(-1, 1)
    if kind == "INT32":
        array = array.astype(numpy.int32)
    if kind == "FP32":
        array = array.astype(numpy.float32)
    out = triton.InferInput(name, list(array.shape), kind)
    out.set_data_from_numpy(array, binary_data=binary)
    return out


class TritonPython(unittest.TestCase):
    client: triton.InferenceServerClient

    # Goal: probes and descriptions are what the client expects.
    def test_metadata(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready(MODEL))
        self.assertTrue(self.client.is_model_ready(MODEL, "1"))
        self.assertEqual(self.client.get_server_metadata()["name"], "hadal")
        self.assertEqual(self.client.get_model_metadata(MODEL)["outputs"][0]["name"], "text_output")
        self.assertEqual(self.client.get_model_config(MODEL)["max_batch_size"], 8)
        self.assertEqual(self.client.get_inference_statistics(MODEL)["model_stats"][0]["name"], MODEL)

    def infer(self, texts, binary_in, binary_out):
        inputs = [tensor("text_input", texts, "BYTES", binary_in),
                  tensor("max_tokens", [8] * len(texts), "INT32", binary_in),
                  tensor("temperature", [0.0] * len(texts), "FP32", binary_in)]
        outputs = [triton.InferRequestedOutput("text_output", binary_data=binary_out)]
        result = self.client.infer(MODEL, inputs, outputs=outputs, request_id="7")
        self.assertEqual(result.get_response()["id"], "7")
        return [text.decode() if isinstance(text, bytes) else text for text in result.as_numpy("text_output").ravel()]

    # Goal: the same texts whether tensors travel as bytes or as JSON, alone or in a batch.
    def test_infer(self):
        want = self.infer(["1, 2, 3, 4,"], False, False)
        self.assertIn("5", want[0])
        for binary_in in (False, True):
            for binary_out in (False, True):
                self.assertEqual(self.infer(["1, 2, 3, 4,"], binary_in, binary_out), want)
        both = self.infer(["1, 2, 3, 4,", "\u4f60\u597d"], True, True)
        self.assertEqual(both[0], want[0])
        self.assertEqual(len(both), 2)

    # Goal: outputs that were not named come, too.
    def test_infer_without_outputs(self):
        result = self.client.infer(MODEL, [tensor("text_input", ["a"], "BYTES")])
        self.assertEqual(result.as_numpy("text_output").shape, (1, 1))

    # Goal: the repository lists, loads and unloads.
    def test_repository(self):
        self.client.load_model("nano")
        states = {model["name"]: model["state"] for model in self.client.get_model_repository_index()}
        self.assertEqual(states, {MODEL: "READY", "nano": "READY"})
        self.client.unload_model("nano")

    # Goal: mistakes are the client's exception with the server's words.
    def test_errors(self):
        with self.assertRaisesRegex(triton.InferenceServerException, "nobody"):
            self.client.get_model_metadata("nobody")
        with self.assertRaisesRegex(triton.InferenceServerException, "text_input"):
            self.client.infer(MODEL, [tensor("max_tokens", [1], "INT32")])


if __name__ == "__main__":
    with with_server.server("--model", "nano") as address:
        TritonPython.client = triton.InferenceServerClient(address.removeprefix("http://"))
        result = unittest.TextTestRunner(verbosity=1).run(unittest.defaultTestLoader.loadTestsFromTestCase(TritonPython))
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed, 0 skipped")
    raise SystemExit(bad != 0)
