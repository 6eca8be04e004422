#!/usr/bin/env bash
# Puts the CRDs of the Gateway API module that go.mod pins into bin/gateway-api-crds.yaml; they are not kept in git.
# GATEWAY_API_CHANNEL is experimental, the default, or standard.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

channel=${GATEWAY_API_CHANNEL:-experimental}
crds=$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/$channel
if [ ! -d "$crds" ]; then
  echo "gateway-api.sh: GATEWAY_API_CHANNEL=$channel is no channel of the Gateway API module: use standard or experimental" >&2
  exit 2
fi
mkdir -p bin
for file in "$crds"/gateway.networking.*.yaml; do
  printf -- '---\n'
  cat "$file"
done >bin/gateway-api-crds.yaml.new
mv bin/gateway-api-crds.yaml.new bin/gateway-api-crds.yaml
