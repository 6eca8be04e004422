#!/usr/bin/env bash
# Puts the CRDs of Gateway API where the program embeds them (manifests/crds.go), without descriptions and compressed:
# the experimental channel of the release that go.mod pins. They are not kept in git.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOTOOLCHAIN=${GOTOOLCHAIN:-go$(sed -n 's/^go //p' go.mod)}

go mod download sigs.k8s.io/gateway-api
crds=$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/experimental
for file in "$crds"/gateway.networking.*.yaml; do
  printf -- '---\n'
  # A description is a text behind the colon. What is behind "description:" on lines of its own is a field of that name.
  awk '
    { indent = match($0, /[^ ]/) - 1 }
    dropping && (indent > dropped || indent < 0) { next }
    { dropping = 0 }
    /^ *description: ./ { dropping = 1; dropped = indent; next }
    { print }
  ' "$file"
done | gzip -9n >manifests/crds/gateway-api.yaml.gz.new
mv manifests/crds/gateway-api.yaml.gz.new manifests/crds/gateway-api.yaml.gz
