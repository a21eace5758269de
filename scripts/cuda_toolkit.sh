#!/usr/bin/env bash
# Installs what building for CUDA needs into a folder and prints CUDA_HOME: cuda_toolkit.sh FOLDER
#
# The compiler and the libraries come as Python packages, so neither a GPU nor an installed toolkit is needed. Two
# things are missing there. Linkers ask for bare library names (libcublas.so) in lib64: links are made. And the
# driver's library comes with the driver only: a stub with the same soname and the functions that cudarc names
# stands in while linking. The stub is never loaded at run time, where libcuda.so.1 is the driver's own.
#
# CARGO and PYTHON name the programs. A second call does nothing but print.
set -euo pipefail

folder=$1
cd "$(dirname "$0")/.."
scripts/pip_tools.sh "$folder" \
  'nvidia-cuda-nvcc==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-nvvm==13.0.*' 'nvidia-cuda-runtime==13.0.*' \
  'nvidia-cuda-cccl==13.0.*' 'nvidia-cuda-nvrtc==13.0.*' 'nvidia-cublas==13.0.*' 'nvidia-curand==10.4.*'

home=$(find "$folder" -type d -path '*/nvidia/cu13' -print -quit)
if [ -z "$home" ] || [ ! -x "$home/bin/nvcc" ]; then
  echo "$folder holds no nvcc; delete that folder and try again" >&2
  exit 1
fi

[ -e "$home/lib64" ] || ln -s lib "$home/lib64"
for library in "$home"/lib/lib*.so.*; do
  bare=${library%%.so.*}.so
  case $bare in *.alt.so) continue ;; esac
  [ -e "$bare" ] || ln -s "$(basename "$library")" "$bare"
done

stub=$home/lib/stubs/libcuda.so
if [ ! -e "$stub" ]; then
  manifest=$("${CARGO:-cargo}" metadata --format-version 1 --all-features --locked \
    | "${PYTHON:-python3}" -c 'import json, sys
print(next(p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"))')
  mkdir -p "$home/lib/stubs"
  grep -ohE '\bfn cu[A-Z][A-Za-z0-9_]*' "$(dirname "$manifest")/src/driver/sys/mod.rs" \
    | sort -u | sed 's/^fn \(.*\)$/int \1(void) { return 999; }/' >"$stub.c"
  cc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$stub.new" "$stub.c"
  mv "$stub.new" "$stub"
fi
echo "$home"
