"""The loader beside torch.utils.data: JPEGs as a training run reads them, with the same number of workers.

tools/bench --loader runs it. Both sides read the same folder, an epoch at a time: a random resized crop to 224 × 224, a
mirror half of the time, numbers normalized, batches of 32. PyTorch's side is what its examples use: ImageFolder,
torchvision's transforms on PIL images, a DataLoader whose workers persist; its first epoch, in which they start, is not
counted. ongrad's is `ongrad data --throughput`. They alternate; figures are the best of the rounds.
"""
import argparse
import json
import os
import subprocess
import sys
import time

BATCH, SIZE, CLASSES = 32, 224, 4


def make_images(folder, count):
    """JPEGs of 500 × 375 pixels with the detail of a photograph: noise of several scales."""
    import numpy as np
    from PIL import Image
    rng = np.random.default_rng(0)
    for i in range(count):
        path = os.path.join(folder, f"class{i % CLASSES}", f"{i:05d}.jpg")
        if os.path.exists(path):
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        x = np.zeros((375, 500, 3), np.float32)
        for scale in (4, 16, 64):
            small = rng.normal(0, 25 * scale ** .3, (375 // scale + 2, 500 // scale + 2, 3)).astype(np.float32)
            x += np.stack([np.asarray(Image.fromarray(small[..., c]).resize((500, 375))) for c in range(3)], -1)
        Image.fromarray(np.clip(128 + x, 0, 255).astype(np.uint8)).save(path, quality=90)


def torch_rate(folder, workers):
    import torch
    from torchvision import datasets, transforms
    torch.set_num_threads(1)
    change = transforms.Compose([
        transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
    data = datasets.ImageFolder(folder, change)
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=workers,
                                         persistent_workers=workers > 0)
    for _ in loader:
        pass
    start = time.perf_counter()
    for _ in loader:
        pass
    return len(data) / (time.perf_counter() - start)


def ongrad_rate(ongrad, folder, workers, count):
    model = os.path.join(os.path.dirname(folder), "loader.onnx")
    subprocess.run([ongrad, "new", "resnet", "--image_size", str(SIZE), "-o", model, "--overwrite", "-q"], check=True)
    done = subprocess.run(
        [ongrad, "data", model, "--data", folder, "--batch_size", str(BATCH), "--num_workers", str(workers),
         "--samples", str(count), "--random_resized_crop", "on", "--hflip", "0.5", "--normalize", "imagenet",
         "--throughput", "--json", "-q"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["samples_per_s"]


def main(ongrad, python, folder, workers, count, rounds):
    images = os.path.join(folder, "loader")
    os.makedirs(images, exist_ok=True)
    subprocess.run([python, os.path.abspath(__file__), "make", images, "--images", str(count)], check=True)
    rates = {"ongrad": [], "torch": []}
    for _ in range(rounds):
        rates["ongrad"].append(ongrad_rate(ongrad, images, workers, count))
        done = subprocess.run([python, os.path.abspath(__file__), "torch", images, "--workers", str(workers)], check=True,
                              capture_output=True, text=True)
        rates["torch"].append(float(done.stdout))
    own, other = max(rates["ongrad"]), max(rates["torch"])
    print(f"{count} JPEGs of 500 x 375, random crops of {SIZE} x {SIZE}, {workers} workers, best of {rounds}:")
    print(f"| ongrad | torch.utils.data | times as fast |\n|---|---|---|\n| {own:.0f} images/s | {other:.0f} images/s | "
          f"{own / other:.2f} |")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["make", "torch"])
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    if given.side == "make":
        make_images(given.folder, given.images)
    else:
        print(torch_rate(given.folder, given.workers))
    sys.exit(0)
