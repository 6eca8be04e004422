#!/usr/bin/env bash
# Prints the version of what is checked out, as git knows it: v1.2.3 at a tag, v1.2.3-4-gabcdef012345 four commits after it,
# v0.0.0-<date of the commit>-<commit> where no tag is known. What is not committed adds -dirty.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if ! git rev-parse --verify -q HEAD >/dev/null 2>&1; then
  echo v0.0.0-unknown
  exit
fi
if ! git describe --tags --match 'v[0-9]*' --abbrev=12 --dirty 2>/dev/null; then
  dirty=$(git status --porcelain --untracked-files=no | head -c 1)
  echo "$(TZ=UTC git log -1 --date=format-local:%Y%m%d%H%M%S --format=v0.0.0-%cd-%h --abbrev=12)${dirty:+-dirty}"
fi
