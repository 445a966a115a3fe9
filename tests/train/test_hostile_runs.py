"""Options, configuration files and outputs that cannot be, disks that fill up, and Ctrl-C: what is told, and what is left.

    ONGRAD=build/release/ongrad python3 -m pytest tests/train/test_hostile_runs.py
"""
import os
import resource
import signal
import subprocess
import time

import onnx
import pytest
from commands import OLD, ONGRAD, SAMPLES, Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def files(folder):
    return sorted(os.listdir(folder.path))


# Options, and what is said about them.
WRONG = [
    ("--batch_size=0", "--batch_size is 0, expected at least 1"),
    ("--batch_size=-1", "--batch_size is -1, expected at least 1"),
    ("--batch_size=1e3", 'is "1e3", expected a whole number'),
    ("--batch_size=", "batch_size"),
    ("--batch_size=99999999999999999999", "expected a whole number"),
    ("--bach_size=3", "did you mean --batch_size?"),
    ("--lr=-1", 'lr is "-1", expected a number that is not negative'),
    ("--lr=inf", "expected a number"),
    ("--lr=1e400", "expected a number"),
    ("--lr=0,1", "expected a number"),
    ("--betas=1,2", 'betas is "1,2", expected two numbers from 0 to below 1'),
    ("--betas=0.9", "expected two numbers"),
    ("--optimizer=adma", "adma"),
    ("--scheduler=cosin", "expected constant, linear"),
    ("--epochs=0", "--epochs is 0, expected at least 1"),
    ("--steps=0", "--steps is 0, expected at least 1"),
    ("--seed=x", "expected a whole number"),
    ("--threads=100000", "expected at most 1024"),
    ("--num_workers=-1", "expected at least 0"),
    ("--num_workers=100000", "expected at most 256"),
    ("--max_norm=-1", "not negative"),
    ("--memory_fraction=0", "above 0 and at most 1"),
    ("--memory_fraction=1.5", "above 0 and at most 1"),
    ("--memory_budget=0", "expected a size such as 6GiB"),
    ("--memory_budget=some", "expected a size such as 6GiB"),
    ("--memory_budget=-1", "expected a size such as 6GiB"),
    ("--memory_budget=12 parsecs", "expected a size such as 6GiB"),
    ("--split_batch=maybe", "expected auto, on or off"),
    ("--gradient_accumulation_steps=0", "expected a number from 1"),
    ("--freeze=nothing", "matches no trainable tensor; the nearest is \"bias\"; `ongrad check` lists their names"),
    ("--trainable=x", "matches no trainable tensor"),
    ("--device=tpu", "device"),
    ("--dim=batch=3", "use --batch_size 3"),
    ("--dim=time=3", 'no dim "time"'),
    ("--data=x.npy", '"x" is given twice'),
    ("--val_data=x.npy", "add --val_target PATH"),
    ("--output=", "--output is empty"),
    ("--output=d", "--output d is a folder, expected a file"),
    ("--log=d", "--log d is a folder, expected a file"),
]


@pytest.mark.parametrize("option, text", WRONG)
def test_wrong_option(folder, option, text):
    os.mkdir(folder / "d")
    folder.refuses(text, option, status=2)


@pytest.mark.parametrize("loss, text", [
    ("cros_entropy", 'unknown loss "cros_entropy"; there are'), ("", "--loss is empty"),
    ("z=mse", 'no output "z"; its outputs are "y"'), ("cross_entropy,weight=x", 'weight is "x", expected a number'),
    ("cross_entropy,wieght=1", 'takes no key "wieght"; it takes'), ("output", "takes no target")])
def test_wrong_loss(folder, loss, text):
    folder.refuses(text, loss=loss, status=2)


def test_batch_larger_than_the_data(folder):
    """Clamped to the samples there are, however large."""
    for batch in (SAMPLES, SAMPLES + 1, 2**31 - 1, 2**63 - 1):
        folder.trains("--batch_size", str(batch), "--epochs", "1")
    assert f"batch_size={SAMPLES}," in folder.train("--batch_size", "1000", "--epochs", "1").stderr


def test_memory_that_does_not_suffice(folder):
    folder.refuses(["needs", "the budget is 10 bytes", "is the least that works"], "--memory_budget", "10")
    folder.refuses("the budget is 10 bytes", "--memory_budget", "10", "--split_batch", "off")
    folder.trains("--memory_budget", "1000TB", "--epochs", "1")  # more than the machine has: no cap


# Configuration files: the text, the line and the message.
CONFIGS = [
    ("lr: x", 'c.yaml:1: lr is "x", expected a number'),
    ("epochs: 1\nlrr: 1", "c.yaml:2: lrr: unknown option; did you mean --lr?"),
    ("batch_size: 0", "c.yaml:1: batch_size is 0"),
    ("epochs: [1, 2]", "c.yaml:1: a list, where the option takes one value"),
    ("lr: 1\n\nlr: 2", "c.yaml:3: this option is given a second time"),
    ("a: &x [*x]", "c.yaml:1: nested too deeply"),
    ("lr: {a: {b: 1}}", "c.yaml:1: nested too deeply"),
    ("- 1", "c.yaml:1: expected `name: value`"),
    ("{", "c.yaml:2: "),
    ("lr: 'x", "c.yaml:1: found unexpected end of stream"),
    ("\t", "c.yaml:1: found character that cannot start any token"),
    ("%%%%", "c.yaml:1: could not find expected directive name"),
    ('"\\0": 1', "c.yaml:1: "),
    ('lr: "1\\0"', "c.yaml:1: a NUL character"),
    ("\x01\x02", "c.yaml:1: control characters are not allowed"),
]


@pytest.mark.parametrize("text, message", CONFIGS)
def test_wrong_config(folder, text, message):
    folder.write("c.yaml", text)
    folder.refuses(message, "--config", "c.yaml", status=2)


def test_config_that_cannot_be_read(folder):
    os.mkdir(folder / "d")
    folder.refuses(["cannot read d", "Is a directory"], "--config", "d")
    folder.refuses(["cannot read nope.yaml", "No such file"], "--config", "nope.yaml")


def test_empty_configs_change_nothing(folder):
    for text in ("", "# nothing\n", "lr: ~\n"):
        folder.write("c.yaml", text)
        folder.trains("--config", "c.yaml", "--epochs", "1")


# ---- outputs -----------------------------------------------------------------------------------------------

def test_output_that_cannot_be(folder):
    before = folder.listing()
    for path, text in (("no/such/out.onnx", "the folder no/such: No such file"), ("m.onnx/o.onnx", "m.onnx is not a folder"),
                       ("a" * 300, "File name too long"), ("/dev/full", "No space left on device")):
        done = folder.train("-o", path, "--epochs", "1")
        assert done.returncode == 1 and text in done.stderr, done.stderr
        assert folder.listing() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_may_not_be_written(folder):
    os.mkdir(folder / "d")
    os.chmod(folder / "d", 0o555)
    done = folder.train("-o", "d/out.onnx")
    assert done.returncode == 1 and "Permission denied" in done.stderr


def test_disk_full_on_save(folder):
    """The limit on a file's size stands for the full disk: what was there stays, and nothing else is left."""
    before = files(folder)
    done = folder.train("--epochs", "1", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)))
    assert done.returncode == 1, done.stderr
    assert "out.onnx" in done.stderr and "File too large" in done.stderr
    assert folder.read("out.onnx") == OLD and files(folder) == before


def test_log_on_a_full_disk(folder):
    """The model is written all the same; the run is told to have failed."""
    done = folder.train("--epochs", "1", "--log", "/dev/full")
    assert done.returncode == 1 and "/dev/full: No space left" in done.stderr
    onnx.checker.check_model(onnx.load(folder / "out.onnx"))


def test_loss_that_explodes(folder):
    done = folder.train("--optimizer", "sgd", "--lr", "1e30", "--max_norm", "0", "--epochs", "50", target="y.npy", loss="mse")
    assert done.returncode == 1
    for text in ["the loss is", "lower the learning rate", "out.onnx was not written", "the state before this step was saved"]:
        assert text in done.stderr
    assert folder.read("out.onnx") == OLD
    onnx.checker.check_model(onnx.load(folder / "out.ckpt.onnx"))


# ---- signals -----------------------------------------------------------------------------------------------

def start(folder, *more):
    return subprocess.Popen([ONGRAD, "train", "m.onnx", "--data", "x.npy", "--target", "t.npy", "--loss", "cross_entropy",
                             "--steps", "1000000000", "--log", "log.jsonl", "-o", "out.onnx", *more], cwd=folder.path,
                            stderr=subprocess.PIPE, text=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


def wait_for_steps(folder, process):
    while process.poll() is None and (not os.path.exists(folder / "log.jsonl") or os.path.getsize(folder / "log.jsonl") < 500):
        time.sleep(.01)


def test_interrupt_saves(folder):
    """Ctrl-C in the middle of a run: the model as it is then, whole, and exit status 75."""
    with start(folder) as process:
        wait_for_steps(folder, process)
        process.send_signal(signal.SIGINT)
        message = process.communicate(timeout=60)[1]
    assert process.returncode == 75 and "stopped by SIGINT after step" in message
    onnx.checker.check_model(onnx.load(folder / "out.onnx"))
    assert not [name for name in files(folder) if name.endswith(".tmp")]


def test_kill_leaves_the_old_file(folder):
    with start(folder) as process:
        wait_for_steps(folder, process)
        process.kill()
        process.communicate(timeout=60)
    assert folder.read("out.onnx") == OLD


def test_interrupt_with_workers(folder):
    with start(folder, "--num_workers", "3") as process:
        wait_for_steps(folder, process)
        process.send_signal(signal.SIGTERM)
        message = process.communicate(timeout=60)[1]
    assert process.returncode == 75 and "SIGTERM" in message
    onnx.load(folder / "out.onnx")
