"""Averages of weights (--ema): against the recursion in NumPy, step by step; what is saved, validated and exported.

ONGRAD names the command. The weights of every step are read from checkpoints, of which one is written after each.
"""
import json
import os
import subprocess

import numpy as np
import onnx
import pytest

import test_remote_command
from commands import ONGRAD, Folder, floats, model, tensor, value
from onnx import helper, numpy_helper

STEPS = 6
AVERAGE = "ai.ongrad/average/"
SIM = os.path.abspath(os.environ.get("ONGRAD_SIM", os.path.join(os.path.dirname(ONGRAD), "tests", "ongrad_sim")))


def norm():
    """Linear, BatchNormalization, linear."""
    nodes = [helper.make_node("Gemm", ["x", "w1", "b1"], ["a"], "first"),
             helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"], "norm", momentum=.8),
             helper.make_node("Relu", ["b"], ["c"], "relu"),
             helper.make_node("Gemm", ["c", "w2", "b2"], ["y"], "last")]
    initializers = [tensor("w1", floats(4, 8)), tensor("b1", floats(8)), tensor("scale", np.ones(8, np.float32)),
                    tensor("shift", floats(8)), tensor("mean", np.zeros(8, np.float32)), tensor("var", np.ones(8, np.float32)),
                    tensor("w2", floats(8, 3)), tensor("b2", np.zeros(3, np.float32))]
    return model(nodes, [value("x", ["batch", 4])], [value("y", ["batch", 3])], initializers)


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path)
    made.write("m.onnx", norm())
    return made


def tensors(initializers):
    return {t.name: numpy_helper.to_array(t) for t in initializers}


def states(path):
    """Weights and averages of a checkpoint."""
    saved = onnx.load(path)
    algorithm = tensors(saved.training_info[0].algorithm.initializer)
    averages = {name[len(AVERAGE):-len(".ema")]: a for name, a in algorithm.items() if name.startswith(AVERAGE)}
    return tensors(saved.graph.initializer), averages


def run_each_step(folder, *more, steps=STEPS):
    """Weights and averages after each step."""
    done = folder.train("--steps", str(steps), "--batch_size", "4", "--checkpoint_every", "1", "--keep", str(steps), *more)
    assert done.returncode == 0, done.stderr
    return [states(folder / ("out.ckpt.onnx" if k == 0 else f"out.ckpt.{k}.onnx")) for k in reversed(range(steps))]


@pytest.mark.parametrize("options", [
    ["--ema", "0.9"],
    ["--ema", "0.9", "--ema_warmup"],
    ["--ema", "0.97", "--optimizer", "sgd", "--momentum", "0.9", "--gradient_accumulation_steps", "2"],
    ["--ema", "0.97", "--optimizer", "lamb"],
    ["--ema", "0.97", "--optimizer", "lion", "--lr_scale", "w2=0.1", "--amp", "bf16"],
], ids=lambda o: " ".join(o).replace("-", ""))
def test_the_recursion(folder, options):
    """e = d e + (1 - d) w, from the first weights on; with warm-up d is at most (1 + t) / (10 + t)."""
    average = {name: a.astype(np.float64) for name, a in tensors(onnx.load(folder / "m.onnx").graph.initializer).items()}
    decay = float(options[1])
    for t, (weights, averages) in enumerate(run_each_step(folder, *options), start=1):
        d = min(decay, (1 + t) / (10 + t)) if "--ema_warmup" in options else decay
        assert sorted(averages) == ["b1", "b2", "scale", "shift", "w1", "w2"]
        for name in averages:
            average[name] = d * average[name] + (1 - d) * weights[name]
            # a few roundings of float32 a step
            assert np.allclose(averages[name], average[name], rtol=2e-6, atol=2e-7), (t, name)
    trained = tensors(onnx.load(folder / "out.onnx").graph.initializer)
    for name, a in averages.items():
        assert np.array_equal(trained[name], a), name
    assert np.array_equal(trained["mean"], weights["mean"]), "running statistics are those of the last step"
    assert not np.array_equal(trained["w1"], weights["w1"])


def test_a_skipped_step_changes_no_bit(folder):
    """float16 at a scale that is too large at first: then nothing moves, averages neither."""
    log = folder / "log.jsonl"
    steps = run_each_step(folder, "--ema", "0.5", "--ema_warmup", "--amp", "fp16", "--loss_scale_start", "1e12", "--loss_scale_backoff",
                          "0.001", "--log", log)
    skipped = [json.loads(line)["skipped"] for line in open(log).readlines()[:-1]]
    assert skipped[0] and not skipped[-1]
    before = tensors(onnx.load(folder / "m.onnx").graph.initializer)
    for skip, (_, averages) in zip(skipped, steps, strict=True):
        for name, a in averages.items():
            assert np.array_equal(a, before[name]) == skip, name
        before = averages


def test_validation_is_of_the_averages(folder):
    """The last validation's loss is what eval says of the output, and not of the weights."""
    done = folder.train("--steps", "9", "--batch_size", "4", "--ema", "0.8", "--lr", "0.05", "--eval_every", "9", "--val_data",
                        "x.npy", "--val_target", "t.npy", "--checkpoint_every", "9", "--log", "log.jsonl")
    assert done.returncode == 0, done.stderr
    assert "decay 0.8: averages of the weights are what is validated and saved" in done.stderr
    said = json.loads(folder.read("log.jsonl").splitlines()[-2])["val_loss"]

    def loss(*arguments):
        evaluated = folder.run("eval", *arguments, "--data", "x.npy", "--target", "t.npy", "--loss", "cross_entropy", "--json")
        assert evaluated.returncode == 0, evaluated.stderr
        return json.loads(evaluated.stdout)["loss"]
    assert loss("out.onnx") == pytest.approx(said, rel=1e-6)  # the log has seven digits
    assert loss("out.ckpt.onnx", "--ema") == loss("out.onnx")
    assert loss("out.ckpt.onnx") != loss("out.onnx")


def test_export_of_a_checkpoint(folder):
    assert folder.train("--steps", "6", "--ema", "0.8", "--checkpoint_every", "6").returncode == 0
    weights, averages = states(folder / "out.ckpt.onnx")
    for arguments, expected in (([], weights), (["--ema"], {**weights, **averages})):
        done = folder.run("export", "out.ckpt.onnx", *arguments, "-o", "e.onnx")
        assert done.returncode == 0, done.stderr
        onnx.checker.check_model(onnx.load(folder / "e.onnx"))
        exported = tensors(onnx.load(folder / "e.onnx").graph.initializer)
        assert all(np.array_equal(exported[name], expected[name]) for name in expected)
        assert folder.run("predict", "out.ckpt.onnx", *arguments, "--data", "x.npy", "-o", "a.npy").returncode == 0
        assert folder.run("predict", "e.onnx", "--data", "x.npy", "-o", "b.npy").returncode == 0
        assert folder.read("a.npy") == folder.read("b.npy")


@pytest.mark.parametrize("keys", ["rank=2,alpha=8", "rank=2,alpha=8,keep"])
def test_a_checkpoint_with_adapters(folder, keys):
    """Export, eval and predict take the adapters of the run, too; the model of the file alone has none."""
    done = folder.train("--steps", "6", "--ema", "0.5", "--lr", "0.1", "--checkpoint_every", "6", "--lora", keys, "--freeze_bn", "all")
    assert done.returncode == 0, done.stderr
    folder.trains("--steps", "6", "--lr", "0.1", "--lora", keys, "--freeze_bn", "all", "--checkpoint", "other.ckpt.onnx")
    assert folder.run("export", "out.ckpt.onnx", "-o", "raw.onnx").returncode == 0
    assert folder.run("export", "out.ckpt.onnx", "--ema", "-o", "ema.onnx").returncode == 0
    raw, averaged, trained = (tensors(onnx.load(folder / f).graph.initializer) for f in ("raw.onnx", "ema.onnx", "out.onnx"))
    assert raw.keys() == averaged.keys() == trained.keys()
    assert all(np.array_equal(raw[name], trained[name]) for name in raw)
    changed = [name for name in raw if not np.array_equal(raw[name], averaged[name])]
    assert changed == (["w1.lora_A", "w1.lora_B", "w2.lora_A", "w2.lora_B"] if "keep" in keys else ["w1", "w2"])


def test_begins_in_the_middle(folder):
    """A run without averages that goes on with them: they begin with the weights of the checkpoint."""
    assert folder.train("--steps", "3", "--checkpoint_every", "3").returncode == 0
    before, none = states(folder / "out.ckpt.onnx")
    assert none == {}
    done = folder.run("train", "--resume", "out.ckpt.onnx", "--steps", "4", "--ema", "0.9")
    assert done.returncode == 0 and "begin anew" in done.stderr, done.stderr
    after, averages = states(folder / "out.ckpt.onnx")
    assert np.allclose(averages["w1"], .9 * before["w1"] + .1 * after["w1"], rtol=2e-6, atol=2e-7)


def test_in_the_plan(folder):
    def optimizer(*more):
        done = folder.run("plan", "m.onnx", "--loss", "cross_entropy", "--json", *more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["bytes"]
    plain, averaged = optimizer(), optimizer("--ema", "0.9")
    assert 2 * averaged["optimizer"] == 3 * plain["optimizer"]  # AdamW's two moments, and one more of their size


@pytest.mark.parametrize("command", ["remote", "sim"])
def test_other_devices(folder, command):
    """A device whose memory the host cannot touch gives the CPU's bits; the simulated card nearly."""
    program, more = {"remote": (test_remote_command.REMOTE, []), "sim": (SIM, ["--device", "cuda", "--no_allow_tf32"])}[command]
    if not os.path.exists(program):
        pytest.skip(f"{program} is not built")
    options = ["m.onnx", "--data", "x.npy", "--target", "t.npy", "--loss", "cross_entropy", "--steps", "5", "--batch_size", "4",
               "--optimizer", "sgd", "--momentum", "0.9", "--lr", "0.1", "--ema", "0.8", "--ema_warmup", "--val_data", "x.npy",
               "--val_target", "t.npy", "--log", "log.jsonl"]
    runs = []
    for run in ([ONGRAD, "train", *options], [program, "train", *options, *more]):
        done = subprocess.run([*run, "-o", "out.onnx"], cwd=folder.path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 and done.stdout == "", done.stderr
        losses = [line["val_loss"] for line in map(json.loads, folder.read("log.jsonl").splitlines()) if "val_loss" in line]
        runs.append((losses, tensors(onnx.load(folder / "out.onnx").graph.initializer)))
    (losses, weights), (other_losses, other) = runs
    if command == "remote":
        assert losses == other_losses and all(np.array_equal(weights[name], other[name]) for name in weights)
    else:  # sums in another order
        assert np.allclose(losses, other_losses, rtol=1e-4)
        assert all(np.allclose(weights[name], other[name], rtol=1e-4, atol=1e-5) for name in weights)


@pytest.mark.parametrize("options, texts", [
    (["--ema", "1"], ['option ema is "1"', "between 0 and 1"]),
    (["--ema", "0"], ['option ema is "0"']),
    (["--ema", "-0.5"], ['option ema is "-0.5"']),
    (["--ema", "much"], ["a number"]),
    (["--ema_warmup"], ["unless ema is given"]),
])
def test_mistakes_are_named(folder, options, texts):
    folder.refuses(texts, *options, status=2)


def test_no_averages_to_export(folder):
    assert folder.train("--steps", "2", "--checkpoint_every", "2").returncode == 0
    for source, text in (("out.ckpt.onnx", "has no averages"), ("out.onnx", "--ema is of checkpoints, and out.onnx is none")):
        done = folder.run("export", source, "--ema", "-o", "e.onnx")
        assert done.returncode == 2 and text in done.stderr, done.stderr
        assert not os.path.exists(folder / "e.onnx")
