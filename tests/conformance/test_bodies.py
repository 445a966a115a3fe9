"""Control flow and sequences as exporters write them: the planned graph against ONNX Runtime, and the errors
where data decides what runs.

    ONGRAD=build/release/ongrad python3 -m pytest tests/conformance/test_bodies.py

Needs onnx and onnxruntime, and the program run_node, which is built beside the C tests."""
import subprocess

import pytest

onnx = pytest.importorskip("onnx")
np = pytest.importorskip("numpy")
ort = pytest.importorskip("onnxruntime")

from onnx import parser  # noqa: E402

import node_cases  # noqa: E402
import test_node  # noqa: E402

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
X = {"x": np.arange(1, 9, dtype=np.float32).reshape(2, 4) / 4}

CASES = {
    # a branch chosen by a shape; both branches read values from around them, the inner one from two levels up
    "if_nested": (X, HEAD + """g (float[2,4] x) => (float[2,?] y) {
        shape = Shape (x)
        two = Constant <value_ints = [2]> ()
        zero = Constant <value_ints = [0]> ()
        d = Gather <axis = 0> (shape, zero)
        c = Equal (d, two)
        s = Sqrt (x)
        y = If (c) <
            then_branch = t () => (a) { nc = Not (c)
                a = If (nc) < then_branch = tt () => (p) { p = Neg (x) }, else_branch = ee () => (q) { q = Add (x, s) } > },
            else_branch = e () => (b) { b = Identity (x) }
        >
    }"""),
    # a fixed number of steps, a carried value, a collected result
    "loop_collect": (X, HEAD + """g (float[2,4] x) => (float[2,4] last, float[3,2,4] all) {
        n = Constant <value_int = 3> ()
        t = Constant <value = bool {1}> ()
        last, all = Loop (n, t, x) <
            body = b (int64 i, bool c, float[2,4] v) => (c2, w, r) {
                c2 = Identity (c)
                f = CastLike (i, v)
                r = Mul (v, f)
                w = Add (v, x)
            }
        >
    }"""),
    # the condition ends the loop: 1, 2, 4 … until 5 or more
    "loop_condition": (X, HEAD + """g (float[2,4] x) => (float[2,4] y) {
        t = Constant <value = bool {1}> ()
        one = Constant <value_int = 1> ()
        two = Constant <value_int = 2> ()
        five = Constant <value_int = 5> ()
        k, y = Loop (, t, one, x) <
            body = b (int64 i, bool c, int64 a, float[2,4] v) => (c2, a2, w) {
                a2 = Mul (a, two)
                c2 = Less (a2, five)
                w = Add (v, v)
            }
        >
    }"""),
    # torch.chunk without a known axis length, put together again in another order
    "sequence": (X, HEAD + """g (float[2,4] x) => (float[2,5] y, int64 n) {
        three = Constant <value_int = 3> ()
        s = SplitToSequence <axis = 1> (x, three)
        zero = Constant <value_int = 0> ()
        last = Constant <value_int = -1> ()
        b = SequenceAt (s, last)
        s2 = SequenceInsert (s, b, zero)
        n = SequenceLength (s2)
        y = ConcatFromSequence <axis = 1> (s2)
    }"""),
}


def run(tmp_path, name, model, inputs, outputs):
    case = type("Case", (), {"name": name, "model": model, "rtol": 1e-6, "atol": 1e-7,
                             "data_sets": [(list(inputs.values()), outputs)]})
    assert node_cases.write_case(case, tmp_path / name)
    done = subprocess.run([test_node.program("run_node"), "planned", str(tmp_path), name], stdout=subprocess.PIPE,
                          text=True, check=True)
    _, word, text = done.stdout.rstrip("\n").split("\t")
    return word, text


@pytest.mark.parametrize("name", CASES)
def test_unrolled(tmp_path, name):
    inputs, text = CASES[name]
    model = parser.parse_model(text)
    outputs = ort.InferenceSession(model.SerializeToString()).run(None, inputs)
    assert run(tmp_path, name, model, inputs, outputs) == ("pass", "")


def test_condition_of_data_is_an_error(tmp_path):
    """run_node makes inputs constant where that helps, so the condition hangs on a random number."""
    model = parser.parse_model(HEAD + """g (float[2,4] x) => (float[2,4] y) {
        r = RandomUniform <shape = [1]> ()
        half = Constant <value_float = 0.5> ()
        c = Less (r, half)
        y = If (c) < then_branch = t () => (a) { a = Neg (x) }, else_branch = e () => (b) { b = Identity (x) } >
    }""")
    word, text = run(tmp_path, "data", model, X, [X["x"]])
    assert word == "unsupported" and "its condition is computed while running" in text


def test_unknown_name_in_a_branch_is_named(tmp_path):
    model = parser.parse_model(HEAD + """g (float[2,4] x) => (float[2,4] y) {
        c = Constant <value = bool {1}> ()
        y = If (c) < then_branch = t () => (a) { a = Neg (nowhere) }, else_branch = e () => (b) { b = Identity (x) } >
    }""")
    word, text = run(tmp_path, "unknown", model, X, [X["x"]])
    assert word == "fail" and '"nowhere"' in text
