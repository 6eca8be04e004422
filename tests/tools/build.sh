#!/usr/bin/env bash
# Builds the development tools that the modules here pin into bin/ of the repository.
# Usage: tests/tools/build.sh [NAME...]   (no name builds all; a name is that of the binary)
# A tool is built when its binary is missing or the go.sum of its module changed since it was built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bin=$(cd ../.. && pwd)/bin
export GOTOOLCHAIN=${GOTOOLCHAIN:-go$(sed -n 's/^go //p' ../../go.mod)}
mkdir -p "$bin"

declare -A package module
for folder in . supply; do
  paths=$(cd "$folder" && go list tool)
  for path in $paths; do package[${path##*/}]=$path module[${path##*/}]=$folder; done
done

names=("$@")
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(printf '%s\n' "${!package[@]}" | sort)

for name in "${names[@]}"; do
  if [ -z "${package[$name]:-}" ]; then
    echo "build.sh: no tool is named $name; there are: $(printf '%s\n' "${!package[@]}" | sort | xargs)" >&2
    exit 2
  fi
  pins=$(cat "${module[$name]}/go.mod" "${module[$name]}/go.sum" | sha256sum | cut -d' ' -f1)
  if [ -x "$bin/$name" ] && [ "$(cat "$bin/.$name.pins" 2>/dev/null)" = "$pins" ]; then continue; fi
  echo "building $name (${package[$name]})"
  started=$SECONDS
  (cd "${module[$name]}" && go build -o "$bin/$name.new" "${package[$name]}")
  mv "$bin/$name.new" "$bin/$name"
  echo "$pins" >"$bin/.$name.pins"
  echo "built $name in $((SECONDS - started)) s"
done
