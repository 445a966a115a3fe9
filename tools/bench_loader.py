"""The loader beside torch.utils.data: JPEGs and videos as a training run reads them, with the same number of workers.

tools/bench --loader runs it. Both sides read the same folder, an epoch at a time. Of JPEGs: a random resized crop to 224 × 224, a
mirror half of the time, numbers normalized, batches of 32. Of videos (H.264, 340 × 256, 10 s): 16 frames spread over the clip,
one such crop to 112 × 112 for all, batches of 4. PyTorch's side is what its examples use: ImageFolder and torchvision's
transforms on PIL images; PyAV (the package av), torchvision having no reader of videos any more, and its transforms on
tensors; a DataLoader whose workers persist; its first epoch, in which they start, is not counted. ongrad's is `ongrad data
--throughput`. They alternate; figures are the best of the rounds.
"""
import argparse
import json
import os
import subprocess
import sys
import time

CLASSES = 4
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
SIZES = {"images": 224, "clips": 112}
BATCH = {"images": 32, "clips": 4}
FRAMES, EPOCHS = 16, {"images": 1, "clips": 3}


def noise(rng, height, width, scales):
    """float [height, width, 3] around 128, with detail of several scales."""
    import numpy as np
    from PIL import Image
    x = np.full((height, width, 3), 128, np.float32)
    for scale in scales:
        small = rng.normal(0, 25 * scale ** .3, (height // scale + 2, width // scale + 2, 3)).astype(np.float32)
        x += np.stack([np.asarray(Image.fromarray(small[..., c]).resize((width, height))) for c in range(3)], -1)
    return x


def make_image(path, rng):
    """500 × 375 pixels with the detail of a photograph."""
    import numpy as np
    from PIL import Image
    Image.fromarray(np.clip(noise(rng, 375, 500, (4, 16, 64)), 0, 255).astype(np.uint8)).save(path, quality=90)


def make_clip(path, rng):
    """250 frames of a moving picture, as x264 writes them unless told otherwise."""
    import av
    import numpy as np
    picture, (dx, dy) = noise(rng, 512, 640, (8, 32)), rng.uniform(-1, 1, 2)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 340, 256, "yuv420p"
        for k in range(250):
            y, x = int(128 + .5 * dy * k), int(150 + .5 * dx * k)
            frame = picture[y:y + 256, x:x + 340] + rng.normal(0, 2, (256, 340, 3))
            frame = av.VideoFrame.from_ndarray(np.clip(frame, 0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def make(what, folder, count):
    import numpy as np
    rng = np.random.default_rng(0)
    for i in range(count):
        path = os.path.join(folder, f"class{i % CLASSES}", f"{i:05d}.{'jpg' if what == 'images' else 'mp4'}")
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            (make_image if what == "images" else make_clip)(path, rng)


def image_folder(folder):
    from torchvision import datasets, transforms
    return datasets.ImageFolder(folder, transforms.Compose([
        transforms.RandomResizedCrop(SIZES["images"]), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize(MEAN, STD)]))


def read_clip(path):
    """uint8 [FRAMES, 3, height, width]: the middles of equal parts."""
    import av
    import torch
    frames = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        wanted = [(2 * k + 1) * stream.frames // (2 * FRAMES) for k in range(FRAMES)]
        for k, frame in enumerate(container.decode(stream)):
            if k in wanted:
                frames.append(torch.from_numpy(frame.to_ndarray(format="rgb24")))
            if k == wanted[-1]:
                break
    return torch.stack(frames).permute(0, 3, 1, 2)


def clip_folder(folder):
    import torch
    from torchvision import datasets
    from torchvision.transforms import v2
    change = v2.Compose([v2.RandomResizedCrop(SIZES["clips"]), v2.RandomHorizontalFlip(),
                         v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    return datasets.DatasetFolder(folder, read_clip, (".mp4",), change)


def torch_rate(what, folder, workers):
    import torch
    torch.set_num_threads(1)
    data = (image_folder if what == "images" else clip_folder)(folder)
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH[what], shuffle=True, num_workers=workers,
                                         persistent_workers=workers > 0)
    for _ in loader:
        pass
    start = time.perf_counter()
    for _ in range(EPOCHS[what]):
        for _ in loader:
            pass
    return EPOCHS[what] * len(data) / (time.perf_counter() - start)


def ongrad_rate(what, ongrad, folder, workers, count):
    model = os.path.join(os.path.dirname(folder), "loader.onnx")
    if what == "images":
        subprocess.run([ongrad, "new", "resnet", "--image_size", str(SIZES[what]), "-o", model, "--overwrite", "-q"], check=True)
        data = [model, "--data", folder]
    else:
        data = ["--model_type", "lightweight_transformer", "--video_size", str(SIZES[what]), "--num_classes", str(CLASSES),
                "--data", f"video={folder},frames={FRAMES}", "--target", folder, "--loss", "cross_entropy"]
    done = subprocess.run(
        [ongrad, "data", *data, "--batch_size", str(BATCH[what]), "--num_workers", str(workers),
         "--samples", str(EPOCHS[what] * count), "--random_resized_crop", "on", "--hflip", "0.5", "--normalize", "imagenet",
         "--throughput", "--json", "-q"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["samples_per_s"]


def measure(what, ongrad, python, folder, workers, count, rounds):
    """The best of the rounds, samples a second: ongrad's, PyTorch's."""
    place = os.path.join(folder, "loader" if what == "images" else "loader_clips")
    os.makedirs(place, exist_ok=True)
    own = [python, os.path.abspath(__file__)]
    subprocess.run([*own, "make", what, place, "--count", str(count)], check=True)
    rates = []
    for _ in range(rounds):
        done = subprocess.run([*own, "torch", what, place, "--workers", str(workers)], check=True, capture_output=True, text=True)
        rates.append((ongrad_rate(what, ongrad, place, workers, count), float(done.stdout)))
    return [max(r) for r in zip(*rates)]


def main(ongrad, python, folder, workers, images, clips, rounds):
    has_av = subprocess.run([python, "-c", "import av"], capture_output=True).returncode == 0
    print(f"Samples a second with {workers} workers, best of {rounds}; PyTorch's videos by {'PyAV' if has_av else '…'}:\n"
          "| | ongrad | torch.utils.data | times as fast |\n|---|---|---|---|")
    for what, count, text in (("images", images, "JPEGs of 500 x 375, crops of 224 x 224"),
                              ("clips", clips, "videos of 340 x 256, 10 s, 16 crops of 112 x 112")):
        if what == "clips" and not has_av:
            print(f"| {count} {text} | not measured: {python} has no package av | | |")
            continue
        own, other = measure(what, ongrad, python, folder, workers, count, rounds)
        print(f"| {count} {text} | {own:.3g} | {other:.3g} | {own / other:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["make", "torch"])
    parser.add_argument("what", choices=list(SIZES))
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    if given.side == "make":
        make(given.what, given.folder, given.count)
    else:
        print(torch_rate(given.what, given.folder, given.workers))
    sys.exit(0)
