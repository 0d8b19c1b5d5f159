/* The machine as the library sees it: threads and processor. */
#ifndef COTERIE_RUNTIME_H
#define COTERIE_RUNTIME_H

#include <stddef.h>

#include <coterie/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Sets the number of threads of all later work. Results do not depend on it.
 *
 *   threads   1 or more; 0 = as many as the process may use (affinity mask, container quota and OMP_NUM_THREADS counted)
 *
 * Errors   COT_INVALID when negative or above 4096.
 * Threads  call it from one thread, between other calls.
 */
COT_API cot_status cot_set_threads(int threads);

/** The number of threads in use. */
COT_API int cot_get_threads(void);

/** Which kernels are in use: "ref", "avx2", "avx512" or "avx512bf16" (COTERIE_CPU lowers it). */
COT_API const char *cot_cpu_kernels(void);

/** Where memory comes from. */
typedef struct {
    void *(*allocate)(void *context, size_t alignment, size_t bytes);  /**< A block on a multiple of `alignment`, a power of two; NULL when there is none. */
    void (*release)(void *context, void *block);                       /**< Takes one back; never NULL. */
    void *context;                                                     /**< Given to both. */
} cot_allocator;

/**
 * Sets where the library takes its memory from: blocks of any size, from any of its threads.
 *
 *   allocator   copied; NULL = the system's
 *
 * What callers free with free() comes from malloc() all the same, and so does what the libraries underneath take for themselves (docs/memory.md). An
 * allocation that fails makes the call fail with COT_OUT_OF_MEMORY; the library goes on working.
 *
 * Errors   COT_INVALID while the library holds memory, and when a function is missing.
 * Threads  call it from one thread, between other calls.
 */
COT_API cot_status cot_set_allocator(const cot_allocator *allocator);

#ifdef __cplusplus
}
#endif

#endif
