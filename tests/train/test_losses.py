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


def test_one_target_for_two_outputs(tmp_path):
    """Half the mean over both is the mean over one."""
    save_model(tmp_path, {"box": TENSORS["box"], "near": TENSORS["near"]}, "float64")
    save_target(tmp_path, "bits", "float64")
    both = ["--loss", "box=mse,target=bits,weight=0.5", "--loss", "near=mse,target=bits,weight=0.5,name=second"]
    trained = Trained(tmp_path, [*both, "--target", "bits.npy"])
    means = [np.mean((TENSORS[n] - TENSORS["bits"]) ** 2) for n in ("box", "near")]
    assert list(trained.steps[0]["losses"]) == ["box.mse", "second"]
    np.testing.assert_allclose(list(trained.steps[0]["losses"].values()), means, **TOLERANCE["float64"])
    np.testing.assert_allclose(trained.steps[0]["loss"], np.mean(means), **TOLERANCE["float64"])


def test_an_output_without_counted_labels_leaves_the_others(tmp_path):
    """All labels of one loss ignored: its mean is not a number, the other loss trains all the same."""
    save_model(tmp_path, {"rows": TENSORS["rows"], "box": TENSORS["box"]}, "float64")
    save_target(tmp_path, "near", "float64")
    np.save(tmp_path / "labels.npy", np.full(SAMPLES, -100))
    for batch in BATCHES:
        trained = Trained(tmp_path, ["--loss", "rows=cross_entropy", "--loss", "box=mse", "--target", "rows=labels.npy",
                                     "--target", "box=near.npy"], batch)
        step = trained.steps[0]
        assert step["losses"]["rows.cross_entropy"] is None and not trained.gradients["rows"].any()
        np.testing.assert_allclose([step["loss"], step["losses"]["box.mse"]], [CASES["mse"]["loss"]] * 2,
                                   **TOLERANCE["float64"])
        np.testing.assert_allclose(trained.gradients["box"], CASES["mse"]["gradients"]["box"], **TOLERANCE["float64"])


def test_ignored_rows_may_be_infinite(tmp_path):
    """Their probabilities are not looked at; a finite loss must not become 0 times infinity."""
    outputs = {"log_rows": TENSORS["log_rows"].copy()}
    outputs["log_rows"][TENSORS["some_labels"] == 2] = -np.inf
    save_model(tmp_path, outputs, "float64")
    save_target(tmp_path, "some_labels", "float64")
    result = json.loads(run(tmp_path, "eval", "m.onnx", "--data", "row.npy", "--target", "some_labels.npy", "--loss",
                            "nll,ignore_index=2", "--json").stdout)
    counted = TENSORS["some_labels"] != 2
    expected = -TENSORS["log_rows"][np.arange(SAMPLES), TENSORS["some_labels"]][counted].mean()
    np.testing.assert_allclose(result["loss"], expected, **TOLERANCE["float64"])


def test_accuracies_by_loss(tmp_path):
    save_model(tmp_path, {"rows": TENSORS["rows"], "maps": TENSORS["maps"]}, "float32")
    for name in ("labels", "some_map_labels"):
        save_target(tmp_path, name, "float32")
    arguments = ["--data", "row.npy", "--loss", "rows=cross_entropy", "--loss", "maps=cross_entropy", "--target",
                 "rows=labels.npy", "--target", "maps=some_map_labels.npy"]
    result = json.loads(run(tmp_path, "eval", "m.onnx", *arguments, "--batch_size", "4", "--json").stdout)
    counted = TENSORS["some_map_labels"] != -100
    expected = {"rows.cross_entropy": np.mean(TENSORS["rows"].argmax(1) == TENSORS["labels"]),
                "maps.cross_entropy": np.mean((TENSORS["maps"].argmax(1) == TENSORS["some_map_labels"])[counted])}
    assert result["accuracies"] == pytest.approx(expected)


ERRORS = [
    ('unknown loss "hinge"', ["hinge"]), ('no output "boxes"', ["boxes=mse"]),
    ('mse takes no key "beta"; it takes weight, name, target', ["mse,beta=1"]),
    ('smooth_l1 takes no key "delta"; it takes weight, name, target, beta', ["smooth_l1,delta=1"]),
    ('output takes no key "target"', ["output,target=a"]), ('"weight" is no KEY=VALUE', ["mse,weight"]),
    ('takes no key ""', ["smooth_l1,=3"]), ('takes no key "eta"', ["smooth_l1,eta=1"]), ('"" is no KEY=VALUE', ["mse,"]),
    ('weight is "-1", expected a number that is not negative', ["mse,weight=-1"]),
    ('weight is "much", expected a number', ["mse,weight=much"]), ('weight is "nan", expected a number', ["mse,weight=nan"]),
    ('beta is "-0.5", expected a number that is not negative', ["smooth_l1,beta=-0.5"]),
    ('delta is "0", expected a number above 0', ["huber,delta=0"]),
    ('reduction is "sum", expected batchmean or mean', ["kl_div,reduction=sum"]),
    ('log_target is "maybe", expected on or off', ["kl_div,log_target=maybe"]),
    ('label_smoothing is "1.5", expected a number from 0 to 1', ["rows=cross_entropy,label_smoothing=1.5"]),
    ('ignore_index is "1.5", expected a whole number', ["rows=nll,ignore_index=1.5"]),
    ('class_weights is "1:-2"', ["rows=nll,class_weights=1:-2"]), ("none was given together", ["mse", "none"]),
    ('both read output "box"; say with key target=NAME', ["mse", "l1"]), ("two losses are called box.mse", ["mse", "mse"]),
    ("add --target box=PATH", ["mse", "rows=cross_entropy"]), ("target of box.mse, box.l1", ["mse,target=a", "l1,target=a"]),
]


@pytest.mark.parametrize("text,losses", ERRORS, ids=[" ".join(e[1]) for e in ERRORS])
def test_wrong_losses(text, losses, tmp_path):
    save_model(tmp_path, {"box": TENSORS["box"], "rows": TENSORS["rows"]}, "float64")
    arguments = [a for loss in losses for a in ("--loss", loss)]
    assert text in run(tmp_path, "train", "m.onnx", "--data", "row.npy", *arguments, status=2).stderr


def test_wrong_targets(tmp_path):
    deep = np.zeros((SAMPLES, 7, 4, 3))
    save_model(tmp_path, {"box": TENSORS["box"], "rows": TENSORS["rows"], "deep": deep}, "float64")
    for name in ("near", "labels", "bits"):
        save_target(tmp_path, name, "float64")
    losses = ["--loss", "box=mse", "--loss", "rows=cross_entropy"]
    rows = [
        ('"boxes" is no target; the targets are: box, rows', ["--target", "boxes=near.npy", "--target", "rows=labels.npy"]),
        ("say which with --target NAME=PATH", ["--target", "near.npy", "--target", "rows=labels.npy"]),
        ('"box" is given twice', ["--target", "box=near.npy", "--target", "box=bits.npy"]),
        ("target of rows.cross_entropy: add --target rows=PATH", ["--target", "box=near.npy"]),
        ("nll: the target is", ["--loss", "rows=nll,target=box", "--target", "box=near.npy", "--target", "rows=labels.npy"]),
        ('target "rows", which rows.cross_entropy reads, too: l1: the target is int64 [10]',
         ["--loss", "rows=l1,target=rows", "--target", "box=near.npy", "--target", "rows=labels.npy"]),
        ('target "bits": deep.cross_entropy wants it as int64 [10, 4, 3], box.mse as float64 [10, 4, 3]; give each a target',
         ["--loss", "deep=cross_entropy,target=bits", "--loss", "box=mse,target=bits", "--target",
          "bits=bits.npy"]),
    ]
    for text, more in rows:
        before = losses if "--loss" not in more[2:] else []
        said = run(tmp_path, "train", "m.onnx", "--data", "row.npy", *before, *more, status=2).stderr
        assert text in said, said
    said = run(tmp_path, "train", "m.onnx", "--data", "row.npy", "--loss", "box=output", "--target", "near.npy",
               status=2).stderr
    assert "takes no target" in said


def test_tensors_called_like_states(tmp_path):
    """The step has states of these names itself."""
    names = ["step", "loss_sum", "weight_sum", "step.grad"]
    tables = {n: TENSORS["box"] for n in names}
    save_model(tmp_path, tables, "float64")
    m = onnx.load(str(tmp_path / "m.onnx"))
    for t, node in zip(m.graph.initializer, m.graph.node):
        t.name = node.input[0] = t.name.removeprefix("table.")
    for node, output in zip(m.graph.node, m.graph.output):
        node.output[0] = output.name = f"{node.input[0]}.output"
    onnx.save(m, str(tmp_path / "m.onnx"))
    save_target(tmp_path, "near", "float64")
    losses = [a for n in names for a in ("--loss", f"{n}.output=mse,target=near")]
    trained = Trained(tmp_path, [*losses, "--target", "near.npy"])
    for name in names:
        np.testing.assert_allclose(trained.gradients[name], CASES["mse"]["gradients"]["box"], **TOLERANCE["float64"])


def test_class_weights_by_classes(tmp_path):
    save_model(tmp_path, {"rows": TENSORS["rows"], "deep": np.zeros((SAMPLES, 7))}, "float64")
    save_target(tmp_path, "labels", "float64")
    said = run(tmp_path, "train", "m.onnx", "--data", "row.npy", "--target", "labels.npy", "--loss",
               "rows=cross_entropy,target=labels", "--loss", "deep=nll,target=labels", "--class_weights", "1,1,1,1,2",
               status=2).stderr
    assert 'class_weights has 5 numbers, output "deep" 7 classes; key class_weights=W:W:... is for one loss' in said
