#!/usr/bin/env bash
# Shows the main job on this machine: the quickstart answered through a real Envoy, broken objects refused by kubectl apply.
# Stays up until Ctrl-C and removes everything then. With ONCE=1 it ends after the show.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dir=$PWD/.cluster
kubectl=$PWD/bin/kubectl
export KUBECONFIG=$dir/kubeconfig

cleanup() {
  trap - EXIT INT TERM
  echo
  echo "stopping the local Kubernetes"
  bin/cluster --dir "$dir" down
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n%4ss  %s\n' "$SECONDS" "$*"; }

tests/up.sh "$dir"

say "kubectl apply -f manifests/quickstart.yaml"
$kubectl apply -f manifests/quickstart.yaml
address=
for _ in $(seq 300); do
  address=$(bin/cluster --dir "$dir" status | awk '/default-eg|\/envoy-default-eg/ {for (i = 1; i <= NF; i++) if ($i ~ /^127\./) {print $i; exit}}')
  [ -n "$address" ] && curl -sf -o /dev/null -m 2 -H 'Host: www.example.com' "http://${address%:*}/" && break
  sleep 0.1
done
if ! curl -sf -o /dev/null -m 5 -H 'Host: www.example.com' "http://${address%:*}/"; then
  echo "run.sh: the quickstart does not answer at '${address%:*}'; what its Gateway and pods say:" >&2
  $kubectl describe gateway eg >&2
  $kubectl get pods -A >&2
  exit 1
fi
say "curl -H 'Host: www.example.com' http://${address%:*}/"
curl -sf -m 5 -H 'Host: www.example.com' "http://${address%:*}/"
echo
$kubectl get gateways,httproutes

for broken in manifests/examples/refused/*.yaml; do
  say "kubectl apply -f $broken"
  if $kubectl apply -f "$broken" 2>&1; then
    echo "run.sh: $broken was stored, but must be refused" >&2
    exit 1
  fi
done
for doubtful in manifests/examples/warned/*.yaml; do
  say "kubectl apply -f $doubtful"
  $kubectl apply -f "$doubtful" 2>&1
done
[ -z "${ONCE:-}" ] || exit 0

cat <<END

Gatehouse is up. In another shell:
  export KUBECONFIG=$KUBECONFIG
  $kubectl get gateways,httproutes -A
  curl -H 'Host: www.example.com' http://${address%:*}/
Ctrl-C stops and removes everything.
END
while :; do sleep 3600 & wait $!; done
