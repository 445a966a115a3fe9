"""Tiny and odd but legal models: each trains, the file written is valid ONNX, and ONNX Runtime computes with it what ongrad
does.

    ONGRAD=build/release/ongrad python3 -m pytest tests/train/test_models.py
"""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from commands import FLOAT, SAMPLES, Folder, floats, linear, model, tensor, value
from onnx import TensorProto, helper

DOUBLE, HALF, INT64 = TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.INT64
node = helper.make_node
BATCH = ["batch", 3]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def scale(w, **more):
    """y = x w, unnamed nodes."""
    return model([node("Mul", ["x", "w"], ["y"])], [value("x", BATCH)], [value("y", BATCH)], [w], **more)


def shared():
    """w is used twice."""
    return model([node("Mul", ["x", "w"], ["h"]), node("Add", ["h", "w"], ["y"])], [value("x", BATCH)],
                 [value("y", BATCH)], [tensor("w", floats(3))])


def listed_as_input():
    """An initializer that is also a graph input, as IR 3 wants it."""
    m = scale(tensor("w", floats(3)), ir=3, opset=8)
    m.graph.input.append(value("w", [3]))
    return m


def identity_with_bias():
    return model([node("Identity", ["x"], ["h"]), node("Add", ["h", "b"], ["y"])], [value("x", BATCH)],
                 [value("y", BATCH)], [tensor("b", floats(3))])


def typed(dtype, number):
    w = tensor("w", floats(3, dtype=number))
    return model([node("Mul", ["x", "w"], ["y"])], [value("x", BATCH, dtype)], [value("y", BATCH, dtype)], [w])


def unused():
    """An initializer, a node and an optional value that nothing needs."""
    return model([node("Mul", ["x", "w"], ["y"]), node("Exp", ["x"], ["loose"]),
                  node("Dropout", ["x"], ["dropped", ""])],
                 [value("x", BATCH)], [value("y", BATCH)], [tensor("w", floats(3)), tensor("spare", floats(5))])


def function(name, inner):
    return helper.make_function("local", name, ["a", "b"], ["c"],
                                [node(inner, ["a", "b"], ["t"], "same"), node("Identity", ["t"], ["c"], "other")],
                                [helper.make_opsetid("", 17)])


def functions():
    """Two functions whose nodes and values have the same names, one of them called twice."""
    return model([node("F", ["x", "w"], ["h"], "same", domain="local"), node("G", ["h", "b"], ["i"], "other", domain="local"),
                  node("F", ["i", "w"], ["y"], "third", domain="local")],
                 [value("x", BATCH)], [value("y", BATCH)], [tensor("w", floats(3)), tensor("b", floats(3))],
                 functions=[function("F", "Mul"), function("G", "Add")], opsets=[helper.make_opsetid("local", 1)])


def output_is_input():
    """The input is an output, too."""
    m = scale(tensor("w", floats(3)))
    m.graph.output.append(value("x", BATCH))
    return m


def dim_0():
    """A branch of no features joins the others."""
    return model([node("Slice", ["x", "zero", "zero", "one"], ["none"]), node("Concat", ["x", "none"], ["h"], axis=1),
                  node("Mul", ["h", "w"], ["y"])],
                 [value("x", BATCH)], [value("y", BATCH)],
                 [tensor("w", floats(3)), tensor("zero", np.zeros(1, np.int64)), tensor("one", np.ones(1, np.int64))])


def empty_weight():
    m = scale(tensor("w", floats(3)))
    m.graph.initializer.append(tensor("none", np.zeros((0, 3), np.float32)))
    m.graph.node.insert(0, node("ReduceSum", ["none"], ["sum"], keepdims=0))
    m.graph.node.append(node("Add", ["y0", "sum"], ["y"]))
    m.graph.node[1].output[0] = "y0"
    return m


def untyped_output():
    m = scale(tensor("w", floats(3)))
    m.graph.output[0].type.tensor_type.ClearField("shape")
    return m


def fixed_one():
    """The batch of 1 that an exporter baked in."""
    return model([node("Mul", ["x", "w"], ["y"])], [value("x", [1, 3])], [value("y", [1, 3])], [tensor("w", floats(3))])


# Each takes x [batch, 3] float32 to y, its first output.
MODELS = {
    "scalar_weight": lambda: scale(tensor("w", np.array(.5, np.float32))),
    "one_weight": lambda: scale(tensor("w", floats(1))),
    "vector": lambda: scale(tensor("w", floats(3))),
    "identity_with_bias": identity_with_bias,
    "shared": shared,
    "listed_as_input": listed_as_input,
    "unused": unused,
    "functions": functions,
    "dim_0": dim_0,
    "empty_weight": empty_weight,
    "output_is_input": output_is_input,
    "untyped_output": untyped_output,
    "opset_7": lambda: scale(tensor("w", floats(3)), opset=7, ir=4),
    "opset_21": lambda: scale(tensor("w", floats(3)), opset=21, ir=10),
}


def ask_onnxruntime(path, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def fit(folder, m, x, y, *more, loss="y=mse"):
    """Train m to give y for x: the losses of the steps; the trained model is out.onnx."""
    folder.write("m.onnx", m)
    folder.save("x.npy", x)
    folder.save("y.npy", y)
    done = folder.train("--lr", "0.05", "--log", "log.jsonl", *more, target="y.npy", loss=loss)
    assert done.returncode == 0, done.stderr
    with open(folder / "log.jsonl") as f:
        losses = [json.loads(line)["loss"] for line in f][:-1]
    assert all(np.isfinite(losses))
    return losses


@pytest.mark.parametrize("name", MODELS)
def test_trains(folder, name):
    x = floats(SAMPLES, 3)
    losses = fit(folder, MODELS[name](), x, 2 * x + 1, "--epochs", "20", "--batch_size", "4", "--no_shuffle")
    assert losses[-1] < losses[0]
    trained = onnx.load(folder / "out.onnx")
    if name != "untyped_output":  # onnx itself wants a shape there
        onnx.checker.check_model(trained)
    given = MODELS[name]()
    assert given.graph.node == trained.graph.node and given.graph.output == trained.graph.output
    assert given.functions == trained.functions
    single = len(trained.graph.output) == 1
    done = folder.run("predict", "out.onnx", "--data", "x.npy", "-o", "p.npy" if single else "p")
    assert done.returncode == 0, done.stderr
    for output, expected in zip(trained.graph.output, ask_onnxruntime(folder / "out.onnx", x)):
        got = np.load(folder / ("p.npy" if single else f"p/{output.name}.npy"))
        # One multiplication and one addition of float32.
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_double(folder):
    """A double-precision model: the gradient of one step of plain SGD, by hand."""
    x, y = floats(SAMPLES, 3, dtype=np.float64), floats(SAMPLES, 3, dtype=np.float64)[::-1].copy()
    m = typed(DOUBLE, np.float64)
    w = onnx.numpy_helper.to_array(m.graph.initializer[0])
    fit(folder, m, x, y, "--optimizer", "sgd", "--max_norm", "0", "--steps", "1", "--weight_decay", "0", "--momentum", "0")
    expected = w - .05 * np.sum(2 * (x * w - y) * x, axis=0) / x.size
    trained = onnx.numpy_helper.to_array(onnx.load(folder / "out.onnx").graph.initializer[0])
    np.testing.assert_allclose(trained, expected, rtol=1e-14)


def test_one_sample(folder):
    x = floats(1, 3)
    losses = fit(folder, scale(tensor("w", floats(3))), x, -x, "--steps", "30")
    assert losses[-1] < losses[0]


def test_batch_of_one(folder):
    """Batches of 1, and a batch of 1 that the export baked in: the same steps."""
    x, w = floats(SAMPLES, 3), tensor("w", floats(3))
    free = fit(folder, scale(w), x, -x, "--batch_size", "1", "--no_shuffle", "--epochs", "2")
    fixed = fit(folder, fixed_one(), x, -x, "--batch_size", "1", "--no_shuffle", "--epochs", "2")
    assert len(free) == 2 * SAMPLES and free == fixed
    assert len(fit(folder, fixed_one(), x, -x, "--batch_size", "5", "--epochs", "1")) == 3


def test_scalar_input(folder):
    """One number a sample: x [batch]."""
    m = model([node("Mul", ["x", "w"], ["y"])], [value("x", ["batch"])], [value("y", ["batch"])],
              [tensor("w", np.array(1, np.float32))])
    losses = fit(folder, m, floats(SAMPLES), 3 * floats(SAMPLES), "--epochs", "40")
    assert losses[-1] < losses[0]


def test_the_output_is_the_loss(folder):
    """An output of rank 0: the mean of the squares of x w, made by the model itself."""
    m = model([node("Mul", ["x", "w"], ["h"]), node("Mul", ["h", "h"], ["s"]),
               node("ReduceMean", ["s"], ["y"], keepdims=0)],
              [value("x", BATCH)], [value("y", [])], [tensor("w", floats(3))])
    folder.write("m.onnx", m)
    x = floats(SAMPLES, 3)
    folder.save("x.npy", x)
    done = folder.run("train", "m.onnx", "--data", "x.npy", "--loss", "output", "-o", "out.onnx", "--lr", "0.05",
                      "--epochs", "40", "--log", "log.jsonl")
    assert done.returncode == 0, done.stderr
    with open(folder / "log.jsonl") as f:
        first = json.loads(f.readline())["loss"]
    w = onnx.numpy_helper.to_array(m.graph.initializer[0])
    np.testing.assert_allclose(first, np.mean((x * w) ** 2), rtol=1e-5)
    assert ask_onnxruntime(folder / "out.onnx", x)[0] < first


def test_output_is_an_initializer(folder):
    """Trains; it is the same for every sample, so predict refuses to make a row of it for each."""
    m = scale(tensor("w", floats(3)))
    m.graph.output.append(value("w", [3]))
    fit(folder, m, floats(SAMPLES, 3), floats(SAMPLES, 3), "--epochs", "1")
    np.testing.assert_array_equal(ask_onnxruntime(folder / "out.onnx", floats(SAMPLES, 3))[1],
                                  onnx.numpy_helper.to_array(onnx.load(folder / "out.onnx").graph.initializer[0]))
    done = folder.run("predict", "out.onnx", "--data", "x.npy", "-o", "p")
    assert done.returncode == 1 and 'output "w" has no axis of samples' in done.stderr


def test_unknown_sizes(folder):
    """-1 for a dim, as some exporters write what they do not know."""
    m = scale(tensor("w", floats(3)))
    m.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    fit(folder, m, floats(SAMPLES, 3), floats(SAMPLES, 3), "--epochs", "1")


def test_unused_input(folder):
    """An input that no node reads still needs data, and takes it."""
    m = scale(tensor("w", floats(3)))
    m.graph.input.append(value("mask", ["batch", 2]))
    folder.write("m.onnx", m)
    folder.save("x.npy", floats(SAMPLES, 3))
    folder.save("k.npy", floats(SAMPLES, 2))
    arguments = ["train", "m.onnx", "--data", "x=x.npy", "--target", "y.npy", "--loss", "mse", "-o", "out.onnx"]
    done = folder.run(*arguments)
    assert done.returncode == 2 and '"mask"' in done.stderr
    done = folder.run(*arguments, "--data", "mask=k.npy", "--epochs", "1")
    assert done.returncode == 0, done.stderr


def test_exponents_are_constants(folder):
    """x^2 w with the exponent among the initializers: negative x would make its gradient NaN. --trainable has the last word."""
    m = model([node("Pow", ["x", "two"], ["s"]), node("Mul", ["s", "w"], ["y"])], [value("x", BATCH)],
              [value("y", BATCH)], [tensor("two", np.array(2, np.float32)), tensor("w", floats(3))])
    x = floats(SAMPLES, 3)
    assert x.min() < 0
    losses = fit(folder, m, x, 3 * x * x, "--epochs", "40")
    assert losses[-1] < losses[0]
    trained = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(folder / "out.onnx").graph.initializer}
    assert trained["two"] == 2 and "the exponent of a Pow" in folder.run("check", "m.onnx").stdout
    fit(folder, m, abs(x), abs(x) ** 3, "--trainable", "two", "--epochs", "10")
    trained = {i.name: onnx.numpy_helper.to_array(i) for i in onnx.load(folder / "out.onnx").graph.initializer}
    assert trained["two"] > 2
