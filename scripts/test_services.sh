#!/usr/bin/env bash
# Sees to what tests start for themselves: PostgreSQL and etcd, with `faketime` as argument also the library that sets clocks off;
# with `browser` only the Chromium of the console's tests, if there is Node to run them. Installs what is missing where that is
# possible (root, apt-get); elsewhere it says what is missing, and the tests that need it are skipped with a word.
set -uo pipefail

has_postgres() { command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
has_etcd() { command -v etcd >/dev/null; }
has_faketime() { compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null; }

has_chromium() { ! command -v npm >/dev/null || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; }

missing=()
if [ "${1:-}" = browser ]; then
  has_chromium || missing+=(chromium)
else
  has_postgres || missing+=(postgresql)
  has_etcd || missing+=(etcd-server)
  [ "${1:-}" != faketime ] || has_faketime || missing+=(faketime)
fi
[ "${#missing[@]}" -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  # The tests start servers of their own; Debian need not set one up.
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
  fi
  echo "installing for the tests: ${missing[*]}"
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  if apt-get update -qq >"$log" 2>&1 &&
    apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}" >>"$log" 2>&1; then
    rm -f "$log"
    exit 0
  fi
  tail -n 5 "$log" >&2
  rm -f "$log"
fi
echo "not installed: ${missing[*]}; the tests that need them are skipped" >&2
