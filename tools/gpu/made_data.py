"""Data that nobody has to download: random numbers, tokens and classes, as .npy files."""
import os
import random

from limits import Failed

BLOCK = 1 << 16  # elements that are drawn; a file repeats them


def write_npy(path, dims, dtype, block):
    """dims of int; block: the first BLOCK elements, as bytes, which are repeated."""
    count = 1
    for d in dims:
        if not isinstance(d, int):
            raise Failed(f"{path}: an axis of unknown length, {d}")
        count *= d
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({''.join(f'{d}, ' for d in dims)}), }}"
    header = header.ljust(117) + "\n"
    size = len(block) // BLOCK * count
    try:
        with open(path, "wb") as f:
            f.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
            for at in range(0, size, len(block)):
                f.write(block[:size - at])
    except OSError as why:
        raise Failed(f"{path}: {why.strerror}; {size / 1e9:.1f} GB are needed there (TMPDIR names another folder)") from None


def floats(draw):
    """1/2 to 2 in size, with random signs and digits."""
    block = bytearray(draw.randbytes(4 * BLOCK))
    block[3::4] = bytes((b & 0x80) | 0x3F for b in block[3::4])
    return bytes(block)


def integers(draw, below):
    return b"".join(draw.randrange(below).to_bytes(8, "little") for _ in range(BLOCK))


def made_data(inspected, stem, samples):
    """Files for a model as `ongrad inspect --json` describes it: arguments of its training, and the paths of its first input
    and target. Tokens and targets are below the length of the output's last axis: a language model's vocabulary."""
    draw, output = random.Random(0), inspected["outputs"][0]["shape"]
    if not isinstance(output[-1], int):
        raise Failed(f"{stem}: the output's last axis has no length but {output[-1]}")
    arguments, paths = [], []
    for value in inspected["inputs"]:
        whole, path = value["dtype"] == "int64", f"{stem}.{value['name']}.npy"
        block = integers(draw, output[-1]) if whole else floats(draw)
        write_npy(path, [samples, *value["shape"][1:]], "<i8" if whole else "<f4", block)
        arguments += ["--data", f"{value['name']}={path}"]
        paths.append(path)
    target = stem + ".target.npy"
    write_npy(target, [samples, *output[1:-1]], "<i8", integers(draw, output[-1]))
    return [*arguments, "--target", target, "--loss", "cross_entropy"], paths[0], target


def remove(stem):
    folder, name = os.path.split(stem)
    for file in os.listdir(folder):
        if file.startswith(name + ".") and file.endswith(".npy"):
            os.remove(os.path.join(folder, file))
