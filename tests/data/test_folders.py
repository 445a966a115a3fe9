"""Folders as data: what the model is fed with, pairing, lengths, damaged files. A model y = x shows it exactly.

    ONGRAD=build/release/ongrad python3 -m pytest tests/data/test_folders.py
"""
import json
import os
import shutil
import struct
import subprocess

import make_b_frames
import numpy as np
import pytest
from media import INT64, ONGRAD, Folder, avi, bmp, classifier, ffmpeg, helper, identity, model, needs_media, png, tensor, value

LOSS = ["--loss", "cross_entropy"]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def pictures(n, height=8, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), np.uint8)


def chw(x, mean=0., std=1.):
    return np.moveaxis((x / 255. - mean) / std, -1, -3).astype(np.float32)


# ---- folders of .npy -----------------------------------------------------------------------------------

def test_a_folder_of_npy_is_read_in_the_order_of_names(folder):
    x = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    for i in range(12):
        folder.save(f"x/{i:02d}.npy", x[i])
    folder.write("m.onnx", identity((5,)))
    assert np.array_equal(folder.predict("--data", "x"), x)
    with open(folder / "p.names.txt") as f:
        assert f.read().split() == [f"{i:02d}" for i in range(12)]


def test_lengths_are_cropped_or_padded_and_a_mask_says_so(folder):
    lengths = [2, 6, 4, 9]
    for i, n in enumerate(lengths):
        folder.save(f"x/{i}.npy", np.full((n, 3), i + 1, np.float32))
    nodes = [helper.make_node("Identity", ["x"], ["y"], "same"), helper.make_node("Identity", ["mask"], ["z"], "mask")]
    folder.write("m.onnx", model(nodes, [value("x", ["batch", 6, 3]), value("mask", ["batch", 6])],
                                 [value("y", ["batch", 6, 3]), value("z", ["batch", 6])]))
    folder.run("predict", "m.onnx", "--data", "x=x", "--data", "mask=mask", "-o", "p", "-q")
    y, z = np.load(folder / "p/y.npy"), np.load(folder / "p/z.npy")
    for i, n in enumerate(lengths):
        there = (np.arange(6) < n).astype(np.float32)
        assert np.array_equal(z[i], there)
        assert np.array_equal(y[i], there[:, None] * np.full((6, 3), i + 1))


def test_a_symbolic_length_is_that_of_the_longest_file(folder):
    for i in range(3):
        folder.save(f"x/{i}.npy", np.full((i + 2, 3), 1, np.float32))
    folder.write("m.onnx", identity(("steps", 3)))
    assert folder.predict("--data", "x").shape == (3, 4, 3)


# What is wrong with b.npy: parts of the message. The other samples are used.
DAMAGED = {
    "other_shape": (lambda f: f.save("x/b.npy", np.zeros((5, 7), np.float32)), ["x/b.npy", "[5, 7]", "others have"]),
    "other_type": (lambda f: f.save("x/b.npy", np.zeros((5, 3), np.int64)), ["x/b.npy", "int64"]),
    "empty": (lambda f: f.write("x/b.npy", b""), ["x/b.npy", "empty"]),
    "cut_off": (lambda f: f.write("x/b.npy", open(f / "x/a.npy", "rb").read()[:-9]), ["x/b.npy", "cut off"]),
    "no_npy": (lambda f: f.write("x/b.npy", b"hello, world"), ["x/b.npy", "not a .npy file"]),
    "nan": (lambda f: f.save("x/b.npy", np.full((5, 3), np.nan, np.float32)), ["x/b.npy", "element 0 is nan"]),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_left_out_and_named(folder, name):
    make, parts = DAMAGED[name]
    for n in "abcd":
        folder.save(f"x/{n}.npy", np.full((5, 3), ord(n), np.float32))
    make(folder)
    folder.write("m.onnx", identity((5, 3)))
    r = folder.run("predict", "m.onnx", "--data", "x", "-o", "p.npy")
    assert all(p in r.stderr for p in ["1 sample could not be read", *parts]), r.stderr
    assert np.load(folder / "p.npy")[:, 0, 0].tolist() == [ord(n) for n in "acd"]
    with open(folder / "p.names.txt") as f:
        assert f.read().split() == ["a", "c", "d"]
    folder.fails("predict", "m.onnx", "--data", "x", "--strict_data", parts=parts)


def test_training_puts_another_sample_in_place_of_a_damaged_one(folder):
    for i in range(8):
        folder.save(f"x/{'ab'[i % 2]}/{i}.npy", np.full((4,), i, np.float32))
    folder.write("x/a/0.npy", b"junk")
    folder.write("m.onnx", classifier((4,), 2))
    r = folder.run("train", "m.onnx", "--data", "x", "--target", "x", *LOSS, "--batch_size", 4, "--epochs", 2, "--log", "l")
    assert "1 sample could not be read, and others stood in for them" in r.stderr and "x/a/0.npy" in r.stderr
    with open(folder / "l") as f:
        final = json.loads(f.readlines()[-1])
    assert (final["unreadable_samples"], final["samples"]) == (1, 16)


def test_nothing_that_can_be_read_is_an_error(folder):
    for i in range(3):
        folder.write(f"x/{i}.npy", b"junk")
    folder.write("m.onnx", identity((4,)))
    folder.fails("predict", "m.onnx", "--data", "x", parts=["x/0.npy", "not a .npy file"])


def test_folders_that_hold_nothing(folder):
    folder.write("m.onnx", identity((4,)))
    os.mkdir(folder / "empty")
    folder.write("text/readme.txt", b"hello")
    folder.fails("predict", "m.onnx", "--data", "empty", parts=["empty", "no files of data: it is empty"])
    folder.fails("predict", "m.onnx", "--data", "text", parts=["text", "no files of data", ".npy"])
    folder.fails("predict", "m.onnx", "--data", "nowhere", parts=["nowhere", "No such file"])


def test_what_may_not_be_read(folder):
    """A folder is an error, of files those that can be read are used."""
    command = []
    if os.geteuid() == 0:  # who may read everything, but for this
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        if shutil.which("setpriv") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
            pytest.skip("root may read every folder, and setpriv cannot change it")

    def predict():
        return subprocess.run([*command, ONGRAD, "predict", "m.onnx", "--data", "x", "-o", "p.npy"], cwd=folder.path,
                              capture_output=True, text=True)

    folder.write("m.onnx", identity((4,)))
    for n in "abc":
        folder.save(f"x/{n}.npy", np.full(4, ord(n), np.float32))
    os.chmod(folder / "x/b.npy", 0)
    r = predict()
    assert r.returncode == 0 and "x/b.npy" in r.stderr and "Permission denied" in r.stderr, r.stderr
    assert np.load(folder / "p.npy")[:, 0].tolist() == [ord("a"), ord("c")]
    os.mkdir(folder / "x/closed", 0)
    r = predict()
    os.chmod(folder / "x/closed", 0o755)
    assert r.returncode == 1 and "x/closed" in r.stderr and "Permission denied" in r.stderr, r.stderr


def test_a_link_that_leads_nowhere_is_listed(folder):
    folder.save("x/a.npy", np.zeros(4, np.float32))
    os.symlink("gone.npy", folder / "x/b.npy")
    folder.write("m.onnx", identity((4,)))
    r = folder.run("predict", "m.onnx", "--data", "x", "-o", "p.npy")
    assert "1 sample could not be read" in r.stderr and "x/b.npy" in r.stderr and "No such file" in r.stderr
    folder.fails("predict", "m.onnx", "--data", "x", "--strict_data", parts=["x/b.npy", "No such file"])


def test_a_link_to_itself_ends(folder):
    folder.save("x/a.npy", np.zeros(4, np.float32))
    os.symlink(".", folder / "x/again")
    folder.write("m.onnx", identity((4,)))
    folder.fails("predict", "m.onnx", "--data", "x", parts=["nested more than"])


def test_a_hundred_thousand_files(folder):
    for k in range(100):
        folder.save(f"{k}.npy", np.ones(4, np.float32))
        os.makedirs(folder / f"x/{k:03d}")
        for i in range(1000):
            os.link(folder / f"{k}.npy", folder / f"x/{k:03d}/{i:03d}.npy")
    folder.write("m.onnx", classifier((4,), 100))
    r = folder.run("train", "m.onnx", "--data", "x", "--target", "x", *LOSS, "--steps", 2, "--batch_size", 64)
    assert "[100000, 4]" in r.stderr and "100 classes" in r.stderr


# ---- labels that name no class --------------------------------------------------------------------------

def test_more_folders_than_the_model_has_classes(folder):
    for i in range(12):
        folder.save(f"x/{'abcd'[i % 4]}/{i}.npy", np.zeros(4, np.float32))
    folder.write("m.onnx", classifier((4,), 3))
    run = ["train", "m.onnx", "--data", "x", "--target", "x", *LOSS, "--batch_size", 12]
    folder.fails(*run, parts=["label 3", "3 classes", "0 to 2"])
    folder.fails(*run, "--mixup", .4, parts=["label 3", "3 classes"])


def test_labels_of_a_table_that_name_no_class(folder):
    for i in range(6):
        folder.save(f"x/{i}.npy", np.zeros(4, np.float32))
    folder.write("t.csv", "file,label\n" + "".join(f"{i},{i}\n" for i in range(6)))
    folder.write("m.onnx", classifier((4,), 3))
    folder.fails("train", "m.onnx", "--data", "x", "--target", "t.csv", *LOSS, "--batch_size", 6, parts=["3 classes", "0 to 2"])


@needs_media
def test_a_map_of_labels_that_name_no_class(folder):
    for i in range(4):
        folder.write(f"x/{i}.png", png(np.zeros((8, 8, 3))))
        folder.write(f"t/{i}.png", png(np.full((8, 8), i)))
    folder.write("m.onnx", model([helper.make_node("Conv", ["x", "w"], ["y"], "conv")], [value("x", ["batch", 3, 8, 8])],
                                 [value("y", ["batch", 2, 8, 8])], [tensor("w", np.zeros((2, 3, 1, 1), np.float32))]))
    folder.fails("train", "m.onnx", "--data", "x", "--target", "t", *LOSS, "--batch_size", 4, parts=["2 classes", "0 to 1"])


# ---- pairing -------------------------------------------------------------------------------------------

def two_inputs(folder):
    nodes = [helper.make_node("Identity", [n], [f"y_{n}"], n) for n in "ab"]
    folder.write("m.onnx", model(nodes, [value(n, ["batch", 1]) for n in "ab"], [value(f"y_{n}", ["batch", 1]) for n in "ab"]))


def pair(folder, *more):
    folder.run("predict", "m.onnx", "--data", "a=a", "--data", "b=b", *more, "-o", "p", "-q")
    return [(int(a), int(b)) for a, b in zip(np.load(folder / "p/y_a.npy")[:, 0], np.load(folder / "p/y_b.npy")[:, 0])]


def test_pairs_go_by_path_without_extension(folder):
    two_inputs(folder)
    for i in range(6):
        if i != 1:
            folder.save(f"a/s{i % 2}/{i}.npy", np.array([i], np.float32))
        if i != 4:
            folder.save(f"b/s{i % 2}/{i}.npy", np.array([10 + i], np.float32))
    assert pair(folder) == [(0, 10), (2, 12), (3, 13), (5, 15)]
    r = folder.run("data", "m.onnx", "--data", "a=a", "--data", "b=b")
    assert "left out for want of a part: 2" in r.stdout
    assert "s1/1: not in a" in r.stdout and "s0/4: not in b" in r.stdout
    folder.fails("predict", "m.onnx", "--data", "a=a", "--data", "b=b", "--strict_data",
                 parts=["2 samples lack a part", "s1/1: not in a"])


def test_pairs_by_an_expression(folder):
    two_inputs(folder)
    for i in range(3):
        folder.save(f"a/left_{i}.npy", np.array([i], np.float32))
        folder.save(f"b/{i}_right.npy", np.array([10 + i], np.float32))
    folder.fails("predict", "m.onnx", "--data", "a=a", "--data", "b=b", parts=["no sample has its parts", "left_0: not in b"])
    assert pair(folder, "--pair_by", "([0-9]+)") == [(0, 10), (1, 11), (2, 12)]
    folder.fails("predict", "m.onnx", "--data", "a=a", "--data", "b=b", "--pair_by", "(", parts=["--pair_by (:"], status=2)


def test_two_samples_of_one_name(folder):
    two_inputs(folder)
    for n in "ab":
        folder.save(f"{n}/1.npy", np.array([1], np.float32))
    folder.save("a/1.NPY.npy", np.array([1], np.float32))
    os.rename(folder / "a/1.NPY.npy", folder / "a/1.NPY")
    folder.fails("predict", "m.onnx", "--data", "a=a", "--data", "b=b",
                 parts=['"a": samples of a have the same name', "1.NPY and 1.npy"])


def test_an_array_beside_a_folder_goes_by_its_order(folder):
    two_inputs(folder)
    for i in range(3):
        folder.save(f"a/{i}.npy", np.array([i], np.float32))
    np.save(folder / "b.npy", np.array([[7], [8], [9]], np.float32))
    folder.run("predict", "m.onnx", "--data", "a=a", "--data", "b=b.npy", "-o", "p", "-q")
    assert np.load(folder / "p/y_b.npy")[:, 0].tolist() == [7, 8, 9]
    np.save(folder / "b.npy", np.zeros((4, 1), np.float32))
    folder.fails("predict", "m.onnx", "--data", "a=a", "--data", "b=b.npy", parts=["b.npy has 4 samples", "the folder a has 3"])


# ---- tables, tokens, safetensors -----------------------------------------------------------------------

def test_csv_labels_go_by_the_stem(folder):
    for i in range(6):
        folder.save(f"x/{i}.npy", np.full(4, i % 3, np.float32))
    folder.write("m.onnx", classifier((4,), 3))
    folder.write("l.csv", 'file,"kind"\r\n' + "".join(f"{i}.npy,{['b', 'c', 'a'][i % 3]}\r\n" for i in reversed(range(6))))
    r = folder.run("data", "m.onnx", "--data", "x", "--target", "l.csv", *LOSS)
    assert [line.strip() for line in r.stdout.splitlines() if line.startswith("    ")] == ["a: 2", "b: 2", "c: 2"]
    folder.run("train", "m.onnx", "--data", "x", "--target", "l.csv", *LOSS, "--epochs", 60, "--lr", .1, "-o", "t.onnx", "-q")
    assert json.loads(folder.run("eval", "t.onnx", "--data", "x", "--target", "l.csv", *LOSS, "--json", "-q").stdout)["accuracy"] == 1


CSV = {
    "quote": ('a,b\n1,"2\n', ["line 2", "a quote that does not end"]),
    "cells": ("a,b\n1,2\n3\n", ["line 3 has 1 cells, the first 2"]),
    "rows": ("a,b\n", ["no rows"]),
    "nul": (b"a\n1\0\n", ["NUL"]),
    "empty": (b"", ["empty"]),
    "column": ("a,b\n1,2\n", ['no column "c"; there are: a, b']),
    "word": ("a,b\n1,2\nx,3\n", ['column "a": "x" is no number']),
}


@pytest.mark.parametrize("name", CSV)
def test_a_table_that_is_none(folder, name):
    text, parts = CSV[name]
    folder.write("x.csv", text)
    folder.write("m.onnx", identity((2,)))
    more = ",columns=a+c" if name == "column" else ",columns=a+b"
    folder.fails("predict", "m.onnx", "--data", "x=x.csv" + more, parts=["x.csv", *parts])


def test_columns_of_a_table(folder):
    folder.write("x.csv", "id,u,v,w\nq,1,2.5,3\nr,4,5,6e1\n")
    folder.write("m.onnx", identity((2,)))
    assert folder.predict("--data", "x=x.csv,columns=w+v").tolist() == [[3, 2.5], [60, 5]]


def test_tokens_and_their_next(folder):
    folder.write("m.onnx", identity((4,), INT64))
    np.arange(11, dtype=np.uint16).tofile(folder / "t.bin")
    assert folder.predict("--data", "x=t.bin,seq_len=4,dtype=uint16").tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert folder.predict("--data", "x=t.bin,seq_len=4,dtype=uint16,shift=1").tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    folder.fails("predict", "m.onnx", "--data", "x=t.bin,seq_len=11,dtype=uint16", parts=["11 tokens make no sequence"])
    folder.fails("predict", "m.onnx", "--data", "x=t.bin,seq_len=4,dtype=uint32", parts=["22 bytes are no whole number"])


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_safetensors(folder):
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    one = {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}
    folder.write("m.onnx", identity((2,)))
    folder.write("x.safetensors", safetensors({"__metadata__": {"a": "b"}, "x": one}, x.tobytes()))
    assert np.array_equal(folder.predict("--data", "x.safetensors"), x)
    folder.write("x.safetensors", safetensors({"x": one, "y": one}, x.tobytes()))
    folder.fails("predict", "m.onnx", "--data", "x.safetensors", parts=["2 tensors: x, y", "FILE.safetensors:NAME"])
    assert np.array_equal(folder.predict("--data", "x.safetensors:y"), x)
    folder.fails("predict", "m.onnx", "--data", "x.safetensors:z", parts=['no tensor "z"', "it has x, y"])
    wrong = {"short": ({"x": one}, b"\0" * 20, "beyond the end"), "shape": ({"x": {**one, "shape": [3, 3]}}, x.tobytes(), "36 bytes"),
             "huge": ({"x": {**one, "shape": [2**62, 2**62]}}, x.tobytes(), "overflows"),
             "type": ({"x": {**one, "dtype": "F4"}}, x.tobytes(), "type F4"), "text": (b'{"x": {"dtype', b"", "damaged"),
             "none": ({}, b"", "it has none")}
    for header, data, message in wrong.values():
        folder.write("x.safetensors", safetensors(header, data))
        folder.fails("predict", "m.onnx", "--data", "x.safetensors", parts=["x.safetensors", message])


# ---- images --------------------------------------------------------------------------------------------

@needs_media
@pytest.mark.parametrize("kind,encode", [("png", png), ("bmp", bmp)])
def test_pixels_arrive_as_they_are(folder, kind, encode):
    x = pictures(5)
    for i in range(5):
        folder.write(f"x/{i}.{kind}", encode(x[i]))
    folder.write("m.onnx", identity((3, 8, 8)))
    assert np.allclose(folder.predict("--data", "x"), chw(x), atol=1e-6)  # float32 rounding
    assert np.allclose(folder.predict("--data", "x", "--normalize", "none", "--color", "bgr"), chw(x)[:, ::-1] * 255, atol=1e-4)
    mean, std = np.array([.485, .456, .406]), np.array([.229, .224, .225])
    assert np.allclose(folder.predict("--data", "x", "--normalize", "imagenet"), chw(x, mean, std), atol=1e-5)
    assert np.allclose(folder.predict("--data", "x", "--normalize", ".1,.2,.3/.5"), chw(x, np.array([.1, .2, .3]), .5), atol=1e-5)


@needs_media
def test_layouts(folder):
    x = pictures(3)
    for i in range(3):
        folder.write(f"x/{i}.png", png(x[i]))
    folder.write("m.onnx", identity((8, 8, 3)))
    assert np.allclose(folder.predict("--data", "x"), x / 255., atol=1e-6)
    folder.write("m.onnx", identity((1, 8, 8)))
    gray = x @ np.array([.299, .587, .114]) / 255
    assert np.allclose(folder.predict("--data", "x")[:, 0], gray, atol=1e-5)
    folder.write("m.onnx", identity((5, 8, 8)))
    folder.fails("predict", "m.onnx", "--data", "x", parts=["[N, 5, 8, 8]", "no shape of images"])
    folder.write("m.onnx", identity((3, "height", "width")))
    folder.fails("predict", "m.onnx", "--data", "x", parts=["does not say how large", "--resize"])
    assert np.allclose(folder.predict("--data", "x", "--resize", "8x8"), chw(x), atol=1e-6)


def resized(x, size):
    """A triangle filter along both axes, as wide as the picture is reduced: [height, width, 3] to [size, size, 3]."""
    def weights(n):
        scale = n / size
        support = max(scale, 1)
        at = (np.arange(size) + .5) * scale
        w = np.maximum(0, 1 - abs(np.arange(n) + .5 - at[:, None]) / support)
        return w / w.sum(1, keepdims=True)
    return np.einsum("ia,ajc,kj->ikc", weights(x.shape[0]), x.astype(float), weights(x.shape[1]))


@needs_media
def test_resizing_is_a_triangle_filter(folder):
    x = pictures(1, 20, 20)[0]
    folder.write("x/a.png", png(x))
    for size in (6, 20, 33):
        folder.write("m.onnx", identity((3, size, size)))
        got = np.moveaxis(folder.predict("--data", "x", "--normalize", "none")[0], 0, -1)
        assert np.abs(got - resized(x, size)).max() < .01


@needs_media
def test_the_middle_is_kept_or_all_of_it(folder):
    x = pictures(1, 8, 16)[0]
    folder.write("x/a.png", png(x))
    folder.write("m.onnx", identity((3, 8, 8)))
    assert np.allclose(folder.predict("--data", "x")[0], chw(x[:, 4:12]), atol=1e-6)
    got = folder.predict("--data", "x", "--resize", "stretch", "--normalize", "none")[0]
    assert got.shape == (3, 8, 8) and abs(got.mean() - x.mean()) < 3
    folder.fails("predict", "m.onnx", "--data", "x", "--resize", "large", parts=['resize is "large"', "HEIGHTxWIDTH"], status=2)


@needs_media
def test_jpeg_by_way_of_ffmpeg(folder):
    os.makedirs(folder / "x")
    ffmpeg("-f", "lavfi", "-i", "color=red:size=64x48:duration=0.04", "-frames:v", "1", folder / "x/a.jpg")
    folder.write("m.onnx", identity((3, 8, 8)))
    got = folder.predict("--data", "x")[0].mean((1, 2))
    assert np.abs(got - [1, 0, 0]).max() < .03  # JPEG's own loss
    data = open(folder / "x/a.jpg", "rb").read()
    for i, cut in enumerate((3, 20, len(data) // 2, len(data) - 40)):
        folder.write(f"x/b{i}.jpg", data[:cut])
    r = folder.run("predict", "m.onnx", "--data", "x", "-o", "p.npy")
    assert "4 samples could not be read" in r.stderr and np.load(folder / "p.npy").shape[0] == 1


@needs_media
@pytest.mark.parametrize("kind", ["tif", "webp", "ppm", "bmp"])
def test_images_that_ffmpeg_writes(folder, kind):
    os.makedirs(folder / "x")
    ffmpeg("-f", "lavfi", "-i", "color=0x2040E0:size=64x48:duration=0.04", "-frames:v", "1", folder / f"x/a.{kind}")
    folder.write("m.onnx", identity((3, 8, 8)))
    got = folder.predict("--data", "x", "--normalize", "none")[0].mean((1, 2))
    assert np.abs(got - [0x20, 0x40, 0xE0]).max() < 8  # WebP's own loss


@needs_media
def test_damaged_images(folder):
    good = png(pictures(1)[0])
    bad = {"cut": good[:len(good) // 2], "head": good[:12], "empty": b"", "text": b"hello, world",
           "crc": good[:60] + bytes([good[60] ^ 255]) + good[61:],
           "huge": good[:16] + struct.pack(">II", 1 << 30, 1 << 30) + good[24:]}
    for name, data in bad.items():
        folder.write(f"x/{name}.png", data)
    folder.write("x/good.png", good)
    folder.write("m.onnx", identity((3, 8, 8)))
    r = folder.run("predict", "m.onnx", "--data", "x", "-o", "p.npy")
    assert f"{len(bad)} samples could not be read" in r.stderr and all(f"x/{name}.png" in r.stderr for name in bad)
    assert np.allclose(np.load(folder / "p.npy"), chw(pictures(1)), atol=1e-6)


@needs_media
def test_label_maps_keep_the_pictures_geometry(folder):
    labels = np.random.default_rng(3).integers(0, 2, (6, 8, 8), np.uint8)
    for i in range(6):
        folder.write(f"x/{i}.png", png(np.repeat(labels[i, ..., None] * 255, 3, -1)))
        folder.write(f"t/{i}.png", png(labels[i]))
    folder.write("m.onnx", model([helper.make_node("Conv", ["x", "w", "b"], ["y"], "conv")], [value("x", ["batch", 3, 8, 8])],
                                 [value("y", ["batch", 2, 8, 8])],
                                 [tensor("w", np.zeros((2, 3, 1, 1), np.float32)), tensor("b", np.zeros(2, np.float32))]))
    folder.run("train", "m.onnx", "--data", "x", "--target", "t", *LOSS, "--epochs", 80, "--lr", .3, "--hflip", .5, "--vflip", .5,
               "--crop", "random", "-o", "t.onnx", "-q")
    r = json.loads(folder.run("eval", "t.onnx", "--data", "x", "--target", "t", *LOSS, "--json", "-q").stdout)
    assert r["accuracy"] == 1  # each pixel's class is its own color, wherever both are moved to


# ---- clips ---------------------------------------------------------------------------------------------

def numbered(n, size=4):
    """Frames whose red is their number times 10."""
    x = np.zeros((n, size, size, 3), np.uint8)
    x[..., 0] = 10 * np.arange(n)[:, None, None]
    return x


def shown(folder, *arguments):
    """The numbers of the frames of each clip."""
    y = folder.predict(*arguments, "--normalize", "none")
    return np.rint(y[:, :, 0].mean((2, 3)) / 10).astype(int).tolist()


@needs_media
def test_frames_are_spread_over_a_video(folder):
    folder.write("x/a.avi", avi(numbered(12)))
    folder.write("x/b.avi", avi(numbered(24)))
    folder.write("m.onnx", identity((4, 3, 4, 4)))
    assert shown(folder, "--data", "x") == [[1, 4, 7, 10], [3, 9, 15, 21]]
    folder.write("m.onnx", identity(("frames", 3, 4, 4)))
    assert shown(folder, "--data", "x=x,frames=3") == [[2, 6, 10], [4, 12, 20]]
    assert shown(folder, "--data", "x=x,frames=3,rate=5") == [[4, 6, 8], [10, 12, 14]]
    folder.fails("predict", "m.onnx", "--data", "x", parts=["how many frames", "frames=N"])


@needs_media
@pytest.mark.parametrize("frames", [1, 2, 5, 16, 24, 30])
def test_frames_between_are_left_out_but_not_what_is_made_from_them(folder, frames):
    """B-frames that are not asked for need no decoding; what is shown is what a whole decoding shows."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "b_frames.mp4")
    with open(path, "rb") as f:
        folder.write("x/a.mp4", f.read())
    folder.write("m.onnx", identity((frames, 3, make_b_frames.SIZE, make_b_frames.SIZE)))
    y = np.moveaxis(folder.predict("--data", "x", "--normalize", "none")[0], 1, -1)
    x = make_b_frames.frames()
    wanted = [(2 * k + 1) * len(x) // (2 * frames) for k in range(frames)]
    shown = np.rint((y.mean((1, 2, 3)) - make_b_frames.DARKEST) / make_b_frames.STEP).astype(int).tolist()
    assert shown == wanted
    assert np.abs(y - x[wanted]).mean() < 3  # the codec's own loss; another frame differs by 8


@needs_media
def test_a_short_video_repeats_frames(folder):
    folder.write("x/a.avi", avi(numbered(2)))
    folder.write("m.onnx", identity((5, 3, 4, 4)))
    assert shown(folder, "--data", "x") == [[0, 0, 1, 1, 1]]


@needs_media
def test_channels_before_frames(folder):
    folder.write("x/a.avi", avi(numbered(4)))
    folder.write("m.onnx", identity((3, 4, 5, 5)))
    y = folder.predict("--data", "x", "--normalize", "none")
    assert np.rint(y[0, 0].mean((1, 2))).tolist() == [0, 10, 20, 30]


@needs_media
def test_a_folder_of_images_is_a_clip(folder):
    for k in range(12):
        folder.write(f"x/a/{k}.png", png(numbered(12)[k]))
    folder.write("m.onnx", identity((4, 3, 4, 4)))
    assert shown(folder, "--data", "x") == [[1, 4, 7, 10]]  # 10 and 11 stand behind 9


def masked(folder, *arguments):
    """The numbers of the frames of each clip, and where the mask has ones; -1: zeros."""
    folder.run("predict", "m.onnx", *arguments, "--data", "mask=mask", "--normalize", "none", "-o", "p", "-q")
    y, z = np.load(folder / "p/y.npy"), np.load(folder / "p/z.npy")
    blue = y[:, :, 2].mean((2, 3))
    assert np.array_equal((y == 0).all((2, 3, 4)), z == 0)
    return np.where(blue == 0, -1, np.rint(y[:, :, 0].mean((2, 3)) / 10)).astype(int).tolist(), z.tolist()


@needs_media
def test_a_mask_says_which_frames_a_clip_has(folder):
    """With a mask, a clip that is too short is padded; a longer one is as without."""
    nodes = [helper.make_node("Identity", ["x"], ["y"], "same"), helper.make_node("Identity", ["mask"], ["z"], "mask")]
    folder.write("m.onnx", model(nodes, [value("x", ["batch", 5, 3, 4, 4]), value("mask", ["batch", 5])],
                                 [value("y", ["batch", 5, 3, 4, 4]), value("z", ["batch", 5])]))
    clips = {n: numbered(n) for n in (1, 3, 5, 20)}
    for n, x in clips.items():
        x[..., 2] = 255
        folder.write(f"v/{n:02d}.avi", avi(x))  # 10 frames a second
        for k in range(n):
            folder.write(f"f/{n:02d}/{k}.png", png(x[k]))
    frames = [[0, -1, -1, -1, -1], [0, 1, 2, -1, -1], [0, 1, 2, 3, 4], [2, 6, 10, 14, 18]]
    masks = [[1, 0, 0, 0, 0], [1, 1, 1, 0, 0], [1] * 5, [1] * 5]
    assert masked(folder, "--data", "x=v") == (frames, masks)
    assert masked(folder, "--data", "x=f") == (frames, masks)
    rated = masked(folder, "--data", "x=v,rate=5")
    assert rated == ([[0, -1, -1, -1, -1], [1, -1, -1, -1, -1], [1, 3, -1, -1, -1], [6, 8, 10, 12, 14]],
                     [[1, 0, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1] * 5])
    folder.write("v/30.avi", b"junk")
    r = folder.run("predict", "m.onnx", "--data", "x=v", "--data", "mask=mask", "-o", "p")
    assert "1 sample could not be read" in r.stderr and "v/30.avi" in r.stderr
    folder.write("m.onnx", model(nodes, [value("x", ["batch", 3, 4, 4]), value("mask", ["batch", 5])],
                                 [value("y", ["batch", 3, 4, 4]), value("z", ["batch", 5])]))
    folder.fails("predict", "m.onnx", "--data", "x=v", "--data", "mask=mask", parts=["a mask is of an input that reads a folder of .npy "
                                                                                     "files, or clips"], status=2)


@needs_media
def test_a_folder_goes_by_the_name_of_a_file_beside_it(folder):
    nodes = [helper.make_node("Identity", [n], [f"y_{n}"], n) for n in ("v", "f")]
    folder.write("m.onnx", model(nodes, [value("v", ["batch", 2, 3, 4, 4]), value("f", ["batch", 3, 4, 4])],
                                 [value("y_v", ["batch", 2, 3, 4, 4]), value("y_f", ["batch", 3, 4, 4])]))
    folder.write("v/a.avi", avi(numbered(4)))
    for k in range(3):
        folder.write(f"f/a/{k}.png", png(numbered(3)[k]))
    folder.run("predict", "m.onnx", "--data", "v=v", "--data", "f=f", "--normalize", "none", "-o", "p", "-q")
    y = np.load(folder / "p/y_f.npy")
    assert y.shape[0] == 1 and np.rint(y[0, 0]).tolist() == [[10] * 4] * 4  # the image in the middle


@needs_media
def test_frames_of_two_sizes(folder):
    for name, size in (("a", 4), ("b", 4), ("c", 4)):
        for k in range(4):
            folder.write(f"x/{name}/{k}.png", png(numbered(4, 6 if (name, k) == ("b", 2) else size)[k]))
    folder.write("x/d/0.png", b"junk")
    folder.write("x/d/1.png", png(numbered(1)[0]))
    folder.write("m.onnx", identity((4, 3, 4, 4)))
    r = folder.run("predict", "m.onnx", "--data", "x", "-o", "p.npy")
    assert "2 samples could not be read" in r.stderr and np.load(folder / "p.npy").shape[0] == 2
    for part in ("x/b", "2.png is 6 x 6, not the size of the frames before", "x/d", "0.png: not an image"):
        assert part in r.stderr, r.stderr


@needs_media
def test_damaged_videos(folder):
    good = avi(numbered(12))
    playlist = b"#EXTM3U\n#EXTINF:1,\ngood.avi\n"
    bad = {"cut": good[:len(good) // 3], "head": good[:40], "empty": b"", "text": b"hello, world", "list": playlist}
    for name, data in bad.items():
        folder.write(f"x/{name}.avi", data)
    folder.write("x/good.avi", good)
    folder.write("m.onnx", identity((4, 3, 4, 4)))
    r = folder.run("predict", "m.onnx", "--data", "x", "-o", "p.npy")
    assert f"{len(bad)} samples could not be read" in r.stderr and all(f"x/{name}.avi" in r.stderr for name in bad), r.stderr
    assert np.load(folder / "p.npy").shape[0] == 1


# ---- order and augmentation ----------------------------------------------------------------------------

AUGMENT = ["--random_resized_crop", "on", "--hflip", .5, "--color_jitter", ".4,.4,.4,.1", "--grayscale", .2, "--blur", .3,
           "--random_erasing", .5]


def losses(folder, *more):
    folder.run("train", "m.onnx", "--data", "x", "--target", "x", *LOSS, "--batch_size", 5, "--epochs", 2, "--lr", .01,
               "--log", "l", "-q", *more)
    with open(folder / "l") as f:
        return [json.loads(line)["loss"] for line in f][:-1]


@needs_media
def test_batches_are_the_same_whatever_the_number_of_workers(folder):
    x = pictures(12, 16, 16)
    for i in range(12):
        folder.write(f"x/{'ab'[i % 2]}/{i}.png", png(x[i]))
    folder.write("x/a/broken.png", b"junk")
    folder.write("m.onnx", classifier((3, 8, 8), 2))
    first = losses(folder, "--num_workers", 0, *AUGMENT)
    for workers in (1, 4):
        assert losses(folder, "--num_workers", workers, *AUGMENT) == first
    assert losses(folder, "--num_workers", 0, *AUGMENT, "--seed", 1) != first
    assert losses(folder, "--num_workers", 0) != first
    for mix in (["--mixup", .4], ["--cutmix", 1], ["--mixup", .4, "--cutmix", 1]):
        assert losses(folder, "--num_workers", 0, *mix) == losses(folder, "--num_workers", 3, *mix) != first


def test_labels_are_mixed_like_inputs(folder):
    """Elements of a sample say its class, so that the mixed ones say how much of each class is in it."""
    for i in range(9):
        folder.save(f"x/{'abc'[i % 3]}/{i}.npy", np.eye(3, dtype=np.float32)[i % 3])
    folder.write("m.onnx", classifier((3,), 3))

    def spread(target, *more):
        out = folder.run("data", "m.onnx", "--data", "x", "--target", target, *LOSS, "--batch_size", 9, *more).stdout
        return [line[line.index("values"):] for line in out.splitlines() if "std" in line]

    x, t = spread("x", "--mixup", 1)
    assert x == t != spread("x")[0]  # one-hot they spread more
    folder.save("t.npy", np.array([0, 0, 0, 1, 1, 1, 2, 2, 2], np.uint8))  # in the order of the folders
    assert spread("t.npy", "--mixup", 1) == [x, t]


def test_what_cannot_be_mixed(folder):
    folder.save("x.npy", np.zeros((6, 4), np.float32))
    folder.save("y.npy", np.zeros((6, 2), np.float32))
    folder.save("t.npy", np.zeros(6, np.int64))
    folder.write("m.onnx", classifier((4,), 2))
    run = ["train", "m.onnx", "--data", "x.npy", "--target"]
    folder.run(*run, "y.npy", "--loss", "mse", "--mixup", .4, "-q")  # numbers are mixed as they are
    folder.fails(*run, "y.npy", "--loss", "mse", "--cutmix", 1, parts=['--cutmix cannot mix target "y"'])
    nodes = [helper.make_node("Unsqueeze", ["x", "axes"], ["y"], "wide")]
    folder.write("m.onnx", model(nodes, [value("x", ["batch", 4])], [value("y", ["batch", 4, 1])], [tensor("axes", np.array([2]))]))
    folder.save("t.npy", np.zeros((6, 1), np.int64))
    folder.fails(*run, "t.npy", *LOSS, "--mixup", .4, parts=['--mixup cannot mix target "y"', "one class label a sample"])


# ---- validation ----------------------------------------------------------------------------------------

def test_a_part_of_the_data_validates(folder):
    for i in range(20):
        folder.save(f"x/p{i // 4}_{i}.npy", np.full(4, i % 2, np.float32))
    folder.write("t.csv", "file,label\n" + "".join(f"p{i // 4}_{i},{i % 2}\n" for i in range(20)))
    folder.write("m.onnx", classifier((4,), 2))
    run = ["train", "m.onnx", "--data", "x", "--target", "t.csv", *LOSS, "--batch_size", 4]
    r = folder.run(*run, "--val_split", .2, "--val_group", "^(p[0-9]+)", "--log", "l")
    assert "1 epoch of 16 samples" in r.stderr and "val_loss" in r.stderr
    folder.fails(*run, "--val_split", .2, "--val_group", "^(q)", parts=["--val_group ^(q) does not match sample p0_0"])
    folder.fails(*run, "--val_split", 1.5, parts=["--val_split is 1.5"], status=2)
    folder.fails(*run, "--val_split", .01, parts=["leaves nothing to validate with"])
    folder.fails(*run, "--val_group", "p", parts=["--val_group is for --val_split"], status=2)
    folder.fails(*run, "--val_split", .2, "--val_data", "x", parts=["excludes --val_data"], status=2)


def test_classes_of_validation_are_those_of_training(folder):
    for i, name in enumerate(["a", "b", "c"] * 4):
        folder.save(f"x/{name}/{i}.npy", np.eye(4, dtype=np.float32)["abc".index(name)])
        if name != "a":
            folder.save(f"v/{name}/{i}.npy", np.eye(4, dtype=np.float32)["abc".index(name)])
    folder.write("m.onnx", classifier((4,), 3))
    run = ["train", "m.onnx", "--data", "x", "--target", "x", *LOSS, "--epochs", 60, "--lr", .1, "--batch_size", 12]
    lines = [s for s in folder.run(*run, "--val_data", "v", "--val_target", "v").stderr.splitlines() if "val_accuracy" in s]
    assert lines[-1].endswith("val_accuracy 100.00 %")
    os.rename(folder / "v/b", folder / "v/d")
    folder.fails(*run, "--val_data", "v", "--val_target", "v", parts=["--val_target v", 'class "d" is none of the 3'])
