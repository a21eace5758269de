"""What the benchmark scripts share: cores, peak memory, the machine in words, and the document they write to."""

import os
import pathlib
import platform
import re
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = REPOSITORY / "docs/benchmarks.md"


def first_cores(count):
    """The first cores that this process may use."""
    cores = sorted(os.sched_getaffinity(0))[:count]
    if len(cores) < count:
        sys.exit(f"{count} threads were asked for, but this process may use {len(cores)} cores")
    return cores


def default_model():
    home = os.environ.get("COUNTERMOVE_HOME")
    if home is None:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        home = os.path.join(cache, "countermove")
    path = pathlib.Path(home) / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.exists():
        sys.exit(f"the default model is not at {path}; run `countermove-worker model fetch`")
    return path


def measure(command, cores):
    """Runs a program on these cores; gives its output and its peak memory in bytes."""
    child = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    stdout, stderr = child.stdout, child.stderr
    # Neither program writes enough to standard error to fill the pipe while standard output is read.
    output, errors = stdout.read(), stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{errors[-2000:]}\nthis failed: {' '.join(str(part) for part in command)}")
    return output + "\n" + errors, usage.ru_maxrss * 1024


def warn_if_busy():
    with open("/proc/loadavg", encoding="ascii") as file:
        load = float(file.read().split()[0])
    if load > 0.5:
        print(f"warning: the load average is {load}: other work on this machine spoils the figures", file=sys.stderr)


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        text = file.read()
    name = re.search(r"model name\s*:\s*(.*)", text)
    flags = re.search(r"flags\s*:\s*(.*)", text)
    vnni = "AVX-512 VNNI" if flags and "avx512_vnni" in flags.group(1).split() else "no AVX-512 VNNI"
    return f"{name.group(1) if name else platform.machine()}, {vnni}"


def commit():
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "unknown"


def write_section(section, heading, text):
    """Replaces the part of the document between the section's two marks, or appends it under the heading."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    block = f"{begin}\n{text}\n{end}"
    document = DOCUMENT.read_text(encoding="utf-8")
    if begin in document:
        head, rest = document.split(begin, 1)
        document = head + block + rest.split(end, 1)[1]
    else:
        document += f"\n{heading}\n\n{block}\n"
    DOCUMENT.write_text(document, encoding="utf-8")
    print(f"written to {DOCUMENT.relative_to(REPOSITORY)}")
