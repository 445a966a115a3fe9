"""Manual pages and shell completion, which the command makes from its table of options.

    ONGRAD=build/release/ongrad python3 -m pytest tests/tools/test_manual.py

What --help lists is what pages and completion must have. Programs that are not installed (man, bash, zsh, fish) leave out
what needs them.
"""
import functools
import os
import re
import shutil
import subprocess

import pytest

ONGRAD = os.path.abspath(os.environ.get("ONGRAD", "build/release/ongrad"))


def ongrad(*arguments, status=0):
    done = subprocess.run([ONGRAD, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def subcommands():
    listed = ongrad("--help").split("[OPTIONS]")[1].split("    ongrad SUBCOMMAND --help")[0]
    return re.findall(r"^    ([a-z]+) +[A-Z]", listed, re.MULTILINE)


@functools.cache
def help_rows(subcommand):
    return re.findall(r"^  (?:-\w, |    )--(\[no_\])?(\w+)", ongrad(subcommand, "--help"), re.MULTILINE)


def options(subcommand):
    """Names as --help lists them, with the form that turns a switch off that is on."""
    return [name for _, name in help_rows(subcommand)] + ["no_" + name for no, name in help_rows(subcommand) if no]


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")


def test_help_is_understood():
    assert {"train", "eval", "new", "devices", "man", "completion"} <= set(subcommands())
    assert {"batch_size", "shuffle", "no_shuffle", "lr", "profile", "help"} <= set(options("train"))


@pytest.mark.parametrize("subcommand", subcommands())
def test_a_page_has_every_option(subcommand):
    page = ongrad("man", subcommand).replace("\\-", "-")
    listed = re.findall(r"^\.TP\n(?:\\fB-\w\\fR, )?\\fB--(?:\[no_\])?(\w+)\\fR", page, re.MULTILINE)
    assert sorted(listed) == sorted(name for _, name in help_rows(subcommand))
    assert page.startswith(f".TH ONGRAD-{subcommand.upper()} 1 ")


def test_pages_are_written_to_a_folder_and_are_clean(tmp_path):
    ongrad("man", "--output", str(tmp_path / "man"))
    pages = sorted(os.listdir(tmp_path / "man"))
    assert pages == sorted(["ongrad.1"] + [f"ongrad-{name}.1" for name in subcommands()])
    need("man", "groff")
    for page in pages:
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", str(tmp_path / "man" / page)],
                              capture_output=True, text=True, env={**os.environ, "MANPAGER": "cat", "MANWIDTH": "100"})
        assert done.returncode == 0 and done.stderr == "", page
    shown = re.sub(".\b", "", done.stdout)
    assert "EXIT STATUS" in shown and "75 stopped by a signal after saving" in shown


def test_the_page_of_ongrad_lists_the_subcommands():
    page = ongrad("man").replace("\\-", "-")
    assert re.findall(r"^\.TP\n\.BR ongrad-(\w+) \(1\)", page, re.MULTILINE) == subcommands()


def bash(line, cursor=None):
    """What bash offers at the end of `line`, whose words are apart as readline's are."""
    need("bash")
    words = [word for part in line.split(" ") for word in (re.findall(r"=|[^=]+", part) or [""])]
    quoted = " ".join("'" + word + "'" for word in words)
    script = (f"source <({ONGRAD} completion bash)\nCOMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1}\n_ongrad\n"
              'printf "%s\\n" "${COMPREPLY[@]}"\n')
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("subcommand", subcommands())
def test_bash_offers_every_option(subcommand):
    assert sorted(bash(f"ongrad {subcommand} --")) == sorted("--" + name for name in options(subcommand))


def test_bash_completes_words():
    assert bash("ongrad tr") == ["train"]
    assert set(subcommands()) <= set(bash("ongrad "))
    assert bash("ongrad train --batch_") == ["--batch_size"]
    assert bash("ongrad train model.onnx --grad") == ["--gradient_accumulation_steps"]
    assert bash("ongrad train --batch-s") == ["--batch_size"]  # written with - as well
    assert bash("ongrad train --batch_size ") == []  # a number
    assert bash("ongrad train --config run") == []  # a file: readline's default
    assert bash("ongrad train --config=run") == []
    assert bash("ongrad train --model_type light") == ["lightweight_transformer"]
    assert bash("ongrad train --model-type=light") == ["lightweight_transformer"]
    assert bash("ongrad new res") == ["resnet"]
    assert bash("ongrad man ev") == ["eval"]
    assert bash("ongrad completion z") == ["zsh"]
    assert bash("ongrad nothing --") == []


def test_zsh_gets_every_option():
    need("zsh")
    stub = ("compdef() { : }\n_describe() { print -rl -- ${(P)2} }\n_arguments() { print -rl -- \"$@\" }\n"
            f"source <({ONGRAD} completion zsh)\n")

    def offers(*words):
        script = stub + f"words=({' '.join(words)} '')\nCURRENT={len(words) + 1}\n_ongrad\n"
        done = subprocess.run(["zsh", "-f", "-c", script], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return done.stdout
    assert re.findall(r"^(\w+):", offers("ongrad"), re.MULTILINE) == subcommands()
    for subcommand in subcommands():
        found = re.findall(r"^\*?--(\w+)=?\[", offers("ongrad", subcommand), re.MULTILINE)
        assert sorted(found) == sorted(options(subcommand)), subcommand


def test_fish_offers_every_option():
    need("fish")

    def offers(line):
        script = f"{ONGRAD} completion fish | source; complete -C '{line}'"
        done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return [row.split("\t")[0] for row in done.stdout.splitlines()]
    assert sorted(offers("ongrad ")) == sorted(subcommands())
    for subcommand in subcommands():
        assert sorted(offers(f"ongrad {subcommand} --")) == sorted("--" + name for name in options(subcommand)), subcommand
    assert "resnet" in offers("ongrad new ")


def test_mistakes_are_named(tmp_path):
    assert "expected bash, zsh or fish" in ongrad("completion", "tcsh", status=2)
    assert "no shell given" in ongrad("completion", status=2)
    assert 'unknown subcommand "trian"; did you mean train?' in ongrad("man", "trian", status=2)
    assert "leave out" in ongrad("man", "train", "-o", str(tmp_path), status=2)
    assert "cannot make the folder" in ongrad("man", "-o", str(tmp_path / "a" / "b"), status=1)
