"""tools/bench without PyTorch: a workload of a linear model, what is printed, and what is said when something is missing.

    ONGRAD=build/release/ongrad python3 -m pytest tests/tools/test_bench.py
    ONGRAD=build/release/ongrad python3 tests/tools/test_bench.py
"""
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

from test_command import ONGRAD, linear_model, npy

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools/bench")
SAMPLES = 32


class Bench(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.make("linear")

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def make(self, name, model=None):
        rng = random.Random(1)
        os.makedirs(self.path(name))
        with open(self.path(name, "model.onnx"), "wb") as f:
            f.write(model or linear_model())
        npy(self.path(name, "x.npy"), "<f4", (SAMPLES, 4), [rng.gauss(0, 1) for _ in range(4 * SAMPLES)])
        npy(self.path(name, "target.npy"), "<i8", (SAMPLES,), [rng.randrange(3) for _ in range(SAMPLES)])

    def about(self, name, **values):
        with open(self.path(name, "workload.json"), "w") as f:
            json.dump(values, f)

    def bench(self, *arguments, status=0, ours_only=True):
        r = subprocess.run([sys.executable, BENCH, "--workloads", self.folder, "--ongrad", ONGRAD, "--threads", "1",
                            *(["--with", "none"] if ours_only else []), *arguments],
                           capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
        self.assertEqual(r.returncode, status, r.stdout + r.stderr)
        return r

    def figures(self, *arguments, status=0):
        self.bench("--json", self.path("figures.json"), *arguments, status=status)
        with open(self.path("figures.json")) as f:
            return json.load(f)

    def test_measures(self):
        figures = self.figures("--rounds", "2", "--steps", "20")
        ours = figures["workloads"]["linear"]["ongrad"]
        self.assertEqual((figures["threads"], figures["rounds"]), (1, 2))
        self.assertEqual([len(run["times"]) for run in ours["runs"]], [20, 20])
        # Of the runs' steps, without three to warm up.
        times = sorted(1e3 * t for run in ours["runs"] for t in run["times"][3:])
        self.assertAlmostEqual(ours["min_ms"], times[0])
        self.assertAlmostEqual(ours["median_ms"], (times[16] + times[17]) / 2)
        self.assertGreater(ours["first_s"], min(run["times"][0] for run in ours["runs"]))
        self.assertGreater(ours["memory_bytes"], 0)
        self.assertEqual(ours["losses"], ours["runs"][1]["losses"][:10])
        self.assertEqual((ours["loss_difference"], ours["losses_agree"]), (None, True))

    def test_many_steps_pass_the_pipe(self):
        figures = self.figures("--rounds", "1", "--steps", "20000")
        self.assertEqual(len(figures["workloads"]["linear"]["ongrad"]["runs"][0]["times"]), 20000)

    def test_tables(self):
        text = self.bench("--rounds", "1", "--memory").stdout
        for word in ("linear", "ongrad_off", "ongrad_half", "min ms", "median ms", "first step s", "loss differs by", "memory MB", "predicted MB"):
            self.assertIn(word, text)
        other = self.bench("--rounds", "1").stdout
        self.assertNotIn("memory MB", other)
        self.assertNotIn("ongrad_half", other)

    def test_recompute(self):
        """A small model of the same form: what it says, not how long it took."""
        if not importlib.util.find_spec("onnx"):
            self.skipTest("numpy and onnx make the model")
        script = os.path.join(os.path.dirname(BENCH), "bench_recompute.py")
        r = subprocess.run([sys.executable, script, "--ongrad", ONGRAD, "--rounds", "1", "--steps", "2", "--width", "32"],
                           capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
        self.assertIn("losses agree; memory as predicted", r.stdout, r.stderr)

    def test_losses_are_compared(self):
        losses = self.figures("--rounds", "1")["workloads"]["linear"]["ongrad"]["losses"]
        self.about("linear", losses=losses, losses_float32=losses)
        ours = self.figures("--rounds", "1")["workloads"]["linear"]["ongrad"]
        self.assertEqual((ours["loss_difference"], ours["losses_agree"]), (0, True))
        self.about("linear", losses=losses[:9] + [1.01 * losses[9]])
        self.assertFalse(self.figures("--rounds", "1", status=1)["workloads"]["linear"]["ongrad"]["losses_agree"])
        self.assertIn("WRONG", self.bench("--rounds", "1", status=1).stdout)
        # What rounding explains in PyTorch's own float losses is no error.
        self.about("linear", losses=losses[:9] + [1.01 * losses[9]],
                   losses_float32=losses[:9] + [1.012 * losses[9]])
        self.assertTrue(self.figures("--rounds", "1")["workloads"]["linear"]["ongrad"]["losses_agree"])

    def test_a_failure_has_a_row_and_others_go_on(self):
        self.make("broken", b"this is no model")
        self.make("half")
        os.remove(self.path("half", "x.npy"))
        r = self.bench("--rounds", "1", status=1)
        rows = {line.split()[0]: line for line in r.stdout.splitlines()[2:]}
        self.assertIn("failed:", rows["broken"])
        self.assertIn("broken/model.onnx", rows["broken"])
        self.assertIn("no .npy file for an input", rows["half"])
        self.assertNotIn("failed", rows["linear"])
        self.assertEqual(set(self.figures("--rounds", "1", "--only", "linear")["workloads"]), {"linear"})

    def test_without_torch(self):
        python = self.path("python")
        with open(python, "w") as f:
            f.write(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
        os.chmod(python, 0o755)
        os.rename(self.path("linear"), self.path("mlp"))
        r = self.bench("--rounds", "1", "--with", "eager", "--python", python, status=1, ours_only=False)
        rows = [line.split(maxsplit=1) for line in r.stdout.splitlines()[2:]]
        self.assertNotIn("failed", rows[0][1])
        self.assertEqual(rows[1][0], "eager")
        self.assertIn("-m pip install torch numpy", rows[1][1])
        r = self.bench("--rounds", "1", "--make", "--only", "lenet", "--python", python, status=1)
        self.assertIn("lenet was not made", r.stderr)
        self.assertIn("-m pip install torch numpy onnx onnxscript", r.stderr)

    def test_no_torch_model_of_that_name(self):
        r = self.bench("--rounds", "1", "--with", "eager", status=1, ours_only=False)
        self.assertIn("no PyTorch model of this workload", r.stdout)

    def test_what_is_missing(self):
        rows = [
            (1, "cmake --preset release", ["--ongrad", self.path("nowhere")]),
            (1, "--make does not know linear", ["--make", "--only", "linear"]),
            (1, "tools/bench --make", ["--workloads", self.path("empty")]),
            (1, "no such folder", ["--json", self.path("nowhere", "f.json")]),
            (2, "expected at least 1", ["--rounds", "0"]),
            (2, "invalid choice", ["--with", "everything"]),
        ]
        for status, message, arguments in rows:
            with self.subTest(arguments):
                self.assertIn(message, self.bench(*arguments, status=status).stderr)
        self.assertIn("--workloads DIR", self.bench("--help").stdout)


if __name__ == "__main__":
    unittest.main()
