"""tools/gpu_check without a GPU: its pack, and a rehearsal on the simulated card."""
import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("onnx")

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILT = os.path.dirname(os.path.abspath(os.environ["ONGRAD"]))


def gpu_check(*arguments, status=0, tool=os.path.join(ROOT, "tools", "gpu_check")):
    done = subprocess.run([sys.executable, tool, *map(str, arguments)], capture_output=True, text=True, timeout=600)
    assert done.returncode == status, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu_check") / "ongrad"
    said = gpu_check("--pack", folder, "--build", BUILT)
    assert float(said.split(" MB")[0].split()[-1]) < 60, said
    return folder


def test_a_pack_needs_nothing_else(packed, tmp_path):
    """It configures where there is no pkg-config, no protoc-c and none of the libraries' own packages."""
    done = subprocess.run(["cmake", "-S", packed, "-B", tmp_path / "build", f"-DONGRAD_PACK={packed / 'pack'}", "-DONGRAD_CUDA=off",
                           "-DCMAKE_DISABLE_FIND_PACKAGE_PkgConfig=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_ZLIB=ON",
                           "-DPROTOC_C=none"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_pack_that_is_there_stays(packed):
    assert "is there already" in gpu_check("--pack", packed, "--build", BUILT, status=1)


def test_a_pack_without_a_build(tmp_path):
    assert "is no build of this tree" in gpu_check("--pack", tmp_path / "new", "--build", tmp_path, status=1)


def test_rehearsal(packed, tmp_path):
    """Every stage but building, on the simulated card, from the pack."""
    gpu_check("--rehearse", "--built", BUILT, "--report", tmp_path, "--stride", "100", tool=packed / "tools" / "gpu_check")
    report = json.load(open(tmp_path / "gpu_check.json"))
    assert report["wrong"] == []
    stages = report["stages"]
    assert stages["ops"]["outputs"]["right"] > 10 and stages["ops"]["gradients"]["right"] > 5
    assert stages["cases"].keys() == {"tabular", "encoder"}
    assert all(0 < of["bf16"] for of in stages["cases"].values())
    assert stages["memory"]["mlp"]["planned_bytes"] == stages["memory"]["mlp"]["arena_bytes"] > 0
    assert stages["speed"]["mlp"]["ongrad"]["median_ms"] > 0
    assert "missing" in stages["speed"]["mlp"]["eager"]  # PyTorch's side knows no such model
    assert "## cases" in open(tmp_path / "gpu_check.md").read()


def test_a_card_that_is_not_there(tmp_path):
    """Without a simulation, on a machine without a card, what is wrong is said, and every stage tried."""
    devices = json.loads(subprocess.run([os.environ["ONGRAD"], "devices", "--json"], capture_output=True, text=True).stdout)
    if any(d["device"].startswith("cuda") for d in devices["devices"]):
        pytest.skip("this machine has a card")
    said = gpu_check("--built", BUILT, "--report", tmp_path, "--only", "ops", "cases", "--stride", "400", status=1)
    report = json.load(open(tmp_path / "gpu_check.json"))
    assert report["wrong"] and "no CUDA device" in report["stages"]["cases"]["failed"], said


def test_no_minutes(tmp_path):
    gpu_check("--rehearse", "--built", BUILT, "--report", tmp_path, "--minutes", "0", "--only", "cases", status=1)
    assert "minutes are over" in json.load(open(tmp_path / "gpu_check.json"))["stages"]["build"]["failed"]
