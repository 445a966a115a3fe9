#!/usr/bin/env python3
"""Every architecture × every exporter: does the file load, train, and follow PyTorch's own curve?

    ONGRAD=build/release/ongrad python3 tests/architectures/table.py [--only GLOB…] [--exporter NAME…] [--jobs N]

needs torch, torchvision, transformers, onnx, onnxscript and numpy. A row *loads* if `ongrad inspect` and `ongrad check`
succeed, *trains* if 10 steps of `ongrad train` stay finite, and *matches* if each step's loss is within 1 % of PyTorch's in
float32, or within three times the distance between PyTorch's own float32 and float64 curves where that is larger.

Exports and PyTorch's curves are kept in the work folder and used again; --fresh makes them anew. --write puts the table
into README.md and results.json beside this file. The exit status is 1 if a file that was exported does not match.
"""
import argparse
import concurrent.futures
import datetime
import fnmatch
import json
import math
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata

HERE = os.path.dirname(os.path.abspath(__file__))
ONGRAD = os.environ.get("ONGRAD", os.path.join(HERE, "..", "..", "build", "release", "ongrad"))
EXPORTERS = ["torchscript", "dynamo", "dynamo_optimized"]
STEPS, NEAR, SPREAD = 10, 0.01, 3
FLOOR = 1e-4  # of the first loss: where less is left of it, differences are measured against this
PACKAGES = ["torch", "torchvision", "transformers", "onnx", "onnxscript"]
MARK = "<!-- table -->"


def names():
    """The architectures' names, without importing torch here."""
    code = "import architectures as a; print('\\n'.join(a.ARCHITECTURES))"
    return subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True,
                          check=True).stdout.split("\n")[:-1]


def tidy(text, folder, length=160):
    """The first line that says something, without terminal colours and the work folder's path."""
    text = re.sub(r"\x1b?\[\d*m", "", text)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    line = (lines[0] if lines else "no message").replace(folder + os.sep, "")
    return line if len(line) <= length else line[:length - 1] + "…"


def command(*arguments):
    done = subprocess.run([ONGRAD, *arguments], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").split("\n")
        raise RuntimeError(lines[-1] if done.stdout.strip() else lines[0])
    return done.stdout


def compare(ours, expect):
    """The worst step's distance as a share of what is allowed, and relative to PyTorch's loss."""
    share = distance = 0
    floor = FLOOR * abs(expect["losses"][0])
    for a, b, c in zip(ours, expect["losses"], expect["losses_fp64"]):
        size = max(abs(b), floor)
        share = max(share, abs(a - b) / max(NEAR * size, SPREAD * abs(b - c)))
        distance = max(distance, abs(a - b) / size)
    return share, distance


def measure(folder, exporter):
    """One row: {loads, trains, matches, distance, elements, note}."""
    row = {"exporter": exporter, "exports": True, "loads": False, "trains": False, "matches": False, "note": ""}
    out = os.path.join(folder, exporter)
    if os.path.exists(os.path.join(out, "error.txt")):
        return row | {"exports": False, "note": tidy(open(os.path.join(out, "error.txt")).read(), out)}
    curves = [os.path.join(folder, exporter, "curve.json"), os.path.join(folder, "curve.json")]
    expect = json.load(open(next(filter(os.path.exists, curves))))
    model, log = os.path.join(out, "model.onnx"), os.path.join(out, "log.jsonl")
    try:
        command("inspect", model, "--batch_size", str(expect["batch"]), "--json")
        report = json.loads(command("check", model, "--batch_size", str(expect["batch"]), "--loss", expect["loss"],
                                    "--json"))
        row["loads"] = True
        row["elements"] = sum(math.prod(p["shape"]) for p in report["parameters"] if p["trained"])
        data = [part for name in expect["inputs"] for part in ("--data", f"{name}={folder}/{name}.npy")]
        command("train", model, *data, "--target", f"{folder}/target.npy", "--loss", expect["loss"], "--optimizer", "adamw",
                "--lr", str(expect["lr"]), "--weight_decay", "0.01", "--max_norm", "1.0", "--batch_size",
                str(expect["batch"]), "--steps", str(STEPS), "--no_shuffle", "--amp", "off", "--threads", "1", "--log", log,
                "-o", os.path.join(out, "trained.onnx"))
        losses = [entry["loss"] for entry in map(json.loads, open(log)) if "step" in entry]
        row["losses"] = losses
        row["trains"] = len(losses) == STEPS and all(math.isfinite(x) for x in losses)
        if not expect["compare"]:
            row["matches"] = row["trains"] and losses[-1] < losses[0]
            row["note"] = "random in training: the loss falls"
        elif row["trains"]:
            share, row["distance"] = compare(losses, expect)
            row["matches"] = share <= 1
        notes = []
        if expect["folded"]:
            notes.append(f"the exporter folds {' and '.join(expect['folded'])}; PyTorch's curve is the folded model's")
        if row["elements"] != expect["elements"]:
            notes.append(f"{row['elements']} elements are trained, PyTorch trains {expect['elements']}")
        row["note"] = "; ".join([row["note"]] * bool(row["note"]) + notes)
    except (RuntimeError, subprocess.TimeoutExpired, ValueError) as error:
        row["note"] = tidy(str(error), out)
    return row


def rows_of(name, arguments):
    folder = os.path.join(arguments.work, re.sub(r"\W+", "_", name).lower())
    if arguments.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    wanted = [e for e in arguments.exporter if not os.path.exists(os.path.join(folder, e))]
    try:
        if wanted or not os.path.exists(os.path.join(folder, "curve.json")):
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, "export.log"), "w") as log:
                subprocess.run([sys.executable, os.path.join(HERE, "export.py"), name, folder, *wanted], stdout=log,
                               stderr=subprocess.STDOUT, timeout=900, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        failed = {"exports": False, "loads": False, "trains": False, "matches": False}
        text = "takes too long" if isinstance(error, subprocess.TimeoutExpired) else "see export.log in the work folder"
        return [failed | {"name": name, "exporter": e, "note": f"export.py: {text}", "broken": True}
                for e in arguments.exporter]
    rows = [{"name": name} | measure(folder, exporter) for exporter in arguments.exporter]
    for row in rows:
        print(" | ".join(cells(row)), flush=True)
    return rows


def cells(row):
    def yes(key):
        return "yes" if row[key] else "**no**"
    if not row["exports"]:
        return [row["name"], row["exporter"], "", "", "", "", "exporter fails: " + row["note"].replace("|", "\\|")]
    distance = f"{100 * row['distance']:.2g} %" if "distance" in row else ""
    return [row["name"], row["exporter"], yes("loads"), yes("trains"), yes("matches"), distance,
            row["note"].replace("|", "\\|")]


def good(row):
    return not row["exports"] and not row.get("broken") or row["matches"]


def markdown(rows, versions):
    matching = sum(row["matches"] for row in rows)
    exported = sum(row["exports"] for row in rows)
    lines = [f"Made {datetime.date.today()} with " + ", ".join(f"{k} {v}" for k, v in versions.items()) + ": "
             f"{len({row['name'] for row in rows})} architectures, {exported} of {len(rows)} exports succeed, "
             f"{matching} of {exported} match.", "",
             "| architecture | exporter | loads | trains | matches | largest difference | |", "|---|---|---|---|---|---|---|"]
    return "\n".join(lines + ["| " + " | ".join(cells(row)) + " |" for row in rows]) + "\n"


def json_text(result):
    """One row a line; losses stay in the work folder."""
    rows = [json.dumps({k: v for k, v in row.items() if k != "losses"}) for row in result["rows"]]
    head = {k: v for k, v in result.items() if k != "rows"}
    return json.dumps(head)[:-1] + ', "rows": [\n' + ",\n".join(rows) + "\n]}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="GLOB", help="architectures of these names")
    parser.add_argument("--exporter", nargs="+", default=EXPORTERS, choices=EXPORTERS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--work", default=os.path.join(HERE, "..", "..", "build", "architectures"), metavar="DIR")
    parser.add_argument("--fresh", action="store_true", help="export again")
    parser.add_argument("--write", action="store_true", help="update README.md and results.json")
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    arguments = parser.parse_args()
    chosen = [n for n in names() if any(fnmatch.fnmatch(n.lower(), g.lower()) for g in arguments.only)]
    if not chosen:
        parser.error("no architecture of that name; there are " + ", ".join(names()))
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        rows = [row for part in pool.map(lambda n: rows_of(n, arguments), chosen) for row in part]
    versions = {p: metadata.version(p) for p in PACKAGES}
    result = {"date": str(datetime.date.today()), "versions": versions, "rows": rows}
    files = [arguments.json] if arguments.json else []
    print("\n" + markdown(rows, versions))
    if arguments.write:
        files.append(os.path.join(HERE, "results.json"))
        path = os.path.join(HERE, "README.md")
        text = open(path).read().split(MARK)[0] + MARK + "\n\n" + markdown(rows, versions)
        open(path, "w").write(text)
    for path in files:
        with open(path, "w") as f:
            f.write(json_text(result))
    sys.exit(0 if all(good(row) for row in rows) else 1)


if __name__ == "__main__":
    main()
