#!/usr/bin/env bash
# What the program is made of. All of it comes by Go modules, whose hashes are in go.sum. Once those are there, nothing here asks the network.
#
#   tests/supply/run.sh vuln       known vulnerabilities, from the database that tests/tools/supply pins as a module
#   tests/supply/run.sh sbom       the bill of materials in CycloneDX
#   tests/supply/run.sh licenses   the licences in it against those that are allowed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export GOTOOLCHAIN=${GOTOOLCHAIN:-go$(sed -n 's/^go //p' go.mod)}
# What is needed below is fetched first: the program's modules, those of its judge, the database, and go.mod files that only the bill of materials asks for.
go list -deps ./cmd/gatehouse >/dev/null
go mod graph >/dev/null
go -C tests list -deps ./supply >/dev/null
go -C tests/tools/supply mod download golang.org/x/vulndb
export GOPROXY=off

vuln() {
  local module version
  read -r module version <<<"$(go -C tests/tools/supply list -m -f '{{.Dir}} {{.Version}}' golang.org/x/vulndb)"
  if [ "$(cat bin/vulndb/version 2>/dev/null)" != "$version" ]; then
    rm -rf bin/vulndb
    bin/indexdb -vulns "$module/data/osv" -out bin/vulndb
    echo "$version" >bin/vulndb/version
  fi
  echo "known vulnerabilities as of golang.org/x/vulndb $version"
  bin/govulncheck -db "file://$PWD/bin/vulndb" -format json ./cmd/gatehouse >bin/vulnerabilities.json
  (cd tests && go run ./supply vuln ../bin/vulnerabilities.json)
}

sbom() {
  bin/cyclonedx-gomod app -json -std -licenses -noserial -notimestamp -main cmd/gatehouse -output bin/gatehouse.cdx.json .
  echo "bill of materials: bin/gatehouse.cdx.json"
}

licenses() {
  (cd tests && go run ./supply licenses ../bin/gatehouse.cdx.json)
}

case ${1:-} in
vuln | sbom | licenses) "$1" ;;
*)
  echo "run.sh: say vuln, sbom or licenses" >&2
  exit 2
  ;;
esac
