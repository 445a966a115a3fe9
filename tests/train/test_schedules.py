"""Learning rates of every step against PyTorch's and Transformers' schedulers (tests/fixtures/make_schedules.py), as the log
of a run has them; options that make no sense. ONGRAD names the command."""
import json
import os

import pytest

from commands import Folder

EXPECT = json.load(open(os.path.join(os.path.dirname(__file__), "..", "fixtures", "schedules", "expect.json")))


def rates(folder, *options, steps=EXPECT["steps"]):
    done = folder.train("--steps", str(steps), "--lr", str(EXPECT["lr"]), "--log", "log.jsonl", *options)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in folder.read("log.jsonl").splitlines()]
    return [line["lr"] for line in lines if "step" in line]


def options_of(run):
    words = run.split()
    if "=" not in words[0]:
        words[0] = f"scheduler={words[0]}"
    return [f"--{word}" for word in words]


@pytest.mark.parametrize("run", EXPECT["runs"])
def test_as_theirs(run, tmp_path):
    """Both sides compute in float64; PyTorch's schedulers multiply step by step where ongrad takes a power."""
    assert rates(Folder(tmp_path), *options_of(run)) == pytest.approx(EXPECT["runs"][run], rel=1e-12, abs=1e-17)


def test_no_schedule_is_constant(tmp_path):
    assert set(rates(Folder(tmp_path))) == {EXPECT["lr"]}


def test_no_scheduler_turns_it_off(tmp_path):
    assert set(rates(Folder(tmp_path), "--use_scheduler", "--no_scheduler")) == {EXPECT["lr"]}


def test_plateau_watches_the_loss(tmp_path):
    """With nothing to learn (lr_decay cannot help a frozen rate of 1e-12) every epoch is bad."""
    lrs = rates(Folder(tmp_path), "--scheduler", "reduce_lr_on_plateau", "--plateau_patience", "1", "--plateau_factor", ".5",
                "--plateau_threshold", ".5", "--optimizer", "sgd", steps=12)
    # One step an epoch. The first sets the best, the next two are bad: then the rate halves, every second epoch from there.
    assert lrs == pytest.approx([.01, .01, .01, .005, .005, .0025, .0025, .00125, .00125, .000625, .000625, .0003125])


@pytest.mark.parametrize("options, text", [
    (["--scheduler", "cosin"], "expected constant, linear"),
    (["--scheduler", "cosine", "--warmup_steps", "-1"], "not negative"),
    (["--warmup_ratio", "1.5"], "from 0 to 1"),
    (["--warmup_ratio", ".1", "--warmup_steps", "3"], "say the same thing"),
    (["--scheduler", "cosine_with_min_lr"], "option min_lr_rate is missing"),
    (["--scheduler", "cosine_with_min_lr", "--min_lr", "1e-4", "--min_lr_rate", ".1"], "say the same thing"),
    (["--scheduler", "polynomial", "--lr_end", "1"], "expected a number below lr"),
    (["--scheduler", "polynomial", "--power", "0"], "above 0"),
    (["--scheduler", "step"], "option step_size is missing"),
    (["--scheduler", "step", "--step_size", "0"], "at least 1 step"),
    (["--scheduler", "multistep"], "option milestones is missing"),
    (["--scheduler", "multistep", "--milestones", "5,4"], "steps that rise"),
    (["--scheduler", "multistep", "--milestones", "5,x"], "steps that rise"),
    (["--scheduler", "multistep", "--milestones", "5,"], "steps that rise"),
    (["--scheduler", "multistep", "--milestones", "99999999999999999999"], "steps that rise"),
    (["--scheduler", "exponential", "--gamma", "0"], "above 0"),
    (["--scheduler", "warmup_stable_decay", "--decay_type", "fast"], "linear, cosine or 1-sqrt"),
    (["--scheduler", "onecycle", "--pct_start", "2"], "from 0 to 1"),
    (["--scheduler", "onecycle", "--anneal_strategy", "x"], "cos or linear"),
    (["--scheduler", "reduce_lr_on_plateau", "--plateau_factor", "1"], "between 0 and 1"),
])
def test_options_that_make_no_sense(options, text, tmp_path):
    Folder(tmp_path).refuses(text, *options, status=2)
