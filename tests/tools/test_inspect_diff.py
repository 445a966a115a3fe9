"""`ongrad inspect --weights` and `--diff`: against NumPy, and for every kind of difference.

    ONGRAD=build/release/ongrad python3 -m pytest tests/tools/test_inspect_diff.py
"""
import json
import os
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "train"))
from commands import Folder, floats, model, tensor, value  # noqa: E402

TYPES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "int8": np.int8, "uint8": np.uint8,
         "int16": np.int16, "uint16": np.uint16, "int32": np.int32, "uint32": np.uint32, "int64": np.int64,
         "uint64": np.uint64, "bool": bool}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def net(**change):
    """Conv, Relu, Gemm by parts that a test may change."""
    weights = {"conv.weight": floats(2, 1, 3, 3), "fc.weight": floats(8, 3), "fc.bias": np.zeros(3, np.float32),
               **change.get("weights", {})}
    nodes = [helper.make_node("Conv", ["x", "conv.weight"], ["c"], "conv", **change.get("conv", {"kernel_shape": [3, 3]})),
             helper.make_node(change.get("act", "Relu"), ["c"], ["r"], "act"),
             *change.get("more", []),
             helper.make_node("Flatten", [change.get("flat", "r")], ["f"], "flatten"),
             helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], "fc")]
    made = model(nodes, [value("x", change.get("x", ["batch", 1, 4, 4]))], [value("y", ["batch", 3])],
                 [tensor(n, w) for n, w in weights.items() if w is not None], opset=change.get("opset", 17))
    for key, text in change.get("metadata", {}).items():
        made.metadata_props.add(key=key, value=text)
    return made


def diff(folder, a, b, *more, status=1):
    folder.write("a.onnx", a)
    folder.write("b.onnx", b)
    done = folder.run("inspect", "--diff", "a.onnx", "b.onnx", *more)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_the_same(folder):
    assert diff(folder, net(), net(), status=0) == ""
    found = json.loads(diff(folder, net(), net(), "--json", status=0))
    assert found["same"] and (found["equal_nodes"], found["equal_tensors"]) == (4, 3) and not found["nodes"]


@pytest.mark.parametrize("change, lines", [
    (dict(opset=20), ["~ opset 17 -> 20"]),
    (dict(metadata={"b": "2", "c": "3\n\x1b[31m"}),
     ["- metadata a: \"1\"", "~ metadata b: \"1\" -> \"2\"", "+ metadata c: \"3  [31m\""]),
    (dict(x=["batch", 1, 4, 4], act="Tanh"), ["~ Relu \"act\": op Relu -> Tanh"]),
    (dict(conv={"kernel_shape": [3, 3], "group": 1, "pads": [0, 0, 0, 0]}), ["~ Conv \"conv\": group=1, new; pads=[0, 0, 0, 0], new"]),
    (dict(x=["N", 1, 4, 4]), ["~ input x: float32 [batch, 1, 4, 4] -> float32 [N, 1, 4, 4]"]),
    (dict(more=[helper.make_node("Neg", ["r"], ["n"], "neg")], flat="n"),
     ["+ Neg \"neg\"", "~ Flatten \"flatten\": input 0 r -> n"]),
    (dict(weights={"fc.weight": floats(8, 3).astype(np.float32) * 2, "fc.bias": np.zeros((1, 3), np.float32)}),
     ["~ fc.bias: float32 [3] -> float32 [1, 3]", "~ fc.weight  float32 [8, 3]", "tensors: 1 equal"])])
def test_what_differs_is_told(folder, change, lines):
    first = net(metadata={"a": "1", "b": "1"}) if "metadata" in change else net()
    there = diff(folder, first, net(**change))
    for line in lines:
        assert line in there, there
    assert there.startswith("- a.onnx\n+ b.onnx\n")
    back = diff(folder, net(**change), first)
    swap = {"+": "-", "-": "+", "~": "~"}
    assert sorted(swap[line.strip()[0]] for line in there.splitlines() if line.strip()[0] in swap) == \
        sorted(line.strip()[0] for line in back.splitlines() if line.strip()[0] in swap)


def test_changes_of_tensors_are_numpys(folder):
    a, b = floats(8, 3), floats(8, 3)
    b[0, :] += np.float32([.5, -2, .25])
    half = np.float16([1, 2, np.nan, np.inf])
    other = np.float16([1, 2.5, np.nan, 4])
    zero = np.zeros(3, np.float32)
    found = json.loads(diff(folder, net(weights={"fc.weight": a, "unused": half}),
                            net(weights={"fc.weight": b, "unused": other, "fc.bias": zero + 1}), "--json"))
    changed = {c["name"]: c for c in found["changed"]}
    delta = b.astype(float) - a
    assert changed["fc.weight"]["equal"] == 21 and changed["fc.weight"]["max_change"] == np.abs(delta).max()
    np.testing.assert_allclose(changed["fc.weight"]["relative_change"],
                               np.linalg.norm(delta) / np.linalg.norm(a.astype(float)), rtol=1e-5)  # six digits are written
    assert changed["fc.bias"]["relative_change"] is None and changed["fc.bias"]["max_change"] == 1  # it was 0
    if "unused" in changed:  # loading may leave out what nothing reads
        assert changed["unused"]["equal"] == 2 and changed["unused"]["max_change"] is None


def test_training_changes_weights_alone(folder):
    folder.trains("--steps", "2")
    done = folder.run("inspect", "--diff", "m.onnx", "out.onnx", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and {c["name"] for c in found["changed"]} == {"weight", "bias"}
    assert not found["nodes"] and not found["inputs_outputs"] and not found["tensors"]


@pytest.mark.parametrize("files, text", [(("none.onnx", "m.onnx"), "none.onnx"), (("m.onnx", "none.onnx"), "none.onnx"),
                                         (("t.npy", "m.onnx"), "t.npy"), (("m.onnx", "t.npy"), "t.npy")])
def test_errors_are_2(folder, files, text):
    done = folder.run("inspect", "--diff", *files)
    assert done.returncode == 2 and text in done.stderr and done.stdout == ""


@pytest.mark.parametrize("name", TYPES)
def test_statistics_are_numpys(folder, name):
    rng = np.random.default_rng(5)
    w = (rng.normal(0, 50, (5, 7)) if "float" in name else rng.integers(0, 100, (5, 7))).astype(TYPES[name])
    w[0, :3] = 0
    folder.write("m.onnx", model([helper.make_node("Identity", ["w"], ["y"], "n")], [value("x", [1])],
                                 [value("y", [5, 7], helper.np_dtype_to_tensor_dtype(w.dtype))], [tensor("w", w)]))
    (found,) = json.loads(folder.run("inspect", "m.onnx", "--weights", "--json").stdout)["weights"]
    assert (found["dtype"], found["shape"], found["not_finite"]) == (name, [5, 7], 0)
    w = w.astype(float)
    assert found["zeros"] == int((w == 0).sum())
    for key, expect in [("mean", w.mean()), ("std", w.std()), ("min", w.min()), ("max", w.max())]:
        np.testing.assert_allclose(found[key], expect, rtol=1e-12, atol=1e-12, err_msg=key)


def test_statistics_of_what_is_not_finite_empty_or_of_another_type(folder):
    tensors = [tensor("w", np.float32([np.nan, np.inf, -np.inf, 3, 0])), tensor("empty", np.zeros((0, 3), np.float32)),
               numpy_helper.from_array(np.array(["a", "b"], object), "text"),
               helper.make_tensor("bf", TensorProto.BFLOAT16, [2], [1.5, -2])]
    nodes = [helper.make_node("Identity", [t.name], [t.name + "_out"], t.name) for t in tensors]
    folder.write("m.onnx", model(nodes, [value("x", [1])], [value("w_out", [5])], tensors))
    done = folder.run("inspect", "m.onnx", "--weights", "--json")
    if done.returncode:  # strings are refused by the loader, which names them
        assert "text" in done.stderr
        tensors = [t for t in tensors if t.name != "text"]
        folder.write("m.onnx", model([n for n in nodes if n.name != "text"], [value("x", [1])], [value("w_out", [5])], tensors))
        done = folder.run("inspect", "m.onnx", "--weights", "--json")
    found = {w["name"]: w for w in json.loads(done.stdout)["weights"]}
    assert (found["w"]["mean"], found["w"]["not_finite"], found["w"]["zeros"]) == (1.5, 3, 1)
    assert (found["bf"]["min"], found["bf"]["max"]) == (-2, 1.5)
    assert "empty" not in found or found["empty"]["mean"] is None
    table = folder.run("inspect", "m.onnx", "--weights")
    assert table.returncode == 0 and "not finite" in table.stdout.splitlines()[0]
    onnx.checker.check_model(folder / "m.onnx")
