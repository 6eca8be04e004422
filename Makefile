# Gatehouse: everything that is built, run and tested starts here. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
FUZZTIME ?= 30s
comma := ,
VERSION = $(shell tests/release/version.sh)
export CGO_ENABLED := 0
# With -trimpath, programs and tests share compiled packages, and so do all clones.
export GOFLAGS := -mod=readonly -buildvcs=false -trimpath
export GOWORK := off
# The Go that go.mod names, which any Go from 1.21 on fetches as a module (docs/decisions/041-go-of-the-modules.md).
export GOTOOLCHAIN := go$(shell sed -n 's/^go //p' go.mod)
# Targets build into the same bin/ and start the same local Kubernetes.
.NOTPARALLEL:

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build gatehouse and all that the local Kubernetes needs into bin/
	@tests/cluster/build.sh
	@tests/tools/build.sh helm
	@manifests/gateway-api.sh
	@manifests/embed.sh
	@echo "building gatehouse" && go build -ldflags "-X main.version=$(VERSION)" -o bin/gatehouse ./cmd/gatehouse

.PHONY: run
run: build ## Start the local Kubernetes with Gatehouse, show the quickstart and a refused policy, stay up until Ctrl-C; CERT_MANAGER=1 with cert-manager
	@tests/run.sh

.PHONY: test
test: build lint vuln unit e2e conformance ## Everything that must pass

.PHONY: lint
lint: ## Formatting, linters, and generated files as they should be
	@tests/tools/build.sh actionlint golangci-lint gofumpt controller-gen
	@tests/lint.sh

.PHONY: unit
unit: ## Unit tests, goldens, fuzz seeds and the oracle's property tests
	@tests/tools/redis.sh
	go test ./...
	go test -tags gatehousedebug -run TestQuarantine ./xds/withenvoy

.PHONY: e2e
e2e: build licenses ## Real traffic on the local Kubernetes, and the image; KUBERNETES=1.36 or 1.35: the traffic on that one
	@tests/release/previous.sh
	@tests/cluster/build.sh cert-manager
	@tests/tools/redis.sh
	cd tests && go test -count=1 -timeout 40m $(if $(KUBERNETES),./e2e,./...)

.PHONY: parity
parity: build ## The command, the webhook and the status say the same of all objects of the corpus and of changed ones; CHANGED=100 folders
	cd tests && go test -count=1 -timeout 90m -v -run 'TestParity$$' ./e2e -parity $(or $(CHANGED),100)

.PHONY: soak
soak: build ## Random objects of many tenants for SOAK (30m): denials are right, Envoy takes the rest, and nobody learns names; SEED=1
	cd tests && go test -count=1 -timeout 24h -v -run 'TestSoak$$' ./e2e -soak $(or $(SOAK),30m) -soak-seed $(or $(SEED),1)

.PHONY: cert-manager
cert-manager: build ## Certificates of cert-manager for Gateways and ListenerSets, and what is served while cert-manager or its ACME server is away
	@tests/cluster/build.sh cert-manager
	cd tests && go test -count=1 -timeout 30m -v -run 'TestCertManager' ./e2e -cert-manager

.PHONY: rotations
rotations: build ## The certificate of the control plane and its CA are renewed by cert-manager N=100 times, under load
	@tests/cluster/build.sh cert-manager
	cd tests && go test -count=1 -timeout 6h -v -run 'TestCertManagerIssuesForTheControlPlane' ./e2e -rotations $(or $(N),100)

.PHONY: conformance
conformance: build ## The official Gateway API conformance suite; MODE=controller runs it in the default deploy mode, RUN=NAME one test
	@tests/conformance/run.sh $(or $(MODE),namespace) $(if $(RUN),-run-test $(RUN))

.PHONY: golden
golden: ## Rewrite the goldens from what the code and the CRDs do now, docs/features.md from their paragraphs, docs/fields from the fields that they show, docs/effective.md and docs/packs.md
	go test ./translator -run 'TestGoldens|TestEffectiveGoldens' -update
	go test ./policies ./infra ./infra/bootstrap -run TestGolden -update
	go test ./policies/rules ./policies/rules/packs ./policies/admissionrule ./webhook -run TestGolden -update
	go test ./translator -run 'TestFeaturesPage|TestFieldsPages' -update
	go test ./policies -run TestFieldsPages -update
	go test ./policies/effective -run TestEffectivePage -update
	go test ./api/v1alpha1 -run TestSchema -update

.PHONY: generate
generate: ## Generate deep copies and CRDs from the API types
	@manifests/generate.sh

.PHONY: fuzz
fuzz: build ## Run each fuzz target for FUZZTIME (30s)
	@tests/fuzz.sh $(FUZZTIME)

.PHONY: bench-proxy
bench-proxy: build ## CPU of Envoy for a request, beside an Envoy with a minimal configuration; ROUNDS=30 how often each is measured
	go test ./xds/withenvoy -run '^$$' -bench Proxy -benchtime $(or $(ROUNDS),30)x

.PHONY: bench
bench: build bench-proxy ## Measure on the local Kubernetes, print a table; N=100,1000 the sizes, SETS=2500 ListenerSets, CHURN=30m watches memory
	cd tests && go run ./bench $(if $(N),-n $(N)) $(if $(SETS),-sets $(SETS)) $(if $(CHURN),-churn $(CHURN))

.PHONY: bench-admission
bench-admission: build ## Latency of admission as the API server sees it, with and without all packs of rules; N=100,1000 the sizes
	cd tests && go run ./bench -admission -n $(or $(N),100$(comma)1000$(comma)5000$(comma)10000)

.PHONY: bench-certificates
bench-certificates: build ## From a Secret's update to the certificate on the wire, and memory for each of N=1000 HTTPS listeners, beside one
	cd tests && go run ./bench -certificates -n 1,$(or $(N),1000)

.PHONY: bench-files
bench-files: build ## Time and memory of gatehouse check and diff on folders of N=50000 objects
	cd tests && go run ./bench/files -n $(or $(N),50000)

.PHONY: vuln
vuln: ## Known vulnerabilities that the program calls, offline, from the database that go.mod of its tools pins
	@tests/tools/build.sh govulncheck indexdb
	@tests/supply/run.sh vuln

.PHONY: sbom
sbom: ## The program's bill of materials (CycloneDX) into bin/
	@tests/tools/build.sh cyclonedx-gomod
	@tests/supply/run.sh sbom

.PHONY: licenses
licenses: sbom ## Refuse dependencies whose licence is not on the list
	@tests/supply/run.sh licenses

.PHONY: image
image: sbom ## Build the OCI image into bin/image, without docker; PUSH=registry/repo pushes it with its SBOM (SPDX) and both charts
	@tests/tools/build.sh helm
	@manifests/embed.sh
	@tests/release/run.sh $(PUSH)

.PHONY: login
login: ## Log in to a registry before make image PUSH: make login REGISTRY=registry USERNAME=name, with PASSWORD in the environment
	@tests/tools/build.sh helm
	@[ -n "$$PASSWORD" ] || { echo "make login: put the password or token into the environment as PASSWORD" >&2; exit 1; }
	@printenv PASSWORD | bin/helm registry login "$(REGISTRY)" --username "$(USERNAME)" --password-stdin --registry-config "$$HOME/.docker/config.json"

.PHONY: clean
clean: ## Stop the local Kubernetes and remove what was built
	@if [ -x bin/cluster ]; then bin/cluster down; fi
	rm -rf bin
