"""The official ONNX node tests: outputs, and gradients against finite differences.

    ONGRAD=build/release/ongrad python3 -m pytest tests/conformance
    ONGRAD=build/release/ongrad python3 tests/conformance/test_node.py [--only GLOB] [--verbose] [--update]

Needs onnx, which carries the tests, and the programs run_node and run_gradients, which are built beside the C tests.
They run once more on the simulated card, by run_node_sim and run_gradients_sim.
The lists beside this file say what passes: a listed test that does not pass fails the run, and so does any wrong result.
differs.txt names the few whose expected values we do not match, each with the reason. Tests that pass and are not listed
are printed, and --update adds them. What the library does not support is counted by op."""
import argparse
import os
import pathlib
import sys

import pytest
from node_cases import HERE, read_list, report, run, write_cases

OUTPUTS = ["folded", "planned"]  # modes of run_node


def program(name):
    path = pathlib.Path(os.environ.get("ONGRAD", "")).resolve().parent / "tests" / name
    if not os.environ.get("ONGRAD") or not os.access(path, os.X_OK):
        pytest.skip("set ONGRAD to the command of a build with tests")
    return str(path)


def suites(ops):
    """title, command, names, list"""
    for mode in OUTPUTS:
        yield mode, [program("run_node"), mode], set(ops), HERE / f"{mode}.txt"
    single = {name for name, op in ops.items() if op != "several nodes"}
    yield "gradients", [program("run_gradients")], single, HERE / "gradients.txt"
    yield "planned, card", [program("run_node_sim"), "--cuda", "planned"], set(ops), HERE / "planned.txt"
    yield "gradients, card", [program("run_gradients_sim"), "--cuda"], single, HERE / "gradients.txt"


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    pytest.importorskip("onnx")
    root = tmp_path_factory.mktemp("node")
    return root, write_cases(root)[0]


@pytest.mark.parametrize("suite", [*OUTPUTS, "gradients", "planned, card", "gradients, card"])
def test_node(cases, suite):
    root, ops = cases
    for title, command, names, path in suites(ops):
        if title == suite:
            listed = read_list(path)
            assert listed, f"{path.name} is missing or empty: nothing would be checked"
            assert not listed - set(ops), f"{path.name} names no test of this onnx: {sorted(listed - set(ops))}"
            results = run(command, root, names)
            lost, _ = report(title, results, ops, listed)
            bad = sorted({*lost, *(name for name, (word, _) in results.items() if word in ("fail", "crash"))})
            assert not bad, "\n".join(f"{name}: {' '.join(results[name])}" for name in bad)


def main():
    import tempfile
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="*", metavar="GLOB", help="tests of these names")
    parser.add_argument("--verbose", action="store_true", help="say why tests are unsupported")
    parser.add_argument("--update", action="store_true", help="add tests that pass to the lists")
    args = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        ops, count = write_cases(root, args.only)
        print(f"{count} node tests, {count - len(ops)} of them with sequences, optionals or strings")
        for title, command, names, path in suites(ops):
            results = run(command, root, names)
            lost, new = report(title, results, ops, read_list(path), args.only, args.verbose)
            failed |= bool(lost) or any(word in ("fail", "crash") for word, _ in results.values())
            if args.update and new:
                path.write_text("".join(f"{name}\n" for name in sorted(read_list(path) | set(new))))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
