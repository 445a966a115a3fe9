"""What `ongrad train` shows while it runs: on terminals of several widths, and without one.

    ONGRAD=build/release/ongrad python3 -m pytest tests/tools/test_progress.py
"""
import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import unicodedata

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "train"))
from commands import ONGRAD, Folder  # noqa: E402

ARGUMENTS = ["train", "m.onnx", "--data", "x.npy", "--target", "t.npy", "--loss", "cross_entropy", "--batch_size", "4", "--lr",
             "0.01", "-o", "out.onnx", "--log", "run.jsonl"]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def on_terminal(folder, columns, *more, lang="C.UTF-8"):
    """What it writes to a terminal of so many columns."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LC_") and k not in ("LANG", "NO_COLOR")}
    process = subprocess.Popen([ONGRAD, *ARGUMENTS, *more], cwd=folder.path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=theirs, env={**environment, "LANG": lang, "TERM": "xterm"})
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            part = b""
        if not part:
            break
        text += part
    os.close(ours)
    assert process.wait() == 0, text.decode()
    return text.decode()


def redrawn(text):
    """The lines that replaced each other, without escape sequences."""
    return [re.sub(r"\x1b\[[\d;]*[mK]", "", line).split("\n")[0] for line in text.split("\r") if "step " in line]


def width(line):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


@pytest.mark.parametrize("columns", [20, 40, 80, 120, 200])
def test_the_line_fits_the_terminal(folder, columns):
    """It stays below the last column, where some terminals wrap; a field is whole or not there."""
    lines = redrawn(on_terminal(folder, columns, "--epochs", "200"))
    assert lines and max(map(width, lines)) < columns
    last = lines[-1]
    assert "step 600/600" in last
    fields = [r"loss \d\.\d{4}", r"left \d:\d\d", r"[\d.]+ samples/s", r"lr 0\.01", r"[\d.]+ [kM]B", "epoch 200/200",
              r"grad_norm [\d.e-]+"]
    shown = {20: 0, 40: 2, 80: 4, 120: 6, 200: 7}[columns]
    for field in fields[:shown]:
        assert re.search(field + r"(  |$)", last), (field, last)
    assert re.fullmatch(r"([█░]+ )?step \d+/\d+(  (" + "|".join(fields) + "))*", last), last
    assert ("█" in last) == (columns >= 80)
    assert "░" not in last  # it is done


def test_without_utf8_all_is_ascii(folder):
    text = on_terminal(folder, 100, "--epochs", "50", lang="C")
    assert redrawn(text)[-1].startswith("################ step")
    for line in text.splitlines():
        if "step " in line or " |" in line or line.startswith("  loss"):
            assert line.isascii(), line


def test_the_curve_and_what_comes_next(folder):
    text = on_terminal(folder, 80, "--epochs", "200")
    tail = text[text.rindex("Trained 600 steps"):].splitlines()
    chart = tail[1:6]
    assert chart[0].startswith("  loss ") and all("│" in line for line in chart)
    assert len(chart[0]) < len(chart[-1]) == len("  loss ") + 10 + 60  # it falls
    high, low = (float(line.split("│")[0].split()[-1]) for line in (chart[0], chart[-1]))
    assert low < high
    assert [line.split()[1] for line in tail if line.startswith("  ongrad")] == ["eval", "predict", "export", "report"]
    assert "│" not in on_terminal(folder, 80, "--steps", "2")  # no curve of two steps
    assert on_terminal(folder, 80, "--epochs", "9", "-q") == ""


def test_plain_lines_without_a_terminal(folder):
    done = folder.run(*ARGUMENTS, "--epochs", "200", env={**os.environ, "LANG": "C.UTF-8", "LC_ALL": ""})
    assert done.returncode == 0 and "\r" not in done.stderr and "\x1b" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("step ")]
    assert 10 <= len(lines) <= 13
    assert re.fullmatch(r"step 600/600  loss [\d.]+  [\d.]+ samples/s  lr 0\.01  memory [\d.]+ [kM]B  epoch 200/200  "
                        r"grad_norm [\d.e-]+", lines[-1]), lines[-1]
    assert "  loss " in done.stderr and "█" in done.stderr


def test_a_long_run_is_told_what_would_be_faster(folder):
    """Ten seconds are long; a batch of 4 has room to be one of 8, which is predicted to be faster a sample."""
    process = subprocess.Popen([ONGRAD, *ARGUMENTS, "--steps", "1000000000", "--threads", "1"], cwd=folder.path,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        process.wait(timeout=10.5)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
    said = process.stderr.read()
    assert process.wait() == 75, said
    advice = said[said.index("To train faster, in this order:"):]
    assert re.search(r"\n  --batch_size 8 +predicted 0\.\d\d x the time of a sample, peak [\d.]+ kB\n", advice), said
    assert "num_workers" not in advice and "tf32" not in advice


def test_warm_up_is_in_the_report(folder):
    for options, text in [(["--use_scheduler"], "schedule cosine after a warm-up of 5 % of the steps"),
                          (["--scheduler", "linear", "--warmup_steps", "2"], "schedule linear after 2 steps of warm-up"),
                          (["--scheduler", "linear", "--warmup_ratio", "0.1"], "linear after a warm-up of 10 % of the steps"),
                          (["--use_scheduler", "--warmup_steps", "0"], "schedule cosine, gradients")]:
        done = folder.run(*ARGUMENTS, "--steps", "9", *options)
        assert done.returncode == 0 and text in done.stderr, done.stderr
