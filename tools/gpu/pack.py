"""A folder for a machine with CUDA, CMake and a C compiler, and nothing else: the tree, the libraries that it is linked with,
the ONNX schema as C, and ONNX's node tests."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

from limits import Failed

PACKAGES = {"lib": ["libprotobuf-c.a", "libyaml.a", "libz.a"], "include": ["protobuf-c", "yaml.h", "zlib.h", "zconf.h"]}
FOLDERS = {"lib": ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/lib64"],
           "include": ["/usr/include"]}
LEAVE_OUT = ("tests/architectures/", "tests/fuzz/")


def find(kind, name):
    for folder in FOLDERS[kind]:
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    raise Failed(f"{name} is in none of {', '.join(FOLDERS[kind])}: its package is missing (tools/packages)")


def copy_tree(root, folder):
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode:
        raise Failed(f"git ls-files: {listed.stderr.strip()}")
    for name in listed.stdout.split("\0"):
        if name and not name.startswith(LEAVE_OUT):
            to = os.path.join(folder, name)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy2(os.path.join(root, name), to, follow_symlinks=False)


def copy_libraries(packed):
    for kind, names in PACKAGES.items():
        for name in names:
            source, to = find(kind, name), os.path.join(packed, kind, name)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            if os.path.isdir(source):
                shutil.copytree(source, to)
            else:
                shutil.copy(source, to)


def copy_node_tests(root, packed):
    """nodes.tar.gz, and nodes.json: the op of each."""
    with tempfile.TemporaryDirectory() as nodes:
        written = subprocess.run([sys.executable, os.path.join(root, "tests", "conformance", "node_cases.py"), nodes],
                                 capture_output=True, text=True, check=False)
        if written.returncode:
            raise Failed((written.stderr.strip().splitlines() or ["the node tests could not be written"])[-1])
        shutil.make_archive(os.path.join(packed, "nodes"), "gztar", nodes)
    with open(os.path.join(packed, "nodes.json"), "w", encoding="utf-8") as f:
        json.dump(json.loads(written.stdout), f)


def pack(root, folder, build):
    """Bytes of the folder, which is made."""
    schema = os.path.join(build, "schema")
    if os.path.exists(folder):
        raise Failed(f"{folder} is there already")
    if not os.path.isfile(os.path.join(schema, "onnx.pb-c.c")):
        raise Failed(f"{build} is no build of this tree (--build): cmake --preset release && cmake --build --preset release")
    try:
        copy_tree(root, folder)
        packed = os.path.join(folder, "pack")
        os.makedirs(os.path.join(packed, "schema"))
        for name in ("onnx.pb-c.c", "onnx.pb-c.h"):
            shutil.copy(os.path.join(schema, name), os.path.join(packed, "schema", name))
        copy_libraries(packed)
        copy_node_tests(root, packed)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names
               if not os.path.islink(os.path.join(at, name)))
