#!/usr/bin/env python3
"""A PyTorch module as an ONNX file that trains well: the right torch.onnx.export call, and a reference to check it by.

    from export_torch import export
    export(module, (images,), "model.onnx", loss="cross_entropy", reference="reference.npz")

    tools/export_torch.py torchvision.models:resnet18 --input 'x=float32[8,3,64,64]' -o model.onnx \\
        --reference reference.npz --loss cross_entropy
    ongrad check model.onnx --reference reference.npz

The export keeps what training needs: the first axis of every input and output is free, the module is in training mode (so
that Dropout and BatchNormalization are in the file), nothing is folded or merged. The reference is one batch and PyTorch's
first steps on it, in float32 and float64; `ongrad check --reference` replays them and names the first tensor that differs.
Needs torch, onnx and onnxscript; ongrad itself needs none of them."""
import argparse
import copy
import importlib
import os
import re
import sys

import numpy as np
import torch

LOSSES = {"cross_entropy": torch.nn.functional.cross_entropy, "mse": torch.nn.functional.mse_loss,
          "l1": torch.nn.functional.l1_loss, "smooth_l1": torch.nn.functional.smooth_l1_loss,
          "bce_with_logits": torch.nn.functional.binary_cross_entropy_with_logits}
OPTIMIZERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


def export(module, args, path, *, input_names=None, output_names=None, dynamic_batch=True, reference=None, loss=None,
           target=None, optimizer="sgd", lr=0.01, steps=10, legacy=False, verbose=False):
    """Write `module`, called with the tuple of tensors `args`, to `path`; with `reference`, a batch and the first `steps`
    steps of `optimizer` under `loss` to that path. target: a tensor; None: random. legacy: the exporter of TorchScript."""
    args = tuple(args)
    names = list(input_names or input_names_of(module, len(args)))
    outputs = list(output_names or ["output"])
    module.train()
    if legacy:
        axes = {n: {0: "batch"} for n in [*names, *outputs]} if dynamic_batch else None
        torch.onnx.export(module, args, path, dynamo=False, training=torch.onnx.TrainingMode.TRAINING,
                          do_constant_folding=False, input_names=names, output_names=outputs, dynamic_axes=axes)
    else:
        batch = torch.export.Dim("batch")
        shapes = tuple({0: batch} if a.dim() else {} for a in args) if dynamic_batch else None
        torch.onnx.export(module, args, path, dynamo=True, optimize=False, input_names=names, output_names=outputs,
                          dynamic_shapes=shapes, verbose=verbose)
    if reference:
        save_reference(module, args, reference, names, loss or "cross_entropy", target, optimizer, lr, steps, outputs[0])


def input_names_of(module, n):
    import inspect
    found = [p.name for p in inspect.signature(module.forward).parameters.values()
             if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return found[:n] if len(found) >= n else [f"input{i}" for i in range(n)]


def first_output(module, args):
    y = module(*args)
    return y if isinstance(y, torch.Tensor) else y[0] if isinstance(y, (tuple, list)) else next(iter(y.values()))


def random_target(loss, y, generator):
    if loss == "cross_entropy":
        return torch.randint(0, y.shape[1], (y.shape[0], *y.shape[2:]), generator=generator)
    noise = torch.randn(y.shape, generator=generator)
    return (noise > 0).float() if loss == "bce_with_logits" else noise


class Run:
    """A copy of the module in training, and its floating-point tensors."""

    def __init__(self, module, args, target, loss, optimizer, lr):
        self.module, self.args, self.target, self.loss = module, args, target, LOSSES[loss]
        self.optimizer = OPTIMIZERS[optimizer](module.parameters(), lr=lr)
        self.tensors = {n: t for n, t in [*module.named_parameters(), *module.named_buffers()] if t.is_floating_point()}
        self.start = {n: self[n].clone() for n in self.tensors}

    def __getitem__(self, name):
        return self.tensors[name].detach().double()

    def step(self):
        self.optimizer.zero_grad()
        value = self.loss(first_output(self.module, self.args), self.target)
        value.backward()
        norm = sum((p.grad.double() ** 2).sum() for p in self.module.parameters() if p.grad is not None).sqrt()
        self.optimizer.step()
        return value.item(), norm.item()


def figures(wide, narrow, name):
    """Norm, sum, and distance from the start, which are the same for a weight and its transpose; what rounding did."""
    w = wide[name]
    return [w.norm().item(), w.sum().item(), (w - wide.start[name]).norm().item(), (w - narrow[name]).norm().item()]


def save_reference(module, args, path, names, loss, target, optimizer, lr, steps, output):
    if any(isinstance(m, torch.nn.modules.dropout._DropoutNd) and m.p > 0 for m in module.modules()):
        raise ValueError("a reference needs a module without randomness: set p = 0 of its Dropout (--no_dropout)")
    if target is None:
        with torch.no_grad():
            y = first_output(copy.deepcopy(module), args)
        target = random_target(loss, y, torch.Generator().manual_seed(0))

    def double(t):
        return t.double() if t.is_floating_point() else t
    narrow = Run(copy.deepcopy(module), args, target, loss, optimizer, lr)
    wide = Run(copy.deepcopy(module).double(), tuple(map(double, args)), double(target), loss, optimizer, lr)
    curves, seen = [], [{n: figures(wide, narrow, n) for n in wide.tensors}]
    for _ in range(steps):
        curves.append((*wide.step(), *narrow.step()))
        seen.append({n: figures(wide, narrow, n) for n in wide.tensors})
    losses = dict(zip(("loss", "grad_norm", "loss32", "grad_norm32"), np.array(curves).reshape(steps, 4).T.copy()))
    options = [f"loss={output}={loss}", f"optimizer={optimizer}", f"lr={lr!r}", "max_norm=0", f"batch_size={args[0].shape[0]}",
               f"target=@:target.{output}", *(f"data={n}=@:input.{n}" for n in names)]
    members = {"options": np.frombuffer("\n".join(options).encode(), np.uint8), f"target.{output}": target.numpy(),
               **{f"input.{n}": a.detach().numpy() for n, a in zip(names, args)},
               **losses, **{f"parameter.{n}": np.array([s[n] for s in seen]) for n in wide.tensors}}
    with open(path, "wb") as f:  # a name that numpy does not extend
        np.savez(f, **members)


# ---- the command

def random_input(text, generator):
    """x=float32[8,3,64,64], tokens=int64[8,128]<50257: its name and a tensor."""
    found = re.fullmatch(r"(\w+)=(float32|float64|int64|int32|bool)\[(\d+(?:,\d+)*)\](?:<(\d+))?", text)
    if not found:
        raise SystemExit(f"export_torch.py: --input {text}: expected NAME=TYPE[N,…], such as x=float32[8,3,64,64] or "
                         "tokens=int64[8,128]<50257")
    name, dtype, dims, below = found.groups()
    shape = [int(d) for d in dims.split(",")]
    if shape[0] < 2:
        raise SystemExit(f"export_torch.py: --input {text}: a batch of at least 2, or the exporter takes it for a constant")
    if dtype.startswith("float"):
        return name, torch.randn(shape, generator=generator, dtype=getattr(torch, dtype))
    return name, torch.randint(0, int(below or 2), shape, generator=generator).to(getattr(torch, dtype))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("module", help="MODULE:NAME, a torch.nn.Module or what returns one; the current folder is searched, too")
    parser.add_argument("--input", action="append", required=True, metavar="NAME=TYPE[N,…]", help="an argument of forward; repeatable")
    parser.add_argument("-o", "--output", default="model.onnx")
    parser.add_argument("--output_name", action="append", help="names of the outputs, in order")
    parser.add_argument("--reference", metavar="FILE.npz", help="save a batch and PyTorch's first steps")
    parser.add_argument("--loss", choices=LOSSES, default="cross_entropy")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of weights and the batch")
    parser.add_argument("--no_dropout", action="store_true", help="set p = 0 of every Dropout")
    parser.add_argument("--legacy", action="store_true", help="the exporter of TorchScript")
    a = parser.parse_args(argv)
    sys.path.insert(0, os.getcwd())
    where, _, name = a.module.partition(":")
    if not name:
        parser.error(f"{a.module}: expected MODULE:NAME, such as torchvision.models:resnet18")
    torch.manual_seed(a.seed)
    found = getattr(importlib.import_module(where), name)
    module = found if isinstance(found, torch.nn.Module) else found()
    generator = torch.Generator().manual_seed(a.seed)
    inputs = [random_input(i, generator) for i in a.input]
    for m in module.modules():
        if a.no_dropout and isinstance(m, torch.nn.modules.dropout._DropoutNd):
            m.p = 0
    export(module, [t for _, t in inputs], a.output, input_names=[n for n, _ in inputs], output_names=a.output_name,
           reference=a.reference, loss=a.loss, optimizer=a.optimizer, lr=a.lr, steps=a.steps, legacy=a.legacy)
    print(f"wrote {a.output}" + (f" and {a.reference}" if a.reference else ""))
    print("Next:\n  ongrad check " + a.output + (f" --reference {a.reference}" if a.reference else ""))


if __name__ == "__main__":
    main()
