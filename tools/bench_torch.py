"""PyTorch's side of tools/bench: the workloads, and one run of one of them.

    bench_torch.py make FOLDER NAME...                   write FOLDER/NAME/
    bench_torch.py run FOLDER/NAME WAY STEPS THREADS     train; WAY is eager, compile or bf16

A workload FOLDER/NAME/ is model.onnx, x.npy, target.npy, weights.pt and workload.json: the loss, how many steps a run
takes, the learning rate, and PyTorch's losses of the first ten steps in double and in float. A run starts from
weights.pt and prints one JSON object. A run that fails prints why as the last line on stderr.

Every step is the same batch: forward, loss, backward, gradients clipped at norm 1, AdamW.
"""
import importlib
import json
import os
import sys
import time
import warnings

NEEDS = {"torch": "torch", "numpy": "numpy"}
NEEDS_TO_MAKE = {**NEEDS, "onnx": "onnx", "onnxscript": "onnxscript"}


def need(packages):
    """The modules, or an end that says what to install."""
    missing, modules = [], []
    for name, package in packages.items():
        try:
            modules.append(importlib.import_module(name))
        except ImportError:
            missing.append(package)
    if missing:
        sys.exit(f"{sys.executable} lacks {', '.join(missing)}: {sys.executable} -m pip install {' '.join(missing)}")
    return modules


# ---- workloads --------------------------------------------------------------------------------------------------

def light_transformer(_):
    return importlib.import_module("torch_models").LightTransformer()


def torchvision_model(name, **options):
    def make(_):
        need({"torchvision": "torchvision"})
        models = importlib.import_module("torchvision.models")
        return getattr(models, name)(num_classes=10, **options)
    return make


def gpt2(torch):
    """Four layers of width 256, 512 tokens; gives the logits alone."""
    transformers, = need({"transformers": "transformers"})
    config = transformers.GPT2Config(vocab_size=512, n_positions=128, n_embd=256, n_layer=4, n_head=8, resid_pdrop=0,
                                     embd_pdrop=0, attn_pdrop=0, bos_token_id=None, eos_token_id=None,
                                     use_cache=False)

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gpt2 = transformers.GPT2LMHeadModel(config)

        def forward(self, x):
            return self.gpt2(input_ids=x, use_cache=False).logits

    return Logits()


def lenet(torch):
    nn = torch.nn
    return nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10))


def mlp(torch):
    nn = torch.nn
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(),
                         nn.Linear(512, 10))


def lstm(torch):
    class LastState(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(64, 256, batch_first=True)
            self.head = torch.nn.Linear(256, 10)

        def forward(self, x):
            return self.head(self.lstm(x)[0][:, -1])

    return LastState()


# name: model, shape of x ("tokens" below classes, of target's shape), classes, shape of target, steps of a run, learning
# rate (of mobilenet_v2 a small one: at 1e-3 its losses are chaotic, and no two orders of summation agree for ten steps)
WORKLOADS = {
    "light_transformer": (light_transformer, (32, 32, 512), 10, (32,), 12, 1e-3),
    "resnet18": (torchvision_model("resnet18"), (16, 3, 64, 64), 10, (16,), 30, 1e-3),
    "mobilenet_v2": (torchvision_model("mobilenet_v2", dropout=0.0), (16, 3, 64, 64), 10, (16,), 30, 1e-5),
    "gpt2": (gpt2, "tokens", 512, (8, 128), 25, 1e-3),
    "lenet": (lenet, (128, 1, 28, 28), 10, (128,), 80, 1e-3),
    "mlp": (mlp, (128, 1, 28, 28), 10, (128,), 600, 1e-3),
    "lstm": (lstm, (32, 64, 64), 10, (32,), 150, 1e-3),
}
CHECKED_STEPS = 10


def make_model(torch, name):
    if name not in WORKLOADS:
        sys.exit(f"there is no PyTorch model of this name; there are {', '.join(WORKLOADS)}")
    torch.manual_seed(0)
    return WORKLOADS[name][0](torch).train()


def make_data(torch, name):
    _, shape, classes, targets, *_ = WORKLOADS[name]
    draw = torch.Generator().manual_seed(1)
    target = torch.randint(0, classes, targets, generator=draw)
    if shape == "tokens":
        return torch.randint(0, classes, targets, generator=draw), target
    return torch.randn(*shape, generator=draw), target


# ---- training ---------------------------------------------------------------------------------------------------

class Trainer:
    """One step after the other; a step returns its loss."""

    def __init__(self, torch, model, x, target, lr, way="eager"):
        self.torch, self.x, self.target, self.way = torch, x, target, way
        self.parameters = list(model.parameters())
        self.forward = torch.compile(model) if way == "compile" else model
        self.optimizer = torch.optim.AdamW(self.parameters, lr=lr, weight_decay=0.01, fused=True)

    def loss(self):
        y = self.forward(self.x)
        if y.dim() == 3:  # [N, T, classes]
            y, target = y.flatten(0, 1), self.target.flatten()
        else:
            target = self.target
        return self.torch.nn.functional.cross_entropy(y, target)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        with self.torch.autocast("cpu", self.torch.bfloat16, enabled=self.way == "bf16"):
            loss = self.loss()
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        return loss.item()


def export(torch, name, model, x, path):
    """The exporter that keeps the model in training form; it does not take GPT-2, which the other one exports."""
    names = {"input_names": ["x"], "output_names": ["y"]}
    if name == "gpt2":
        batch = torch.export.Dim("batch", min=1)
        torch.onnx.export(model, (x,), path, dynamo=True, external_data=False, verbose=False,
                          dynamic_shapes=({0: batch},), **names)
    else:
        torch.onnx.export(model, (x,), path, dynamo=False, opset_version=17, do_constant_folding=False,
                          training=torch.onnx.TrainingMode.TRAINING,
                          dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}}, **names)


def make_distinct(torch, model):
    """Zero biases and unit scales get a little noise: exporters keep one tensor for parameters that are equal, and
    what the model trains apart would then be trained as one."""
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in model.parameters():
            if p.numel() > 1 and bool((p == p.flatten()[0]).all()):
                p.add_(0.01 * torch.randn(p.shape, generator=draw))


def make(torch, numpy, folder, name):
    started = time.perf_counter()
    model = make_model(torch, name)
    make_distinct(torch, model)
    x, target = make_data(torch, name)
    path = os.path.join(folder, name)
    os.makedirs(path, exist_ok=True)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    export(torch, name, model, x, os.path.join(path, "model.onnx"))
    torch.save(weights, os.path.join(path, "weights.pt"))
    numpy.save(os.path.join(path, "x.npy"), x.numpy())
    numpy.save(os.path.join(path, "target.npy"), target.numpy())
    losses, (*_, steps, lr) = {}, WORKLOADS[name]
    for key, dtype in (("losses", torch.float64), ("losses_float32", torch.float32)):
        model.load_state_dict(weights)
        trainer = Trainer(torch, model.to(dtype).train(), x.to(dtype) if x.is_floating_point() else x, target, lr)
        losses[key] = [trainer.step() for _ in range(CHECKED_STEPS)]
    # Written last: a workload without it is not whole.
    with open(os.path.join(path, "workload.json"), "w", encoding="utf-8") as f:
        json.dump({"loss": "cross_entropy", "steps": steps, "lr": lr, **losses}, f, indent=1)
        f.write("\n")
    print(f"made {path} in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)


def resident(key):
    """VmRSS, VmHWM (the peak) in bytes."""
    with open("/proc/self/status", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith(key))


def run(torch, numpy, path, way, steps, threads):
    name = os.path.basename(os.path.normpath(path))
    torch.set_num_threads(threads)
    imports = [module for module, names in (("torchvision", ("resnet18", "mobilenet_v2")),
                                            ("transformers", ("gpt2",))) if name in names]
    need({module: module for module in imports})
    for module in imports:  # these load their models when asked for them
        getattr(importlib.import_module(module), "models", None)
        getattr(importlib.import_module(module), "GPT2LMHeadModel", None)
    start_bytes, started = resident("VmRSS"), time.perf_counter()
    model = make_model(torch, name)
    model.load_state_dict(torch.load(os.path.join(path, "weights.pt"), weights_only=True))
    x, target = (torch.from_numpy(numpy.load(os.path.join(path, f))) for f in ("x.npy", "target.npy"))
    trainer, times, losses = Trainer(torch, model, x, target, WORKLOADS[name][-1], way), [], []
    for _ in range(steps):
        begin = time.perf_counter()
        losses.append(trainer.step())
        times.append(time.perf_counter() - begin)
        if len(times) == 1:
            first = time.perf_counter() - started
    print(json.dumps({"times": times, "losses": losses, "first": first, "start_bytes": start_bytes,
                      "peak_bytes": resident("VmHWM"), "version": torch.__version__}))


def main(arguments):
    warnings.filterwarnings("ignore")
    if arguments[:1] == ["make"]:
        torch, numpy, *_ = need(NEEDS_TO_MAKE)
        for name in arguments[2:]:
            make(torch, numpy, arguments[1], name)
    elif arguments[:1] == ["run"] and len(arguments) == 5:
        torch, numpy = need(NEEDS)
        run(torch, numpy, arguments[1], arguments[2], int(arguments[3]), int(arguments[4]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
