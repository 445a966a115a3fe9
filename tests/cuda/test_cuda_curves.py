"""PyTorch's curves (tests/fixtures) on the simulated card, whole runs of the command, a few steps of each.

Needs ongrad_sim, the command on the simulated card, which is built beside the tests (ONGRAD_SIM names another one). ONGRAD
names the command on the CPU.
"""
import json
import os
import subprocess
import sys

import numpy as np
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "train"))
from test_cases import CASES, OPTIMIZERS, Case, tolerance  # noqa: E402
from test_precision import TOLERANCE  # noqa: E402
from trained_model import trained_bytes  # noqa: E402

ONGRAD = os.path.abspath(os.environ["ONGRAD"])
SIM = os.path.abspath(os.environ.get("ONGRAD_SIM", os.path.join(os.path.dirname(ONGRAD), "tests", "ongrad_sim")))
STEPS = 4


def train(case, folder, *more, steps=STEPS):
    log = str(folder / "log.jsonl")
    done = subprocess.run([SIM, "train", case.model, *case.data, *OPTIMIZERS["adamw"], "--no_shuffle", "--steps", str(steps),
                           "--device", "cuda", "--log", log, "-o", str(folder / "trained.onnx"), *more],
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in open(log)]
    lines = [line for line in lines if "step" in line]
    assert [s["step"] for s in lines] == list(range(1, steps + 1))
    return lines


@pytest.mark.parametrize("name", CASES)
def test_float32(name, tmp_path):
    """Within what rounding does, as on the CPU (tests/train/test_cases.py)."""
    case = Case(name, tmp_path)
    steps = train(case, tmp_path, "--no_allow_tf32")
    for key, log in (("losses", "loss"), ("grad_norms", "grad_norm")):
        e = case.expect["adamw"]
        ours, reference = np.array([s[log] for s in steps]), np.array(e[key + "_fp64"][:STEPS])
        bound = tolerance(e[key][:STEPS], e[key + "_fp64"][:STEPS])
        worst = int(np.argmax(np.abs(ours - reference) / bound))
        assert np.all(np.abs(ours - reference) <= bound), \
            f"{key} step {worst + 1}: {ours[worst]} for {reference[worst]} ± {bound[worst]}"


@pytest.mark.parametrize("mode", ["tf32", "fp16", "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_lower_precision(name, mode, tmp_path):
    """As on the CPU (tests/train/test_precision.py). TF32 keeps as many bits of operands as float16."""
    case = Case(name, tmp_path)
    losses = np.array([s["loss"] for s in train(case, tmp_path, "--amp", "off" if mode == "tf32" else mode)])
    expected = np.array(case.expect["adamw"]["losses_fp64"][:STEPS])
    bound = TOLERANCE * expected
    assert np.all(np.abs(losses - expected) <= bound), f"{losses} for {expected}"
    assert not np.array_equal(losses, np.float32(expected))


def kernels_of(case, mode, folder, *more):
    """(op, kernel) of every call of a step."""
    profile = folder / "profile.json"
    train(case, folder, "--amp", mode, "--profile", str(profile), *more, steps=1)
    calls = [e["args"] for e in json.load(open(profile))["traceEvents"] if e.get("args", {}).get("kernel")]
    return {(c["op"], c["kernel"]) for c in calls}


@pytest.mark.parametrize("name,norm,by", [("mini_resnet", "BatchNormalization", "cuDNN"),
                                          ("group_norm", "GroupNormalization", "groups")])
@pytest.mark.parametrize("mode", ["fp16", "bf16"])
def test_norms_of_half_images(name, norm, by, mode, tmp_path):
    """Images are normalized as the convolutions leave them; what is computed again of them is what was there."""
    case = Case(name, tmp_path)
    kernels = kernels_of(case, mode, tmp_path)
    assert {kernel for op, kernel in kernels if op.startswith(norm)} == {by}
    losses = [[s["loss"] for s in train(case, tmp_path, "--amp", mode, "--recompute", level)] for level in ("off", "max")]
    np.testing.assert_allclose(*losses, rtol=2.0 ** (-9 if mode == "fp16" else -6))


@pytest.mark.parametrize("mode", ["off", "fp16"])
@pytest.mark.parametrize("name", CASES)
def test_nothing_runs_on_the_host(name, mode, tmp_path):
    """A step, its update included, is the card's alone."""
    kernels = kernels_of(Case(name, tmp_path), mode, tmp_path)
    assert ("AdamStep", "slab") in kernels
    assert "host" not in {kernel for _, kernel in kernels}


@pytest.mark.parametrize("mode,wide", [("off", ""), ("fp16", "Wide")])
def test_recurrences_are_whole(mode, wide, tmp_path):
    """Both ways, by cuDNN; step by step where the same bits are wanted each time. The losses agree."""
    case = Case("seq_lstm", tmp_path)
    assert {(f"{wide}LSTMWhole", "cuDNN"), (f"{wide}LSTMWholeGrad", "cuDNN")} <= kernels_of(case, mode, tmp_path)
    steps = kernels_of(case, mode, tmp_path, "--deterministic")
    assert {(f"{wide}LSTMDirection", "steps"), (f"{wide}LSTMDirectionGrad", "steps")} <= steps
    assert not {op for op, _ in steps if "Whole" in op}
    losses = [[s["loss"] for s in train(case, tmp_path, "--amp", mode, *more)] for more in ([], ["--deterministic"])]
    assert np.allclose(*losses, rtol=1e-3) and losses[0] != losses[1]


def test_saved_without_what_the_card_keeps(tmp_path):
    """The step as a file has standard ops alone, and no reserve."""
    onnx = pytest.importorskip("onnx")
    case, graphs = Case("seq_lstm", tmp_path), tmp_path / "graphs"
    subprocess.run([SIM, "plan", case.model, *case.data, *OPTIMIZERS["adamw"], "--device", "cuda", "--save_graph", graphs],
                   check=True, capture_output=True, timeout=600)
    nodes = onnx.load(graphs / "micro.onnx").graph.node
    assert nodes and {n.domain for n in nodes} <= {"", "ai.onnx"}


@pytest.mark.parametrize("name", ["encoder", "char_gpt", "attention"])
def test_attention_is_one_kernel(name, tmp_path):
    """In mixed precision, however few the keys: without a mask, causal, and ONNX's op."""
    kernels = kernels_of(Case(name, tmp_path), "fp16", tmp_path)
    assert {("WideAttentionHeads", "cuDNN"), ("WideAttentionHeadsGrad", "cuDNN")} <= kernels
    assert "Softmax" not in {op for op, _ in kernels}


@pytest.mark.parametrize("mode", ["off", "fp16"])
def test_products_do_more(mode, tmp_path, monkeypatch):
    """Biases, activations and their gradients in products; where the library refuses them, and addresses that are no multiples of
    16, the same is computed without, a little differently rounded."""
    case, losses = Case("char_gpt", tmp_path), []
    for refused in ("", "epilogues,unaligned"):
        monkeypatch.setenv("OG_SIM_REFUSE", refused)
        assert ("MatMulEpilogue" in {op for op, _ in kernels_of(case, mode, tmp_path)}) == (not refused)
        losses.append(np.array([s["loss"] for s in train(case, tmp_path, "--amp", mode)]))
    assert np.allclose(losses[0], losses[1], rtol=2e-3) and not np.array_equal(losses[0], losses[1])


@pytest.mark.parametrize("mode", ["off", "fp16"])
def test_recomputation_gives_the_same_bits(mode, tmp_path):
    """What is computed again for the backward pass does not depend on what a product computed of it."""
    case = Case("char_gpt", tmp_path)
    kept, again = ([(s["loss"], s["grad_norm"]) for s in train(case, tmp_path, "--amp", mode, "--recompute", level)]
                   for level in ("off", "max"))
    assert kept == again


def test_attention_drops_the_same(tmp_path):
    """Dropout of probabilities inside the kernel: as many, and the same, as on the processor, where they are nodes of their own."""
    model, log = str(tmp_path / "model.onnx"), str(tmp_path / "log.jsonl")
    subprocess.run([ONGRAD, "new", "gpt", "--num_layers", "2", "--d_model", "32", "--num_heads", "2", "--sequence_length", "32",
                    "--vocab_size", "50", "--dropout", "0.3", "-o", model], check=True, capture_output=True)
    tokens = np.random.default_rng(0).integers(0, 50, (8, 33))
    np.save(tmp_path / "tokens.npy", tokens[:, :-1])
    np.save(tmp_path / "next.npy", tokens[:, 1:])
    losses = []
    for program, device in ((ONGRAD, "cpu"), (SIM, "cuda")):
        profile = tmp_path / "profile.json"
        subprocess.run([program, "train", model, "--data", tmp_path / "tokens.npy", "--target", tmp_path / "next.npy", "--loss",
                        "cross_entropy", "--batch_size", "4", "--steps", "4", "--no_shuffle", "--lr", "0.01", "--amp", "fp16",
                        "--device", device, "--log", log, "--profile", profile, "-o", tmp_path / "trained.onnx"],
                       check=True, capture_output=True, timeout=600)
        losses.append(np.array([line["loss"] for line in map(json.loads, open(log)) if "step" in line]))
        ops = {e["args"]["op"] for e in json.load(open(profile))["traceEvents"] if e.get("args", {}).get("kernel")}
        assert ("Softmax" in ops, "WideAttentionHeads" in ops) == (device == "cpu", device == "cuda")
    assert np.allclose(losses[1], losses[0], rtol=2e-3) and not np.allclose(losses[0], losses[0][0], rtol=2e-3), losses


def test_accumulation(tmp_path):
    """Half the batch twice equals the batch once: recorded steps are replayed for both halves."""
    case = Case("encoder", tmp_path)
    whole = [s["loss"] for s in train(case, tmp_path, "--no_allow_tf32")]
    half = str(case.expect["batch_size"] // 2)
    halves = [s["loss"] for s in train(case, tmp_path, "--no_allow_tf32", "--batch_size", half,
                                       "--gradient_accumulation_steps", "2")]
    assert np.allclose(halves, whole, rtol=1e-5)


def test_overflow_skips(tmp_path):
    """A scale that is too large for float16: updates change nothing but the scale, until one is clean."""
    case = Case("tabular", tmp_path)
    steps = train(case, tmp_path, "--amp", "fp16", "--loss_scale_start", str(2.0 ** 24), "--loss_scale_backoff", "0.0625", steps=6)
    skipped = [s["skipped"] for s in steps]
    assert skipped[0] and not skipped[-1] and skipped == sorted(skipped, reverse=True)
    for before, after in zip(steps, steps[1:], strict=False):
        assert after["loss_scale"] == before["loss_scale"] * (0.0625 if before["skipped"] else 1)


@pytest.mark.parametrize("options", [["--no_allow_tf32"], ["--amp", "fp16", "--gradient_accumulation_steps", "2"]],
                         ids=["float32", "fp16"])
@pytest.mark.parametrize("name", ["encoder", "seq_lstm"])
def test_resumed_to_the_bit(name, options, tmp_path):
    """Stopped after three steps and resumed by the checkpoint alone, which also says that it was on the card."""
    case = Case(name, tmp_path)
    whole = train(case, tmp_path, *options, "--batch_size", "4", steps=6)
    trained = trained_bytes(tmp_path / "trained.onnx")
    train(case, tmp_path, *options, "--batch_size", "4", "--checkpoint_every", "3", steps=3)
    log = tmp_path / "resumed.jsonl"
    done = subprocess.run([SIM, "train", "--resume", tmp_path / "trained.ckpt.onnx", "--steps", "6", "--log", log],
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and "Detected cuda:0" in done.stderr, done.stderr
    losses = [line["loss"] for line in map(json.loads, open(log)) if "step" in line]
    assert losses == [s["loss"] for s in whole[3:]]
    assert trained_bytes(tmp_path / "trained.onnx") == trained


@pytest.mark.parametrize("index,said", [(99, "99"), (-65, "-65"), (2 ** 40, "2147483647 or more")])
@pytest.mark.parametrize("command", ["train", "predict"])
def test_index_outside(command, index, said, tmp_path):
    """A token that the table does not have ends the run with the processor's words, though the card finds it; of a number of
    more than 32 bits the card knows no more."""
    case = Case("char_gpt", tmp_path)
    at = next(i for i, a in enumerate(case.data) if a.startswith("tokens="))
    tokens = np.load(case.data[at].split("=")[1])
    tokens[0, 3] = index
    np.save(tmp_path / "tokens.npy", tokens)
    case.data[at] = f"tokens={tmp_path / 'tokens.npy'}"
    arguments = [*case.data, "--no_shuffle", "--steps", "6", "-o", str(tmp_path / "trained.onnx")] if command == "train" else \
        [*case.data[at - 1:at + 1], "--batch_size", "2", "-o", str(tmp_path / "y.npy")]
    for program, device, number in ((ONGRAD, "cpu", str(index)), (SIM, "cuda", said)):
        done = subprocess.run([program, command, case.model, *arguments, "--device", device], capture_output=True, text=True,
                              timeout=600)
        assert done.returncode == 1
        assert f'ongrad {command}: error: Gather "node_embedding" (opset 20): index {number} at position 3, expected -64 to 63' \
            in done.stderr.splitlines()


def test_same_bits_again(tmp_path, monkeypatch):
    """The card does its work in another order each time; what comes out is the same."""
    case = Case("conv_bn", tmp_path)
    runs = []
    for seed in ("1", "2"):
        monkeypatch.setenv("OG_SIM_SEED", seed)
        runs.append([(s["loss"], s["grad_norm"]) for s in train(case, tmp_path, "--deterministic", steps=2)])
    assert runs[0] == runs[1]
