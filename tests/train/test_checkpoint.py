"""Checkpoints: a run that is stopped in any way and resumed ends with the same file as one that was not; what is written is
one valid ONNX model; damage, full disks and failing calls never lose a run. ONGRAD names the command.

    KILLS=100 python3 -m pytest tests/train/test_checkpoint.py -k killed      more random points to kill a run at
"""
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from commands import FLOAT, ONGRAD, Folder, floats, model, tensor, value

KILLS = int(os.environ.get("KILLS", "4"))
HERE = os.path.dirname(os.path.abspath(__file__))
CKPT = "out.ckpt.onnx"


def scalar(name, number):
    return onnx.numpy_helper.from_array(np.array(number), name)


def norm_and_dropout():
    """Linear, BatchNormalization in training mode, Dropout, linear."""
    nodes = [helper.make_node("MatMul", ["x", "w1"], ["a"], "first"),
             helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b", "mean_out", "var_out"], "norm",
                              training_mode=1, momentum=.8),
             helper.make_node("Dropout", ["b", "ratio", "training"], ["c"], "drop"),
             helper.make_node("Gemm", ["c", "w2", "bias"], ["y"], "last")]
    initializers = [tensor("w1", floats(4, 8)), tensor("scale", np.ones(8, np.float32)), tensor("shift", floats(8)),
                    tensor("mean", np.zeros(8, np.float32)), tensor("var", np.ones(8, np.float32)),
                    scalar("ratio", np.float32(.3)), scalar("training", np.bool_(True)), tensor("w2", floats(8, 3)),
                    tensor("bias", np.zeros(3, np.float32))]
    return model(nodes, [value("x", ["batch", 4])], [value("y", ["batch", 3])], initializers, opset=15)


class Run(Folder):
    """A folder with 50 samples, on which a run of some seconds is started, stopped and resumed."""

    def __init__(self, path, *options, make=norm_and_dropout, steps=400):
        super().__init__(path)
        rng = np.random.default_rng(5)
        x = rng.normal(0, 1, (50, 4)).astype(np.float32)
        self.save("x.npy", x)
        self.save("t.npy", np.argmax(x[:, :3], axis=1).astype(np.int64))
        self.write("m.onnx", make())
        os.remove(self / "out.onnx")
        self.options = ["--steps", str(steps), "--batch_size", "6", "--threads", "1", "-q", *options]

    def command(self, *more):
        return [ONGRAD, "train", "m.onnx", "--data", "x.npy", "--target", "t.npy", "--loss", "cross_entropy", *self.options,
                *more]

    def whole(self, *more):
        """The trained model of a run that nothing stops."""
        done = subprocess.run(self.command("-o", "whole.onnx", *more), cwd=self.path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return self.read("whole.onnx")

    def start(self, *more, **options):
        return subprocess.Popen(self.command("-o", "out.onnx", *more), cwd=self.path, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True, **options)

    def resume(self, *more, status=0):
        done = self.run("train", "--resume", CKPT, *more)
        assert done.returncode == status, done.stderr
        return done.stderr

    def no_rest(self):
        """No temporary file, no lock."""
        return not [name for name in os.listdir(self.path) if name.endswith((".tmp", ".lock"))]


CONFIGURATIONS = {
    "plain": [],
    "accumulation": ["--gradient_accumulation_steps", "4"],
    "fp16": ["--amp", "fp16", "--loss_scale_interval", "7", "--loss_scale_start", "1e12"],
    "bf16": ["--amp", "bf16", "--gradient_accumulation_steps", "2"],
    "sgd": ["--optimizer", "sgd", "--momentum", "0.9", "--nesterov", "--no_shuffle"],
    "lamb": ["--optimizer", "lamb"],
    "adagrad": ["--optimizer", "adagrad", "--initial_accumulator_value", "0.1"],
    "schedule": ["--scheduler", "onecycle", "--drop_last"],
    "plateau": ["--scheduler", "reduce_lr_on_plateau", "--plateau_patience", "1", "--plateau_threshold", "0.1"],
    "validation": ["--val_data", "x.npy", "--val_target", "t.npy", "--scheduler", "reduce_lr_on_plateau", "--plateau_patience",
                   "0"],
    "threads": ["--threads", "2", "--num_workers", "1"],
    "split": ["--val_split", "0.3", "--eval_every", "9"],
    "mixup": ["--mixup", "0.4"],
    "averages": ["--ema", "0.98", "--val_data", "x.npy", "--val_target", "t.npy"],
    "averages warmed up": ["--ema", "0.9", "--ema_warmup", "--amp", "fp16", "--loss_scale_interval", "7",
                           "--gradient_accumulation_steps", "2"],
    "adapters": ["--lora", "rank=2,alpha=3"],
    "branches": ["--lora", "rank=2,keep", "--num_classes", "4"],
    "new head": ["--num_classes", "4", "--reinit", "w1", "--freeze", "w1"],
}


def logged(run):
    return len(run.read("run.jsonl").splitlines()) if os.path.exists(run / "run.jsonl") else 0


def wait_for_lines(run, process, lines):
    """Until the log has so many, or the run ends."""
    while logged(run) < lines and process.poll() is None:
        pass


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_stopped_runs_end_the_same(name, tmp_path):
    """Stopped by a signal wherever it is, between micro-batches, too, three times; then to the end."""
    run = Run(tmp_path, *CONFIGURATIONS[name], steps=5000)
    whole = run.whole("--log", "whole.jsonl")
    rng = random.Random(name)
    stops = 0
    for i in range(4):
        lines = logged(run) + rng.randrange(1, 500)
        process = run.start("--resume", "auto", "--log", "run.jsonl")
        wait_for_lines(run, process, lines)
        process.send_signal(rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]))
        status = process.wait(timeout=60)
        if status == 0:
            break  # it was faster
        assert status == 75, process.stderr.read()
        assert os.path.exists(run / CKPT) and run.no_rest()
        stops += 1
    process = run.start("--resume", "auto", "--log", "run.jsonl")
    assert process.wait(timeout=120) == 0, process.stderr.read()
    assert stops, "no signal found it running"
    assert run.read("out.onnx") == whole
    own = ("step_ms", "samples_per_s", "memory_bytes", "run")
    steps = [[{k: v for k, v in json.loads(line).items() if k not in own}
              for line in run.read(log).splitlines()][:-1] for log in ("whole.jsonl", "run.jsonl")]
    for step in steps[0] + steps[1]:  # a validation that the signal cut short is made up for, but its line was written
        for key in [k for k in step if k.startswith("val_")]:
            del step[key]
    assert steps[0] == steps[1]


def test_killed_runs_end_the_same(tmp_path):
    """kill -9 at random points, often in the middle of writing; the checkpoint is whole every time."""
    run = Run(tmp_path, "--gradient_accumulation_steps", "2", "--checkpoint_every", "40", steps=3000)
    whole = run.whole()
    started = time.monotonic()
    process = run.start()
    assert process.wait() == 0
    length = time.monotonic() - started
    for name in os.listdir(run.path):
        if name.startswith("out"):
            os.remove(run / name)
    rng = random.Random(7)
    killed = 0
    while killed < KILLS:
        process = run.start("--resume", "auto")
        time.sleep(rng.uniform(0, length))
        process.kill()
        if process.wait() == 0:  # it was done already: begin anew
            assert run.read("out.onnx") == whole
            for name in os.listdir(run.path):
                if name.startswith("out"):
                    os.remove(run / name)
            continue
        killed += 1
        if os.path.exists(run / CKPT):
            onnx.checker.check_model(onnx.load(run / CKPT))
    process = run.start("--resume", "auto")
    assert process.wait() == 0, process.stderr.read()
    assert run.read("out.onnx") == whole
    assert run.no_rest()


def test_resume_takes_everything_from_the_checkpoint(tmp_path):
    run = Run(tmp_path, "--scheduler", "linear", "--lr", "0.01", steps=60)
    whole = run.whole()
    run.options[1] = "30"
    assert run.start("--checkpoint_every", "7").wait() == 0
    os.remove(run / "m.onnx")
    # The schedule's length is an option: what is given anew is said.
    assert "resume: --steps 60, which was 30" in run.run("train", "--resume", CKPT, "--steps", "60", "--no_quiet").stderr
    again = onnx.load(run / "out.onnx")
    assert {i.name for i in again.graph.initializer} == {i.name for i in onnx.load_from_string(whole).graph.initializer}
    assert not again.training_info and not [m for m in again.metadata_props if "checkpoint" in m.key]


def test_done_is_done(tmp_path):
    """Resuming what has ended writes the same again; more steps go on."""
    run = Run(tmp_path, "--checkpoint_every", "10", steps=20)
    assert run.start().wait() == 0
    first = run.read("out.onnx")
    run.resume()
    assert run.read("out.onnx") == first
    run.resume("--steps", "25")
    assert run.read("out.onnx") != first


@pytest.mark.parametrize("every, keep, steps", [
    ("10", 3, [40, 50, 52]), ("10steps", 1, [52]), ("2ep", 4, [18, 36, 52]), ("3epochs", 2, [27, 52]), ("1e-9m", 2, [51, 52]),
    ("1000h", 2, [52])])
def test_when_they_are_written_and_how_many_stay(every, keep, steps, tmp_path):
    """52 steps, nine an epoch; one at the end in any case."""
    run = Run(tmp_path, "--checkpoint_every", every, "--keep", str(keep), steps=52)
    assert run.start().wait() == 0
    paths = [CKPT] + [f"out.ckpt.{k}.onnx" for k in range(1, 10)]
    found = []
    for path in [p for p in paths if os.path.exists(run / p)]:
        notes = {m.key: m.value for m in onnx.load(run / path).metadata_props}
        found.append(int(notes["ai.ongrad.checkpoint.session"].split()[0]))
    assert found == steps[::-1]


# ---- what is in it

def combined(checkpoint):
    """The graph that the standard has run: the model's and, behind it, the algorithm's."""
    info = checkpoint.training_info[-1]
    g = onnx.GraphProto(name="step")
    for part in (checkpoint.graph, info.algorithm):
        g.node.extend(part.node)
        g.initializer.extend(part.initializer)
        g.input.extend(part.input)
        g.output.extend(part.output)
    return g, {b.key: b.value for b in info.update_binding}


@pytest.mark.parametrize("opset", [15, 17, 20])
def test_the_algorithm_is_the_step(opset, tmp_path):
    """ONNX Runtime runs it: weights, moments and statistics of the next checkpoint, to float32's rounding in another order.
    Dropout's random numbers take bit operations, which opset 18 brought."""
    def make():
        m = norm_and_dropout()
        m.opset_import[0].version = opset
        if opset < 18:
            del m.graph.node[2]
            m.graph.node[2].input[0] = "b"
        return m

    run = Run(tmp_path, "--no_shuffle", "--lr", "0.01", make=make, steps=5)
    assert run.start("--checkpoint_every", "1").wait() == 0
    before, after = onnx.load(run / "out.ckpt.1.onnx"), onnx.load(run / CKPT)
    onnx.checker.check_model(after, full_check=True)
    g, bindings = combined(before)
    assert g.node and bindings, before.training_info[-1].algorithm.doc_string
    step = helper.make_model(g, opset_imports=before.opset_import, ir_version=before.ir_version)
    onnx.checker.check_model(step, full_check=True)
    session = onnxruntime.InferenceSession(step.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {"x": np.load(run / "x.npy")[24:30], "target": np.load(run / "t.npy")[24:30], "lr": np.array(.01)}
    made = dict(zip(bindings, session.run(list(bindings.values()), inputs)))
    expected = {i.name: onnx.numpy_helper.to_array(i)
                for i in [*after.graph.initializer, *after.training_info[-1].algorithm.initializer]}
    assert {"w1", "mean", "var", "ai.ongrad/moment/w1.exp_avg", "ai.ongrad/scalar/step"} <= made.keys()
    for name, array in made.items():
        np.testing.assert_allclose(array, expected[name], rtol=2e-5, atol=1e-7, err_msg=name)
    reset = before.training_info[-1]
    onnx.checker.check_graph(reset.initialization, onnx.checker.DEFAULT_CONTEXT)
    assert "ai.ongrad/moment/w1.exp_avg" in {b.key for b in reset.initialization_binding}


def test_old_opsets_keep_the_states_alone(tmp_path):
    def make():
        m = model([helper.make_node("Gemm", ["x", "weight", "bias"], ["y"], "linear")], [value("x", ["batch", 4])],
                  [value("y", ["batch", 3])], [tensor("weight", floats(4, 3)), tensor("bias", floats(3))], opset=11, ir=6)
        return m

    run = Run(tmp_path, make=make, steps=20)
    whole = run.whole()
    run.options[1] = "9"
    assert run.start("--checkpoint_every", "5").wait() == 0
    c = onnx.load(run / CKPT)
    onnx.checker.check_model(c)
    assert "states alone: " in c.training_info[-1].algorithm.doc_string and not c.training_info[-1].algorithm.node
    run.resume("--steps", "20")
    assert run.read("out.onnx") == whole


def test_a_checkpoint_is_a_model(tmp_path):
    run = Run(tmp_path, "--checkpoint_every", "10", steps=20)
    assert run.start().wait() == 0
    data = ["--data", "x.npy", "--target", "t.npy", "--loss", "cross_entropy", "--json"]
    assert run.run("eval", CKPT, *data).stdout == run.run("eval", "out.onnx", *data).stdout
    done = run.run("export", CKPT, "-o", "exported.onnx")
    exported, trained = onnx.load(run / "exported.onnx"), onnx.load(run / "out.onnx")
    del trained.metadata_props[:]  # of the run, which had none before
    assert done.returncode == 0 and exported == trained


def test_the_models_own_training_information_stays(tmp_path):
    def make():
        m = norm_and_dropout()
        m.training_info.add().algorithm.name = "theirs"
        return m

    run = Run(tmp_path, "--checkpoint_every", "10", make=make, steps=20)
    whole = run.whole()
    assert [t.algorithm.name for t in onnx.load_from_string(whole).training_info] == ["theirs"]
    assert run.start().wait() == 0
    assert [t.algorithm.name for t in onnx.load(run / CKPT).training_info] == ["theirs", "ai.ongrad.algorithm"]
    run.resume()
    assert run.read("out.onnx") == whole


# ---- what can go wrong

def test_damage_is_found_and_the_one_before_is_used(tmp_path):
    run = Run(tmp_path, "--checkpoint_every", "8", steps=40)
    whole = run.whole()
    run.options[1] = "20"
    assert run.start().wait() == 0
    good, rng = run.read(CKPT), random.Random(3)
    older = run.read("out.ckpt.1.onnx")
    damaged = [good[:-1], good[:len(good) // 2], good[:10], b"", b"no checkpoint at all", good + b"\0"]
    for _ in range(20):
        at, bit = rng.randrange(len(good)), rng.randrange(8)
        damaged.append(good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1:])
    for bad in damaged:
        run.write(CKPT, bad)
        run.write("out.ckpt.1.onnx", older)
        said = run.resume("--steps", "40", "--keep", "2")
        assert "going on from out.ckpt.1.onnx instead" in said, said
        assert run.read("out.onnx") == whole
        assert run.read(CKPT + ".damaged") == bad  # and did not become the older one
        onnx.checker.check_model(onnx.load(run / "out.ckpt.1.onnx"))
    run.write(CKPT, damaged[1])
    run.write("out.ckpt.1.onnx", damaged[0])
    assert "is no checkpoint of ongrad, or its end is missing" in run.resume(status=1)
    assert run.read(CKPT) == damaged[1]


@pytest.mark.parametrize("arguments, text, status", [
    (["--resume", "nowhere.onnx"], "nowhere.onnx", 1),
    (["--resume", "m.onnx"], "is no checkpoint of ongrad", 1),
    (["--resume", "."], "is not a regular file", 1),
    (["--resume", CKPT, "other.onnx"], "is a checkpoint of m.onnx, not of other.onnx", 2),
    (["--resume", CKPT, "--checkpoint_every", "often"], "expected optimizer steps (500), epochs (2ep) or time", 2),
    (["--resume", CKPT, "--checkpoint_every", "0"], "expected optimizer steps (500), epochs (2ep) or time", 2),
    (["--resume", CKPT, "--checkpoint_every", "1.5ep"], "expected optimizer steps (500), epochs (2ep) or time", 2),
    (["--resume", CKPT, "--keep", "0"], "expected at least 1", 2),
    (["--resume", CKPT, "--checkpoint", "out.onnx"], "--output and --checkpoint are both out.onnx", 2),
    (["--resume", CKPT, "-o", "/dev/null", "--checkpoint_every", "5"], "/dev/null is no file", 2),
    (["--resume", CKPT, "--data", "y.npy"], "numbers of samples differ", 1),
])
def test_wrong_usage(arguments, text, status, tmp_path):
    run = Run(tmp_path, "--checkpoint_every", "5", steps=10)
    assert run.start().wait() == 0
    before = run.listing()
    done = run.run("train", *arguments)
    assert done.returncode == status and text in done.stderr, done.stderr
    assert run.listing() == before


def test_changed_data_is_said(tmp_path):
    run = Run(tmp_path, "--checkpoint_every", "5", steps=10)
    assert run.start().wait() == 0
    run.save("x.npy", np.load(run / "x.npy") + 1)
    said = run.resume("--steps", "12")
    assert "the data of input x is not what it was" in said and "the data of target" not in said


def test_another_optimizer_begins_anew(tmp_path):
    run = Run(tmp_path, "--checkpoint_every", "5", steps=10)
    assert run.start().wait() == 0
    said = run.resume("--steps", "12", "--optimizer", "sgd", "--momentum", "0.9")
    assert "states of the optimizer are not in" in said


def test_two_runs_on_one_path_are_refused(tmp_path):
    run = Run(tmp_path, steps=10**7)
    first = run.start()
    deadline = time.monotonic() + 60
    while not os.path.exists(run / (CKPT + ".lock")):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(.01)
    second = run.run(*run.command("-o", "out.onnx")[1:])
    assert second.returncode == 1 and f"process {first.pid}" in second.stderr, second.stderr
    first.kill()
    first.wait()
    run.options[1] = "5"
    third = run.start()  # a lock that a killed run left does not stand in the way
    assert third.wait() == 0, third.stderr.read()
    assert run.no_rest()


def test_a_loss_that_is_not_finite_names_its_node(tmp_path):
    """The log of what is negative from sample 30 on, in the second micro-batch of step 3: the state before it is saved, and
    resuming meets it again."""
    def make():
        return model([helper.make_node("MatMul", ["x", "w"], ["a"], "product"), helper.make_node("Log", ["a"], ["b"], "the_log"),
                      helper.make_node("Mul", ["b", "c"], ["y"], "scaled")], [value("x", ["batch", 4])],
                     [value("y", ["batch", 3])], [tensor("w", np.full((4, 3), .2, np.float32)), tensor("c", np.ones(3, np.float32))])

    run = Run(tmp_path, "--no_shuffle", "--gradient_accumulation_steps", "2", make=make, steps=50)
    x = np.ones((50, 4), np.float32)
    x[30:] = -1
    run.save("x.npy", x)
    process = run.start()
    said = process.stderr.read()
    assert process.wait() == 1 and "not finite" in said, said
    assert 'a value that is not finite: Log "the_log"' in said, said
    assert "the state before this step was saved: ongrad train --resume out.ckpt.onnx" in said
    again = run.resume(status=1)
    assert "step 3:" in said and "step 3:" in again and 'Log "the_log"' in again, again


# ---- a disk that fails

@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("shim") / "fail_io.so")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler for the shim")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", path, os.path.join(HERE, "fail_io.c"), "-ldl"], check=True)
    return path


def with_shim(shim, **settings):
    if "sanitize" in ONGRAD:
        pytest.skip("the sanitizers' runtime wants to be loaded first")
    return {**os.environ, "LD_PRELOAD": shim, **{f"ONGRAD_FAIL_{k.upper()}": str(v) for k, v in settings.items()}}


def test_every_failing_call_leaves_a_whole_checkpoint(shim, tmp_path):
    """Each write, fsync, rename and link of all checkpoints of a run fails once: training goes on, says so, and what is on
    the disk can be resumed."""
    run = Run(tmp_path, "--checkpoint_every", "4", "--keep", "3", steps=12)
    whole = run.whole()
    process = run.start(env=with_shim(shim, **{"in": ".ckpt.", "count": run / "calls"}))
    assert process.wait() == 0
    calls = int(run.read("calls"))
    assert calls >= 10
    for at in range(1, calls + 1):
        for name in os.listdir(run.path):
            if name.startswith("out"):
                os.remove(run / name)
        process = run.start(env=with_shim(shim, **{"in": ".ckpt.", "at": at}))
        assert process.wait() == 0, process.stderr.read()
        assert run.read("out.onnx") == whole and run.no_rest(), at
        run.resume()
        assert run.read("out.onnx") == whole, at


def test_a_full_disk(shim, tmp_path):
    """Nothing can be written from some call on: the run ends all the same, with the last good checkpoint on the disk."""
    run = Run(tmp_path, "--checkpoint_every", "4", steps=20)
    whole = run.whole()
    process = run.start(env=with_shim(shim, **{"in": ".ckpt.", "at": 9, "for": 1000}))
    said = process.stderr.read()
    assert process.wait() == 0, said
    assert "no checkpoint at step" in said and "No space left" in said and "training goes on" in said
    assert said.count("no checkpoint") == 1 and run.no_rest()
    assert run.read("out.onnx") == whole
    run.resume()
    assert run.read("out.onnx") == whole


def test_a_small_file_system(tmp_path):
    place = tempfile.mkdtemp(dir=tmp_path)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    try:
        run = Run(tmp_path, "--checkpoint_every", "4", "--checkpoint", os.path.join(place, "c.onnx"), steps=40)
        whole = run.whole("--checkpoint_every", "100")
        with open(os.path.join(place, "ballast"), "wb") as f:
            f.write(b"\1" * 40000)
        process = run.start()
        said = process.stderr.read()
        assert process.wait() == 0 and "training goes on" in said, said
        assert run.read("out.onnx") == whole
        done = run.run("train", "--resume", os.path.join(place, "c.onnx"))
        assert done.returncode == 0, done.stderr
        assert run.read("out.onnx") == whole
    finally:
        subprocess.run(["umount", place], check=True)
