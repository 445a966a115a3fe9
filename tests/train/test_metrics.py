"""Metrics against scikit-learn's (tests/fixtures/make_metrics.py), what --require, --monitor, --patience and --eval_every
decide by them, and --dry_run. ONGRAD names the command."""
import json
import os

import numpy as np
import onnx
import pytest
from onnx import helper

from commands import Folder, linear, model, tensor, value
from trained_model import trained_bytes

EXPECT = json.load(open(os.path.join(os.path.dirname(__file__), "..", "fixtures", "metrics", "expect.json")))["cases"]


def eval_case(tmp_path, case, *options, batch="7"):
    """A model that gives its input back, in batches that do not divide the samples."""
    folder, e = Folder(tmp_path), EXPECT[case]
    scores = np.array(e["scores"], np.float32)
    n = scores.shape[1]
    folder.write("id.onnx", model([helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", ["batch", n])],
                                  [value("y", ["batch", n])], [tensor("w", np.eye(n, dtype=np.float32))]))
    folder.save("s.npy", scores)
    folder.save("l.npy", np.array(e["targets"], np.int64 if e["loss"] == "cross_entropy" else np.float32))
    return folder.run("eval", "id.onnx", "--data", "s.npy", "--target", "l.npy", "--loss", e["loss"], "--batch_size", batch, *options)


@pytest.mark.parametrize("case", EXPECT)
def test_as_scikit_learn(case, tmp_path):
    """The scores are float32 there and here; sums are in double."""
    names = EXPECT[case]["values"]
    done = eval_case(tmp_path, case, "--json", *[x for name in names for x in ("--metric", name)])
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    for name, expected in names.items():
        assert got[name] == (expected if name == "confusion_matrix" else pytest.approx(expected, rel=2e-6)), name


def test_text(tmp_path):
    out = eval_case(tmp_path, "binary", "--metric", "f1", "--metric", "confusion_matrix").stdout
    e = EXPECT["binary"]["values"]
    assert f"f1        {e['f1']:.6g}" in out
    for row in e["confusion_matrix"]:
        assert "".join(f"{n:7d}" for n in row) in out


@pytest.mark.parametrize("text, status", [
    ("accuracy>=0.5", 0), ("accuracy >= 0.99", 1), ("loss<5", 0), ("loss<=0.1", 1), ("f1>0.1", 0), ("f1.y.cross_entropy>0.1", 0),
    ("perplexity<1", 1), ("accuracy", 2), ("accuracy>=", 2), ("accuracy>=high", 2), ("acuracy>=0.5", 2), ("mae<5", 2),
    (">=5", 2), ("accuracy=>0.5", 2)])
def test_require(text, status, tmp_path):
    done = eval_case(tmp_path, "classes", "--require", text)
    assert done.returncode == status, done.stderr
    if status == 1:
        assert f"--require {text}: it is" in done.stderr and "accuracy" in done.stdout


def test_unknown_metric(tmp_path):
    done = eval_case(tmp_path, "classes", "--metric", "acuracy")
    assert done.returncode == 2 and "there are loss, accuracy, top5_accuracy" in done.stderr


# ---- training

VAL = ["--val_data", "x.npy", "--val_target", "v.npy"]


@pytest.fixture
def folder(tmp_path):
    """Validation by labels that training does not lead to: its loss falls, then rises."""
    folder = Folder(tmp_path)
    rng = np.random.default_rng(0)
    labels = np.load(folder / "t.npy")
    labels[:5] = rng.integers(0, 3, 5)
    folder.save("v.npy", labels)
    return folder


def logged(folder):
    lines = [json.loads(line) for line in folder.read("log.jsonl").splitlines()]
    return [line for line in lines if "val_loss" in line and "step" in line], lines[-1]


def test_the_best_is_kept(folder):
    folder.trains(*VAL, "--epochs", "200", "--lr", "0.05", "--log", "log.jsonl", "--monitor", "val_loss")
    steps, final = logged(folder)
    best = min(steps, key=lambda s: s["val_loss"])
    assert 1 < best["step"] < 200
    done = folder.run("eval", "out.onnx", "--data", "x.npy", "--target", "v.npy", "--loss", "cross_entropy", "--json")
    assert json.loads(done.stdout)["loss"] == pytest.approx(best["val_loss"], rel=1e-6)


def test_by_a_metric(folder):
    folder.trains(*VAL, "--epochs", "60", "--lr", "0.05", "--log", "log.jsonl", "--monitor", "f1")
    steps, final = logged(folder)
    assert all("val_f1" in s for s in steps)
    best = max(steps, key=lambda s: s["val_f1"])
    done = folder.run("eval", "out.onnx", "--data", "x.npy", "--target", "v.npy", "--loss", "cross_entropy", "--json",
                      "--metric", "f1")
    assert json.loads(done.stdout)["f1"] == pytest.approx(best["val_f1"], rel=1e-6)


def test_patience(folder):
    done = folder.train(*VAL, "--epochs", "500", "--lr", "0.05", "--log", "log.jsonl", "--patience", "3")
    assert done.returncode == 0 and "was no better than" in done.stderr and "is the best" in done.stderr, done.stderr
    steps, final = logged(folder)
    losses = [s["val_loss"] for s in steps]
    assert len(losses) == int(np.argmin(losses)) + 4 < 500


def test_patience_over_a_resumed_run(folder):
    options = [*VAL, "--lr", "0.05", "--patience", "3", "--log", "log.jsonl"]
    folder.trains(*options, "--epochs", "500")
    whole, steps = trained_bytes(folder / "out.onnx"), logged(folder)[0]
    folder.trains(*options, "--epochs", str(len(steps) - 2), "--checkpoint_every", "1ep")
    done = folder.run("train", "--resume", "out.ckpt.onnx", "--epochs", "500")
    assert done.returncode == 0, done.stderr
    assert trained_bytes(folder / "out.onnx") == whole
    assert [s["val_loss"] for s in logged(folder)[0]] == [s["val_loss"] for s in steps]


@pytest.mark.parametrize("every, at", [("4", [4, 8, 10]), ("2ep", [6, 10]), ("1ep", [3, 6, 9, 10])])
def test_eval_every(every, at, folder):
    folder.trains(*VAL, "--batch_size", "4", "--steps", "10", "--eval_every", every, "--log", "log.jsonl")
    assert [s["step"] for s in logged(folder)[0]] == at


@pytest.mark.parametrize("options, text", [
    (["--monitor", "loss"], "--monitor needs data to validate on"),
    (["--patience", "3"], "--patience needs data to validate on"),
    ([*VAL, "--patience", "0"], "expected at least 1"),
    ([*VAL, "--monitor", "mae"], "no loss of this run has such a metric"),
    ([*VAL, "--monitor", "val_los"], "there is no such metric"),
    ([*VAL, "--eval_every", "10m"], "expected optimizer steps (500) or epochs (2ep)"),
    ([*VAL, "--eval_every", "-1"], "expected optimizer steps (500) or epochs (2ep)"),
])
def test_wrong_usage(options, text, folder):
    folder.refuses(text, *options, status=2)


def test_dry_run(folder):
    before = folder.listing()
    done = folder.train(*VAL, "--epochs", "1000000", "--dry_run", "--log", "log.jsonl", "--checkpoint_every", "1")
    assert done.returncode == 0 and "an update, validation, saving and loading worked" in done.stderr, done.stderr
    assert folder.listing() == before
