#!/usr/bin/env bash
# Packs what gpu_check.py needs, the default model with it, into pieces: gpu_bundle.sh PROGRAMS FOLDER
#
# On the machine with the GPU: cat bundle.* | tar xJ && cd content && python3 gpu_check.py --programs . --model ./model.gguf \
#   --adapter adapter --incident incident
set -euo pipefail

programs=$1 folder=$2
cd "$(dirname "$0")/.."
model=$(cd scripts && "${PYTHON:-python3}" -c 'from benchmarking import default_model; print(default_model())')

rm -rf "$folder"
mkdir -p "$folder/content"
for program in countermove countermove-coordinator countermove-lab countermove-worker; do
  [ -x "$programs/$program" ] || { echo "$programs/$program is not built; run 'make cuda'" >&2; exit 1; }
  strip -o "$folder/content/$program" "$programs/$program"
done
cp scripts/gpu_check.py "$folder/content/"
cp -r adapters/smollm2-135m "$folder/content/adapter"
cp -r tests/incidents/web-shell "$folder/content/incident"
cp "$model" "$folder/content/model.gguf"
tar -C "$folder" -cJf - content | split -b 44000000 - "$folder/bundle."
rm -r "$folder/content"
ls -l "$folder"
