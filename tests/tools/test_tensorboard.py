"""--tensorboard: event files read back by the package tensorboard, beside the log of the same run.

    ONGRAD=build/release/ongrad python3 -m pytest tests/tools/test_tensorboard.py
"""
import json
import os
import sys

import numpy as np
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "train"))
from commands import Folder  # noqa: E402

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator",
                                        reason="the package tensorboard is not installed")
LOGGED = {"train/loss": "loss", "train/lr": "lr", "train/grad_norm": "grad_norm", "train/loss_scale": "loss_scale",
          "train/samples_per_s": "samples_per_s", "train/memory_bytes": "memory_bytes", "val/loss": "val_loss",
          "val/accuracy": "val_accuracy", "val/f1": "val_f1"}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def scalars(folder, path="tb"):
    """By tag: [(step, value), …]."""
    events = event_accumulator.EventAccumulator(folder / path, size_guidance={"tensors": 0, "scalars": 0})
    events.Reload()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    for tag in events.Tags()["tensors"]:  # newer versions convert them
        found[tag] = [(e.step, float(e.tensor_proto.float_val[0])) for e in events.Tensors(tag)]
    return found


def logged(folder, log="run.jsonl"):
    steps = [s for s in map(json.loads, folder.read(log).splitlines()) if "step" in s]
    return {tag: [(s["step"], s[key]) for s in steps if key in s] for tag, key in LOGGED.items()}


def same(found, expect):
    assert set(found) == set(expect)
    for tag in expect:
        assert [step for step, _ in found[tag]] == [step for step, _ in expect[tag]], tag
        np.testing.assert_allclose([v for _, v in found[tag]], np.float32([v for _, v in expect[tag]]), rtol=0, err_msg=tag)


def test_scalars_are_those_of_the_log(folder):
    folder.trains("--epochs", "5", "--batch_size", "4", "--use_scheduler", "--val_data", "x.npy", "--val_target", "t.npy",
                  "--metric", "f1", "--metric", "confusion_matrix", "--log", "run.jsonl", "--tensorboard", "new/folder/tb")
    same(scalars(folder, "new/folder/tb"), logged(folder))


def test_several_losses(folder):
    folder.trains("--steps", "3", "--loss", "y=mse,name=numbers,target=y", "--target", "y=y.npy", "--tensorboard", "tb",
                  target="t=t.npy", loss="y=cross_entropy,name=classes,target=t")
    found = scalars(folder)
    assert {"train/loss.numbers", "train/loss.classes"} <= set(found)
    for (_, a), (_, b), (_, total) in zip(found["train/loss.numbers"], found["train/loss.classes"], found["train/loss"]):
        assert abs(a + b - total) < 1e-6 * abs(total)  # sums in float32


def test_a_resumed_run_goes_on_in_a_new_file(folder):
    """The first run got further than its checkpoint: its later steps are void."""
    folder.trains("--steps", "7", "--batch_size", "4", "--checkpoint_every", "5", "--keep", "5", "--tensorboard", "tb")
    done = folder.run("train", "--resume", "out.ckpt.1.onnx", "--checkpoint", "other.ckpt.onnx", "--steps", "9", "--log",
                      "run.jsonl")
    assert done.returncode == 0, done.stderr
    assert len(os.listdir(folder / "tb")) == 2
    assert [step for step, _ in scalars(folder)["train/loss"]] == list(range(1, 10))


def test_what_is_not_finite_is_kept(folder):
    folder.trains("--steps", "3", "--amp", "fp16", "--loss_scale_start", "1e30", "--tensorboard", "tb")
    assert len(scalars(folder)["train/loss"]) == 3


def test_where_nothing_can_be_written(folder):
    folder.write("file", "x")
    folder.refuses(["--tensorboard: cannot write to file", "Not a directory"], "--tensorboard", "file")
    folder.refuses("--tensorboard: cannot write to file/tb", "--tensorboard", "file/tb")
    before = folder.listing()
    assert folder.train("--dry_run", "--tensorboard", "tb").returncode == 0
    assert folder.listing() == before
