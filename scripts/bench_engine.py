#!/usr/bin/env python3
"""Measures the engine beside llama.cpp: same weights, same cores, in turn.

llama.cpp is built once, optimised for the instruction sets of this processor, from the source distribution of the PyPI
package llama-cpp-python, in a folder outside the repository. Both run what a worker runs: the default model with the
adapter that ships, merged in eight bits. Every case runs in turn on both, several times; the table shows medians.

Both decode greedily chosen or random tokens of a fixed number, so no case depends on what the model says.
"""

import argparse
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tarfile

from benchmarking import (
    REPOSITORY,
    commit,
    default_model,
    first_cores,
    measure,
    processor,
    warn_if_busy,
    write_section,
)

ADAPTER = REPOSITORY / "adapters/smollm2-135m"
LLAMA_PACKAGE = "llama-cpp-python==0.3.36"
SECTION = "engine beside llama.cpp"
HEADING = """## The engine beside llama.cpp

Repeat with `make bench-engine ARGS=--write` on a quiet machine."""

# (name, prefix, sequences, decoded tokens, which figure counts)
CASES = [
    ("prefill, 512 tokens", 512, 1, 1, "prefill"),
    ("decode, 1 stream, empty prefix", 1, 1, 128, "decode"),
    ("decode, 1 sequence after 1,024", 1024, 1, 64, "decode"),
    ("decode, 9 sequences over a shared 1,024", 1024, 9, 64, "decode"),
    ("decode, 27 sequences over a shared 1,024", 1024, 27, 64, "decode"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=pathlib.Path, required=True, help="folder for llama.cpp and the merged model")
    parser.add_argument("--threads", type=int, default=2, help="threads of both engines, each on a core of its own")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each case")
    parser.add_argument("--build-only", action="store_true", help="build llama.cpp, measure nothing")
    parser.add_argument("--write", action="store_true", help="write the table to docs/benchmarks.md")
    parser.add_argument(
        "--binary", type=pathlib.Path, default=REPOSITORY / "target/release/countermove-worker", help="our program"
    )
    options = parser.parse_args()

    llama = build_llama(options.cache)
    if options.build_only:
        print(f"llama.cpp is in {llama}")
        return
    lab = options.binary.parent / "countermove-lab"
    for program in (options.binary, lab):
        if not program.exists():
            sys.exit(f"{program} is not built; run `make bench-engine`")
    # Made anew each time: the adapter may be another one.
    merged = options.cache / "llama/merged.gguf"
    merged.unlink(missing_ok=True)
    merge = [lab, "model", "merge", "--model", default_model(), "--adapter", ADAPTER, "--out", merged, "--type", "q8_0"]
    run(merge, options.cache / "merge.log")

    cores = first_cores(options.threads)
    warn_if_busy()
    results = []
    for name, prefix, sequences, decode, counts in CASES:
        theirs, ours = [], []
        for _ in range(options.repeat):
            theirs.append(run_llama(llama, merged, cores, prefix, sequences, decode))
            ours.append(run_ours(options.binary, cores, prefix, sequences, decode))
        row = {"name": name, "figure": counts}
        for side, runs in (("llama", theirs), ("ours", ours)):
            row[side] = statistics.median(run[counts] for run in runs)
            row[side + "_spread"] = spread([run[counts] for run in runs])
            row[side + "_rss"] = max(run["rss"] for run in runs)
        row["ratio"] = row["ours"] / row["llama"]
        results.append(row)
        print(f"{name}: llama.cpp {row['llama']:.1f}, ours {row['ours']:.1f} tok/s, ratio {row['ratio']:.2f}", flush=True)
    report = table(results, options, cores)
    print()
    print(report)
    if options.write:
        write_section(SECTION, HEADING, report)


def run(command, log, **options):
    """Runs a command with its output in a file; shows the end of it if it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as output:
        status = subprocess.run([str(part) for part in command], stdout=output, stderr=subprocess.STDOUT, **options)
    if status.returncode != 0:
        tail = log.read_text(errors="replace").splitlines()[-20:]
        sys.exit("\n".join(tail + [f"this failed: {' '.join(str(part) for part in command)}; its output is in {log}"]))


def build_llama(cache):
    """Gives the folder with llama-batched-bench, building it first if need be."""
    folder = cache / "llama"
    build = folder / "build"
    programs = ["llama-batched-bench"]
    if all((build / "bin" / program).exists() for program in programs):
        return build / "bin"
    print(f"building llama.cpp in {folder}; this takes minutes", flush=True)
    tools = folder / "tools"
    run([REPOSITORY / "scripts/pip_tools.sh", tools, "cmake", "ninja"], folder / "tools.log")
    archives = list(folder.glob("llama_cpp_python-*.tar.gz"))
    if not archives:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python"]
        run([*pip, "-d", folder, LLAMA_PACKAGE], folder / "download.log")
        archives = list(folder.glob("llama_cpp_python-*.tar.gz"))
    source = folder / "source"
    shutil.rmtree(source, ignore_errors=True)
    with tarfile.open(archives[0]) as archive:
        archive.extractall(source, filter="data")
    (root,) = source.glob("llama_cpp_python-*/vendor/llama.cpp")
    environment = dict(os.environ)
    environment["PATH"] = f"{tools / 'bin'}:{environment['PATH']}"
    if not (tools / "bin/python").exists():
        environment["PYTHONPATH"] = str(tools)
    flags = {
        "CMAKE_BUILD_TYPE": "Release",
        "BUILD_SHARED_LIBS": "OFF",
        **instructions(),
        "LLAMA_CURL": "OFF",
        "LLAMA_OPENSSL": "OFF",
        "LLAMA_BUILD_TOOLS": "ON",
        "LLAMA_BUILD_COMMON": "ON",
        "LLAMA_BUILD_SERVER": "OFF",
        "LLAMA_BUILD_TESTS": "OFF",
        "LLAMA_BUILD_EXAMPLES": "OFF",
    }
    defines = [f"-D{name}={value}" for name, value in flags.items()]
    run(["cmake", "-G", "Ninja", "-S", root, "-B", build, *defines], folder / "configure.log", env=environment)
    run(["cmake", "--build", build, "--target", *programs], folder / "build.log", env=environment)
    return build / "bin"




def instructions():
    """Flags for the instruction sets that this processor tells of. A native build would take AMX as well, which a virtual
    machine may tell of and refuse, and then ends with an illegal instruction."""
    if platform.machine() != "x86_64":
        return {"GGML_NATIVE": "ON"}
    told = set(pathlib.Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())
    sets = {
        "GGML_SSE42": "sse4_2",
        "GGML_AVX": "avx",
        "GGML_AVX2": "avx2",
        "GGML_FMA": "fma",
        "GGML_F16C": "f16c",
        "GGML_BMI2": "bmi2",
        "GGML_AVX_VNNI": "avx_vnni",
        "GGML_AVX512": "avx512f",
        "GGML_AVX512_VBMI": "avx512vbmi",
        "GGML_AVX512_VNNI": "avx512_vnni",
        "GGML_AVX512_BF16": "avx512_bf16",
    }
    return {"GGML_NATIVE": "OFF", **{flag: "ON" if name in told else "OFF" for flag, name in sets.items()}}


def run_llama(folder, model, cores, prefix, sequences, decode):
    command = [folder / "llama-batched-bench", "-m", model, "-c", 4096, "-b", 2048, "-ub", 512]
    command += ["-npp", prefix, "-ntg", decode, "-npl", sequences, "-pps", "--kv-unified"]
    command += ["-t", len(cores), "-tb", len(cores), "--output-format", "jsonl"]
    output, rss = measure(command, cores)
    for line in output.splitlines():
        if '"speed_tg"' in line:
            report = json.loads(line[line.index("{") :])
            return {"prefill": report["speed_pp"], "decode": report["speed_tg"], "rss": rss}
    sys.exit(f"llama-batched-bench printed no figures:\n{output[-2000:]}")


def run_ours(binary, cores, prefix, sequences, decode):
    command = [binary, "model", "bench", "--json", "--prefix", prefix, "--sequences", sequences, "--decode", decode]
    command += ["--adapter", ADAPTER, "--cpus", ",".join(str(core) for core in cores)]
    output, rss = measure(command, cores)
    report = json.loads(output[output.index("{") : output.rindex("}") + 1])
    return {
        "prefill": report["prefill_tokens_per_s"],
        "decode": report["decode_tokens_per_s"],
        "rss": max(rss, report["peak_rss_bytes"]),
    }


def spread(values):
    """Half of the distance between the extremes, as a share of the median."""
    return (max(values) - min(values)) / 2 / statistics.median(values)





def table(results, options, cores):
    lines = [
        f"Machine: {processor()}; {len(cores)} threads on {len(cores)} cores. "
        f"{datetime.date.today().isoformat()}, commit {commit()}.",
        f"llama.cpp is that of {LLAMA_PACKAGE.replace('==', ' ')}, built for this processor without AMX, `-pps --kv-unified`. "
        "Both run what a worker runs: the default model with the adapter that ships, merged, in eight bits; "
        f"medians of {options.repeat} runs each, in turn; ± is half of the distance between the extremes.",
        "",
        "| case | llama.cpp tok/s | Countermove tok/s | ratio | peak memory (llama.cpp / Countermove) |",
        "|---|---|---|---|---|",
    ]
    for row in results:
        lines.append(
            f"| {row['name']} | {row['llama']:.1f} ± {row['llama_spread']:.0%} "
            f"| {row['ours']:.1f} ± {row['ours_spread']:.0%} | {row['ratio']:.2f} "
            f"| {row['llama_rss'] / 2**20:.0f} / {row['ours_rss'] / 2**20:.0f} MiB |"
        )
    return "\n".join(lines)



if __name__ == "__main__":
    main()
