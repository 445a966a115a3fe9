"""A simulated card with little memory (OG_SIM_MEMORY): the run computes again, splits, or says what would do.

The card refuses what is beyond its memory, so that a run that ends well held to its plan. Needs ongrad_sim, as test_cuda_curves.py does.
"""
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "train"))
from test_cases import OPTIMIZERS, Case  # noqa: E402

ONGRAD = os.path.abspath(os.environ["ONGRAD"])
SIM = os.path.abspath(os.environ.get("ONGRAD_SIM", os.path.join(os.path.dirname(ONGRAD), "tests", "ongrad_sim")))
FRACTION = 0.9  # --memory_fraction's default on a card


def run(memory, command, case, folder, *more):
    return subprocess.run([SIM, command, case.model, *case.data, *OPTIMIZERS["adamw"], "--device", "cuda", *more],
                          capture_output=True, text=True, timeout=600, env=dict(os.environ, OG_SIM_MEMORY=str(memory)))


@pytest.fixture(scope="module")
def gpt(tmp_path_factory):
    """The case, what it needs when memory is no matter, and its losses then."""
    folder = tmp_path_factory.mktemp("gpt")
    case = Case("char_gpt", folder)
    plan = json.loads(run(8 * 10**9, "plan", case, folder, "--json", "--recompute", "off").stdout)
    return case, plan["peak_bytes"], losses(8 * 10**9, case, folder)[0]


def losses(memory, case, folder, *more):
    log, out = str(folder / "log.jsonl"), str(folder / "trained.onnx")
    done = run(memory, "train", case, folder, "--no_shuffle", "--steps", "3", "--log", log, "-o", out, *more)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in open(log)]
    return [line["loss"] for line in lines if "step" in line], lines[-1]["peak_bytes"], done.stderr


@pytest.mark.parametrize("share", [0.9, 0.75])
def test_less_memory_gives_the_same_losses(share, gpt, tmp_path):
    """Once by computing again, once by parts of the batch as well: the same sums in another order."""
    case, needed, expected = gpt
    memory = int(needed * share / FRACTION)
    ours, peak, report = losses(memory, case, tmp_path)
    assert np.allclose(ours, expected, rtol=1e-5)
    assert peak <= memory * FRACTION < needed
    assert "computing activations again" in report


def test_a_fraction_of_the_card_is_the_budget(gpt, tmp_path):
    case, needed, expected = gpt
    ours, peak, _ = losses(2 * needed, case, tmp_path, "--memory_fraction", "0.45")
    assert ours == pytest.approx(expected, rel=1e-5)
    assert peak <= 0.9 * needed


def test_too_little_is_an_error_that_names_what_works(gpt, tmp_path):
    case, needed, _ = gpt
    out = tmp_path / "trained.onnx"
    done = run(needed // 2, "train", case, tmp_path, "--steps", "1", "-o", str(out))
    assert done.returncode == 1 and not out.exists()
    least = int(re.search(r"--memory_budget (\d+) is the least that works", done.stderr).group(1))
    _, peak, _ = losses(8 * 10**9, case, tmp_path, "--memory_budget", str(least))
    assert peak <= least < needed
