# The two commands of this house are `make demo` and `make test`; everything else serves them.
SHELL := /bin/bash
GO    ?= go
BIN   := bin
TEST_TIMEOUT ?= 30m
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: build demo test check unit cross bench fuzz fuzz-briefly limits setup-demo setup-test setup-bench clean

build: ## the program, in bin/cairn
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/cairn ./cmd/cairn

setup-demo:
	@integration/setup.sh demo
setup-test:
	@integration/setup.sh test
setup-bench:
	@integration/setup.sh bench

demo: setup-demo build ## five minutes with cairn, in two
	@integration/demo.sh

test: setup-test check cross unit fuzz-briefly ## everything: vet, staticcheck, other systems, unit and end-to-end tests

check: ## gofmt, go vet, staticcheck
	@files=$$(gofmt -l cmd engine fs index chunkstore integration); \
	  if [ -n "$$files" ]; then echo "not in gofmt's form:"; echo "$$files"; exit 1; fi
	$(GO) vet ./...
	$(GO) -C integration/tools build -o $(CURDIR)/$(BIN)/staticcheck honnef.co/go/tools/cmd/staticcheck
	$(BIN)/staticcheck ./...

cross: ## the other systems compile
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build -o /dev/null ./...
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 $(GO) build -o /dev/null ./...
	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 $(GO) build -o /dev/null ./...

unit: ## every test, with the race detector
	CGO_ENABLED=1 $(GO) test -race -timeout $(TEST_TIMEOUT) ./... </dev/null

fuzz: ## every fuzz target for FUZZTIME (30s when it is not set)
	@FUZZTIME=$(or $(FUZZTIME),30s) GO=$(GO) integration/fuzz.sh

fuzz-briefly: ## and for two seconds each
	@FUZZTIME=2s GO=$(GO) integration/fuzz.sh

limits: ## a million files, and one file of 100 GB, within 300 MiB of memory; takes minutes
	$(GO) run ./integration/limits $(LIMITS_FLAGS)

bench: setup-bench build ## measure beside restic and cp -a; writes docs/BENCHMARKS.md and docs/benchmarks.json
	$(GO) run ./integration/bench $(BENCH_FLAGS)

DURATION ?= 10m
SEED     ?= 1
torture: setup-test build ## kill, damage and starve it for a while (DURATION=10m, SEED=1); writes docs/RELIABILITY.md
	CAIRN_TORTURE=$(SEED) $(GO) test -count=1 -timeout 1h ./integration/faultdisk
	$(GO) run ./integration/torture -duration $(DURATION) -seed $(SEED)

clean:
	rm -rf $(BIN)
