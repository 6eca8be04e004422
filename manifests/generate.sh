#!/usr/bin/env bash
# Generates what the types of api/ determine, each file once:
#   api/**/zz_generated.deepcopy.go      DeepCopy methods
#   manifests/gatehouse-crds/files/      our CRDs
#   bin/gateway-api-crds.yaml            the CRDs of the Gateway API module that go.mod pins; not kept in git
# Needs bin/controller-gen (tests/tools/build.sh builds it when it is missing).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOTOOLCHAIN=${GOTOOLCHAIN:-go$(sed -n 's/^go //p' go.mod)}

# Descriptions at this many spaces and more are those of Kubernetes' own types (affinity, volumes, containers ...), which
# kubectl explain has on pods. Without them the EnvoyProxy CRD is a third of its size and fits into kubectl apply.
readonly foreign_indent=33

# The parts of an object, of which spec is one, are at this many spaces. Objects in spec keep fields that they do not know, so that what
# another version or Envoy Gateway has stored is not lost; the control plane tells of them (api/v1alpha1/unread.go). The kinds of
# gatehouse.dev are Gatehouse's own, and keep nothing else.
readonly part_indent=10

tests/tools/build.sh controller-gen
bin/controller-gen object paths=./api/...

out=manifests/gatehouse-crds/files
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT
bin/controller-gen crd:allowDangerousTypes=true paths=./api/... output:crd:dir="$raw"
mkdir "$raw/cut"
for crd in "$raw"/*.yaml; do
  case $crd in */gatehouse.dev_*) cp "$crd" "$raw/cut"; continue ;; esac
  awk -v limit="$foreign_indent" -v part="$part_indent" -v keep=x-kubernetes-preserve-unknown-fields: '
    { indent = match($0, /[^ ]/) - 1 }
    dropping && (indent > dropped || indent < 0) { next }
    { dropping = 0 }
    indent >= limit && /^ *description: ./ { dropping = 1; dropped = indent; next }
    indent == part { spec = ($1 == "spec:") }
    spec && $1 == "additionalProperties:" { map[indent] = 1 }
    $1 == keep && kept == indent { next }
    { kept = -1 }
    { print }
    spec && $0 ~ /^ *type: object$/ {
      if (!map[indent]) { printf "%*s%s true\n", indent, "", keep; kept = indent }
      map[indent] = 0
    }
  ' "$crd" >"$raw/cut/${crd##*/}"
done
mkdir -p "$out"
rm -f "$out"/*.yaml # Only now, so that a run that fails or is stopped leaves the old ones.
cp "$raw"/cut/*.yaml "$out"

manifests/gateway-api.sh
