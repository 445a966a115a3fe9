"""Fine-tuning on real images: Fashion-MNIST (Debian's dataset-fashion-mnist), first as IDX files, then as folders of PNG.

    ONGRAD=build/release/ongrad python3 -m pytest tests/data/test_fashion.py
"""
import gzip
import json
import os
import struct

import numpy as np
import pytest
from media import Folder, needs_media, png

FASHION = "/usr/share/datasets/fashion-mnist"
NAMES = {5: "sandal", 6: "shirt", 7: "sneaker", 8: "bag", 9: "ankle_boot"}
MODEL = ["--model_type", "cnn", "--conv_channels", "16,32", "--loss", "cross_entropy", "--batch_size", 50]


def read(name, offset):
    with gzip.open(f"{FASHION}/{name}.gz") as f:
        return np.frombuffer(f.read(), np.uint8, offset=offset)


def write_idx(folder, name, array):
    folder.write(name, gzip.compress(struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes(), 1))


@needs_media
@pytest.mark.skipif(not os.path.exists(f"{FASHION}/train-images-idx3-ubyte.gz"), reason="dataset-fashion-mnist is not installed")
def test_pretrained_on_five_classes_then_folders_of_the_other_five(tmp_path):
    """200 PNGs and 30 steps: what begins with the layers that learned classes 0 to 4, with a new head, gets 0.91 of 2,000
    others right (± 0.005 from seed to seed), what begins at random 0.86 (± 0.01)."""
    folder = Folder(tmp_path)
    images, labels = read("train-images-idx3-ubyte", 16).reshape(-1, 28, 28), read("train-labels-idx1-ubyte", 8)
    old = np.flatnonzero(labels < 5)[:10000]
    write_idx(folder, "old-images.gz", images[old])
    write_idx(folder, "old-labels.gz", labels[old])
    for label, name in NAMES.items():
        for k, i in enumerate(np.flatnonzero(labels == label)[:440]):
            folder.write(f"{'few' if k < 40 else 'others'}/{name}/{i:05d}.png", png(images[i]))
    folder.run("train", *MODEL, "--num_classes", 10, "--data", "image=old-images.gz,scale=255", "--target", "old-labels.gz",
               "--steps", 200, "-o", "old.onnx", "-q")

    def accuracy(*more):
        run = folder.run("train", *MODEL, "--num_classes", 5, "--data", "image=few", "--target", "few", "--steps", 30,
                         "-o", "new.onnx", *more)
        result = folder.run("eval", "new.onnx", "--data", "image=others", "--target", "others", "--loss", "cross_entropy", "--json")
        return json.loads(result.stdout)["accuracy"], run.stderr

    scratch, _ = accuracy()
    tuned, said = accuracy("--init_from", "old.onnx")
    assert "14 of 16 float tensors from old.onnx" in said and "head.weight float32 [128, 10] there, float32 [128, 5] here" in said, said
    assert tuned > scratch + .02, (tuned, scratch)
