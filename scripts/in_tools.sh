#!/usr/bin/env bash
# Runs a Python script with the packages of a folder made by pip_tools.sh: in_tools.sh FOLDER SCRIPT ARGUMENT...
set -euo pipefail

folder=$1
shift
if [ -x "$folder/bin/python" ]; then
  exec "$folder/bin/python" "$@"
fi
PYTHONPATH=$folder${PYTHONPATH:+:$PYTHONPATH} exec "${PYTHON:-python3}" "$@"
