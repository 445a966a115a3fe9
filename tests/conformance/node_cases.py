"""The official ONNX node tests as files, and what the programs run_node and run_gradients say of them.

    node_cases.py FOLDER      writes them there, and prints the op of each as JSON

Writing them needs onnx, which carries them; running them needs no package.
"""
import collections
import fnmatch
import json
import math
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading
import warnings

HERE = pathlib.Path(__file__).resolve().parent
AGAIN = 9  # exit status of a program whose device failed: what is left needs another process


def tensors(arrays, letter):
    """TensorProtos, or None where one is no tensor of numbers."""
    import numpy
    from onnx import TensorProto, numpy_helper
    protos = []
    for i, array in enumerate(arrays):
        if isinstance(array, (numpy.ndarray, numpy.generic)) and array.dtype.kind not in "OUS":
            proto = numpy_helper.from_array(numpy.asarray(array))
        elif isinstance(array, TensorProto) and array.data_type != TensorProto.STRING:
            proto = TensorProto.FromString(array.SerializeToString())
        else:
            return None
        proto.name = f"{letter}{i}"
        protos.append(proto)
    return protos


def write_case(case, folder):
    """model.onnx and data.onnx, as node_case.h describes them; False for sequences, optionals and strings."""
    import onnx
    from onnx import helper
    inputs, outputs = case.data_sets[0]
    inputs, outputs = tensors(inputs, "i"), tensors(outputs, "o")
    if inputs is None or outputs is None:
        return False
    every = inputs + outputs
    values = [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in every]
    data = helper.make_model(helper.make_graph([], "data", [], values, every))
    helper.set_model_props(data, {"rtol": str(case.rtol), "atol": str(case.atol)})
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(case.model, folder / "model.onnx")
    onnx.save(data, folder / "data.onnx")
    return True


def write_cases(root, only="*"):
    """NAME → op of the cases written to `root`, and how many there are in all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases
        cases = [c for c in collect_testcases(None) if fnmatch.fnmatch(c.name, only)]
        ops = {}
        for case in cases:
            nodes = case.model.graph.node
            if write_case(case, root / case.name):
                ops[case.name] = nodes[0].op_type if len(nodes) == 1 else "several nodes"
    return ops, len(cases)


class Whole:
    """How `run` starts a program and ends what is left of it, where nobody gives it another way."""

    @staticmethod
    def start(command, **more):
        return subprocess.Popen(command, **more)

    @staticmethod
    def end(process):
        process.kill()
        process.wait()


def follow(process, patience, left, take):
    """Gives `take` each line that it prints. How that came to an end: "ended", "hangs" (nothing in `patience` seconds) or "late"
    (left() is 0)."""
    lines = queue.Queue()

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        seconds = max(0, min(patience, left()))
        seconds = None if seconds == math.inf else seconds
        try:
            line = lines.get(timeout=seconds)
            if line is None:
                process.wait(seconds)
                return "ended"
            take(line)
        except (queue.Empty, subprocess.TimeoutExpired):
            return "late" if left() <= 0 else "hangs"


def run(command, root, names, patience=math.inf, left=lambda: math.inf, processes=Whole):
    """NAME → (verdict, text). A test that brings the program down is a "crash", one that takes more than `patience` seconds
    "hangs"; the rest goes on after it. Tests that are not reached while left() is above 0 have no verdict."""
    results, differs = {}, read_list(HERE / "differs.txt")

    def take(line):
        name, word, text = line.rstrip("\n").split("\t", 2)
        results[name] = ("differs", text) if word == "fail" and name in differs else (word, text)

    names = sorted(names)
    while names and left() > 0:
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            process = processes.start([*command, str(root), *names], stdout=subprocess.PIPE, stderr=said, text=True)
            how = follow(process, patience, left, take)
            processes.end(process)
            said.seek(0)
            why = " ".join(said.read(1000).split())
        rest = [name for name in names if name not in results]
        if how == "late":
            break
        if rest and how == "hangs":
            results[rest.pop(0)] = ("hangs", f"nothing within {patience:.0f} s {why}".strip())
        elif rest and (process.returncode != AGAIN or len(rest) == len(names)):
            results[rest.pop(0)] = ("crash", f"exit status {process.returncode} {why}".strip())
        names = rest
    return results


def read_list(path):
    """Names, one a line; the rest of a line after # is a comment."""
    if not path.exists():
        return set()
    return {line.split("#")[0].strip() for line in path.read_text().splitlines()} - {""}


def report(title, results, ops, listed, only="*", verbose=False):
    """Prints what came out. The listed tests that were run and did not pass, and the tests that pass and are not
    listed."""
    passed = {name for name, (word, _) in results.items() if word == "pass"}
    words = collections.Counter(word for word, _ in results.values())
    print(f"{title}: " + ", ".join(f"{n} {word}" for word, n in sorted(words.items())))
    for word in sorted(set(words) - {"pass"}):
        by_op = collections.Counter(ops[name] for name, r in results.items() if r[0] == word)
        print(f"  {word} by op: " + ", ".join(f"{op} {n}" for op, n in sorted(by_op.items())))
    for name, (word, text) in sorted(results.items()):
        if word in ("fail", "crash") or (verbose and word != "pass"):
            print(f"  {word} {name}: {text}")
    lost = sorted(name for name in listed - passed if fnmatch.fnmatch(name, only) and name in results)
    new = sorted(passed - listed)
    if lost:
        print(f"  listed, and no longer passing: {' '.join(lost)}")
    if new:
        print(f"  {len(new)} pass and are not listed (--update): {' '.join(new)}")
    return lost, new


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        print(json.dumps(write_cases(pathlib.Path(sys.argv[1]))[0]))
    except ImportError as missing:
        sys.exit(f"the node tests need the Python package onnx, or a folder that tools/gpu_check --pack made: {missing}")
