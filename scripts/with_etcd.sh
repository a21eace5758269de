#!/usr/bin/env bash
# Runs cargo over the workspace with discovery by etcd built in: with_etcd.sh SUBCOMMAND ARGUMENT...
#
# The build of etcd's client runs protoc. Where there is none, PyPI's grpcio-tools brings one into the folder that
# BUILD_CACHE names. Where that cannot be had either, everything is built without etcd, with a word.
# CARGO and PYTHON name the programs, PROTOC names a protoc.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
# May be two words, such as `nextest run`.
read -ra subcommand <<<"$1"
shift

# Whether a protoc works and brings the well-known types; Debian splits them off.
is_whole() {
  local folder
  folder=$(mktemp -d)
  printf 'syntax = "proto3";\nimport "google/protobuf/struct.proto";\n' >"$folder/x.proto"
  local status=0
  "$1" -I"$folder" -o/dev/null "$folder/x.proto" >/dev/null 2>&1 || status=1
  rm -rf "$folder"
  return "$status"
}

find_protoc() {
  local installed
  if installed=$(command -v "${PROTOC:-protoc}") && is_whole "$installed"; then
    echo "$installed"
    return
  fi
  local folder=${BUILD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/countermove/build}/protoc
  scripts/pip_tools.sh "$folder" 'grpcio-tools==1.*' >&2 || return 1
  # A program by the name of protoc, as the build wants it.
  cat >"$folder/protoc.new" <<SHIM
#!/usr/bin/env bash
exec '$PWD/scripts/in_tools.sh' '$folder' -m grpc_tools.protoc "\$@"
SHIM
  chmod +x "$folder/protoc.new"
  mv "$folder/protoc.new" "$folder/protoc"
  is_whole "$folder/protoc" || return 1
  echo "$folder/protoc"
}

if PROTOC=$(find_protoc); then
  export PROTOC
  exec "$cargo" "${subcommand[@]}" --features countermove-coordinator/etcd,countermove-membership/etcd,countermove-worker/etcd "$@"
fi
echo "there is no protoc and none can be installed: built without discovery by etcd" >&2
exec "$cargo" "${subcommand[@]}" "$@"
