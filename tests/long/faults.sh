#!/usr/bin/env bash
# A run under every mishap of its files, and killed 100 times at random moments: about ten minutes. BUILD is a folder built with tests.
exec python3 tests/faults/faults.py "$BUILD/coterie" "$BUILD/tests/fault_shim.so" --long
