/* The machine as the library sees it: threads and processor. */
#ifndef COTERIE_RUNTIME_H
#define COTERIE_RUNTIME_H

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

#ifdef __cplusplus
}
#endif

#endif
