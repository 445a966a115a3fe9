"""Fine-tuning from the command line: a new head, another model's weights, weights begun anew, frozen norms, rates by name.

ONGRAD names the command. Needs onnx and onnxruntime."""
import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from commands import Folder, floats, model, rng, tensor, value
from onnx import TensorProto, helper, numpy_helper

SAMPLES = 12


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def weights(path):
    m = path if isinstance(path, onnx.ModelProto) else onnx.load(path)
    return {t.name: numpy_helper.to_array(t) for t in m.graph.initializer}


def engine(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def convolutional(head="linear"):
    """x [batch, 2, 6, 6] → y [batch, 5]: Conv, BatchNormalization, Relu, Conv, then the head."""
    nodes = [helper.make_node("Conv", ["x", "c1.w", "c1.b"], ["a"], "c1", pads=[1, 1, 1, 1]),
             helper.make_node("BatchNormalization", ["a", "n1.scale", "n1.shift", "n1.mean", "n1.var"], ["b"], "n1"),
             helper.make_node("Relu", ["b"], ["c"], "r1"),
             helper.make_node("Conv", ["c", "c2.w"], ["d"], "c2"),
             helper.make_node("BatchNormalization", ["d", "n2.scale", "n2.shift", "n2.mean", "n2.var"], ["e"], "n2")]
    tensors = {"c1.w": floats(4, 2, 3, 3), "c1.b": floats(4), "c2.w": floats(8, 4, 1, 1)}
    for name, n in ("n1", 4), ("n2", 8):
        tensors |= {f"{name}.scale": 1 + floats(n), f"{name}.shift": floats(n), f"{name}.mean": floats(n + 1)[:n],
                    f"{name}.var": 1 + floats(n) ** 2}
    infos = []
    if head == "conv":  # as SqueezeNet: scores by a convolution, then the mean over the image
        nodes += [helper.make_node("Conv", ["e", "h.w", "h.b"], ["f"], "head"), helper.make_node("Relu", ["f"], ["g"], "r2"),
                  helper.make_node("GlobalAveragePool", ["g"], ["h"], "pool"),
                  helper.make_node("Flatten", ["h"], ["y"], "flat")]
        tensors |= {"h.w": floats(5, 8, 1, 1), "h.b": floats(5)}
        infos = [value("f", ["batch", 5, 6, 6]), value("g", ["batch", 5, 6, 6]), value("h", ["batch", 5, 1, 1])]
    else:
        nodes += [helper.make_node("GlobalAveragePool", ["e"], ["f"], "pool"), helper.make_node("Flatten", ["f"], ["g"], "flat")]
        infos = [value("g", ["batch", 8]), value("s", ["batch", 5])]
        tensors |= {"h.w": floats(5, 8), "h.b": floats(5)}
        if head == "transposed":
            tensors["h.b"] = floats(1, 5)
            nodes += [helper.make_node("Transpose", ["h.w"], ["t"], "t", perm=[1, 0]), helper.make_node("MatMul", ["g", "t"], ["s"], "p"),
                      helper.make_node("Add", ["s", "h.b"], ["u"], "q"), helper.make_node("Softmax", ["u"], ["y"], "probabilities")]
        else:
            nodes += [helper.make_node("Gemm", ["g", "h.w", "h.b"], ["y"], "head", transB=1)]
    m = model(nodes, [value("x", ["batch", 2, 6, 6])], [value("y", ["batch", 5])], [tensor(n, a) for n, a in tensors.items()])
    m.graph.value_info.extend(infos)
    onnx.checker.check_model(m)
    return m


@pytest.fixture
def images(folder):
    folder.save("x.npy", floats(SAMPLES, 2, 6, 6))
    folder.write("m.onnx", convolutional())
    return folder


def trained(folder, *more, **options):
    return weights(folder.trains("--batch_size", "6", "--epochs", "1", *more, **options))


def runs(folder, classes):
    """onnxruntime's output of out.onnx has the declared shape."""
    session = engine(folder / "out.onnx")
    y = session.run(None, {"x": np.load(folder / "x.npy")})[0]
    assert session.get_outputs()[0].shape == ["batch", classes]
    assert y.shape == (SAMPLES, classes) and np.isfinite(y).all()


# ---- --num_classes

@pytest.mark.parametrize("head", ["linear", "transposed", "conv"])
def test_a_head_for_other_classes(images, head):
    images.write("m.onnx", convolutional(head))
    loss = "nll" if head == "transposed" else "cross_entropy"
    done = images.train("--num_classes", "3", "--lr", "0", "--epochs", "1", loss=loss)
    assert done.returncode == 0, done.stderr
    assert re.search(r"changed +head of output y re-created: h\.w, float32 \[5, 8", done.stderr), done.stderr
    onnx.checker.check_model(onnx.load(images / "out.onnx"), full_check=True)
    runs(images, 3)
    w, old = weights(images / "out.onnx"), weights(images / "m.onnx")
    assert w["h.w"].shape == (3, *old["h.w"].shape[1:])
    assert w["h.b"].shape == ((1, 3) if head == "transposed" else (3,))
    bound = 1 / np.sqrt(8)  # nn.Linear.reset_parameters of 8 inputs
    for name in "h.w", "h.b":
        assert 0 < np.abs(w[name]).max() <= bound and len(np.unique(w[name])) == w[name].size
    assert all(np.array_equal(w[n], old[n]) for n in w if n not in ("h.w", "h.b", *statistics("n1"), *statistics("n2")))


def statistics(name):
    return f"{name}.mean", f"{name}.var"


def test_the_seed_draws_the_head(images):
    one, again, other = (trained(images, "--num_classes", "3", "--lr", "0", "--seed", s)["h.w"] for s in "112")
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert trained(images, "--num_classes", "5", "--lr", "0", "--seed", "1")["h.w"].shape == (5, 8)


def test_a_new_head_learns(images):
    w = trained(images, "--num_classes", "3", "--freeze", "c*", "--freeze", "n*")
    old = weights(images / "m.onnx")
    assert np.array_equal(w["c1.w"], old["c1.w"])
    assert not np.array_equal(w["h.w"], trained(images, "--num_classes", "3", "--lr", "0")["h.w"])


@pytest.mark.parametrize("change,text", [
    (["--num_classes", "0"], "num_classes is 0, expected 1 to"),
    (["--num_classes", "3", "--loss", "mse"], "num_classes is for an output that scores classes, and loss mse compares none"),
])
def test_no_head_for_that(images, change, text):
    done = images.run("plan", "m.onnx", *change)
    assert done.returncode == 2 and text in done.stderr, done.stderr


def test_outputs_that_are_no_head(folder):
    def says(text, nodes, outputs, *tensors, loss=()):
        folder.write("m.onnx", model(nodes, [value("x", ["batch", 4])], outputs, [tensor(n, a) for n, a in tensors]))
        done = folder.run("plan", "m.onnx", "--num_classes", "7", *loss)
        assert done.returncode == 1 or done.returncode == 2
        assert text in done.stderr, done.stderr
    y = [value("y", ["batch", 4])]
    says('no head is found before output "y": Mul "m"', [helper.make_node("Mul", ["x", "w"], ["y"], "m")], y, ("w", floats(4)))
    says('no head is found before output "y": MatMul "m"', [helper.make_node("MatMul", ["x", "x"], ["y"], "m")],
         [value("y", ["batch", 4])])
    tied = [helper.make_node("MatMul", ["x", "w"], ["a"], "m"), helper.make_node("MatMul", ["a", "w"], ["y"], "n")]
    says('weight "w" is read by other nodes, too', tied, y, ("w", floats(4, 4)))
    shaped = [helper.make_node("MatMul", ["x", "w"], ["a"], "m"), helper.make_node("Reshape", ["a", "s"], ["y"], "r")]
    says('Reshape "r" (opset 17), behind the head, has its 6 classes in its shape', shaped, [value("y", ["batch", 6, 1])],
         ("w", floats(4, 6)), ("s", np.array([-1, 6, 1])))
    two = [helper.make_node("MatMul", ["x", "w"], ["y"], "m"), helper.make_node("MatMul", ["x", "v"], ["z"], "n")]
    outputs = [*y, value("z", ["batch", 6])]
    says("the model has 2 outputs; --loss OUTPUT=cross_entropy says which", two, outputs, ("w", floats(4, 4)), ("v", floats(4, 6)))
    done = folder.run("plan", "m.onnx", "--num_classes", "7", "--loss", "z=cross_entropy")
    assert done.returncode == 0 and "head of output z re-created: v" in done.stderr, done.stderr


# ---- --init_from

def test_weights_of_another_model(images):
    source = convolutional()
    for t in list(source.graph.initializer):
        array = numpy_helper.to_array(t)
        if t.name == "c2.w":
            t.name = "c3.w"
            source.graph.node[3].input[1] = "c3.w"
        elif t.name == "n1.scale":
            t.CopyFrom(tensor("n1.scale", np.ones(5, np.float32)))
        else:
            t.CopyFrom(tensor(t.name, array + 1))
    images.write("source.onnx", source)
    done = images.train("--init_from", "source.onnx", "--lr", "0", "--freeze_bn", "all")
    assert done.returncode == 0, done.stderr
    for text in ["changed     11 of 13 float tensors from source.onnx", "not in it, as they were (1): c2.w",
                 "of another shape or type, as they were (1): n1.scale float32 [5] there, float32 [4] here",
                 "in it alone, left out (1): c3.w"]:
        assert text in done.stderr, done.stderr
    w, old = weights(images / "out.onnx"), weights(images / "m.onnx")
    for name in w:
        assert np.array_equal(w[name], old[name] + (name not in ("c2.w", "n1.scale"))), name


def test_a_built_in_model_begins_with_a_file(tmp_path):
    folder = Folder(tmp_path)
    new = ["--input_size", "4", "--hidden_sizes", "300"]  # above what is kept within the model's own bytes
    assert folder.run("new", "mlp", *new, "--num_classes", "5", "--seed", "3", "-o", "source.onnx").returncode == 0
    done = folder.run("train", "--model_type", "mlp", *new, "--num_classes", "3", "--init_from", "source.onnx", "--lr", "0",
                      "--data", "x.npy", "--target", "t.npy", "--loss", "cross_entropy", "-o", "out.onnx")
    assert done.returncode == 0, done.stderr
    assert "2 of 4 float tensors from source.onnx" in done.stderr and "head.weight float32 [300, 5] there" in done.stderr
    w, source = weights(folder / "out.onnx"), weights(folder / "source.onnx")
    assert w["head.weight"].shape == (300, 3)
    assert np.array_equal(w["layers.0.linear.weight"], source["layers.0.linear.weight"])


def test_weights_that_cannot_be_had(images):
    images.write("broken.onnx", b"\x00\x01\x02")
    images.write("other.onnx", model([helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", ["batch", 4])],
                                     [value("y", ["batch", 3])], [tensor("w", floats(4, 3))]))
    images.refuses('option init_from: model "none.onnx" cannot be opened', "--init_from", "none.onnx")
    images.refuses("option init_from: broken.onnx", "--init_from", "broken.onnx")
    images.refuses("none of the 13 float tensors of the model is in other.onnx", "--init_from", "other.onnx", status=2)


# ---- --reinit

def test_weights_begun_anew(images):
    done = images.train("--reinit", "*", "--lr", "0", "--freeze_bn", "all", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert "13 tensors, 201 elements, begin anew" in done.stderr, done.stderr
    w, old = weights(images / "out.onnx"), weights(images / "m.onnx")
    for name, fan_in in ("c1.w", 18), ("c1.b", 18), ("c2.w", 4), ("h.w", 8), ("h.b", 8):
        assert 0 < np.abs(w[name]).max() <= fan_in ** -.5 and not np.array_equal(w[name], old[name]), name
        assert np.abs(w[name]).max() > .5 * fan_in ** -.5, name  # of 4 and more draws, not one in the upper half: 1 in 16
    for n in "n1", "n2":
        assert (w[f"{n}.scale"] == 1).all() and (w[f"{n}.shift"] == 0).all()
        assert (w[f"{n}.mean"] == 0).all() and (w[f"{n}.var"] == 1).all()
    some = trained(images, "--reinit", "c?.w", "--lr", "0", "--freeze_bn", "all")
    assert np.array_equal(some["h.w"], old["h.w"]) and not np.array_equal(some["c2.w"], old["c2.w"])


def test_weights_that_begin_nohow(folder):
    folder.write("m.onnx", model([helper.make_node("Einsum", ["x", "w"], ["y"], "e", equation="bi,ij->bj")],
                                 [value("x", ["batch", 4])], [value("y", ["batch", 3])], [tensor("w", floats(4, 3))]))
    folder.refuses('--reinit: how "w" begins is not known; it is read by Einsum "e"', "--reinit", "w")


# ---- globs that match nothing

@pytest.mark.parametrize("option", ["reinit", "freeze", "trainable", "freeze_bn", "no_decay", "lr_scale"])
def test_a_slip_in_a_name(images, option):
    text = "c1.v=0.1" if option == "lr_scale" else "c1.v"
    message = images.refuses([f'--{option} "{text}" matches no', 'the nearest is "c1.'], f"--{option}", text, status=2)
    assert "`ongrad check` lists their names" in message


def test_a_scale_that_is_none(images):
    for text in "c1.w", "c1.w=", "c1.w=x", "=2", "c1.w=-1", "c1.w=nan":
        images.refuses([f'lr_scale is "{text}"', "expected GLOB=X"], "--lr_scale", text, status=2)


# ---- --freeze_bn

def test_frozen_norms(images):
    old = weights(images / "m.onnx")
    both, one, none = (trained(images, *o) for o in (["--freeze_bn", "all"], ["--freeze_bn", "n1"], []))
    for name in statistics("n1"):
        assert np.array_equal(both[name], old[name]) and np.array_equal(one[name], old[name])
        assert not np.array_equal(none[name], old[name])
    for name in statistics("n2"):
        assert np.array_equal(both[name], old[name]) and not np.array_equal(one[name], old[name])
    assert not np.array_equal(both["n1.scale"], old["n1.scale"])  # its scale and shift train on
    named = trained(images, "--freeze_bn", "n1.scale")  # a tensor of it names it, too
    assert all(np.array_equal(named[n], one[n]) for n in named)


def test_frozen_norms_use_running_statistics(images):
    """The first training loss is then that of inference."""
    images.train("--freeze_bn", "all", "--batch_size", str(SAMPLES), "--steps", "1", "--log", "log.jsonl")
    loss = json.loads(images.read("log.jsonl").splitlines()[0])["loss"]
    y = engine(images / "m.onnx").run(None, {"x": np.load(images / "x.npy")})[0].astype(np.float64)
    log_p = y - np.log(np.exp(y).sum(1, keepdims=True))
    expected = -log_p[np.arange(SAMPLES), np.load(images / "t.npy")].mean()
    assert abs(loss - expected) < 1e-5 * abs(expected)  # float32 on both sides


def test_a_batch_of_one_with_frozen_norms(folder):
    m = model([helper.make_node("Gemm", ["x", "w"], ["a"], "g"),
               helper.make_node("BatchNormalization", ["a", "s", "b", "m", "v"], ["y"], "n")], [value("x", ["batch", 4])],
              [value("y", ["batch", 3])], [tensor("w", floats(4, 3)), *(tensor(n, 1 + floats(3) ** 2) for n in "sbmv")])
    folder.write("m.onnx", m)
    folder.refuses("trains on 1 value a channel; batch statistics need at least 2 (a larger batch, or --freeze_bn)", "--batch_size", "1",
                   status=2)
    folder.trains("--batch_size", "1", "--freeze_bn", "n")


# ---- --lr_scale, --no_decay

def double_model():
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["a"]), helper.make_node("Add", ["a", "b1"], ["b"]),
             helper.make_node("Tanh", ["b"], ["c"]), helper.make_node("MatMul", ["c", "w2"], ["d"]),
             helper.make_node("Add", ["d", "b2"], ["y"])]
    r = rng(5)
    tensors = {"w1": r.normal(0, .5, (4, 6)), "b1": r.normal(0, .5, 6), "w2": r.normal(0, .5, (6, 3)), "b2": r.normal(0, .5, 3)}
    return model(nodes, [value("x", ["batch", 4], TensorProto.DOUBLE)], [value("y", ["batch", 3], TensorProto.DOUBLE)],
                 [tensor(n, a) for n, a in tensors.items()]), tensors


def gradients(w, x, target):
    h = np.tanh(x @ w["w1"] + w["b1"])
    error = h @ w["w2"] + w["b2"] - target
    dy = 2 * error / error.size
    dh = dy @ w["w2"].T * (1 - h * h)
    return {"w1": x.T @ dh, "b1": dh.sum(0), "w2": h.T @ dy, "b2": dy.sum(0)}


def adamw(w, x, target, steps, lr, decay, scales, plain):
    """Loshchilov and Hutter, as torch.optim.AdamW, with rates by name."""
    w, m, v = dict(w), {n: 0 for n in w}, {n: 0 for n in w}
    for t in range(1, steps + 1):
        for n, g in gradients(w, x, target).items():
            rate = lr * scales.get(n, 1)
            m[n], v[n] = .9 * m[n] + .1 * g, .999 * v[n] + .001 * g * g
            w[n] = w[n] * (1 - rate * (0 if n in plain else decay))
            w[n] = w[n] - rate * (m[n] / (1 - .9 ** t)) / (np.sqrt(v[n] / (1 - .999 ** t)) + 1e-8)
    return w


@pytest.mark.parametrize("options,scales,plain", [
    ([], {}, ()),
    (["--lr_scale", "w1=0.1", "--no_decay", "b*"], {"w1": .1}, ("b1", "b2")),
    (["--lr_scale", "b1=0", "--lr_scale", "*1=0.5", "--no_decay", "w2"], {"b1": 0, "w1": .5}, ("w2",)),
])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_rates_by_name(folder, options, scales, plain, accumulation):
    m, first = double_model()
    x, target = rng(6).normal(size=(SAMPLES, 4)), rng(7).normal(size=(SAMPLES, 3))
    folder.write("m.onnx", m)
    folder.save("x.npy", x)
    folder.save("y.npy", target)
    folder.trains("--batch_size", str(SAMPLES // accumulation), "--gradient_accumulation_steps", str(accumulation), "--steps", "8",
                  "--no_shuffle", "--lr", "0.05", "--weight_decay", "0.3", "--max_norm", "0", *options, target="y.npy", loss="mse")
    w, expected = weights(folder / "out.onnx"), adamw(first, x, target, 8, .05, .3, scales, plain)
    for n in expected:  # float64 on both sides
        np.testing.assert_allclose(w[n], expected[n], rtol=1e-10, atol=1e-12, err_msg=n)


def test_one_call_a_group(folder):
    """However many tensors: one optimizer step for each group, beside those of one group."""
    folder.write("m.onnx", double_model()[0])
    folder.save("x.npy", rng(6).normal(size=(SAMPLES, 4)))
    folder.save("y.npy", rng(7).normal(size=(SAMPLES, 3)))

    def steps(*options):
        done = folder.train("--steps", "6", "--profile", "--profile_by", "call", *options, target="y.npy", loss="mse")
        assert done.returncode == 0, done.stderr
        return done.stdout.count("AdamStep") + done.stderr.count("AdamStep")
    assert steps() == 1
    assert steps("--no_decay", "b*") == 2
    assert steps("--no_decay", "b*", "--lr_scale", "w1=.1", "--lr_scale", "w2=.1") == 2
    assert steps("--no_decay", "b1", "--lr_scale", "w1=.1") == 3


# ---- files of other kinds

def test_initializers_that_are_inputs(folder):
    """Up to IR version 3 every initializer is an input of the graph, too, new ones as well."""
    m = model([helper.make_node("Gemm", ["x", "w", "b"], ["h"], "first"), helper.make_node("Gemm", ["h", "v"], ["y"], "head")],
              [value("x", ["batch", 4]), value("w", [4, 6]), value("b", [6]), value("v", [6, 3])], [value("y", ["batch", 3])],
              [tensor("w", floats(4, 6)), tensor("b", floats(6)), tensor("v", floats(6, 3))], ir=3, opset=11)
    folder.write("m.onnx", m)
    after = folder.trains("--num_classes", "5", "--lora", "rank=2,keep")
    assert {i.name for i in after.graph.input} == {"x", *weights(after)} == {"x", "w", "b", "v", "w.lora_A", "w.lora_B"}
    assert [d.dim_value for d in after.graph.input[3].type.tensor_type.shape.dim] == [6, 5]
    y = engine(folder / "out.onnx").run(None, {"x": np.load(folder / "x.npy")})[0]
    assert y.shape == (SAMPLES, 5)


def test_external_data(folder):
    m = model([helper.make_node("MatMul", ["x", "w"], ["h"], "first"), helper.make_node("MatMul", ["h", "v"], ["y"], "head")],
              [value("x", ["batch", 4])], [value("y", ["batch", 3])], [tensor("w", floats(4, 600)), tensor("v", floats(600, 3))])
    onnx.save(m, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    folder.write("small.onnx", model(m.graph.node, m.graph.input, m.graph.output, [tensor("w", floats(4, 600) + 1), tensor("v", floats(600, 3))]))
    after = folder.trains("--num_classes", "5", "--init_from", "small.onnx", "--lora", "rank=2", "--lr", "0")
    assert np.array_equal(weights(after)["w"], floats(4, 600) + 1) and weights(after)["v"].shape == (600, 5)
    folder.write("n.onnx", folder.read("small.onnx"))
    after = folder.trains("--init_from", "m.onnx", "--reinit", "v", "--lr", "0", model="n.onnx")
    assert np.array_equal(weights(after)["w"], floats(4, 600))


def test_a_layer_inside_a_function(folder):
    """Its nodes are not the graph's own: nothing can be put beside them, but their weights can be changed."""
    body = helper.make_function("own", "Layer", ["a", "w"], ["b"], [helper.make_node("MatMul", ["a", "w"], ["b"])],
                                [helper.make_opsetid("", 17)])
    folder.write("m.onnx", model([helper.make_node("Layer", ["x", "w"], ["y"], "l", domain="own")], [value("x", ["batch", 4])],
                                 [value("y", ["batch", 3])], [tensor("w", floats(4, 3))], functions=[body],
                                 opsets=[helper.make_opsetid("own", 1)]))
    folder.refuses("is made inside a function of the model, where nothing can be added", "--lora", "rank=2")
    assert weights(folder.trains("--num_classes", "5", "--reinit", "w"))["w"].shape == (4, 5)
