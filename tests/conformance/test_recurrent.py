"""LSTM, GRU and RNN over their attributes: outputs against ONNX Runtime, gradients against finite differences.

    ONGRAD=build/release/ongrad python3 -m pytest tests/conformance/test_recurrent.py

ONNX's node tests (test_node.py) have few of the combinations. Weights, biases and states are inputs here, so that
run_gradients moves each of them. On the simulated card by kernels of steps, and with --cuda_fast by cuDNN's RNN where it
has one."""
import pytest

from node_cases import run
from test_node import program

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
import numpy as np  # noqa: E402  (onnx needs it)
from onnx import helper, numpy_helper  # noqa: E402

STEPS, BATCH, FEATURES, HIDDEN = 5, 3, 4, 6
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
NAMES = {"LSTM": ["x", "W", "R", "B", "lens", "h0", "c0", "P"], "GRU": ["x", "W", "R", "B", "lens", "h0"],
         "RNN": ["x", "W", "R", "B", "lens", "h0"]}


def combinations():
    """(op, direction, names of the optional inputs, attributes); lists of activations are for one direction."""
    for op in GATES:
        for direction in ("forward", "reverse", "bidirectional"):
            states = {"h0", "c0"} & set(NAMES[op])
            for inputs in (set(), {"B"}, {"B", "lens"}, states, {"lens"} | states, {"B", "lens"} | states):
                yield op, direction, inputs, {}
                if op == "GRU":
                    yield op, direction, inputs, {"linear_before_reset": 1}
            yield op, direction, {"B"} | states, {"clip": 0.7}
            if op == "LSTM":
                yield op, direction, {"B", "P", "lens"} | states, {}
                yield op, direction, {"B"}, {"input_forget": 1}
                yield op, direction, {"B"}, {"activations": ["HardSigmoid", "Softsign", "Relu"],
                                             "activation_alpha": [0.3], "activation_beta": [0.4]}
                yield op, direction, {"B"}, {"activations": ["Sigmoid", "LeakyRelu", "ScaledTanh"],
                                             "activation_alpha": [0.3, 1.2], "activation_beta": [0.4]}
            if op == "GRU":
                yield op, direction, {"B"}, {"activations": ["HardSigmoid", "Elu"], "activation_alpha": [0.3, 0.9],
                                             "activation_beta": [0.4]}
            if op == "RNN":
                yield op, direction, {"B", "lens"}, {"activations": ["Relu"]}
                yield op, direction, {"B"}, {"activations": ["Affine"], "activation_alpha": [0.5],
                                             "activation_beta": [0.1]}
                yield op, direction, {"B"}, {"activations": ["ThresholdedRelu"], "activation_alpha": [0.2]}
                yield op, direction, {"B"}, {"activations": ["Elu"], "activation_alpha": [0.5]}


def model_of(op, direction, present, attributes, random):
    directions = 2 if direction == "bidirectional" else 1
    gates = GATES[op] * HIDDEN
    shapes = {"x": [STEPS, BATCH, FEATURES], "W": [directions, gates, FEATURES], "R": [directions, gates, HIDDEN],
              "B": [directions, 2 * gates], "h0": [directions, BATCH, HIDDEN], "c0": [directions, BATCH, HIDDEN],
              "P": [directions, 3 * HIDDEN]}
    names = [name if name in present | {"x", "W", "R"} else "" for name in NAMES[op]]
    arrays = {name: random.standard_normal(shapes[name]).astype(np.float32) for name in names if name in shapes}
    if "lens" in names:
        arrays["lens"] = np.array([STEPS, 1, 3], np.int32)
    attributes = {key: value * directions if isinstance(value, list) else value for key, value in attributes.items()}
    outputs = ["Y", "Y_h"] + ["Y_c"] * (op == "LSTM")
    node = helper.make_node(op, names, outputs, hidden_size=HIDDEN, direction=direction, **attributes)
    inputs = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
              for name, a in ((name, arrays[name]) for name in names if name)]
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info(name, 1, None) for name in outputs])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), arrays


def expected(model, arrays):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, arrays)


def write_case(folder, model, arrays):
    """As node_case.h describes it."""
    order = [arrays[i.name] for i in model.graph.input]
    every = [numpy_helper.from_array(a, f"i{k}") for k, a in enumerate(order)]
    every += [numpy_helper.from_array(a, f"o{k}") for k, a in enumerate(expected(model, arrays))]
    values = [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in every]
    data = helper.make_model(helper.make_graph([], "data", [], values, every))
    # ONNX Runtime's sigmoid and tanh are approximations good to about 1e-6
    helper.set_model_props(data, {"rtol": "1e-4", "atol": "5e-6"})
    folder.mkdir()
    onnx.save(model, folder / "model.onnx")
    onnx.save(data, folder / "data.onnx")


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    root, random, names = tmp_path_factory.mktemp("recurrent"), np.random.default_rng(0), {}
    for k, (op, direction, present, attributes) in enumerate(combinations()):
        names[f"case{k}"] = f"{op} {direction} {sorted(present)} {attributes}"
        write_case(root / f"case{k}", *model_of(op, direction, present, attributes, random))
    return root, names


@pytest.mark.parametrize("command", [["run_node", "folded"], ["run_node", "planned"], ["run_gradients"],
                                     ["run_node_sim", "--cuda", "planned"], ["run_gradients_sim", "--cuda"],
                                     ["run_node_sim", "--cuda_fast", "planned"], ["run_gradients_sim", "--cuda_fast"]], ids=" ".join)
def test_combinations(cases, command):
    root, names = cases
    results = run([program(command[0]), *command[1:]], root, names)
    wrong = [f"{names[name]}: {' '.join(result)}" for name, result in results.items() if result[0] != "pass"]
    assert len(results) == len(names) and not wrong, "\n".join(wrong)
