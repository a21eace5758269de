#!/usr/bin/env bash
# Packs the CUDA worker, the default model and the check into pieces: gpu_bundle.sh WORKER FOLDER
#
# On the machine with the GPU: cat bundle.* | tar xJ && python3 gpu_check.py --worker ./countermove-worker --model ./model.gguf
set -euo pipefail

worker=$1 folder=$2
cd "$(dirname "$0")/.."
[ -x "$worker" ] || { echo "$worker is not built; run 'make cuda'" >&2; exit 1; }
model=$(cd scripts && "${PYTHON:-python3}" -c 'from benchmarking import default_model; print(default_model())')

rm -rf "$folder"
mkdir -p "$folder/content"
strip -o "$folder/content/countermove-worker" "$worker"
cp scripts/gpu_check.py "$folder/content/"
cp "$model" "$folder/content/model.gguf"
tar -C "$folder/content" -cJf - countermove-worker gpu_check.py model.gguf | split -b 44000000 - "$folder/bundle."
rm -r "$folder/content"
ls -l "$folder"
