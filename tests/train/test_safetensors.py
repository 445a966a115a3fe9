"""--init_from FILE.safetensors: weights by name and shape, in the file's element types, from files that may lie.

    ONGRAD=build/release/ongrad python3 -m pytest tests/train/test_safetensors.py
"""
import json
import struct

import numpy as np
import onnx
import pytest
from commands import Folder, floats, model, tensor, value
from onnx import helper, numpy_helper

NAMES = {np.dtype(np.float32): "F32", np.dtype(np.float64): "F64", np.dtype(np.float16): "F16", np.dtype(np.int64): "I64",
         np.dtype(np.uint16): "BF16"}  # numpy has no bfloat16: its bits


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def packed(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def safetensors(tensors, pad=0):
    """{name: array} as the bytes of a file; pad: spaces behind the header, which move the elements."""
    header, data = {"__metadata__": {"format": "pt", "shape": "is no shape here"}}, b""
    for name, array in tensors.items():
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    return packed(json.dumps(header).encode() + b" " * pad, data)


def layers(*shapes, transposed=False, dtype=np.float32):
    """Gemms one behind the other, l0.weight … [out, in] as PyTorch has them, or transposed; x [batch, 4]."""
    nodes, weights, name = [], [], "x"
    for i, (n_out, n_in) in enumerate(shapes):
        w = floats(n_out, n_in, dtype=dtype)
        weights += [tensor(f"l{i}.weight", w.T if transposed else w), tensor(f"l{i}.bias", np.zeros(n_out, dtype))]
        nodes.append(helper.make_node("Gemm", [name, f"l{i}.weight", f"l{i}.bias"], [f"h{i}"], f"l{i}",
                                      transB=0 if transposed else 1))
        name = f"h{i}"
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return model(nodes, [value("x", ["batch", 4], kind)], [value(name, ["batch", shapes[-1][0]], kind)], weights)


def exported(folder, *more):
    """The weights of m.onnx with those of w.safetensors, and what was said."""
    done = folder.run("export", "m.onnx", "--init_from", "w.safetensors", "-o", "e.onnx", *more)
    assert done.returncode == 0, done.stderr
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(folder / "e.onnx").graph.initializer}, done.stderr


def refuses(folder, text):
    done = folder.run("export", "m.onnx", "--init_from", "w.safetensors", "-o", "e.onnx")
    assert done.returncode != 0 and text in done.stderr, f"expected: {text}\n{done.stderr}"


def test_weights_by_name_and_shape(folder):
    folder.write("m.onnx", layers((5, 4), (3, 5), (3, 3)))
    w = {"l0.weight": floats(5, 4), "l0.bias": floats(5), "l1.weight": floats(6, 5), "l2.weight": floats(3, 3),
         "l2.bias": floats(3), "more": floats(2), "steps": np.zeros(1, np.int64)}
    folder.write("w.safetensors", safetensors(w))
    got, said = exported(folder)
    for text in ["4 of 6 float tensors from w.safetensors", "not in it, as they were (1): l1.bias",
                 "of another shape or type, as they were (1): l1.weight float32 [6, 5] there, float32 [3, 5] here",
                 "in it alone, left out (1): more"]:
        assert text in said, said
    for name in ("l0.weight", "l0.bias", "l2.weight", "l2.bias"):
        assert np.array_equal(got[name], w[name]), name
    assert np.array_equal(got["l1.weight"], floats(3, 5))


@pytest.mark.parametrize("pad", [0, 1, 2, 3])
def test_element_types_are_converted(folder, pad):
    """Exactly, where the model's type holds them; pad: elements at any alignment."""
    folder.write("m.onnx", layers((5, 4), (5, 5)))
    exact = np.array([0, -0., 1, -1.5, 2**-20, 1e4, np.inf, -np.inf] * 3, np.float32)[:20].reshape(5, 4)
    bits = (exact.view(np.uint32) >> 16).astype(np.uint16)  # all but 1e4 have few digits
    folder.write("w.safetensors", safetensors({"l0.weight": exact.astype(np.float16), "l0.bias": floats(5, dtype=np.float64),
                                               "l1.weight": np.resize(bits, (5, 5)), "l1.bias": floats(5)}, pad))
    got, said = exported(folder)
    assert "of them 3 of another type, converted" in said
    assert np.array_equal(got["l0.weight"], exact.astype(np.float16).astype(np.float32))
    assert np.array_equal(np.signbit(got["l0.weight"]), np.signbit(exact))
    assert np.array_equal(got["l0.bias"], floats(5, dtype=np.float64).astype(np.float32))
    assert np.array_equal(got["l1.weight"], (np.resize(bits, (5, 5)).astype(np.uint32) << 16).view(np.float32))
    assert np.array_equal(got["l1.bias"], floats(5))


def test_a_model_in_float64_takes_float32(folder):
    folder.write("m.onnx", layers((5, 4), dtype=np.float64))
    folder.write("w.safetensors", safetensors({"l0.weight": floats(5, 4), "l0.bias": floats(5)}))
    got, _ = exported(folder)
    assert got["l0.weight"].dtype == np.float64 and np.array_equal(got["l0.weight"], floats(5, 4).astype(np.float64))


def test_numbers_too_large_for_the_model(folder):
    folder.write("m.onnx", layers((5, 4)))
    folder.write("w.safetensors", safetensors({"l0.weight": np.full((5, 4), 1e300)}))
    refuses(folder, "option init_from: l0.weight holds 1e+300, which float32 cannot")


@pytest.mark.parametrize("turned", [False, True])
def test_a_square_weight_goes_the_way_of_the_others(folder, turned):
    """A model whose exporter transposed weights, and a file in PyTorch's layout; and one in the model's own."""
    folder.write("m.onnx", layers((5, 4), (5, 5), transposed=True))
    w = {"l0.weight": floats(5, 4), "l1.weight": floats(5, 5), "l0.bias": floats(5), "l1.bias": floats(5)}
    folder.write("w.safetensors", safetensors({k: np.ascontiguousarray(v if turned else v.T) for k, v in w.items()}))
    got, _ = exported(folder)
    assert all(np.array_equal(got[k], w[k].T) for k in w)


def test_a_square_weight_alone_is_as_pytorch_has_it(folder):
    folder.write("w.safetensors", safetensors({"l0.weight": floats(4, 4), "l0.bias": floats(4)}))
    for transposed in (False, True):
        folder.write("m.onnx", layers((4, 4), transposed=transposed))
        got, _ = exported(folder)
        assert np.array_equal(got["l0.weight"], floats(4, 4).T if transposed else floats(4, 4))


def test_training_begins_with_them(folder):
    folder.write("m.onnx", layers((8, 4), (3, 8)))
    w = {"l0.weight": floats(8, 4) + 1, "l1.weight": floats(2, 8)}
    folder.write("w.safetensors", safetensors(w))
    trained = folder.trains("--num_classes", "2", "--init_from", "w.safetensors", "--lr", "0", loss="cross_entropy,ignore_index=2")
    got = {t.name: numpy_helper.to_array(t) for t in trained.graph.initializer}
    assert np.array_equal(got["l0.weight"], w["l0.weight"]) and np.array_equal(got["l1.weight"], w["l1.weight"])


def test_nothing_fits(folder):
    folder.write("w.safetensors", safetensors({"bert.weight": floats(4, 3), "bert.bias": floats(3)}))
    refuses(folder, "none of the 2 float tensors of the model is in w.safetensors with the same name and shape (the first is "
                    "weight, bias; there are bert.weight, bert.bias)")
    folder.write("w.safetensors", packed({}))
    refuses(folder, "none of the 2 float tensors of the model is in w.safetensors")


ONE = {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}
HOSTILE = {
    "empty": (b"", "is empty"),
    "short": (b"\x08\0\0", "cut off: 3 bytes"),
    "cut_header": (struct.pack("<Q", 1000) + b'{"weight', "the .safetensors header takes 1000 bytes, the file has 8"),
    "endless_header": (struct.pack("<Q", 2**64 - 1) + b"{}", "takes 18446744073709551615 bytes"),
    "no_object": (packed(b'["weight"]'), "its header is no object"),
    "text": (b"hello, world, this is text", "cut off"),
    "half_a_header": (packed(b'{"weight": {"dtype": "F32", "sha'), 'damaged .safetensors header, at "weight"'),
    "no_end": (packed(b'{"weight": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}', bytes(48)), "damaged"),
    "no_shape": (packed({"weight": {"dtype": "F32", "data_offsets": [0, 48]}}, bytes(48)), "lacks its dtype, shape or data_offsets"),
    "empty_entry": (packed({"weight": {}}), "lacks its dtype, shape or data_offsets"),
    "cut": (packed({"weight": ONE}, bytes(47)), '"weight" lies beyond the end'),
    "backwards": (packed({"weight": {**ONE, "data_offsets": [48, 0]}}, bytes(48)), "lies beyond the end"),
    "wrong_size": (packed({"weight": {**ONE, "shape": [4, 4]}}, bytes(48)), "takes 64 bytes by its shape, and has 48"),
    "overflow": (packed({"weight": {**ONE, "shape": [2**62, 2**62]}}, bytes(48)), "overflows"),
    "negative": (packed({"weight": {**ONE, "shape": [-4, -3]}}, bytes(48)), "damaged"),
    "beyond_64_bits": (packed({"weight": {**ONE, "shape": [2**70]}}, bytes(48)), "damaged"),
    "many_dims": (packed({"weight": {**ONE, "shape": [1] * 1000}}, bytes(48)), "more than 12 dims"),
    "long_name": (packed({"w" * 600: ONE}, bytes(48)), "a tensor's name of more than 511 bytes"),
    "twice": (packed(b'{"weight": %s, "weight": %s}' % ((json.dumps(ONE).encode(),) * 2), bytes(48)), 'two tensors "weight"'),
    "nested": (packed(b'{"weight": ' + b'{"a": ' * 1000 + b"}" * 1001), "damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(folder, name):
    data, text = HOSTILE[name]
    folder.write("w.safetensors", data)
    before = folder.listing()
    refuses(folder, text)
    assert folder.listing() == before


def test_any_byte_wrong(folder):
    """Refused or taken, and nothing else happens."""
    good = safetensors({"weight": floats(4, 3), "bias": floats(3)})
    folder.write("w.safetensors", good)
    exported(folder)
    rng = np.random.default_rng(0)
    for at in rng.choice(len(good), 60, replace=False):
        for flip in (0x01, 0x80, 0xff):
            folder.write("w.safetensors", good[:at] + bytes([good[at] ^ flip]) + good[at + 1:])
            done = folder.run("export", "m.onnx", "--init_from", "w.safetensors", "-o", "e.onnx")
            assert done.returncode in (0, 1, 2) and (done.returncode == 0) == ("float tensors from" in done.stderr), done.stderr
