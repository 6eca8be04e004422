#!/usr/bin/env bash
# Starts a local Kubernetes and installs Gatehouse into it from its Helm charts, as a user would.
#   tests/up.sh DIR [HELM ARGUMENT...]
# DIR is the cluster's directory; helm arguments such as --set go to the chart gatehouse. What the charts need is in bin/ (make build).
# KUBERNETES=1.36 starts that Kubernetes, which tests/cluster/build.sh has built by the same name, instead of the newest.
# CERT_MANAGER=1 installs cert-manager too, with the issuers of tests/cert-manager.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=$1
shift

[ -z "${CERT_MANAGER:-}" ] || tests/cluster/build.sh cert-manager
images=(--image "gatehouse*=$PWD/bin/gatehouse")
if [ -x bin/previous/gatehouse ]; then images+=(--image "gatehouse:previous=$PWD/bin/previous/gatehouse"); fi
if redis=$(command -v redis-server); then images+=(--image "redis=$redis"); fi
for program in bin/cert-manager/{cert-manager-*,pebble*}; do
  if [ -x "$program" ]; then images+=(--image "${program##*/}=$PWD/$program"); fi
done
bin/cluster --dir "$dir" up --bin "bin${KUBERNETES:+/kubernetes-$KUBERNETES}" "${images[@]}"
export KUBECONFIG=$dir/kubeconfig

say() { printf '%4ss  %s\n' "$SECONDS" "$*"; }

say "Kubernetes $(bin/kubectl get --raw /version | sed -n 's/.*"gitVersion": "\(.*\)".*/\1/p') is up"
say "installing the CRDs of Gateway API and of Gatehouse"
bin/kubectl apply --server-side -f bin/gateway-api-crds.yaml >/dev/null
bin/helm template manifests/gatehouse-crds | bin/kubectl apply --server-side -f - >/dev/null
bin/kubectl wait --for=condition=Established --timeout=30s crd --all >/dev/null

say "installing Gatehouse by Helm"
bin/helm upgrade --install gatehouse manifests/gatehouse --namespace gatehouse-system --create-namespace \
  --wait --timeout 60s "$@" >/dev/null
say "Gatehouse is ready"

if [ -n "${CERT_MANAGER:-}" ]; then
  tests/cert-manager/install.sh
  say "cert-manager is ready, with the ClusterIssuers self-signed, ca and acme"
fi
