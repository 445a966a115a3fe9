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


def traced(node, call):
    entry(node, "pkg.torch.onnx.fx_node", call)
    return node


def merged(path, second="p_b_bias", value=0.0, last=None):
    """Two linear layers whose biases the exporter found equal; the second call says that its own was another one."""
    bias = np.full(4, value, np.float32)
    if last is not None:
        bias[-1] = last
    call = "%linear{} : [num_users=1] = call_function[target=aten.linear](args = (%x, %p_{}_weight, %{}), kwargs = {{}})"
    nodes = [traced(helper.make_node("MatMul", ["x", "val_0"], ["m"]), call.format("", "a", "p_a_bias")),
             traced(helper.make_node("Add", ["m", "a.bias"], ["h"]), call.format("", "a", "p_a_bias")),
             traced(helper.make_node("Gemm", ["h", "b.weight", "a.bias"], ["y"], transB=1), call.format("_1", "b", second))]
    tensors = {"val_0": rand(4, 4), "a.bias": bias, "b.weight": rand(4, 4)}
    return model(path, nodes, tensors, ["a.weight", "a.bias", "b.weight", "b.bias"], ["p.other"], {"val_0": ["a.weight"]},
                 outputs=[("y", ["batch", 4])])


@pytest.mark.parametrize("last", [None, 1.0])
def test_merged_parameters_are_taken_apart(last, tmp_path):
    """The biases of two fresh layers, or of a layer and its copy."""
    path = merged(str(tmp_path / "m.onnx"), last=last)
    assert trained(path) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    np.save(tmp_path / "x.npy", rand(8, 4))
    np.save(tmp_path / "y.npy", rand(8, 4))
    out = str(tmp_path / "trained.onnx")
    run("train", path, "--data", f"{tmp_path}/x.npy", "--target", f"{tmp_path}/y.npy", "--loss", "mse", "--steps", "5",
        "--lr", "0.1", "-o", out)
    after = onnx.load(out)
    onnx.checker.check_model(after)
    assert [list(n.input) for n in after.graph.node] == [["x", "a.weight"], ["m", "a.bias"], ["h", "b.weight", "b.bias"]]
    tensors = {t.name: numpy_helper.to_array(t) for t in after.graph.initializer}
    assert set(tensors) == {"a.weight", "a.bias", "b.weight", "b.bias"}
    assert np.abs(tensors["a.bias"] - tensors["b.bias"]).max() > 0.01
    assert trained(out) == set(tensors)


def test_merged_copies_are_taken_apart(tmp_path):
    """Two scales of a decomposed GroupNorm, reshaped and then found equal."""
    call = "%g{0} : call_function[target=aten.group_norm](args = (%x, 2, %p_{0}_weight), kwargs = {{}})"
    nodes = [traced(helper.make_node("Mul", ["x", "val_0"], ["h"]), call.format("a")),
             traced(helper.make_node("Mul", ["h", "val_0"], ["y"]), call.format("b"))]
    path = model(str(tmp_path / "m.onnx"), nodes, {"val_0": np.ones((1, 4), np.float32)}, ["a.weight", "b.weight"], (),
                 {"val_0": ["a.weight", "val_9"]}, outputs=[("y", ["batch", 4])])
    assert trained(path) == {"val_0", "b.weight"}


def test_merged_computed_values_stay(tmp_path):
    """Transposed and then found equal: not what the second parameter's name stands for."""
    call = "%l{0} : call_function[target=aten.linear](args = (%x, %p_{0}_weight), kwargs = {{}})"
    nodes = [traced(helper.make_node("MatMul", ["x", "val_0"], ["h"]), call.format("a")),
             traced(helper.make_node("MatMul", ["h", "val_0"], ["y"]), call.format("b"))]
    path = model(str(tmp_path / "m.onnx"), nodes, {"val_0": rand(4, 4)}, ["a.weight", "b.weight"], (),
                 {"val_0": ["a.weight"]}, outputs=[("y", ["batch", 4])])
    assert trained(path) == {"val_0"}


@pytest.mark.parametrize("name,arguments", {
    "one parameter in PyTorch, too": dict(second="p_a_bias"),
    "the call names something that is not in the signature": dict(second="p_unknown"),
}.items())
def test_what_was_not_merged_stays(name, arguments, tmp_path):
    path = merged(str(tmp_path / "m.onnx"), **arguments)
    assert trained(path) == {"a.weight", "a.bias", "b.weight"}


def test_merged_statistics_are_taken_apart(tmp_path):
    """The variance of a fresh BatchNormalization is all ones, as its scale: merged, the scale would not be trained."""
    call = "%b : call_function[target=aten.batch_norm](args = (%x, %p_n_weight, %p_n_bias, %b_n_mean, %b_n_var, 0.1))"
    node = traced(helper.make_node("BatchNormalization", ["x", "n.weight", "n.bias", "n.bias", "n.weight"], ["y"]), call)
    path = model(str(tmp_path / "m.onnx"), [node], {"n.weight": np.ones(4, np.float32), "n.bias": np.zeros(4, np.float32)},
                 ["n.weight", "n.bias"], ["n.mean", "n.var"], outputs=[("y", ["batch", 4])])
    assert trained(path) == {"n.weight", "n.bias"}


@pytest.mark.parametrize("order", ["%p_l_weight, %p_l_bias", "%p_l_bias, %x, %p_l_weight"])
@pytest.mark.parametrize("op,weight,attributes,length", [
    ("Gemm", (5, 4), dict(transB=1), 5), ("Gemm", (4, 5), {}, 5), ("Conv", (6, 2, 1), dict(group=2), 6),
    ("ConvTranspose", (4, 3, 1), dict(group=2), 6)])
def test_a_dropped_bias_comes_back(op, weight, attributes, length, order, tmp_path):
    call = f"%l : call_function[target=aten.l](args = ({order}), kwargs = {{}})"
    tail = [1] if "Conv" in op else []
    node = traced(helper.make_node(op, ["x", "l.weight"], ["y"], **attributes), call)
    path = model(str(tmp_path / "m.onnx"), [node], {"l.weight": rand(*weight)}, ["l.weight", "l.bias"],
                 inputs=[("x", ["batch", 4, *tail])], outputs=[("y", ["batch", length, *tail])])
    assert trained(path) == {"l.weight", "l.bias"}
    np.save(tmp_path / "x.npy", rand(8, 4, *tail))
    np.save(tmp_path / "y.npy", rand(8, length, *tail))
    out = str(tmp_path / "trained.onnx")
    run("train", path, "--data", f"{tmp_path}/x.npy", "--target", f"{tmp_path}/y.npy", "--loss", "mse", "--steps", "2",
        "-o", out)
    after = onnx.load(out)
    onnx.checker.check_model(after, full_check=True)
    assert list(after.graph.node[0].input) == ["x", "l.weight", "l.bias"]
    bias = {t.name: numpy_helper.to_array(t) for t in after.graph.initializer}["l.bias"]
    assert bias.shape == (length,) and np.abs(bias).min() > 1e-4


def test_a_copied_weight_stays_tied(tmp_path):
    """The embedding is the output layer, too; the exporter wrote its transpose as a second initializer."""
    table = rand(5, 4)
    nodes = [helper.make_node("MatMul", ["x", "e.weight"], ["h"]), helper.make_node("MatMul", ["h", "val_0"], ["y"])]
    path = model(str(tmp_path / "m.onnx"), nodes, {"e.weight": table, "val_0": np.ascontiguousarray(table.T)},
                 ["e.weight", "o.weight"], (), {"val_0": ["e.weight"]}, inputs=[("x", ["batch", 5])], outputs=[("y", ["batch", 5])])
    assert trained(path) == {"e.weight"}
    np.save(tmp_path / "x.npy", rand(8, 5))
    out = str(tmp_path / "trained.onnx")
    run("train", path, "--data", f"{tmp_path}/x.npy", "--target", f"{tmp_path}/x.npy", "--loss", "mse", "--steps", "2",
        "-o", out)
    after = onnx.load(out)
    onnx.checker.check_model(after, full_check=True)
    assert [n.op_type for n in after.graph.node] == ["Transpose", "MatMul", "MatMul"]
    assert [t.name for t in after.graph.initializer] == ["e.weight"]
    assert trained(out) == {"e.weight"}


def test_a_weight_that_differs_is_not_tied(tmp_path):
    table = rand(5, 4)
    nodes = [helper.make_node("MatMul", ["x", "e.weight"], ["h"]), helper.make_node("MatMul", ["h", "val_0"], ["y"])]
    path = model(str(tmp_path / "m.onnx"), nodes, {"e.weight": table, "val_0": 2 * table.T},
                 ["e.weight"], (), {"val_0": ["e.weight"]}, inputs=[("x", ["batch", 5])], outputs=[("y", ["batch", 5])])
    assert trained(path) == {"e.weight", "val_0"}


def test_split_by_a_sequence_is_reported_as_trained(tmp_path):
    """torch.split without optimization: a sequence that is gone once shapes are known."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("SplitToSequence", ["h", "two"], ["s"], axis=1),
             helper.make_node("SequenceAt", ["s", "zero"], ["a"]), helper.make_node("SequenceAt", ["s", "one"], ["b"]),
             helper.make_node("Mul", ["a", "b"], ["y"])]
    path = model(str(tmp_path / "m.onnx"), nodes,
                 {"w": rand(4, 4), "two": np.array(2), "zero": np.array(0), "one": np.array(1)}, outputs=[("y", ["batch", 2])])
    report = json.loads(run("check", path, "--loss", "mse", "--json"))
    assert report["trains"] is True


@pytest.mark.parametrize("mean,warns", [("conv.bn.running_mean", True), ("n.mean", False)])
def test_folded_norms_are_told(mean, warns, tmp_path):
    """The optimizer folds BatchNormalization into the weights before it; what is left trains as another model."""
    path = model(str(tmp_path / "m.onnx"), [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": rand(4, 3)}, ["w"], [mean])
    done = subprocess.run([ONGRAD, "check", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert ("folded 1 BatchNormalization into other weights (the first is \"conv.bn\")" in done.stderr) == warns


# ---- what is said of it

def notes(path):
    return json.loads(run("check", path, "--json"))["export"].split("\n")


def test_repairs_are_told(tmp_path):
    path = merged(str(tmp_path / "m.onnx"))
    assert notes(path) == ["repaired: 1 parameter that the exporter had merged with an equal one (the first is b.bias)",
                           "repaired: 1 weight that the exporter had transposed, [in, out], has its name again (the first is a.weight)"]
    text = run("check", path)
    assert "\nexport\n  repaired: 1 parameter that the exporter had merged" in text
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    assert notes(model(path, nodes, {"w": rand(4, 3)})) == [""]


def test_losses_are_told(tmp_path):
    """TorchScript in evaluation mode: the weights of a convolution and its BatchNormalization, multiplied."""
    nodes = [helper.make_node("Conv", ["x", "onnx::Conv_7"], ["a"]),
             helper.make_node("BatchNormalization", ["a", "s", "b", "m", "v"], ["y"])]
    tensors = {"onnx::Conv_7": rand(3, 4, 1), **{n: rand(3) ** 2 for n in "sbmv"}}
    path = model(str(tmp_path / "m.onnx"), nodes, tensors, inputs=[("x", ["batch", 4, 2])], outputs=[("y", ["batch", 3, 2])])
    said = notes(path)
    assert said[0].startswith("trained: 1 BatchNormalization, exported in inference mode")
    assert said[1].startswith("lost: 1 convolution with a BatchNormalization folded in (the first is onnx::Conv_7); torch.onnx.export(")
    assert len(said) == 2  # of Dropout nothing is said where PyTorch did not make the file
    made = onnx.load(path)
    made.producer_name = "pytorch"
    onnx.save(made, path)
    assert notes(path)[2].startswith("lost: Dropout, if the module has any")


# ---- names

def transposed(path, call="%linear : call_function[target=torch.ops.aten.linear.default](args = (%x, %p_l_weight), kwargs = {})",
               op="MatMul", sources=("l.weight",), outputs=(("y", ["batch", 3]),), parameters=("l.weight",), more=()):
    nodes = [traced(helper.make_node(op, ["x", "val_1"], ["y"]), call), *more]
    return model(path, nodes, {"val_1": rand(4, 3)}, parameters, (), {"val_1": sources}, outputs=outputs)


def test_a_transposed_weight_has_its_name(tmp_path):
    path = transposed(str(tmp_path / "m.onnx"))
    assert trained(path) == {"l.weight"}
    out = str(tmp_path / "out.onnx")
    run("export", path, "-o", out)
    after = onnx.load(out)
    onnx.checker.check_model(after, full_check=True)
    assert [list(n.input) for n in after.graph.node] == [["x", "l.weight"]]
    assert [t.name for t in after.graph.initializer] == [v.name for v in after.graph.value_info] == ["l.weight"]
    assert np.array_equal(numpy_helper.to_array(after.graph.initializer[0]), rand(4, 3))
    assert trained(out) == {"l.weight"} and notes(out) == [""]


@pytest.mark.parametrize("change", [
    dict(call="%mul : call_function[target=aten.matmul](args = (%x, %p_l_weight), kwargs = {})"),
    dict(call="%linear : call_function[target=aten.linear](args = (%x, %p_l_weight_2), kwargs = {})"),
    dict(sources=("l.weight", "l.scale")), dict(op="Gemm"),
    dict(outputs=(("y", ["batch", 3]), ("val_1", [4, 3]))),
    dict(more=(helper.make_node("ReduceSum", ["val_1"], ["z"]),), outputs=(("y", ["batch", 3]), ("z", [1, 1]))),
])
def test_a_name_that_is_not_sure_stays(change, tmp_path):
    assert trained(transposed(str(tmp_path / "m.onnx"), **change)) == {"val_1"}


def test_weights_go_between_transposed_and_not(tmp_path):
    """--init_from: what one file has as [in, out] and the other as [out, in], square or not."""
    for shape in (4, 3), (4, 4):
        w = rand(*shape)
        source = model(str(tmp_path / "source.onnx"), [helper.make_node("Gemm", ["x", "l.weight"], ["y"], transB=1)],
                       {"l.weight": np.ascontiguousarray(w.T)}, outputs=[("y", ["batch", shape[1]])])
        path = model(str(tmp_path / "m.onnx"), [helper.make_node("MatMul", ["x", "l.weight"], ["y"])], {"l.weight": 0 * w},
                     outputs=[("y", ["batch", shape[1]])])
        out = str(tmp_path / "out.onnx")
        run("export", path, "--init_from", source, "-o", out)
        assert np.array_equal(numpy_helper.to_array(onnx.load(out).graph.initializer[0]), w)
