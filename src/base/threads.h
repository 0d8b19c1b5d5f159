/* Threads: OpenMP underneath. Work is cut into pieces whose borders never depend on the number of threads, and partial
 * sums are added in the order of the pieces, so results do not depend on it either. */
#ifndef COT_BASE_THREADS_H
#define COT_BASE_THREADS_H

#include <stdint.h>

int  cot_threads(void);              /* in use now */
int  cot_threads_available(void);    /* processors this process may use: affinity mask, container quota and OMP_NUM_THREADS counted */

#endif
