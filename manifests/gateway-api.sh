#!/usr/bin/env bash
# Puts CRDs of Gateway API into bin/; they are not kept in git.
#   gateway-api-crds.yaml            the release that go.mod pins, experimental channel: what is installed
#   gateway-api-crds-standard.yaml   its standard channel
#   gateway-api-crds-1.6.yaml        v1.6, experimental channel
# The last two are what a cluster may have instead; tests use them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOTOOLCHAIN=${GOTOOLCHAIN:-go$(sed -n 's/^go //p' go.mod)}

# put MODULE CHANNEL NAME writes the CRDs of a channel that the Gateway API of a Go module has.
put() {
  local crds
  (cd "$1" && go mod download sigs.k8s.io/gateway-api)
  crds=$(cd "$1" && go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/$2
  for file in "$crds"/gateway.networking.*.yaml; do
    printf -- '---\n'
    cat "$file"
  done >"bin/$3.new"
  mv "bin/$3.new" "bin/$3"
}

mkdir -p bin
put . experimental gateway-api-crds.yaml
put . standard gateway-api-crds-standard.yaml
put tests/cluster/gateway-api-1.6 experimental gateway-api-crds-1.6.yaml
