#!/usr/bin/env bash
# Runs the official conformance suite of Gateway API against Gatehouse, installed from its Helm chart into a local Kubernetes.
#   tests/conformance/run.sh MODE [FLAG OF THE SUITE...]
# MODE is namespace (Envoys in their Gateway's namespace) or controller (in that of the control plane, the default of the chart). A
# run of everything, without flags, writes docs/conformance/MODE.yaml, the official report, and in MODE namespace what level enforce
# denies. All that the suite says is in bin/conformance-MODE.log.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export GOTOOLCHAIN=${GOTOOLCHAIN:-go$(sed -n 's/^go //p' go.mod)}
mode=${1:-namespace}
shift || true
case $mode in
namespace) name=gateway-namespace-mode values=(--set config.envoyGateway.provider.kubernetes.deploy.type=GatewayNamespace) ;;
controller) name=default values=() ;;
*)
  echo "run.sh: MODE=$mode is not a deploy mode: use namespace or controller" >&2
  exit 2
  ;;
esac

root=$PWD
log=$root/bin/conformance-$mode.log
report=()
if [ $# -eq 0 ]; then
  report=(-report-output "$root/docs/conformance/$mode.yaml")
  [ "$mode" != namespace ] || report+=(-refused-output "$root/docs/conformance/refused-at-enforce.md")
fi
dir=$(mktemp -d)
cleanup() {
  trap - EXIT INT TERM
  bin/cluster --dir "$dir" down
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

(cd tests && go test -c -o "$root/bin/conformance.test" ./conformance)
tests/up.sh "$dir" --set deployment.replicas=1 "${values[@]}"
export KUBECONFIG=$dir/kubeconfig
bin/kubectl apply -f - <<'END' >/dev/null
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: gateway-conformance}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
END
bin/kubectl wait --for=condition=Accepted --timeout=30s gatewayclass/gateway-conformance >/dev/null

status=0
bin/cluster --dir "$dir" exec -- bin/conformance.test -test.v -test.timeout 40m -test.run '^TestConformance$' \
  -gateway-class gateway-conformance -mode "$name" -version "$(git describe --always 2>/dev/null || echo dev)" \
  -cleanup-base-resources=false -namespace-labels gatehouse.dev/admission=warn \
  -usable-address 10.98.255.250 -unusable-address unusable.example.com \
  "${report[@]}" "$@" >"$log" || status=$?
if [ $status -ne 0 ]; then
  {
    bin/kubectl get gatewayclasses,gateways,listenersets,httproutes,grpcroutes,tlsroutes,tcproutes,udproutes,backendtlspolicies,pods,services -A -o yaml
    bin/kubectl logs -n gatehouse-system deployment/gatehouse --tail=2000
  } >"$log.objects" 2>&1 || true
  grep -E '^ *--- FAIL' "$log" >&2 || tail -20 "$log" >&2
  echo "the suite's words are in $log, the control plane's in $log.objects" >&2
fi
exit $status
