"""The report of tools/gpu_check: JSON as it is, and Markdown for people."""
import json
import math
import os

WAYS = {"ongrad": "ongrad", "eager": "PyTorch eager", "compile": "torch.compile", "graphs": "compile, CUDA graphs"}


def finite(value):
    """What JSON has no number for is null."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(report, folder):
    """gpu_check.json, gpu_check.md; each is whole or the one before."""
    os.makedirs(folder, exist_ok=True)
    for name, text in (("gpu_check.json", json.dumps(finite(report), indent=1) + "\n"), ("gpu_check.md", markdown(report))):
        path = os.path.join(folder, name)
        with open(path + ".part", "w", encoding="utf-8") as f:
            f.write(text)
        os.replace(path + ".part", path)


# ---- Markdown ---------------------------------------------------------------------------------------------------

def shown(value):
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{k} {shown(v)}" for k, v in value.items()) if len(value) < 9 else f"{len(value)} of them"
    return "" if value is None else str(value).replace("\n", " ").replace("|", "\\|")


def table(headings, rows):
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return lines + ["| " + " | ".join(shown(cell) for cell in row) + " |" for row in rows] + [""]


def megabytes(value):
    return None if value is None else f"{value / 1e6:.1f}"


def cases(result):
    rows = [(name, *(of.get(mode) for mode in ("float32", "tf32", "fp16", "bf16")), of.get("failed"))
            for name, of in result.items()]
    return ["The largest difference of a loss from the processor's in float32, relative.", ""] + table(
        ("case", "float32", "TF32", "float16", "bfloat16", "not done"), rows)


def memory(result):
    keys = ("planned_bytes", "allocated_bytes", "context_bytes", "planning_bytes", "steps_bytes", "process_bytes")
    rows = [(name, *(megabytes(of.get(key)) for key in keys), of.get("failed")) for name, of in result.items()]
    return ["MB. Allocated: what the card has less of once the session has its memory, in whole pages of 2 MiB. Beside that:",
            "context, which any program has; what planning loads; what the first steps load and record.", ""] + table(
        ("model", "planned", "allocated", "context", "planning", "steps", "in all", "not done"), rows)


def speed(result):
    lines = []
    for name, of in result.items():
        lines += [f"**{name}**, batch {of['batch']}" + (f", {of['flops'] / 1e9:.0f} GFLOP a step" if "flops" in of else ""), ""]
        rows = []
        for way, title in WAYS.items():
            if way not in of:
                continue
            f = of[way]
            mfu = f"{100 * f['mfu']:.1f} %" if "mfu" in f else None
            rate = f"{f['samples_per_s']:.0f}" if "samples_per_s" in f else None
            rows.append((title, f.get("median_ms"), rate, mfu, megabytes(f.get("peak_bytes")), f.get("first_step_s"),
                         f.get("missing")))
        lines += table(("", "ms a step", "samples/s", "MFU", "peak, MB", "s to the first step", "not done"), rows)
    return lines


SHAPES = {"cases": cases, "memory": memory, "speed": speed}


def any_stage(result):
    return [f"- {name}: {shown(value)}" for name, value in result.items()] + [""]


def markdown(report):
    card = report.get("card", {})
    lines = ["# ongrad on a GPU", "", f"- card: {shown(card)}", f"- libraries: {report.get('libraries', 'not known')}",
             f"- CUDA toolkit: {report.get('nvcc', 'not known')}", f"- Python {report.get('python')}, {report.get('machine')}"]
    lines += [f"- {note}" for note in report.get("notes", [])] + [""]
    wrong = report["wrong"]
    lines += [f"{len(wrong)} wrong" + (":" if wrong else "."), ""] + [f"- {w}" for w in wrong[:200]] + [""] * bool(wrong)
    lines += [f"- and {len(wrong) - 200} more, in gpu_check.json", ""] if len(wrong) > 200 else []
    for stage, entry in report["stages"].items():
        lines += [f"## {stage}", "", f"{entry.get('seconds', 0):.0f} s of at most {entry['limit_s']:.0f}.", ""]
        for word, key in (("Not done", "failed"), ("Not finished", "unfinished")):
            lines += [f"{word}: {entry[key]}", ""] if key in entry else []
        if entry["result"]:
            lines += SHAPES.get(stage, any_stage)(entry["result"])
    return "\n".join(lines)
