"""What a trained model says of its run, and --like, which repeats it. ONGRAD names the command."""
import json
import os

import numpy as np
import onnx
import pytest
from onnx import helper

from commands import Folder, floats, model, tensor, value

FORM = ["--steps", "20", "--batch_size", "4", "--lr", "0.05", "--scheduler", "cosine", "--threads", "1"]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def metadata(folder, name="out.onnx"):
    return {p.key: p.value for p in onnx.load(folder / name).metadata_props}


def like(folder, *more, status=0, model=()):
    done = folder.run("train", *model, "--like", "out.onnx", "-o", "again.onnx", *more)
    assert done.returncode == status, done.stderr
    return done.stderr


def test_a_trained_model_says_how(folder):
    folder.trains(*FORM, "--val_data", "x.npy", "--val_target", "t.npy", "--eval_every", "5", "--metric", "f1")
    said = metadata(folder)
    options = dict(line.split("=", 1) for line in said["ongrad.options"].splitlines())
    assert options["steps"] == "20" and options["lr"] == "0.05" and options["data"] == "x.npy" and options["loss"] == "cross_entropy"
    assert not {"output", "threads", "log", "quiet"} & options.keys()
    assert said["ongrad.model"] == "m.onnx"
    assert [line.rsplit(" ", 1)[0] for line in said["ongrad.data"].splitlines()] == ["input x", "target y"]
    metrics = json.loads(said["ongrad.metrics"])
    assert metrics["step"] in (5, 10, 15, 20) and metrics["val_loss"] > 0 and 0 <= metrics["val_accuracy"] <= 1
    assert "val_f1" in metrics


def test_the_run_again(folder):
    folder.trains(*FORM)
    first = folder.read("out.onnx")
    assert "warning" not in like(folder, "--threads", "1")
    assert folder.read("again.onnx") == first
    said = like(folder, "--lr", "0.1", "--steps", "8")
    assert "like: --lr 0.1, which was 0.05" in said and "like: --steps 8, which was 20" in said
    assert folder.read("again.onnx") != first
    assert "lr=0.1" in metadata(folder, "again.onnx")["ongrad.options"]


def test_epochs_stand_for_steps(folder):
    folder.trains(*FORM)
    like(folder, "--epochs", "2")
    options = metadata(folder, "again.onnx")["ongrad.options"]
    assert "epochs=2" in options and "steps=" not in options


def test_data_that_changed_is_said(folder):
    folder.trains(*FORM)
    x = np.load(folder / "x.npy")
    x[5] += 1
    folder.save("x.npy", x)
    assert "the data of input x is not what it was when that model was trained" in like(folder)


def test_a_built_in_model(folder):
    done = folder.run("train", "--model_type", "mlp", "--hidden_sizes", "5", "--input_size", "4", "--data", "x.npy", "--target", "t.npy", "--epochs", "3",
                      "-o", "out.onnx", "--threads", "1", "--seed", "4")
    assert done.returncode == 0, done.stderr
    assert metadata(folder)["ongrad.model"] == ""
    like(folder, "--threads", "1")
    assert folder.read("again.onnx") == folder.read("out.onnx")


def test_what_made_the_model_is_repeated(folder):
    """Options that are done when a run is resumed: a new head, weights of another model."""
    folder.trains("--epochs", "1")
    os.rename(folder / "out.onnx", folder / "first.onnx")
    for options in (["--init_from", "first.onnx", "--reinit", "bias"], ["--num_classes", "4"]):
        folder.trains(*FORM, *options, "--checkpoint_every", "7")
        first = folder.read("out.onnx")
        like(folder, "--threads", "1")
        assert folder.read("again.onnx") == first
        assert folder.run("train", "--resume", "out.ckpt.onnx").returncode == 0
        assert folder.read("out.onnx") == first, "a resumed run says the same of itself"


def test_another_model_or_none(folder):
    folder.trains(*FORM)
    os.rename(folder / "m.onnx", folder / "moved.onnx")
    assert "out.onnx was trained from m.onnx, which cannot be read here; name the model" in like(folder, status=1)
    like(folder, model=["moved.onnx"])
    folder.write("plain.onnx", onnx.load(folder / "moved.onnx"))
    done = folder.run("train", "--like", "plain.onnx")
    assert done.returncode == 2 and "does not say how it was trained" in done.stderr
    done = folder.run("train", "--like", "none.onnx")
    assert done.returncode == 1 and "none.onnx" in done.stderr
    assert "x.ckpt.onnx" in like(folder, "--resume", "x.ckpt.onnx", status=1)


def test_strange_values_survive(folder):
    """A path with a line break, an equals sign and other alphabets."""
    name = "ä=%\nx.npy"
    os.rename(folder / "x.npy", folder / name)
    folder.trains(*FORM, data=f"x={name}")
    assert "warning" not in like(folder, "--threads", "1")
    assert folder.read("again.onnx") == folder.read("out.onnx")


# ---- the fingerprint of folders

def arrays(folder, change=None):
    """A folder of 30 .npy files of 3 classes, and a run on it."""
    rng = np.random.default_rng(2)
    for i in range(30):
        path = folder / f"d/{'abc'[i % 3]}/{i:02}.npy"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        a = rng.normal(0, 1, 4).astype(np.float32)
        if i == 7 and change == "content":
            a[2] += 1
        np.save(path, a)
    if change == "time":
        os.utime(path, (0, 0))
    if change == "name":
        os.rename(path, path.replace("29", "31"))
    if change == "less":
        os.remove(path)
    if change == "size":
        with open(path, "ab") as f:
            f.write(b"more")


@pytest.mark.parametrize("change", [None, "time", "content", "name", "size", "less"])
def test_folders(folder, change):
    arrays(folder)
    folder.trains(*FORM, data="d", target="d")
    arrays(folder, change)
    said = like(folder)
    assert ("the data of input x is not what it was" in said) == (change not in (None, "time")), said


def test_a_table(folder):
    rows = ["a,b,c,d,label"] + [",".join(f"{v:.6f}" for v in row) + ",yes" for row in floats(12, 4)]
    rows[3] = rows[3].replace("yes", "no")
    folder.write("x.csv", "\n".join(rows))
    source = "x.csv,columns=a+b+c+d"
    folder.trains(*FORM, data=source)
    assert "is not what it was" not in like(folder)
    folder.write("x.csv", "\n".join(rows).replace("1", "2", 1))
    assert "the data of input x is not what it was" in like(folder)


# ---- loss models

def test_loss_models_beside_the_best_are_of_the_same_step(folder):
    """A learning rate that makes it worse after the first validation: the output and its loss model are of that step."""
    folder.write("loss.onnx", model([helper.make_node("Mul", ["y", "factor"], ["s"], "scale"),
                                     helper.make_node("Sub", ["s", "goal"], ["d"], "difference"),
                                     helper.make_node("Mul", ["d", "d"], ["loss"], "square")],
                                    [value("y", ["batch", 3]), value("goal", ["batch", 3])], [value("loss", ["batch", 3])],
                                    [tensor("factor", np.ones(3, np.float32))]))
    common = ["--loss", "loss.onnx", "--target", "goal=y.npy", "--data", "x.npy", "--batch_size", "12", "--optimizer", "sgd", "--max_norm", "0",
              "--no_shuffle", "--threads", "1"]
    validation = ["--val_data", "x.npy", "--val_target", "goal=y.npy", "--eval_every", "1"]
    done = folder.run("train", "m.onnx", *common, *validation, "--steps", "4", "--lr", "20", "-o", "best.onnx")
    assert done.returncode == 0, done.stderr
    best = json.loads(metadata(folder, "best.onnx")["ongrad.metrics"])["step"]
    assert best == 1, "the rate was to be too high"
    done = folder.run("train", "m.onnx", *common, "--steps", "1", "--lr", "20", "-o", "one.onnx")
    assert done.returncode == 0, done.stderr
    weights = [[onnx.numpy_helper.to_array(t) for t in onnx.load(folder / name).graph.initializer]
               for name in ("best.onnx", "one.onnx", "best.loss.onnx", "one.loss.onnx", "loss.onnx")]
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert np.array_equal(weights[2][0], weights[3][0]) and not np.array_equal(weights[2][0], weights[4][0])
