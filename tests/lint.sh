#!/usr/bin/env bash
# Linters over all modules and workflows, and no difference after generating.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOTOOLCHAIN=${GOTOOLCHAIN:-go$(sed -n 's/^go //p' go.mod)}
git rev-parse HEAD >/dev/null 2>&1 || {
  echo "lint.sh: the files to look at are those that git knows, and this is not a git repository: clone it by git" >&2
  exit 1
}
for module in . tests; do
  echo "linting module $module"
  (cd "$module" && "$OLDPWD/bin/golangci-lint" run --allow-parallel-runners --config "$OLDPWD/.golangci.yml" --concurrency 2 ./...)
done
unformatted=$(git ls-files '*.go' | xargs bin/gofumpt -l)
if [ -n "$unformatted" ]; then
  echo "not formatted; run bin/gofumpt -w on:" "$unformatted" >&2
  exit 1
fi
bin/actionlint
before=$(git ls-files -m api manifests | xargs -r sha256sum)
manifests/generate.sh
if [ "$before" != "$(git ls-files -m api manifests | xargs -r sha256sum)" ]; then
  echo "generated files are not up to date; run make generate and commit:" >&2
  git ls-files -m api manifests >&2
  exit 1
fi
