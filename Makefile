# Thin wrapper over CMake; see README.md.
BUILD ?= build
JOBS  ?= $(shell nproc)

.PHONY: all
all: $(BUILD)/CMakeCache.txt
	@cmake --build $(BUILD) -j $(JOBS)

$(BUILD)/CMakeCache.txt:
	@cmake -S . -B $(BUILD) > $(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
