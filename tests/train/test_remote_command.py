"""ongrad train where the device works behind the host: each step has its line, in order, with what the CPU writes.

Needs ongrad_remote, the command on the test device, which is built beside the tests (ONGRAD_REMOTE names another one).
"""
import json
import os
import pathlib
import signal
import subprocess
import time

import numpy as np
import pytest

import commands
import large_models
from trained_model import trained_bytes

REMOTE = os.path.abspath(os.environ.get("ONGRAD_REMOTE") or
                         os.path.join(os.path.dirname(commands.ONGRAD), "tests", "ongrad_remote"))
WHEN = {"step_ms", "samples_per_s", "memory_bytes", "run"}
VALIDATION = ["--val_data", "x.npy", "--val_target", "t.npy"]


@pytest.fixture
def folder(tmp_path):
    if not os.path.exists(REMOTE):
        pytest.skip(f"{REMOTE} is not built")
    return commands.Folder(tmp_path)


def train(folder, command, *more):
    """The log's lines, the trained model, and what the run said."""
    done = subprocess.run([command, "train", "m.onnx", "--data", "x.npy", "--target", "t.npy", "--loss", "cross_entropy",
                           "-o", "out.onnx", "--log", "log.jsonl", *more], cwd=folder.path, capture_output=True, text=True,
                          timeout=120)
    assert done.stdout == "", done.stdout  # the test device tells what was done wrong
    lines = [json.loads(line) for line in folder.read("log.jsonl").splitlines()]
    return lines, folder.read("out.onnx"), done


def same_run(folder, *more):
    lines, trained, done = train(folder, commands.ONGRAD, *more)
    remote_lines, remote_trained, remote_done = train(folder, REMOTE, *more)
    assert remote_done.returncode == done.returncode == 0, remote_done.stderr
    assert "Detected remote memory" in remote_done.stderr
    *steps, final = lines
    *remote_steps, remote_final = remote_lines
    assert [step["step"] for step in remote_steps] == list(range(1, len(steps) + 1))
    for step, remote in zip(steps, remote_steps, strict=True):
        assert remote.keys() == step.keys()
        assert {k: remote[k] for k in remote if k not in WHEN} == {k: step[k] for k in step if k not in WHEN}
        assert remote["step_ms"] > 0
    for key in ("steps", "epochs", "samples", "loss"):
        assert remote_final[key] == final[key]
    assert sum(step["step_ms"] for step in remote_steps) <= 1e3 * remote_final["seconds"]
    assert remote_trained == trained
    return remote_lines


def test_each_step_has_its_line(folder):
    same_run(folder, "--batch_size", "4", "--epochs", "3", "--scheduler", "linear")


def test_short_groups_and_validation(folder):
    lines = same_run(folder, "--batch_size", "2", "--gradient_accumulation_steps", "4", "--epochs", "4", *VALIDATION)
    assert ["val_loss" in line for line in lines[:-1]] == [False, True] * 4


def test_a_run_that_ends_within_an_epoch(folder):
    lines = same_run(folder, "--batch_size", "2", "--steps", "8", *VALIDATION)
    assert ["val_loss" in line for line in lines[:-1]] == [False] * 5 + [True, False, True]


def test_skipped_steps(folder):
    lines = same_run(folder, "--batch_size", "4", "--epochs", "4", "--amp", "fp16", "--loss_scale_start", "1e12",
                     "--loss_scale_backoff", "0.001")
    assert lines[0]["skipped"] and not lines[-2]["skipped"]
    assert lines[1]["loss_scale"] == lines[0]["loss_scale"] * 0.001


def test_profile(folder):
    same_run(folder, "--batch_size", "4", "--epochs", "2", "--profile")


def test_a_loss_that_is_not_finite(folder):
    x = commands.floats(commands.SAMPLES, 4)
    x[3] = np.nan
    folder.save("x.npy", x)
    more = ("--batch_size", "1", "--no_shuffle", "--no_check_finite")
    _, _, done = train(folder, commands.ONGRAD, *more)
    lines, trained, remote = train(folder, REMOTE, *more)
    said = [line for line in done.stderr.splitlines() if "error:" in line]
    assert said and said == [line for line in remote.stderr.splitlines() if "error:" in line]
    assert "step 4: the loss is" in said[0]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert trained == commands.OLD


def test_stopped_within_a_group(folder):
    process = subprocess.Popen([REMOTE, "train", "m.onnx", "--data", "x.npy", "--target", "t.npy", "--loss", "cross_entropy",
                                "-o", "out.onnx", "--log", "log.jsonl", "--batch_size", "2",
                                "--gradient_accumulation_steps", "2", "--epochs", "1000000"],
                               cwd=folder.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        time.sleep(0.1)
        if os.path.exists(folder / "log.jsonl") and folder.read("log.jsonl").count(b"\n") > 10:
            break
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)
    assert process.returncode == 75 and said[0] == "", said
    *steps, final = [json.loads(line) for line in folder.read("log.jsonl").splitlines()]
    assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
    assert final["steps"] == len(steps) > 10
    assert f"after step {len(steps)} of" in said[1]


def test_a_split_batch_is_that_of_the_cpu(folder):
    """Parts of the caller's batch go through slots that hold one of them."""
    arguments = large_models.transformer(pathlib.Path(folder.path), layers=2, width=32, tokens=32, batch=12)
    runs = []
    for command in (commands.ONGRAD, REMOTE):
        whole = json.loads(subprocess.run([command, "plan", *arguments, "--recompute", "max", "--split_batch", "off", "--json"],
                                          cwd=folder.path, capture_output=True, text=True, check=True).stdout)
        budget = ["--memory_budget", str(whole["peak_bytes"] - whole["bytes"]["activations"] // 3)]
        done = subprocess.run([command, "train", *arguments, "--steps", "3", "-o", "out.onnx", *budget], cwd=folder.path,
                              capture_output=True, text=True, check=True)
        assert "split into 2 micro-batches" in done.stderr
        subprocess.run([command, "predict", "out.onnx", "--data", "x.npy", "--batch_size", "12", "-o", "y.npy", *budget],
                       cwd=folder.path, capture_output=True, check=True)
        runs.append((trained_bytes(folder / "out.onnx"), np.load(folder / "y.npy").tobytes()))
    assert runs[0] == runs[1]


def test_going_on_from_a_checkpoint(folder):
    """Saved from the device's memory and restored to it: the CPU's weights to the bit."""
    options = ["--batch_size", "4", "--gradient_accumulation_steps", "2", "--amp", "fp16", "--loss_scale_interval", "2"]
    _, whole, _ = train(folder, commands.ONGRAD, "--steps", "12", *options)
    train(folder, REMOTE, "--steps", "7", "--checkpoint_every", "3", *options)
    done = subprocess.run([REMOTE, "train", "--resume", "out.ckpt.onnx", "--steps", "12"], cwd=folder.path, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "", done.stdout + done.stderr
    assert folder.read("out.onnx") == whole
