"""Losses and their gradients against PyTorch's (tests/fixtures/losses), whole and in micro-batches with a short last one.

ONGRAD names the command. The model looks its outputs up in tables, a row a sample, so that after a step of plain descent by 1
the change of a table is the gradient of the loss by every element of an output."""
import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

ONGRAD = os.environ["ONGRAD"]
EXPECT = json.load(open(os.path.join(os.path.dirname(__file__), "..", "fixtures", "losses", "expect.json")))
TENSORS = {n: np.array(x) for n, x in EXPECT["tensors"].items()}
CASES, SAMPLES = EXPECT["cases"], 10
# (samples of a micro-batch, micro-batches of a step): all ten at once; 4, 4 and 2
BATCHES = [(10, 1), (4, 3)]
# Rounding alone: of values up to 6, in float32 at a machine epsilon of 1.2e-7.
TOLERANCE = {"float64": {"rtol": 1e-13, "atol": 1e-14}, "float32": {"rtol": 2e-6, "atol": 1e-6}}


def run(folder, *arguments, status=0):
    done = subprocess.run([ONGRAD, *arguments], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr
    return done


def save_model(folder, outputs, dtype, name="m.onnx"):
    """Inputs: the number of each sample. Outputs: rows of the tables of these names."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    value = helper.make_tensor_value_info
    graph = helper.make_graph([helper.make_node("Gather", [f"table.{n}", "row"], [n]) for n in outputs], "tables",
                              [value("row", onnx.TensorProto.INT64, ["batch"])],
                              [value(n, kind, ["batch", *outputs[n].shape[1:]]) for n in outputs],
                              [numpy_helper.from_array(x.astype(dtype), f"table.{n}") for n, x in outputs.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / name))
    np.save(folder / "row.npy", np.arange(SAMPLES))


def save_target(folder, name, dtype):
    t = TENSORS[name]
    np.save(folder / f"{name}.npy", t.astype(dtype) if t.dtype == np.float64 else t)


class Trained:
    """One step of plain descent by 1."""

    def __init__(self, folder, arguments, batch=(10, 1), model="m.onnx", status=0):
        self.done = run(folder, "train", model, "--data", "row.npy", *arguments, "--optimizer", "sgd", "--lr", "1", "--max_norm",
                        "0", "--no_shuffle", "--batch_size", str(batch[0]), "--gradient_accumulation_steps", str(batch[1]),
                        "--log", "log.jsonl", "-o", "trained.onnx", status=status)
        if status:
            return
        self.steps = [s for s in map(json.loads, open(folder / "log.jsonl")) if "step" in s]
        assert len(self.steps) == 1
        first, last = ({t.name: numpy_helper.to_array(t) for t in onnx.load(str(folder / f)).graph.initializer}
                       for f in (model, "trained.onnx"))
        self.gradients = {n.removeprefix("table."): first[n].astype(np.float64) - last[n] for n in first}


def arguments_of(case):
    """--loss and --target options; targets get names where one output is compared with several."""
    single, arguments = len(case["losses"]) == 1, []
    for option, output, target in case["losses"]:
        name, comma, keys = option.partition(",")
        arguments += ["--loss", f"{output}={name}{comma}{keys}" + ("" if single else f",target={target}")]
    for target in dict.fromkeys(t for _, _, t in case["losses"]):
        arguments += ["--target", f"{target}.npy" if single else f"{target}={target}.npy"]
    return arguments


def prepare(folder, case, dtype):
    save_model(folder, {n: TENSORS[n] for n in dict.fromkeys(o for _, o, _ in case["losses"])}, dtype)
    for _, _, target in case["losses"]:
        save_target(folder, target, dtype)
    return arguments_of(case)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("batch", BATCHES, ids=["whole", "accumulated"])
@pytest.mark.parametrize("name", CASES)
def test_as_pytorch(name, batch, dtype, tmp_path):
    case, tolerance = CASES[name], TOLERANCE[dtype]
    trained = Trained(tmp_path, prepare(tmp_path, case, dtype), batch)
    step = trained.steps[0]
    np.testing.assert_allclose(step["loss"], case["loss"], **tolerance)
    assert ("losses" in step) == ("means" in case)
    if "means" in case:
        names = [f"{output}.{option.split(',')[0]}" for option, output, _ in case["losses"]]
        assert list(step["losses"]) == names
        np.testing.assert_allclose(list(step["losses"].values()), case["means"], **tolerance)
    gradients = case["split"] if "split" in case and batch != (10, 1) else case["gradients"]
    for output, gradient in gradients.items():
        np.testing.assert_allclose(trained.gradients[output], gradient, **tolerance, err_msg=output)


@pytest.mark.parametrize("name", ["cross_entropy all", "several", "mixed"])
def test_eval(name, tmp_path):
    """Any batch size gives the same losses: each has its own sums."""
    case = CASES[name]
    arguments = prepare(tmp_path, case, "float64")
    for batch in ("10", "4"):
        result = json.loads(run(tmp_path, "eval", "m.onnx", "--data", "row.npy", *arguments, "--batch_size", batch,
                                "--json").stdout)
        np.testing.assert_allclose(result["loss"], case["loss"], **TOLERANCE["float64"])
        if "means" in case:
            np.testing.assert_allclose(list(result["losses"].values()), case["means"], **TOLERANCE["float64"])
    if "means" in case:
        text = run(tmp_path, "eval", "m.onnx", "--data", "row.npy", *arguments).stdout
        for option, output, _ in case["losses"]:
            assert f"{output}.{option.split(',')[0]}" in text
