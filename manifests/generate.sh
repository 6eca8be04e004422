#!/usr/bin/env bash
# Generates what the types of api/ determine, each file once:
#   api/**/zz_generated.deepcopy.go      DeepCopy methods
#   manifests/gatehouse-crds/files/      our CRDs
#   bin/gateway-api-crds.yaml            the CRDs of the Gateway API module that go.mod pins; not kept in git
# Needs bin/controller-gen (tests/tools/build.sh builds it when it is missing).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Descriptions at this many spaces and more are those of Kubernetes' own types (affinity, volumes, containers ...), which
# kubectl explain has on pods. Without them the EnvoyProxy CRD is a third of its size and fits into kubectl apply.
readonly foreign_indent=33

tests/tools/build.sh controller-gen
bin/controller-gen object paths=./api/...

out=manifests/gatehouse-crds/files
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT
bin/controller-gen crd paths=./api/... output:crd:dir="$raw"
mkdir -p "$out"
rm -f "$out"/*.yaml
for crd in "$raw"/*.yaml; do
  awk -v limit="$foreign_indent" '
    { indent = match($0, /[^ ]/) - 1 }
    dropping && (indent > dropped || indent < 0) { next }
    { dropping = 0 }
    indent >= limit && /^ *description: ./ { dropping = 1; dropped = indent; next }
    { print }
  ' "$crd" >"$out/${crd##*/}"
done

manifests/gateway-api.sh
