#!/usr/bin/env bash
# Builds the development tools that go.mod pins into bin/ of the repository.
# Usage: tests/tools/build.sh [NAME...]   (no name builds all; a name is that of the binary)
# A tool is built when its binary is missing or go.sum changed since it was built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
bin=$(cd ../.. && pwd)/bin
mkdir -p "$bin"

declare -A package
while read -r path; do package[${path##*/}]=$path; done < <(go list tool)

names=("$@")
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(printf '%s\n' "${!package[@]}" | sort)

pins=$(cat go.mod go.sum | sha256sum | cut -d' ' -f1)
for name in "${names[@]}"; do
  if [ -z "${package[$name]:-}" ]; then
    echo "build.sh: no tool is named $name; go.mod has: $(printf '%s\n' "${!package[@]}" | sort | xargs)" >&2
    exit 2
  fi
  if [ -x "$bin/$name" ] && [ "$(cat "$bin/.$name.pins" 2>/dev/null)" = "$pins" ]; then continue; fi
  echo "building $name (${package[$name]})"
  started=$SECONDS
  go build -o "$bin/$name.new" "${package[$name]}"
  mv "$bin/$name.new" "$bin/$name"
  echo "$pins" >"$bin/.$name.pins"
  echo "built $name in $((SECONDS - started)) s"
done
