#!/usr/bin/env python3
"""Checks a GPU and measures what a worker does on it; needs the worker, a driver and the CUDA 13 libraries alone.

Prints a table with the bounds of docs/benchmarks.md beside each figure and exits with 1 where bits differ or a bound is
missed. Ratios are to the fastest products that the library has, whatever their bits, timed in the same run. The bounds are those of one H100
or H200; on other devices read the table and give --no-bounds.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--worker", type=pathlib.Path, default=REPOSITORY / "target/cuda/release/countermove-worker", help="the program"
    )
    parser.add_argument("--model", default="default", help="model for the checks and the first figures")
    parser.add_argument("--device", default="cuda:0", help="GPU, as cuda:N")
    parser.add_argument("--formats", default="bf16,q8_0", help="formats of weights to check, separated by commas")
    parser.add_argument("--no-bounds", action="store_true", help="fail for differing bits alone")
    parser.add_argument("--only", default="", help="measure only the cases whose name holds this text")
    options = parser.parse_args()
    # A bare name would be looked for in PATH.
    options.worker = options.worker.resolve()
    if not options.worker.exists():
        sys.exit(f"{options.worker} is not built; run `make cuda`")

    began = time.monotonic()
    failed = []
    for weights in filter(None, options.formats.split(",")):
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
    print(f"\n{time.monotonic() - began:.0f} s in all")
    if failed:
        sys.exit("failed:\n" + "\n".join(failed))


def run(command, **options):
    """Runs a program with the CUDA libraries of the usual places beside those that it finds by itself."""
    places = [os.environ.get("LD_LIBRARY_PATH", ""), "/usr/local/cuda-13.0/lib64", "/usr/local/cuda/lib64"]
    environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, places))}
    return subprocess.run([str(word) for word in command], env=environment, check=False, text=True, **options)


if __name__ == "__main__":
    main()
