"""Models that are cut off, malformed or beyond what trains: each is refused with a message that names what is wrong, and
nothing is written.

    ONGRAD=build/release/ongrad python3 -m pytest tests/train/test_hostile_models.py
"""
import os

import numpy as np
import pytest
from commands import FLOAT, Folder, floats, linear, model, tensor, value
from onnx import TensorProto, helper


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


# ---- files that are no models ------------------------------------------------------------------------------

def test_every_prefix_is_refused(folder):
    whole = linear().SerializeToString()
    for n in range(0, len(whole), 3):
        folder.write("m.onnx", whole[:n])
        folder.refuses("m.onnx")


FILES = {
    "empty": (b"", "the file is empty"),
    "text": (b"import torch\n" * 20, "not a valid ONNX file"),
    "zeros": (bytes(1000), "not a valid ONNX file"),
    "ones": (b"\xff" * 1000, "not a valid ONNX file"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a valid ONNX file"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(100), "not a valid ONNX file"),
    "zip": (b"PK\x03\x04" + bytes(100), "not a valid ONNX file"),
    "git_lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1234\n", "git lfs pull"),
}


@pytest.mark.parametrize("name", FILES)
def test_file_that_is_no_model(folder, name):
    data, text = FILES[name]
    folder.write("m.onnx", data)
    folder.refuses(["m.onnx", text])


def test_paths(folder):
    os.mkdir(folder / "d.onnx")
    os.symlink("loop.onnx", folder / "loop.onnx")
    for path, text in (("nope.onnx", "No such file"), ("d.onnx", "not a regular file"), ("m.onnx/x", "Not a directory"),
                       ("loop.onnx", "symbolic links")):
        folder.refuses([path, text], model=path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(folder):
    os.chmod(folder / "m.onnx", 0)
    folder.refuses(["m.onnx", "Permission denied"])


PIECES = {  # inputs of SplitToSequence after x, its attributes, what the message says
    "too_many": ([], {}, "makes 4294967297 pieces, at most 65536"),
    "too_long": ([tensor("k", np.array([2, 2**63 - 1], np.int64))], {}, "piece 1 has length 9223372036854775807"),
    "negative": ([tensor("k", np.array([2, -1], np.int64))], {}, "piece 1 has length -1"),
    "none": ([tensor("k", np.array([0], np.int64))], {}, "the pieces have 0 elements along axis 1, expected 4"),
}


@pytest.mark.parametrize("name", PIECES)
def test_sequences(folder, name):
    more, attributes, text = PIECES[name]
    columns = 2**32 + 1 if name == "too_many" else 4
    nodes = [helper.make_node("SplitToSequence", ["x", *(t.name for t in more)], ["s"], axis=1, **attributes),
             helper.make_node("SequenceAt", ["s", "zero"], ["p"]), helper.make_node("Mul", ["p", "w"], ["y"])]
    folder.write("m.onnx", model(nodes, [value("x", ["batch", columns])], [value("y", None)],
                                 [tensor("zero", np.array(0, np.int64)), tensor("w", floats(1)), *more]))
    done = folder.run("check", "m.onnx", "--loss", "mse")
    assert done.returncode == 1
    assert text in done.stdout + done.stderr, done.stdout + done.stderr


# ---- one thing wrong ---------------------------------------------------------------------------------------
# Each row changes the linear model: m is the model, g its graph, w and n its weight and node.

def set_raw(t, n):
    t.raw_data = bytes(n)


def set_dims(t, *dims):
    del t.dims[:]
    t.dims.extend(dims)


def external(t, **entries):
    t.data_location = TensorProto.EXTERNAL
    t.ClearField("raw_data")
    for key, entry in entries.items():
        t.external_data.add(key=key, value=str(entry))


def add(g, op, inputs, outputs, name="extra", **attributes):
    g.node.append(helper.make_node(op, inputs, outputs, name, **attributes))


def attribute(n, name, kind, **fields):
    a = n.attribute.add(name=name)
    a.type = kind
    for key, field in fields.items():
        setattr(a, key, field)


# The linear model with one change; m is the model, g its graph, w its weight [4, 3] float32, n its node. Each row: the
# change, and what the message holds.
MALFORMED = {
    # initializers
    "raw_short": (lambda m, g, w, n: set_raw(w, 47), ['"weight"', "raw_data has 47 bytes", "needs 48"]),
    "raw_long": (lambda m, g, w, n: set_raw(w, 49), ['"weight"', "raw_data has 49 bytes", "needs 48"]),
    "raw_empty": (lambda m, g, w, n: set_raw(w, 0), ['"weight"', "holds no data", "48 bytes"]),
    "dims_overflow": (lambda m, g, w, n: set_dims(w, 2**40, 2**40), ['"weight"', "more than 2⁶³"]),
    "dims_huge": (lambda m, g, w, n: set_dims(w, 2**31, 2**20), ['"weight"', "needs 9007199254740992"]),
    "dims_negative": (lambda m, g, w, n: set_dims(w, -4, -3), ['"weight"', "dim 0 is -4"]),
    "dims_many": (lambda m, g, w, n: set_dims(w, *[1] * 40), ['"weight"', "40 dims", "at most 12"]),
    "dtype_unknown": (lambda m, g, w, n: setattr(w, "data_type", 99), ['"weight"', "99", "23"]),
    "dtype_string": (lambda m, g, w, n: setattr(w, "data_type", 8), ['"weight"', "strings"]),
    "dtype_complex": (lambda m, g, w, n: (setattr(w, "data_type", 14), set_raw(w, 96)),
                      ['Gemm "linear" (opset 17)', "complex64 [4, 3]", "expected element type float32"]),
    "dtype_int": (lambda m, g, w, n: setattr(w, "data_type", 6), ['Gemm "linear"', "int32 [4, 3]", "a Cast is missing"]),
    "segment": (lambda m, g, w, n: setattr(w.segment, "end", 3), ['"weight"', "segments"]),
    "initializer_twice": (lambda m, g, w, n: g.initializer.append(w), ['"weight"', "twice"]),
    "initializer_unnamed": (lambda m, g, w, n: w.ClearField("name"), ["initializer 0 has no name"]),
    "float_data_short": (lambda m, g, w, n: (w.ClearField("raw_data"), w.float_data.extend([1] * 11)),
                         ['"weight"', "float_data has 11 elements", "needs 12"]),
    "shape_misfit": (lambda m, g, w, n: set_dims(w, 3, 4), ['Gemm "linear"', "dim 0 of B is 3, expected 4"]),
    "shape_rank": (lambda m, g, w, n: set_dims(w, 12), ['Gemm "linear"', "float32 [12]", "expected rank 2"]),
    # values and nodes
    "missing_initializer": (lambda m, g, w, n: g.initializer.remove(w), ['Gemm "linear" reads "weight"']),
    "missing_input": (lambda m, g, w, n: g.input.pop(), ['Gemm "linear" reads "x"']),
    "input_twice": (lambda m, g, w, n: g.input.append(g.input[0]), ['input "x"', "twice"]),
    "input_unnamed": (lambda m, g, w, n: g.input[0].ClearField("name"), ["input 0 has no name"]),
    "input_untyped": (lambda m, g, w, n: g.input[0].ClearField("type"), ['input "x"', "no type"]),
    "input_sequence": (lambda m, g, w, n: g.input[0].CopyFrom(
        helper.make_tensor_sequence_value_info("x", FLOAT, [4])), ['input "x"', "no dense tensor"]),
    "output_unknown": (lambda m, g, w, n: setattr(g.output[0], "name", "z"), ["nothing makes output 0", '"z"']),
    "output_twice": (lambda m, g, w, n: g.output.append(g.output[0]), ['output "y"', "twice"]),
    "output_unnamed": (lambda m, g, w, n: setattr(g.output[0], "name", ""), ["nothing makes output 0"]),
    "no_outputs": (lambda m, g, w, n: g.output.pop(), ["no outputs"]),
    "no_nodes": (lambda m, g, w, n: g.node.pop(), ['nothing makes output 0, "y"']),
    "no_graph": (lambda m, g, w, n: m.ClearField("graph"), ["holds no graph"]),
    "self_cycle": (lambda m, g, w, n: n.input.__setitem__(0, "y"), ["in a circle", 'Gemm "linear"']),
    "cycle": (lambda m, g, w, n: (add(g, "Relu", ["y"], ["h"]), n.input.__setitem__(0, "h")),
              ["in a circle", 'Gemm "linear"', 'Relu "extra"']),
    "value_twice": (lambda m, g, w, n: add(g, "Relu", ["x"], ["y"]), ['Relu "extra"', '"y" is already']),
    "writes_initializer": (lambda m, g, w, n: add(g, "Relu", ["x"], ["weight"]), ['Relu "extra"', '"weight" is already']),
    "writes_input": (lambda m, g, w, n: add(g, "Relu", ["y"], ["x"]), ['Relu "extra"', '"x" is already']),
    "too_few_inputs": (lambda m, g, w, n: n.input.__delitem__(slice(1, 3)), ['Gemm "linear"', "expected at least 2"]),
    "too_many_inputs": (lambda m, g, w, n: n.input.extend(["x"]), ['Gemm "linear"', "4 inputs", "at most 3"]),
    "absent_input": (lambda m, g, w, n: n.input.__setitem__(1, ""), ['Gemm "linear"', "input 1 is absent"]),
    "too_many_outputs": (lambda m, g, w, n: n.output.append("more"), ['Gemm "linear"', "2 outputs, at most 1"]),
    "no_op": (lambda m, g, w, n: n.ClearField("op_type"), ['node "linear" names no operator']),
    "unknown_op": (lambda m, g, w, n: setattr(n, "op_type", "Gem"), ["Gem", '"linear"', "did you mean Gemm?"]),
    "unknown_domain": (lambda m, g, w, n: setattr(n, "domain", "com.example"), ["com.example::Gemm", '"linear"']),
    "internal_domain": (lambda m, g, w, n: (setattr(n, "domain", "ai.ongrad"), setattr(n, "op_type", "Copy")),
                        ["ai.ongrad::Copy is not supported"]),
    "nul_in_op": (lambda m, g, w, n: setattr(n, "op_type", "Gemm\0x"), ["NUL byte in NodeProto"]),
    "nul_in_name": (lambda m, g, w, n: setattr(w, "name", "weight\0x"), ["NUL byte in TensorProto"]),
    "escape_in_name": (lambda m, g, w, n: n.input.__setitem__(0, "\x1b[31mred"), ['"?[31mred"']),
    "long_name": (lambda m, g, w, n: n.input.__setitem__(0, "a" * 100000), ['reads "aaaa']),
    # attributes
    "attribute_type": (lambda m, g, w, n: attribute(n, "transA", 1, f=1.0),
                       ['Gemm "linear"', '"transA" is of another type, expected an int']),
    "attribute_list": (lambda m, g, w, n: attribute(n, "alpha", 7), ['"alpha" is of another type, expected a float']),
    "attribute_twice": (lambda m, g, w, n: [attribute(n, "alpha", 1, f=1.0) for _ in range(2)],
                        ['Gemm "linear"', '"alpha" is given twice']),
    "attribute_sparse": (lambda m, g, w, n: attribute(n, "alpha", 11), ['Gemm "linear"', '"alpha"', "sparse_tensor"]),
    "attribute_reference": (lambda m, g, w, n: attribute(n, "alpha", 1, ref_attr_name="beta"),
                            ['Gemm "linear"', "only function bodies"]),
    "attribute_nan": (lambda m, g, w, n: attribute(n, "alpha", 1, f=float("nan")),
                      ["step 1", "the loss is nan", "was not written"]),
    # versions
    "opset_6": (lambda m, g, w, n: setattr(m.opset_import[0], "version", 6), ["opset 6", "7 to", "export it again"]),
    "opset_1000": (lambda m, g, w, n: setattr(m.opset_import[0], "version", 1000), ["opset 1000", "7 to"]),
    "opset_negative": (lambda m, g, w, n: setattr(m.opset_import[0], "version", -3), ["opset -3"]),
    "no_opset": (lambda m, g, w, n: m.ClearField("opset_import"), ['Gemm "linear"', "no opset"]),
    "opset_twice": (lambda m, g, w, n: m.opset_import.append(helper.make_opsetid("", 12)),
                    ["opset 17 and opset 12", "both imported"]),
    "ir_2": (lambda m, g, w, n: setattr(m, "ir_version", 2), ["IR version 2", "at least 3"]),
    "ir_0": (lambda m, g, w, n: m.ClearField("ir_version"), ["IR version 0"]),
    # external data
    "external_missing": (lambda m, g, w, n: external(w, location="w.bin"), ['"weight"', '"w.bin"', "No such file"]),
    "external_parent": (lambda m, g, w, n: external(w, location="../w.bin"), ['"weight"', '"../w.bin"', "inside"]),
    "external_inner_parent": (lambda m, g, w, n: external(w, location="a/../../w.bin"), ['"weight"', "inside"]),
    "external_absolute": (lambda m, g, w, n: external(w, location="/etc/passwd"), ['"weight"', "/etc/passwd", "inside"]),
    "external_unlocated": (lambda m, g, w, n: external(w), ['"weight"', "no location"]),
    "external_empty": (lambda m, g, w, n: external(w, location=""), ['"weight"', "inside"]),
    "external_folder": (lambda m, g, w, n: external(w, location="."), ['"weight"', "not a regular file"]),
    "external_nul": (lambda m, g, w, n: external(w, location="x\0y"), ["NUL byte"]),
    "external_offset_text": (lambda m, g, w, n: external(w, location="x.npy", offset="x"), ['"weight"', 'offset "x"']),
    "external_offset_negative": (lambda m, g, w, n: external(w, location="x.npy", offset=-1), ['"weight"', 'offset "-1"']),
    "external_offset_huge": (lambda m, g, w, n: external(w, location="x.npy", offset=2**64 - 8),
                             ['"weight"', "48 bytes at offset 18446744073709551608", "has 320"]),
    "external_offset_beyond": (lambda m, g, w, n: external(w, location="x.npy", offset=310),
                               ['"weight"', "48 bytes at offset 310", "has 320"]),
    "external_offset_overflow": (lambda m, g, w, n: external(w, location="x.npy", offset=10**30), ['"weight"', "offset"]),
    "external_length_short": (lambda m, g, w, n: external(w, location="x.npy", length=47), ['"weight"', "47", "48"]),
    "external_length_text": (lambda m, g, w, n: external(w, location="x.npy", length="all"), ['"weight"', "length"]),
}


def changed(change):
    m = linear()
    change(m, m.graph, m.graph.initializer[0], m.graph.node[0])
    return m


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(folder, name):
    change, texts = MALFORMED[name]
    folder.write("m.onnx", changed(change))
    folder.refuses(texts)


def test_external_link_out_of_the_folder(folder):
    os.symlink("/etc/hostname", folder / "w.bin")
    folder.write("m.onnx", changed(lambda m, g, w, n: external(w, location="w.bin")))
    folder.refuses(['"weight"', '"w.bin"', "outside the model's folder"])


def test_nothing_to_train(folder):
    """Wrong usage if it is frozen, and the same message if the model has no weights."""
    folder.refuses(["no trained parameter influences the loss", "ongrad check"], "--freeze", "*", status=2)
    folder.write("m.onnx", model([helper.make_node("Relu", ["x"], ["y"])], [value("x", ["batch", 4])],
                                 [value("y", ["batch", 4])]))
    folder.refuses("no trained parameter influences the loss", status=2)


def test_half_weights_are_told(folder):
    m = linear()
    m.graph.initializer[0].CopyFrom(tensor("half", floats(4, 3, dtype=np.float16)))
    m.graph.node.insert(0, helper.make_node("Cast", ["half"], ["weight"], to=FLOAT))
    del m.graph.node[1].input[2:]
    folder.write("m.onnx", m)
    folder.refuses("no trained parameter", status=2)
    assert "reduced precision" in folder.run("check", "m.onnx").stdout


def test_gradient_that_stops(folder):
    """The weight reaches the loss only through ArgMax."""
    folder.write("m.onnx", model(
        [helper.make_node("Mul", ["x", "w"], ["h"]), helper.make_node("ArgMax", ["h"], ["k"], axis=1),
         helper.make_node("Cast", ["k"], ["y"], to=FLOAT)],
        [value("x", ["batch", 4])], [value("y", ["batch", 1])], [tensor("w", floats(4))]))
    folder.save("y.npy", floats(12, 1))
    folder.refuses("no trained parameter influences the loss", status=2, target="y.npy", loss="mse")


def test_all_problems_at_once(folder):
    """Unknown ops are counted; everything else the loader finds is in the same report."""
    m = linear()
    g = m.graph
    for k, op in enumerate(["Foo", "Bar", "Foo", "Foo"]):
        add(g, op, ["x"], [f"h{k}"], f"n{k}")
    g.initializer[1].raw_data = b"abc"
    g.output.append(value("z", [1]))
    add(g, "Relu", ["nowhere"], ["r"], "lost")
    folder.write("m.onnx", m)
    message = folder.refuses(["Foo is not supported (3 times", '"n0"', "Bar is not supported", '"bias"', '"z"',
                              'Relu "lost" reads "nowhere"'])
    assert len(message.splitlines()) == 5


def nested(depth):
    """If inside If, `depth` deep: bytes, for onnx itself does not make what is nested that deep."""
    def field(number, data):
        size = b""
        n = len(data)
        while n > 127:
            size, n = size + bytes([n & 127 | 128]), n >> 7
        return bytes([number << 3 | 2]) + size + bytes([n]) + data
    graph = b""
    for _ in range(depth):
        branch = field(1, b"then_branch") + field(6, graph) + b"\xa0\x01\x05"
        graph = field(1, field(1, b"x") + field(2, b"o") + field(4, b"If") + field(5, branch))
    m = linear()
    whole = m.graph.SerializeToString() + graph
    m.ClearField("graph")
    return m.SerializeToString() + field(7, whole)


def test_nesting(folder):
    folder.write("m.onnx", nested(2))
    folder.refuses(["If (opset 17)", "condition"])
    for depth in (34, 1000, 3000):
        folder.write("m.onnx", nested(depth))
        folder.refuses("nested deeper than 100")


def call_chain(depth, circle=False):
    functions = []
    for k in range(depth):
        inner = f"f{k + 1}" if k + 1 < depth else "f0" if circle else None
        body = helper.make_node(inner, ["a"], ["b"], domain="local") if inner else helper.make_node("Relu", ["a"], ["b"])
        functions.append(helper.make_function("local", f"f{k}", ["a"], ["b"], [body], [
            helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]))
    m = linear(functions=functions, opsets=[helper.make_opsetid("local", 1)])
    m.graph.node[0].output[0] = "h"
    m.graph.node.append(helper.make_node("f0", ["h"], ["y"], domain="local"))
    return m


def bomb(levels):
    """Each function calls the next twice."""
    m = call_chain(levels)
    for f in m.functions[:-1]:
        f.node.append(helper.make_node(f.node[0].op_type, ["b"], ["c"], domain="local"))
        f.output[0] = "c"
    return m


FUNCTIONS = {
    "circle": (lambda: call_chain(3, circle=True), ["f0", "calls itself"]),
    "deep": (lambda: call_chain(200), ["deep"]),
    "bomb": (lambda: bomb(40), ["expand"]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(folder, name):
    make, texts = FUNCTIONS[name]
    folder.write("m.onnx", make())
    folder.refuses(texts)
