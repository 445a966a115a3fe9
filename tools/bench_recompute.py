"""tools/bench --recompute: a deep transformer trained in a third of the memory that it takes when everything is kept.

The model has 12 layers and no BatchNormalization; its batch is the smallest whose peak with --recompute off is ten times
what parameters, gradients and moments take. Two runs alternate: with everything kept, and with a third of that peak as
--memory_budget. Wanted are the same losses, the predicted peak as the memory that the run took, and at most 1.4 times the
time. Needs numpy and onnx, which make the model.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LAYERS, TIMES_STATES, SHARE, MOST_TIME = 12, 10, 3, 1.4
MOST_BATCH = 4096
WARMUP = 1


class Failed(Exception):
    """Why it cannot be done."""


def maker():
    sys.path.insert(0, os.path.join(ROOT, "tests", "train"))
    try:
        import large_models
        import pathlib
        return lambda folder, **size: large_models.transformer(pathlib.Path(folder), **size)
    except ImportError as why:
        raise Failed(f"{sys.executable} lacks {why.name}: {sys.executable} -m pip install numpy onnx") from None


def run(options, folder, *arguments):
    try:
        done = subprocess.run([options.ongrad, *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=options.limit, env={**os.environ, "OMP_NUM_THREADS": str(options.threads)})
    except subprocess.TimeoutExpired:
        raise Failed(f"ongrad {arguments[0]} took more than {options.limit:.0f} s") from None
    except OSError as why:
        raise Failed(f"{options.ongrad}: {why.strerror}") from None
    if done.returncode:
        raise Failed(done.stderr.strip().splitlines()[0] if done.stderr.strip() else f"ongrad {arguments[0]} failed")
    return done.stdout


def plan(options, folder, batch, *more):
    return json.loads(run(options, folder, "plan", "m.onnx", "--loss", "mse", "--batch_size", str(batch), "--json", *more))


def states_of(p):
    return p["peak_bytes"] - p["bytes"]["activations"]


def find_batch(options, folder):
    """The smallest batch whose peak is large enough, and its plan. Activations grow with the batch, states do not."""
    fails, batch = 0, 1
    while batch <= MOST_BATCH:
        p = plan(options, folder, batch, "--recompute", "off")
        missing = TIMES_STATES * states_of(p) - p["peak_bytes"]
        if missing <= 0 and batch == fails + 1:
            return batch, p
        if missing <= 0:
            batch = fails + 1
            continue
        fails = batch
        batch += max(1, int(missing / (p["bytes"]["activations"] / batch)) - 1)
    raise Failed("no batch makes activations large enough")


def train(options, folder, batch, *more):
    """The log's last line, losses, and times in ms without the first."""
    log = os.path.join(folder, "log.jsonl")
    run(options, folder, "train", "m.onnx", "--data", "x.npy", "--target", "t.npy", "--loss", "mse", "--batch_size", str(batch),
        "--steps", str(options.steps), "--no_shuffle", "--threads", str(options.threads), "--num_workers", "0", "--quiet",
        "--log", log, "-o", "trained.onnx", *more)
    with open(log, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    end = lines.pop()
    taken = end["anonymous_bytes"] - end["program_bytes"] - end["data_bytes"]
    return {"predicted": end["predicted_peak_bytes"], "taken": taken, "losses": [line["loss"] for line in lines],
            "times": [line["step_ms"] for line in lines[WARMUP:]]}


def measure(options, folder):
    size = {"layers": LAYERS, "width": options.width, "heads": 4, "tokens": 128}
    make = maker()
    make(folder, batch=1, **size)
    batch, kept = find_batch(options, folder)
    make(folder, batch=batch, **size)
    budget = kept["peak_bytes"] // SHARE
    ways = {"all kept": ["--recompute", "off"], "a third": ["--memory_budget", str(budget)]}
    runs = {name: [] for name in ways}
    for n in range(options.rounds):
        for name, arguments in ways.items():
            print(f"round {n + 1} of {options.rounds}, {name}", file=sys.stderr, flush=True)
            begin = time.monotonic()
            runs[name].append(train(options, folder, batch, *arguments))
            runs[name][-1]["seconds"] = time.monotonic() - begin
    return batch, kept, budget, runs


def report(batch, kept, budget, runs, options):
    states = states_of(kept)
    print(f"{LAYERS} layers of width {options.width}, batch {batch} x 128 tokens: peak {kept['peak_bytes'] / 1e6:.1f} MB, "
          f"{kept['peak_bytes'] / states:.1f} times the {states / 1e6:.1f} MB of parameters and states; "
          f"a third is {budget / 1e6:.1f} MB")
    print(f"{'':10}{'predicted MB':>14}{'taken MB':>10}{'fastest step ms':>17}{'median':>9}{'last loss':>12}")
    fastest = {}
    for name, all_of in runs.items():
        times = sorted(t for r in all_of for t in r["times"])
        fastest[name] = times[0]
        taken = max(r["taken"] for r in all_of)
        print(f"{name:10}{all_of[0]['predicted'] / 1e6:14.1f}{taken / 1e6:10.1f}{times[0]:17.1f}{times[len(times) // 2]:9.1f}"
              f"{all_of[0]['losses'][-1]:12.6f}")
    less, more = runs["a third"], runs["all kept"]
    ratio = fastest["a third"] / fastest["all kept"]
    same = all(abs(a - b) <= 1e-5 * abs(b) for r in less for a, b in zip(r["losses"], more[0]["losses"]))
    held = all(r["predicted"] <= budget and abs(r["taken"] - r["predicted"]) <= max(.05 * r["predicted"], 8 << 20) for r in less)
    print(f"{ratio:.2f} times the time; losses {'agree' if same else 'DIFFER'}; "
          f"memory {'as predicted' if held else 'NOT AS PREDICTED'}")
    return 0 if same and held and ratio <= MOST_TIME else 1


def main(arguments):
    parser = argparse.ArgumentParser(prog="tools/bench --recompute", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="Exit status: 0 as wanted; 1 not so; 2 wrong usage.")
    parser.add_argument("--ongrad", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--limit", type=float, default=900)
    options = parser.parse_args(arguments)
    options.steps = max(options.steps, WARMUP + 1)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return report(*measure(options, folder), options)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as why:
        sys.exit(f"tools/bench --recompute: {why}")
    except KeyboardInterrupt:
        sys.exit(130)
