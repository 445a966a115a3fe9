"""PyTorch's curves as the oracle: 20 steps of AdamW and of SGD on models that PyTorch exported (tests/fixtures).

ONGRAD names the command. expect.json holds PyTorch's own run in float32 and in float64; the float64 run is the reference
and the distance between the two the scale of what rounding alone does.
"""
import ast
import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

ONGRAD = os.environ["ONGRAD"]
FIXTURES = os.path.join(os.path.dirname(__file__), "..", "fixtures")
CASES = ["tabular", "conv_bn", "mini_resnet", "mini_unet", "group_norm", "fixed_batch", "encoder", "encoder_optimized",
         "char_gpt", "paired_clip", "seq_lstm", "attention"]
OPTIMIZERS = {"adamw": ["--optimizer", "adamw", "--lr", "1e-3"],
              "sgd": ["--optimizer", "sgd", "--lr", "0.05", "--momentum", "0.9"]}


def run(*arguments):
    done = subprocess.run([ONGRAD, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fresh_statistics(model, path):
    """conv_bn was exported in training mode, and that export ran the model once: the file's running statistics are one
    batch ahead of those that PyTorch's run in expect.json began with."""
    for t in model.graph.initializer:
        if t.name.endswith("running_mean"):
            t.CopyFrom(numpy_helper.from_array(np.zeros(t.dims, np.float32), t.name))
        if t.name.endswith("running_var"):
            t.CopyFrom(numpy_helper.from_array(np.ones(t.dims, np.float32), t.name))
    onnx.save(model, path)


def computed(path):
    """By tensor that the exporter's optimizer computed from a single parameter: that parameter's name."""
    found = {}
    for v in onnx.load(path, load_external_data=False).graph.value_info:
        for p in v.metadata_props:
            if p.key == "pkg.onnxscript.optimizer.folded_from":
                names = ast.literal_eval(p.value)
                if len(names) == 1:
                    found[v.name] = names[0]
    return found


class Case:
    def __init__(self, name, folder):
        source = os.path.join(FIXTURES, name)
        self.expect = json.load(open(os.path.join(source, "expect.json")))
        self.model = os.path.join(source, "model.onnx")
        if name == "conv_bn":
            loaded = onnx.load(self.model)
            self.model = str(folder / "model.onnx")
            fresh_statistics(loaded, self.model)
        arrays = [f for f in os.listdir(source) if f.endswith(".npy") and f != "target.npy"]
        self.data = []
        for f in arrays:
            self.data += ["--data", f"{f[:-4]}={os.path.join(source, f)}"]
        self.data += ["--target", os.path.join(source, "target.npy"), "--loss", self.expect["loss"],
                      "--batch_size", str(self.expect["batch_size"])]

    def train(self, folder, optimizer, *more):
        self.trained = str(folder / "trained.onnx")
        self.log = str(folder / "log.jsonl")
        run("train", self.model, *self.data, *OPTIMIZERS[optimizer], "--amp", "off", "--no_shuffle", "--steps", "20",
            "--log", self.log, "-o", self.trained, *more)
        lines = [json.loads(line) for line in open(self.log)]
        return [line for line in lines if "step" in line]


def tolerance(x, x64, least=1e-4):
    return np.maximum(least, 4 * np.abs(np.array(x) - np.array(x64)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", CASES)
def test_curve(name, optimizer, tmp_path):
    case = Case(name, tmp_path)
    e = case.expect[optimizer]
    steps = case.train(tmp_path, optimizer)
    assert [s["step"] for s in steps] == list(range(1, 21))
    for key, log in (("losses", "loss"), ("grad_norms", "grad_norm")):
        ours, reference = np.array([s[log] for s in steps]), np.array(e[key + "_fp64"])
        bound = tolerance(e[key], e[key + "_fp64"])
        worst = int(np.argmax(np.abs(ours - reference) / bound))
        assert np.all(np.abs(ours - reference) <= bound), \
            f"{key} step {worst + 1}: {ours[worst]} for {reference[worst]} ± {bound[worst]}"

    # evaluation mode: running statistics, and the file written
    result = json.loads(run("eval", case.trained, *case.data, "--json"))
    assert abs(result["loss"] - e["eval_loss_fp64"]) <= 1e-3 * max(1, abs(e["eval_loss_fp64"]))

    # norms of parameters and buffers: rounding of 20 float32 updates leaves them within 1e-4. A bias that feeds a
    # BatchNormalization has a gradient of rounding errors alone, which Adam divides by their own size: it drifts by up to
    # lr an element and step, and the running mean behind it follows.
    trained = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in onnx.load(case.trained).graph.initializer}
    trained.update({of: trained[tensor] for tensor, of in computed(case.trained).items() if tensor in trained})
    drifts = ["f.4.bias", "f.5.running_mean"] if name in ("conv_bn", "fixed_batch") and optimizer == "adamw" else []
    for tensor, norm in e["norms_fp64"].items():
        bound = 1e-4 * max(1, norm)
        if tensor in drifts:
            bound = 20 * e["lr"] * np.sqrt(trained[tensor].size)
        assert abs(np.linalg.norm(trained[tensor]) - norm) <= bound, tensor


@pytest.mark.parametrize("name", CASES)
def test_trained_set(name, tmp_path):
    case = Case(name, tmp_path)
    report = json.loads(run("check", case.model, "--json"))
    of = computed(case.model)
    trained = {of.get(p["name"], p["name"]): p["shape"][::-1] if p["name"] in (*of, *of.values()) else p["shape"]
               for p in report["parameters"] if p["trained"]}  # what is computed are transposed matrices
    assert trained == case.expect["parameters"]


@pytest.mark.parametrize("name", CASES)
def test_memory_plan_holds(name, tmp_path):
    """With dead memory poisoned and every write checked the run is the same to the last bit."""
    case = Case(name, tmp_path)
    plain = [(s["loss"], s["grad_norm"]) for s in case.train(tmp_path, "adamw", "--steps", "3")]
    checked = [(s["loss"], s["grad_norm"]) for s in case.train(tmp_path, "adamw", "--steps", "3", "--check_memory")]
    assert plain == checked


@pytest.mark.parametrize("name", CASES)
def test_accumulation(name, tmp_path):
    """Half the batch twice equals the batch once, where no batch statistics are trained."""
    case = Case(name, tmp_path)
    if name in ("conv_bn", "fixed_batch", "mini_resnet"):
        pytest.skip("batch statistics of half a batch are another model")
    whole = [s["loss"] for s in case.train(tmp_path, "sgd", "--steps", "5")]
    half = str(case.expect["batch_size"] // 2)
    halves = [s["loss"] for s in case.train(tmp_path, "sgd", "--steps", "5", "--batch_size", half,
                                            "--gradient_accumulation_steps", "2")]
    np.testing.assert_allclose(halves, whole, rtol=2e-6)


def test_training_changes_only_weights(tmp_path):
    """Names, opset, metadata, nodes of the trained file are the original's."""
    case = Case("encoder", tmp_path)
    case.train(tmp_path, "adamw", "--steps", "1")
    before, after = onnx.load(case.model), onnx.load(case.trained)
    onnx.checker.check_model(after)
    assert before.graph.node == after.graph.node
    assert before.opset_import == after.opset_import and before.ir_version == after.ir_version
    assert [t.name for t in before.graph.initializer] == [t.name for t in after.graph.initializer]
    assert {p.key: p.value for p in before.graph.metadata_props} == {p.key: p.value for p in after.graph.metadata_props}
