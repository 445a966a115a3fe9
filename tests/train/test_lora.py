"""Low-rank adapters: against the same written down in NumPy, and merged as kept in ONNX Runtime.

ONGRAD names the command. Needs onnx and onnxruntime."""
import json

import numpy as np
import pytest
from commands import Folder, floats, model, rng, tensor, value
from onnx import helper
from test_finetuning import convolutional, double_model, engine, runs, weights

SAMPLES, STEPS = 12, 10


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


@pytest.fixture
def images(folder):
    folder.save("x.npy", floats(SAMPLES, 2, 6, 6))
    folder.write("m.onnx", convolutional())
    return folder


def losses(folder):
    return [s["loss"] for s in map(json.loads, folder.read("log.jsonl").splitlines()) if "step" in s]


# ---- values

def reference(first, a, b, scale, x, target, lr):
    """Full batch gradient descent on A and B of w1 alone: losses of every step, and w1 merged."""
    w, found = dict(first), []
    for _ in range(STEPS):
        w["w1"] = first["w1"] + scale * a @ b
        h = np.tanh(x @ w["w1"] + w["b1"])
        error = h @ w["w2"] + w["b2"] - target
        found.append(np.mean(error * error))
        dw = x.T @ ((2 * error / error.size) @ w["w2"].T * (1 - h * h))
        a, b = a - lr * scale * dw @ b.T, b - lr * scale * a.T @ dw
    return found, first["w1"] + scale * a @ b


@pytest.mark.parametrize("transposed", [False, True])
def test_as_numpy(folder, transposed):
    m, first = double_model()
    if transposed:  # as nn.Linear is exported: Gemm with the weight [out, in]
        nodes = [helper.make_node("Gemm", ["x", "w1", "b1"], ["b"], transB=1), *m.graph.node[2:]]
        tensors = [tensor(n, w.T.copy() if n == "w1" else w) for n, w in first.items()]
        m = model(nodes, m.graph.input, m.graph.output, tensors)
    x, target = rng(6).normal(size=(SAMPLES, 4)), rng(7).normal(size=(SAMPLES, 3))
    folder.write("m.onnx", m)
    folder.save("x.npy", x)
    folder.save("y.npy", target)
    common = {"target": "y.npy", "loss": "mse"}
    options = ["--batch_size", str(SAMPLES), "--steps", str(STEPS), "--no_shuffle", "--max_norm", "0", "--optimizer", "sgd",
               "--log", "log.jsonl"]
    kept = folder.trains(*options, "--lr", "0", "--lora", "rank=2,alpha=6,target=w1,keep", **common)
    start = weights(kept)
    a, b = start["w1.lora_A"], start["w1.lora_B"]
    assert a.shape == (4, 2) and b.shape == (2, 6) and not b.any()
    assert 0 < np.abs(a).max() <= .5 and len(np.unique(a)) == 8  # uniform in ±1/√4
    expected, merged = reference(first, a, b, 3, x, target, .2)
    trained = weights(folder.trains(*options, "--lr", ".2", "--lora", "rank=2,alpha=6,target=w1", **common))
    np.testing.assert_allclose(losses(folder), expected, rtol=1e-11)  # float64 on both sides
    assert expected[-1] < .95 * expected[0]
    np.testing.assert_allclose(trained["w1"].T if transposed else trained["w1"], merged, rtol=1e-10, atol=1e-13)
    assert set(trained) == set(first)
    for n in set(first) - {"w1"}:
        assert np.array_equal(trained[n], first[n]), n


# ---- what is saved

@pytest.mark.parametrize("head", ["linear", "transposed", "conv"])
def test_merged_is_as_kept(images, head):
    images.write("m.onnx", convolutional(head))
    loss = "nll" if head == "transposed" else "cross_entropy"
    options = ["--epochs", "3", "--batch_size", "6", "--lr", "0.05", "--freeze_bn", "all"]
    kept = images.trains(*options, "--lora", "rank=2,alpha=8,keep", loss=loss)
    x = {"x": np.load(images / "x.npy")}
    branches = engine(images / "out.onnx").run(None, x)[0]
    assert {n.op_type for n in kept.graph.node} >= {"Mul", "Add", "Conv"}
    merged = images.trains(*options, "--lora", "rank=2,alpha=8", loss=loss)
    assert [n.SerializeToString() for n in merged.graph.node] == [n.SerializeToString() for n in convolutional(head).graph.node]
    y = engine(images / "out.onnx").run(None, x)[0]
    np.testing.assert_allclose(y, branches, rtol=1e-5, atol=1e-5)
    before = engine(images / "m.onnx").run(None, x)[0]
    assert np.abs(y - before).max() > 1e-2
    w, old = weights(merged), weights(images / "m.onnx")
    changed = {n for n in w if not np.array_equal(w[n], old[n])}
    assert changed == {"c1.w", "c2.w", "h.w"}
    for n in changed:
        difference = (w[n].astype(np.float64) - old[n]).reshape(len(w[n]), -1)
        if head == "transposed" and n == "h.w":
            difference = difference.T
        assert np.linalg.matrix_rank(difference, tol=1e-5) <= 2, n


def test_kept_is_a_model_to_go_on_with(images):
    images.trains("--lora", "rank=2,keep", "--freeze_bn", "all", "--epochs", "1")
    images.write("m.onnx", images.read("out.onnx"))
    images.write("out.onnx", b"")
    assert "c1.w.lora_A" in weights(images.trains("--epochs", "1"))


def test_with_a_new_head(images):
    kept = weights(images.trains("--num_classes", "3", "--lora", "rank=2", "--freeze_bn", "all"))
    first = weights(images.trains("--num_classes", "3", "--lora", "rank=2", "--freeze_bn", "all", "--lr", "0"))
    runs(images, 3)
    assert {n for n in kept if not np.array_equal(kept[n], first[n])} == {"c1.w", "c2.w", "h.w", "h.b"}


def test_also_what_trainable_names(images):
    old = weights(images / "m.onnx")
    w = weights(images.trains("--lora", "rank=2,target=c2*", "--trainable", "h.b", "--freeze_bn", "all"))
    assert {n for n in w if not np.array_equal(w[n], old[n])} == {"c2.w", "h.b"}


# ---- memory

def test_only_adapters_have_gradients(tmp_path):
    folder = Folder(tmp_path)
    new = folder.run("new", "mlp", "--input_size", "256", "--hidden_sizes", "512,512", "-o", "big.onnx")
    assert new.returncode == 0, new.stderr

    def plan(*options):
        done = folder.run("plan", "big.onnx", "--loss", "cross_entropy", "--batch_size", "32", "--json", *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["bytes"]
    whole, lora = plan(), plan("--lora", "rank=4,target=layers*")
    adapters = 4 * 4 * ((256 + 512) + (512 + 512))  # bytes; each tensor of them is a multiple of what storages are aligned to
    assert (lora["parameters"], lora["gradients"], lora["optimizer"]) == (adapters, adapters, 2 * adapters)
    assert whole["gradients"] > 40 * adapters


# ---- what is refused

@pytest.mark.parametrize("text,why", [
    ("rank=0", "rank is a number from 1 to 65536"), ("rank=two", "rank is a number"), ("alpha=3", "rank is missing"),
    ("rank=2,alpha=0", "alpha is a number above 0"), ("rank=2,beta=3", "keys are rank, alpha, target and keep"),
    ("rank=2,target=", "keys are"), ("rank=2,keep=1", "keys are"),
])
def test_not_an_adapter(folder, text, why):
    folder.refuses([f'option lora is "{text}"', why, "such as rank=8"], "--lora", text, status=2)


def test_no_place_for_an_adapter(folder):
    folder.refuses(["--lora rank=2,target=bias finds no weight of a MatMul, Gemm or Conv", "ongrad check"],
                   "--lora", "rank=2,target=bias", status=2)
    embedded = [helper.make_node("MatMul", ["x", "w"], ["a"], "m"), helper.make_node("Transpose", ["w"], ["t"], "t", perm=[1, 0]),
                helper.make_node("Mul", ["a", "s"], ["b"], "k"), helper.make_node("MatMul", ["b", "t"], ["c"], "n"),
                helper.make_node("Add", ["c", "w2"], ["y"], "q")]
    folder.write("m.onnx", model(embedded, [value("x", ["batch", 4])], [value("y", ["batch", 4])],
                                 [tensor("w", floats(4, 3)), tensor("s", floats(3)), tensor("w2", floats(4))]))
    folder.refuses('that no other node reads, too (the first such is "w")', "--lora", "rank=2", status=2)


def test_a_weight_that_trains_beside_its_adapter(images):
    options = ["--lora", "rank=2,target=h.w", "--trainable", "h.w", "--freeze_bn", "all", "--epochs", "2", "--lr", "0.05"]
    images.trains(*options)
    merged = engine(images / "out.onnx").run(None, {"x": np.load(images / "x.npy")})[0]
    options[1] += ",keep"
    images.trains(*options)
    np.testing.assert_allclose(merged, engine(images / "out.onnx").run(None, {"x": np.load(images / "x.npy")})[0], rtol=1e-5, atol=1e-5)


def test_gradients_of_adapters(images):
    done = images.run("check", "m.onnx", "--gradients", "--loss", "cross_entropy", "--data", "x.npy", "--target", "t.npy",
                      "--lora", "rank=2,alpha=5", "--freeze_bn", "all", "--json")
    assert done.returncode == 0, done.stderr
    found = {g["name"]: g for g in json.loads(done.stdout)["gradients"]}
    assert set(found) == {f"{w}.lora_{m}" for w in ("c1.w", "c2.w", "h.w") for m in "AB"}
    assert all(g["passed"] for g in found.values()) and abs(found["h.w.lora_B"]["gradient"]) > 0
