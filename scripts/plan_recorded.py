#!/usr/bin/env python3
"""Plans the recorded incidents with a larger model and checks what no plan may do; needs the programs and the model.

Each incident gets a cluster of its own and a bound of time. Exits with 1 where a plan failed, took longer, names an address that its
evidence does not have, repeats itself, or gives a reason that is no sentence. With --write, what was planned goes into a document;
no record of an incident does.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import time

from benchmarking import REPOSITORY, processor

DATA = pathlib.Path(os.environ.get("COUNTERMOVE_DATA") or REPOSITORY / "../shared/data")
ADDRESS = re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b")
# A plan that recovers, and one that ends before.
PLANNED = {0, 5}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=pathlib.Path, default=REPOSITORY / "target/debug", help="folder of the programs")
    parser.add_argument("--model", default="qwen2.5-coder-1.5b", help="model that plans")
    parser.add_argument("--incidents", type=pathlib.Path, default=DATA / "incidents", help="folder of incident folders")
    parser.add_argument("--most-minutes", type=float, default=25, help="for each incident [25]")
    parser.add_argument("--write", type=pathlib.Path, help="document that is written anew")
    parser.add_argument("effort", nargs="*", default=["--candidates", "3", "--rollouts", "8", "--seed", "7"], help="after --, for `countermove plan`")
    options = parser.parse_args()
    folders = sorted(folder for folder in options.incidents.iterdir() if (folder / "alerts.log").exists())
    if not folders:
        sys.exit(f"{options.incidents} has no incidents; set COUNTERMOVE_DATA or give --incidents")
    failed, told = [], []
    for folder in folders:
        document, seconds, faults = plan(options, folder)
        failed += [f"{folder.name}: {fault}" for fault in faults]
        print(f"{folder.name}: {seconds / 60:.1f} minutes, {'; '.join(faults) or 'as it should be'}", flush=True)
        if document:
            told.append(transcript(folder.name, document, seconds))
    if options.write:
        options.write.write_text(head(options) + "\n".join(told), encoding="utf-8")
    for fault in failed:
        print(f"FAILED: {fault}", file=sys.stderr)
    sys.exit(1 if failed else 0)


def plan(options, folder):
    """Plans one incident; gives the plan as a document, the seconds that it took, and what is wrong with it."""
    up = [options.programs / "countermove", "up", "--workers", "1", "--model", options.model, "--store", "memory:", "--"]
    command = [*up, "plan", "--incident", folder, "--deadline", f"{options.most_minutes:g}m", "--json", *options.effort]
    began = time.monotonic()
    # The deadline ends the plan; this ends what does not heed it.
    try:
        done = subprocess.run(
            [str(part) for part in command], stdout=subprocess.PIPE, text=True, timeout=60 * options.most_minutes + 120, check=False
        )
    except subprocess.TimeoutExpired:
        return None, time.monotonic() - began, ["it did not end"]
    seconds = time.monotonic() - began
    if done.returncode not in PLANNED:
        return None, seconds, [f"it ended with {done.returncode}"]
    document = json.loads(done.stdout)
    return document, seconds, list(faults_of(document, folder))


def faults_of(document, folder):
    if not document["assessment"]["is_incident"]:
        yield "no incident was seen"
        return
    given = [folder / name for name in ("system.txt", "alerts.log", "notes.txt")]
    evidence = "".join(path.read_text(encoding="utf-8", errors="replace") for path in given if path.exists())
    known, done = set(ADDRESS.findall(evidence)), collections.Counter()
    for step in document["steps"]:
        action = step["action"]
        done[action["text"]] += 1
        for address in ADDRESS.findall(action["text"]):
            if address not in known:
                yield f"'{action['text']}' names {address}, which is nowhere in the evidence"
        if not action["explanation"].rstrip().endswith((".", "!", "?")):
            yield f"the reason for '{action['text']}' is no sentence: '{action['explanation']}'"
    # Once again is a second try; more is a loop.
    yield from (f"'{text}' is done {times} times" for text, times in done.items() if times > 2)


def transcript(name, document, seconds):
    """What was planned, in Markdown."""
    assessment = document["assessment"]
    hosts = [f"{host['host']} {host['probability']:.0%}" for host in assessment["compromised"] if host["probability"] >= 0.05]
    tactics = ", ".join(tactic["name"] for tactic in assessment["tactics"]) or "none"
    lines = [
        f"## {name}\n",
        f"{seconds / 60:.1f} minutes; the plan ended: {document['end'].replace('_', ' ')}.\n",
        f"- Attackers: {', '.join(assessment['attackers']) or 'none'}",
        f"- Compromised: {', '.join(hosts) or 'none'}",
        f"- Tactics: {tactics}\n",
    ]
    for step in document["steps"]:
        action = step["action"]
        lines += [
            f"{step['index'] + 1}. **{action['text']}.** {action['explanation']}",
            f"   - {step['reason']}",
            f"   - Then: {holding(step['state_after'])}",
        ]
    return "\n".join(lines) + "\n"


def holding(state):
    """The facts of a state that hold, in words."""
    facts = [fact.removeprefix("is_").removeprefix("are_").replace("_", " ") for fact, holds in state.items() if holds]
    return ", ".join(facts) or "no fact of recovery holds"


def head(options):
    effort = " ".join(options.effort)
    return (
        f"# Recorded incidents, planned by {options.model}\n\n"
        f"Written by `make nightly` on {time.strftime('%Y-%m-%d')}: {processor()}; `countermove plan {effort}`, one worker. What the incidents\n"
        "are: [evaluation.md](evaluation.md#what-is-true-of-recorded-incidents).\n\n"
    )


main()
