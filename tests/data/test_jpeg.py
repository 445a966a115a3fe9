"""JPEG: pixels, smaller decoding, a camera's orientation, damage.

    ONGRAD=build/release/ongrad python3 -m pytest tests/data/test_jpeg.py
"""
import struct

import numpy as np
import pytest
from media import Folder, identity, jpeg, needs_media, png, segment

pytestmark = needs_media
LOSS = 4  # of 255: rounded coefficients, and two conversions of color
TURNS = {1: lambda x: x, 2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
         5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x, -1), 7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
         8: lambda x: np.rot90(x)}


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def tiff(orientation, order=">", kind=3, at=8, entries=None):
    """The directory of an EXIF block: another tag, then the orientation."""
    mark = b"MM\0*" if order == ">" else b"II*\0"
    other = struct.pack(order + "HHIHH", 0x010f, 3, 1, 5, 0)
    return (mark + struct.pack(order + "I", at) + struct.pack(order + "H", 2 if entries is None else entries) + other +
            struct.pack(order + "HHIHH", 0x0112, kind, 1, orientation, 0) + struct.pack(order + "I", 0))


def exif(*arguments, **more):
    return segment(0xe1, b"Exif\0\0" + tiff(*arguments, **more))


def photo(height, width, seed=0):
    """Smooth, so that little is lost on the way to a smaller size."""
    y, x = np.mgrid[:height, :width]
    a = np.random.default_rng(seed).uniform(0, 6, (3, 2))
    return np.stack([128 + 100 * np.sin(p + x / 17) * np.cos(q + y / 13) for p, q in a], -1).astype(np.uint8)


def pixels(folder, *more):
    return np.moveaxis(folder.predict("--data", "x", "--normalize", "none", *more), 1, -1)


def test_pixels(folder):
    x = np.random.default_rng(0).integers(0, 256, (3, 16, 24, 3), np.uint8)
    for i in range(3):
        folder.write(f"x/{i}.jpg", jpeg(x[i]))
    folder.write("m.onnx", identity((3, 16, 24)))
    assert np.abs(pixels(folder) - x).max() <= LOSS


@pytest.mark.parametrize("order", [">", "<"])
def test_a_photo_is_turned_upright(folder, order):
    x = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    for turned in (False, True):
        folder.write("m.onnx", identity((3, 24, 16) if turned else (3, 16, 24)))
        for o in range(1, 9):
            if (o > 4) == turned:
                folder.write("x/a.jpg", jpeg(x, exif(o, order)))
                assert np.abs(pixels(folder)[0] - TURNS[o](x)).max() <= LOSS, o


def test_smaller_decoding_turns_alike(folder):
    """Of 160 × 240 pixels to a quarter: the same as of a PNG that is upright, whichever way the part lies."""
    x = photo(160, 240)
    for size in ((40, 60), (60, 40), (32, 32)):
        folder.write("m.onnx", identity((3, *size)))
        for o in range(1, 9):
            folder.write(f"x/{o}.jpg", jpeg(x, exif(o)))
            folder.write(f"y/{o}.png", png(TURNS[o](x)))
        y = np.moveaxis(folder.predict("--data", "y", "--normalize", "none"), 1, -1)
        assert np.abs(pixels(folder) - y).max() < 12, size  # smaller by another filter; what is turned wrongly differs by 100


def test_frames_of_a_clip_are_turned_each(folder):
    x = photo(16, 16)
    for o in range(1, 9):
        folder.write(f"x/a/{o}.jpg", jpeg(x, exif(o)))
    folder.write("m.onnx", identity((8, 3, 16, 16)))
    y = np.moveaxis(folder.predict("--data", "x", "--normalize", "none")[0], 1, -1)
    for o in range(1, 9):
        assert np.abs(y[o - 1] - TURNS[o](x)).max() <= LOSS, o


# Blocks that say nothing, or lie: the picture is read as it is.
STRANGE = {
    "nothing": b"", "zero": exif(0), "nine": exif(9), "large": exif(0xffff), "long": exif(6, kind=4),
    "cut": segment(0xe1, b"Exif\0\0" + tiff(6)[:20]), "no_tiff": segment(0xe1, b"Exif\0\0XX" + tiff(6)[2:]),
    "short": segment(0xe1, b"Exif\0\0MM\0"), "empty": segment(0xe1, b"Exif\0\0"), "beyond": exif(6, at=2**32 - 1),
    "at_the_end": exif(6, at=len(tiff(6)) - 1), "itself": exif(6, at=0), "many": exif(6, entries=0),
    "xmp": segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0" + tiff(6)), "elsewhere": segment(0xe2, b"Exif\0\0" + tiff(6)),
}


def test_strange_exif_turns_nothing(folder):
    x = photo(16, 24)
    folder.write("m.onnx", identity((3, 16, 24)))
    for name, block in STRANGE.items():
        folder.write(f"x/{name}.jpg", jpeg(x, block))
    assert np.abs(pixels(folder) - x).max() <= LOSS


def test_the_first_exif_counts(folder):
    """Behind other segments, and where it claims more entries than there are."""
    x = photo(16, 16)
    folder.write("m.onnx", identity((3, 16, 16)))
    folder.write("x/a.jpg", jpeg(x, segment(0xe0, b"JFIF\0\1\2\0\0\1\0\1\0\0") + segment(0xfe, b"a comment") + exif(6) + exif(3)))
    folder.write("x/b.jpg", jpeg(x, exif(6, entries=0xffff)))
    assert np.abs(pixels(folder) - TURNS[6](x)).max() <= LOSS


def test_damaged_jpegs(folder):
    """Read or listed: cut anywhere, any byte wrong, EXIF included; what is cut in the picture is not taken."""
    good = jpeg(photo(16, 24), exif(6))
    rng = np.random.default_rng(0)
    for i, at in enumerate(rng.choice(len(good), 200, replace=False)):
        folder.write(f"x/flip{i}.jpg", good[:at] + bytes([good[at] ^ int(rng.integers(1, 256))]) + good[at + 1:])
    cuts = range(0, len(good) - 10, len(good) // 60)
    for at in cuts:
        folder.write(f"x/cut{at}.jpg", good[:at])
    folder.write("x/good.jpg", good)
    folder.write("m.onnx", identity((3, 24, 16)))
    folder.run("predict", "m.onnx", "--data", "x", "-o", "p.npy", "-q")
    with open(folder / "p.names.txt") as f:
        names = f.read().split()
    assert "good" in names and not [n for n in names if n.startswith("cut")]
    assert np.load(folder / "p.npy").shape[0] == len(names)
