"""Fusions planned by cuDNN itself for cards that are not there (tests/cuda_sim/cudnn.c), in whole runs on the simulated card.

Kernels then have the engines' workspaces, and do without what cuDNN refuses; the simulated card computes, and checks that each
fusion gets the workspace that cuDNN wants. Needs ongrad_sim, as test_cuda_curves.py does.
"""
import os
import re
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "train"))
from test_cases import Case  # noqa: E402

ONGRAD = os.path.abspath(os.environ["ONGRAD"])
SIM = os.path.abspath(os.environ.get("ONGRAD_SIM", os.path.join(os.path.dirname(ONGRAD), "tests", "ongrad_sim")))
STUB = os.path.join(os.path.dirname(SIM), "stub_driver", "libcuda.so.1")
DEVICES = os.path.dirname(__file__)
LINE = re.compile(r"(planned (?P<workspace>\d+)|refused) (?P<operations>[a-z_+]+) (?P<x>\w+\[[\dx]+\])(?: (?P<w>\w+\[[\dx]+\]))? ?(?P<why>.*)")

NORM, POOL = {"norm", "norm_grad"}, {"pool", "pool_grad"}
IMAGES = {"mini_resnet": NORM, "conv_bn": NORM | POOL, "mini_unet": POOL, "fixed_batch": NORM | POOL, "paired_clip": set()}


def planned(folder, device, *command, compiles=False):
    """What cuDNN said of each fusion of the command."""
    log = folder / "fusions.txt"
    environment = dict(os.environ, OG_SIM_CUDNN=os.path.join(DEVICES, device + ".json"), OG_SIM_FUSIONS=str(log))
    if compiles:
        environment["OG_SIM_CUDNN_COMPILES"] = "1"
    if not os.path.exists(STUB):
        pytest.skip("built without cuDNN's headers")
    done = subprocess.run([SIM, *command, "--device", "cuda"], capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    text = log.read_text()
    if "libcudnn.so.9 was not found" in text:
        pytest.skip("cuDNN is not installed")
    fusions = [LINE.fullmatch(line) for line in text.splitlines()]
    assert all(fusions), text
    return [f.groupdict() for f in fusions]


def channels(tensor):
    return int(re.findall(r"\d+", tensor.split("[")[1])[1])


def check(fusions, kinds):
    """Every kind of fusion has plans; what is refused is a gradient of weights, of channels that are not 16 bytes wide."""
    assert {f["operations"] for f in fusions if f["workspace"]} >= kinds
    for f in fusions:
        if not f["workspace"]:
            assert f["operations"] == "conv_grad_weights+pointwise" and (channels(f["x"]) % 8 or channels(f["w"]) % 8), f
    assert any(int(f["workspace"] or 0) > 0 for f in fusions)


@pytest.mark.parametrize("device", ["a100", "h100"])
@pytest.mark.parametrize("name", IMAGES)
def test_images_in_tf32(name, device, tmp_path):
    case = Case(name, tmp_path)
    fusions = planned(tmp_path, device, "train", case.model, *case.data, "--steps", "1", "-o", str(tmp_path / "trained.onnx"))
    check(fusions, {"conv_grad_weights"} | IMAGES[name])


@pytest.mark.parametrize("name", IMAGES)
def test_images_in_float16(name, tmp_path):
    case = Case(name, tmp_path)
    fusions = planned(tmp_path, "h100", "train", case.model, *case.data, "--steps", "1", "--amp", "fp16",
                      "-o", str(tmp_path / "trained.onnx"))
    check(fusions, IMAGES[name])
    # mini_unet pools what follows a group norm's scale and bias, which are apart from it there, and float32.
    half = IMAGES[name] if name != "mini_unet" else set()
    assert {f["operations"] for f in fusions if f["workspace"] and f["x"].startswith("float16")} >= half


def test_runs_in_float16_with_kernels_compiled(tmp_path):
    """The engines that cuDNN compiles need no other workspace then than they said, or less."""
    case = Case("mini_resnet", tmp_path)
    command = ["train", case.model, *case.data, "--steps", "1", "--amp", "fp16", "-o", str(tmp_path / "trained.onnx")]
    fusions = planned(tmp_path, "h100", *command, compiles=True)
    check(fusions, {"conv+pointwise", "conv_grad_data", "conv_grad_weights+pointwise"})


def test_resnet18_in_float16(tmp_path):
    model = str(tmp_path / "model.onnx")
    subprocess.run([ONGRAD, "new", "resnet", "--depth", "18", "--num_classes", "10", "--image_size", "64", "--stem", "imagenet",
                    "-o", model],
                   check=True, capture_output=True)
    fusions = planned(tmp_path, "h100", "plan", model, "--loss", "cross_entropy", "--batch_size", "16", "--amp", "fp16")
    check(fusions, {"conv", "conv_grad_data", "conv_grad_weights+pointwise"} | POOL | NORM)


@pytest.mark.parametrize("device", ["a100", "h100"])
@pytest.mark.parametrize("name", ["encoder", "encoder_optimized", "char_gpt", "attention"])
def test_attention_in_float16(name, device, tmp_path):
    """Without a mask (kernels compiled, too), causal, and ONNX's op: whatever is asked for has an engine, both ways."""
    case = Case(name, tmp_path)
    command = ["train", case.model, *case.data, "--steps", "1", "--amp", "fp16", "-o", str(tmp_path / "trained.onnx")]
    fusions = planned(tmp_path, device, *command, compiles=name == "encoder")
    assert {f["operations"].split("+")[0] for f in fusions} == {"matmul", "pointwise"}  # the scores; the rows of dy y
    assert all(f["workspace"] for f in fusions), fusions
