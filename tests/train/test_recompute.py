"""Recomputation: the same bits with less memory (--recompute, --memory_budget).

ONGRAD names the command. What is computed again in the backward pass reads what the forward pass read, so losses and
weights must not differ in one bit from those of a run that keeps everything."""
import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from trained_model import trained_bytes

ONGRAD = os.path.abspath(os.environ.get("ONGRAD", "build/release/ongrad"))
FIXTURES = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "fixtures"))
CASES = ["tabular", "conv_bn", "mini_resnet", "mini_unet", "encoder", "char_gpt", "paired_clip", "seq_lstm"]


def run(folder, *arguments, status=0):
    done = subprocess.run([ONGRAD, *arguments], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stderr
    return done


class Model:
    def __init__(self, folder, path, data, target, loss, batch):
        self.folder = folder
        self.arguments = [path, *data, "--target", target, "--loss", loss, "--batch_size", str(batch)]

    def plan(self, *more):
        return json.loads(run(self.folder, "plan", *self.arguments, "--json", *more).stdout)

    def train(self, *more, steps=3):
        """The steps' losses and norms, what was trained, the last line of the log."""
        run(self.folder, "train", *self.arguments, "--no_shuffle", "--steps", str(steps), "--log", "log.jsonl", "-o",
            "trained.onnx", *more)
        log = [json.loads(line) for line in open(self.folder / "log.jsonl")]
        steps = [(s["loss"], s["grad_norm"]) for s in log if "step_ms" in s]
        return steps, trained_bytes(self.folder / "trained.onnx"), log[-1]


def fixture(name, folder):
    source = os.path.join(FIXTURES, name)
    expect = json.load(open(os.path.join(source, "expect.json")))
    data = [x for f in sorted(os.listdir(source)) if f.endswith(".npy") and f != "target.npy"
            for x in ("--data", f"{f[:-4]}={os.path.join(source, f)}")]
    return Model(folder, os.path.join(source, "model.onnx"), data, os.path.join(source, "target.npy"), expect["loss"],
                 expect["batch_size"])


@pytest.mark.parametrize("name", CASES)
def test_same_bits(name, tmp_path):
    model = fixture(name, tmp_path)
    kept = model.train("--recompute", "off")
    for how in ("auto", "max"):
        again = model.train("--recompute", how)
        assert again[:2] == kept[:2], how
        assert again[2]["predicted_peak_bytes"] <= kept[2]["predicted_peak_bytes"], how
        checked = model.train("--recompute", how, "--check_memory", steps=1)
        assert checked[:2] == model.train("--recompute", "off", steps=1)[:2], f"{how}, memory checked"


def test_norms_and_activations_are_not_kept(tmp_path):
    """Conv → BatchNormalization → Clip, over and over: of three tensors one is kept, the convolution's result."""
    channels, layers, side, batch = 8, 6, 32, 16
    rng = np.random.default_rng(0)
    nodes, constants, x = [], [], "x"
    for i in range(layers):
        constants += [numpy_helper.from_array(rng.normal(0, .1, (channels, channels, 3, 3)).astype("f4"), f"w{i}")]
        constants += [numpy_helper.from_array(np.full(channels, v, "f4"), f"{n}{i}")
                      for n, v in (("scale", 1), ("bias", .1), ("mean", 0), ("var", 1))]
        nodes += [helper.make_node("Conv", [x, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]),
                  helper.make_node("BatchNormalization", [f"c{i}", f"scale{i}", f"bias{i}", f"mean{i}", f"var{i}"], [f"n{i}"]),
                  helper.make_node("Clip", [f"n{i}", "low", "high"], [f"y{i}"])]
        x = f"y{i}"
    constants += [numpy_helper.from_array(np.array(v, "f4"), n) for n, v in (("low", 0), ("high", 6))]
    nodes += [helper.make_node("GlobalAveragePool", [x], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", 1, ["batch", channels, side, side])], [value("y", 1, ["batch", channels])],
                              constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(tmp_path / "m.onnx"))
    np.save(tmp_path / "x.npy", rng.normal(0, 1, (batch, channels, side, side)).astype("f4"))
    np.save(tmp_path / "t.npy", rng.integers(0, channels, batch))
    model = Model(tmp_path, "m.onnx", ["--data", "x.npy"], "t.npy", "cross_entropy", batch)
    tensor = batch * channels * side * side * 4
    off = model.plan("--recompute", "off")
    assert max(off["over_time"]) > 2 * layers * tensor
    # Each layer keeps one; beside these, at the peak, are gradients, a value computed again and workspace.
    budget = off["peak_bytes"] - off["bytes"]["activations"] + (layers + 6) * tensor
    tight = model.plan("--memory_budget", str(budget))
    assert tight["peak_bytes"] <= budget and "least_peak_bytes" not in tight
    assert model.train("--memory_budget", str(budget))[:2] == model.train("--recompute", "off")[:2]


def test_masks_take_a_bit(tmp_path):
    """Which elements pass a Relu is kept in a bit each."""
    width, batch = 512, 256
    rng = np.random.default_rng(4)
    constants = [numpy_helper.from_array(rng.normal(0, width ** -.5, (width, width)).astype("f4"), n) for n in "uvw"]
    nodes = [helper.make_node("MatMul", ["x", "u"], ["a"]), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("MatMul", ["b", "v"], ["c"]), helper.make_node("Relu", ["c"], ["d"]),
             helper.make_node("MatMul", ["d", "w"], ["y"])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", 1, ["batch", width])],
                              [value("y", 1, ["batch", width])], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(tmp_path / "m.onnx"))
    np.save(tmp_path / "x.npy", rng.normal(0, 1, (batch, width)).astype("f4"))
    np.save(tmp_path / "t.npy", rng.normal(0, 1, (batch, width)).astype("f4"))
    model = Model(tmp_path, "m.onnx", ["--data", "x.npy"], "t.npy", "mse", batch)
    masks = [t["bytes"] for t in model.plan()["largest"] if t["type"] == f"bit [{batch}, {width}]"]
    assert masks == [batch * width // 8] * 2
    kept = model.train("--recompute", "off")
    assert model.train()[:2] == kept[:2] == model.train("--check_memory")[:2]


def test_with_room_little_is_computed_again(tmp_path):
    """What auto predicts to add is at most a hundredth where the budget asks for nothing, and more where it does."""
    for name in CASES:
        model = fixture(name, tmp_path)
        off, auto = model.plan("--recompute", "off"), model.plan()
        assert off["more_time"] == 0
        assert auto["more_time"] <= .0101, name  # what is kept after all shortens ways: less, but for rounding
        assert auto["peak_bytes"] <= off["peak_bytes"], name
    model = transformer(tmp_path)
    room = model.plan()
    tight = model.plan("--memory_budget", str(room["peak_bytes"] - 1))
    assert tight["more_time"] > room["more_time"] and tight["peak_bytes"] < room["peak_bytes"]


def test_root_mean_square_norms_are_not_kept(tmp_path):
    """MatMul → RMSNormalization, over and over: of two tensors one is kept, the product."""
    width, layers, batch = 64, 8, 512
    rng = np.random.default_rng(3)
    nodes, constants, x = [], [], "x"
    for i in range(layers):
        constants += [numpy_helper.from_array(rng.normal(0, .1, (width, width)).astype("f4"), f"w{i}"),
                      numpy_helper.from_array(np.full(width, 1.5, "f4"), f"scale{i}")]
        nodes += [helper.make_node("MatMul", [x, f"w{i}"], [f"p{i}"]),
                  helper.make_node("RMSNormalization", [f"p{i}", f"scale{i}"], [f"y{i}"], axis=-1)]
        x = f"y{i}"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", 1, ["batch", width])], [value(x, 1, ["batch", width])], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), str(tmp_path / "m.onnx"))
    np.save(tmp_path / "x.npy", rng.normal(0, 1, (batch, width)).astype("f4"))
    np.save(tmp_path / "t.npy", rng.normal(0, 1, (batch, width)).astype("f4"))
    model = Model(tmp_path, "m.onnx", ["--data", "x.npy"], "t.npy", "mse", batch)
    tensor = batch * width * 4
    off = model.plan("--recompute", "off")
    assert max(off["over_time"]) > (2 * layers - 1) * tensor
    # Each layer keeps one; beside these, at the peak, are gradients, a value computed again and workspace.
    budget = off["peak_bytes"] - off["bytes"]["activations"] + (layers + 5) * tensor
    tight = model.plan("--memory_budget", str(budget))
    assert tight["peak_bytes"] <= budget and tight["micro_batches"] == 1 and "least_peak_bytes" not in tight
    assert model.train("--memory_budget", str(budget))[:2] == model.train("--recompute", "off")[:2]


# ---- to a budget

LAYERS, WIDTH, HEADS, TOKENS, BATCH = 12, 32, 2, 64, 48


def transformer(folder):
    """Twelve layers, no BatchNormalization: x [batch, TOKENS, WIDTH] → y [batch, TOKENS, WIDTH]."""
    rng = np.random.default_rng(1)
    constants, nodes = [], []

    def weight(name, *shape):
        constants.append(numpy_helper.from_array(rng.normal(0, shape[0] ** -.5, shape).astype("f4"), name))
        return name

    def node(op, inputs, **attributes):
        out = f"v{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [out], **attributes))
        return out

    def linear(x, name, n, m):
        constants.append(numpy_helper.from_array(np.zeros(m, "f4"), name + ".bias"))
        return node("Add", [node("MatMul", [x, weight(name + ".weight", n, m)]), name + ".bias"])

    def norm(x, name):
        constants.append(numpy_helper.from_array(np.ones(WIDTH, "f4"), name + ".scale"))
        constants.append(numpy_helper.from_array(np.zeros(WIDTH, "f4"), name + ".bias"))
        return node("LayerNormalization", [x, name + ".scale", name + ".bias"], axis=-1)

    def heads(x):
        return node("Transpose", [node("Reshape", [x, "split"])], perm=[0, 2, 1, 3])

    constants.append(numpy_helper.from_array(np.array([0, TOKENS, HEADS, WIDTH // HEADS]), "split"))
    constants.append(numpy_helper.from_array(np.array([0, TOKENS, WIDTH]), "merge"))
    constants.append(numpy_helper.from_array(np.array((WIDTH / HEADS) ** -.5, "f4"), "rate"))
    x = "x"
    for i in range(LAYERS):
        z = norm(x, f"{i}.norm1")
        q, k, v = (heads(linear(z, f"{i}.{n}", WIDTH, WIDTH)) for n in "qkv")
        scores = node("Mul", [node("MatMul", [q, node("Transpose", [k], perm=[0, 1, 3, 2])]), "rate"])
        mixed = node("Transpose", [node("MatMul", [node("Softmax", [scores], axis=-1), v])], perm=[0, 2, 1, 3])
        x = node("Add", [x, linear(node("Reshape", [mixed, "merge"]), f"{i}.out", WIDTH, WIDTH)])
        z = linear(norm(x, f"{i}.norm2"), f"{i}.up", WIDTH, 4 * WIDTH)
        x = node("Add", [x, linear(node("Relu", [z]), f"{i}.down", 4 * WIDTH, WIDTH)])
    value = helper.make_tensor_value_info
    shape = ["batch", TOKENS, WIDTH]
    nodes.append(helper.make_node("Identity", [x], ["y"]))
    graph = helper.make_graph(nodes, "g", [value("x", 1, shape)], [value("y", 1, shape)], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / "m.onnx"))
    np.save(folder / "x.npy", rng.normal(0, 1, (BATCH, TOKENS, WIDTH)).astype("f4"))
    np.save(folder / "t.npy", rng.normal(0, 1, (BATCH, TOKENS, WIDTH)).astype("f4"))
    return Model(folder, "m.onnx", ["--data", "x.npy"], "t.npy", "mse", BATCH)


def test_a_third_of_the_peak(tmp_path):
    model = transformer(tmp_path)
    plan = model.plan("--recompute", "off")
    state = plan["peak_bytes"] - plan["bytes"]["activations"]
    assert plan["peak_bytes"] > 10 * state
    budget = str(plan["peak_bytes"] // 3)
    small = model.plan("--memory_budget", budget)
    assert small["peak_bytes"] <= int(budget)
    assert 0 < small["more_time"] < 0.4
    kept, again = model.train("--recompute", "off"), model.train("--memory_budget", budget)
    assert again[:2] == kept[:2]
    assert again[2]["peak_bytes"] == again[2]["predicted_peak_bytes"] == small["peak_bytes"]
    # no more is computed again than the budget asks for
    assert model.plan("--memory_budget", str(plan["peak_bytes"] // 2))["more_time"] < small["more_time"]


def test_the_least_budget_works(tmp_path):
    model = transformer(tmp_path)
    refused = run(tmp_path, "plan", *model.arguments, "--memory_budget", "1MB", "--split_batch", "off",
                  status=1).stderr
    least = int(refused.split("--memory_budget ")[-1].split(" ")[0])
    assert model.plan("--memory_budget", str(least), "--split_batch", "off")["peak_bytes"] <= least
    run(tmp_path, "plan", *model.arguments, "--memory_budget", str(least - 1), "--split_batch", "off", status=1)
    assert "--recompute auto" in run(tmp_path, "plan", *model.arguments, "--memory_budget", str(least), "--recompute", "off",
                                     "--split_batch", "off", status=1).stderr
