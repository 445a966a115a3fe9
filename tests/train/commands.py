"""The command on small models in a folder of its own: what the tests of hostile and of tiny models share.

ONGRAD names the command. A model here is one Gemm, x [batch, 4] → y [batch, 3], with data for it, unless a test changes it.
"""
import os
import subprocess

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ONGRAD = os.path.abspath(os.environ.get("ONGRAD", "build/release/ongrad"))
FLOAT = TensorProto.FLOAT
SAMPLES = 12
OLD = b"what was there before"


def rng(seed=1):
    return np.random.default_rng(seed)


def floats(*shape, dtype=np.float32):
    return rng(sum(shape)).normal(0, .5, shape).astype(dtype)


def tensor(name, array):
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def value(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs, outputs, initializers=(), opset=17, ir=8, functions=(), opsets=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), *opsets], ir_version=ir,
                             functions=list(functions), producer_name="tests")


def linear(**more):
    return model([helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], "linear")],
                 [value("x", ["batch", 4])], [value("y", ["batch", 3])],
                 [tensor("weight", floats(4, 3)), tensor("bias", np.zeros(3, np.float32))], **more)


class Folder:
    """A folder with m.onnx, x.npy, t.npy (labels), y.npy (values), and an out.onnx that must survive failures."""

    def __init__(self, path):
        self.path = str(path)
        x = floats(SAMPLES, 4)
        self.save("x.npy", x)
        self.save("t.npy", np.argmax(x[:, :3], axis=1).astype(np.int64))
        self.save("y.npy", floats(SAMPLES, 3))
        self.write("m.onnx", linear())
        self.write("out.onnx", OLD)

    def __truediv__(self, name):
        return os.path.join(self.path, name)

    def write(self, name, data):
        """bytes, text or a model."""
        if isinstance(data, onnx.ModelProto):
            data = data.SerializeToString()
        with open(self / name, "wb") as f:
            f.write(data.encode() if isinstance(data, str) else data)

    def save(self, name, array, **more):
        np.save(self / name, array, **more)

    def read(self, name):
        with open(self / name, "rb") as f:
            return f.read()

    def run(self, *arguments, **more):
        done = subprocess.run([ONGRAD, *arguments], cwd=self.path, capture_output=True, text=True, errors="replace",
                              timeout=120, stdin=subprocess.DEVNULL, **more)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return done

    def train(self, *more, model="m.onnx", data="x.npy", target="t.npy", loss="cross_entropy", **options):
        return self.run("train", model, "--data", data, "--target", target, "--loss", loss, "-o", "out.onnx", *more,
                        **options)

    def refuses(self, texts, *more, status=1, **options):
        """train ends with `status`, its message holds all of `texts`, and nothing in the folder has changed."""
        before = self.listing()
        done = self.train(*more, **options)
        assert done.returncode == status, done.stderr or "it trained"
        assert done.stdout == ""
        for text in [texts] if isinstance(texts, str) else texts:
            assert text in done.stderr, f"expected: {text}\n{done.stderr}"
        assert self.listing() == before, "files were made, changed or removed"
        return done.stderr

    def listing(self):
        """Each file's bytes, by name; folders as None."""
        found = {}
        for root, folders, files in os.walk(self.path):
            found.update({os.path.join(root, name): None for name in folders})
            for name in files:
                path = os.path.join(root, name)
                found[path] = os.readlink(path) if os.path.islink(path) else self.bytes_of(path)
        return found

    @staticmethod
    def bytes_of(path):
        try:
            with open(path, "rb") as f:
                return f.read()
        except OSError as e:
            return type(e).__name__

    def trains(self, *more, **options):
        """train succeeds; the trained model, which onnx accepts."""
        done = self.train(*more, **options)
        assert done.returncode == 0, done.stderr
        trained = onnx.load(self / "out.onnx")
        onnx.checker.check_model(trained)
        return trained
