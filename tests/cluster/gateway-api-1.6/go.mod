// The CRDs of Gateway API v1.6, which a cluster may still have. Only its files are read (manifests/gateway-api.sh).
module gatehouse/tests/cluster/gateway-api-1.6

go 1.27.3

require sigs.k8s.io/gateway-api v1.6.3
