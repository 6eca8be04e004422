#!/usr/bin/env bash
# Builds the version before this one into bin/previous: the program and its charts, for the test of upgrades (tests/e2e/upgrade_test.go).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export GOTOOLCHAIN=${GOTOOLCHAIN:-go$(sed -n 's/^go //p' go.mod)}
# The tag upgrade-from names it too.
previous=202b294bb5058d93c724031bd0bc93e13b6f5574
out=$PWD/bin/previous

if [ "$(cat "$out/commit" 2>/dev/null)" = "$previous" ] && [ -d "$out/charts" ]; then exit; fi
if ! git cat-file -e "$previous^{commit}" 2>/dev/null; then
  echo "previous.sh: git has no commit $previous here, so upgrades are not tested: git fetch --unshallow brings it (in a workflow, fetch-depth: 0)" >&2
  [ -z "${GITHUB_ACTIONS:-}" ] # A workflow tests everything, or fails.
  exit
fi
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
git archive "$previous" go.mod go.sum api cmd controller infra manifests policies translator webhook xds | tar -x -C "$source"
echo "building the version before this one"
rm -rf "$out"
mkdir -p "$out"
(cd "$source" && go build -trimpath -ldflags "-X main.version=v0.0.0-previous" -o "$out/gatehouse" ./cmd/gatehouse)
mkdir "$out/charts"
cp -r "$source/manifests/gatehouse" "$source/manifests/gatehouse-crds" "$out/charts"
echo "$previous" >"$out/commit"
