"""Models of real size for tests of memory: some hundred MB of activations, random weights, little arithmetic for it.

Each function writes m.onnx, x.npy and t.npy to a folder and returns the arguments of `ongrad train` and `ongrad plan`."""
import numpy as np
import onnx
from onnx import helper, numpy_helper


class Writer:
    def __init__(self, seed):
        self.rng, self.nodes, self.constants = np.random.default_rng(seed), [], []

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, name, *shape, fan):
        return self.constant(name, self.rng.normal(0, fan ** -.5, shape).astype("f4"))

    def node(self, op, inputs, outputs=1, **attributes):
        names = [f"v{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0]

    def linear(self, x, name, n, m):
        product = self.node("MatMul", [x, self.weight(name + ".weight", n, m, fan=n)])
        return self.node("Add", [product, self.constant(name + ".bias", np.zeros(m, "f4"))])

    def save(self, folder, y, x_shape, y_shape, batch, target, loss):
        self.nodes.append(helper.make_node("Identity", [y], ["y"]))
        value = helper.make_tensor_value_info
        graph = helper.make_graph(self.nodes, "g", [value("x", 1, ["batch", *x_shape])],
                                  [value("y", 1, ["batch", *y_shape])], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, str(folder / "m.onnx"))
        np.save(folder / "x.npy", self.rng.normal(0, 1, (batch, *x_shape)).astype("f4"))
        np.save(folder / "t.npy", target)
        return ["m.onnx", "--data", "x.npy", "--target", "t.npy", "--loss", loss, "--batch_size", str(batch)]


def transformer(folder, layers=4, width=128, heads=4, tokens=128, batch=48):
    w = Writer(1)
    w.constant("split", np.array([0, tokens, heads, width // heads]))
    w.constant("merge", np.array([0, tokens, width]))
    w.constant("rate", np.array((width / heads) ** -.5, "f4"))

    def norm(x, name):
        scale, bias = w.constant(name + ".scale", np.ones(width, "f4")), w.constant(name + ".bias", np.zeros(width, "f4"))
        return w.node("LayerNormalization", [x, scale, bias], axis=-1)

    x = "x"
    for i in range(layers):
        z = norm(x, f"{i}.norm1")
        q, k, v = (w.node("Transpose", [w.node("Reshape", [w.linear(z, f"{i}.{n}", width, width), "split"])],
                          perm=[0, 2, 1, 3]) for n in "qkv")
        scores = w.node("Mul", [w.node("MatMul", [q, w.node("Transpose", [k], perm=[0, 1, 3, 2])]), "rate"])
        mixed = w.node("MatMul", [w.node("Softmax", [scores], axis=-1), v])
        mixed = w.node("Reshape", [w.node("Transpose", [mixed], perm=[0, 2, 1, 3]), "merge"])
        x = w.node("Add", [x, w.linear(mixed, f"{i}.out", width, width)])
        z = w.node("Relu", [w.linear(norm(x, f"{i}.norm2"), f"{i}.up", width, 4 * width)])
        x = w.node("Add", [x, w.linear(z, f"{i}.down", 4 * width, width)])
    target = w.rng.normal(0, 1, (batch, tokens, width)).astype("f4")
    return w.save(folder, x, [tokens, width], [tokens, width], batch, target, "mse")


def cnn(folder, layers=6, channels=16, side=128, batch=12):
    """With BatchNormalization: its batches cannot be split."""
    w, x, inputs = Writer(2), "x", 3
    for i in range(layers):
        x = w.node("Conv", [x, w.weight(f"w{i}", channels, inputs, 3, 3, fan=9 * inputs)], pads=[1, 1, 1, 1])
        x = w.node("BatchNormalization", [x, *(w.constant(f"{n}{i}", np.full(channels, v, "f4"))
                                               for n, v in (("scale", 1), ("bias", .1), ("mean", 0), ("var", 1)))])
        x, inputs = w.node("Relu", [x]), channels
    x = w.node("Flatten", [w.node("GlobalAveragePool", [x])])
    return w.save(folder, x, [3, side, side], [channels], batch, w.rng.integers(0, channels, batch), "cross_entropy")


def lstm(folder, layers=3, size=64, steps=128, batch=192):
    w = Writer(3)
    x = w.node("Transpose", ["x"], perm=[1, 0, 2])
    w.constant("axis", np.array([1]))
    for i in range(layers):
        weights = [w.weight(f"{n}{i}", 1, 4 * size, size, fan=size) for n in "wr"]
        x = w.node("LSTM", [x, *weights, w.constant(f"b{i}", np.zeros((1, 8 * size), "f4"))], 3, hidden_size=size)
        x = w.node("Squeeze", [x, "axis"])
    x = w.node("Transpose", [x], perm=[1, 0, 2])
    return w.save(folder, x, [steps, size], [steps, size], batch, w.rng.normal(0, 1, (batch, steps, size)).astype("f4"), "mse")
