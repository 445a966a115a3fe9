"""The tree's structure: who may include whom, what lies where, and what the library shows.

    python3 tests/structure/test_structure.py        plain Python 3, no packages; pytest runs it, too

The rules are those of the README files. ONGRAD names the built command (default build/release/ongrad); the library that
users link is beside it. What needs a built library or a compiler that is not there is skipped, and says so.
"""
import os
import re
import shutil
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ONGRAD = os.environ.get("ONGRAD", os.path.join(ROOT, "build/release/ongrad"))

# From the bottom up: a folder may include what stands before it.
LAYERS = ["runtime/base", "runtime/graph", "runtime/device", "ops", "runtime/passes", "runtime/plan", "kernels",
          "runtime/exec", "runtime/onnx", "runtime/train", "models"]
# Beside them: folders that see only these.
SEES_ONLY = {"runtime/data": {"runtime/base", "runtime/data"},
             "tools/ongrad": {"runtime/base", "runtime/data", "tools/ongrad"}}
PUBLIC_HEADER = "runtime/ongrad.h"
# Headers of other projects, and the only files that may include them.
FOREIGN = {r"protobuf-c/|.*\.pb-c\.h$": r"runtime/onnx/proto\.[ch]$",
           r"(oneapi/)?dnnl": r"kernels/cpu/\w*onednn\.[ch]$",
           r"cuda|cublas|cudnn|nvrtc|driver_types": r"kernels/cuda/",
           r"omp\.h$": r"kernels/",
           r"zlib\.h$": r"runtime/data/|tests/",
           r"libav|libsw|turbojpeg": r"runtime/data/",
           r"yaml\.h$": r"tools/ongrad/"}
TOP_LEVEL = {"CMakeLists.txt", "CMakePresets.json", "README.md", "LICENSE", "runtime", "ops", "kernels", "models",
             "tools", "tests"}
NOT_SOURCE = {".git", "build", "__pycache__", ".pytest_cache"}
MAX_LINES = 800


class Skip(unittest.SkipTest):
    """What a test needs is not there; pytest knows the base class."""


def walk():
    """(folder, names of its folders, names of its files), paths relative to the root."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if f not in NOT_SOURCE)
        relative = os.path.relpath(folder, ROOT)
        yield "" if relative == "." else relative, folders, sorted(files)


def files(*endings):
    for folder, _, names in walk():
        for name in names:
            if not endings or name.endswith(endings):
                yield os.path.join(folder, name)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def includes(path):
    """(line, name, is it quoted) for each #include."""
    for number, line in enumerate(read(path).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield number, match.group(2), match.group(1) == '"'


def layer_of(path):
    """The folder of the table that holds `path`; None where there is none."""
    for folder in LAYERS + list(SEES_ONLY) + ["tests"]:
        if path.startswith(folder + "/"):
            return folder
    return None


def none(problems):
    problems = list(problems)
    assert not problems, "\n    " + "\n    ".join(problems)


def public_functions():
    header = re.sub(r"/\*.*?\*/", "", read(PUBLIC_HEADER), flags=re.DOTALL)
    return set(re.findall(r"^OG_API\b[^;(]*?\b(\w+)\s*\(", header, flags=re.MULTILINE))


def compiler(*names):
    for name in names:
        if shutil.which(name):
            return name
    raise Skip(f"no {' or '.join(names)} here")


def test_includes_point_upwards():
    def wrong(path, name):
        own, other = layer_of(path), layer_of(name)
        if own == "tests" or name == PUBLIC_HEADER:
            return None
        if own is None or other is None:
            return "is not in the table of folders"
        if own in SEES_ONLY:
            return None if other in SEES_ONLY[own] else f"{own} sees only {', '.join(sorted(SEES_ONLY[own]))}"
        if other not in LAYERS or LAYERS.index(other) > LAYERS.index(own):
            return f"{own} may not see {other}"
        return None

    none(f"{path}:{line} includes {name}: {wrong(path, name)}"
         for path in files(".c", ".h", ".def", ".cu", ".cuh") if path != PUBLIC_HEADER
         for line, name, quoted in includes(path)
         if quoted and not name.endswith(".pb-c.h") and wrong(path, name))


def test_includes_exist():
    none(f'{path}:{line} includes "{name}", which is no file seen from the root'
         for path in files(".c", ".h", ".cu", ".cuh")
         for line, name, quoted in includes(path)
         if quoted and not name.endswith(".pb-c.h") and not os.path.isfile(os.path.join(ROOT, name)))


def test_other_projects_headers_stay_in_their_place():
    none(f"{path}:{line} includes {name}; only {where} may"
         for path in files(".c", ".h", ".cu", ".cuh")
         for line, name, _ in includes(path)
         for pattern, where in FOREIGN.items()
         if re.match(pattern, name) and not re.match(where, path))


def test_public_header_includes_only_standard_headers():
    none(f"line {line}: {name}" for line, name, quoted in includes(PUBLIC_HEADER)
         if quoted or name not in ("stdbool.h", "stddef.h", "stdint.h"))


def test_header_guards():
    owner = {}
    for path in files(".h"):
        if path.endswith("_template.h"):
            continue  # included several times, on purpose
        found = re.search(r"^#ifndef (\w+)\n#define \1$", read(path), flags=re.MULTILINE)
        assert found, f"{path} has no include guard"
        other = owner.setdefault(found.group(1), path)
        assert other == path, f"{path} and {other} have the same include guard, {found.group(1)}"


def test_every_folder_says_what_it_is_for():
    """Folders of tests are said in tests/README.md, folders of fixtures in tests/fixtures/README.md."""
    def said(folder, names):
        parent = os.path.dirname(folder)
        if "README.md" in names or folder.startswith("."):
            return True
        while parent in ("tests/fixtures", "tests"):
            if os.path.basename(folder) in read(f"{parent}/README.md"):
                return True
            parent = os.path.dirname(parent)
        return False

    none(f"{folder or 'the top level'} has no README.md" for folder, _, names in walk() if not said(folder, names))


def test_readmes_name_files_that_exist():
    """A name in a table's first column, `file.c`, is a file beside the README."""
    for path in files("README.md"):
        folder = os.path.dirname(path)
        for row in re.findall(r"^\| *(`[^|]*)\|", read(path), flags=re.MULTILINE):
            for name in re.findall(r"`([\w./-]+\.(?:c|h|def|py|cmake))`", row):
                assert os.path.exists(os.path.join(ROOT, folder, name)), f"{path} names {name}"


def test_top_level():
    none(f"{name} does not belong at the top level"
         for name in os.listdir(ROOT)
         if name not in TOP_LEVEL and name not in NOT_SOURCE and not name.startswith("."))


def test_no_paths_of_a_machine():
    pattern = re.compile(rb"(?<![\w.~$}])/(?:home|root|work|Users|mnt)/[\w.-]+|[A-Z]:\\\\Users")

    def found(path):
        with open(os.path.join(ROOT, path), "rb") as f:
            return [m.decode("ascii", "replace") for m in pattern.findall(f.read())]

    none(f"{path}: {', '.join(found(path)[:3])}" for path in files() if found(path))


def test_no_file_is_too_long():
    none(f"{path} has {read(path).count(chr(10))} lines, more than {MAX_LINES}"
         for path in files(".c", ".h", ".def", ".cu", ".cuh", ".py", ".cmake", ".sh")
         if read(path).count("\n") > MAX_LINES)


def test_text_ends_in_newline_without_trailing_space():
    def wrong(path):
        text = read(path)
        return text and (not text.endswith("\n") or re.search(r"[ \t]+$", text, flags=re.MULTILINE))

    none(path for path in files(".c", ".h", ".def", ".cu", ".cuh", ".py", ".cmake", ".sh", ".md", "CMakeLists.txt")
         if wrong(path))


def test_programs_are_executable():
    none(f"{path} starts with #! and is not executable" for path in files()
         if open(os.path.join(ROOT, path), "rb").read(2) == b"#!" and not os.access(os.path.join(ROOT, path), os.X_OK))


def test_library_exports_the_public_header():
    library = os.path.join(os.path.dirname(ONGRAD), "libongrad.so")
    if not os.path.exists(library):
        raise Skip("libongrad.so is not built")
    lines = subprocess.run([compiler("nm"), "-D", "--defined-only", library], check=True, capture_output=True,
                           text=True).stdout.splitlines()
    exported = {line.split()[-1].split("@")[0] for line in lines}
    public = public_functions()
    assert public, "no OG_API function was found in the public header"
    none([f"{name} is in the public header and not in the library" for name in sorted(public - exported)] +
         [f"{name} is in the library and not in the public header" for name in sorted(exported - public)])


def check_header_compiles(command, extra=""):
    source = f'#include "{PUBLIC_HEADER}"\n{extra}int main(void) {{ return og_version() == 0; }}\n'
    done = subprocess.run(command + ["-pedantic-errors", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", ROOT, "-"],
                          input=source, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_public_header_is_c99():
    check_header_compiles([compiler("cc", "gcc", "clang"), "-std=c99", "-Wstrict-prototypes", "-x", "c"])


def test_public_header_is_cxx11():
    check_header_compiles([compiler("c++", "g++", "clang++"), "-std=c++11", "-x", "c++"])


def main():
    passed = failed = skipped = 0
    for name, test in sorted(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            test()
            passed += 1
            print(f"ok   {name}")
        except Skip as why:
            skipped += 1
            print(f"skip {name}: {why}")
        except (AssertionError, OSError, subprocess.CalledProcessError) as why:
            failed += 1
            print(f"FAIL {name}: {why}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
