#!/usr/bin/env python3
"""Makes the fixtures that crates/model/tests/reference.rs compares the engine with.

Run by `make reference-fixtures` in an environment with requirements.txt. Writes to tests/reference/fixtures:

- tokenizer.json: 200 lines and their token ids by Hugging Face tokenizers, control tokens read as plain text.
- default.safetensors: for the default model, dequantised to float32 by transformers: `tokens` [prompts, length], the
  likeliest next token `top1` [prompts, length], and for chosen positions of the first prompt (`positions`) the logits
  of chosen tokens (`columns`) and the logarithm of the sum of the exponentials of all logits (`logsumexp`).
- tiny-qwen2/, tiny-qwen3/: random models with a tokenizer and a peft adapter (`adapter/`), as their libraries save
  them, and expected.safetensors with `tokens`, `logits` and `logits_adapter`.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import sys

import numpy
import torch
from safetensors.numpy import save_file

import corpus

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE / "fixtures"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PROMPTS, LENGTH = 16, 136
POSITIONS = 40


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=default_model(), help="the default model's GGUF")
    options = parser.parse_args()
    digest = hashlib.sha256(options.model.read_bytes()).hexdigest()
    if digest != MODEL_SHA256:
        sys.exit(f"{options.model}: SHA-256 is {digest}, expected {MODEL_SHA256}")
    FIXTURES.mkdir(exist_ok=True)
    torch.manual_seed(0)
    with torch.no_grad():
        tokenizer = tokenizer_fixture(options.model)
        default_fixture(options.model, tokenizer)
        for family in ("qwen2", "qwen3"):
            tiny_fixture(family)
    for family in ("qwen2", "qwen3"):
        trained_fixture(family)
    total = sum(path.stat().st_size for path in FIXTURES.rglob("*") if path.is_file())
    print(f"{FIXTURES}: {total / 1024:.0f} KiB")


def default_model():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    home = os.environ.get("COUNTERMOVE_HOME") or os.path.join(cache, "countermove")
    return pathlib.Path(home) / "models/SmolLM2-135M-Instruct.Q4_1.gguf"


def tokenizer_fixture(path):
    """Ids by the tokenizer that SmolLM2 publishes: every digit alone, then byte-level BPE; nothing is special."""
    from gguf import GGUFReader
    from tokenizers import Tokenizer, models, pre_tokenizers

    fields = GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    lines = corpus.lines()
    fixture = {
        "made_by": versions(),
        "model_sha256": MODEL_SHA256,
        "lines": [{"text": line, "ids": tokenizer.encode(line, add_special_tokens=False).ids} for line in lines],
    }
    with open(FIXTURES / "tokenizer.json", "w", encoding="utf-8") as file:
        file.write("{\n")
        file.write(f'"made_by": {json.dumps(fixture["made_by"])},\n"model_sha256": "{MODEL_SHA256}",\n"lines": [\n')
        file.write(",\n".join(json.dumps(line, separators=(",", ":")) for line in fixture["lines"]))
        file.write("\n]}\n")
    return tokenizer


def versions():
    import peft
    import tokenizers
    import transformers

    modules = (torch, transformers, tokenizers, peft)
    return {module.__name__: module.__version__.split("+")[0] for module in modules}


def default_fixture(path, tokenizer):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()
    rows = []
    for prompt in corpus.prompts(PROMPTS):
        # The newest part of a prompt differs most from prompt to prompt.
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        start = 0 if len(rows) % 2 == 0 else len(ids) - LENGTH
        rows.append(ids[start : start + LENGTH])
    tokens = torch.tensor(rows)
    logits = torch.cat([model(row[None]).logits for row in tokens]).float()
    vocabulary = logits.shape[-1]
    positions = numpy.linspace(0, LENGTH - 1, POSITIONS).astype(numpy.uint32)
    top = logits[0].topk(4).indices[positions.astype(int)].flatten().tolist()
    columns = numpy.array(sorted(set(range(0, vocabulary, 1021)) | set(top)), dtype=numpy.uint32)
    chosen = logits[0][torch.from_numpy(positions.astype(int))]
    save(
        FIXTURES / "default.safetensors",
        {
            "tokens": tokens.numpy().astype(numpy.uint32),
            "top1": logits.argmax(-1).numpy().astype(numpy.uint32),
            "positions": positions,
            "columns": columns,
            "logits": chosen[:, torch.from_numpy(columns.astype(int))].numpy(),
            "logsumexp": chosen.logsumexp(-1).numpy(),
        },
    )


def tiny_fixture(family):
    """A random model of the family with every convention of it in use, an adapter, and what both answer."""
    from peft import LoraConfig, get_peft_model
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen3Config

    folder = FIXTURES / f"tiny-{family}"
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=272,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus.lines(), trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    wrapped.save_pretrained(folder)

    shape = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "eos_token_id": 2,
        "bos_token_id": None,
    }
    if family == "qwen2":
        config = Qwen2Config(**shape, tie_word_embeddings=False, rms_norm_eps=1e-6, **rope(3000.0))
        stored = torch.bfloat16
    else:
        config = Qwen3Config(**shape, tie_word_embeddings=True, rms_norm_eps=1e-5, head_dim=16, **rope(200.0))
        stored = torch.float16
    model = AutoModelForCausalLM.from_config(config)
    randomise(model)
    # The weights are rounded as they are stored, and computed with as float32.
    model = model.to(stored)
    model.save_pretrained(folder, safe_serialization=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    ids = tokenizer.encode(corpus.SYSTEMS[0]).ids[:6]
    tokens = torch.tensor([ids])
    plain = model(tokens).logits[0]
    lora = LoraConfig(
        r=2, lora_alpha=6, target_modules=["q_proj", "v_proj", "gate_proj", "down_proj"], task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(model, lora).eval()
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.copy_(torch.randn_like(weight) * 0.2)
    adapted.peft_config["default"].base_model_name_or_path = f"tiny-{family}"
    adapted.save_pretrained(folder / "adapter")
    written = folder / "adapter/adapter_config.json"
    settings = json.loads(written.read_text(encoding="utf-8"))
    # peft keeps a set, whose order changes from run to run.
    settings["target_modules"].sort()
    written.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    tuned = adapted(tokens).logits[0]
    if (plain - tuned).abs().max() < 0.1:
        sys.exit("the adapter changes nothing, so it would test nothing")
    for weights in folder.rglob("*.safetensors"):
        weights.chmod(0o644)
    for extra in ("README.md", "generation_config.json", "special_tokens_map.json"):
        for place in (folder, folder / "adapter"):
            (place / extra).unlink(missing_ok=True)
    save(
        folder / "expected.safetensors",
        {
            "tokens": tokens[0].numpy().astype(numpy.uint32),
            "logits": plain.numpy(),
            "logits_adapter": tuned.numpy(),
        },
    )


def trained_fixture(family):
    """Two steps from the fixture's adapter. The examples share nine tokens; the test trains on the same ones."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = FIXTURES / f"tiny-{family}"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, folder / "adapter", is_trainable=True)
    factors = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    optimiser = torch.optim.AdamW(factors.values(), lr=0.01, weight_decay=0.1)
    shared = list(range(10, 19))
    examples = [(shared + [40, 41], [50, 51, 2]), (shared + [60], [61, 62, 63, 64, 2])]
    losses, norms = [], []
    for _ in range(2):
        total, count = 0.0, 0
        for prompt, answer in examples:
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
            total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum")
            count += len(answer)
        optimiser.zero_grad()
        (total / count).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(factors.values(), 1.0)))
        losses.append(float(total.detach()) / count)
        optimiser.step()
    if max(norms) <= 1:
        sys.exit("no gradient is clipped, so clipping would not be tested")
    trained = {name.replace(".default", ""): weight.detach().numpy() for name, weight in factors.items()}
    numbers = {"loss": numpy.array(losses, numpy.float32), "norm": numpy.array(norms, numpy.float32)}
    save(folder / "trained.safetensors", trained | numbers)


def rope(theta):
    """A base of the rotation frequencies that is not the default, so that a loader cannot guess it."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta}}


def randomise(model):
    """Weights large enough that every layer counts, norms that are not one, biases that are not zero."""
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.copy_(1 + torch.randn_like(weight) * 0.2)
        elif name.endswith("bias"):
            weight.copy_(torch.randn_like(weight) * 0.3)
        else:
            weight.copy_(torch.randn_like(weight) * (1.2 / weight.shape[-1] ** 0.5))


def save(path, tensors):
    save_file({name: numpy.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    path.chmod(0o644)


if __name__ == "__main__":
    main()
