"""Losses that are ONNX models: values, gradients and their own trained tensors against NumPy, files, and what does not fit.

ONGRAD names the command. The trained model is y = x w (float64, so that only the order of operations differs)."""
import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

ONGRAD = os.environ["ONGRAD"]
DOUBLE, FLOAT, INT64 = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
SAMPLES, STEPS, LR = 10, 4, 0.1
RANDOM = np.random.default_rng(5)
X, T, U = RANDOM.normal(size=(SAMPLES, 4)), RANDOM.normal(size=(SAMPLES, 3)), RANDOM.uniform(0.5, 2, size=SAMPLES)
W, S = RANDOM.normal(size=(4, 3)), np.array([0.3, -0.2, 0.1])
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def save(folder, name, nodes, inputs, outputs, initializers=()):
    value = helper.make_tensor_value_info
    graph = helper.make_graph([helper.make_node(*n[:3], **(n[3] if len(n) > 3 else {})) for n in nodes], "graph",
                              [value(*i) for i in inputs], [value(*o) for o in outputs],
                              [numpy_helper.from_array(x, n) for n, x in dict(initializers).items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / name))


def initializers(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}


# exp(-s) (y - t)² + s with a trained s for each column: arXiv 1705.07115, equation 7, up to a factor
UNCERTAIN = [("Sub", ["y", "t"], ["d"]), ("Mul", ["d", "d"], ["dd"]), ("Neg", ["s"], ["n"]), ("Exp", ["n"], ["e"]),
             ("Mul", ["dd", "e"], ["p"]), ("Add", ["p", "s"], ["loss"])]


def uncertain(w, s):
    """Loss, dw, ds"""
    d = X @ w - T
    p = d * d * np.exp(-s)
    return np.mean(p + s), X.T @ (2 * d * np.exp(-s)) / d.size, np.sum(1 - p, 0) / d.size


@pytest.fixture
def folder(tmp_path):
    save(tmp_path, "m.onnx", [("MatMul", ["x", "w"], ["y"])], [("x", DOUBLE, ["batch", 4])], [("y", DOUBLE, ["batch", 3])],
         {"w": W})
    save(tmp_path, "uncertain.onnx", UNCERTAIN, [("y", DOUBLE, ["n", 3]), ("t", DOUBLE, ["n", 3])],
         [("loss", DOUBLE, ["n", 3])], {"s": S})
    for name, x in {"x": X, "t": T, "u": U, "l": np.arange(SAMPLES) % 3}.items():
        np.save(tmp_path / f"{name}.npy", x)
    return tmp_path


def run(folder, *arguments, status=0):
    done = subprocess.run([ONGRAD, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr
    return done


def train(folder, *arguments, batch=(10, 1), status=0):
    done = run(folder, "train", "m.onnx", "--data", "x.npy", *arguments, "--optimizer", "sgd", "--lr", str(LR), "--max_norm", "0",
               "--no_shuffle", "--steps", str(STEPS), "--batch_size", str(batch[0]), "--gradient_accumulation_steps",
               str(batch[1]), "--log", "log.jsonl", "-o", "trained.onnx", status=status)
    steps = [] if status else [s for s in map(json.loads, open(folder / "log.jsonl")) if "step" in s]
    return done.stderr, steps


@pytest.mark.parametrize("batch", [(10, 1), (4, 3)], ids=["whole", "accumulated"])
def test_initializers_train(batch, folder):
    before = initializers(folder / "uncertain.onnx")
    said, steps = train(folder, "--loss", "uncertain.onnx", "--target", "t=t.npy", batch=batch)
    w, s, losses = W, S, []
    for _ in range(STEPS):
        loss, dw, ds = uncertain(w, s)
        losses.append(loss)
        w, s = w - LR * dw, s - LR * ds
    np.testing.assert_allclose([x["loss"] for x in steps], losses, **CLOSE)
    assert set(initializers(folder / "trained.onnx")) == {"w"}
    np.testing.assert_allclose(initializers(folder / "trained.onnx")["w"], w, **CLOSE)
    np.testing.assert_allclose(initializers(folder / "trained.uncertain.onnx")["s"], s, **CLOSE)
    assert np.array_equal(initializers(folder / "uncertain.onnx")["s"], before["s"]), "the file that was read changed"
    assert "wrote trained.uncertain.onnx" in said and "model uncertain.onnx, trains uncertain/s" in said
    assert "--loss trained.uncertain.onnx" in said  # the next command takes what was trained
    result = json.loads(run(folder, "eval", "trained.onnx", "--data", "x.npy", "--target", "t=t.npy", "--loss",
                            "trained.uncertain.onnx", "--batch_size", "4", "--json").stdout)
    np.testing.assert_allclose(result["loss"], uncertain(w, s)[0], **CLOSE)


def test_frozen(folder):
    """Names begin with the loss's; what is frozen stays, and nothing is written of a loss that did not change."""
    train(folder, "--loss", "uncertain.onnx,name=sure", "--target", "t.npy", "--freeze", "sure/*")
    w = W
    for _ in range(STEPS):
        w = w - LR * uncertain(w, S)[1]
    np.testing.assert_allclose(initializers(folder / "trained.onnx")["w"], w, **CLOSE)
    assert sorted(f for f in os.listdir(folder) if f.startswith("trained")) == ["trained.onnx"]


def test_with_others(folder):
    """A loss model that reads the model's input, its output and two targets, beside a loss by name."""
    rows = {"keepdims": 0}
    save(folder, "own.onnx",
         [("Sub", ["y", "t"], ["d"]), ("Mul", ["d", "d"], ["dd"]), ("ReduceSum", ["dd", "axes"], ["r"], rows),
          ("ReduceSum", ["x", "axes"], ["a"], rows), ("Mul", ["u", "r"], ["p"]), ("Add", ["p", "a"], ["loss"])],
         [("x", DOUBLE, ["n", 4]), ("y", DOUBLE, ["n", 3]), ("t", DOUBLE, ["n", 3]), ("u", DOUBLE, ["n"])],
         [("loss", DOUBLE, ["n"])], {"axes": np.array([1])})
    for batch in ((10, 1), (4, 3)):
        _, steps = train(folder, "--loss", "own.onnx,weight=0.5", "--loss", "y=l1,target=t", "--target", "u=u.npy", "--target",
                         "t=t.npy", batch=batch)
        w = W
        for step in steps:
            d = X @ w - T
            own, l1 = np.mean(U * np.sum(d * d, 1) + X.sum(1)), np.mean(np.abs(d))
            np.testing.assert_allclose([step["losses"]["own"], step["losses"]["y.l1"], step["loss"]],
                                       [own, l1, 0.5 * own + l1], **CLOSE)
            w = w - LR * X.T @ (0.5 * 2 * U[:, None] * d / SAMPLES + np.sign(d) / d.size)
        np.testing.assert_allclose(initializers(folder / "trained.onnx")["w"], w, **CLOSE)


def test_gradients_and_plan(folder):
    arguments = ["--loss", "uncertain.onnx", "--loss", "y=smooth_l1,target=t,weight=0.3", "--batch_size", "5"]
    checked = json.loads(run(folder, "check", "m.onnx", *arguments, "--gradients", "--json").stdout)
    assert {g["name"] for g in checked["gradients"]} == {"w", "uncertain/s"}
    assert all(g["passed"] for g in checked["gradients"])
    run(folder, "plan", "m.onnx", *arguments)


def test_what_is_read_is_not_overwritten(folder):
    os.rename(folder / "uncertain.onnx", folder / "trained.sure.onnx")
    said, _ = train(folder, "--loss", "trained.sure.onnx,name=sure", "--target", "t.npy", status=2)
    assert "is a file that is being read" in said


MISFITS = [
    ("rank", [("y", DOUBLE, ["n"]), ("t", DOUBLE, ["n"])], [], 'input "y" is float64 [n], the model\'s output "y" is float64 [10, 3]'),
    ("dim", [("y", DOUBLE, ["n", 4]), ("t", DOUBLE, ["n", 4])], [], 'is float64 [n, 4], the model\'s output "y" is float64 [10, 3]'),
    ("type", [("y", FLOAT, ["n", 3]), ("t", FLOAT, ["n", 3])], [], 'is float32 [n, 3], the model\'s output "y" is float64 [10, 3]'),
    ("target", [("y", DOUBLE, ["n", 3]), ("t", DOUBLE, ["n", 2])], [], 'input "t" is float64 [n, 2], the target "t" is float64 [10, 3]'),
    ("baked", [("y", DOUBLE, [7, 3]), ("t", DOUBLE, [7, 3])], [], 'is float64 [7, 3], the model\'s output "y" is float64 [10, 3]'),
]


@pytest.mark.parametrize("inputs,more,text", [m[1:] for m in MISFITS], ids=[m[0] for m in MISFITS])
def test_misfits_name_both(inputs, more, text, folder):
    save(folder, "loss.onnx", [("Sub", ["y", "t"], ["loss"])], inputs, [("loss", inputs[0][1], None)])
    said, _ = train(folder, "--loss", "loss.onnx", "--target", "t=t.npy", *more, status=2)
    assert "loss.onnx: its " in said and text in said


def test_other_errors(folder):
    save(folder, "no_output.onnx", [("Sub", ["a", "t"], ["loss"])], [("a", DOUBLE, ["n", 3]), ("t", DOUBLE, ["n", 3])],
         [("loss", DOUBLE, ["n", 3])])
    save(folder, "integer.onnx", [("ArgMax", ["y"], ["loss"])], [("y", DOUBLE, ["n", 3])], [("loss", INT64, None)])
    target = ["--target", "t=t.npy"]
    rows = [
        ("none of its inputs is called like an output of the model", ["--loss", "no_output.onnx", *target]),
        ("the loss is int64, not floating point", ["--loss", "integer.onnx"]),
        ("target of a loss model: add --target PATH", ["--loss", "uncertain.onnx"]),
        ("takes no key \"beta\"", ["--loss", "uncertain.onnx,beta=1", *target]),
        ("takes no key \"target\"", ["--loss", "uncertain.onnx,target=t", *target]),
        ("two losses are called uncertain", ["--loss", "uncertain.onnx", "--loss", "uncertain.onnx", *target]),
        ("name without slashes", ["--loss", "uncertain.onnx,name=a/b", *target]),
        ('input "t" is float64 [n, 3], the target "t" is int64 [10]',
         ["--loss", "uncertain.onnx", "--loss", "y=cross_entropy,target=t", "--target", "t=l.npy"]),
    ]
    for text, arguments in rows:
        said = run(folder, "train", "m.onnx", "--data", "x.npy", *arguments, status=2).stderr
        assert text in said, said
    assert "missing.onnx" in run(folder, "train", "m.onnx", "--data", "x.npy", "--loss", "missing.onnx", *target,
                                 status=1).stderr
