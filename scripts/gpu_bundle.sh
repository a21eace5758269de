#!/usr/bin/env bash
# Packs the CUDA worker, the default model and the check into pieces: gpu_bundle.sh WORKER FOLDER
#
# On the machine with the GPU: cat bundle.* | tar xJ && python3 gpu_check.py --worker ./countermove-worker --model ./model.gguf
set -euo pipefail

worker=$1 folder=$2
cd "$(dirname "$0")/.."
[ -x "$worker" ] || { echo "$worker is not built; run 'make cuda'" >&2; exit 1; }
model=${COUNTERMOVE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/countermove}/models/SmolLM2-135M-Instruct.Q4_1.gguf
[ -e "$model" ] || { echo "the default model is not at $model; run 'make model'" >&2; exit 1; }

rm -rf "$folder"
mkdir -p "$folder/content"
strip -o "$folder/content/countermove-worker" "$worker"
cp scripts/gpu_check.py "$folder/content/"
cp "$model" "$folder/content/model.gguf"
tar -C "$folder/content" -cJf - countermove-worker gpu_check.py model.gguf | split -b 44000000 - "$folder/bundle."
rm -r "$folder/content"
ls -l "$folder"
