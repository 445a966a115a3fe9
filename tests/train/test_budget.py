"""The memory budget: batches split to fit, accumulation, memory that the system refuses, devices that are not here.

ONGRAD names the command."""
import json
import os
import resource
import subprocess

import large_models
import numpy as np
import onnx
import pytest
from commands import SAMPLES, Folder
from onnx import numpy_helper

ONGRAD = os.path.abspath(os.environ.get("ONGRAD", "build/release/ongrad"))
SMALL = {"transformer": {"layers": 2, "width": 32, "tokens": 32, "batch": 12}, "cnn": {"layers": 2, "side": 32},
         "lstm": {"layers": 1, "steps": 16, "batch": 12}}
PLAIN = ["--optimizer", "sgd", "--lr", "1", "--weight_decay", "0", "--no_shuffle"]


def run(folder, *arguments, status=0, **more):
    done = subprocess.run([ONGRAD, *arguments], cwd=folder, capture_output=True, text=True, timeout=500, **more)
    assert done.returncode == status, done.stderr
    return done


def plan(folder, *arguments):
    return json.loads(run(folder, "plan", *arguments, "--json").stdout)


def train(folder, *arguments, output="o.onnx"):
    """The trained weights, and the log's lines."""
    run(folder, "train", *arguments, "-q", "--log", "log.jsonl", "-o", output)
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(os.path.join(folder, output)).graph.initializer}
    return weights, [json.loads(line) for line in open(os.path.join(folder, "log.jsonl"))]


def same_update(a, b, start):
    """Changes agree to 1e-5 of the largest of all: sums in another order; and the weight they are added to is rounded."""
    largest = max(np.abs(a[n] - start[n]).max() for n in a if a[n].dtype == np.float32)
    assert largest > 0
    for n in a:
        if a[n].dtype == np.float32:
            assert np.abs(a[n] - b[n]).max() <= 1e-5 * largest + 2**-23 * np.abs(a[n]).max(), n


def weights_of(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_split_to_fit(name, tmp_path):
    arguments = getattr(large_models, name)(tmp_path, **SMALL[name])
    whole = plan(tmp_path, *arguments, *PLAIN[:2], "--recompute", "max", "--split_batch", "off")
    assert whole["micro_batches"] == 1
    states = whole["peak_bytes"] - whole["bytes"]["activations"]
    budget = str(states + whole["bytes"]["activations"] * 2 // 3)
    small = plan(tmp_path, *arguments, *PLAIN[:2], "--memory_budget", budget)
    assert small["micro_batches"] > 1 and small["peak_bytes"] <= int(budget)
    assert small["effective_batch"] == whole["effective_batch"]
    asked = small["batches"][0]
    assert asked["fits"] and asked["peak_bytes"] == small["peak_bytes"] and asked["note"] == "as asked for"
    text = run(tmp_path, "plan", *arguments, *PLAIN[:2], "--memory_budget", budget).stdout
    assert "as asked for: split" in text and "Fits when split: keep" in text and "above the budget\n" not in text
    start = weights_of(tmp_path / "m.onnx")
    kept, log = train(tmp_path, *arguments, "--steps", "1", *PLAIN)
    split, split_log = train(tmp_path, *arguments, "--steps", "1", *PLAIN, "--memory_budget", budget)
    same_update(kept, split, start)
    assert split_log[0]["loss"] == pytest.approx(log[0]["loss"], rel=1e-5)
    assert split_log[-1]["peak_bytes"] == small["peak_bytes"]
    # evaluation and prediction in parts, too
    for budgets in ([], ["--memory_budget", budget]):
        run(tmp_path, "predict", "m.onnx", "--data", "x.npy", "--batch_size", "12", "-o", f"y{len(budgets)}.npy", *budgets)
    np.testing.assert_allclose(np.load(tmp_path / "y0.npy"), np.load(tmp_path / "y2.npy"), rtol=1e-4, atol=1e-5)


def test_batch_statistics_are_not_split(tmp_path):
    arguments = large_models.cnn(tmp_path, **SMALL["cnn"])
    least = plan(tmp_path, *arguments, "--recompute", "max", "--split_batch", "off")["peak_bytes"]
    refused = run(tmp_path, "train", *arguments, "--memory_budget", str(least * 3 // 4), status=1).stderr
    assert "BatchNormalization would normalize by fewer samples" in refused and "is the least that works" in refused
    assert "--batch_size 6 --gradient_accumulation_steps 2" in refused and "predicted peak" in refused
    # a batch that nobody asked for is split
    report = run(tmp_path, "train", *arguments[:-2], "--memory_budget", str(least * 3 // 4)).stderr
    assert "split into" in report


@pytest.mark.parametrize("op, attributes", [("ReduceMean", {"axes": [0]}), ("Softmax", {"axis": 0}), (None, {})])
def test_samples_that_see_each_other_are_not_split(op, attributes, tmp_path):
    w, x = large_models.Writer(4), "x"
    for i in range(4):
        x = w.node("Relu", [w.linear(x, f"l{i}", 64, 64)])
    x = w.node("Sub", [x, w.node(op, [x], **attributes)]) if op else x
    arguments = w.save(tmp_path, x, [64], [64], 512, w.rng.normal(0, 1, (512, 64)).astype("f4"), "mse")
    least = plan(tmp_path, *arguments, "--recompute", "max", "--split_batch", "off")
    budget = ["--memory_budget", str(least["peak_bytes"] - least["bytes"]["activations"] // 2), "--steps", "1"]
    done = run(tmp_path, "train", *arguments, *budget, status=1 if op else 0)
    assert ("mixes samples" if op else "split into") in done.stderr
    if op:
        assert f"the batch was not split: {op if op == 'Softmax' else 'Sub'} (opset 17)" in done.stderr
        assert "split into" in run(tmp_path, "train", *arguments, *budget, "--split_batch", "on").stderr


@pytest.mark.parametrize("batch, accumulation", [(6, 2), (2, 5)])
def test_accumulation_is_the_larger_batch(batch, accumulation, tmp_path):
    """Labels that do not count are spread unevenly, and the last group of an epoch is short."""
    folder = Folder(tmp_path)
    labels = np.load(folder / "t.npy")
    labels[[0, 1, 2, 5, 10]] = -100
    folder.save("t.npy", labels)
    arguments = ["m.onnx", "--data", "x.npy", "--target", "t.npy", "--loss", "cross_entropy", *PLAIN, "--epochs", "2"]
    assert SAMPLES == 12
    one, log = train(folder.path, *arguments, "--batch_size", str(batch * accumulation), output="one.onnx")
    many, many_log = train(folder.path, *arguments, "--batch_size", str(batch), "--gradient_accumulation_steps",
                           str(accumulation), output="many.onnx")
    same_update(one, many, weights_of(folder / "m.onnx"))
    assert [s["loss"] for s in many_log[:-1]] == pytest.approx([s["loss"] for s in log[:-1]], rel=1e-5)


def test_accumulation_takes_one_buffer_and_no_more_calls(tmp_path):
    folder = Folder(tmp_path)
    arguments = ["m.onnx", "--data", "x.npy", "--target", "t.npy", "--loss", "cross_entropy", "--batch_size", "3"]
    one, many = plan(folder.path, *arguments), plan(folder.path, *arguments, "--gradient_accumulation_steps", "4")
    assert many["bytes"]["gradients"] == one["bytes"]["gradients"]
    train(folder.path, *arguments, "--gradient_accumulation_steps", "4", "--steps", "8", "--profile", "p.json")
    events = [e for e in json.load(open(folder / "p.json"))["traceEvents"] if e["ph"] == "X"]
    steps, calls = [e for e in events if e["cat"] == "step"], [e for e in events if "args" in e]
    assert len(calls) == len(steps) * (4 * many["micro_steps"] + many["update_steps"])


@pytest.mark.skipif("asan" in os.environ.get("ONGRAD", "") or "sanitize" in ONGRAD, reason="sanitizers take address space")
def test_memory_that_the_system_refuses(tmp_path):
    arguments = large_models.transformer(tmp_path)
    full = plan(tmp_path, *arguments)["peak_bytes"]
    libraries = next(n for n in range(32 << 20, 4 << 30, 32 << 20)
                     if subprocess.run([ONGRAD, "--version"], capture_output=True, preexec_fn=lambda n=n: resource.setrlimit(
                         resource.RLIMIT_AS, (n, n))).returncode == 0)
    for address_space in range(full + libraries + (64 << 20), full // 4 + libraries, -full // 16):
        done = subprocess.run([ONGRAD, "train", *arguments, "--steps", "1", "--log", "l", "--threads", "1", "--num_workers", "0"],
                              cwd=tmp_path, capture_output=True, text=True, timeout=500,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space)))
        if done.returncode == 0 and "the system refused" in done.stderr:
            final = json.loads(open(tmp_path / "l").read().splitlines()[-1])
            assert final["peak_bytes"] < full
            return
    pytest.fail("no limit made it plan again: " + done.stderr)


@pytest.mark.parametrize("memory, batch", [("24GB", 128), ("20GB", 128), ("19.9GB", 64), ("10GB", 64), ("8GiB", 32)])
def test_devices_that_are_not_here(memory, batch, tmp_path):
    folder = Folder(tmp_path)
    p = plan(folder.path, "m.onnx", "--loss", "cross_entropy", "--device_memory", memory)
    assert p["batch_size"] == batch
    assert p["budget_bytes"] == int(.9 * p["total_bytes"]) and p["available_bytes"] == p["total_bytes"]
    wrong = run(folder.path, "plan", "m.onnx", "--loss", "cross_entropy", "--device_memory", "12 parsecs", status=2).stderr
    assert "expected a size such as 24GB" in wrong


@pytest.mark.skipif("sanitize" in ONGRAD, reason="sanitizers keep what is freed")
@pytest.mark.parametrize("name", ["transformer", "cnn", "lstm"])
def test_resident_is_as_predicted(name, tmp_path):
    """Memory of no file is the prediction, the batches of data, and what the process held before these (program,
    libraries, kernels' code): at the activations' full size, at 60 % and at 40 % of it."""
    arguments = getattr(large_models, name)(tmp_path)
    off = plan(tmp_path, *arguments, "--recompute", "off")
    for share in (1, .6, .4):
        budget = int(off["peak_bytes"] - (1 - share) * off["bytes"]["activations"])
        _, log = train(tmp_path, *arguments, "--memory_budget", str(budget), "--steps", "2", "--split_batch", "on")
        end = log[-1]
        assert end["peak_bytes"] == end["predicted_peak_bytes"] <= budget
        predicted = end["peak_bytes"] + end["data_bytes"] + end["program_bytes"]
        assert end["anonymous_start_bytes"] < end["program_bytes"] < 32 << 20
        assert .95 * predicted < end["anonymous_bytes"] < predicted + max(.05 * predicted, 8 << 20), share
