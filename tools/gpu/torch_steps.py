"""PyTorch's side of tools/gpu_check: the time and memory of steps of one model in float16 on the first card.

    torch_steps.py MODEL BATCH WAY STEPS [X.npy TARGET.npy]     WAY is eager, compile or graphs (compile with CUDA graphs)

Prints one JSON object; a run that fails prints why as the last line on stderr. Autocast to float16, a gradient scaler, and
fused AdamW with clipping at norm 1, as ongrad trains; products that stay in float32 in TF32; what is compiled includes the
loss. The data is on the card before the first step. Without files it is drawn: for a run that only fills PyTorch's caches.
"""
import ast
import json
import mmap
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

WARM, TIMED_TOGETHER = 8, 4  # steps: before any is timed; between two waits for the card
MOST_BATCHES = 4  # of the data, which are used over and over


def models():
    """name: how it is made, shape of a sample, classes; a shape of one axis: so many tokens, of so many words."""
    import torch_models as m
    return {"light_transformer": (lambda: m.LightTransformer(stream=True), (32, 512), 10),
            "gpt2": (m.GPT2, (1024,), 50257),
            "bert_base": (lambda: m.BERT(tokens=128, segments=1), (128,), 30522),
            "resnet50": (m.ResNet, (3, 224, 224), 1000),
            "vit_b_16": (m.ViT, (3, 224, 224), 1000)}


def read_npy(torch, path, most):
    """The first `most` rows of an array of float32 or int64; a tensor that shares the file's memory."""
    with open(path, "rb") as f:
        f.seek(8)
        length = int.from_bytes(f.read(2), "little")
        header = ast.literal_eval(f.read(length).decode())
        content = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
    shape = (min(most, header["shape"][0]), *header["shape"][1:])
    count = 1
    for d in shape:
        count *= d
    dtype = {"<f4": torch.float32, "<i8": torch.int64}[header["descr"]]
    return torch.frombuffer(content, dtype=dtype, count=count, offset=10 + length).view(shape)


def data(torch, shape, classes, batch, files):
    """Batches of inputs and targets."""
    if files:
        x, target = (read_npy(torch, path, MOST_BATCHES * batch) for path in files)
    else:
        n = MOST_BATCHES * batch
        x = torch.randint(classes, (n, *shape)) if len(shape) == 1 else torch.randn(n, *shape)
        target = torch.randint(classes, (n, *shape) if len(shape) == 1 else (n,))
    return list(zip(x.split(batch), target.split(batch)))


class Trainer:
    """One step after the other on `device`."""

    def __init__(self, torch, model, way, device):
        self.torch, self.model, self.device = torch, model, device
        self.loss = self.plain_loss if way == "eager" else torch.compile(
            self.plain_loss, mode="reduce-overhead" if way == "graphs" else None)
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        self.scaler = torch.amp.GradScaler(device)

    def plain_loss(self, x, target):
        y = self.model(x)
        return self.torch.nn.functional.cross_entropy(y.flatten(0, -2), target.flatten())

    def step(self, x, target):
        self.torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad(set_to_none=True)
        with self.torch.autocast(self.device, self.torch.float16):
            loss = self.loss(x, target)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss


def measure(torch, row, batch, way, steps, files, device="cuda"):
    """What main prints, of a row of `models`."""
    make, shape, classes = row
    began, times, first = time.perf_counter(), [], 0.0
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    to = {"memory_format": torch.channels_last} if len(shape) == 3 else {}
    torch.manual_seed(0)
    trainer = Trainer(torch, make().train().to(device, **to), way, device)
    batches = [(x.to(device, **to), t.to(device)) for x, t in data(torch, shape, classes, batch, files)]
    for at in range(0, steps, TIMED_TOGETHER):
        wait()
        begin, n = time.perf_counter(), min(TIMED_TOGETHER, steps - at)
        for i in range(at, at + n):
            loss = trainer.step(*batches[i % len(batches)])
            if i == 0:
                wait()
                first = time.perf_counter() - began
        wait()
        if at >= WARM:
            times.append(1e3 * (time.perf_counter() - begin) / n)
    times.sort()
    return {"median_ms": times[len(times) // 2] if times else None, "first_step_s": first, "loss": loss.item(),
            "peak_bytes": torch.cuda.max_memory_reserved(), "version": torch.__version__}


def main(name, batch, way, steps, *files):
    try:
        import torch
    except ImportError as why:
        sys.exit(f"PyTorch is not installed: {why}")
    table = models()
    if name not in table:
        sys.exit(f"there is no PyTorch model of this name; there are {', '.join(table)}")
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU")
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    print(json.dumps(measure(torch, table[name], batch, way, steps, files)))


if __name__ == "__main__":
    if len(sys.argv) not in (5, 7):
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), *sys.argv[5:])
