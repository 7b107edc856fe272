# Everything pinnace's developers and users type. Each target does its own set-up; `make help` lists them.
SHELL := /bin/bash
BUILD := build
PRESET ?= release
JOBS ?= $(shell nproc)
PYTHON := $(BUILD)/venv/bin/python

.PHONY: help setup api build test test-unit test-direct test-namespaced test-peer test-captured test-conformance \
        test-asan tsan fuzz fuzz-seeds \
        lint demo bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: ## install what is missing (apt packages, Python packages under build/)
	@scripts/setup.sh

$(BUILD)/%/build.ninja: CMakeLists.txt CMakePresets.json | setup
	cmake --preset $* >/dev/null

build: setup ## build everything (PRESET=dev|release|asan|tsan)
	@$(MAKE) --no-print-directory $(BUILD)/$(PRESET)/build.ninja
	@cmake --build --preset $(PRESET) -j $(JOBS)

test: test-unit test-direct test-namespaced test-peer test-captured test-conformance test-asan ## all tests: release, then ASan+UBSan for unit and direct

test-unit: build ## tests without sockets
	$(BUILD)/$(PRESET)/bin/unit_tests --gtest_brief=1
	$(BUILD)/$(PRESET)/bin/translator_tests --gtest_brief=1

PYTEST = PINNACE_BUILD=$(BUILD)/$(PRESET) PINNACE_BIN=$(abspath $(BUILD)/$(PRESET)/bin/pinnace) \
         $(PYTHON) -m pytest -q -p no:cacheprovider --timeout 120 -c tests/pytest.ini --rootdir tests \
         $(if $(filter-out release dev,$(PRESET)),-m "not release_only")

test-direct: build ## the proxy with real sockets, TLS and xDS servers on loopback
	$(PYTEST) tests/direct

test-namespaced: build ## pods: network namespaces and iptables
	$(PYTEST) tests/namespaced

test-peer: build ## against a real Envoy
	$(PYTEST) tests/peer

test-captured: build ## what a real istiod sends
	$(PYTEST) tests/captured

test-conformance: build ## h2spec, and the gRPC interop clients and servers of Go and Java
	@$(PYTHON) tests/support/tools.py
	$(PYTEST) tests/conformance

test-asan: ## unit and direct tests, and the fuzz targets' seeds, under AddressSanitizer and UBSan
	@$(MAKE) --no-print-directory build PRESET=asan
	@$(MAKE) --no-print-directory test-unit fuzz-seeds test-direct PRESET=asan

tsan: ## unit and direct tests under ThreadSanitizer
	@$(MAKE) --no-print-directory build PRESET=tsan
	TSAN_OPTIONS=suppressions=$(abspath tests/tsan.supp) $(MAKE) --no-print-directory test-unit test-direct PRESET=tsan

FUZZ_SECONDS ?= 600
fuzz: $(BUILD)/fuzz/build.ninja ## libFuzzer over every parser of bytes off the wire, FUZZ_SECONDS (600) each, two at a time
	@cmake --build --preset fuzz -j $(JOBS) --target fuzz
	@$(PYTHON) tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

fuzz-seeds: ## only the seeds of those parsers, once each (in ASan's build)
	@$(MAKE) --no-print-directory build PRESET=asan
	@$(PYTHON) tests/fuzz/run.py --seeds $(BUILD)/asan/bin

lint: build ## format, layers, headers alone, sizes, clang-tidy on changed files
	@scripts/lint.py

demo: build ## the demo mesh: three flows through real proxies (KEEP=1 leaves it running)
	@$(PYTHON) -m demo.run $(if $(KEEP),--keep)

bench: build ## CPU per request in turn with HAProxy and a raw relay
	@$(PYTHON) bench/run.py --pinnace $(BUILD)/$(PRESET)/bin/pinnace

clean: ## remove build/
	rm -rf $(BUILD)
