# For the scripts beside it: goes to the source tree; `stem` is what names of build folders start with.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
stem=${BUILD:-build-check}
stem=${stem%-check}
jobs=${JOBS:-$(nproc)}
export OMP_WAIT_POLICY=passive

# build_in FOLDER TARGETS CMAKE_OPTIONS...: warnings are errors; on failure their lines. TARGETS may be empty: everything.
build_in() {
    local folder=$1 targets=${2:-all}
    shift 2
    {
        cmake -S . -B "$folder" -DCOTERIE_WERROR=ON "$@"
        # shellcheck disable=SC2086
        cmake --build "$folder" -j "$jobs" --target $targets
    } >"$folder.log" 2>&1 || { grep -E -A3 'error|Error' "$folder.log" >&2 || tail "$folder.log" >&2; return 1; }
}

# test_in FOLDER CTEST_OPTIONS...
test_in() {
    local folder=$1
    shift
    (cd "$folder" && ctest --output-on-failure -j "$jobs" "$@" >"../$(basename "$folder").tests" 2>&1) || {
        grep -vE '^ *[0-9]+/[0-9]+ .* Passed|^ +Start ' "$folder.tests" | tail -80 >&2
        return 1
    }
    grep -E 'tests passed|Total Test time' "$folder.tests"
}

# Is there a clang with libFuzzer and OpenMP?
can_fuzz() {
    local out
    out=$(mktemp)
    printf '#include <omp.h>\nint LLVMFuzzerTestOneInput(const char *d, long n) { return (int)n * omp_get_thread_num() * !d; }\n' |
        clang -x c -fopenmp -fsanitize=fuzzer,address - -o "$out" 2>/dev/null
    local code=$?
    rm -f "$out"
    return $code
}
