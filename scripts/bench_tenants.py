#!/usr/bin/env python3
"""Measures what a tenant that floods takes from another one: the same few plans alone, behind a flood of another tenant, and
behind the same flood as part of one tenant. Workers are simulated, so the figures are those of sharing and not of a model.
"""

import argparse
import os
import pathlib
import re
import socket
import subprocess
import tempfile
import time

from benchmarking import warn_if_busy

FOLDER = pathlib.Path(__file__).resolve().parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=pathlib.Path, default=FOLDER / "target/debug", help="folder of the binaries")
    parser.add_argument("--pace", type=int, default=1500, help="tokens a second of each worker; 0: one worker that serves the default model")
    parser.add_argument("--few", type=int, nargs="+", default=[4, 16], help="plans that are timed, for each measurement")
    parser.add_argument("--flood", type=int, default=64, help="plans of the flood")
    options = parser.parse_args()
    warn_if_busy()
    print("| plans | before them | mean time, s | times as long as alone | share of the tokens meanwhile |\n|---|---|---|---|---|")
    for few in options.few:
        alone = None
        for title, flood in (("alone", None), ("behind another tenant's flood", "loud"), ("behind a flood of their own tenant", "quiet")):
            seconds, share = measure(options, few, flood)
            alone = alone or seconds
            before = f"{options.flood} of tenant `{flood}`" if flood else "nothing"
            print(f"| {few} of tenant `quiet`, {title} | {before} | {seconds:.1f} | {seconds / alone:.1f} | {share:.0%} |", flush=True)


def measure(options, few, flood):
    """Mean time of the few plans on a cluster of their own, and their part of all tokens until the last of them has ended."""
    workers, processes = [free() for _ in range(2 if options.pace else 1)], []
    coordinator = free()
    try:
        for index, address in enumerate(workers):
            worker = ["--listen", address, "--id", f"worker-{index}"] + (["--simulate", str(options.pace)] if options.pace else [])
            processes.append(start(options, "countermove-worker", worker))
        urls = ",".join(f"http://{address}" for address in workers)
        processes.append(start(options, "countermove-coordinator", ["--listen", coordinator, "--workers", urls, "--store", "memory:"]))
        call = Client(options, coordinator)
        while len(call.workers()) < len(workers):
            time.sleep(0.2)
        if flood:
            for seed in range(options.flood):
                call.plan(flood, 1000 + seed)
            time.sleep(1)
        before = sum(call.workers())
        begun = {call.plan("quiet", seed): time.monotonic() for seed in range(few)}
        ended = {}
        while len(ended) < len(begun):
            time.sleep(0.2)
            for line in call("incidents", "list").splitlines():
                # Behind its id stand an incident's age and status.
                id, _, status = (re.split(r"\s{2,}", line.strip()) + [""] * 3)[:3]
                name = f"incidents/{id}"
                if name in begun and name not in ended and status != "planning":
                    ended[name] = time.monotonic()
        generated = sum(call.workers()) - before
        theirs = sum(number(re.search(r"^USED +([\d,]+) tokens", call("incidents", "get", name), re.MULTILINE)[1]) for name in begun)
        return sum(ended[name] - begun[name] for name in begun) / len(begun), theirs / generated
    finally:
        for process in processes:
            process.kill()
            process.wait()


def number(text):
    return int(text.replace(",", ""))


class Client:
    """`countermove`, talking to the coordinator."""

    def __init__(self, options, coordinator):
        self.program, self.url = options.bin / "countermove", f"http://{coordinator}"

    def __call__(self, *arguments, check=True):
        environment = {**os.environ, "COUNTERMOVE_COORDINATOR": self.url}
        run = subprocess.run([self.program, *arguments], check=check, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return run.stdout

    def workers(self):
        """Tokens that each worker that is ready has generated."""
        return [number(line.split()[-1]) for line in self("workers", "list", check=False).splitlines() if " ready " in line]

    def plan(self, tenant, seed):
        flags = ["--detach", "--quiet", "--tenant", tenant, "--seed", str(seed), "--steps", "3"]
        return self("plan", "--incident", str(FOLDER / "tests/incidents/web-shell"), *flags).strip()


def start(options, program, arguments):
    log = tempfile.TemporaryFile()
    return subprocess.Popen([options.bin / program, *arguments], stdout=log, stderr=log)


def free():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


if __name__ == "__main__":
    main()
