"""tools/gpu_check without a GPU: its pack, a rehearsal on the simulated card, and what it makes of programs that fail or hang."""
import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("onnx")

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILT = os.path.dirname(os.path.abspath(os.environ["ONGRAD"]))
TOOL = os.path.join(ROOT, "tools", "gpu_check")
sys.path[:0] = [os.path.join(ROOT, "tools", "gpu"), os.path.join(ROOT, "tools"), os.path.join(ROOT, "tests", "conformance")]
import limits  # noqa: E402
import made_data  # noqa: E402
import node_cases  # noqa: E402
import peaks  # noqa: E402
import report as reports  # noqa: E402


def gpu_check(*arguments, status=0, tool=TOOL):
    done = subprocess.run([sys.executable, tool, *map(str, arguments)], capture_output=True, text=True, timeout=600)
    assert done.returncode == status, done.stderr
    return done.stderr


def report_in(folder):
    return json.loads((folder / "gpu_check.json").read_text())


def results(folder):
    return {name: stage["result"] for name, stage in report_in(folder)["stages"].items()}


# ---- the pack ----

@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu_check") / "ongrad"
    said = gpu_check("--pack", folder, "--build", BUILT)
    assert float(said.split(" MB")[0].split()[-1]) < 60, said
    return folder


# Where there is no pkg-config, no protoc-c and none of the libraries' own packages.
BARE = ["-DCMAKE_DISABLE_FIND_PACKAGE_PkgConfig=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_ZLIB=ON", "-DPROTOC_C=none"]


def test_a_pack_needs_nothing_else(packed, tmp_path):
    """It configures, and GPU_CHECK_BUILD=1 builds it there and rehearses with that: minutes of a processor."""
    build = tmp_path / "build"
    done = subprocess.run(["cmake", "-S", packed, "-B", build, f"-DONGRAD_PACK={packed / 'pack'}", "-DONGRAD_CUDA=off", *BARE,
                           "-DCMAKE_BUILD_TYPE=RelWithDebInfo"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    if not os.environ.get("GPU_CHECK_BUILD"):
        return
    gpu_check("--rehearse", "--build", tmp_path / "built", "--report", tmp_path, "--minutes", "60", "--only", "memory", "ops", "--stride", "100",
              tool=packed / "tools" / "gpu_check")
    assert results(tmp_path)["memory"]["mlp"]["planned_bytes"] > 0
    assert "run_node_sim" in results(tmp_path)["build"]["targets"]


def test_a_pack_that_is_there_stays(packed):
    assert "is there already" in gpu_check("--pack", packed, "--build", BUILT, status=1)
    assert (packed / "tools" / "gpu_check").exists()


def test_a_pack_that_cannot_be_made_leaves_nothing(tmp_path):
    assert "is no build of this tree" in gpu_check("--pack", tmp_path / "new", "--build", tmp_path, status=1)
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "onnx.pb-c.c").touch()  # and no header
    assert "onnx.pb-c.h" in gpu_check("--pack", tmp_path / "new", "--build", tmp_path, status=1)
    assert not (tmp_path / "new").exists()


# ---- rehearsals ----

def test_rehearsal(packed, tmp_path):
    """Every stage but building, on the simulated card, from the pack."""
    gpu_check("--rehearse", "--built", BUILT, "--report", tmp_path, "--stride", "100", tool=packed / "tools" / "gpu_check")
    report, stages = report_in(tmp_path), results(tmp_path)
    assert report["wrong"] == [] and report["libraries"] == "simulated"
    assert list(report["stages"]) == ["build", "device", "cases", "memory", "speed", "sanitizer", "ops"]
    assert not [name for name, stage in report["stages"].items() if "unfinished" in stage]
    ops = stages["ops"]
    assert ops["outputs"]["right"] == ops["outputs"]["ran"] == ops["outputs"]["of"] > 10 and ops["gradients"]["right"] > 5
    assert stages["cases"].keys() == {"tabular", "encoder"}
    assert all(0 < of["bf16"] for of in stages["cases"].values())
    memory = stages["memory"]["mlp"]
    # The simulated card gives what it is asked for, without pages, and what runs on it takes nothing.
    assert memory["planned_bytes"] == memory["arena_bytes"] == memory["allocated_bytes"] > 0
    assert memory["planning_bytes"] == memory["steps_bytes"] == 0
    speed = stages["speed"]["mlp"]
    assert speed["ongrad"]["median_ms"] > 0 and speed["eager"]["missing"] == "not on the simulated card"
    assert speed["ongrad"]["samples_per_s"] == pytest.approx(8e3 / speed["ongrad"]["median_ms"])
    assert speed["flops"] > 0 and "mfu" not in speed["ongrad"]  # nobody knows what the simulated card could do
    text = (tmp_path / "gpu_check.md").read_text()
    assert "| mlp | " in text.split("## memory")[1] and "samples/s" in text.split("## speed")[1]


def build_with(folder, script):
    """A build whose ongrad_sim is a shell script; $real stands for the command itself."""
    tests = folder / "built" / "tests"
    tests.mkdir(parents=True)
    program = tests / "ongrad_sim"
    program.write_text(f"#!/bin/sh\nreal={shlex.quote(os.path.join(BUILT, 'tests', 'ongrad_sim'))}\n{script}\n")
    program.chmod(0o755)
    return folder / "built"


def test_what_hangs_loses_nothing_else(tmp_path):
    """One case hangs in one precision, and has a child that holds its output: it is ended after 20 s, and the others are in the
    report."""
    built = build_with(tmp_path, 'case "$*" in *encoder*fp16*) sleep 300 & sleep 300;; esac\nexec "$real" "$@"')
    gpu_check("--rehearse", "--built", built, "--report", tmp_path, "--minutes", "2", "--only", "cases", "memory", status=1)
    report = report_in(tmp_path)
    cases = report["stages"]["cases"]["result"]
    why = "encoder.fp16: ongrad_sim train model.onnx --target … did not end within 20 s"
    assert report["wrong"] == [f"cases: {why}"] and cases["encoder"]["failed"] == why
    assert set(cases["tabular"]) == {"float32", "tf32", "fp16", "bf16"}
    assert set(cases["encoder"]) == {"float32", "tf32", "bf16", "failed"}
    assert report["stages"]["memory"]["result"]["mlp"]["planned_bytes"] > 0


def test_a_stage_that_is_too_long_is_cut(tmp_path):
    """Its share of the minutes is over while every case hangs: that is said, and the next stage has its share."""
    built = build_with(tmp_path, 'case "$*" in *expect*|*fixtures*) sleep 300;; esac\nexec "$real" "$@"')
    gpu_check("--rehearse", "--built", built, "--report", tmp_path, "--minutes", "0.2", "--only", "cases", "memory")
    stages = report_in(tmp_path)["stages"]
    assert stages["cases"]["unfinished"] == "0 of 2 cases were done when its time was over"
    assert stages["cases"]["limit_s"] <= 0.35 * 12 and stages["memory"]["limit_s"] <= 0.25 * 12


def test_a_program_that_fails_is_named(tmp_path):
    built = build_with(tmp_path, 'case "$*" in *mlp*) echo "ongrad train: error: the card is on fire" >&2; exit 3;; esac\n'
                                 'exec "$real" "$@"')
    gpu_check("--rehearse", "--built", built, "--report", tmp_path, "--only", "memory", "speed", status=1)
    report, stages = report_in(tmp_path), results(tmp_path)
    why = "ongrad_sim new mlp -o …: exit status 3: ongrad train: error: the card is on fire"
    assert stages["memory"]["mlp"] == {"failed": why}
    assert stages["speed"]["mlp"]["ongrad"] == {"missing": why}
    assert report["wrong"] == [f"memory: mlp: {why}", f"speed: mlp: {why}"]


def test_a_program_that_leaves_no_log(tmp_path):
    """What is not foreseen loses one result, too."""
    built = build_with(tmp_path, 'case "$*" in *train*mlp*) exit 0;; esac\nexec "$real" "$@"')
    gpu_check("--rehearse", "--built", built, "--report", tmp_path, "--only", "memory", "speed", status=1)
    stages = results(tmp_path)
    assert "FileNotFoundError" in stages["memory"]["mlp"]["failed"]
    assert "FileNotFoundError" in stages["speed"]["mlp"]["ongrad"]["missing"] and "missing" in stages["speed"]["mlp"]["graphs"]


@pytest.mark.parametrize("sent, stage", [(signal.SIGINT, "memory"), (signal.SIGTERM, "cases")])
def test_an_interrupted_run_leaves_a_report(tmp_path, sent, stage):
    """In one thread, and in several."""
    built = build_with(tmp_path, f'case "$*" in *new*|*train*) touch {shlex.quote(str(tmp_path / "begun"))}; sleep 300;; esac\n'
                                 'exec "$real" "$@"')
    process = subprocess.Popen([sys.executable, TOOL, "--rehearse", "--built", built, "--report", tmp_path, "--only", stage],
                               stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if (tmp_path / "begun").exists():
            break
        time.sleep(0.1)
    process.send_signal(sent)
    process.communicate(timeout=60)
    assert process.returncode == 1
    report = report_in(tmp_path)
    assert report["wrong"] == ["interrupted"] and report["stages"][stage]["unfinished"] == "interrupted"
    assert "Not finished: interrupted" in (tmp_path / "gpu_check.md").read_text()


def test_a_card_that_is_not_there(tmp_path):
    """Without a simulation, on a machine without a card, why there is none is said once, and of every stage."""
    devices = json.loads(subprocess.run([os.environ["ONGRAD"], "devices", "--json"], capture_output=True, text=True).stdout)
    if any(d["device"].startswith("cuda") for d in devices["devices"]):
        pytest.skip("this machine has a card")
    gpu_check("--built", BUILT, "--report", tmp_path, "--only", "ops", "cases", status=1)
    report = report_in(tmp_path)
    assert len(report["wrong"]) == 1 and "no CUDA device" in report["wrong"][0]
    assert all("no CUDA device" in report["stages"][stage]["failed"] for stage in ("cases", "ops"))


def test_no_minutes(tmp_path):
    gpu_check("--rehearse", "--built", BUILT, "--report", tmp_path, "--minutes", "0", "--only", "cases", status=1)
    report = report_in(tmp_path)
    assert "minutes are over" in report["stages"]["build"]["unfinished"] and "cases" not in report["stages"]
    assert "minutes are over" in report["wrong"][0]


@pytest.mark.parametrize("arguments", [["--minutes", "-1"], ["--minutes", "nan"], ["--stride", "0"], ["--only", "nothing"]])
def test_wrong_usage(arguments):
    assert "usage" in gpu_check("--rehearse", *arguments, status=2)


# ---- time ----

class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_shares_of_time():
    clock = Clock()
    budget = limits.Budget(600, clock)
    clock.now += 100
    part = budget.part(0.5)
    assert (budget.left(), part.left()) == (500, 250)
    # Ten like it are to come: twice a tenth; with a larger one among them, less.
    assert part.limit(1, 10, 20) == 50 and part.limit(1, 25, 20) == 20 and part.limit(5, 10, 20) == 250
    clock.now += 240
    assert part.limit(1, 10, 20) == 10 and part.limit(1, 1) == 10  # never more than there is
    clock.now += 100
    assert part.left() == part.limit(1, 10) == 0 and budget.left() == 160
    clock.now += 1000
    assert budget.left() == 0


def is_over(pid):
    """Within 10 s: it is gone, or nobody has asked yet how it ended."""
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                if f.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_a_program_is_ended_with_its_children():
    """Also where a grandchild holds its output open; what was printed by then is there."""
    processes = limits.Processes()
    with pytest.raises(limits.TimedOut, match="sh -c .* did not end within 1 s") as caught:
        processes.run(["sh", "-c", "sleep 300 & echo $!; sleep 300"], 1)
    assert is_over(int(caught.value.done.out))
    with pytest.raises(limits.TimedOut, match="minutes are over"):
        processes.run(["true"], 0)
    with pytest.raises(limits.Failed, match="no-such-program: No such file"):
        processes.run(["/no-such-program"], 1)
    with pytest.raises(limits.Failed, match="exit status 3: error: this"):
        processes.must(["sh", "-c", "echo one; echo error: this >&2; echo two >&2; exit 3"], 10)
    processes.end_all()
    with pytest.raises(limits.Failed, match="interrupted"):
        processes.run(["true"], 1)


def tool():
    """What tools/gpu_check defines."""
    names = {"__name__": "gpu_check", "__file__": TOOL}
    with open(TOOL, encoding="utf-8") as f:
        exec(compile(f.read(), TOOL, "exec"), names)
    return names


def test_compiling_ahead_ends_when_the_card_is_needed(tmp_path):
    """As many at once as the card has room for; what runs then is ended, and nothing is begun any more."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ntouch {shlex.quote(str(tmp_path))}/"$2.$4"; [ "$2" = gpt2 ] || exec sleep 300\n')
    python.chmod(0o755)
    module = tool()
    options = argparse.Namespace(minutes=1, rehearse=False, python=str(python), report=str(tmp_path), build="")
    check = module["Check"](options)
    assert check.start_ahead() == []  # no card
    check.at_once = 4
    check.report["card"] = {"total_bytes": 48 * 10**9, "used_bytes": 1 << 30}
    threads = check.start_ahead()
    assert len(threads) == 2
    for _ in range(100):
        if len(check.processes.running) == 2 and (tmp_path / "bert_base.compile").exists():
            break
        time.sleep(0.1)
    check.end_ahead(threads)
    assert not threads and not check.processes.running
    assert {f.name for f in tmp_path.glob("*.*")} == {"light_transformer.compile", "gpt2.compile", "bert_base.compile"}


def test_losses_that_are_not_finite_differ():
    """Wherever they are, and where there are fewer."""
    differs_by = tool()["differs_by"]
    assert differs_by([1.0, 2.2], [1.0, 2.0]) == pytest.approx(0.1)
    for losses in ([1.0, float("nan")], [float("nan"), 2.0], [1.0, None], [1.0], [1.0, float("inf")]):
        assert differs_by(losses, [1.0, 2.0]) == float("inf")


# A stand-in for run_node: NAME is the verdict, and more.
VERDICTS = """import sys, time
for name in sys.argv[2:]:
    if name.startswith("hang"): time.sleep(300)
    if name.startswith("crash"): sys.exit("a fault")
    if name.startswith("again"): sys.exit(9)
    print(name, "pass", "", sep="\\t", flush=True)
    if name.startswith("last"): sys.exit(9)
"""


def test_node_tests_go_on_after_one_that_hangs(tmp_path):
    program = [sys.executable, "-c", VERDICTS]
    names = ["a", "crash", "b", "hang", "last", "c", "again"]
    found = node_cases.run(program, tmp_path, names, patience=2, processes=limits.Processes())
    assert {name: word for name, (word, _) in found.items()} == {
        "a": "pass", "again": "crash", "b": "pass", "c": "pass", "crash": "crash", "hang": "hangs", "last": "pass"}
    assert found["crash"][1] == "exit status 1 a fault" and "within 2 s" in found["hang"][1]
    clock = Clock()
    budget = limits.Budget(0, clock)
    assert node_cases.run(program, tmp_path, names, left=budget.left) == {}
    # What the time was too short for has no verdict.
    found = node_cases.run(program, tmp_path, ["a", "hang"], left=limits.Budget(2).left, processes=limits.Processes())
    assert found == {"a": ("pass", "")}


# ---- figures ----

@pytest.mark.parametrize("name, peak", [
    ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA A100 80GB PCIe", 312e12), ("NVIDIA H100 80GB HBM3", 989.4e12),
    ("NVIDIA H100 PCIe", 756.5e12), ("NVIDIA H100 NVL", 835.5e12), ("NVIDIA H200", 989.4e12), ("NVIDIA L4", 121e12),
    ("NVIDIA L40S", 362.05e12), ("NVIDIA A10", 125e12), ("NVIDIA GeForce RTX 3090", 71e12), ("NVIDIA GeForce RTX 4090", 165.2e12),
    ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None), ("NVIDIA GeForce RTX 4090 Laptop GPU", None), ("simulated card", None)])
def test_peaks(name, peak):
    assert peaks.peak_of(name) == peak


def test_figures():
    """1.5 TFLOP in 10 ms on a card of 300 TFLOP/s: half of it."""
    assert peaks.figures(64, 1.5e12, 10, 300e12) == pytest.approx({"samples_per_s": 6400, "flops_per_s": 150e12, "mfu": 0.5})
    assert "mfu" not in peaks.figures(64, 1.5e12, 10, None)


def test_a_report_is_json_whatever_is_in_it(tmp_path):
    report = {"wrong": ["a"], "stages": {"cases": {"limit_s": 9.0, "seconds": 1.0, "result": {"x": {"fp16": float("inf")}}}}}
    reports.write(report, tmp_path)
    text = (tmp_path / "gpu_check.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["stages"]["cases"]["result"]["x"]["fp16"] is None
    assert "| x |  |  | inf |" in (tmp_path / "gpu_check.md").read_text()


def test_made_data(tmp_path):
    """Arrays that numpy reads: tokens and targets below the length of the output's last axis, floats of both signs."""
    import numpy as np
    inspected = {"inputs": [{"name": "t", "dtype": "int64", "shape": ["batch", 40]},
                            {"name": "x", "dtype": "float32", "shape": ["batch", 3, 5]}],
                 "outputs": [{"shape": [1, 40, 50257]}]}
    arguments, first, target = made_data.made_data(inspected, str(tmp_path / "m"), 2000)
    tokens, labels, x = np.load(first), np.load(target), np.load(tmp_path / "m.x.npy")
    assert arguments[:2] == ["--data", f"t={first}"] and arguments[-2:] == ["--loss", "cross_entropy"]
    for array in (tokens, labels):
        assert array.shape == (2000, 40) and array.dtype == np.int64 and array.min() >= 0 and array.max() < 50257
        assert len(np.unique(array)) > 30000  # of 65536 drawn
    assert x.shape == (2000, 3, 5) and x.dtype == np.float32 and -2 < x.min() < -1.9 and 1.9 < x.max() < 2
    made_data.remove(str(tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []
    inspected["outputs"] = [{"shape": [1, "tokens"]}]
    with pytest.raises(limits.Failed, match="last axis has no length"):
        made_data.made_data(inspected, str(tmp_path / "m"), 2)


# ---- PyTorch's side ----

def test_pytorch_models_are_the_published_ones():
    torch = pytest.importorskip("torch", reason="PyTorch is not among the tests' packages")
    import torch_models as m
    import torch_steps
    with torch.device("meta"):  # takes no memory
        counts = {name: sum(p.numel() for p in make().parameters())
                  for name, (make, _, _) in torch_steps.models().items()}
        published = sum(p.numel() for p in m.BERT().parameters())
    assert published == 109514298  # BertForMaskedLM, bert-base-uncased
    assert counts == {"light_transformer": 14604298, "gpt2": 124439808, "resnet50": 25557032, "vit_b_16": 86567656,
                      "bert_base": published - (384 + 1) * 768}  # 128 places of 512, one segment of two


@pytest.mark.parametrize("name", ["light_transformer", "gpt2", "bert_base", "resnet50", "vit_b_16"])
def test_ongrad_trains_the_same_models(name, tmp_path):
    """As many parameters, and inputs and outputs of the same shapes."""
    torch = pytest.importorskip("torch", reason="PyTorch is not among the tests' packages")
    import torch_steps
    subprocess.run([os.environ["ONGRAD"], "new", *tool()["SPEED"][name][0], "-o", tmp_path / "m.onnx"], check=True,
                   capture_output=True)
    inspected = json.loads(subprocess.run([os.environ["ONGRAD"], "inspect", tmp_path / "m.onnx", "--json"], check=True,
                                          capture_output=True, text=True).stdout)
    make, shape, classes = torch_steps.models()[name]
    with torch.device("meta"):
        assert inspected["totals"]["trained_elements"] == sum(p.numel() for p in make().parameters())
    assert [i["shape"][1:] for i in inspected["inputs"]] == [list(shape)]
    assert inspected["outputs"][0]["shape"][-1] == classes


def test_pytorch_steps(tmp_path):
    """Tiny models on the processor, on data of files and without."""
    torch = pytest.importorskip("torch", reason="PyTorch is not among the tests' packages")
    import torch_models as m
    import torch_steps
    torch.set_num_threads(1)  # tiny models on a machine that does other things, too
    rows = {"gpt2": (lambda: m.GPT2(50, 16, 32, 2, 2), (16,), 50), "bert": (lambda: m.BERT(50, 16, 1, 32, 2, 2), (16,), 50),
            "resnet": (lambda: m.ResNet((1, 1, 1, 1), 8, 10), (3, 32, 32), 10),
            "vit": (lambda: m.ViT(32, 16, 32, 2, 2, 10), (3, 32, 32), 10),
            "light": (lambda: m.LightTransformer(True, 32, 4, 8, 2, 1), (4, 8), 10)}
    for name, row in rows.items():
        shape, tokens = row[1], len(row[1]) == 1
        inspected = {"inputs": [{"name": "x", "dtype": "int64" if tokens else "float32", "shape": ["batch", *shape]}],
                     "outputs": [{"shape": [1, *(shape if tokens else ()), row[2]]}]}
        paths = made_data.made_data(inspected, str(tmp_path / name), 10)[1:]
        for files in (paths, []):
            found = torch_steps.measure(torch, row, 2, "eager", 9, files, "cpu")
            assert found["median_ms"] > 0 and 0 < found["loss"] < 10, (name, found)


def test_pytorch_side_says_what_is_missing():
    side = os.path.join(ROOT, "tools", "gpu", "torch_steps.py")
    done = subprocess.run([sys.executable, side, "gpt2", "8", "eager", "1"], capture_output=True, text=True, timeout=120)
    if done.returncode == 0:
        pytest.skip("this machine has PyTorch and a GPU")
    assert "PyTorch" in done.stderr.strip().splitlines()[-1]
    done = subprocess.run([sys.executable, side, "gpt2"], capture_output=True, text=True, timeout=120)
    assert done.returncode and "MODEL BATCH WAY STEPS" in done.stderr
