#!/usr/bin/env python3
"""Checks that Hugging Face peft loads an adapter of `countermove-lab train` to the same predictions.

Both compute the mean loss of the answers of the first rows of --data (JSON lines with system, prompt and answer) in single
precision, each with its own code from the adapter's files. Run it with a Python that has tests/reference/requirements.txt.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from bench_training import encode
from benchmarking import default_model

# Both sum in single precision, in different orders.
CLOSE = 1e-3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapter", type=pathlib.Path, required=True, help="folder of the adapter")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="JSON lines of rows")
    parser.add_argument("--rows", type=int, default=64, help="rows that are compared")
    parser.add_argument("--countermove", default="target/release/countermove", help="the binary")
    parser.add_argument("--model", type=pathlib.Path, default=default_model(), help="the default model's GGUF")
    options = parser.parse_args()
    with open(options.data, encoding="utf-8") as file:
        lines = [line for _, line in zip(range(options.rows), file)]
    ours, theirs = countermove(options, lines), peft(options, [json.loads(line) for line in lines])
    apart = abs(ours - theirs) / max(abs(theirs), 1e-9)
    print(f"mean loss of {len(lines)} answers: countermove {ours:.6f}, peft {theirs:.6f}, relative distance {apart:.1e}")
    sys.exit(apart > CLOSE)


def countermove(options, lines):
    with tempfile.TemporaryDirectory() as folder:
        rows = pathlib.Path(folder) / "rows.jsonl"
        rows.write_text("".join(lines), encoding="utf-8")
        # One step that changes nothing that could be seen, for the look at the validation rows behind it.
        command = [options.countermove, "train", "--data", rows, "--validation", rows, "--model", options.model]
        command += ["--start-from", options.adapter, "--out", f"{folder}/out", "--steps", 1, "--learning-rate", 1e-12]
        command += ["--batch", 1, "--precision", "f32", "--validation-examples", len(lines)]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        log = pathlib.Path(folder, "out", "log.jsonl").read_text(encoding="utf-8").splitlines()
    return next(event["loss"] for event in map(json.loads, log) if event["event"] == "validation")


def peft(options, rows):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = {"pretrained_model_name_or_path": options.model.parent, "gguf_file": options.model.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, options.adapter).eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            tokens, prompt = encode(tokenizer, row)
            chances = model(torch.tensor([tokens])).logits[0].log_softmax(-1)
            answer = torch.tensor(tokens[prompt:])
            total -= chances[prompt - 1 : -1].gather(1, answer[:, None]).sum().item()
            count += len(answer)
    return total / count


if __name__ == "__main__":
    main()
