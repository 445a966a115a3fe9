"""The command `ongrad` from outside: usage, exit statuses, JSON, files. ONGRAD names the binary.

    ONGRAD=build/release/ongrad python3 -m pytest tests/tools/test_command.py
    ONGRAD=build/release/ongrad python3 tests/tools/test_command.py

Needs Python alone: the model (a linear layer of 4 inputs and 3 classes) and the .npy files are written here byte by byte.
"""
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

ONGRAD = os.path.abspath(os.environ.get("ONGRAD", "build/release/ongrad"))


# ---- files -----------------------------------------------------------------------------------------------

def varint(n):
    out = b""
    while True:
        out += bytes([n & 127 | (128 if n > 127 else 0)])
        n >>= 7
        if not n:
            return out


def field(number, value):
    """A protobuf field: int, str, bytes (an encoded message, too)."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, dims, values):
    return b"".join(field(1, d) for d in dims) + field(2, 1) + field(8, name) + \
        field(9, struct.pack(f"<{len(values)}f", *values))


def value_info(name, dims):
    dims = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in dims)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def linear_model(inputs=1):
    """y = Gemm(x, weight, bias); with two inputs, y = Gemm(a + b, …)."""
    rng = random.Random(1)
    weight, bias = [rng.uniform(-.5, .5) for _ in range(12)], [0.0] * 3
    nodes, x = b"", "x"
    names = ["x"] if inputs == 1 else ["a", "b"]
    if inputs == 2:
        nodes += field(1, field(1, "a") + field(1, "b") + field(2, "x") + field(3, "add") + field(4, "Add"))
    nodes += field(1, b"".join(field(1, n) for n in (x, "weight", "bias")) + field(2, "y") + field(3, "linear") +
                   field(4, "Gemm"))
    graph = nodes + field(2, "linear") + field(5, tensor("weight", (4, 3), weight)) + field(5, tensor("bias", (3,), bias))
    graph += b"".join(field(11, value_info(n, ["batch", 4])) for n in names) + field(12, value_info("y", ["batch", 3]))
    return field(1, 8) + field(2, "test") + field(7, graph) + field(8, field(1, "") + field(2, 17))


def npy(path, kind, dims, values):
    shape = "(" + "".join(f"{d}," for d in dims) + ")"
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    code = {"<f4": "f", "<i8": "q", "|u1": "B"}[kind]
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        f.write(struct.pack(f"<{len(values)}{code}", *values))


def read(path, mode="r"):
    with open(path, mode) as f:
        return f.read()


def read_npy(path):
    data = read(path, "rb")
    n = struct.unpack("<H", data[8:10])[0]
    header = eval(data[10:10 + n])
    count = 1
    for d in header["shape"]:
        count *= d
    return header["shape"], struct.unpack(f"<{count}f", data[10 + n:])


SAMPLES = 50
LOSS = ["--loss", "cross_entropy"]
DATA = ["--data", "x=x.npy", "--target", "t.npy"]


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        rng = random.Random(2)
        x = [rng.gauss(0, 1) for _ in range(SAMPLES * 4)]
        labels = [max(range(3), key=lambda c: x[i * 4 + c]) for i in range(SAMPLES)]
        npy(self.path("x.npy"), "<f4", (SAMPLES, 4), x)
        npy(self.path("t.npy"), "<i8", (SAMPLES,), labels)
        npy(self.path("f.npy"), "<f4", (SAMPLES,), [0.5] * SAMPLES)
        npy(self.path("y.npy"), "<f4", (SAMPLES, 3), x[:SAMPLES * 3])
        npy(self.path("short.npy"), "<i8", (7,), [0] * 7)
        npy(self.path("u.npy"), "|u1", (SAMPLES, 4), [int(abs(v) * 80) % 256 for v in x])
        npy(self.path("nan.npy"), "<f4", (SAMPLES, 4), [float("nan")] + x[1:])
        self.write("m.onnx", linear_model())
        self.write("two.onnx", linear_model(2))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb" if isinstance(data, bytes) else "w") as f:
            f.write(data)

    def run_command(self, *arguments, env=None, status=0):
        r = subprocess.run([ONGRAD, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=120,
                           env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL)
        self.assertEqual(r.returncode, status, f"{arguments}\n{r.stdout}\n{r.stderr}")
        return r

    def fails(self, status, text, *arguments):
        r = self.run_command(*arguments, status=status)
        self.assertIn(text, r.stderr)
        self.assertEqual(r.stdout, "")
        return r

    def train(self, *more, status=0, env=None):
        return self.run_command("train", "m.onnx", *DATA, *LOSS, *more, status=status, env=env)

    def log(self, name="run.jsonl"):
        return [json.loads(line) for line in read(self.path(name)).splitlines()]


class Usage(Case):
    def test_help_and_version(self):
        self.assertIn("ongrad ", self.run_command("--version").stdout)
        self.assertIn("train", self.run_command("--help").stdout)
        for name in "train eval predict inspect plan check export report devices".split():
            for arguments in ([name, "--help"], [name, "-h"], ["help", name]):
                r = self.run_command(*arguments)
                self.assertEqual(r.stderr, "")
                self.assertLessEqual(max(len(line) for line in r.stdout.splitlines()), 100)

    def test_wrong_usage_is_2(self):
        rows = [
            ("no subcommand", []),
            ("did you mean train?", ["trian"]),
            ("did you mean inspect?", ["help", "inspcet"]),
            ("no model", ["train"]),
            ("did you mean --batch_size?", ["train", "m.onnx", "--batchsize", "3"]),
            ("did you mean --lr?", ["train", "m.onnx", "--lrr=3"]),
            ("needs a value", ["train", "m.onnx", "--lr"]),
            ("needs a value", ["train", "m.onnx", "--lr", "--epochs", "3"]),
            ("expected a whole number", ["train", "m.onnx", "--epochs", "many"]),
            ("expected at least 1", ["train", "m.onnx", "--batch_size", "0"]),
            ("expected a whole number", ["train", "m.onnx", "--steps", "99999999999999999999"]),
            ("expected a number", ["train", "m.onnx", "--lr", "nan"]),
            ("expected on or off", ["train", "m.onnx", "--shuffle=maybe"]),
            ("is an option of train", ["eval", "m.onnx", "--epochs", "3"]),
            ("the model is m.onnx already", ["train", "m.onnx", "t.onnx"]),
            ("unexpected argument", ["devices", "m.onnx"]),
            ("the inputs are: x", ["train", "m.onnx", *LOSS, "--data", "z=x.npy", "--target", "t.npy"]),
            ("the inputs are: x", ["train", "m.onnx", *LOSS, "--video_dir", "d", "--target", "t.npy"]),
            ("the inputs are: a, b", ["train", "two.onnx", *LOSS, "--data", "x.npy", "--target", "t.npy"]),
            ('"a" is given twice', ["train", "two.onnx", *LOSS, "--data", "a=x.npy", "--data", "a=x.npy"]),
            ('input "b"', ["train", "two.onnx", *LOSS, "--data", "a=x.npy", "--target", "t.npy"]),
            ("no loss given", ["train", "m.onnx", *DATA]),
            ("--loss mse", ["train", "m.onnx", "--data", "x.npy", "--target", "f.npy"]),
            ("unknown loss", ["train", "m.onnx", "--data", "x.npy", "--target", "y.npy", "--loss", "crossentropy"]),
            ("the model has no output", ["train", "m.onnx", *DATA, "--loss", "z=mse"]),
            ("unknown key", ["train", "m.onnx", *LOSS, "--data", "x=x.npy,frame=3", "--target", "t.npy"]),
            ("expected NAME=N", ["inspect", "m.onnx", "--dim", "batch"]),
            ("is the batch", ["inspect", "m.onnx", "--dim", "batch=3"]),
            ('no dim "time"', ["inspect", "m.onnx", "--dim", "time=3"]),
            ("no loss given", ["plan", "m.onnx"]),
        ]
        for text, arguments in rows:
            with self.subTest(arguments):
                self.fails(2, text, *arguments)

    def test_failures_are_1(self):
        rows = [
            ("nope.onnx", ["train", "nope.onnx", *DATA, *LOSS]),
            ("x.npy", ["inspect", "x.npy"]),
            ("nope.npy", ["train", "m.onnx", "--data", "nope.npy", "--target", "t.npy", *LOSS]),
            ("folder", ["train", "m.onnx", "--data", ".", "--target", "t.npy", *LOSS]),
            ("numbers of samples differ", ["train", "m.onnx", "--data", "x.npy", "--target", "short.npy", *LOSS]),
            ("NaN", ["train", "m.onnx", "--data", "nan.npy", "--target", "t.npy", *LOSS]),
            ("the folder nowhere", ["train", "m.onnx", *DATA, *LOSS, "-o", "nowhere/t.onnx"]),
            ("nope.yaml", ["train", "m.onnx", "--config", "nope.yaml"]),
        ]
        for text, arguments in rows:
            with self.subTest(arguments):
                self.fails(1, text, *arguments)
        self.assertFalse(os.path.exists(self.path("trained.onnx")))

    def test_control_characters_do_not_reach_the_terminal(self):
        r = self.fails(1, "?[31m", "inspect", "\x1b[31mred.onnx")
        self.assertNotIn("\x1b", r.stderr)


class Train(Case):
    def test_trains_and_logs(self):
        r = self.train("--epochs", "3", "--batch_size", "16", "--lr", "0.05", "--log", "run.jsonl")
        self.assertEqual(r.stdout, "")
        self.assertNotIn("\x1b", r.stderr)
        self.assertIn("batch_size=16, accumulation=1, effective batch=16", r.stderr)
        self.assertIn("ongrad eval trained.onnx --data x=x.npy --target t.npy --loss cross_entropy", r.stderr)
        *steps, final = self.log()
        self.assertEqual([s["step"] for s in steps], list(range(1, 13)))
        self.assertEqual([s["epoch"] for s in steps], [0] * 4 + [1] * 4 + [2] * 4)
        keys = ["step", "epoch", "loss", "lr", "grad_norm", "loss_scale", "skipped", "step_ms", "samples_per_s",
                "memory_bytes"]
        self.assertEqual(list(steps[0]), [*keys, "run"])  # what the run is, once
        self.assertEqual(list(steps[1]), keys)
        self.assertLess(steps[-1]["loss"], steps[0]["loss"])
        self.assertIs(final["final"], True)
        self.assertEqual((final["steps"], final["samples"], final["stopped_by"]), (12, 150, None))
        self.assertEqual(final["peak_bytes"], final["predicted_peak_bytes"])
        self.assertGreater(final["process_start_bytes"], 0)
        self.assertGreater(final["process_peak_bytes"], final["process_start_bytes"])

    def test_steps_drop_last_accumulation(self):
        self.train("--steps", "5", "--batch_size", "16", "--drop_last", "--log", "run.jsonl", "-q")
        self.assertEqual([s["epoch"] for s in self.log()[:-1]], [0, 0, 0, 1, 1])
        self.train("--epochs", "2", "--batch_size", "16", "--gradient_accumulation_steps", "3", "--log", "run.jsonl",
                   "-q")
        self.assertEqual(len(self.log()) - 1, 4)  # 4 batches an epoch: a group of 3, a short one of 1

    def test_accumulation_equals_a_larger_batch(self):
        self.train("--steps", "4", "--batch_size", "25", "--no_shuffle", "--log", "a.jsonl", "-q")
        self.train("--steps", "4", "--batch_size", "5", "--gradient_accumulation_steps=5", "--no-shuffle", "--log",
                   "b.jsonl", "-q")
        for a, b in zip(self.log("a.jsonl")[:-1], self.log("b.jsonl")[:-1]):
            self.assertAlmostEqual(a["loss"], b["loss"], places=5)
            self.assertAlmostEqual(a["grad_norm"], b["grad_norm"], places=5)

    def test_order_is_a_function_of_the_seed(self):
        losses = []
        for seed in ("0", "0", "1"):
            self.train("--batch_size", "8", "--seed", seed, "--log", "run.jsonl", "-q")
            losses.append([s["loss"] for s in self.log()[:-1]])
        self.assertEqual(losses[0], losses[1])
        self.assertNotEqual(losses[0], losses[2])
        for more in (["--num_workers", "3"], ["--pin_threads"]):
            self.train("--batch_size", "8", *more, "--log", "run.jsonl", "-q")
            self.assertEqual(losses[0], [s["loss"] for s in self.log()[:-1]])

    def test_schedule(self):
        self.train("--steps", "4", "--scheduler", "linear", "--lr", "1", "--log", "run.jsonl", "-q")
        self.assertEqual([s["lr"] for s in self.log()[:-1]], [1, .75, .5, .25])

    def test_validation(self):
        r = self.train("--epochs", "2", "--batch_size", "25", "--val_data", "x.npy", "--val_target", "t.npy", "--log",
                       "run.jsonl")
        *steps, final = self.log()
        self.assertEqual([("val_loss" in s, "val_accuracy" in s) for s in steps],
                         [(False, False), (True, True)] * 2)
        self.assertEqual(final["val_loss"], steps[-1]["val_loss"])
        self.assertIn("val_accuracy", r.stderr)
        e = json.loads(self.run_command("eval", "trained.onnx", *DATA, *LOSS, "--json", "-q").stdout)
        self.assertAlmostEqual(e["loss"], final["val_loss"], places=5)
        self.assertAlmostEqual(e["accuracy"], final["val_accuracy"])

    def test_quiet_and_no_color(self):
        self.assertEqual(self.train("--quiet").stderr, "")
        self.assertNotIn("\x1b[3", self.train(env={"NO_COLOR": "1", "TERM": "xterm"}).stderr)

    def test_values_as_stored(self):
        arguments = ["train", "m.onnx", "--target", "t.npy", *LOSS, "--data"]
        self.assertIn("0…255", self.run_command(*arguments, "x=u.npy").stderr)
        self.assertNotIn("0…255", self.run_command(*arguments, "x=u.npy,scale=255,mean=0.5,std=0.25").stderr)

    def test_constants_and_folders_as_names(self):
        self.run_command("train", "two.onnx", "--data", "a=x.npy", "--data", "b=const:0.5", "--target", "t.npy", *LOSS)
        self.run_command("train", "two.onnx", "--a-dir", "x.npy", "--b_dir=x.npy", "--target", "t.npy", *LOSS)

    def test_aliases(self):
        self.train("--max_steps", "2", "--learning-rate", "0.5", "--max_grad_norm=2", "--no_amp", "--log", "run.jsonl")
        self.assertEqual([s["lr"] for s in self.log()[:-1]], [.5, .5])

    def test_config(self):
        self.write("run.yaml", "# a run\nsteps: 3\nlr: 0.25   # overridden\nshuffle: off\ndata:\n  x: x.npy\n"
                               "target: 't.npy'\nloss: [cross_entropy]\nval_data: []\noutput: \"from config.onnx\"\n")
        self.run_command("train", "m.onnx", "--config", "run.yaml", "--lr", "0.5", "--log", "run.jsonl", "-q")
        self.assertEqual([s["lr"] for s in self.log()[:-1]], [.5] * 3)
        self.assertTrue(os.path.exists(self.path("from config.onnx")))
        for text, line in (("bad.yaml:1", "lrr: 3"), ("bad.yaml:1", "lr: abc"), ("bad.yaml:1", "- 3"),
                           ("bad.yaml:2", "data:\n\tx: y"), ("bad.yaml:1", "data: {x: [[1]]}"), ("bad.yaml:2", "lr: 'x")):
            self.write("bad.yaml", line + "\n")
            with self.subTest(line):
                self.fails(2, text, "train", "m.onnx", *DATA, *LOSS, "--config", "bad.yaml")

    def test_non_finite_loss_writes_nothing(self):
        self.write("kept.onnx", "old")
        r = self.run_command("train", "m.onnx", "--data", "x.npy", "--target", "y.npy", "--loss", "mse", "--optimizer",
                             "sgd", "--lr", "1e30", "--max_norm", "0", "--steps", "20", "-o", "kept.onnx", status=1)
        self.assertIn("step ", r.stderr)
        self.assertIn("kept.onnx was not written", r.stderr)
        self.assertEqual(read(self.path("kept.onnx")), "old")

    def test_what_is_read_is_not_overwritten(self):
        for path in ("m.onnx", "x.npy", "./t.npy"):
            before = read(self.path(path), "rb")
            self.assertIn("is being read", self.train("-o", path, status=2).stderr)
            self.assertEqual(read(self.path(path), "rb"), before)
        os.symlink("m.onnx", self.path("link.onnx"))
        self.assertIn("is being read", self.train("-o", "link.onnx", status=2).stderr)
        self.assertIn("is being read", self.train("--log", "x.npy", status=2).stderr)
        self.assertIn("a folder", self.train("-o", ".", status=2).stderr)

    def test_an_old_output_is_replaced(self):
        self.write("trained.onnx", "old")
        self.train("-q")
        self.run_command("eval", "trained.onnx", *DATA, *LOSS)
        self.assertEqual([f for f in os.listdir(self.folder) if "trained" in f], ["trained.onnx"])

    def test_overfit(self):
        """Labels that follow from the sample are learned; the same sample under three labels is not."""
        r = self.run_command("check", "m.onnx", *DATA, *LOSS, "--batch_size", "4", "--overfit", "--json")
        result = json.loads(r.stdout)["overfit"]
        self.assertLessEqual(result["last_loss"], .1 * result["first_loss"])
        self.run_command("check", "m.onnx", *LOSS, "--overfit")
        npy(self.path("same.npy"), "<f4", (SAMPLES, 4), [1.0] * SAMPLES * 4)
        r = self.run_command("check", "m.onnx", "--data", "same.npy", "--target", "t.npy", *LOSS, "--overfit", status=1)
        self.assertIn("does not learn one batch", r.stderr)
        self.fails(2, "no loss given", "check", "m.onnx", "--overfit")

    def test_signals_save_and_exit_75(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number):
                p = subprocess.Popen([ONGRAD, "train", "m.onnx", *DATA, *LOSS, "--steps", "1000000000", "--log",
                                      "run.jsonl", "-o", "stopped.onnx"], cwd=self.folder, stderr=subprocess.PIPE,
                                     text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
                while p.poll() is None and (not os.path.exists(self.path("run.jsonl")) or
                                            os.path.getsize(self.path("run.jsonl")) < 1000):
                    time.sleep(.01)
                p.send_signal(number)
                text = p.communicate(timeout=60)[1]
                self.assertEqual(p.returncode, 75, text)
                self.assertIn(number.name, text)
                self.assertEqual(self.log()[-1]["stopped_by"], number.name)
                self.run_command("eval", "stopped.onnx", *DATA, *LOSS, "-q")
                os.remove(self.path("stopped.onnx"))
                os.remove(self.path("run.jsonl"))

    def test_out_of_memory_names_a_batch_that_fits(self):
        npy(self.path("x.npy"), "<f4", (4096, 4), [0.5] * 4096 * 4)
        npy(self.path("t.npy"), "<i8", (4096,), [1] * 4096)
        full = json.loads(self.run_command("plan", "m.onnx", *LOSS, "--batch_size", "4096", "--json").stdout)
        r = self.train("--batch_size", "4096", "--memory_budget", str(full["peak_bytes"] - 1), "--recompute", "off",
                       "--split_batch", "off", status=1)
        self.assertIn("--batch_size 2048 --gradient_accumulation_steps 2", r.stderr)


class Profile(Case):
    """--profile: the table adds up to the steps, and the trace nests."""
    ROWS = 20000  # a step of milliseconds, so that what is between the calls is little

    def setUp(self):
        super().setUp()
        rng = random.Random(3)
        npy(self.path("x.npy"), "<f4", (self.ROWS, 4), [rng.gauss(0, 1) for _ in range(4 * self.ROWS)])
        npy(self.path("t.npy"), "<i8", (self.ROWS,), [i % 3 for i in range(self.ROWS)])

    def profile(self, *more, steps=8):
        return self.train("--no_amp", "--batch_size", str(self.ROWS), "--steps", str(steps), "--log", "run.jsonl", *more).stderr

    def table(self, text):
        """(ms of a step as the heading says it, rows as dictionaries)."""
        lines = text[text.index("Profile of "):].splitlines()
        end = next(i for i, line in enumerate(lines) if "(between calls)" in line) + 1
        heading, rows = lines[1].split(), []
        for line in lines[2:end]:
            rows.append(dict(zip(heading, line.replace(" %", "%").split(maxsplit=len(heading) - 1))))
        return float(re.search(r": ([\d.]+) ms a step", lines[0])[1]), rows

    def test_table_adds_up(self):
        text = self.profile("--profile")
        self.assertIn("Profile of 5 steps, after 3 to warm up", text)
        ms, rows = self.table(text)
        *calls, between = rows
        # Rows are rounded to half of their last digit: 0.5 % of three digits, 0.005 of what is smaller.
        self.assertAlmostEqual(sum(float(r["ms"]) for r in rows), ms, delta=.005 * ms + .005 * len(rows))
        self.assertAlmostEqual(sum(float(r["share"][:-1]) for r in rows), 100, delta=.05 * len(rows))
        # Between calls only inputs are set and results read.
        self.assertLess(float(between["ms"]), .5 * ms)
        # The log's time of a step encloses the session's.
        logged = [s["step_ms"] for s in self.log()[3:-1]]
        self.assertLess(ms, sum(logged) / len(logged))
        self.assertEqual({r["role"] for r in calls}, {"forward", "loss", "gradient", "accumulate", "update", "recompute"})
        self.assertEqual(calls, sorted(calls, key=lambda r: -float(r["ms"])))
        for r in calls:
            self.assertLessEqual(float(r["fastest"]), float(r["ms"]))

    def test_rows(self):
        _, rows = self.table(self.profile("--profile", "--profile_by", "node"))
        self.assertIn(("MatMul", "gradient", "linear"), {(r["op"], r["role"], r.get("node")) for r in rows[:-1]})
        _, rows = self.table(self.profile("--profile", "--profile_by=call"))
        self.assertTrue(any(r["node"].startswith(f"linear float32 [{self.ROWS}, 4]") for r in rows[:-1]))

    def test_short_runs_count_the_warm_up(self):
        self.assertIn("Profile of 1 step:", self.profile("--profile", steps=1))
        self.assertIn("Profile of 3 steps:", self.profile("--profile", steps=3))
        self.assertIn("Profile of 1 step, after 3 to warm up", self.profile("--profile", steps=4))

    def test_trace(self):
        text = self.profile("--profile", "trace.json", "--gradient_accumulation_steps", "2", "--batch_size",
                            str(self.ROWS // 4))
        self.assertIn("wrote trace.json", text)
        trace = json.loads(read(self.path("trace.json")))
        events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
        steps = [e for e in events if e["cat"] == "step"]
        plans = [e for e in events if e["cat"] == "plan"]
        calls = [e for e in events if "args" in e]
        self.assertEqual([e["name"] for e in steps], ["step 4", "step 5", "step 6"])
        self.assertEqual([e["name"] for e in sorted(plans, key=lambda e: e["ts"])], ["micro", "micro", "update"] * 3)
        self.assertEqual(len(events), len(steps) + len(plans) + len(calls))

        def inside(inner, outer):
            slack = 1e-3  # a nanosecond: microseconds are written in decimal
            return inner["ts"] > outer["ts"] - slack and \
                inner["ts"] + inner["dur"] < outer["ts"] + outer["dur"] + slack

        for children, parents in ((plans, steps), (calls, plans)):
            for e in children:
                self.assertEqual(sum(inside(e, p) for p in parents), 1, e)
        for p in plans:  # the calls of a run follow each other without gaps
            self.assertAlmostEqual(sum(e["dur"] for e in calls if inside(e, p)), p["dur"], delta=1e-2 * len(calls))
        product = next(e for e in calls if e["args"]["op"] in ("MatMul", "Gemm") and e["cat"] == "forward")["args"]
        rows = self.ROWS // 4
        self.assertEqual(product["flops"], 2 * rows * 4 * 3)
        self.assertIn(product["bytes"], [4 * (rows * 4 + 4 * 3 + rows * 3 + bias) for bias in (0, 3)])
        self.assertIn(f"float32 [{rows}, 4]", product["dims"])
        self.assertEqual(product["node"], "linear")

    def test_quiet_off_and_wrong(self):
        self.assertEqual(self.profile("--profile", "t.json", "-q"), "")
        json.loads(read(self.path("t.json")))
        self.assertNotIn("Profile", self.profile("--no_profile"))
        self.assertNotIn("Profile", self.profile("--profile=off"))
        self.write("run.yaml", "profile: from_config.json\n")
        self.profile("--config", "run.yaml", "-q")
        json.loads(read(self.path("from_config.json")))
        rows = [
            (2, "expected on, off or FILE.json", "--profile=maybe"),
            (2, "expected op, node or call", "--profile_by=ops"),
            (2, "--profile and --log are both run.json", "--profile", "run.json", "--log", "run.json"),
            (2, "is being read", "--profile=./link.json"),
            (1, "the folder nowhere", "--profile=nowhere/t.json"),
            (2, "together with check_memory", "--profile", "--check_memory"),
        ]
        os.symlink("m.onnx", self.path("link.json"))
        for status, message, *arguments in rows:
            with self.subTest(arguments):
                self.assertIn(message, self.train(*arguments, status=status).stderr)


class Others(Case):
    def test_eval(self):
        r = self.run_command("eval", "m.onnx", *DATA, *LOSS)
        self.assertIn("loss", r.stdout)
        self.assertIn("Next:", r.stderr)
        e = json.loads(self.run_command("eval", "m.onnx", *DATA, *LOSS, "--json").stdout)
        self.assertEqual(set(e), {"loss", "accuracy", "samples"})
        small = json.loads(self.run_command("eval", "m.onnx", *DATA, *LOSS, "--json", "--batch_size", "7").stdout)
        self.assertAlmostEqual(e["loss"], small["loss"], places=5)
        self.assertEqual(e["accuracy"], small["accuracy"])

    def test_predict(self):
        self.run_command("predict", "m.onnx", "--data", "x.npy", "--batch_size", "7")
        shape, y = read_npy(self.path("predictions.npy"))
        self.assertEqual(shape, (SAMPLES, 3))
        self.run_command("predict", "m.onnx", "--data", "x.npy", "-o", "folder")
        self.assertEqual(os.listdir(self.path("folder")), ["y.npy"])
        for a, b in zip(y, read_npy(self.path("folder/y.npy"))[1]):
            self.assertAlmostEqual(a, b, places=5)
        self.fails(2, "is being read", "predict", "m.onnx", "--data", "x.npy", "-o", "x.npy")

    def test_inspect(self):
        table = self.run_command("inspect", "m.onnx").stdout
        self.assertIn("Gemm", table)
        self.assertIn("15 parameters", table)
        j = json.loads(self.run_command("inspect", "m.onnx", "--json", "--batch_size", "8").stdout)
        self.assertEqual(j["inputs"], [{"name": "x", "dtype": "float32", "shape": ["batch", 4]}])
        self.assertEqual(j["nodes"][0]["output"]["shape"], [8, 3])
        self.assertEqual((j["totals"]["nodes"], j["totals"]["trained_elements"]), (1, 15))

    def test_drawings(self):
        dot = self.run_command("inspect", "m.onnx", "--dot", "-").stdout
        self.assertTrue(dot.startswith("digraph"))
        self.run_command("inspect", "m.onnx", "--dot", "m.dot")
        self.assertEqual(read(self.path("m.dot")), dot)
        r = self.run_command("inspect", "m.onnx", "--svg", "m.svg", env={"PATH": self.folder}, status=1)
        self.assertIn("install graphviz", r.stderr)
        self.assertFalse(os.path.exists(self.path("m.svg")))
        if shutil.which("dot"):
            self.run_command("inspect", "m.onnx", "--svg", "m.svg")
            self.assertIn("<svg", read(self.path("m.svg")))
        self.fails(2, "is being read", "inspect", "m.onnx", "--dot", "m.onnx")

    def test_plan(self):
        self.assertIn("predicted peak", self.run_command("plan", "m.onnx", *LOSS).stdout)
        j = json.loads(self.run_command("plan", "m.onnx", *LOSS, "--json", "--batch_size", "256").stdout)
        self.assertEqual(j["batch_size"], 256)  # so large that samples decide
        self.assertIs(j["fits"], True)
        self.assertEqual(j["bytes"]["parameters"] > 0, True)
        self.assertLess(j["batches"][0]["peak_bytes"], j["batches"][2]["peak_bytes"])
        # what is alive where most is adds up to the bound of the arena
        self.assertEqual(len(j["over_time"]), j["micro_steps"] + j["update_steps"])
        self.assertEqual(j["over_time"][j["peak_call"]], max(j["over_time"]))
        self.assertEqual(max(j["over_time"]), j["activations_lower_bound_bytes"])
        sizes = [t["bytes"] for t in j["largest"]]
        self.assertEqual(sizes, sorted(sizes, reverse=True))
        for t in j["largest"]:
            self.assertTrue(t["first_call"] <= j["peak_call"] <= t["last_call"])
        def plan_of(batch, *more):
            return json.loads(self.run_command("plan", "m.onnx", *LOSS, "--json", "--batch_size", str(batch), *more).stdout)
        budget = 3 * plan_of(8192)["peak_bytes"]  # so many samples that nothing else counts
        p = plan_of(8192, "--memory_budget", str(budget))
        self.assertTrue(8192 < p["largest_batch_size_without_more_time"] <= p["largest_batch_size"])
        for largest in p["largest_batch_size_without_more_time"], p["largest_batch_size"]:
            at = plan_of(largest, "--memory_budget", str(budget))
            self.assertTrue(.9 * budget < at["peak_bytes"] <= budget)
        text = self.run_command("plan", "m.onnx", *LOSS, "--svg", "memory.svg").stdout
        self.assertIn("tensors alive then", text)
        self.assertIn("</svg>", read(self.path("memory.svg")))
        self.run_command("plan", "m.onnx", "--loss", "none")
        self.run_command("plan", "m.onnx", *LOSS, "--save_graph", "graphs")
        self.assertEqual(sorted(os.listdir(self.path("graphs"))), ["micro.onnx", "update.onnx"])

    def test_check(self):
        self.assertIn("weight", self.run_command("check", "m.onnx").stdout)
        for data in ([], DATA):
            j = json.loads(self.run_command("check", "m.onnx", *LOSS, *data, "--gradients", "--json").stdout)
            self.assertIs(j["trains"], True)
            self.assertEqual({g["name"] for g in j["gradients"]}, {"weight", "bias"})
            self.assertTrue(all(g["passed"] for g in j["gradients"]))
        j = json.loads(self.run_command("check", "m.onnx", "--freeze", "bias", "--json").stdout)
        self.assertEqual({p["name"]: p["trained"] for p in j["parameters"]}, {"weight": True, "bias": False})
        self.run_command("check", "m.onnx", "--freeze", "nothing*", status=2)

    def test_export(self):
        self.run_command("export", "m.onnx")
        self.run_command("predict", "m.onnx", "--data", "x.npy", "-o", "a.npy")
        self.run_command("predict", "exported.onnx", "--data", "x.npy", "-o", "b.npy")
        self.assertEqual(read_npy(self.path("a.npy")), read_npy(self.path("b.npy")))

    def test_devices(self):
        self.assertIn("cpu", self.run_command("devices").stdout)
        cpu = json.loads(self.run_command("devices", "--json").stdout)["devices"][0]
        self.assertEqual(cpu["device"], "cpu")
        self.assertGreater(cpu["total_bytes"], cpu["available_bytes"])
        self.assertIn(cpu["half"], (None, "bfloat16"))
        self.train("--device", "cpu", "--steps", "1")
        r = self.train("--device", "vulkan:0", status=2)
        self.assertIn("vulkan:0; there is: cpu", r.stderr)
        r = self.train("--device", "cuda:99", status=2)
        self.assertIn("device cuda:99: no CUDA device", r.stderr)

    def test_full_disk(self):
        if os.path.exists("/dev/full"):
            with open("/dev/full", "w") as full:
                r = subprocess.run([ONGRAD, "inspect", "m.onnx"], cwd=self.folder, stdout=full, stderr=subprocess.PIPE,
                                   text=True, timeout=60)
            self.assertEqual(r.returncode, 1)
            self.assertIn("cannot write to stdout", r.stderr)


if __name__ == "__main__":
    unittest.main()
