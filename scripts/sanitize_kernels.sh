#!/usr/bin/env bash
# Runs the tests of the engine's unsafe code, its kernels, pages and memory, under AddressSanitizer.
#
# Sanitizers are a matter of the nightly compiler. Where there is none this says so and ends well: everything else goes on.
# CARGO names cargo. Built once in target/sanitizer, some ten minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v rustup >/dev/null || ! rustup run nightly rustc --version >/dev/null 2>&1; then
  echo "left out: the kernels under AddressSanitizer, since there is no nightly compiler (rustup toolchain install nightly)" >&2
  exit 0
fi
host=$(rustup run nightly rustc -vV | sed -n 's/^host: //p')
libraries=$(rustup run nightly rustc --print sysroot)/lib/rustlib/$host/lib
if ! compgen -G "$libraries/librustc-nightly_rt.asan*" >/dev/null; then
  echo "left out: the kernels under AddressSanitizer, since this compiler has none for $host" >&2
  exit 0
fi
# The target is named so that build scripts and macros are built without it. Leaks are no matter of memory safety.
export RUSTFLAGS="-Zsanitizer=address ${RUSTFLAGS:-}" ASAN_OPTIONS="detect_leaks=0 ${ASAN_OPTIONS:-}"
exec rustup run nightly cargo test -p countermove-model --lib --target "$host" --target-dir target/sanitizer -- \
  cpu:: kv:: memory:: sampling::
