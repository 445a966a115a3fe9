"""Data that does not fit the model, is damaged, or holds what training cannot use: refused before the first step, each with
a message that names the file and what was expected.

    ONGRAD=build/release/ongrad python3 -m pytest tests/train/test_hostile_data.py
"""
import gzip
import io
import struct
import zipfile

import numpy as np
import pytest
from commands import SAMPLES, Folder, floats


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def with_value(v, dtype=np.float32):
    x = floats(SAMPLES, 4, dtype=dtype)
    x[5, 2] = v
    return x


# Arrays as x, the model's input [batch, 4] float32: what the message holds.
INPUTS = {
    "rank_1": (floats(SAMPLES), ['"x" (x.npy)', "shape is [12]", "takes [N, 4]"]),
    "rank_3": (floats(SAMPLES, 2, 2), ['"x" (x.npy)', "shape is [12, 2, 2]", "takes [N, 4]"]),
    "rank_0": (np.float32(3), ["x.npy", "one number, not samples"]),
    "rank_13": (floats(*[1] * 13), ["x.npy", "more than 12 dims"]),
    "features": (floats(SAMPLES, 5), ['"x" (x.npy)', "[12, 5]", "[N, 4]"]),
    "transposed": (floats(4, SAMPLES), ["numbers of samples differ", "x.npy: 4", "t.npy: 12"]),
    "no_samples": (floats(0, 4), ["numbers of samples differ", "x.npy: 0"]),
    "no_features": (floats(SAMPLES, 0), ['"x" (x.npy)', "no elements"]),
    "fewer": (floats(SAMPLES - 1, 4), ["numbers of samples differ", "x.npy: 11", "t.npy: 12"]),
    "nan": (with_value(np.nan), ['"x" (x.npy)', "element [5, 2] is NaN"]),
    "inf": (with_value(np.inf), ['"x" (x.npy)', "element [5, 2] is infinite"]),
    "minus_inf": (with_value(-np.inf), ['"x" (x.npy)', "element [5, 2] is -infinite"]),
    "half_nan": (with_value(np.nan, np.float16), ['"x" (x.npy)', "element [5, 2] is NaN"]),
    "beyond_float32": (with_value(1e300, np.float64), ['"x" (x.npy)', "e+300, which float32 cannot hold"]),
    "complex": (floats(SAMPLES, 4).astype(np.complex64), ["x.npy", "<c8", "astype(np.float32)"]),
    "text": (np.full((SAMPLES, 4), "a"), ["x.npy", "<U1"]),
    "objects": (np.full((SAMPLES, 4), None), ["x.npy", "Python objects", "np.stack"]),
    "times": (np.zeros((SAMPLES, 4), "datetime64[s]"), ["x.npy", "<M8"]),
    "record": (np.zeros((SAMPLES, 4), [("a", "f4")]), ["x.npy", "structured array"]),
    "longdouble": (np.zeros((SAMPLES, 4), np.longdouble), ["x.npy", "f16"]),
    "fortran": (np.asfortranarray(floats(SAMPLES, 4)), ["x.npy", "Fortran order", "ascontiguousarray"]),
    "big_endian": (floats(SAMPLES, 4).astype(">f4"), ["x.npy", "other byte order", 'astype("f4")']),
}
# Arrays as t, labels [batch] of 3 classes.
LABELS = {
    "float": (np.zeros(SAMPLES, np.float32), ["(t.npy)", "holds float32, the model takes int64", "astype(np.int64)"]),
    "too_large": (np.full(SAMPLES, 3), ["label 3", "3 classes", "0 to 2", "ignore_index"]),
    "negative": (np.full(SAMPLES, -1), ["label -1", "0 to 2", "ignore_index"]),
    "huge": (np.full(SAMPLES, 2**62), ["label 4611686018427387904"]),
    "unsigned_huge": (np.full(SAMPLES, 2**64 - 1, np.uint64), ["(t.npy)", "int64 cannot hold", "11 more"]),
    "rank_0": (np.int64(1), ["t.npy", "one number"]),
    "more": (np.zeros(SAMPLES + 1, np.int64), ["numbers of samples differ", "t.npy: 13"]),
    "none": (np.zeros(0, np.int64), ["numbers of samples differ", "t.npy: 0"]),
    "text": (np.full(SAMPLES, "cat"), ["t.npy", "<U3"]),
    "nan": (np.full((SAMPLES, 3), np.nan, np.float32), ["(t.npy)", "element [0, 0] is NaN"]),
}
# Arrays as y, values [batch, 3] of mse.
VALUES = {
    "nan": (np.full((SAMPLES, 3), np.nan, np.float32), ["(y.npy)", "element [0, 0] is NaN", "35 more"]),
    "inf": (np.full((SAMPLES, 3), np.inf, np.float32), ["(y.npy)", "element [0, 0] is infinite"]),
    "complex": (floats(SAMPLES, 3).astype(np.complex64), ["y.npy", "<c8"]),
    "fewer": (floats(3, 3), ["numbers of samples differ", "y.npy: 3"]),
}
# A target whose shape no reading of the loss takes is wrong usage: another loss, or another file.
SHAPES = {
    "labels": (np.zeros((SAMPLES, 2), np.int64), "cross_entropy", ["int64 [12, 2]", "class indices"]),
    "rank": (floats(SAMPLES), "mse", ["float32 [12]", "[12, 3] wants the same shape"]),
    "features": (floats(SAMPLES, 4), "mse", ["float32 [12, 4]", "wants the same shape"]),
}


def npy_bytes(array, **more):
    out = io.BytesIO()
    np.save(out, array, **more)
    return out.getvalue()


def npy_header(text, version=1, data=bytes(SAMPLES * 16)):
    header = text.encode() + b"\n"
    size = struct.pack("<H", len(header)) if version == 1 else struct.pack("<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + data


def idx_bytes(array, magic=None, dims=None):
    dims = array.shape if dims is None else dims
    magic = bytes([0, 0, 8, len(dims)]) if magic is None else magic
    return magic + struct.pack(f">{len(dims)}I", *dims) + array.tobytes()


def npz_bytes(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def zip_bytes(name, data, method=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        z.writestr(name, data)
    return out.getvalue()


X = npy_bytes(floats(SAMPLES, 4))
BYTES = np.zeros((SAMPLES, 4), np.uint8)
IDX = idx_bytes(BYTES)
ZIP = npz_bytes(x=floats(SAMPLES, 4))
GZIP = gzip.compress(IDX)
# Files given as --data: their bytes, and what the message holds beside their name.
FILES = {
    "empty.npy": (b"", "the file is empty"),
    "text.npy": (b"1,2,3,4\n" * 12, "not an array file: .npy, .npz, IDX"),
    "cut_header.npy": (X[:60], "cut off: the .npy header takes 128 bytes, the file has 60"),
    "cut_magic.npy": (X[:5], "not an array file"),
    "cut.npy": (X[:-1], "cut off: the header promises 192 bytes of elements, the file has 191"),
    "longer.npy": (X + b"\0", "more than the shape in the header says"),
    "version.npy": (npy_header("{}", 9), ".npy version 9.0"),
    "no_dictionary.npy": (npy_header("[]"), "expected a dictionary"),
    "no_shape.npy": (npy_header("{'descr': '<f4', 'fortran_order': False}"), 'key "shape" is missing'),
    "negative.npy": (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-12, -4)}"), "non-negative"),
    "overflow.npy": (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4)}"), "overflows"),
    "lies.npy": (npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4)}"),
                 "promises 16000000000000 bytes"),
    "code.npy": (npy_header("{'descr': __import__('os'), 'fortran_order': False, 'shape': (12, 4)}"),
                 "expected a quoted string"),
    "magic.idx": (idx_bytes(BYTES, magic=b"\1\2\3\4"), "not an array file"),
    "type.idx": (idx_bytes(BYTES, magic=b"\0\0\7\2"), "type code 0x07"),
    "rank0.idx": (b"\0\0\x08\0" + bytes(10), "0 dims"),
    "cut.idx": (IDX[:-1], "promises 48 bytes, the file has 47"),
    "cut_dims.idx": (IDX[:9], "the IDX header takes 12 bytes, there are 9"),
    "longer.idx": (IDX + b"\0", "too long"),
    "overflow.idx": (idx_bytes(BYTES, dims=(2**32 - 1,) * 2), "overflows"),
    "cut.gz": (GZIP[:-9], "cut off"),
    "cut_trailer.gz": (GZIP[:-4], "cut off"),
    "checksum.gz": (GZIP[:-8] + bytes(8), "incorrect data check"),
    "not.gz": (b"\x1f\x8b" + bytes(50), "damaged compressed data"),
    "array.npy.gz": (gzip.compress(X), "a gzipped .npy file; hint"),
    "bomb.gz": (gzip.compress(idx_bytes(BYTES, dims=(2**31, 4))[:12] + bytes(1 << 20)), "more than"),
    "no_arrays.npz": (zip_bytes("readme.txt", b"x"), "not a .npy file"),
    "many.npz": (npz_bytes(a=floats(SAMPLES, 4), b=floats(SAMPLES, 4)), "2 arrays: a, b; hint"),
    "cut.npz": (ZIP[:-30], "damaged or cut off .npz"),
    "cut_middle.npz": (ZIP[:100] + ZIP[150:], "damaged or cut off .npz"),
    "checksum.npz": (ZIP.replace(X[-8:], bytes(8)), "wrong checksum"),
    "lzma.npz": (zip_bytes("x.npy", X, zipfile.ZIP_LZMA), "compression method 14"),
    "objects.npz": (npz_bytes(x=np.full((SAMPLES, 4), None)), "Python objects"),
    "pickle.pkl": (b"\x80\x04\x95" + bytes(40), "not an array file"),
    "image.png": (b"\x89PNG\r\n\x1a\n" + bytes(40), "not an array file"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_input(folder, name):
    array, texts = INPUTS[name]
    folder.save("x.npy", array, allow_pickle=True)
    folder.refuses(texts)


@pytest.mark.parametrize("name", LABELS)
def test_labels(folder, name):
    array, texts = LABELS[name]
    folder.save("t.npy", array)
    folder.refuses(texts)


@pytest.mark.parametrize("name", VALUES)
def test_values(folder, name):
    array, texts = VALUES[name]
    folder.save("y.npy", array)
    folder.refuses(texts, target="y.npy", loss="mse")


@pytest.mark.parametrize("name", SHAPES)
def test_target_of_another_shape(folder, name):
    array, loss, texts = SHAPES[name]
    folder.save("t.npy", array)
    folder.refuses(texts, loss=loss, status=2)


@pytest.mark.parametrize("name", FILES)
def test_file(folder, name):
    data, text = FILES[name]
    folder.write(name, data)
    folder.refuses([name, text], data=name)


def test_members(folder):
    folder.write("d.npz", npz_bytes(a=floats(SAMPLES, 4), b=floats(SAMPLES, 5)))
    folder.refuses(["d.npz", '"c"', "a, b"], data="d.npz:c")
    folder.refuses(["d.npz", "[12, 5]"], data="d.npz:b")
    folder.trains("--epochs", "1", data="d.npz:a")


def test_no_samples_at_all(folder):
    folder.save("x.npy", floats(0, 4))
    folder.save("t.npy", np.zeros(0, np.int64))
    folder.refuses(["no samples", "x.npy: 0"])


def test_all_findings_at_once(folder):
    folder.save("x.npy", with_value(np.nan))
    folder.save("t.npy", np.zeros(SAMPLES, np.float32))
    folder.refuses(['"x" (x.npy)', "is NaN", "(t.npy)", "float32"])


def test_ignored_labels_are_taken(folder):
    """-100 as PyTorch has it, another one if it is named; booleans are classes 0 and 1."""
    labels = np.arange(SAMPLES) % 3
    folder.save("t.npy", np.where(labels == 1, -100, labels))
    folder.trains("--epochs", "1")
    folder.save("t.npy", np.where(labels == 1, -1, labels))
    folder.refuses("label -1")
    folder.trains("--epochs", "1", loss="cross_entropy,ignore_index=-1")
    folder.save("t.npy", labels == 1)
    folder.trains("--epochs", "1")


def test_late_label(folder):
    """What the first batches do not show is still refused, and the old file stays."""
    folder.save("t.npy", np.array([0] * (SAMPLES - 1) + [7]))
    folder.refuses("label 7", "--batch_size", "2", "--no_shuffle")
    assert folder.run("eval", "m.onnx", "--data", "x.npy", "--target", "t.npy", "--loss", "cross_entropy").returncode == 1
