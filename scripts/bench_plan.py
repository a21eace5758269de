#!/usr/bin/env python3
"""Measures a whole plan beside the same plan on the reference path (`--sequential`).

Both run the same binaries, incident, seed, cores and one worker. The reference path has sharing, batching and
fast-forward off: every call prefills its whole prompt, one sequence runs at a time, and every token of an answer goes
through the model by itself. The two plans have to be equal in every word; if they are not, nothing is reported.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from benchmarking import REPOSITORY, commit, first_cores, processor, warn_if_busy, write_section

SECTION = "whole plan beside the reference path"
HEADING = """## A whole plan beside the reference path

Repeat with `make bench-plan ARGS=--write` on a quiet machine; the reference path takes long."""

# What differs between two runs of one plan: names and the hashes over them, times, and what the cache and the grammar saved.
CHANGING = {"incident", "create_time", "update_time", "usage", "plan_hash"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--incident", type=pathlib.Path, default=REPOSITORY / "tests/incidents/web-shell")
    parser.add_argument("--candidates", type=int, default=3, help="N")
    parser.add_argument("--rollouts", type=int, default=3, help="M")
    parser.add_argument("--steps", type=int, help="actions in the plan at most [default: the product's]")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="cores of the worker, in both runs")
    parser.add_argument("--repeat", type=int, default=3, help="runs of the served path; the reference path runs once")
    parser.add_argument("--write", action="store_true", help="write the table to docs/benchmarks.md")
    parser.add_argument("--bin", type=pathlib.Path, default=REPOSITORY / "target/release", help="folder of the binaries")
    options = parser.parse_args()
    for binary in ("countermove", "countermove-coordinator", "countermove-worker"):
        if not (options.bin / binary).exists():
            sys.exit(f"{options.bin / binary} is not built; run `make bench-plan`")

    cores = first_cores(options.threads)
    warn_if_busy()
    served = [run(options, cores, sequential=False) for _ in range(options.repeat)]
    print(f"served: {', '.join(f'{seconds:.1f} s' for seconds, _ in served)}", flush=True)
    reference = run(options, cores, sequential=True)
    print(f"reference path: {reference[0]:.1f} s", flush=True)
    expected = what_stays(reference[1])
    for _, plan in served:
        if what_stays(plan) != expected:
            sys.exit("the plans differ, so the times cannot be compared; this is a defect of the engine")
    report = table(options, cores, served, reference)
    print()
    print(report)
    if options.write:
        write_section(SECTION, HEADING, report)


def run(options, cores, sequential):
    """Plans once; gives the seconds of planning, without loading the model, and the plan."""
    command = [options.bin / "countermove", "up", "--workers", 1, *(["--sequential"] if sequential else []), "--"]
    command += ["plan", "--incident", options.incident, "--json", "--quiet", "--seed", options.seed]
    command += ["--candidates", options.candidates, "--rollouts", options.rollouts]
    if options.steps:
        command += ["--steps", options.steps]
    began = time.monotonic()
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    # 3 says that the plan ends short of recovery, which a limit on the steps makes likely.
    if done.returncode not in (0, 3, 5):
        sys.exit(f"{done.stderr[-2000:]}\nthis failed: {' '.join(str(part) for part in command)}")
    plan = json.loads(done.stdout)
    seconds = plan["usage"]["elapsed_seconds"]
    if not 0 < seconds <= time.monotonic() - began:
        sys.exit(f"the plan claims to have taken {seconds} s")
    return seconds, plan


def what_stays(value):
    """The plan without what may differ between two runs."""
    if isinstance(value, dict):
        return {key: what_stays(item) for key, item in value.items() if key not in CHANGING}
    if isinstance(value, list):
        return [what_stays(item) for item in value]
    return value


def table(options, cores, served, reference):
    median = statistics.median(seconds for seconds, _ in served)
    plan = served[0][1]
    name = options.incident.resolve()
    name = name.relative_to(REPOSITORY) if name.is_relative_to(REPOSITORY) else name.name
    lines = [
        f"Machine: {processor()}; one worker with {len(cores)} threads on {len(cores)} cores. "
        f"{datetime.date.today().isoformat()}, commit {commit()}.",
        f"`{name}`, N={options.candidates}, M={options.rollouts}, seed {options.seed}: {len(plan['steps'])} steps, "
        f"{plan['usage']['rollouts']} rollouts, model {plan['model']['name']}. Both plans are equal word for word.",
        "",
        "| path | time | prompt tokens computed | chosen tokens | forced tokens |",
        "|---|---|---|---|---|",
    ]
    rows = [(f"served (median of {len(served)})", median, plan), ("`--sequential`", *reference)]
    for path, seconds, document in rows:
        usage = document["usage"]
        computed = usage["prompt_tokens"] - usage["cached_tokens"]
        lines.append(
            f"| {path} | {seconds:.1f} s | {computed:,} | {usage['sampled_tokens']:,} | {usage['forced_tokens']:,} |"
        )
    lines += ["", f"The served path is {reference[0] / median:.1f} times as fast."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
