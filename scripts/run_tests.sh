#!/usr/bin/env bash
# Runs every test of the workspace and closes with a summary; `make test` builds the binaries and fetches the model
# first. Arguments go to `cargo test`.
#
# target/test-summary.txt holds the counts as `N passed, N failed, N skipped` for .ci/run.
set -uo pipefail

# Property tests draw the same cases each time; another number draws others.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}

log=target/test-output.txt
counts=target/test-summary.txt
mkdir -p target
rm -f "$log" "$counts"
start=$SECONDS

scripts/with_etcd.sh test --workspace --no-fail-fast "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}

# Each test binary closes with `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
awk '
  / passed; [0-9]+ failed; / && /test result:/ {
    for (i = 2; i <= NF; i++) {
      if ($i == "passed;") passed += $(i - 1)
      if ($i == "failed;") failed += $(i - 1)
      if ($i == "ignored;") skipped += $(i - 1)
    }
  }
  END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }
' "$log" >"$counts"

echo
echo "== summary after $((SECONDS - start)) s =="
failures=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/  failed: \1/p' "$log" | sort -u)
if [ -n "$failures" ]; then
  echo "$failures"
  echo "  the whole output is in $log"
fi
if grep -qE '^error(\[|:)' "$log" && [ "$status" -ne 0 ] && [ -z "$failures" ]; then
  echo "  cargo stopped before all tests ran; see the errors above"
fi
grep -hE '^skipp(ing|ed)\b' "$log" | sort -u | sed 's/^/  /' || true
sed 's/^/tests: /' "$counts"
exit "$status"
