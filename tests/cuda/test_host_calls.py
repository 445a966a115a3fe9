"""What ongrad plan and ongrad train tell of ops that the card leaves to the host (ongrad_sim; see test_cuda_curves.py)."""
import json
import os
import subprocess

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ONGRAD = os.path.abspath(os.environ["ONGRAD"])
SIM = os.path.abspath(os.environ.get("ONGRAD_SIM", os.path.join(os.path.dirname(ONGRAD), "tests", "ongrad_sim")))
BATCH, WIDE = 6, 2100  # longer lines than TopK's kernel takes


def save_model(path, op):
    """x [N, 8] → MatMul → op → y [N, 3]"""
    helper = onnx.helper
    constants = [onnx.numpy_helper.from_array(a, name) for a, name in (
        (np.arange(8 * WIDE, dtype=np.float32).reshape(8, WIDE) / WIDE, "w"), (np.array([3]), "k"),
        (np.array([0]), "start"), (np.array([3]), "end"), (np.array([1]), "axis"))]
    second = helper.make_node("TopK", ["a", "k"], ["y", "places"], name="best") if op == "TopK" else \
        helper.make_node("Slice", ["a", "start", "end", "axis"], ["y"], name="best")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["a"], name="fc"), second], "g",
                              [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 8])],
                              [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 3])], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)


def run(program, *arguments, folder, device):
    save_model(folder / "topk.onnx", "TopK")
    save_model(folder / "slice.onnx", "Slice")
    np.save(folder / "x.npy", np.random.default_rng(0).standard_normal((12, 8), dtype=np.float32))
    np.save(folder / "y.npy", np.zeros((12, 3), np.float32))
    done = subprocess.run([program, *arguments, "--loss", "mse", "--batch_size", str(BATCH), "--device", device], cwd=folder,
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done


def test_plan_lists_them(tmp_path):
    """TopK reads [6, 2100] floats, its K is a constant; it makes [6, 3] floats and indices."""
    plan = json.loads(run(SIM, "plan", "topk.onnx", "--json", folder=tmp_path, device="cuda").stdout)
    (call,) = [c for c in plan["host_calls"] if c["op"] == "TopK"]
    assert call == {"op": "TopK", "node": 'TopK "best"', "call": call["call"], "once": "micro-batch",
                    "bytes_to_host": BATCH * WIDE * 4, "bytes_from_host": BATCH * 3 * (4 + 8)}
    assert 0 <= call["call"] < plan["micro_steps"]
    assert plan["staging_bytes"] >= call["bytes_to_host"] + call["bytes_from_host"]
    text = run(SIM, "plan", "topk.onnx", folder=tmp_path, device="cuda").stdout
    assert "on the host, through 1.0 MB of pinned memory" in text and "pinned, ops on the host" in text
    (line,) = [line.split() for line in text.splitlines() if line.startswith("TopK")]
    assert line == ["TopK", "TopK", '"best"', "a", "micro-batch", "50.4", "kB", "216", "bytes"]


def test_train_says_it(tmp_path):
    said = run(SIM, "train", "topk.onnx", "--data", "x.npy", "--target", "y.npy", "--steps", "1", folder=tmp_path,
               device="cuda").stderr
    (line,) = [line for line in said.splitlines() if line.startswith("  host ")]
    assert "a micro-batch run" in line and " on the host: " in line


@pytest.mark.parametrize("program,model,device", [(ONGRAD, "topk.onnx", "cpu"), (SIM, "slice.onnx", "cuda")], ids=["cpu", "card"])
def test_nothing_is_said_of_none(program, model, device, tmp_path):
    plan = json.loads(run(program, "plan", model, "--json", folder=tmp_path, device=device).stdout)
    assert not {"host_calls", "staging_bytes"} & set(plan)
    assert "the host" not in run(program, "plan", model, folder=tmp_path, device=device).stdout
    said = run(program, "train", model, "--data", "x.npy", "--target", "y.npy", "--steps", "1", folder=tmp_path, device=device)
    assert "the host" not in said.stderr
