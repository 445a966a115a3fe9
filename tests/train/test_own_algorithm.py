"""Models that say themselves how they are trained (ONNX's TrainingInfoProto): against the same steps in NumPy.

ONGRAD names the command. The model is y = x w + b with the mean of squares as its loss; its algorithm is written by hand, or
with the Gradient, Momentum, Adam and Adagrad of ONNX's preview of training.
"""
import json

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from commands import FLOAT, Folder, floats, model, tensor, value

TRAINING = "ai.onnx.preview.training"
RATE, STEPS = np.float32(0.1), 5
N = helper.make_node


def base():
    return model([N("MatMul", ["x", "w"], ["h"], "product"), N("Add", ["h", "b"], ["y"], "bias")], [value("x", ["batch", 4])],
                 [value("y", ["batch", 3])], [tensor("w", floats(4, 3)), tensor("b", floats(3))], opset=17,
                 opsets=[helper.make_opsetid(TRAINING, 1)])


LOSS = [N("Sub", ["y", "goal"], ["d"]), N("Mul", ["d", "d"], ["square"]), N("ReduceMean", ["square"], ["loss"], keepdims=0)]
INPUTS = [value("x", ["batch", 4]), value("goal", ["batch", 3])]


def with_algorithm(nodes, updates, initializers=(), outputs=("loss",), inputs=INPUTS, m=None, firsts=None):
    """The model with an algorithm. updates: {initializer: output}; firsts: (graph of the initialization, bindings)."""
    m = m or base()
    info = m.training_info.add()
    declared = [value(name, []) for name in outputs]
    declared += [helper.make_tensor_value_info(o, FLOAT, None) for o in updates.values() if o not in outputs]
    info.algorithm.CopyFrom(helper.make_graph(nodes, "algorithm", list(inputs), declared, list(initializers)))
    for key, name in updates.items():
        info.update_binding.add(key=key, value=name)
    if firsts:
        info.initialization.CopyFrom(firsts[0])
        for key, name in firsts[1].items():
            info.initialization_binding.add(key=key, value=name)
    return m


def by_hand():
    """Gradient descent spelled out, with a counter of steps: no node that knows anything of training."""
    nodes = LOSS + [N("Mul", ["d", "two_n"], ["dy"]), N("Transpose", ["x"], ["xt"], perm=[1, 0]), N("MatMul", ["xt", "dy"], ["dw"]),
                    N("ReduceSum", ["dy", "axis"], ["db"], keepdims=0), N("Mul", ["dw", "rate"], ["sw"]),
                    N("Mul", ["db", "rate"], ["sb"]), N("Sub", ["w", "sw"], ["w_new"]), N("Sub", ["b", "sb"], ["b_new"]),
                    N("Add", ["T", "one"], ["T_new"])]
    initializers = [tensor("two_n", np.float32(2 / (6 * 3))), numpy_helper.from_array(np.array([0]), "axis"), tensor("rate", RATE),
                    numpy_helper.from_array(np.int64(0), "T"), numpy_helper.from_array(np.int64(1), "one")]
    return with_algorithm(nodes, {"w": "w_new", "b": "b_new", "T": "T_new"}, initializers)


STATES = {"Momentum": ["V"], "Adagrad": ["H"], "Adam": ["V", "H"]}


def with_optimizer(op, **attributes):
    states = STATES[op]
    gradient = N("Gradient", ["w", "b"], ["dw", "db"], "gradient", domain=TRAINING, xs=["w", "b"], y="loss")
    inputs = ["rate", "T", "w", "b", "dw", "db"] + [f"{s}_{p}" for s in states for p in "wb"]
    outputs = ["w_new", "b_new"] + [f"{s}_{p}_new" for s in states for p in "wb"]
    step = N(op, inputs, outputs, "step", domain=TRAINING, **attributes)
    nodes = LOSS + [gradient, step, N("Add", ["T", "one"], ["T_new"])]
    initializers = [tensor("rate", RATE), numpy_helper.from_array(np.int64(0), "T"), numpy_helper.from_array(np.int64(1), "one")]
    initializers += [tensor(f"{s}_{p}", np.zeros(shape, np.float32)) for s in states for p, shape in (("w", (4, 3)), ("b", (3,)))]
    updates = {o.removesuffix("_new"): o for o in outputs} | {"T": "T_new"}
    return with_algorithm(nodes, updates, initializers)


def steps_of(weights, states, rule, x, goal, batch=6):
    """Batches in order; the losses."""
    losses = []
    for t in range(STEPS):
        first = t * batch % len(x)
        xb, gb = x[first:first + batch].astype(np.float64), goal[first:first + batch]
        d = xb @ weights["w"] + weights["b"] - gb
        losses.append(np.mean(d * d))
        gradients = {"w": xb.T @ (2 * d / d.size), "b": np.sum(2 * d / d.size, axis=0)}
        for p in "wb":
            weights[p], states[p] = rule(t, weights[p], gradients[p], states[p])
    return losses


def sgd(t, w, g, s):
    return w - RATE * g, s


def momentum(alpha, beta, l2, nesterov=False):
    def rule(t, w, g, v):
        g = l2 * w + g
        v = alpha * v + (beta if t > 0 else 1) * g
        return w - RATE * (g + alpha * v if nesterov else v), v
    return rule


def adagrad(decay, epsilon):
    def rule(t, w, g, h):
        h = h + g * g
        return w - RATE / (1 + t * decay) * g / (np.sqrt(h) + epsilon), h
    return rule


def adam(alpha, beta, epsilon, post):
    def rule(t, w, g, s):
        v, h = s if np.ndim(s) else (0, 0)
        v, h = alpha * v + (1 - alpha) * g, beta * h + (1 - beta) * g * g
        rate = RATE * np.sqrt(1 - beta ** t) / (1 - alpha ** t) if t > 0 else RATE
        return (1 - post) * (w - rate * v / (np.sqrt(h) + epsilon)), np.stack([v, h])
    return rule


CASES = {
    "by hand": (by_hand, {}, sgd),
    "momentum": (with_optimizer, dict(op="Momentum", alpha=.9, beta=.8, norm_coefficient=.01, mode="standard"), momentum(.9, .8, .01)),
    "nesterov": (with_optimizer, dict(op="Momentum", alpha=.9, beta=1., norm_coefficient=0., mode="nesterov"), momentum(.9, 1, 0, True)),
    "adagrad": (with_optimizer, dict(op="Adagrad", decay_factor=.1, epsilon=1e-3), adagrad(.1, 1e-3)),
    "adam": (with_optimizer, dict(op="Adam", alpha=.8, beta=.95, epsilon=1e-3, norm_coefficient_post=.01), adam(.8, .95, 1e-3, .01)),
}
RUN = ["--batch_size", "6", "--no_shuffle", "--threads", "1", "--steps", str(STEPS)]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def train(folder, *more, status=0):
    done = folder.run("train", "m.onnx", "--data", "x=x.npy", "--data", "goal=y.npy", "-o", "out.onnx", *RUN, *more)
    assert done.returncode == status, done.stderr
    return done.stderr


def trained(folder, name="out.onnx"):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(folder / name).graph.initializer}


@pytest.mark.parametrize("name", CASES)
def test_steps(name, folder):
    make, keys, rule = CASES[name]
    m = make(**keys)
    folder.write("m.onnx", m)
    assert "the model's own algorithm" in train(folder, "--log", "log.jsonl")
    weights = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in m.graph.initializer}
    losses = steps_of(weights, {"w": 0, "b": 0}, rule, np.load(folder / "x.npy"), np.load(folder / "y.npy"))
    logged = [json.loads(line)["loss"] for line in folder.read("log.jsonl").splitlines()[:-1]]
    assert np.allclose(logged, losses, rtol=1e-5)  # float32
    for p in "wb":
        assert np.allclose(trained(folder)[p], weights[p], rtol=1e-5, atol=1e-6)
    out = onnx.load(folder / "out.onnx")
    assert out.graph.node == m.graph.node and out.training_info == m.training_info  # only the weights change
    onnx.checker.check_model(out)


@pytest.mark.parametrize("name", CASES)
def test_stopped_and_resumed(name, folder):
    """Moments and the counter are in the checkpoint: the same bytes as of an unbroken run."""
    make, keys, _ = CASES[name]
    folder.write("m.onnx", make(**keys))
    train(folder, "--checkpoint_every", "3")
    whole = folder.read("out.onnx")
    done = folder.run("train", "--resume", "out.ckpt.1.onnx")
    assert done.returncode == 0, done.stderr
    assert folder.read("out.onnx") == whole


def test_initialization(folder):
    """Values of the initialization, not those of the file, unless a run goes on."""
    graph = helper.make_graph([N("ConstantOfShape", ["shape"], ["first"], value=tensor("", np.full(1, .25, np.float32))),
                               N("RandomNormal", [], ["drawn"], shape=[3], seed=3.)], "init", [],
                              [value("first", [4, 3]), value("drawn", [3])], [numpy_helper.from_array(np.array([4, 3]), "shape")])
    m = with_algorithm(LOSS + [N("Identity", ["w"], ["w_new"]), N("Identity", ["b"], ["b_new"])], {"w": "w_new", "b": "b_new"},
                       firsts=(graph, {"w": "first", "b": "drawn"}))
    folder.write("m.onnx", m)
    train(folder)
    assert np.all(trained(folder)["w"] == .25)
    drawn = trained(folder)["b"]
    assert np.all(np.isfinite(drawn)) and len(set(drawn)) == 3


def test_validation_and_a_rate_that_is_an_input(folder):
    """Inputs of the algorithm are bound like the model's; the learning rate is one."""
    m = by_hand()
    del m.training_info[0].algorithm.initializer[2]
    m.training_info[0].algorithm.input.append(value("rate", []))
    folder.write("m.onnx", m)
    said = train(folder, "--data", "rate=const:0.1", "--val_data", "x=x.npy", "--val_data", "goal=y.npy", "--val_data", "rate=const:0.1",
                 "--log", "log.jsonl")
    assert "val_loss" in said
    folder.write("m.onnx", by_hand())
    best = trained(folder)
    train(folder)
    assert np.allclose(best["w"], trained(folder)["w"], rtol=1e-6)


def test_a_loss_of_ones_own_comes_first(folder):
    """With --loss the model is trained as any other."""
    folder.write("m.onnx", by_hand())
    done = folder.run("train", "m.onnx", "--data", "x.npy", "--target", "y.npy", "--loss", "mse", "-o", "out.onnx", *RUN)
    assert done.returncode == 0 and "own algorithm" not in done.stderr, done.stderr


def test_nothing_changes_where_the_loss_is_not_finite(folder):
    folder.write("m.onnx", by_hand())
    x = np.load(folder / "x.npy")
    x[7] = np.inf
    folder.save("x.npy", x)
    said = train(folder, "--no_check_finite", status=1)
    assert "step 2: the loss is" in said and "nothing was changed by this step" in said


def refusal(folder, m, *more, status=1):
    folder.write("m.onnx", m)
    return train(folder, *more, status=status)


def test_what_is_refused(folder):
    identity = [N("Identity", ["w"], ["w_new"])]
    two = with_algorithm(LOSS + identity, {"w": "w_new"}, m=by_hand())
    assert "has 2 training algorithms, one is supported" in refusal(folder, two)
    assert "updates nothing" in refusal(folder, with_algorithm(LOSS, {}))
    assert "no output but its updates" in refusal(folder, with_algorithm(LOSS + identity, {"w": "w_new"}, outputs=()))
    assert 'update_binding of "w": the algorithm has no value "none"' in refusal(folder, with_algorithm(LOSS, {"w": "none"}))
    assert 'there is no such initializer' in refusal(folder, with_algorithm(LOSS + identity, {"v": "w_new"}))
    assert 'its update "h" float32 [6, 3]' in refusal(folder, with_algorithm(LOSS, {"w": "h"}))
    other = N("Gradient", ["w"], ["dw"], "gradient", domain=TRAINING, xs=["b"], y="loss")
    assert 'input 0 is "w", which attribute xs does not name' in refusal(folder, with_algorithm(LOSS + [other], {"w": "dw"}))
    for option in (["--lr", "1"], ["--amp", "bf16"], ["--ema", "0.9"], ["--freeze", "w"], ["--gradient_accumulation_steps", "2"]):
        said = refusal(folder, by_hand(), *option, status=2)
        assert f"option {option[0][2:]}: the model trains by an algorithm of its own" in said
    graph = helper.make_graph([N("Identity", ["c"], ["first"])], "init", [], [value("first", [3])],
                              [tensor("c", np.ones(3, np.float32))])
    wrong = with_algorithm(LOSS + identity, {"w": "w_new"}, firsts=(graph, {"w": "first"}))
    assert 'initialization of "w" is float32 [3], expected float32 [4, 3]' in refusal(folder, wrong)
