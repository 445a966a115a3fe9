"""Built-in models from outside: ongrad new, and training without a model.

    ONGRAD=build/release/ongrad python3 -m pytest tests/models/test_builtin.py

Needs onnx and onnxruntime. Every type is checked by ONNX's own checker, runs in ONNX Runtime with the outputs of ongrad
predict, and learns; sizes are those of the reference implementations. test_builtin_torch.py holds them against PyTorch."""
import hashlib
import json
import math
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "train"))
from trained_model import trained_bytes  # noqa: E402

ONGRAD = str(pathlib.Path(os.environ.get("ONGRAD", "build/release/ongrad")).resolve())
BATCH = 3
STREAMS = ["--num_layers", "2", "--d_model", "48", "--num_heads", "4", "--feature_size", "12", "--feature_steps", "5",
           "--frames", "3", "--video_size", "32", "--face_size", "32"]
# name: the arguments of ongrad new, small
MODELS = {
    "transformer": ["transformer", *STREAMS],
    "regress": ["transformer", *STREAMS, "--regress", "features_224"],
    "two_streams": ["transformer", *STREAMS, "--streams", "face,features_224", "--num_classes", "4"],
    "lightweight_transformer": ["lightweight_transformer", *STREAMS[2:], "--streams", "video", "--num_outputs", "2"],
    "mlp": ["mlp", "--input_size", "20", "--hidden_sizes", "32,16", "--dropout", "0.1"],
    "one_layer": ["mlp", "--input_size", "5", "--hidden_sizes", "1", "--num_outputs", "1"],
    "cnn": ["cnn", "--channels", "3", "--image_size", "15", "--conv_channels", "8,12,16"],
    "resnet": ["resnet", "--image_size", "16", "--num_classes", "10"],
    "resnet_imagenet": ["resnet", "--image_size", "33", "--stem", "imagenet", "--channels", "1", "--num_classes", "7"],
    "vit": ["vit", "--image_size", "32", "--patch_size", "8", "--num_layers", "2", "--d_model", "64", "--dropout", "0.1"],
    "gpt": ["gpt", "--vocab_size", "50", "--sequence_length", "140", "--num_layers", "2", "--d_model", "64"],
    "gpt_untied": ["gpt", "--vocab_size", "50", "--sequence_length", "9", "--num_layers", "1", "--d_model", "30",
                   "--num_heads", "3", "--no_tie_head", "--dropout", "0"],
    "bert": ["bert", "--vocab_size", "50", "--sequence_length", "12", "--num_layers", "2", "--d_model", "30", "--num_heads", "3"],
    "lstm": ["lstm", "--input_size", "6", "--sequence_length", "7", "--hidden_size", "16"],
    "lstm_both": ["lstm", "--input_size", "6", "--sequence_length", "7", "--hidden_size", "16", "--num_layers", "2",
                  "--bidirectional", "--dropout", "0.2"],
}


def run(*arguments, status=0, **more):
    result = subprocess.run([ONGRAD, *map(str, arguments)], capture_output=True, text=True, timeout=600, **more)
    assert result.returncode == status, f"ongrad {arguments}: {result.returncode}\n{result.stderr}"
    return result.stderr


def new(path, *arguments):
    run("new", *arguments, "-o", path, "-q")
    return path


def engine(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights_of(path):
    return {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}


def batch_for(session, folder, seed=0):
    """Inputs and a target for the first output, written as .npy: (feeds, options of --data, of --target and --loss)."""
    random, feeds, data = np.random.default_rng(seed), {}, []
    for i in session.get_inputs():
        shape = [BATCH, *i.shape[1:]]
        tokens = "int64" in i.type
        feeds[i.name] = random.integers(0, 50, shape) if tokens else random.standard_normal(shape).astype(np.float32)
        np.save(folder / f"{i.name}.npy", feeds[i.name])
        data += ["--data", f"{i.name}={folder / i.name}.npy"]
    output = session.get_outputs()[0]
    shape = [BATCH, *output.shape[1:]]
    if output.name == "logits":
        target, loss = random.integers(0, shape[-1], shape[:-1]), "cross_entropy"
    else:
        target, loss = random.standard_normal(shape).astype(np.float32), "mse"
    np.save(folder / "target.npy", target)
    return feeds, data, ["--target", folder / "target.npy", "--loss", loss]


@pytest.mark.parametrize("name", MODELS)
def test_standard_model_with_the_same_outputs_everywhere(name, tmp_path):
    path = new(tmp_path / "model.onnx", *MODELS[name])
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    assert {o.domain: o.version for o in model.opset_import} == {"": 20}
    names = [n.name for n in model.graph.node if n.op_type != "Constant"]
    assert all(names) and len(set(names)) == len(names)
    for value in [*model.graph.input, *model.graph.output]:
        dims = value.type.tensor_type.shape.dim
        assert dims[0].dim_param == "batch" and all(d.dim_value > 0 for d in dims[1:]), value
    for tensor in model.graph.initializer:  # parameters alone: everything else is a Constant node
        assert tensor.data_type == onnx.TensorProto.FLOAT, tensor.name
    drops = [n for n in model.graph.node if n.op_type == "Dropout"]
    assert all(len(n.input) == 3 for n in drops)

    exported = tmp_path / "exported.onnx"
    run("export", path, "-o", exported, "-q")
    assert all(len(n.input) == 2 for n in onnx.load(str(exported)).graph.node if n.op_type == "Dropout")
    session = engine(exported)
    feeds, data, _ = batch_for(session, tmp_path)
    expected = session.run(None, feeds)[0]
    run("predict", path, *data, "-o", tmp_path / "y.npy", "-q")
    y = np.load(tmp_path / "y.npy")
    assert y.shape == expected.shape
    # sums of up to a thousand products, in another order
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_learns(name, tmp_path):
    path = new(tmp_path / "model.onnx", *MODELS[name])
    _, data, target = batch_for(engine(path), tmp_path)
    run("train", path, *data, *target, "--steps", 10, "-o", tmp_path / "trained.onnx", "--log", tmp_path / "log",
        "-q")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log").read_text().splitlines()[:10]]
    assert losses[-1] < 0.98 * losses[0], losses


# What torchvision's resnets and vit_b_16, and GPT-2 with its tied head, have.
SIZES = {
    "resnet18": (11689512, ["resnet"]),
    "resnet34": (21797672, ["resnet", "--depth", "34"]),
    "resnet50": (25557032, ["resnet", "--depth", "50"]),
    "vit_b_16": (86567656, ["vit"]),
    "gpt2": (124439808, ["gpt"]),
    "bert": (109514298 - 768, ["bert"]),  # of two segments there
}


@pytest.mark.parametrize("name", SIZES)
def test_size_of_the_reference(name, tmp_path):
    expected, arguments = SIZES[name]
    said = run("new", *arguments, "-o", tmp_path / "model.onnx")
    assert f" {expected} parameters" in said, said
    (tmp_path / "model.onnx").unlink()


def test_default_transformers(tmp_path):
    said = run("new", "transformer", "-o", tmp_path / "a.onnx")
    shape = r"features_224 float32 \[batch, 16, 224\], video float32 \[batch, 16, 3, 112, 112\], " \
            r"face float32 \[batch, 3, 112, 112\]"
    assert re.search(shape, said), said
    names = weights_of(tmp_path / "a.onnx")
    assert names["layers.5.linear1.weight"].shape == (1024, 4096) and "layers.6.linear1.weight" not in names
    run("new", "lightweight_transformer", "-o", tmp_path / "b.onnx")
    names = weights_of(tmp_path / "b.onnx")
    assert names["layers.1.linear1.weight"].shape == (768, 3072) and "layers.2.linear1.weight" not in names


# ---- initial weights -----------------------------------------------------------------------------------------

def test_a_seed_gives_the_same_bytes(tmp_path):
    # larger than what one thread draws at once, of an odd size
    wide = ["mlp", "--input_size", "301", "--hidden_sizes", "333,77"]
    first = digest(new(tmp_path / "a.onnx", *wide, "--threads", "1"))
    assert digest(new(tmp_path / "b.onnx", *wide, "--threads", "5", "--seed", "0")) == first
    assert digest(new(tmp_path / "c.onnx", *wide, "--seed", "1")) != first
    assert digest(new(tmp_path / "d.onnx", *wide, "--seed", "-1")) != first


def check_distribution(name, w, kind, a):
    """Mean, variance and fourth moment within six standard errors of the distribution's."""
    w = np.asarray(w, np.float64).ravel()
    variance, kurtosis = (a * a / 3, 1.8) if kind == "uniform" else (a * a, 3)
    assert abs(w.mean()) < 6 * math.sqrt(variance / w.size), name
    assert abs(w.var() / variance - 1) < 6 * math.sqrt((kurtosis - 1) / w.size), name
    if kind == "uniform":
        assert np.abs(w).max() < a, name
    if w.size > 10000:
        assert abs((w ** 4).mean() / variance ** 2 / kurtosis - 1) < 0.1, name


def test_distributions_are_those_of_their_formulas(tmp_path):
    w = weights_of(new(tmp_path / "mlp.onnx", "mlp"))
    check_distribution("linear", w["layers.1.linear.weight"], "uniform", 1 / math.sqrt(512))
    check_distribution("bias", w["layers.1.linear.bias"], "uniform", 1 / math.sqrt(512))
    w = weights_of(new(tmp_path / "resnet.onnx", "resnet"))
    check_distribution("conv", w["layer2.0.conv1.weight"], "normal", math.sqrt(2 / (128 * 9)))
    assert (w["layer1.0.bn1.weight"] == 1).all() and (w["layer1.0.bn1.running_mean"] == 0).all()


def test_weights_are_unrelated(tmp_path):
    """No two tensors, and no two halves of one, are drawn from the same numbers."""
    w = weights_of(new(tmp_path / "m.onnx", "mlp", "--input_size", "64", "--hidden_sizes", "64,64", "--num_classes", "64"))
    flat = [t.ravel()[k:k + 2048] / np.abs(t).max() for n, t in sorted(w.items()) if t.ndim == 2 for k in (0, 2048)]
    correlation = np.corrcoef(flat) - np.eye(len(flat))
    assert np.abs(correlation).max() < 6 / math.sqrt(2048)


# ---- the command ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments, status, said", [
    (["resnt"], 2, 'unknown model type "resnt"; did you mean resnet?'),
    (["quux"], 2, "there are bert, cnn, gpt, lstm, mlp, resnet, transformer, lightweight_transformer, vit"),
    ([], 2, "ongrad new TYPE"),
    (["gpt", "--d_model", "100", "--num_heads", "3"], 2, "d_model is 100, which num_heads, 3, does not divide"),
    (["mlp", "--input_size", "-1"], 2, "input_size is -1, expected 1 to"),
    (["mlp", "--input_size", "1e3"], 2, "expected a whole number"),
    (["mlp", "--hidden_sizes", "3,,4"], 2, 'hidden_sizes is "3,,4", expected'),
    (["mlp", "--hidden_sizes", "12," * 40], 2, "expected up to 32 whole numbers"),
    (["mlp", "--dropout", "1"], 2, "dropout is 1, expected at least 0 and less than 1"),
    (["mlp", "--num_classes", "2", "--num_outputs", "2"], 2, "exclude each other"),
    (["mlp", "--d_model", "8"], 2, "mlp has no option d_model; it has input_size, hidden_sizes, dropout"),
    (["vit", "--patch_size", "15"], 2, "image_size is 224, which patch_size, 15, does not divide"),
    (["vit", "--num_layers", "0"], 2, "num_layers is 0, expected 1 to 1024"),
    (["vit", "--num_layers", "99999999999999999999"], 2, "expected a whole number"),
    (["cnn", "--conv_channels", "4,4,4,4,4"], 2, "image_size is 28, which 5 blocks cannot halve"),
    (["resnet", "--depth", "19"], 2, "depth is 19, expected 18, 34, 50, 101 or 152"),
    (["resnet", "--stem", "huge"], 2, 'stem is "huge", expected auto, imagenet or small'),
    (["transformer", "--streams", "face,face"], 2, "each at most once"),
    (["transformer", "--streams", "audio"], 2, 'streams is "audio", expected names of features_224, video and face'),
    (["transformer", "--regress", "face"], 2, 'regress is "face", expected features_224'),
    (["transformer", "--regress", "features_224", "--streams", "features_224"], 2, "both a stream and what is predicted"),
    (["transformer", "--regress", "features_224", "--num_classes", "3"], 2, "excludes num_classes"),
    (["transformer", "--face_size", "15"], 2, "face_size is 15, expected 16 to"),
    # 16777216 × 16777216 floats: more than any memory, told before any is taken
    (["mlp", "--input_size", "16777216", "--hidden_sizes", "16777216"], 1, "of memory are free"),
    (["transformer", "--d_model", "1000000", "--num_layers", "1024"], 1, "of memory are free"),
    (["transformer", "--d_model", "16777216", "--frames", "16777216"], 1, "a transformer of this size cannot be built"),
    (["mlp", "--overwright"], 2, "did you mean --overwrite?"),
])
def test_what_cannot_be_made(arguments, status, said, tmp_path):
    message = run("new", *arguments, status=status, cwd=tmp_path)
    assert said in message
    assert not os.listdir(tmp_path)


def test_output_paths(tmp_path):
    small = ["mlp", "--input_size", "2", "--hidden_sizes", "2"]
    run("new", *small, cwd=tmp_path)
    assert os.listdir(tmp_path) == ["model.onnx"]
    before = digest(tmp_path / "model.onnx")
    assert "--overwrite" in run("new", *small, "--seed", "1", status=2, cwd=tmp_path)
    assert digest(tmp_path / "model.onnx") == before
    run("new", *small, "--seed", "1", "--overwrite", cwd=tmp_path)
    assert digest(tmp_path / "model.onnx") != before
    assert "no/where" in run("new", *small, "-o", "no/where.onnx", status=1, cwd=tmp_path)
    assert "is a folder" in run("new", *small, "-o", ".", "--overwrite", status=2, cwd=tmp_path)
    (tmp_path / "mlp").write_text("a file called like the type is in nobody's way")
    run("new", *small, "-o", "mlp", "--overwrite", cwd=tmp_path)
    assert os.listdir(tmp_path).count("mlp") == 1


def test_help_of_a_type(tmp_path):
    result = subprocess.run([ONGRAD, "new", "resnet", "--help"], capture_output=True, text=True, check=True).stdout
    assert "--depth N" in result and "(18)" in result and "--vocab_size" not in result
    result = subprocess.run([ONGRAD, "new", "--help"], capture_output=True, text=True, check=True).stdout
    assert "--vocab_size" in result and "lightweight_transformer" in result


def test_trains_without_a_model(tmp_path):
    """No MODEL: the transformer, whose streams are those that --data names."""
    random = np.random.default_rng(0)
    np.save(tmp_path / "f.npy", random.standard_normal((8, 5, 12)).astype(np.float32))
    np.save(tmp_path / "face.npy", random.standard_normal((8, 3, 16, 16)).astype(np.float32))
    np.save(tmp_path / "t.npy", random.integers(0, 3, 8))
    shape = ["--num_layers", "1", "--d_model", "16", "--num_classes", "3", "--face_size", "16", "--feature_size", "12",
             "--feature_steps", "5"]
    data = ["--data", "features_224=f.npy", "--face_dir", "face.npy", "--target", "t.npy", "--loss", "cross_entropy"]
    said = run("train", *shape, *data, "--epochs", "2", "--batch_size", "4", cwd=tmp_path)
    assert "training transformer" in said
    trained = onnx.load(str(tmp_path / "trained.onnx"))
    assert [i.name for i in trained.graph.input] == ["features_224", "face"]
    assert all(len(n.input) == 2 for n in trained.graph.node if n.op_type == "Dropout")
    # the same run in two commands
    run("new", "transformer", *shape, "--streams", "features_224,face", "-o", "m.onnx", cwd=tmp_path)
    run("train", "m.onnx", *data, "--epochs", "2", "--batch_size", "4", "-o", "two.onnx", cwd=tmp_path)
    assert trained_bytes(tmp_path / "two.onnx") == trained_bytes(tmp_path / "trained.onnx")
    for command in ["plan", "check"]:
        said = run(command, *shape, "--streams", "face", "--loss", "cross_entropy", cwd=tmp_path)
        assert "--num_layers 1" in said, said  # among the commands that come next
    run("eval", "--model_type", "lightweight_transformer", *shape, *data, cwd=tmp_path)
    for flag in ["--features_224_dir", "--video_dir", "--face_dir"]:
        assert flag in run("train", "--batch_size", "64", status=2, cwd=tmp_path)
    assert "--d_model is an option of built-in models" in run("train", "m.onnx", "--d_model", "8", *data, status=2,
                                                              cwd=tmp_path)


def test_gpt_looks_back_only(tmp_path):
    path = new(tmp_path / "g.onnx", *MODELS["gpt_untied"])
    session, tokens = engine(path), np.arange(9, dtype=np.int64)[None]
    before = session.run(None, {"tokens": tokens})[0]
    tokens[0, 5] = 40
    after = session.run(None, {"tokens": tokens})[0]
    assert np.array_equal(before[:, :5], after[:, :5]) and not np.allclose(before[:, 5:], after[:, 5:])


def test_large_models_have_external_data(tmp_path):
    """More than 1 GiB of weights: they lie in a file beside the model, which trains like any other."""
    if os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize < 3 << 30:
        pytest.skip("3 GiB of disk are needed")
    path = new(tmp_path / "m.onnx", "mlp", "--input_size", "20000", "--hidden_sizes", "14000", "--num_classes", "2")
    assert path.stat().st_size < 1 << 20
    assert (tmp_path / "m.onnx.data").stat().st_size > 1 << 30
    onnx.checker.check_model(str(path))
    w = np.memmap(tmp_path / "m.onnx.data", np.float32, "r", shape=(1 << 18,))
    assert 0 < np.abs(w).max() < 1 / math.sqrt(14000)


@pytest.mark.skipif("sanitize" in ONGRAD, reason="sanitizers keep what is freed")
@pytest.mark.parametrize("source", [False, True])
def test_first_weights_are_given_back(source, tmp_path):
    """A model of 46 MB of weights takes no more memory than its prediction, beside a share for kernels; its own first
    weights would be 46 MB more, and with --init_from those that the file replaces."""
    np.save(tmp_path / "x.npy", np.zeros((8, 784), np.float32))
    np.save(tmp_path / "t.npy", np.zeros(8, np.int64))
    sizes = ["--hidden_sizes", "4096,2048"]
    more = ["--init_from", new(tmp_path / "m.onnx", "mlp", *sizes, "--seed", "1")] if source else []
    run("train", "--model_type", "mlp", *sizes, "--data", tmp_path / "x.npy", "--target", tmp_path / "t.npy", "--loss",
        "cross_entropy", "--log", tmp_path / "log.jsonl", "-o", tmp_path / "out.onnx", "-q", *more)
    end = json.loads(open(tmp_path / "log.jsonl").read().splitlines()[-1])
    taken = end["anonymous_bytes"] - end["anonymous_start_bytes"]
    assert taken < end["peak_bytes"] + end["data_bytes"] + (12 << 20), (taken, end["peak_bytes"])
