#!/usr/bin/env bash
# Installs cert-manager into the local Kubernetes from its chart, as a user would, and a server that issues certificates by ACME (pebble).
#   KUBECONFIG=DIR/kubeconfig tests/cert-manager/install.sh
# Afterwards the ClusterIssuers self-signed, ca and acme are ready. tests/cluster/build.sh cert-manager has built what is needed, and the
# cluster was started with its images (tests/up.sh).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
kubectl=bin/kubectl
limit=60s

# The chart waits for its own API with a Job, which the local Kubernetes does not run.
bin/helm upgrade --install cert-manager bin/cert-manager/chart --namespace cert-manager --create-namespace --wait --timeout $limit \
  --set startupapicheck.enabled=false --values tests/cert-manager/values.yaml >/dev/null

# Until cainjector has told the API server which CA the webhook's certificate is from, nothing can be stored.
for _ in $(seq 60); do
  refused=$($kubectl apply -f tests/cert-manager/issuers.yaml 2>&1) && refused= && break
  sleep 0.5
done
[ -z "$refused" ] || { echo "install.sh: cert-manager's webhook does not answer: $refused" >&2 && exit 1; }
$kubectl apply -f tests/cert-manager/acme.yaml >/dev/null
$kubectl wait --for=condition=Ready --timeout=$limit -n acme certificate/pebble >/dev/null
for deployment in dns pebble; do $kubectl rollout status -n acme deployment/$deployment --timeout=$limit >/dev/null; done

authority=$($kubectl get secret -n acme pebble -o 'jsonpath={.data.ca\.crt}')
sed "s/AUTHORITY/$authority/" tests/cert-manager/acme-issuer.yaml | $kubectl apply -f - >/dev/null
$kubectl wait --for=condition=Ready --timeout=$limit clusterissuer/self-signed clusterissuer/ca clusterissuer/acme >/dev/null
