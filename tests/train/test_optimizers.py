"""Every optimizer over 14 steps in float64, against PyTorch's own (tests/fixtures/optimizers) and, where PyTorch has none,
against the paper's algorithm written down in NumPy.

ONGRAD names the command. y = tanh(x w1 + b1) w2 with mean squared error, whole batch, no clipping."""
import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

ONGRAD = os.environ["ONGRAD"]
EXPECT = json.load(open(os.path.join(os.path.dirname(__file__), "..", "fixtures", "optimizers", "expect.json")))
X, TARGET = np.array(EXPECT["x"]), np.array(EXPECT["target"])
FIRST = {n: np.array(w) for n, w in EXPECT["weights"].items()}
STEPS = 14
# Both sides compute in float64 and differ in the order of operations alone; 14 steps keep that within 1e-11, and near a
# gradient of 0 the quotients of rmsprop and adagrad enlarge it tenfold.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def train(folder, optimizer, options):
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["a"]), helper.make_node("Add", ["a", "b1"], ["b"]),
             helper.make_node("Tanh", ["b"], ["c"]), helper.make_node("MatMul", ["c", "w2"], ["y"])]
    graph = helper.make_graph(nodes, "regression", [value("x", onnx.TensorProto.DOUBLE, ["batch", 5])],
                              [value("y", onnx.TensorProto.DOUBLE, ["batch", 2])],
                              [numpy_helper.from_array(w, n) for n, w in FIRST.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / "m.onnx"))
    np.save(folder / "x.npy", X)
    np.save(folder / "t.npy", TARGET)
    options = [f"--{o}" for o in options]
    done = subprocess.run([ONGRAD, "train", "m.onnx", "--data", "x.npy", "--target", "t.npy", "--loss", "mse", "--no_shuffle",
                           "--batch_size", "12", "--steps", str(STEPS), "--max_norm", "0", "--optimizer", optimizer, *options,
                           "--log", "log.jsonl", "-o", "trained.onnx"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    losses = [s["loss"] for s in map(json.loads, open(folder / "log.jsonl")) if "step" in s]
    return losses, {t.name: numpy_helper.to_array(t) for t in onnx.load(str(folder / "trained.onnx")).graph.initializer}


def compare(trained, losses, weights):
    np.testing.assert_allclose(trained[0], losses, **TOLERANCE)
    for name, w in weights.items():
        np.testing.assert_allclose(trained[1][name], w, **TOLERANCE, err_msg=name)


@pytest.mark.parametrize("run", EXPECT["runs"])
def test_as_pytorch(run, tmp_path):
    e = EXPECT["runs"][run]
    compare(train(tmp_path, e["optimizer"], e["options"]), e["losses"], e["weights"])


def loss_and_gradients(w):
    h = np.tanh(X @ w["w1"] + w["b1"])
    error = h @ w["w2"] - TARGET
    dy = 2 * error / error.size
    dh = dy @ w["w2"].T * (1 - h * h)
    return np.mean(error * error), {"w1": X.T @ dh, "b1": dh.sum(0), "w2": h.T @ dy}


def lamb(state, w, g, t, lr, b1, b2, eps, decay):
    """arXiv 1904.00962, algorithm 2, with the identity for the scaling function."""
    m = state["m"] = b1 * state.get("m", 0) + (1 - b1) * g
    v = state["v"] = b2 * state.get("v", 0) + (1 - b2) * g * g
    step = (m / (1 - b1 ** t)) / (np.sqrt(v / (1 - b2 ** t)) + eps) + decay * w
    size, length = np.sqrt(np.sum(w * w)), np.sqrt(np.sum(step * step))
    return w - lr * (size / length if size > 0 and length > 0 else 1) * step


def lion(state, w, g, t, lr, b1, b2, eps, decay):
    """arXiv 2302.06675, algorithm 2."""
    m = state.get("m", 0)
    step = np.sign(b1 * m + (1 - b1) * g) + decay * w
    state["m"] = b2 * m + (1 - b2) * g
    return w - lr * step


PAPERS = [
    (lamb, ["lr=0.02"], (0.02, 0.9, 0.999, 1e-6, 0.01)),
    (lamb, ["lr=0.1", "betas=0.7,0.9", "eps=1e-3", "weight_decay=0.2"], (0.1, 0.7, 0.9, 1e-3, 0.2)),
    (lion, ["lr=0.01"], (0.01, 0.9, 0.99, 0, 0)),
    (lion, ["lr=0.02", "betas=0.8,0.95", "weight_decay=0.3"], (0.02, 0.8, 0.95, 0, 0.3)),
]


@pytest.mark.parametrize("rule,options,settings", PAPERS, ids=[f"{p[0].__name__} {p[1][-1]}" for p in PAPERS])
def test_as_paper(rule, options, settings, tmp_path):
    w, states, losses = dict(FIRST), {n: {} for n in FIRST}, []
    for t in range(1, STEPS + 1):
        loss, gradients = loss_and_gradients(w)
        losses.append(loss)
        w = {n: rule(states[n], w[n], gradients[n], t, *settings) for n in w}
    compare(train(tmp_path, rule.__name__, options), losses, w)


def test_lamb_moves_a_tensor_of_zeros(tmp_path):
    """Its norm is 0, so the ratio is 1: it would stay zero otherwise."""
    FIRST["b1"], b1 = np.zeros(4), FIRST["b1"]
    try:
        _, trained = train(tmp_path, "lamb", ["lr=0.02"])
    finally:
        FIRST["b1"] = b1
    assert np.all(np.isfinite(trained["b1"])) and np.all(trained["b1"] != 0)


@pytest.mark.parametrize("option,wrong,text", [
    ("optimizer", "adamax", "adagrad, adam, adamw, lamb, lion, rmsprop, sgd"), ("alpha", "1.5", "from 0 to 1"),
    ("lr_decay", "-1", "not negative"), ("initial_accumulator_value", "-0.1", "not negative"), ("eps", "-1e-8", "not negative"),
    ("betas", "0.9,1", "from 0 to below 1"), ("betas", "0.9", "two numbers"), ("centered", "maybe", "on or off")])
def test_wrong_options(option, wrong, text, tmp_path):
    with pytest.raises(AssertionError) as failed:
        train(tmp_path, "rmsprop", [f"{option}={wrong}"])
    assert f'{option} is "{wrong}"' in str(failed.value) and text in str(failed.value)
