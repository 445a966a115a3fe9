"""What a model keeps of its training data: `eval` and `predict` read their files like `train` did, and name the classes.

    ONGRAD=build/release/ongrad python3 -m pytest tests/data/test_as_trained.py
"""
import csv
import json

import numpy as np
import onnx
import pytest
from media import Folder, classifier, helper, model, tensor, value

LOSS = ["--loss", "cross_entropy"]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def metadata(folder, name):
    return {p.key: p.value for p in onnx.load(folder / name).metadata_props}


def loss(folder, *arguments):
    run = folder.run("eval", "t.onnx", *arguments, *LOSS, "--json")
    return json.loads(run.stdout)["loss"], run.stderr


@pytest.fixture
def scaled(folder):
    """t.onnx, trained on bytes as (x / 255 - 0.5) / 0.25."""
    rng = np.random.default_rng(0)
    folder.save("x.npy", rng.integers(0, 256, (12, 4), np.uint8))
    folder.save("t.npy", rng.integers(0, 3, 12))
    folder.write("m.onnx", classifier((4,), 3))
    folder.run("train", "m.onnx", "--data", "x.npy,scale=255,mean=.5,std=.25", "--target", "t.npy", *LOSS, "-o", "t.onnx", "-q")
    return folder


def test_numbers_are_scaled_as_in_training(scaled):
    said = "x: x 0.0156863 -2 (as the model was trained)"
    given, text = loss(scaled, "--data", "x.npy,scale=255,mean=.5,std=.25", "--target", "t.npy")
    assert said not in text
    kept, text = loss(scaled, "--data", "x.npy", "--target", "t.npy")
    assert kept == given and said in text
    other, text = loss(scaled, "--data", "x.npy,scale=1", "--target", "t.npy")
    assert other != given and said not in text
    outputs = []
    for keys in ("", ",scale=255,mean=.5,std=.25"):
        scaled.run("predict", "t.onnx", "--data", f"x.npy{keys}", "-o", "p.npy", "-q")
        outputs.append(np.load(scaled / "p.npy"))
    assert np.array_equal(*outputs)


def test_numbers_of_another_type_are_not(scaled):
    x = np.load(scaled / "x.npy")
    scaled.save("f.npy", ((x / 255. - .5) / .25).astype(np.float32))
    given, _ = loss(scaled, "--data", "x.npy", "--target", "t.npy")
    other, text = loss(scaled, "--data", "f.npy", "--target", "t.npy")
    assert abs(other - given) < 1e-6 and "as the model was trained" not in text  # float32 rounding of the inputs


def test_training_on_goes_on_with_the_scale_and_forgets_another(scaled):
    run = scaled.run("train", "t.onnx", "--data", "x.npy", "--target", "t.npy", *LOSS, "-o", "again.onnx")
    assert "uint8 x 0.0156863 -2 (as the model was trained)" in run.stderr
    assert metadata(scaled, "again.onnx")["ongrad.scale.x"] == metadata(scaled, "t.onnx")["ongrad.scale.x"]
    scaled.save("f.npy", np.load(scaled / "x.npy").astype(np.float32))
    scaled.run("train", "t.onnx", "--data", "f.npy", "--target", "t.npy", *LOSS, "-o", "again.onnx", "-q")
    assert metadata(scaled, "again.onnx")["ongrad.scale.x"] == ""


def test_what_validates_is_scaled_like_what_trains(scaled):
    def validated(*more):
        run = scaled.run("train", "m.onnx", "--data", "x.npy,scale=255", "--target", "t.npy", *LOSS, "--lr", 0, "--log", "l",
                         "--val_data", *more, "--val_target", "t.npy", "-o", "v.onnx", "-q")
        assert run.returncode == 0
        with open(scaled / "l") as f:
            return [json.loads(line)["val_loss"] for line in f if "val_loss" in line][-1]
    assert validated("x.npy") == validated("x.npy,scale=255") != validated("x.npy,scale=1")


def test_targets_are_scaled_as_in_training(folder):
    rng = np.random.default_rng(1)
    folder.save("x.npy", rng.normal(size=(12, 4)).astype(np.float32))
    folder.save("y.npy", rng.normal(size=(12, 2)).astype(np.float32))
    folder.write("m.onnx", classifier((4,), 2))
    run = ["--data", "x.npy", "--target"]
    folder.run("train", "m.onnx", *run, "y.npy,scale=10", "--loss", "mse", "-o", "t.onnx", "-q")
    one, other = (json.loads(folder.run("eval", "t.onnx", *run, y, "--loss", "mse", "--json", "-q").stdout)["loss"]
                  for y in ("y.npy", "y.npy,scale=10"))
    assert one == other


def test_columns_are_found_by_their_names(folder):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(12, 2))
    t = rng.integers(0, 3, 12)
    folder.write("a.csv", "id,b,a,label\n" + "".join(f"s{i},{x[i, 1]},{x[i, 0]},{t[i]}\n" for i in range(12)))
    folder.write("b.csv", "id,label,a,more,b\n" + "".join(f"s{i},{t[i]},{x[i, 0]},7,{x[i, 1]}\n" for i in range(12)))
    folder.write("m.onnx", classifier((2,), 3))
    folder.run("train", "m.onnx", "--data", "a.csv,columns=a+b", "--target", "a.csv,columns=label", *LOSS, "-o", "t.onnx", "-q")
    assert metadata(folder, "t.onnx")["ongrad.columns.x"] == "a+b"
    first, _ = loss(folder, "--data", "a.csv,columns=a+b", "--target", "a.csv,columns=label")
    assert loss(folder, "--data", "a.csv", "--target", "a.csv")[0] == first == loss(folder, "--data", "b.csv", "--target", "b.csv")[0]
    folder.write("c.csv", "id,a,c\ns0,1,2\n")
    folder.fails("predict", "t.onnx", "--data", "c.csv", parts=["c.csv", 'no column "b"', "the model was trained on columns=a+b"])


def test_columns_that_were_not_named_are_kept_too(folder):
    folder.write("a.csv", "b,a\n" + "".join(f"{i},{2 * i}\n" for i in range(6)))
    folder.write("b.csv", "a,b\n" + "".join(f"{2 * i},{i}\n" for i in range(6)))
    folder.save("t.npy", np.arange(6) % 3)
    folder.write("m.onnx", classifier((2,), 3))
    folder.run("train", "m.onnx", "--data", "a.csv", "--target", "t.npy", *LOSS, "-o", "t.onnx", "-q")
    outputs = []
    for name in ("a.csv", "b.csv"):
        folder.run("predict", "t.onnx", "--data", name, "-o", "p.npy", "-q")
        outputs.append(np.load(folder / "p.npy"))
    assert np.array_equal(*outputs)


# ---- names of classes

CLASSES = ["cat", "dog, wet", 'the "owl"']


@pytest.fixture
def named(folder):
    """t.onnx tells three classes apart by which element is 1; x has two samples of each."""
    for i in range(6):
        folder.save(f"x/{CLASSES[i % 3]}/{i}.npy", np.eye(3, dtype=np.float32)[i % 3])
    folder.write("m.onnx", classifier((3,), 3))
    folder.run("train", "m.onnx", "--data", "x", "--target", "x", *LOSS, "--epochs", 60, "--lr", .1, "-o", "t.onnx", "-q")
    return folder


def read_table(path):
    with open(path, newline="") as f:
        return list(csv.reader(f))


def test_a_table_names_samples_and_classes(named):
    named.write("x/cat/9.npy", b"junk")
    run = named.run("predict", "t.onnx", "--data", "x", "-o", "p.csv")
    assert "p.csv: output y [6, 3] float32" in run.stderr and "1 sample could not be read" in run.stderr
    rows = read_table(named / "p.csv")
    assert rows[0] == ["sample", "class", *CLASSES] and len(rows) == 7
    named.run("predict", "t.onnx", "--data", "x", "-o", "p.npy", "-q")
    y = np.load(named / "p.npy")
    for row, scores in zip(rows[1:], y):
        assert row[1] == row[0].split("/")[0] == CLASSES[int(np.argmax(scores))]
        assert np.array_equal(np.array(row[2:], np.float32), scores)
    with open(named / "p.classes.txt") as f:
        assert f.read().splitlines() == CLASSES


def test_a_table_without_names(folder):
    folder.save("x.npy", np.arange(6, dtype=np.int64).reshape(3, 2) * 10**17)
    nodes = [helper.make_node("Identity", ["x"], ["y"], "same")]
    folder.write("m.onnx", model(nodes, [value("x", ["batch", 2], onnx.TensorProto.INT64)],
                                 [value("y", ["batch", 2], onnx.TensorProto.INT64)], [tensor("unused", np.zeros(1, np.float32))]))
    folder.run("predict", "m.onnx", "--data", "x.npy", "-o", "p.csv", "-q")
    assert read_table(folder / "p.csv") == [["sample", "y_0", "y_1"], ["0", "0", "100000000000000000"],
                                            ["1", "200000000000000000", "300000000000000000"],
                                            ["2", "400000000000000000", "500000000000000000"]]


def test_what_is_no_table(folder):
    folder.save("x.npy", np.zeros((3, 2, 2), np.float32))
    nodes = [helper.make_node("Identity", ["x"], [n], n) for n in ("y", "z")]
    shape = ["batch", 2, 2]
    folder.write("m.onnx", model(nodes[:1], [value("x", shape)], [value("y", shape)]))
    folder.fails("predict", "m.onnx", "--data", "x.npy", "-o", "p.csv", parts=['output "y" has 3 axes'], status=2)
    folder.write("m.onnx", model(nodes, [value("x", shape)], [value("y", shape), value("z", shape)]))
    folder.fails("predict", "m.onnx", "--data", "x.npy", "-o", "p.csv", parts=["the model has 2 outputs"], status=2)
