"""`ongrad report`: the page of a run, from the log that `ongrad train --log` wrote.

    ONGRAD=build/release/ongrad python3 -m pytest tests/tools/test_report.py
"""
import html.parser
import json
import os
import re
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from onnx import helper

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "train"))
from commands import Folder, floats, model, tensor, value  # noqa: E402



class Page(html.parser.HTMLParser):
    """Tags must close in order; what the page shows, and what it would load."""

    def __init__(self, text):
        super().__init__()
        self.text, self.open, self.shown, self.scripts, self.tags = text, [], [], [], []
        self.feed(text)
        assert not self.open, self.open
        self.shown = " ".join(" ".join(self.shown).split())

    def handle_starttag(self, tag, attributes):
        for name, _ in attributes:
            assert not name.startswith("on") and name not in ("src", "srcset"), (tag, attributes)
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.open[-3:])

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.shown.append(data)

    def charts(self):
        """By title: the SVG element of a chart, which must be well-formed XML."""
        drawings = [ET.fromstring(s) for s in re.findall(r"<svg.*?</svg>", self.text, flags=re.DOTALL)]
        return {d.get("aria-label"): d for d in drawings}


def lines_of(chart):
    """By name: the points of each curve."""
    return {p.get("data-n"): re.findall(r"[\d.]+ [\d.]+", p.get("d")) for p in chart if "line" in p.get("class", "")}


def report(folder, log="run.jsonl", *more, status=0):
    done = folder.run("report", log, "-o", "page.html", *more)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    if status:
        assert not os.path.exists(folder / "page.html")
        return done.stderr
    page = Page(folder.read("page.html").decode())
    assert "http:" not in page.text and "https:" not in page.text and "url(" not in page.text
    assert len(page.scripts) == 1
    page.stderr = done.stderr
    return page


def step(i, **more):
    return json.dumps({"step": i, "epoch": 0, "loss": 1 / i, "lr": 1e-3, **more}, separators=(",", ":"))


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_the_page_of_a_run(folder):
    folder.trains("--epochs", "20", "--batch_size", "4", "--lr", "0.01", "--val_data", "x.npy", "--val_target", "t.npy", "--metric",
                  "f1", "--metric", "confusion_matrix", "--profile", "--log", "run.jsonl")
    page = report(folder)
    charts = page.charts()
    assert {"Loss", "Validation metrics", "Learning rate", "Gradient norm", "Memory in use", "Plan of one step",
            "the graph"} <= set(charts)
    assert {name: len(points) for name, points in lines_of(charts["Loss"]).items()} == {"training": 60, "validation": 20}
    assert set(lines_of(charts["Validation metrics"])) == {"accuracy", "f1"}
    log = [json.loads(line) for line in folder.read("run.jsonl").splitlines()]
    run = log[0]["run"]
    assert all("run" not in line for line in log[1:]) and log[-1]["final"]
    for text in ["done", "Confusion matrix", "Gemm", "lr", "0.01", "--lr 0.01", run["environment"]["cpu"], "m.onnx",
                 "A training step by op", f"{log[-1]['profile']['rows'][0]['op']}", "predicted peak",
                 "batch_size=4, accumulation=1, effective batch=4"]:
        assert text in page.shown, text
    assert run["settings"]["lr"] == "0.01" and run["defaults"]["optimizer"] == "adamw"
    assert run["graph"]["list"][0]["from"] == [-1] and run["graph"]["outputs"][0]["from"] == 0
    assert "wrote page.html" in page.stderr


def test_the_run_can_be_repeated_by_its_command(folder):
    folder.trains("--steps", "3", "--no_shuffle", "--use_scheduler", "--log", "run.jsonl")
    words = json.loads(folder.read("run.jsonl").splitlines()[0])["run"]["command"].split()
    first = folder.read("out.onnx")
    assert words[0] == "ongrad" and folder.run(*words[1:]).returncode == 0
    assert folder.read("out.onnx") == first


def test_names_are_shown_and_never_run(folder):
    evil = "<script>alert('x')</script>\"&\x01\u2028\u0085"
    folder.write("<b>m.onnx", model([helper.make_node("Gemm", ["x", "w<i>", "bias"], ["y"], evil)],
                                    [value("x", ["batch", 4])], [value("y", ["batch", 3])],
                                    [tensor("w<i>", floats(4, 3)), tensor("bias", np.zeros(3, np.float32))]))
    folder.trains("--steps", "4", "--log", "run.jsonl", model="<b>m.onnx", target="y.npy", loss="mse,name=<u>\"'&")
    page = report(folder)
    assert "<script>alert" not in page.text and "<b>m" not in page.text and "<i>" not in page.text and "<u>" not in page.text
    assert "<script>alert('x')</script>\"&" in page.shown and "<b>m.onnx" in page.shown


def test_many_steps_are_thinned(folder):
    """A spike of one step in two hundred thousand is in the band, and in the tile of the most extreme."""
    n = 200_000
    folder.write("run.jsonl", "\n".join(step(i, loss=-5.25 if i == 77_777 else 1 + i % 2, memory_bytes=10**6)
                                        for i in range(1, n + 1)) + "\n")
    page = report(folder)
    assert len(page.text) < 100_000
    chart = page.charts()["Loss"]
    (points,) = lines_of(chart).values()
    assert 240 <= len(points) <= 480
    assert points[0].split()[0] < points[1].split()[0]
    assert "-5.25" in page.shown and "200,000" in page.shown
    band = [p for p in chart if "band" in p.get("class", "")]
    assert len(band) == 1
    assert "mean of 512 steps" in page.shown  # the least power of two of which 480 are enough


def test_losses_that_are_not_finite(folder):
    folder.write("run.jsonl", "".join(step(i, loss=None if i > 5 else 1.0) + "\n" for i in range(1, 9)))
    page = report(folder)
    assert "3 values are not finite" in page.shown
    folder.write("none.jsonl", step(1, loss=None, lr=None) + "\n")
    report(folder, "none.jsonl")


def test_large_graphs_stay_usable(folder):
    nodes, weights, x = [], [], "x"
    for b in range(800):
        weights.append(tensor(f"blocks.{b}.weight", np.eye(4, dtype=np.float32)))
        nodes.append(helper.make_node("MatMul", [x, f"blocks.{b}.weight"], [f"m{b}"], f"node_{b}"))
        nodes += [helper.make_node("Tanh", [f"m{b}"], [f"t{b}"], f"node_tanh_{b}"),
                  helper.make_node("Add", [f"t{b}", x], [f"a{b}"], f"node_add_{b}")]
        x = f"a{b}"
    nodes.append(helper.make_node("Gemm", [x, "weight", "bias"], ["y"], "head"))
    folder.write("large.onnx", model(nodes, [value("x", ["batch", 4])], [value("y", ["batch", 3])],
                                     weights + [tensor("weight", floats(4, 3)), tensor("bias", np.zeros(3, np.float32))]))
    folder.trains("--steps", "1", "--log", "run.jsonl", "--threads", "1", model="large.onnx")
    page = report(folder)
    assert "2,401 nodes" in page.shown and len(page.text) < 1_000_000
    assert "the graph" not in page.charts()  # a list, not a drawing
    details = [a for tag, a in page.tags if tag == "details"]
    assert len(details) > 800 and not any("open" in a for a in details)
    assert "1 to 50 of 801" in page.shown or "1 to 50 of 800" in page.shown
    assert "node_tanh_799" in page.shown


def test_a_resumed_run_says_so(folder):
    arguments = ["--batch_size", "4", "--checkpoint_every", "5", "--log", "run.jsonl"]
    folder.trains("--steps", "5", *arguments)
    done = folder.run("train", "--resume", "out.ckpt.onnx", "--steps", "9")
    assert done.returncode == 0, done.stderr
    page = report(folder)
    assert "resumed after step 5" in page.shown
    assert len(lines_of(page.charts()["Loss"])["training"]) == 9


def test_logs_that_are_cut_or_lack_parts(folder):
    folder.trains("--steps", "9", "--log", "run.jsonl")
    whole = folder.read("run.jsonl").decode()
    cut = whole[:whole.rindex('"final"') + 30]
    folder.write("run.jsonl", cut)
    page = report(folder)
    assert "the last line of the log is cut short" in page.shown and "its last line is cut short" in page.stderr
    assert "not ended" in page.shown and len(lines_of(page.charts()["Loss"])["training"]) == 9
    folder.write("run.jsonl", "".join(step(i) + "\n" for i in range(1, 4)))  # an older version's
    page = report(folder)
    assert "does not say how the run was made" in page.shown
    lines = [step(1), "what is this", "[" * 100_000, step(2), '{"step":-3,"loss":1}', '{"step":1e300,"loss":1}',
             '{"step":{"a":[1,{"loss":2}]},"loss":&a [*a]}', step(3)]
    folder.write("run.jsonl", "\n".join(lines) + "\n")
    page = report(folder)
    assert "5 lines are no step of a run, the first is line 2" in page.stderr, page.stderr
    assert len(lines_of(page.charts()["Loss"])["training"]) == 3


@pytest.mark.parametrize("data, text", [
    (None, "No such file"), (b"", "is empty"), (b"epoch,loss\n1,2\n", "no log of ongrad train"),
    (b'{"epoch":1,"loss":2}\n', "no log of ongrad train"), (b'{"step":1,"lo', "no whole line"),
    (bytes(range(256)) * 100, "no log of ongrad train"), (b"\0" * 1000, "no whole line")])
def test_what_is_no_log(folder, data, text):
    if data is not None:
        folder.write("run.jsonl", data)
    assert text in report(folder, status=1)


def test_wrong_usage(folder):
    folder.trains("--steps", "1", "--log", "run.jsonl")
    assert "m.onnx is a model" in report(folder, "m.onnx", status=1)
    assert "cannot read" in report(folder, folder.path, status=1)
    log = folder.read("run.jsonl")
    for arguments, text in [(["run.jsonl", "-o", "./run.jsonl"], "is the log that is read"), ([], "no log given"),
                            (["run.jsonl", "other.jsonl"], "the log is run.jsonl already"),
                            (["run.jsonl", "--lr", "1"], "--lr is an option of")]:
        done = folder.run("report", *arguments)
        assert done.returncode == 2 and text in done.stderr, done.stderr
    assert folder.read("run.jsonl") == log
    done = folder.run("report", "run.jsonl", "-o", "none/page.html")
    assert done.returncode == 1 and "cannot write none/page.html" in done.stderr
    assert folder.run("report", "run.jsonl").returncode == 0 and os.path.exists(folder / "report.html")
