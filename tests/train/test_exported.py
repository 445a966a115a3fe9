"""What exporters do to parameters, each in its smallest model: folded, merged, tied, and still trained."""
import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ONGRAD = os.environ["ONGRAD"]
SIGNATURE = "pkg.torch.export.ExportedProgram.graph_signature"
FOLDED = "pkg.onnxscript.optimizer.folded_from"


def run(*arguments):
    done = subprocess.run([ONGRAD, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def entry(message, key, value):
    message.metadata_props.add(key=key, value=value)


def model(path, nodes, tensors, parameters=(), buffers=(), folded=(), inputs=(("x", ["batch", 4]),), outputs=(("y", ["batch", 3]),)):
    """`tensors`: name → array; `parameters`, `buffers`: targets of the signature; `folded`: name → what it came from."""
    def values(pairs):
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, dims) for n, dims in pairs]
    graph = helper.make_graph(nodes, "main", values(inputs), values(outputs),
                              [numpy_helper.from_array(np.asarray(t), n) for n, t in tensors.items()])
    lines = ["# inputs"]
    lines += [f"p_{n.replace('.', '_')}: PARAMETER target='{n}'" for n in parameters]
    lines += [f"b_{n.replace('.', '_')}: BUFFER target='{n}' persistent=True" for n in buffers]
    if parameters:
        entry(graph, SIGNATURE, "\n".join(lines) + "\n\n# outputs\ny: USER_OUTPUT")
    for name, sources in dict(folded).items():
        info = helper.make_tensor_value_info(name, TensorProto.FLOAT, np.asarray(tensors[name]).shape)
        entry(info, FOLDED, repr(list(sources)))
        graph.value_info.append(info)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made)
    onnx.save(made, path)
    return path


def trained(path):
    return {p["name"] for p in json.loads(run("check", path, "--json"))["parameters"] if p["trained"]}


def rand(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_folded_parameters_are_trained(tmp_path):
    """A weight the optimizer transposed has a new name; its value_info says what it was. A table from a buffer stays."""
    nodes = [helper.make_node("Add", ["x", "table"], ["a"]), helper.make_node("MatMul", ["a", "val_1"], ["b"]),
             helper.make_node("Add", ["b", "l.bias"], ["y"])]
    tensors = {"val_1": rand(4, 3), "table": rand(1, 4), "l.bias": rand(3)}
    path = model(str(tmp_path / "m.onnx"), nodes, tensors, ["l.weight", "l.bias"], ["positions"],
                 {"val_1": ["l.weight"], "table": ["positions", "val_0"]})
    assert trained(path) == {"val_1", "l.bias"}
