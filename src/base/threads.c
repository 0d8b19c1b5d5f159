#define _GNU_SOURCE
#include "base/threads.h"

#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <coterie/runtime.h>

#include "base/cpu.h"
#include "base/fail.h"

static int chosen;

/* A container's processor quota, rounded up; 0 when there is none. */
static int quota(void)
{
    double limit = 0, period = 0;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");  /* cgroup v2: "max 100000" or "150000 100000" */
    if (f) {
        const int n = fscanf(f, "%lf %lf", &limit, &period);
        fclose(f);
        return n == 2 && limit > 0 && period > 0 ? (int)ceil(limit / period) : 0;
    }
    FILE *q = fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r");
    FILE *p = fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r");
    const int n = (q ? fscanf(q, "%lf", &limit) : 0) + (p ? fscanf(p, "%lf", &period) : 0);
    if (q) fclose(q);
    if (p) fclose(p);
    return n == 2 && limit > 0 && period > 0 ? (int)ceil(limit / period) : 0;
}

/* What the user or a batch system asks of all OpenMP programs; 0 when nothing. */
static int asked(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    const long n = text ? strtol(text, NULL, 10) : 0;
    return n > 0 && n <= 4096 ? (int)n : 0;
}

int cot_threads_available(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    const int limits[] = {quota(), asked()};
    for (size_t i = 0; i < 2; i++)
        if (limits[i] > 0 && limits[i] < n) n = limits[i];
    return n > 0 ? n : 1;
}

int cot_threads(void)
{
    if (!chosen) {
        chosen = cot_threads_available();
        omp_set_num_threads(chosen);
    }
    return chosen;
}

cot_status cot_set_threads(int threads)
{
    if (threads < 0 || threads > 4096) return cot_fail(COT_INVALID, "threads is %d, expected 0 (all) to 4096", threads);
    chosen = threads ? threads : cot_threads_available();
    omp_set_num_threads(chosen);
    return COT_OK;
}

int cot_get_threads(void) { return cot_threads(); }

const char *cot_cpu_kernels(void) { return cot_cpu_name(cot_cpu()); }
