#!/usr/bin/env bash
# Installs Python packages into a folder: pip_tools.sh FOLDER PIP-ARGUMENT...
#
# The folder becomes a virtual environment. Where Python comes without venv (Debian splits it off), pip installs
# into it with --target instead. Either way programs are in FOLDER/bin and in_tools.sh runs scripts. A second call
# with the same arguments does nothing.
set -euo pipefail

folder=$1
shift
python=${PYTHON:-python3}
# A changed requirements file counts as changed arguments.
wanted=$({ echo "$@"; for a in "$@"; do if [ -f "$a" ]; then cat "$a"; fi; done; } | cksum)
stamp=$folder/.installed
if [ -f "$stamp" ] && grep -qxF "$wanted" "$stamp"; then
  exit 0
fi

mkdir -p "$folder"
if [ -x "$folder/bin/python" ] || "$python" -m venv "$folder" >/dev/null 2>&1; then
  pip=("$folder/bin/python" -m pip install)
else
  echo "python3 has no venv module; installing with pip --target" >&2
  rm -rf "$folder/bin/python" "$folder/pyvenv.cfg"
  pip=("$python" -m pip install --target "$folder" --upgrade)
fi
log=$folder/pip.log
if ! "${pip[@]}" --disable-pip-version-check "$@" >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "pip could not install: $*" >&2
  exit 1
fi
echo "$wanted" >>"$stamp"
