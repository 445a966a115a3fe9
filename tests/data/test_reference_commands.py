"""The four commands of a reference trainer as they are typed, on folders of features, videos and faces made here; what they
leave to the data, and what goes wrong.

    ONGRAD=build/release/ongrad python3 -m pytest tests/data/test_reference_commands.py
"""
import json
import os

import numpy as np
import onnx
import onnxruntime
import pytest
from media import Folder, avi, bmp, needs_media, png

pytestmark = needs_media
COLORS = {"blue": (20, 20, 230), "green": (20, 230, 20), "red": (230, 20, 20)}
# A model small enough for a test; only what a configuration file says differs from the built-in default.
SMALL = "num_layers: 1\nd_model: 32\nnum_heads: 4\nframes: 4\nvideo_size: 32\nface_size: 32\nsteps: 6\nlr: 3e-3\n"
DIRS = "features_224_dir: features\nvideo_dir: videos\nface_dir: faces\n"
FOLDERS = ["--features_224_dir", "features", "--video_dir", "videos", "--face_dir", "faces"]
TYPED = [
    [*FOLDERS, "--batch_size", "128", "--memory_fraction", "0.9", "--allow_tf32"],
    ["--batch_size", "64", "--gradient_accumulation_steps", "2", "--memory_fraction", "0.9"],
    ["--batch_size", "128", "--no_amp", "--memory_fraction", "0.9"],
    ["--batch_size", "128", "--memory_fraction", "0.9", "--allow_tf32"],
]


def make(path, classes=True, n=12):
    """n samples of three colors: features of 8 to 11 steps, clips of 6 frames, faces as PNG and BMP."""
    folder = Folder(path)
    rng = np.random.default_rng(0)
    for i in range(n):
        name = list(COLORS)[i % 3]
        key = f"{name}/s{i:02d}" if classes else f"s{i:02d}"
        color = np.array(COLORS[name], np.uint8)
        folder.save(f"features/{key}.npy", rng.normal(i % 3, 1, (8 + i % 4, 224)).astype(np.float32))
        folder.write(f"videos/{key}.avi", avi(np.broadcast_to(color, (6, 24, 40, 3)) - rng.integers(0, 20, (6, 24, 40, 3))))
        folder.write(f"faces/{key}.{'png' if i % 2 else 'bmp'}",
                     (png if i % 2 else bmp)(np.broadcast_to(color, (40, 36, 3)) - rng.integers(0, 20, (40, 36, 3))))
    folder.write("small.yaml", SMALL)
    return folder


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path)


@pytest.mark.parametrize("typed", TYPED, ids=["folders", "accumulation", "no_amp", "tf32"])
def test_a_command_as_typed(folder, typed):
    folder.write("ongrad.yaml", SMALL + DIRS)
    more = ["--config", "small.yaml"] if typed[0].endswith("_dir") else []
    r = folder.run("train", *typed, *more)
    said = ["training transformer", "target: the class sub-folders of features", "loss: cross_entropy", "3 classes",
            "lengths differ: cropped or padded", "normalize unit (default)", "output      trained.onnx"]
    if not more:
        said.append("options: those of ./ongrad.yaml")
    assert not [s for s in said if s not in r.stderr], r.stderr
    onnx.checker.check_model(folder / "trained.onnx")
    folder.run("predict", "trained.onnx", "--data", "features_224=features", "--data", "video=videos", "--data", "face=faces",
               "-o", "p.npy", "-q")
    session = onnxruntime.InferenceSession(folder / "trained.onnx")
    shapes = {i.name: i.shape[1:] for i in session.get_inputs()}
    assert shapes == {"features_224": [11, 224], "video": [4, 3, 32, 32], "face": [3, 32, 32]}
    features = np.zeros((12, 11, 224), np.float32)
    names = [f"{c}/s{i:02d}" for c in COLORS for i in range(12) if list(COLORS)[i % 3] == c]
    for k, name in enumerate(names):
        x = np.load(folder / f"features/{name}.npy")
        features[k, :len(x)] = x
    # What the model saw of the pictures, from a copy of it that shows its inputs.
    seen = {}
    for name, path in (("video", "videos"), ("face", "faces")):
        shape = shapes[name]
        graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g",
                                       [onnx.helper.make_tensor_value_info("x", 1, ["batch", *shape])],
                                       [onnx.helper.make_tensor_value_info("y", 1, ["batch", *shape])])
        folder.write("m.onnx", onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8))
        seen[name] = np.load(folder / "p.npy") * 0
        folder.run("predict", "m.onnx", "--data", path, "-o", "seen.npy", "-q")
        seen[name] = np.load(folder / "seen.npy")
    y = session.run(None, {"features_224": features, **seen})[0]
    assert np.allclose(y, np.load(folder / "p.npy"), atol=2e-4)  # float32 sums in another order


def test_it_learns_and_evaluates_alike(folder):
    r = folder.run("train", *FOLDERS, "--config", "small.yaml", "--steps", 40, "--normalize", "half", "--color", "bgr",
                   "--val_split", .25, "--log", "l")
    assert "val_accuracy" in r.stderr
    data = ["--data", "features_224=features", "--data", "video=videos", "--data", "face=faces"]
    r = folder.run("eval", "trained.onnx", *data, "--loss", "cross_entropy", "--json")
    assert "normalize half (as the model was trained)" in r.stderr and "bgr (as the model was trained)" in r.stderr
    result = json.loads(r.stdout)
    assert result["accuracy"] == 1 and result["samples"] == 12
    metadata = {p.key: p.value for p in onnx.load(folder / "trained.onnx").metadata_props}
    assert (metadata["ongrad.classes"], metadata["ongrad.normalize"]) == ("blue\ngreen\nred", "half")
    # Classes keep their numbers where not all are there, and a new one is an error.
    os.rename(folder / "faces/blue", folder / "blue")
    os.rename(folder / "features/blue", folder / "old")
    r = json.loads(folder.run("eval", "trained.onnx", *data, "--target", "faces", "--loss", "cross_entropy", "--json", "-q").stdout)
    assert (r["accuracy"], r["samples"]) == (1, 8)
    os.rename(folder / "faces/red", folder / "faces/violet")
    folder.fails("eval", "trained.onnx", *data, "--target", "faces", "--loss", "cross_entropy",
                 parts=['class "violet" is none of the 3'])


def test_labels_csv(tmp_path):
    folder = make(tmp_path, classes=False)
    folder.write("labels.csv", "file,label\n" + "".join(f"s{i:02d},{list(COLORS)[i % 3]}\n" for i in range(12)))
    r = folder.run("train", *FOLDERS, "--config", "small.yaml")
    assert "labels.csv" in r.stderr and "loss: cross_entropy" in r.stderr and "3 classes" in r.stderr
    folder.write("labels.csv", "file,valence,arousal\n" + "".join(f"s{i:02d},{i / 7},{i}\n" for i in range(12)))
    r = folder.run("train", *FOLDERS, "--config", "small.yaml")
    assert "loss: mse, the target being numbers" in r.stderr
    assert onnx.load(folder / "trained.onnx").graph.output[0].type.tensor_type.shape.dim[1].dim_value == 2


def test_features_are_predicted_where_nothing_else_is(tmp_path):
    folder = make(tmp_path, classes=False)
    r = folder.run("train", *FOLDERS, "--config", "small.yaml")
    assert "target: features, predicted from video and face with mse" in r.stderr and "mse of output features_224" in r.stderr
    m = onnx.load(folder / "trained.onnx").graph
    assert [i.name for i in m.input] == ["video", "face"]
    assert [d.dim_value for d in m.output[0].type.tensor_type.shape.dim][1:] == [11, 224]


def test_sizes_follow_the_data(folder):
    folder.write("s.yaml", SMALL.replace("frames: 4\n", "") + "dropout: 0\n")
    folder.run("train", "--data", "video=videos,frames=5", "--data", "face=faces", "--config", "s.yaml", "-q")
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim][1:] for i in onnx.load(folder / "trained.onnx").graph.input}
    assert shapes == {"video": [5, 3, 32, 32], "face": [3, 32, 32]}


def test_what_goes_wrong(tmp_path):
    folder = make(tmp_path, classes=False)
    flags = ["--features_224_dir", "--video_dir", "--face_dir"]
    folder.fails("train", "--batch_size", "128", parts=["ongrad.yaml", *flags], status=2)
    folder.fails("train", "--face_dir", "faces", parts=["no --target", "no class sub-folders", "labels.csv"], status=2)
    folder.fails("train", "--face_dir", "nowhere", "--target", "faces", parts=["nowhere"])
    folder.fails("train", "--faces_dir", "faces", "--target", "faces", parts=["faces"], status=2)
    folder.write("ongrad.yaml", "vido: videos\n")
    folder.fails("train", parts=["ongrad.yaml:1", "vido", "unknown option"], status=2)
    folder.write("ongrad.yaml", "video_dir: nowhere\n")
    folder.fails("train", parts=["--data", "nowhere", "No such file"])
    for i in range(12):
        os.rename(folder / f"videos/s{i:02d}.avi", folder / f"videos/t{i:02d}.avi")
    os.remove(folder / "ongrad.yaml")
    folder.fails("train", *FOLDERS, "--config", "small.yaml", parts=["no sample has its parts", "s00: not in video"])


def test_the_contact_sheet(folder):
    r = folder.run("data", *FOLDERS, "--config", "small.yaml", "--hflip", .5, "--contact_sheet", "sheet.png", "--json")
    fields = {f["name"]: f for f in json.loads(r.stdout)["fields"]}
    assert fields["video"]["shape"][1:] == [4, 3, 32, 32] and fields["logits"]["labels"] == [4, 4, 4]
    assert 0 <= fields["face"]["least"] <= fields["face"]["most"] <= 1
    with open(folder / "sheet.png", "rb") as f:
        data = f.read()
    assert data.startswith(b"\x89PNG")
    # It can be read again: 8 rows of 4 frames and a face.
    folder.write("again/a.png", data)
    folder.fails("data", *FOLDERS, "--config", "small.yaml", "--contact_sheet", "nowhere/s.png", parts=["nowhere"])
    assert int.from_bytes(data[16:20], "big") == 4 + 5 * 132 and int.from_bytes(data[20:24], "big") == 4 + 8 * 132
