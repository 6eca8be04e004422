#!/usr/bin/env bash
# Shows the main job on this machine: the quickstart answered through a real Envoy, broken objects refused by kubectl apply.
# Stays up until Ctrl-C and removes everything then. With ONCE=1 it ends after the show.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v curl >/dev/null || {
  echo "run.sh: curl is not installed, which asks the quickstart (Debian: apt-get install curl)" >&2
  exit 1
}
dir=$PWD/.cluster
kubectl=$PWD/bin/kubectl
export KUBECONFIG=$dir/kubeconfig
show=$(mktemp -d) # What is shown and made at run time.

cleanup() {
  trap - EXIT INT TERM
  echo
  echo "stopping the local Kubernetes"
  rm -rf "$show"
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

# Shows a command and what it prints, and ends the run unless it fails or succeeds as wanted and prints each of the words given.
shows() {
  local want=$1 words=$2 out got=stored word
  shift 2
  say "${*//$kubectl/kubectl}"
  out=$("$@" 2>&1) || got=refused
  echo "$out"
  if [ $got != "$want" ]; then
    echo "run.sh: it was $got, but must be $want" >&2
    exit 1
  fi
  while read -r word; do
    grep -qF -- "$word" <<<"$out" || { echo "run.sh: kubectl must say: $word" >&2; exit 1; }
  done <<<"$words"
}

promised() { sed -n 's/^# kubectl says: //p' "$1"; }

for broken in manifests/examples/refused/*.yaml; do
  shows refused "$(promised "$broken")" $kubectl apply -f "$broken"
done

# Two certificates of different keys. Secret mixed has the certificate of one and the key of the other.
for name in shop other; do bin/gatehouse certgen --namespace default --secret $name --service $name >/dev/null; done
certificate=$($kubectl get secret shop -o 'jsonpath={.data.tls\.crt}') key=$($kubectl get secret other -o 'jsonpath={.data.tls\.key}')
cat >"$show/tls.yaml" <<END
apiVersion: v1
kind: Secret
metadata: {name: mixed, namespace: default}
type: kubernetes.io/tls
data: {tls.crt: $certificate, tls.key: $key}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: shop, namespace: default}
spec:
  gatewayClassName: eg
  listeners: [{name: https, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: shop}]}}]
END
echo "data: {tls.key: $key}" >"$show/key.yaml"
say "a Secret whose key does not belong to its certificate: refused where a Gateway names it, and where a listener uses it already"
$kubectl apply -f "$show/tls.yaml"
shows refused "spec.listeners[0].tls.certificateRefs[0]: Secret default/mixed has a tls.key that does not belong to the certificate" \
  $kubectl patch gateway shop --type=json -p '[{"op":"replace","path":"/spec/listeners/0/tls/certificateRefs/0/name","value":"mixed"}]'
shows refused "does not belong to the certificate" $kubectl patch secret shop --patch-file "$show/key.yaml"

for doubtful in manifests/examples/warned/*.yaml; do
  shows stored "$(promised "$doubtful" | sed 's/^/Warning: /')" $kubectl apply -f "$doubtful"
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
