"""ongrad check --reference, and tools/export_torch.py, which writes what it reads.

ONGRAD names the command. tests/fixtures/reference is what PyTorch did; exporting is tested where PyTorch is installed."""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

ONGRAD = str(pathlib.Path(os.environ.get("ONGRAD", "build/release/ongrad")).resolve())
ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "reference"


def check(model, reference, *more, status=0):
    done = subprocess.run([ONGRAD, "check", str(model), "--reference", str(reference), *more], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == status, done.stderr + done.stdout
    return done


def replay(model, *more, reference=FIXTURE / "reference.npz", status=0):
    return json.loads(check(model, reference, "--json", *more, status=status).stdout)["reference"]


@pytest.fixture
def model():
    return onnx.load(FIXTURE / "model.onnx")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.onnx"


def node(model, op):
    return next(n for n in model.graph.node if n.op_type == op)


def test_ten_steps_are_pytorchs():
    assert replay(FIXTURE / "model.onnx") == {"steps": 10, "same_steps": 10, "tensors": 12, "absent": 0, "difference": ""}
    assert "10 steps with the same losses, gradient norms and 12 tensors" in check(FIXTURE / "model.onnx", FIXTURE / "reference.npz").stdout


def test_another_weight_is_named(model, path):
    for t in model.graph.initializer:
        if t.name == "first.weight":
            w = numpy_helper.to_array(t).copy()
            w[1, 2] += .1
            t.CopyFrom(numpy_helper.from_array(w, t.name))
    onnx.save(model, path)
    found = replay(path, status=1)
    assert found["same_steps"] == 0 and found["difference"].startswith("tensor first.weight differs first: norm "), found
    assert "before the first step tensor first.weight" in check(path, FIXTURE / "reference.npz", status=1).stdout


def test_other_statistics_are_named(model, path):
    """Momentum changes what BatchNormalization remembers, and nothing that trains."""
    found = [a for a in node(model, "BatchNormalization").attribute if a.name == "momentum"]
    (found[0] if found else node(model, "BatchNormalization").attribute.add(name="momentum", type=1)).f = .5
    onnx.save(model, path)
    found = replay(path, status=1)
    assert found["same_steps"] == 0 and found["difference"].startswith("tensor bn.running_mean differs first: "), found
    assert found["difference"].endswith(", and 1 more of 12")


def test_other_arithmetic_is_seen_in_the_loss(model, path):
    next(a for a in node(model, "LayerNormalization").attribute if a.name == "epsilon").f = .1
    onnx.save(model, path)
    found = replay(path, status=1)
    assert found["same_steps"] == 0 and found["difference"].startswith("loss "), found
    assert "gradient norm" in found["difference"] and "differs first" in found["difference"]


def test_the_command_line_wins():
    found = replay(FIXTURE / "model.onnx", "--lr", "0.2", status=1)
    assert found["same_steps"] == 0 and found["difference"].startswith("tensor conv.weight differs first: "), found


def test_tensors_that_the_file_does_not_have(path):
    with np.load(FIXTURE / "reference.npz") as f:
        members = {n: f[n] for n in f.files if n != "parameter.last.bias"}
    np.savez(path.with_suffix(".npz"), **members)
    found = replay(FIXTURE / "model.onnx", reference=path.with_suffix(".npz"))
    assert found["tensors"] == 11 and found["absent"] == 1 and found["same_steps"] == 10


@pytest.mark.parametrize("member,array,text", [
    ("options", None, 'no array "options"'), ("loss", None, 'no array "loss"'),
    ("loss", np.zeros((10, 2)), 'member "loss" has not the type or shape'), ("grad_norm", np.zeros(9), 'member "grad_norm" has not'),
    ("loss32", np.zeros(10, np.float32), 'member "loss32" has not'),
    ("parameter.bn.bias", np.zeros((10, 4)), 'member "parameter.bn.bias" has not'),
    ("options", np.frombuffer(b"nonsense", np.uint8), '"nonsense" in its options is not name=value'),
    ("options", np.frombuffer(b"los=mse", np.uint8), "los"), ("options", np.frombuffer(b"lr=fast", np.uint8), "fast"),
    ("options", np.zeros((2, 2), np.uint8), 'member "options" has not'), ("input.image", None, 'no array "input.image"'),
])
def test_files_that_are_no_reference(member, array, text, tmp_path):
    with np.load(FIXTURE / "reference.npz") as f:
        members = {n: f[n] for n in f.files if n != member}
    if array is not None:
        members[member] = array
    np.savez(tmp_path / "r.npz", **members)
    done = subprocess.run([ONGRAD, "check", str(FIXTURE / "model.onnx"), "--reference", str(tmp_path / "r.npz")],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode in (1, 2) and text in done.stderr, done.stderr


def test_no_file(tmp_path):
    (tmp_path / "r.npz").write_bytes(b"PK\x03\x04 and then nothing")
    for name in "r.npz", "none.npz":
        done = subprocess.run([ONGRAD, "check", str(FIXTURE / "model.onnx"), "--reference", str(tmp_path / name)],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode in (1, 2) and "option reference: " in done.stderr, done.stderr


# ---- tools/export_torch.py

MODULE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(11, 6)
        self.body = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.GELU(), torch.nn.Dropout(0.5), torch.nn.Linear(12, 6))
        self.norm, self.last = torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 3)

    def forward(self, tokens, x):
        return self.last(self.norm(self.body(self.embed(tokens).mean(1) + x)))
"""
INPUTS = ["--input", "tokens=int64[5,4]<11", "--input", "x=float32[5,6]"]


def export(folder, *more, status=0):
    pytest.importorskip("torch", reason="PyTorch is not installed: what it exports cannot be tested")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: PyTorch cannot export")
    (folder / "net.py").write_text(MODULE)
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "export_torch.py"), "net:Net", *INPUTS, *more], cwd=folder,
                          capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == status, done.stderr
    return done


@pytest.mark.parametrize("more", [[], ["--legacy"], ["--optimizer", "adamw", "--lr", "0.003"]])
def test_an_export_and_its_reference(more, tmp_path):
    done = export(tmp_path, "--no_dropout", "--reference", "r.npz", *more)
    assert "ongrad check model.onnx --reference r.npz" in done.stdout
    found = replay(tmp_path / "model.onnx", reference=tmp_path / "r.npz")
    assert found["same_steps"] == 10 and found["absent"] == 0 and found["tensors"] == 11, found


def test_an_export_keeps_what_trains(tmp_path):
    export(tmp_path)
    made = onnx.load(tmp_path / "model.onnx")
    assert {"Dropout", "BatchNormalization"} <= {n.op_type for n in made.graph.node}
    assert [i.type.tensor_type.shape.dim[0].dim_param for i in made.graph.input] == ["batch"] * 2
    done = subprocess.run([ONGRAD, "check", "model.onnx", "--json"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "lost" not in json.loads(done.stdout)["export"]


def test_random_modules_have_no_reference(tmp_path):
    assert "set p = 0 of its Dropout (--no_dropout)" in export(tmp_path, "--reference", "r.npz", status=1).stderr
