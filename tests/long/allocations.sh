#!/usr/bin/env bash
# Every allocation failing in turn during a step, a load, a tokenisation: half a minute. BUILD is a folder built with tests.
exec "$BUILD/tests/test_allocations" --every
