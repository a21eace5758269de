#!/usr/bin/env bash
# The console: `build` makes console/dist anew, `lint` checks its code and that console/dist is what the code builds, `test` runs its
# tests, those in a browser on the real programs included.
#
# The bundle is committed, so neither the programs nor their users need Node. Where there is no Node, or no registry to fetch the
# packages from, lint and test say so and pass; build fails.
set -euo pipefail
cd "$(dirname "$0")/../console"

task=${1:?build, lint or test}

missing() {
  echo "console: $1: $2" >&2
  case $task in
    lint | test) exit 0 ;;
    *) exit 1 ;;
  esac
}

skipped() { missing "$1" "the console was NOT looked at"; }

has_node() {
  command -v npm >/dev/null && command -v node >/dev/null &&
    node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)'
}

has_node || skipped "Node 20.19 or newer with npm is not installed"

# Packages are those of package-lock.json, by their hashes; fetched once for each state of it.
packages() {
  local stamp=node_modules/.lock.sha256
  [ -e "$stamp" ] && sha256sum --check --status "$stamp" && return
  npm ci --no-audit --no-fund --loglevel=error --fetch-retries=1 || return 1
  sha256sum package-lock.json >"$stamp"
}

packages || skipped "the packages cannot be fetched"

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT

case $task in
  build)
    npm run --silent generate
    npx vite build --logLevel warn
    node e2e/weight.mjs dist
    ;;
  lint)
    npm run --silent check
    npx vite build --logLevel warn --emptyOutDir --outDir "$built/dist"
    diff -r dist "$built/dist" >/dev/null || {
      echo "console/dist is not what console/ builds: make console, and commit what comes" >&2
      exit 1
    }
    node e2e/weight.mjs dist
    ;;
  test)
    npm run --silent test
    chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
    [ -n "$chromium" ] || missing "no Chromium is installed" "its tests in a browser were NOT run"
    for program in countermove countermove-coordinator countermove-worker; do
      [ -x "../target/debug/$program" ] || { echo "console: target/debug/$program is missing: make build" >&2; exit 1; }
    done
    CHROMIUM=$chromium node --test --test-reporter=spec e2e/*.test.mjs
    ;;
  *)
    echo "console: what is $task? build, lint or test" >&2
    exit 2
    ;;
esac
