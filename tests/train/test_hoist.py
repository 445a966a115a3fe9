"""What depends on weights alone is computed once an update and kept for its micro-batches, if the budget allows.

ONGRAD names the command. When a value is computed changes none of its bits: with a budget that is a byte too small for
what is kept, everything is computed by each micro-batch, and losses and weights must be the same."""
import json

import numpy as np
import onnx
import pytest
from commands import floats, model, tensor, value
from onnx import helper
from test_recompute import Model, fixture, run

ACCUMULATION = ("--gradient_accumulation_steps", "3")
node = helper.make_node


def weight_norm(name, weight, direction, length):
    """w = g v / ‖v‖, as PyTorch's weight_norm."""
    return [node("ReduceL2", [direction], [f"{name}.norm"], axes=[1, 2], keepdims=1),
            node("Div", [direction, f"{name}.norm"], [f"{name}.unit"]),
            node("Mul", [f"{name}.unit", length], [weight])]


def temporal_convolutions():
    """Two dilated convolutions with weight norm, x [batch, 4, 32] → y [batch, 3]."""
    nodes, weights, x = [], [], "x"
    for i, (n, m) in enumerate([(4, 16), (16, 16)]):
        weights += [tensor(f"v{i}", floats(m, n, 3)), tensor(f"g{i}", 1 + floats(m, 1, 1)), tensor(f"b{i}", floats(m))]
        nodes += weight_norm(f"norm{i}", f"w{i}", f"v{i}", f"g{i}")
        nodes += [node("Conv", [x, f"w{i}", f"b{i}"], [f"c{i}"], f"conv{i}", pads=[2, 2], dilations=[2]),
                  node("Relu", [f"c{i}"], [f"h{i}"])]
        x = f"h{i}"
    nodes += [node("GlobalAveragePool", [x], ["p"]), node("Flatten", ["p"], ["f"]), node("Gemm", ["f", "w", "b"], ["y"])]
    weights += [tensor("w", floats(16, 3)), tensor("b", floats(3))]
    return model(nodes, [value("x", ["batch", 4, 32])], [value("y", ["batch", 3])], weights), (4, 32)


def tied():
    """A weight that is used as it is and transposed, and two that are joined, x [batch, 8] → y [batch, 8]."""
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Concat", ["u", "v"], ["uv"], axis=1), node("MatMul", ["h", "uv"], ["k"]),
             node("Tanh", ["k"], ["t"]), node("Transpose", ["w"], ["wt"], perm=[1, 0]), node("Neg", ["wt"], ["negative"]),
             node("MatMul", ["t", "negative"], ["y"])]
    weights = [tensor("w", floats(8, 16)), tensor("u", floats(16, 6)), tensor("v", floats(16, 10))]
    return model(nodes, [value("x", ["batch", 8])], [value("y", ["batch", 8])], weights), (8,)


def lstm():
    """An LSTM whose matrices are joined from those of its gates, x [batch, 5, 6] → y [batch, 4]."""
    nodes, weights = [], []
    for name, n in (("w", 6), ("r", 4)):
        parts = [f"{name}{gate}" for gate in "iofc"]
        weights += [tensor(part, floats(1, 4, n) + .01 * i) for i, part in enumerate(parts)]
        nodes += [node("Concat", parts, [name], axis=1)]
    nodes += [node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
              node("LSTM", ["steps", "w", "r"], ["", "h", ""], hidden_size=4), node("Squeeze", ["h", "first"], ["y"])]
    weights += [tensor("first", np.array([0]))]
    return model(nodes, [value("x", ["batch", 5, 6])], [value("y", ["batch", 4])], weights), (5, 6)


def dropped_weights():
    """Dropout of a weight: another mask for each micro-batch, x [batch, 8] → y [batch, 5]."""
    nodes = [node("Dropout", ["w", "half", "yes"], ["d"]), node("Exp", ["v"], ["e"]), node("Mul", ["d", "e"], ["m"]),
             node("MatMul", ["x", "m"], ["y"])]
    constants = [tensor("w", floats(8, 5)), tensor("v", floats(8, 5)), tensor("half", np.array(.5, "f4")), tensor("yes", np.array(True))]
    return model(nodes, [value("x", ["batch", 8])], [value("y", ["batch", 5])], constants), (8,)


def wide():
    """Products large enough for weights to be packed, x [batch, 512] → y [batch, 512]."""
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "v"], ["y"])]
    weights = [tensor("w", floats(512, 512) / 20), tensor("v", floats(512, 512) / 20)]
    return model(nodes, [value("x", ["batch", 512])], [value("y", ["batch", 512])], weights), (512,)


MADE = {"temporal_convolutions": temporal_convolutions, "tied": tied, "lstm": lstm, "dropped_weights": dropped_weights, "wide": wide}
FIXTURES = ["mini_resnet"]


def case(name, folder, more=1):
    """Two updates of three full micro-batches an epoch, and one of a micro-batch of `more` samples."""
    if name in FIXTURES:
        return fixture(name, folder)
    graph, shape = MADE[name]()
    batch = 256 if name == "wide" else 4
    onnx.save(graph, str(folder / "m.onnx"))
    np.save(folder / "x.npy", floats(6 * batch + more, *shape))
    np.save(folder / "t.npy", np.arange(6 * batch + more) % 3)
    return Model(folder, "m.onnx", ["--data", "x.npy"], "t.npy", "cross_entropy", batch)


def both(trained, *more, steps=4):
    """The same run with and without what is kept."""
    plan = trained.plan(*ACCUMULATION, *more)
    tight = ("--memory_budget", str(plan["peak_bytes"] - 1))
    without = trained.plan(*ACCUMULATION, *more, *tight)
    if 0 < without["bytes"]["derived"] < 4096:
        pytest.skip("a tight budget frees as many bytes elsewhere as are kept here")
    assert plan["bytes"]["derived"] > 0 and without["bytes"]["derived"] == 0
    assert without["peak_bytes"] < plan["peak_bytes"]
    return (trained.train(*ACCUMULATION, *more, steps=steps),
            trained.train(*ACCUMULATION, *more, *tight, steps=steps))


@pytest.mark.parametrize("how", [[], ["--check_memory"], ["--recompute", "off"], ["--amp", "bf16"]], ids=" ".join)
@pytest.mark.parametrize("name", [*MADE, *FIXTURES])
def test_same_bits(name, how, tmp_path):
    if name == "wide" and "--check_memory" in how:
        pytest.skip("slow")
    trained = case(name, tmp_path)
    if trained.plan(*ACCUMULATION, *how)["bytes"]["derived"] == 0:
        assert name in FIXTURES or name == "wide", "this model has values that depend on weights alone"
        pytest.skip("no kernel of this build packs its weights")
    kept, anew = both(trained, *how)
    assert kept[:2] == anew[:2]


def test_a_skipped_update_changes_nothing(tmp_path):
    """The first loss scales overflow float16: these updates are skipped, and what is kept stays as good as new."""
    kept, anew = both(case("temporal_convolutions", tmp_path), "--amp", "fp16", "--loss_scale_start", "1e12", steps=30)
    log = [json.loads(line) for line in open(tmp_path / "log.jsonl")]
    skipped = [s["skipped"] for s in log if "step_ms" in s]
    assert skipped[0] and not skipped[-1]
    assert kept[:2] == anew[:2]


def test_one_micro_batch_keeps_nothing(tmp_path):
    assert case("temporal_convolutions", tmp_path).plan()["bytes"]["derived"] == 0
    assert case("temporal_convolutions", tmp_path).plan("--recompute", "max", *ACCUMULATION)["bytes"]["derived"] == 0


def weight_calls(stderr):
    """Of a profile's table: for each op, its calls a step by role."""
    lines = stderr.splitlines()
    at = next(i for i, line in enumerate(lines) if "GFLOP/s" in line)
    calls = {}
    for line in lines[at + 1:]:
        words = line.split()
        if len(words) < 9 or words[-1] not in ("forward", "gradient", "weights"):
            continue
        op = words[7]
        calls.setdefault(op, {}).setdefault(words[-1], 0)
        calls[op][words[-1]] += int(words[4])
    return calls


@pytest.mark.parametrize("name", ["temporal_convolutions", "lstm", "wide"])
def test_once_an_update(name, tmp_path):
    """The profile counts calls: those of weights alone run once where the others run for each micro-batch."""
    trained = case(name, tmp_path, more=0)
    if trained.plan(*ACCUMULATION)["bytes"]["derived"] == 0:
        pytest.skip("no kernel of this build packs its weights")
    done = run(tmp_path, "train", *trained.arguments, *ACCUMULATION, "--steps", "5", "--profile", "-o", "trained.onnx")
    calls = weight_calls(done.stderr)
    assert any("weights" in roles for roles in calls.values()), done.stderr
    for op, packed in (("Conv", 2), ("ConvGradData", 1), ("MatMul", 3)):  # where the build's kernels do
        if name != "lstm" and "weights" in calls.get(op, {}):
            others = sum(n for role, n in calls[op].items() if role != "weights")
            assert calls[op]["weights"] == packed and others >= 3 * packed, done.stderr
    if name == "temporal_convolutions":  # the two norms, each a program that ends in a sum, and what divides by them
        assert "weights" not in calls.get("ReduceSum", {}) and calls["Fused"]["weights"] >= 2, done.stderr
    if name == "lstm":
        assert calls["Concat"] == {"weights": 2}, done.stderr


def test_predictions(tmp_path):
    """Weights stay the same: what is kept of them serves all batches."""
    graph, shape = temporal_convolutions()
    onnx.save(graph, str(tmp_path / "m.onnx"))
    np.save(tmp_path / "x.npy", floats(10, *shape))
    arguments = ("m.onnx", "--data", "x.npy", "--batch_size", "4")
    plan = json.loads(run(tmp_path, "plan", *arguments, "--loss", "none", "--json").stdout)
    assert plan["bytes"]["derived"] > 0
    results = []
    for more in ((), ("--memory_budget", str(plan["peak_bytes"] - 1))):
        run(tmp_path, "predict", *arguments, *more, "-o", "y.npy")
        results.append(np.load(tmp_path / "y.npy"))
    assert np.array_equal(*results)
