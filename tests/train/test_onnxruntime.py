"""The saved training step and the trained model in ONNX Runtime: an engine that shares no code with ongrad.

    ONGRAD=build/release/ongrad python3 -m pytest tests/train/test_onnxruntime.py

Needs onnx and onnxruntime, and the program save_step, which is built beside the tests (SAVE_STEP names another one).
ongrad saves micro and update as standard ONNX and trains; here the two graphs are run in a loop from the same first
weights, and losses, gradients, weights and predictions are compared."""
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
STEPS = 3
INITIAL_ACCUMULATOR = 0.25  # of adagrad
CASES = ["tabular", "conv_bn", "fixed_batch", "group_norm", "encoder", "seq_lstm", "windows", "dropout", "attention",
         "gated"]
OPTIMIZERS = {
    # eps above rounding: a bias in front of BatchNormalization has no gradient but rounding, which Adam else divides by its
    # own size
    "adamw": ["optimizer=adamw", "lr=1e-3", "weight_decay=0.01", "eps=1e-4"],
    "sgd": ["optimizer=sgd", "lr=0.05", "momentum=0.9"],
}
# the other optimizers, on one case; no sign of a gradient that is rounding alone decides there
OTHER_OPTIMIZERS = {
    "rmsprop": ["optimizer=rmsprop", "lr=1e-3", "momentum=0.5", "centered=on", "eps=1e-4"],
    "adagrad": ["optimizer=adagrad", "lr=1e-3", "lr_decay=0.1", f"initial_accumulator_value={INITIAL_ACCUMULATOR}"],
    "lamb": ["optimizer=lamb", "lr=1e-2"],
    "lion": ["optimizer=lion", "lr=1e-3", "weight_decay=0.01"],
}


def save_step():
    program = os.environ.get("SAVE_STEP")
    if not program and os.environ.get("ONGRAD"):
        program = pathlib.Path(os.environ["ONGRAD"]).resolve().parent / "tests" / "save_step"
    if not program or not os.access(program, os.X_OK):
        pytest.skip("set ONGRAD to the command of a build with tests")
    return str(program)


def engine(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def weights_of(path):
    return {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}


def make_windows(folder):
    """A case whose gradients need what the fixtures' do not: groups, uneven pads, rows that a stride leaves over,
    ceil_mode, dilations, steps, and an index taken twice."""
    helper, random = onnx.helper, np.random.default_rng(0)
    shapes = {"w0": [4, 4, 1, 1], "w1": [6, 2, 3, 3], "w2": [6, 3, 2, 2], "w3": [20, 4], "scale": [4], "bias": [4]}
    constants = {"starts": [1, -2], "ends": [10, -7], "axes": [2, 3], "steps": [3, -2], "picks": [0, 3, 3, -1] * 5}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["x0"]),
        helper.make_node("Conv", ["x0", "w1"], ["a"], group=2, strides=[2, 2], pads=[1, 0, 2, 1]),
        helper.make_node("Softplus", ["a"], ["b"]),
        helper.make_node("AveragePool", ["b"], ["c"], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 0, 1], ceil_mode=1),
        helper.make_node("ConvTranspose", ["c", "w2"], ["d"], strides=[3, 2], output_padding=[1, 0], pads=[0, 1, 1, 0]),
        helper.make_node("MaxPool", ["d"], ["e"], kernel_shape=[2, 2], dilations=[2, 1]),
        helper.make_node("Slice", ["e", "starts", "ends", "axes", "steps"], ["f"]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("Gather", ["g", "picks"], ["h"], axis=1),
        helper.make_node("MatMul", ["h", "w3"], ["i"]),
        helper.make_node("LayerNormalization", ["i", "scale", "bias"], ["y"]),
    ]
    weights = [onnx.numpy_helper.from_array(random.normal(0, 0.5, n).astype(np.float32), k) for k, n in shapes.items()]
    weights += [onnx.numpy_helper.from_array(np.array(v), k) for k, v in constants.items()]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "windows", [value("x", 1, ["batch", 4, 13, 12])], [value("y", 1, ["batch", 4])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir()
    onnx.save(model, str(folder / "model.onnx"))
    np.save(folder / "x.npy", random.normal(size=[8, 4, 13, 12]).astype(np.float32))
    np.save(folder / "target.npy", random.normal(size=[8, 4]).astype(np.float32))
    (folder / "expect.json").write_text(json.dumps({"loss": "mse"}))


def make_dropout(folder):
    """A case whose step draws random numbers: two masks, and noise that is added."""
    helper, random = onnx.helper, np.random.default_rng(1)
    weights = {"w0": random.normal(0, 0.5, [12, 40]).astype(np.float32), "ratio": np.float32(0.4),
               "w1": random.normal(0, 0.5, [40, 3]).astype(np.float32), "half": np.float32(0.5), "training": np.bool_(True)}
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Dropout", ["a", "ratio", "training"], ["b"]),
        helper.make_node("RandomNormalLike", ["b"], ["noise"], scale=0.1),
        helper.make_node("Add", ["b", "noise"], ["c"]),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("Dropout", ["d", "half", "training"], ["e"]),
        helper.make_node("MatMul", ["e", "w1"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "dropout", [value("x", 1, ["batch", 12])], [value("y", 1, ["batch", 3])],
                              [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir()
    onnx.save(model, str(folder / "model.onnx"))
    np.save(folder / "x.npy", random.normal(size=[16, 12]).astype(np.float32))
    np.save(folder / "target.npy", random.normal(size=[16, 3]).astype(np.float32))
    (folder / "expect.json").write_text(json.dumps({"loss": "mse"}))


def make_gated(folder):
    """A block as language models have it, written out: root mean square normalization, SiLU, HardSwish; labels of which some
    are ignored, smoothed."""
    helper, random = onnx.helper, np.random.default_rng(2)
    weights = {"scale": random.normal(1, 0.2, [12]), "w0": random.normal(0, 0.5, [12, 16]), "w1": random.normal(0, 0.5, [12, 16]),
               "w2": random.normal(0, 0.5, [16, 7])}
    nodes = [
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Constant", [], ["eps"], value_float=1e-5),
        helper.make_node("Pow", ["x", "two"], ["square"]),
        helper.make_node("ReduceMean", ["square", "last"], ["mean"]),
        helper.make_node("Add", ["mean", "eps"], ["shifted"]),
        helper.make_node("Sqrt", ["shifted"], ["root"]),
        helper.make_node("Reciprocal", ["root"], ["rstd"]),
        helper.make_node("Mul", ["x", "rstd"], ["h"]),
        helper.make_node("Mul", ["h", "scale"], ["n"]),
        helper.make_node("MatMul", ["n", "w0"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["gate"]),
        helper.make_node("Mul", ["a", "gate"], ["b"]),
        helper.make_node("MatMul", ["n", "w1"], ["c"]),
        helper.make_node("HardSwish", ["c"], ["d"]),
        helper.make_node("Mul", ["b", "d"], ["e"]),
        helper.make_node("MatMul", ["e", "w2"], ["y"]),
    ]
    weights = [onnx.numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    weights += [onnx.numpy_helper.from_array(np.array([-1]), "last")]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "gated", [value("x", 1, ["batch", 5, 12])], [value("y", 1, ["batch", 5, 7])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir()
    onnx.save(model, str(folder / "model.onnx"))
    labels = random.integers(0, 7, [8, 5])
    labels[::3, 1] = -100
    np.save(folder / "x.npy", random.normal(size=[8, 5, 12]).astype(np.float32))
    np.save(folder / "target.npy", labels)
    (folder / "expect.json").write_text(json.dumps({"loss": "cross_entropy,label_smoothing=0.1"}))


MADE = {"windows": make_windows, "dropout": make_dropout, "gated": make_gated}


class Run:
    """One training by ongrad, and what is needed to repeat it."""

    def __init__(self, case, out, steps, settings):
        folder = FIXTURES / case
        if case in MADE:
            folder = out / "case"
            MADE[case](folder)
        loss = json.loads((folder / "expect.json").read_text())["loss"]
        command = [save_step(), str(folder), str(out), str(steps), f"loss={loss}", *settings]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.out = out
        self.seed = next((int(s[len("seed="):]) for s in settings if s.startswith("seed=")), 0)
        self.steps = [json.loads(line) for line in done.stdout.splitlines()]
        self.first = weights_of(folder / "model.onnx")
        self.trained = weights_of(out / "trained.onnx")
        self.batch = {p.stem: np.load(p) for p in folder.glob("*.npy")}

    def state(self, name, like):
        """A state before the first step: weights as in the model, staged statistics as these, all others zero."""
        if name in self.first:
            return self.first[name]
        if name.endswith(".half"):
            return self.first[name[: -len(".half")]].astype(np.float16)
        if name == "loss_scale":
            return np.array(65536.0)
        if name == "random_position":
            return np.array([self.seed, 0, 0])
        if name.endswith(".staged"):
            return self.first[name[: -len(".staged")]]
        if name.endswith(".sum"):
            return np.full(like.shape, INITIAL_ACCUMULATOR, np.float32)
        kinds = (".grad", ".momentum", ".exp_avg", ".exp_avg_sq", ".square_avg", ".grad_avg")
        assert name.endswith(kinds) or name in ("loss_sum", "weight_sum", "step", "clean_updates"), f"unknown state {name}"
        return np.zeros(like.shape, {"tensor(float)": np.float32, "tensor(double)": np.float64}[like.type])


class Replay:
    """The saved graphs in ONNX Runtime; `states` are shared by name."""

    def __init__(self, run):
        self.micro_graph, self.update_graph = engine(run.out / "micro.onnx"), engine(run.out / "update.onnx")
        self.batch = run.batch
        self.states = {}
        for graph in (self.micro_graph, self.update_graph):
            for i in graph.get_inputs():
                if i.name not in self.batch and i.name != "lr" and i.name not in self.states:
                    self.states[i.name] = run.state(i.name, i)

    def call(self, graph, given):
        feed = {i.name: given[i.name] if i.name in given else self.states[i.name] for i in graph.get_inputs()}
        results = dict(zip((o.name for o in graph.get_outputs()), graph.run(None, feed)))
        for name in self.states:
            if name + "_new" in results:
                self.states[name] = results.pop(name + "_new")
        return results

    def micro(self):
        result = self.call(self.micro_graph, self.batch)
        if "random_position" in self.states:
            self.states["random_position"] = self.states["random_position"] + np.array([0, 0, 1])
        return result

    def update(self, lr):
        if "random_position" in self.states:
            seed, step, _ = self.states["random_position"]
            self.states["random_position"] = np.array([seed, step + 1, 0])
        return self.call(self.update_graph, {"lr": np.array(lr)})

    def gradients(self):
        return {n[: -len(".grad")]: v for n, v in self.states.items() if n.endswith(".grad")}


def is_close(value, expected, tolerance=1e-5):
    return abs(value - expected) <= tolerance * abs(expected)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("case,optimizer", [(c, o) for c in CASES for o in OPTIMIZERS] +
                         [("tabular", o) for o in OTHER_OPTIMIZERS])
def test_steps(case, optimizer, accumulation, tmp_path):
    settings = {**OPTIMIZERS, **OTHER_OPTIMIZERS}[optimizer] + [f"gradient_accumulation_steps={accumulation}", "seed=-5", "amp=off"]
    run = Run(case, tmp_path, STEPS, settings)
    replay = Replay(run)
    assert len(run.steps) == STEPS
    for k, step in enumerate(run.steps):
        for _ in range(accumulation):
            replay.micro()
        assert all(g.any() for g in replay.gradients().values())
        result = replay.update(step["lr"])
        assert result["finite"]
        assert is_close(result["loss"], step["loss"]), f"step {k}: {result['loss']}, ongrad {step['loss']}"
        assert is_close(result["grad_norm"], step["grad_norm"], 1e-4), f"step {k}"
        if accumulation > 1:  # with one micro-batch an update, micro replaces the sums
            assert all(not g.any() for g in replay.gradients().values())
    assert replay.states["step"] == STEPS
    trained = [n for n in run.trained if n in replay.states]
    assert set(replay.gradients()) <= set(trained)
    for name in trained:
        np.testing.assert_allclose(run.trained[name], replay.states[name], rtol=1e-5, atol=1e-5, err_msg=name)
        assert not np.array_equal(replay.states[name], run.first[name]), f"{name} did not change"


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("case", ["tabular", "conv_bn", "encoder"])
def test_half_steps(case, accumulation, tmp_path):
    """The step in float16 is standard ONNX, too. Sums of other orders are rounded to other halves here and there: what
    differs is a few units in the last of float16's 11 bits."""
    settings = OPTIMIZERS["sgd"] + [f"gradient_accumulation_steps={accumulation}", "amp=fp16"]
    run = Run(case, tmp_path, STEPS, settings)
    replay = Replay(run)
    assert any(n.endswith(".half") for n in replay.states)
    for k, step in enumerate(run.steps):
        for _ in range(accumulation):
            replay.micro()
        result = replay.update(step["lr"])
        assert result["finite"] and result["scale"] == 65536
        assert is_close(result["loss"], step["loss"], 2e-3), f"step {k}: {result['loss']}, ongrad {step['loss']}"
        assert is_close(result["grad_norm"], step["grad_norm"], 1e-2), f"step {k}"
    assert replay.states["clean_updates"] == STEPS
    for name in (n for n in run.trained if n in replay.states):
        np.testing.assert_allclose(run.trained[name], replay.states[name], rtol=1e-2, atol=2e-3, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_gradients(case, tmp_path):
    """One step of plain descent by 1: a weight changes by its gradient."""
    run = Run(case, tmp_path, 1, ["optimizer=sgd", "lr=1", "max_norm=0"])
    replay = Replay(run)
    replay.micro()
    counted = replay.states["weight_sum"] / run.batch["target"].size if case == "gated" else 1  # update divides by it
    for name, g in replay.gradients().items():
        g = g / counted
        ours = run.first[name].astype(np.float64) - run.trained[name]
        limit = 1e-5 * max(1, np.abs(g).max())
        assert np.abs(ours - g).max() <= limit, f"{name} differs by {np.abs(ours - g).max()}"


@pytest.mark.parametrize("case", CASES)
def test_files_are_valid(case, tmp_path):
    run = Run(case, tmp_path, 1, [])
    for name in ("micro", "update", "forward", "trained"):
        onnx.checker.check_model(str(run.out / f"{name}.onnx"), full_check=True)
        domains = {n.domain for n in onnx.load(str(run.out / f"{name}.onnx"), load_external_data=False).graph.node}
        assert "ai.ongrad" not in domains


@pytest.mark.parametrize("case", CASES)
def test_trained_model_predicts_the_same(case, tmp_path):
    run = Run(case, tmp_path, STEPS, OPTIMIZERS["adamw"])
    model = engine(tmp_path / "trained.onnx")
    names = [i.name for i in model.get_inputs()]
    batch = model.get_inputs()[0].shape[0]
    samples = len(run.batch[names[0]])
    size = batch if isinstance(batch, int) else samples
    parts = [model.run(None, {n: run.batch[n][k : k + size] for n in names}) for k in range(0, samples, size)]
    forward = engine(tmp_path / "forward.onnx")
    feed = {i.name: run.trained[i.name] if i.name in run.trained else run.batch[i.name] for i in forward.get_inputs()}
    whole = forward.run(None, feed)
    if case == "dropout":  # the noise is drawn by each engine on its own; dropout itself is off
        assert not any(len(n.input) > 2 for n in onnx.load(str(tmp_path / "trained.onnx")).graph.node)
        return
    for k in range(len(model.get_outputs())):
        ours = np.load(tmp_path / f"output_{k}.npy")
        theirs = np.concatenate([p[k] for p in parts])
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(whole[k], theirs, rtol=1e-5, atol=1e-5)


def test_seed_decides(tmp_path):
    losses = []
    for i, settings in enumerate((["seed=1"], ["seed=1"], ["seed=2"])):
        (tmp_path / str(i)).mkdir()
        losses.append([s["loss"] for s in Run("dropout", tmp_path / str(i), STEPS, settings).steps])
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_several_losses(tmp_path):
    """Two losses by name and a loss model with a trained tensor, two targets, two micro-batches a step."""
    folder, command = FIXTURES / "tabular", os.environ.get("ONGRAD")
    if not command:
        pytest.skip("set ONGRAD to the command")
    batch = {p.stem: np.load(p) for p in folder.glob("*.npy")}
    other = np.cos(np.arange(len(batch["x"])))
    np.save(tmp_path / "other.npy", other.astype(np.float32))
    losses = FIXTURES / "losses" / "uncertain.onnx"
    half = len(other) // 2
    arguments = [str(folder / "model.onnx"), "--data", str(folder / "x.npy"), "--target", f"t={folder / 'target.npy'}", "--target",
                 f"u={tmp_path / 'other.npy'}", "--loss", "bce_with_logits,target=t", "--loss", "huber,target=u,weight=0.3",
                 "--loss", str(losses), "--optimizer", "sgd", "--lr", "0.05", "--batch_size", str(half),
                 "--gradient_accumulation_steps", "2"]
    for more in (["plan", *arguments, "--save_graph", str(tmp_path)],
                 ["train", *arguments, "--no_shuffle", "--steps", str(STEPS), "--log", str(tmp_path / "log"), "-o",
                  str(tmp_path / "trained.onnx")]):
        done = subprocess.run([command, *more], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    steps = [s for s in map(json.loads, open(tmp_path / "log")) if "step" in s]
    states = weights_of(folder / "model.onnx")
    states |= {f"uncertain/{n}": w for n, w in weights_of(losses).items()}
    graphs = {n: engine(tmp_path / f"{n}.onnx") for n in ("micro", "update")}
    given = {"x": batch["x"], "target.t": batch["target"], "target.u": other.astype(np.float32)}

    def call(name, feed):
        for i in graphs[name].get_inputs():
            if i.name not in feed and i.name not in states:
                states[i.name] = np.zeros(i.shape, {"tensor(float)": np.float32, "tensor(double)": np.float64}[i.type])
        results = graphs[name].run(None, {i.name: feed.get(i.name, states.get(i.name)) for i in graphs[name].get_inputs()})
        results = dict(zip((o.name for o in graphs[name].get_outputs()), results))
        states.update({n: results.pop(n + "_new") for n in list(states) if n + "_new" in results})
        return results

    for step in steps:
        for rows in (slice(0, half), slice(half, None)):
            call("micro", {n: v[rows] for n, v in given.items()})
        result = call("update", {"lr": np.array(step["lr"])})
        assert is_close(result["loss"], step["loss"]) and is_close(result["grad_norm"], step["grad_norm"], 1e-4)
        for name, mean in step["losses"].items():
            assert is_close(result[f"loss.{name}"], mean), name
    trained = weights_of(tmp_path / "trained.onnx")
    trained |= {f"uncertain/{n}": w for n, w in weights_of(tmp_path / "trained.uncertain.onnx").items()}
    assert "uncertain/s" in trained
    for name in trained:
        if name in states:
            np.testing.assert_allclose(trained[name], states[name], rtol=1e-5, atol=1e-5, err_msg=name)
