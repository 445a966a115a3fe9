"""Counts tests in JUnit files as ctest and pytest write them; plain Python, no packages.

    python3 tests/count.py FILE.xml        prints  PASSED FAILED SKIPPED, and names failures on stderr

A C test program counts with the tests it ran, which it says in its last line (tests/test.h); if it dies, or the
sanitizers complain at its end, that is one failure more. Any other test counts as one.
"""
import re
import sys
import xml.etree.ElementTree

CLOSING = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped\s*$", re.MULTILINE)


def count(case):
    """(passed, failed, skipped, what went wrong or None) of one <testcase>."""
    skipped = case.find("skipped")
    wrong = case.find("failure")
    if wrong is None:
        wrong = case.find("error")
    if skipped is not None and case.get("status") == "notrun" and not re.match("SKIP|Disabled", skipped.get("message", "")):
        return 0, 1, 0, skipped.get("message")  # ctest did not find the program
    closing = CLOSING.findall(case.findtext("system-out") or "")
    message = (wrong.get("message") or "failed").splitlines()[0] if wrong is not None else None
    if closing:
        n_passed, n_failed, n_skipped = (int(n) for n in closing[-1])
        return n_passed, max(n_failed, wrong is not None), n_skipped, message
    if wrong is not None:
        return 0, 1, 0, message
    return (0, 0, 1, None) if skipped is not None else (1, 0, 0, None)


def main(path):
    totals = [0, 0, 0]
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        *numbers, message = count(case)
        totals = [a + b for a, b in zip(totals, numbers)]
        if message:
            name = case.get("name")
            print(f"failed: {case.get('classname')}: {name}: {message}" if case.get("classname") != name
                  else f"failed: {name}: {message}", file=sys.stderr)
    print(*totals)


if __name__ == "__main__":
    main(sys.argv[1])
