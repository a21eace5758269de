#!/usr/bin/env python3
"""Measures `countermove-lab train` beside Hugging Face peft on one job: the same base, rows, rank, batch and lengths.

Both tune all projections of the model on the first rows of --data (JSON lines with system, prompt and answer) and count
the tokens of the examples a second, and the peak of the host's memory. peft pads a micro-batch to its longest example. On CPUs
it computes in single precision, which is its fastest way on those that were tried, and on a GPU all of it in bfloat16. The first
step of each warms up and does not count. Run it with a Python that has tests/reference/requirements.txt, on a machine that does nothing else.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

from benchmarking import default_model, warn_if_busy


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True, help="JSON lines of rows")
    parser.add_argument("--countermove", default="target/debug/countermove-lab", help="the binary")
    parser.add_argument("--model", type=pathlib.Path, help="a GGUF or a folder of safetensors [default: the default model]")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--recompute", action="store_true", help="compute layers twice and hold less")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16, help="rows of a step")
    parser.add_argument("--micro", type=int, default=4, help="rows that peft computes together")
    parser.add_argument("--steps", type=int, default=3, help="steps, the first of which does not count")
    parser.add_argument("--peft-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.model = options.model or default_model()
    if options.peft_only:
        print(json.dumps(peft(options)))
        return
    warn_if_busy()
    ours = countermove(options)
    command = [sys.executable, __file__, *sys.argv[1:], "--peft-only"]
    theirs = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
    for name, figures in (("countermove-lab train", ours), ("peft", theirs)):
        print(f"{name:<20} {figures['tokens_per_second']:7.0f} tokens/s   peak {figures['peak_mib']:6.0f} MiB   {figures['note']}")
    print(f"ratio {ours['tokens_per_second'] / theirs['tokens_per_second']:.2f}")


def countermove(options):
    with tempfile.TemporaryDirectory() as folder:
        rows = options.batch * options.steps
        command = [options.countermove, "train", "--data", options.data, "--model", options.model, "--out", folder]
        command += ["--rank", options.rank, "--batch", options.batch, "--examples", rows, "--steps", options.steps]
        command += ["--device", options.device, "--dropout", options.dropout, "--recompute", str(options.recompute).lower()]
        subprocess.run([str(part) for part in command], check=True)
        log = (pathlib.Path(folder) / "log.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in log]
    steps = [event for event in events if event["event"] == "step"]
    # The mean over all steps and the time of the first give the others.
    total = events[0]["train"]["tokens"]
    first = steps[0]["seconds"] * steps[0]["example_tokens_per_second"]
    seconds = steps[-1]["seconds"] - steps[0]["seconds"]
    computed = (steps[-1]["tokens"] - steps[0]["tokens"]) / seconds
    return {
        "tokens_per_second": (total - first) / seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        "note": f"{computed:.0f} computed a second, shared prefixes once",
    }


def peft(options):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    on_gpu = options.device != "cpu"
    place = {"pretrained_model_name_or_path": options.model}
    if options.model.is_file():
        place = {"pretrained_model_name_or_path": options.model.parent, "gguf_file": options.model.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    place |= {"dtype": torch.bfloat16, "device_map": options.device} if on_gpu else {"dtype": torch.float32}
    model = AutoModelForCausalLM.from_pretrained(**place)
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    shape = {"r": options.rank, "lora_alpha": 2 * options.rank, "lora_dropout": options.dropout}
    config = LoraConfig(**shape, target_modules=names, task_type="CAUSAL_LM")
    model = get_peft_model(model, config, autocast_adapter_dtype=not on_gpu).train()
    if options.recompute:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    optimiser = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-3)
    with open(options.data, encoding="utf-8") as file:
        rows = [json.loads(line) for _, line in zip(range(options.batch * options.steps), file)]
    examples = [encode(tokenizer, row) for row in rows]
    begun, counted = None, 0
    for step in range(options.steps):
        if step == 1:
            if on_gpu:
                torch.cuda.synchronize()
            begun = time.monotonic()
        batch = examples[step * options.batch : (step + 1) * options.batch]
        answers = sum(len(tokens) - prompt for tokens, prompt in batch)
        optimiser.zero_grad()
        for at in range(0, len(batch), options.micro):
            micro = batch[at : at + options.micro]
            longest = max(len(tokens) for tokens, _ in micro)
            ids = torch.zeros(len(micro), longest, dtype=torch.long)
            mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
            for index, (tokens, prompt) in enumerate(micro):
                ids[index, : len(tokens)] = torch.tensor(tokens)
                mask[index, : len(tokens)] = 1
                labels[index, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
            ids, mask, labels = (tensor.to(options.device) for tensor in (ids, mask, labels))
            count = torch.tensor(answers, device=options.device)
            model(ids, attention_mask=mask, labels=labels, num_items_in_batch=count).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step > 0:
            counted += sum(len(tokens) for tokens, _ in batch)
    if on_gpu:
        torch.cuda.synchronize()
    return {
        "tokens_per_second": counted / (time.monotonic() - begun),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "note": f"micro-batches of {options.micro}, " + (options.device if on_gpu else f"{torch.get_num_threads()} threads"),
    }


def encode(tokenizer, row):
    """Tokens of a row and how many of them are its prompt."""
    turns = f"<|im_start|>system\n{row['system']}<|im_end|>\n<|im_start|>user\n{''.join(row['prompt'])}<|im_end|>\n"
    prompt = tokenizer.encode(turns + "<|im_start|>assistant\n", add_special_tokens=False)
    return prompt + tokenizer.encode(row["answer"] + "<|im_end|>", add_special_tokens=False), len(prompt)


if __name__ == "__main__":
    main()
