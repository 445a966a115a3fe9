"""Mixed precision: PyTorch's curves again in float16 and bfloat16, loss scaling, and updates that overflow.

ONGRAD names the command. What bfloat16 computes does not depend on whether the processor multiplies it, so all runs anywhere.
"""
import json
import os
import subprocess

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from test_cases import CASES, FIXTURES, ONGRAD, OPTIMIZERS, Case

# The half types keep 11 and 8 bits, and 20 steps of them stray from float32 by less than this part of the loss, however
# small it is: what the loss reads is float32, not rounded on the way out of the last product.
TOLERANCE = 0.02
ONE_BATCH = ["conv_bn", "fixed_batch"]


def weights_of(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def steps_of(log):
    return [line for line in map(json.loads, open(log)) if "step" in line]


def train_once(case, folder, name, steps, *more, status=0):
    """One run on the case's first samples, the same batch at every step; its log's steps, its weights, its messages."""
    log, out = str(folder / f"{name}.jsonl"), str(folder / f"{name}.onnx")
    done = subprocess.run([ONGRAD, "train", case.model, *case.data, "--no_shuffle", "--steps", str(steps), "--threads", "1",
                           "--log", log, "-o", out, *more], capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr
    return steps_of(log), weights_of(out) if status == 0 else None, done.stderr


def one_batch(name, folder):
    """The case with as many samples a batch as there are, so that every step sees the same."""
    case = Case(name, folder)
    at = case.data.index("--batch_size") + 1
    case.data[at] = str(len(np.load(os.path.join(FIXTURES, name, "target.npy"))))
    return case


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize("mode", ["bf16", "fp16"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", CASES)
def test_curve(name, optimizer, mode, tmp_path):
    case = Case(name, tmp_path)
    steps = case.train(tmp_path, optimizer, "--amp", mode)
    losses = np.array([s["loss"] for s in steps])
    expected = np.array(case.expect[optimizer]["losses_fp64"])
    bound = TOLERANCE * expected
    worst = int(np.argmax(np.abs(losses - expected) / bound))
    assert np.all(np.abs(losses - expected) <= bound), \
        f"step {worst + 1}: {losses[worst]}, float64 {expected[worst]}, bound {bound[worst]}"
    assert not np.array_equal(losses, np.float32(expected)) and not any(s["skipped"] for s in steps)
    assert {s["loss_scale"] for s in steps} == {65536 if mode == "fp16" else 1}


def test_saved_weights_are_float32(tmp_path):
    case = Case("encoder", tmp_path)
    case.train(tmp_path, "adamw", "--amp", "bf16")
    before, after = weights_of(case.model), weights_of(case.trained)
    assert {n: w.dtype for n, w in before.items()} == {n: w.dtype for n, w in after.items()}
    moved = [n for n in after if after[n].dtype == np.float32 and not np.array_equal(before[n], after[n])]
    # masters keep what bfloat16 would round away
    assert any(np.any(after[n].view(np.uint32) & 0xffff) for n in moved)


def test_scale_of_two_changes_nothing(tmp_path):
    """In float32 a scale that is a power of two is exact, through clipping and the optimizer."""
    case = one_batch("conv_bn", tmp_path)
    plain = train_once(case, tmp_path, "plain", 5, "--amp", "off")
    scaled = train_once(case, tmp_path, "scaled", 5, "--amp", "off", "--loss_scale", "1024")
    assert_same(plain[1], scaled[1])
    assert [s["loss"] for s in plain[0]] == [s["loss"] for s in scaled[0]]
    assert [s["grad_norm"] for s in plain[0]] == [s["grad_norm"] for s in scaled[0]]
    assert {s["loss_scale"] for s in scaled[0]} == {1024}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ONE_BATCH)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_overflow_skips_one_update(name, optimizer, accumulation, tmp_path):
    """The first scale overflows, its backoff does not. What the skipped update leaves is what there was, to the bit:
    weights and running statistics after it alone, moments and the step counter in the steps that follow."""
    case = one_batch(name, tmp_path)
    at = case.data.index("--batch_size") + 1
    case.data[at] = str(int(case.data[at]) // accumulation)
    options = [*OPTIMIZERS[optimizer], "--amp", "fp16", "--gradient_accumulation_steps", str(accumulation)]
    huge = ["--loss_scale_start", str(2.0 ** 60), "--loss_scale_backoff", str(2.0 ** -50)]
    first = weights_of(case.model)
    steps, weights, messages = train_once(case, tmp_path, "skipped", 1, *options, *huge)
    assert [s["skipped"] for s in steps] == [True] and steps[0]["loss_scale"] == 2.0 ** 60
    assert_same(first, weights)
    assert "step 1 skipped" in messages
    steps, weights, _ = train_once(case, tmp_path, "after", 4, *options, *huge)
    assert [s["skipped"] for s in steps] == [True, False, False, False]
    assert [s["loss_scale"] for s in steps] == [2.0 ** 60] + [2.0 ** 10] * 3
    clean, expected, _ = train_once(case, tmp_path, "clean", 3, *options, "--loss_scale_start", "1024")
    assert [s["loss"] for s in clean] == [s["loss"] for s in steps[1:]]
    assert_same(expected, weights)
    assert not np.array_equal(first[next(n for n in first if n.endswith("weight"))],
                              weights[next(n for n in first if n.endswith("weight"))])


def test_growth_and_backoff(tmp_path):
    case = one_batch("tabular", tmp_path)
    steps, _, _ = train_once(case, tmp_path, "growth", 8, "--amp", "fp16", "--loss_scale_start", "8", "--loss_scale_growth", "4",
                             "--loss_scale_interval", "3")
    assert [s["loss_scale"] for s in steps] == [8, 8, 8, 32, 32, 32, 128, 128]
    # a scale that grows out of range falls back, and counts its clean updates from zero again
    steps, _, _ = train_once(case, tmp_path, "range", 12, "--amp", "fp16", "--loss_scale_growth", "65536",
                             "--loss_scale_interval", "2", "--loss_scale_backoff", str(2.0 ** -16))
    assert [s["skipped"] for s in steps] == [False, False, True] * 4
    assert [s["loss_scale"] for s in steps] == [2.0 ** 16, 2.0 ** 16, 2.0 ** 32] * 4


def test_floor(tmp_path):
    """An input that overflows at any scale: the floor ends it, and the message names the type that would not."""
    case = Case("tabular", tmp_path)
    x = np.load(os.path.join(FIXTURES, "tabular", case.data[1].split("=")[0] + ".npy"))
    np.save(tmp_path / "x.npy", x * np.float32(1e6))
    case.data[1] = f"{case.data[1].split('=')[0]}={tmp_path / 'x.npy'}"
    steps, _, messages = train_once(case, tmp_path, "floor", 50, "--amp", "fp16", "--loss_scale_start", str(2.0 ** -12), status=1)
    assert [s["skipped"] for s in steps] == [True] * len(steps) and len(steps) == 2
    assert "bf16" in messages and "loss scale" in messages
    assert not os.path.exists(tmp_path / "floor.onnx")
    steps, _, _ = train_once(case, tmp_path, "bf16", 5, "--amp", "bf16")
    assert not any(s["skipped"] for s in steps)


def overflowing(case, tmp_path, rows):
    """The case with these samples of its input so large that float16 has infinities for them; their number."""
    name = case.data[1].split("=")[0]
    x = np.load(os.path.join(FIXTURES, "tabular", name + ".npy"))
    x[rows] *= np.float32(1e6)
    np.save(tmp_path / "x.npy", x)
    case.data[1] = f"{name}={tmp_path / 'x.npy'}"
    return len(x)


def test_fixed_scale_skips(tmp_path):
    """A batch in four overflows: what it would have done is left out, and the scale stays. It may do so again and again."""
    case, clean = Case("tabular", tmp_path), Case("tabular", tmp_path)
    for c in (case, clean):
        c.data[c.data.index("--batch_size") + 1] = "16"
    assert overflowing(case, tmp_path, slice(16, 32)) == 64
    options = ["--amp", "fp16", "--loss_scale", "128"]
    steps, weights, messages = train_once(case, tmp_path, "fixed", 2, *options)
    assert [s["skipped"] for s in steps] == [False, True] and {s["loss_scale"] for s in steps} == {128}
    assert "step 2 skipped" in messages
    _, expected, _ = train_once(clean, tmp_path, "clean", 1, *options)
    assert_same(expected, weights)
    steps, _, _ = train_once(case, tmp_path, "many", 100, *options)
    assert [s["skipped"] for s in steps] == [False, True, False, False] * 25


def test_fixed_scale_gives_up(tmp_path):
    case = Case("tabular", tmp_path)
    overflowing(case, tmp_path, slice(None))
    steps, _, messages = train_once(case, tmp_path, "all", 50, "--amp", "fp16", "--loss_scale", "128", status=1)
    assert len(steps) in (19, 20) and all(s["skipped"] for s in steps)
    assert "20 updates in a row" in messages and "dynamic" in messages and "bf16" in messages
    assert not os.path.exists(tmp_path / "all.onnx")


@pytest.mark.parametrize("mode", ["bf16", "fp16"])
def test_accumulation(mode, tmp_path):
    """Two halves of a batch are the whole one, but for rounding."""
    case = one_batch("encoder", tmp_path)
    whole, _, _ = train_once(case, tmp_path, "whole", 5, "--amp", mode)
    at = case.data.index("--batch_size") + 1
    case.data[at] = str(int(case.data[at]) // 2)
    halves, _, _ = train_once(case, tmp_path, "halves", 5, "--amp", mode, "--gradient_accumulation_steps", "2")
    for a, b in zip(whole, halves):
        assert abs(a["loss"] - b["loss"]) <= TOLERANCE * a["loss"]


@pytest.mark.parametrize("mode", ["bf16", "fp16"])
def test_many_micro_batches(mode, tmp_path):
    """512 times the same sample: the mean of its gradients is its gradient, for the sums are float32. Summed in bfloat16
    nothing would be added from the 256th on, in float16 from the 2048th. Each addition rounds by at most 2^-24."""
    name = "x"
    for n in (1, 512):
        for part in (name, "target"):
            rows = np.load(os.path.join(FIXTURES, "tabular", part + ".npy"))[:1]
            np.save(tmp_path / f"{part}.npy", np.repeat(rows, 512, axis=0))
        case = Case("tabular", tmp_path)
        case.data = ["--data", f"{name}={tmp_path}/{name}.npy", "--target", f"{tmp_path}/target.npy", "--loss",
                     case.expect["loss"], "--batch_size", "1"]
        steps, _, _ = train_once(case, tmp_path, str(n), 1, "--amp", mode, "--gradient_accumulation_steps", str(n))
        if n == 1:
            alone = steps[0]["grad_norm"]
    assert abs(steps[0]["grad_norm"] - alone) <= 512 * 2.0 ** -24 * alone


@pytest.mark.parametrize("level", ["2", "3", "4"])
@pytest.mark.parametrize("name", ["conv_bn", "encoder", "seq_lstm"])
def test_without_the_instructions(level, name, tmp_path):
    """A processor that does not multiply bfloat16, or one that oneDNN takes for such, computes the same but for rounding."""
    own = os.environ | {"ONGRAD_MAX_LEVEL": level}
    onednn = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2"}
    for environment in [own, own | onednn, onednn][:3 if level == "2" else 1]:
        case = Case(name, tmp_path)
        log = tmp_path / "log.jsonl"
        done = subprocess.run([ONGRAD, "train", case.model, *case.data, *OPTIMIZERS["adamw"], "--no_shuffle", "--steps", "20", "--amp",
                               "bf16", "--log", str(log), "-o", str(tmp_path / "t.onnx")],
                              capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr
        losses = np.array([s["loss"] for s in steps_of(log)])
        expected = np.array(case.expect["adamw"]["losses_fp64"])
        assert np.all(np.abs(losses - expected) <= TOLERANCE * expected)


def test_auto(tmp_path):
    """Off where the processor does not multiply bfloat16."""
    case = Case("tabular", tmp_path)
    done = subprocess.run([ONGRAD, "train", case.model, *case.data, "--steps", "1", "--amp", "auto", "-o", str(tmp_path / "t.onnx")],
                          capture_output=True, text=True, timeout=60, env=os.environ | {"ONGRAD_MAX_LEVEL": "4"})
    assert done.returncode == 0 and "mixed precision off" in done.stderr, done.stderr


@pytest.mark.parametrize("option,value,wanted", [
    ("amp", "fp8", "auto, fp16, bf16 or off"), ("loss_scale", "zero", "auto, dynamic, off or a number"),
    ("loss_scale", "-1", "auto, dynamic, off or a number"), ("loss_scale_start", "0", "2^-14"),
    ("loss_scale_growth", "0.5", "from 1"), ("loss_scale_backoff", "1", "between 0 and 1"),
    ("loss_scale_interval", "0", "at least 1")])
def test_wrong_options(option, value, wanted, tmp_path):
    case = Case("tabular", tmp_path)
    done = subprocess.run([ONGRAD, "train", case.model, *case.data, "--steps", "1", "-o", str(tmp_path / "t.onnx"),
                           f"--{option}", value], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and wanted in done.stderr, done.stderr


def test_report(tmp_path):
    case = Case("tabular", tmp_path)
    for mode, words in (("off", "mixed precision off (float32)"), ("bf16", "products and convolutions in bfloat16"),
                        ("fp16", "loss scale 65536")):
        _, _, messages = train_once(case, tmp_path, mode, 1, "--amp", mode)
        assert words in messages, messages
