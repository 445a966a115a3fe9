"""Files of data for tests, written without any package but numpy: PNG, JPEG, BMP, uncompressed AVI, .npy folders; and the
command run in a folder of its own. Images and videos need a build with FFmpeg's libraries: `needs_media` skips where it has none.
"""
import os
import struct
import subprocess
import zlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ONGRAD = os.path.abspath(os.environ.get("ONGRAD", "build/release/ongrad"))
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def png(pixels):
    """uint8 [height, width, 3] or [height, width] (gray) as the bytes of a PNG."""
    pixels = np.asarray(pixels, np.uint8)
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


ZIGZAG = sorted(((y, x) for y in range(8) for x in range(8)), key=lambda p: (p[0] + p[1], p[(p[0] + p[1] + 1) % 2]))
COSINES = np.sqrt((1 + (np.arange(8)[:, None] > 0)) / 8) * np.cos(np.pi / 16 * np.arange(8)[:, None] * (2 * np.arange(8) + 1))


def segment(marker, data):
    return bytes([0xff, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg(pixels, extra=b""):
    """uint8 [height, width, 3], multiples of 8, as the bytes of a baseline JPEG with next to no loss; extra: segments behind
    its beginning. Codes are of 4 bits for the sizes of DC, of 8 for all (run, size) of AC."""
    pixels = np.asarray(pixels, float)
    height, width = pixels.shape[:2]
    ycc = pixels @ np.array([[.299, -.168736, .5], [.587, -.331264, -.418688], [.114, .5, -.081312]]) - [128, 0, 0]
    symbols = [16 * run + size for run in range(16) for size in range(1, 11)] + [0, 0xf0]
    code = {s: i for i, s in enumerate(symbols)}
    bits, dc = [], [0, 0, 0]

    def put(value, length):
        if length:
            bits.append(format(int(value) & ((1 << length) - 1), f"0{length}b"))

    def number(v):
        size = int(abs(v)).bit_length()
        return size, v if v >= 0 else v + (1 << size) - 1

    for y in range(0, height, 8):
        for x in range(0, width, 8):
            for c in range(3):
                block = np.rint(COSINES @ ycc[y:y + 8, x:x + 8, c] @ COSINES.T).astype(int)
                values = [block[p] for p in ZIGZAG]
                size, value = number(values[0] - dc[c])
                dc[c] = values[0]
                put(size, 4)
                put(value, size)
                run = 0
                for v in values[1:]:
                    if v == 0:
                        run += 1
                        continue
                    while run > 15:
                        put(code[0xf0], 8)
                        run -= 16
                    size, value = number(v)
                    put(code[16 * run + size], 8)
                    put(value, size)
                    run = 0
                if run:
                    put(code[0], 8)
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    data = bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8)).replace(b"\xff", b"\xff\0")
    dc_table = b"\0" + bytes([0, 0, 0, 12] + [0] * 12) + bytes(range(12))
    ac_table = b"\x10" + bytes([0] * 7 + [len(symbols)] + [0] * 8) + bytes(symbols)
    return (b"\xff\xd8" + extra + segment(0xdb, b"\0" + b"\1" * 64) +
            segment(0xc0, struct.pack(">BHHB", 8, height, width, 3) + b"\1\x11\0\2\x11\0\3\x11\0") +
            segment(0xc4, dc_table) + segment(0xc4, ac_table) + segment(0xda, b"\3\1\0\2\0\3\0\0\x3f\0") + data +
            b"\xff\xd9")


def dib(pixels):
    """Rows from the bottom up, blue first, each padded to four bytes."""
    height, width = pixels.shape[:2]
    pad = b"\0" * (-3 * width % 4)
    return b"".join(row[:, ::-1].tobytes() + pad for row in pixels[::-1])


def bmp(pixels):
    data = dib(np.asarray(pixels, np.uint8))
    height, width = np.asarray(pixels).shape[:2]
    return (b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) +
            struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, len(data), 2835, 2835, 0, 0) + data)


def avi(frames, rate=10):
    """uint8 [frames, height, width, 3] as an uncompressed AVI."""
    frames = np.asarray(frames, np.uint8)
    n, height, width = frames.shape[:3]

    def chunk(kind, data):
        return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    def group(kind, data):
        return b"LIST" + struct.pack("<I", len(data) + 4) + kind + data

    pictures = [dib(f) for f in frames]
    size = len(pictures[0])
    main = struct.pack("<14I", 1000000 // rate, size * rate, 0, 0x10, n, 0, 1, size, width, height, 0, 0, 0, 0)
    stream = b"vidsDIB " + struct.pack("<IHHIIIIIIIIhhhh", 0, 0, 0, 0, 1, rate, 0, n, size, 0, 0, 0, 0, width, height)
    form = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, size, 0, 0, 0, 0)
    header = group(b"hdrl", chunk(b"avih", main) + group(b"strl", chunk(b"strh", stream) + chunk(b"strf", form)))
    movie = b"".join(chunk(b"00db", p) for p in pictures)
    index = b"".join(b"00db" + struct.pack("<III", 0x10, 4 + k * (8 + size + size % 2), size) for k in range(n))
    body = header + group(b"movi", movie) + chunk(b"idx1", index)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"AVI " + body


def tensor(name, array):
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def value(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="tests")


def identity(shape, dtype=FLOAT):
    """y = x: what the model is fed with is what it predicts."""
    return model([helper.make_node("Identity", ["x"], ["y"], "same")], [value("x", ["batch", *shape], dtype)],
                 [value("y", ["batch", *shape], dtype)])


def classifier(shape, classes, name="x"):
    """Scores of classes from all elements of an input of that shape."""
    n = int(np.prod(shape))
    weight = np.random.default_rng(1).normal(0, .1, (n, classes)).astype(np.float32)
    return model([helper.make_node("Flatten", [name], ["flat"], "flatten"),
                  helper.make_node("Gemm", ["flat", "weight", "bias"], ["y"], "linear")],
                 [value(name, ["batch", *shape])], [value("y", ["batch", classes])],
                 [tensor("weight", weight), tensor("bias", np.zeros(classes, np.float32))])


class Folder:
    """A folder that the command runs in."""

    def __init__(self, path):
        self.path = str(path)

    def __truediv__(self, name):
        return os.path.join(self.path, name)

    def write(self, name, data):
        os.makedirs(os.path.dirname(self / name), exist_ok=True)
        if isinstance(data, onnx.ModelProto):
            data = data.SerializeToString()
        elif isinstance(data, str):
            data = data.encode()
        with open(self / name, "wb") as f:
            f.write(data)

    def save(self, name, array):
        os.makedirs(os.path.dirname(self / name), exist_ok=True)
        np.save(self / name, array)

    def run(self, *arguments, status=0):
        r = subprocess.run([ONGRAD, *[str(a) for a in arguments]], cwd=self.path, capture_output=True, text=True,
                           timeout=300, stdin=subprocess.DEVNULL)
        assert r.returncode == status, f"{arguments}\n{r.stdout}\n{r.stderr}"
        return r

    def fails(self, *arguments, parts, status=1):
        r = self.run(*arguments, status=status)
        missing = [p for p in parts if p not in r.stderr]
        assert not missing, f"{arguments}: {missing} not in\n{r.stderr}"

    def predict(self, *arguments):
        self.run("predict", "m.onnx", *arguments, "-o", "p.npy", "-q")
        return np.load(self / "p.npy")


def reads_media():
    """Does this build read images?"""
    import tempfile
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(path)
        folder.write("m.onnx", identity((3, 2, 2)))
        folder.write("x/a.png", png(np.zeros((2, 2, 3))))
        r = subprocess.run([ONGRAD, "predict", "m.onnx", "--data", "x", "-o", "p.npy"], cwd=path, capture_output=True,
                           text=True)
        return "this build reads no" not in r.stderr


needs_media = pytest.mark.skipif(not os.path.exists(ONGRAD) or not reads_media(),
                                 reason="built without FFmpeg's libraries (libavcodec-dev …)")


def ffmpeg(*arguments):
    """Run the program ffmpeg; the test is skipped where it is not installed."""
    try:
        subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        pytest.skip("the program ffmpeg is not installed")
