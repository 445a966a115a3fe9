"""--config: each mistake is told with its line, and the nearest name that would be right.

    ONGRAD=build/release/ongrad python3 -m pytest tests/tools/test_config.py
"""
import os
import re
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "train"))
from commands import Folder  # noqa: E402

GOOD = {"data": "x.npy", "target": "t.npy", "loss": "cross_entropy", "steps": "2", "val_data": "x.npy", "val_target": "t.npy",
        "output": "out.onnx"}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def train(folder, text, without=(), *more):
    """The mistakes of `text` behind seven lines that are right, but for those of `without`."""
    lines = "".join(f"{k}: {v}\n" if k not in without else "\n" for k, v in GOOD.items())
    folder.write("run.yaml", lines + text)
    return folder.run("train", "m.onnx", "--config", "run.yaml", *more)


@pytest.mark.parametrize("text, line, message", [
    ("lr: 0.1\nbatch_sise: 4\n", 9, "batch_sise: unknown option; did you mean --batch_size?"),
    ("no_shufle: on\n", 8, "did you mean --shuffle?"),
    ("lr: fast\n", 8, 'lr is "fast", expected a number'),
    ("epochs: [1, 2]\n", 8, "a list, where the option takes one value"),
    ("lr: 1\n\nlearning-rate: 2\n", 10, "this option is given a second time"),
    ("lr:\n  a:\n    b: 1\n", 10, "nested too deeply"),
    ("lr: 'open\n", 9, "found unexpected end of stream"),
    ("batch_size: -1\n", 8, "expected at least 1")])
def test_what_the_file_itself_shows(folder, text, line, message):
    done = train(folder, text)
    assert done.returncode == 2 and message in done.stderr and f"run.yaml:{line}: " in done.stderr, done.stderr


@pytest.mark.parametrize("text, line, message, without", [
    ("optimizer: adamm\n", 8, "did you mean adam?", ()), ("optimizer: rmsprob\n", 8, "did you mean rmsprop?", ()),
    ("scheduler: cosine_with_restart\n", 8, "did you mean cosine_with_restarts?", ()),
    ("amp: bf-16\n", 8, "did you mean bf16?", ()), ("recompute: ouf\n", 8, "did you mean off?", ()),
    ("loss:\n - crossentropy\n", 9, "did you mean cross_entropy?", ["loss"]),
    ("metric: [f1,\n  accurracy]\n", 9, "did you mean accuracy?", ()), ("monitor: val_lss\n", 8, "did you mean loss?", ()),
    ("color: rbg\n", 8, "did you mean rgb?", ()), ("profile_by: ops\n", 8, "did you mean op?", ()),
    ("betas: 0.9\n", 8, "such as 0.9,0.999\n", ()), ("eval_every: 5k\n", 8, "expected optimizer steps", ()),
    ("data:\n  x: x.npy\n  xx: x.npy\n", 10, '"xx" is no input of the model; the inputs are: x', ["data"]),
    ("device: cpuu\n", 8, "no device cpuu", ()), ("dim:\n  batch: 4\n", 9, "use --batch_size 4", ())])
def test_what_only_the_run_shows(folder, text, line, message, without):
    """The error, and below it the one line of the file that it speaks of."""
    done = train(folder, text, without)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert re.findall(r"run\.yaml:(\d+): \w+ is set here", done.stderr) == [str(line)], done.stderr


def test_words_that_are_far_from_all_names_have_no_nearest(folder):
    for text in ["optimizer: gradient_descent\n", "amp: please\n", "metric: happiness\n"]:
        done = train(folder, text)
        assert done.returncode == 2 and "did you mean" not in done.stderr, done.stderr


def test_the_command_line_is_told_too_without_a_line(folder):
    done = train(folder, "optimizer: adam\n", (), "--optimizer", "adamv")
    assert done.returncode == 2 and "did you mean adam" in done.stderr and "is set here" not in done.stderr


def test_it_trains_when_it_is_right(folder):
    assert train(folder, "optimizer: sgd\nlr: 0.1\n").returncode == 0
