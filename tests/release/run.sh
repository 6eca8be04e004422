#!/usr/bin/env bash
# Builds the image of what is checked out into bin/image and, given a repository, pushes it with its bill of materials and the charts.
# Usage: tests/release/run.sh [REPOSITORY]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export GOTOOLCHAIN=${GOTOOLCHAIN:-go$(sed -n 's/^go //p' go.mod)}
git rev-parse --verify -q HEAD >/dev/null 2>&1 || {
  echo "run.sh: an image tells its commit, and there is none here: clone the repository by git" >&2
  exit 1
}
flags=(--root .. --version "$(tests/release/version.sh)" --commit "$(git rev-parse HEAD)" --created "$(git log -1 --format=%ct)")
if [ -n "${1:-}" ]; then flags+=(--push "$1"); fi
cd tests && go run ./release "${flags[@]}"
