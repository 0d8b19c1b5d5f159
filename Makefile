# Coterie: `make` builds, `make demo` shows, `make check` tests. A thin wrapper over CMake.
BUILD ?= build
JOBS  ?= $(shell nproc)
RUN   ?= runs/demo
PREFIX ?= /usr/local
COTERIE = $(BUILD)/coterie

.PHONY: all demo check check-long check-sanitize check-peers bench bench-peers install deb clean help

all: ## builds build/coterie and the library
	@tools/setup.sh build
	@cmake -S . -B $(BUILD) -DCOTERIE_TESTS=OFF $(CMAKE_FLAGS) > $(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@cmake --build $(BUILD) -j $(JOBS)

demo: ## trains, evaluates, samples and draws a small sparse model: about four minutes
	@tools/setup.sh build demo
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) RUN=$(RUN) tools/demo.sh

check: ## builds with warnings as errors and runs all tests; where clang is there, each parser is fuzzed for ten seconds
	@tools/setup.sh build check demo
	@cmake -S . -B $(BUILD)-check -DCOTERIE_WERROR=ON $(CMAKE_FLAGS) > $(BUILD)-check.log 2>&1 || { cat $(BUILD)-check.log; exit 1; }
	@cmake --build $(BUILD)-check -j $(JOBS)
	@cd $(BUILD)-check && OMP_WAIT_POLICY=passive ctest --output-on-failure -j $(JOBS)
	@BUILD=$(BUILD)-check tests/long/fuzz.sh short

check-sanitize: ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer: slow
	@tools/setup.sh build check demo
	@BUILD=$(BUILD)-check tests/long/sanitize.sh

check-long: ## what takes long, hours: tests/long/*.sh, one after the other
	@tools/setup.sh build check demo long
	@cmake -S . -B $(BUILD)-check -DCOTERIE_WERROR=ON $(CMAKE_FLAGS) > $(BUILD)-check.log 2>&1 || { cat $(BUILD)-check.log; exit 1; }
	@cmake --build $(BUILD)-check -j $(JOBS)
	@for script in tests/long/*.sh; do echo "== $$script"; BUILD=$(BUILD)-check bash $$script || exit 1; done

check-peers: ## models and files against PyTorch, transformers, llama.cpp (installs them in .venv-peers, 5.6 GB)
	@tools/setup.sh build peers
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) tools/peers.sh check

bench: all ## measures this machine's limits and the bench recipes against them
	@$(COTERIE) bench

bench-peers: ## the bench recipes and tokenizers beside the same work in PyTorch and other libraries (installs it in .venv-peers, 5.6 GB)
	@tools/setup.sh build peers
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) tools/peers.sh bench
	@BUILD=$(BUILD) tools/peers.sh tokenizers

install: ## installs library, headers, program and recipes (PREFIX=/usr/local; DESTDIR for packagers)
	@$(MAKE) --no-print-directory all CMAKE_FLAGS='$(CMAKE_FLAGS) -DCMAKE_INSTALL_PREFIX=$(PREFIX)'
	@cmake --install $(BUILD)

deb: ## Debian packages in build-deb/: program, data, library, development files
	@tools/setup.sh build deb
	@tools/deb.sh

clean: ## removes what was built
	@rm -rf $(BUILD) build-deb $(BUILD).log $(foreach kind,check sanitize fuzz threads gcc clang without,$(BUILD)-$(kind) $(BUILD)-$(kind).log $(BUILD)-$(kind).tests)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 22
