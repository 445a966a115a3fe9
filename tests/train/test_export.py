"""ongrad export in other forms (opset, dims, float16, one file): onnx's checker accepts what is written, with its own shape
inference, and ONNX Runtime gives what it gives of the plain export. ONGRAD names the command."""
import glob
import os

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from commands import FLOAT, Folder, floats, linear, model, tensor, value

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
MODELS = {path.split(os.sep)[-2]: path for path in sorted(glob.glob(os.path.join(FIXTURES, "*", "model.onnx")))}
# float16 has eleven bits: each value is rounded by up to 5e-4 of itself, and products of some tens of them follow each other
HALF = 1e-2
onnxruntime.set_default_logger_severity(3)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def export(folder, source, *more, name="e.onnx"):
    done = folder.run("export", source, "-o", name, "-q", *more)
    assert done.returncode == 0, done.stderr
    assert not [f for f in os.listdir(folder.path) if ".tmp" in f]
    exported = onnx.load(folder / name)
    onnx.checker.check_model(folder / name, full_check=True)
    return exported


def refused(folder, source, *more, status=1):
    before = folder.listing()
    done = folder.run("export", source, "-o", "e.onnx", *more)
    assert done.returncode == status, done.stderr
    assert folder.listing() == before
    return done.stderr


def session(folder, name):
    return onnxruntime.InferenceSession(folder / name)


def feeds(ran, batch=2):
    rng, found = np.random.default_rng(3), {}
    for i in ran.get_inputs():
        shape = [d if isinstance(d, int) else batch for d in i.shape]
        found[i.name] = (rng.integers(0, 5, shape) if "int64" in i.type else rng.normal(0, 1, shape).astype(np.float32))
    return found


def distance(a, b):
    """Largest difference, relative to the largest value of an output."""
    return max(float(np.max(np.abs(x.astype(np.float64) - y)) / max(1e-9, np.max(np.abs(y)))) for x, y in zip(a, b, strict=True))


def frame(m):
    """What a model looks like from outside: inputs, outputs, metadata."""
    return ([(v.name, v.type.tensor_type.elem_type) for v in [*m.graph.input, *m.graph.output]],
            {p.key: p.value for p in m.metadata_props}, m.producer_name)


def initializers(m, dtype=None):
    return {t.name for t in m.graph.initializer if dtype in (None, t.data_type)}


@pytest.mark.parametrize("name", MODELS)
def test_forms_of_what_pytorch_exports(name, folder):
    plain = export(folder, MODELS[name], name="plain.onnx")
    ran = session(folder, "plain.onnx")
    given = feeds(ran)
    expected = ran.run(None, given)
    opset = next(o.version for o in plain.opset_import if not o.domain)
    for more, bound in ((["--amp", "fp16"], HALF), (["--opset", "21"], 1e-5), (["--opset", str(opset - 1)], 1e-5),
                        (["--amp", "fp16", "--opset", "21"], HALF), (["--single_file"], 1e-5)):
        done = folder.run("export", MODELS[name], "-o", "e.onnx", *more)
        if done.returncode:  # an op that is younger: it is named
            assert more[0] == "--opset" and "needs opset" in done.stderr, done.stderr
            continue
        exported = export(folder, MODELS[name], *more)
        assert frame(exported) == frame(plain)
        if "--opset" in more:
            assert [(o.domain, o.version) for o in exported.opset_import] == [("", int(more[-1]))]
            assert initializers(exported) == initializers(plain)
        if "fp16" in more:
            assert initializers(exported, TensorProto.FLOAT16), "no weight is in float16"
            assert initializers(exported) == initializers(plain)
        assert distance(session(folder, "e.onnx").run(None, given), expected) <= bound, more


def test_float16_is_smaller_and_really_used(folder):
    plain, half = export(folder, MODELS["fashion_cnn"], name="plain.onnx"), export(folder, MODELS["fashion_cnn"], "--amp", "fp16")
    assert initializers(half, TensorProto.FLOAT16) == initializers(plain)
    assert os.path.getsize(folder / "e.onnx") < .55 * os.path.getsize(folder / "plain.onnx")
    given = feeds(session(folder, "plain.onnx"))
    assert distance(session(folder, "e.onnx").run(None, given), session(folder, "plain.onnx").run(None, given)) > 0


def hard():
    """What a conversion gets wrong: a mask beyond float16, a weight read in both types, an input given out, an output that is
    read again, a Constant, an op with float32 inputs of its own."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "product"),
             helper.make_node("Constant", [], ["least"], "least", value=tensor("", np.array(-3e38, np.float32))),
             helper.make_node("Constant", [], ["zero"], "zero", value=tensor("", np.array(0, np.float32))),
             helper.make_node("Greater", ["h", "zero"], ["positive"], "positive"),
             helper.make_node("Where", ["positive", "h", "least"], ["masked"], "mask"),
             helper.make_node("Softmax", ["masked"], ["p"], "softmax"),
             helper.make_node("ReduceSum", ["w"], ["total"], "total", keepdims=0),
             helper.make_node("Mul", ["p", "total"], ["scaled"], "scale"),
             helper.make_node("MatMul", ["scaled", "w"], ["y"], "again"),
             helper.make_node("Relu", ["y"], ["z"], "relu"),
             helper.make_node("Cast", ["z"], ["n"], "cast", to=TensorProto.INT64),
             helper.make_node("Constant", [], ["two"], "two", value_float=2.0),
             helper.make_node("MatMul", ["x", "w"], ["h2"], "product2"),
             helper.make_node("Mul", ["h2", "two"], ["double"], "double"),
             helper.make_node("Identity", ["x"], ["same"], "same")]
    return model(nodes, [value("x", ["batch", 4])],
                 [value("y", ["batch", 4]), value("z", ["batch", 4]), value("n", ["batch", 4], TensorProto.INT64),
                  value("same", ["batch", 4]), value("double", ["batch", 4])], [tensor("w", floats(4, 4))])


def test_what_float16_does_not_hold(folder):
    folder.write("m.onnx", hard())
    export(folder, "m.onnx", name="plain.onnx")
    exported = export(folder, "m.onnx", "--amp", "fp16")
    ran = session(folder, "plain.onnx")
    given = {"x": np.array([[1, 2, -1, 0], [-3, -4, 2, 1], [0, 0, 0, 0]], np.float32)}
    y, z, n, same, double = session(folder, "e.onnx").run(None, given)
    expected = ran.run(None, given)
    assert np.all(np.isfinite(y)) and np.max(np.abs(y - expected[0])) < HALF and np.max(np.abs(z - expected[1])) < HALF
    assert np.max(np.abs(double - expected[4])) < HALF
    assert np.array_equal(same, given["x"]) and n.dtype == np.int64
    casts = [node for node in exported.graph.node if node.op_type == "Cast"]
    assert len({(c.input[0], c.attribute[0].i) for c in casts}) == len(casts), "a value is cast once"


def test_dims(folder):
    folder.write("m.onnx", linear())
    export(folder, "m.onnx", name="plain.onnx")
    given = {"x": floats(1, 4)}
    expected = session(folder, "plain.onnx").run(None, given)

    def shapes(m):
        return [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in [*m.graph.input, *m.graph.output]]
    assert shapes(export(folder, "m.onnx", "--dim", "batch=1")) == [[1, 4], [1, 3]]
    assert np.array_equal(session(folder, "e.onnx").run(None, given)[0], expected[0])
    assert shapes(export(folder, "m.onnx", "--dim", "batch=N")) == [["N", 4], ["N", 3]]
    assert shapes(export(folder, "m.onnx", "--dim", "batch=3", "--amp", "fp16")) == [[3, 4], [3, 3]]
    said = refused(folder, "m.onnx", "--dim", "bacth=1", status=2)
    assert 'no symbolic dim "bacth"; those it has are: batch' in said
    for text in ("batch", "batch=", "batch=0", "=3", "batch=-1"):
        assert "expected NAME=N" in refused(folder, "m.onnx", "--dim", text, status=2)


def test_values_between_have_the_dims_too(folder):
    m = model([helper.make_node("Relu", ["x"], ["a"], "a"), helper.make_node("Neg", ["a"], ["y"], "b")],
              [value("x", ["batch", 4])], [value("y", ["batch", 4])])
    m.graph.value_info.append(value("a", ["batch", 4]))
    folder.write("m.onnx", m)
    exported = export(folder, "m.onnx", "--dim", "batch=7")
    assert [d.dim_value for d in exported.graph.value_info[0].type.tensor_type.shape.dim] == [7, 4]


def test_training_mode_is_left(folder):
    nodes = [helper.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["h", "m2", "v2"], "norm", training_mode=1),
             helper.make_node("Dropout", ["h", "ratio", "training"], ["y"], "drop")]
    weights = [tensor(n, np.ones(4, np.float32)) for n in "sbmv"]
    weights += [numpy_helper.from_array(np.float32(.5), "ratio"), numpy_helper.from_array(np.bool_(True), "training")]
    folder.write("m.onnx", model(nodes, [value("x", ["batch", 4])], [value("y", ["batch", 4])], weights))
    for more in ([], ["--opset", "18"], ["--amp", "fp16"]):
        exported = export(folder, "m.onnx", *more)
        norm, = [n for n in exported.graph.node if n.op_type == "BatchNormalization"]
        assert len(norm.output) == 1 and not [a for a in norm.attribute if a.name == "training_mode" and a.i]
        x = floats(3, 4)
        y = session(folder, "e.onnx").run(None, {"x": x})[0]
        assert np.allclose(y, (x - 1) / np.sqrt(1 + 1e-5) + 1, atol=HALF if "fp16" in more else 1e-5)


def test_a_single_file(folder):
    """Of a model with external data: none is beside it."""
    plain = onnx.load(MODELS["tabular"])
    assert export(folder, MODELS["tabular"], "--single_file").graph.initializer[0].data_location == TensorProto.DEFAULT
    assert initializers(onnx.load(folder / "e.onnx")) >= {t.name for t in plain.graph.initializer if t.data_type == FLOAT}
    assert not os.path.exists(folder / "e.onnx.data")


def test_what_cannot_be_written(folder):
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["b"])], "body", [], [value("b", None)])
    folder.write("m.onnx", model([helper.make_node("If", ["c"], ["y"], "branch", then_branch=body, else_branch=body)],
                                 [value("x", ["batch", 4])], [value("y", ["batch", 4])],
                                 [numpy_helper.from_array(np.bool_(True), "c")]))
    assert "a node with graphs inside cannot be written in float16" in refused(folder, "m.onnx", "--amp", "fp16")
    assert "opset is 12, expected at least 13" in refused(folder, MODELS["tabular"], "--opset", "12", status=2)
    assert "opset 99 cannot be written, 13 to 28 can" in refused(folder, MODELS["tabular"], "--opset", "99", status=2)
    assert "expected fp16 or off" in refused(folder, MODELS["tabular"], "--amp", "bf16", status=2)
    assert "LayerNormalization" in refused(folder, MODELS["encoder"], "--opset", "16")
