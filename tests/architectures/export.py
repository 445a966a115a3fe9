"""One architecture of the table: its data, PyTorch's own curve, and a file from each exporter.

    python export.py NAME FOLDER EXPORTER…

writes FOLDER/<input>.npy, FOLDER/target.npy, FOLDER/curve.json and, for each exporter, FOLDER/<exporter>/model.onnx or, where
the exporter fails, FOLDER/<exporter>/error.txt. An exporter that folds BatchNormalization or weight norm into weights changes
the model: PyTorch's curve of the folded model then stands in FOLDER/<exporter>/curve.json. What is there already is kept.
"""
import inspect
import json
import os
import shutil
import sys
import warnings

import numpy as np
import onnx
import torch
import torch.nn.functional as F
import torch.nn.utils.parametrize as parametrize

from architectures import ARCHITECTURES

STEPS = 10
EXPORTERS = {  # name: arguments of torch.onnx.export
    "torchscript": dict(dynamo=False, opset_version=17, do_constant_folding=False,
                        training=torch.onnx.TrainingMode.TRAINING),
    "dynamo": dict(dynamo=True, opset_version=20, optimize=False, verbose=False),
    "dynamo_optimized": dict(dynamo=True, opset_version=20, optimize=True, verbose=False),
}


def cross_entropy(output, target):
    if output.dim() == target.dim() + 1 and output.shape[1:-1] == target.shape[1:] and output.dim() == 3:
        return F.cross_entropy(output.flatten(0, 1), target.flatten())  # the class axis comes last
    return F.cross_entropy(output, target)


LOSSES = {"cross_entropy": cross_entropy, "mse": F.mse_loss, "l1": F.l1_loss,
          "bce_with_logits": F.binary_cross_entropy_with_logits}


def build(case):
    torch.manual_seed(0)
    model = case.model().train()
    return model, case.inputs(), case.target()


def fold_norms(model, inputs):
    """What the optimizing exporter does to a BatchNormalization behind a layer: it becomes part of that layer's weights, and
    a bias of zeros is dropped. Returns how many there were."""
    pairs, made = [], {}

    def after(name, layer):
        def hook(module, x, y):
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and id(x[0]) in made:
                pairs.append((made[id(x[0])][0], name))
            made[id(y)] = (name, y)  # y is kept, so that its id stays its own
        return layer.register_forward_hook(hook)
    hooks = [after(n, m) for n, m in model.named_modules() if not list(m.children())]
    with torch.no_grad():
        model.eval()(*inputs.values())
    for hook in hooks:
        hook.remove()
    count = 0
    for layer_name, norm_name in pairs:
        layer, norm = model.get_submodule(layer_name), model.get_submodule(norm_name)
        if isinstance(layer, torch.nn.Linear):
            fused = torch.nn.utils.fuse_linear_bn_eval(layer, norm)
        elif isinstance(layer, torch.nn.modules.conv._ConvNd):
            fused = torch.nn.utils.fuse_conv_bn_eval(layer, norm, isinstance(layer, torch.nn.ConvTranspose2d))
        else:
            continue
        if not fused.bias.any():
            fused.bias = None
        for name, new in ((layer_name, fused), (norm_name, torch.nn.Identity())):
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, new)
        count += 1
    model.train()
    return count


def fold(model, inputs, graph):
    """Make the model what the exporter made of it; returns what that was, in words."""
    done = []
    names = {t.name for t in graph.initializer}
    norms = sum(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in model.modules())
    if sum(n.op_type == "BatchNormalization" for n in graph.node) < norms:
        done.append(f"{fold_norms(model, inputs)} BatchNormalizations")
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module, "weight") and f"{name}.parametrizations.weight.original0" not in names:
            parametrize.remove_parametrizations(module, "weight")
            done = [text for text in done if text != "weight norm"] + ["weight norm"]
    if hasattr(model, "standardize") and model.standardize(names):
        done.append("weight standardization")
    return done


def curve(case, dtype, graph=None):
    """Losses of the steps that the command is to repeat, and the elements of the parameters that get a gradient."""
    def to(t):
        return t.to(dtype) if t.is_floating_point() else t
    model, inputs, target = build(case)
    if graph:
        fold(model, inputs, graph)
    model, inputs, target = model.to(dtype), [to(x) for x in inputs.values()], to(target)
    optimizer = torch.optim.AdamW(model.parameters(), lr=case.lr, weight_decay=0.01)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = LOSSES[case.loss](model(*inputs), target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, sum(p.numel() for p in model.parameters() if p.grad is not None)


def write_curve(case, path, graph=None, folded=()):
    _, inputs, target = build(case)
    losses, elements = curve(case, torch.float32, graph)
    summary = {"loss": case.loss, "lr": case.lr, "compare": case.compare, "inputs": list(inputs), "batch": len(target),
               "folded": folded, "elements": elements, "losses": losses,
               "losses_fp64": curve(case, torch.float64, graph)[0]}
    with open(path, "w") as f:
        json.dump(summary, f, indent=1)


def write_data(case, folder):
    _, inputs, target = build(case)
    for name, x in inputs.items():
        np.save(f"{folder}/{name}.npy", x.numpy())
    np.save(f"{folder}/target.npy", target.numpy())
    write_curve(case, f"{folder}/curve.json")


def export(case, arguments, path):
    model, inputs, _ = build(case)
    arguments = dict(arguments, input_names=list(inputs), output_names=["y"])
    if not case.fixed_batch and arguments["dynamo"]:
        arguments["dynamic_shapes"] = tuple({0: torch.export.Dim("batch", min=1)} for _ in inputs)
    elif not case.fixed_batch:
        arguments["dynamic_axes"] = {name: {0: "batch"} for name in [*inputs, "y"]}
    if "dynamic_shapes" in arguments and model.forward.__code__.co_flags & inspect.CO_VARARGS:
        arguments["dynamic_shapes"] = (arguments["dynamic_shapes"],)  # forward(self, *inputs)
    torch.onnx.export(model, tuple(inputs.values()), path, **arguments)


def main(name, folder, exporters):
    case = ARCHITECTURES[name]
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(f"{folder}/curve.json"):
        write_data(case, folder)
    for exporter in exporters:
        out = f"{folder}/{exporter}"
        if os.path.exists(out):
            continue
        shutil.rmtree(out + ".new", ignore_errors=True)
        os.makedirs(out + ".new")
        try:
            export(case, EXPORTERS[exporter], f"{out}.new/model.onnx")
            graph = onnx.load(f"{out}.new/model.onnx", load_external_data=False).graph
            folded = fold(*build(case)[:2], graph) if exporter == "dynamo_optimized" else []
            if folded:
                write_curve(case, f"{out}.new/curve.json", graph, folded)
        except Exception as error:  # whatever the exporter could not do is what the table says
            with open(f"{out}.new/error.txt", "w") as f:
                f.write(f"{type(error).__name__}: {error}")
        os.rename(out + ".new", out)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
