#!/usr/bin/env python3
"""Checks a GPU and measures what a worker and a training run do on it; needs their programs, a driver and the CUDA 13 libraries.

Prints a table with the bounds of docs/benchmarks.md beside each figure and exits with 1 where bits differ or a bound is
missed. Ratios are to the fastest products that the library has, whatever their bits, timed in the same run. The bounds are those of one H100
or H200; on other devices read the table and give --no-bounds.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SHAPE_14B = ["--shape", "qwen2-14b", "--prefix", "4096", "--prefill-chunk", "2048"]

# (name, arguments of `model bench`, figure, at least or at most, bound)
CASES = [
    ("135M: 1 sequence over 1,024", ["--sequences", "1"], "decode_tokens_per_s", ">", None),
    ("135M: 9 sequences", ["--sequences", "9"], "decode_tokens_per_s", ">", None),
    ("135M: 27 sequences", ["--sequences", "27"], "decode_tokens_per_s", ">", 12_000),
    ("135M: 128 sequences", ["--sequences", "128"], "decode_tokens_per_s", ">", None),
    ("135M: 27 sequences x 49 rows", ["--rows", "49", "--decode", "10"], "rows_per_s", ">", None),
    ("135M: prefill, 1,024 in one pass", ["--prefill-chunk", "1024", "--decode", "1"], "prefill_tokens_per_s", ">", None),
    ("14B: 1 sequence over 4,096", [*SHAPE_14B, "--sequences", "1", "--decode", "16"], "step_seconds", "<", None),
    ("14B: 27 sequences, to the products", [*SHAPE_14B, "--decode", "16"], "to_products", "<", 2.0),
    ("14B: 64 sequences, to the products", [*SHAPE_14B, "--sequences", "64", "--decode", "16"], "to_products", "<", 2.2),
    ("14B: 27 over 4,103", [*SHAPE_14B[:2], "--prefix", "4103", *SHAPE_14B[4:], "--decode", "16"], "step_seconds", "<", None),
    ("14B: 27 sequences x 49 rows, seconds", [*SHAPE_14B, "--rows", "49", "--decode", "5"], "step_seconds", "<", 0.1),
    ("14B: prefill, 4,096", [*SHAPE_14B, "--sequences", "1", "--decode", "1"], "prefill_tokens_per_s", ">", 20_000),
]


# Tokens that a step of training computes a second: 135 million weights; a large model, if one is given.
TRAINED = {"135M": 60_000, "large": 2_500}
# Share that loss and norm of the gradient may differ from those of the CPU in the first step, of BF16 as well. Later ones are no
# measure: AdamW's first steps take every gradient for its sign.
APART = 0.01
# Seconds of a plan: the default model with the adapter, a large one.
PLANNED = {"135M": 0.6, "large": 30.0}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--programs", type=pathlib.Path, default=REPOSITORY / "target/cuda/release", help="folder that `make cuda` filled"
    )
    parser.add_argument("--model", default="default", help="model for the checks and the first figures")
    parser.add_argument("--adapter", type=pathlib.Path, default=REPOSITORY / "adapters/smollm2-135m", help="adapter that plans are made with")
    parser.add_argument("--large", help="a larger model on disk, to load, plan and train with as well")
    parser.add_argument(
        "--incident", type=pathlib.Path, default=REPOSITORY / "tests/incidents/web-shell", help="what is planned"
    )
    parser.add_argument("--device", default="cuda:0", help="GPU, as cuda:N")
    parser.add_argument("--formats", default="bf16,q8_0", help="formats of weights to check, separated by commas")
    parser.add_argument("--no-bounds", action="store_true", help="fail for differing bits alone")
    parser.add_argument("--only", default="", help="measure only the cases whose name holds this text")
    options = parser.parse_args()
    # A bare name would be looked for in PATH.
    options.programs = options.programs.resolve()
    options.worker = options.programs / "countermove-worker"
    for program in ("countermove-worker", "countermove-lab", "countermove-coordinator", "countermove"):
        if not (options.programs / program).exists():
            sys.exit(f"{options.programs / program} is not built; run `make cuda`")

    began = time.monotonic()
    failed = []
    for weights in filter(None, [] if options.only else options.formats.split(",")):
        command = [options.worker, "model", "check", "--model", options.model, "--device", f"{options.device}:{weights}"]
        # Eight bits for activations are further from single precision.
        command += ["--top-1", "0.95" if weights == "bf16" else "0.8"]
        print(f"== {weights}", flush=True)
        if run(command).returncode != 0:
            failed.append(f"{weights}: see above")
    print(f"\n| case | figure | bound | step, ms | rows/s | chosen/s | to the products | load, s |\n{'|---' * 8}|")
    for name, arguments, figure, direction, bound in CASES:
        if options.only not in name:
            continue
        command = [options.worker, "model", "bench", "--json", "--device", options.device, "--kv-memory", "24000"]
        if "--shape" not in arguments:
            command += ["--model", options.model]
        done = run(command + arguments, stdout=subprocess.PIPE)
        if done.returncode != 0:
            failed.append(f"{name}: it could not be measured")
            continue
        report = json.loads(done.stdout)
        products = report["product_seconds"] or float("nan")
        report["to_products"] = report["step_seconds"] / products
        value = report[figure]
        missed = bound is not None and not (value >= bound if direction == ">" else value <= bound)
        if missed and not options.no_bounds:
            failed.append(f"{name}: {value:,.4g} misses {bound:,}")
        shown_bound = "" if bound is None else f"{'at least' if direction == '>' else 'at most'} {bound:,}"
        print(
            f"| {name} | {value:,.4g} | {shown_bound} | {report['step_seconds'] * 1e3:.2f} | {report['rows_per_s']:,.0f} "
            f"| {report['decode_tokens_per_s']:,.0f} | {report['to_products']:.2f} | {report['load_seconds']:.1f} |",
            flush=True,
        )
    models = [("135M", options.model, ["--adapter", options.adapter])]
    if options.large:
        models.append(("large", options.large, []))
    with tempfile.TemporaryDirectory() as folder:
        for name, model, adapter in models:
            if options.only in f"{name}: plan":
                failed += plan(options, pathlib.Path(folder), name, [model, *adapter])
            if options.only in f"{name}: training":
                failed += train(options, pathlib.Path(folder), name, model)
    print(f"\n{time.monotonic() - began:.0f} s in all")
    if failed:
        sys.exit("failed:\n" + "\n".join(failed))


def plan(options, folder, name, model):
    """Loads a model into a worker and makes a few plans with it; gives what failed."""
    began = time.monotonic()
    worker = start([options.worker, "--listen", "127.0.0.1:0", "--model", *model, "--device", options.device])
    loaded = time.monotonic() - began
    store = ["--store", "memory:", "--workers", f"http://{worker.address}"]
    coordinator = start([options.programs / "countermove-coordinator", "--listen", "127.0.0.1:0", *store])
    try:
        seconds = []
        # The first plan finds empty caches; what is kept of the others' questions spares them little, as seeds differ.
        for seed in range(1, 6):
            began = time.monotonic()
            command = [options.programs / "countermove", "plan", "--coordinator", f"http://{coordinator.address}"]
            command += ["--incident", options.incident, "--seed", seed]
            # The sizes that the bound for a large model is stated for.
            command += [] if name == "135M" else ["--candidates", 3, "--rollouts", 3, "--steps", 5]
            done = run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            # It may also end before recovery, or find no incident: a large model of random weights will.
            if done.returncode not in (0, 5, 6):
                return [f"{name}: plan: it ended with {done.returncode}"]
            seconds.append(time.monotonic() - began)
    finally:
        coordinator.terminate()
        worker.terminate()
    median = sorted(seconds)[len(seconds) // 2]
    every = ", ".join(f"{second:.2f}" for second in seconds)
    print(f"{name}: plan: {median:.2f} s (at most {PLANNED[name]}; {every}); the worker was ready after {loaded:.1f} s", flush=True)
    missed = median > PLANNED[name] and not options.no_bounds
    return [f"{name}: plan: {median:.2f} s misses {PLANNED[name]}"] if missed else []


def train(options, folder, name, model):
    """Takes a few steps of training, the first ones on the CPU as well if the model is small; gives what failed."""
    rows = folder / "rows"
    if not rows.exists():
        made = run([options.programs / "countermove-lab", "dataset", "generate", "--count", 60, "--out", rows])
        if made.returncode != 0:
            return [f"{name}: training: no rows were made"]

    def steps(device, count):
        out = folder / f"{name}-{device.replace(':', '-')}-{count}"
        command = [options.programs / "countermove-lab", "train", "--data", rows, "--model", model, "--out", out, "--quiet"]
        command += ["--device", device, "--steps", count, "--validation-examples", 4]
        if run(command).returncode != 0:
            return None
        events = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        return [event for event in events if event["event"] == "step"]

    failed = []
    if name == "135M":
        ours, reference = steps(options.device, 1), steps("cpu", 1)
        if not ours or not reference:
            return [f"{name}: training: it failed"]
        apart = max(abs(ours[0][figure] / reference[0][figure] - 1) for figure in ("loss", "norm"))
        print(f"{name}: training: loss and gradient differ from the CPU's by {apart:.2%} (at most {APART:.0%})", flush=True)
        if apart > APART:
            failed.append(f"{name}: training: loss and gradient differ from the CPU's by {apart:.2%}")
    last = steps(options.device, 20 if name == "135M" else 5)
    if not last:
        return [*failed, f"{name}: training: it failed"]
    # The first steps wait for memory and for kernels that are loaded.
    first, last = last[1], last[-1]
    rate = (last["tokens"] - first["tokens"]) / (last["seconds"] - first["seconds"])
    print(f"{name}: training: {rate:,.0f} computed tokens/s (at least {TRAINED[name]:,}), {last['example_tokens_per_second']:,.0f} of rows", flush=True)
    if rate < TRAINED[name] and not options.no_bounds:
        failed.append(f"{name}: training: {rate:,.0f} tokens/s misses {TRAINED[name]:,}")
    return failed


def start(command):
    """Starts a server and waits until it takes calls; `address` is where."""
    server = subprocess.Popen([str(word) for word in command], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    said = re.match(r"listening on (\S+)", server.stdout.readline())
    if not said:
        sys.exit(f"{command[0]} did not start: run it by hand to see why")
    server.address = said[1].removeprefix("http://")
    return server


def environment():
    """The CUDA libraries of the usual places beside those that the loader finds by itself."""
    places = [os.environ.get("LD_LIBRARY_PATH", ""), "/usr/local/cuda-13.0/lib64", "/usr/local/cuda/lib64"]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, places))}


def run(command, **options):
    return subprocess.run([str(word) for word in command], env=environment(), check=False, text=True, **options)


if __name__ == "__main__":
    main()
