#include "training/room.h"

#include <math.h>
#include <stdio.h>

#include "base/fail.h"

int64_t cot_room_available(void)
{
    int64_t available = INT64_MAX;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        long long kilobytes;
        if (sscanf(line, "MemAvailable: %lld kB", &kilobytes) == 1) available = kilobytes * 1024;
    }
    if (f) fclose(f);
    long long limit = 0, used = 0;
    FILE *max = fopen("/sys/fs/cgroup/memory.max", "r"), *now = fopen("/sys/fs/cgroup/memory.current", "r");
    if (max && now && fscanf(max, "%lld", &limit) == 1 && fscanf(now, "%lld", &used) == 1 && limit - used < available) available = limit - used;
    if (max) fclose(max);
    if (now) fclose(now);
    return available;
}

/* Tables by touched row: rows of the largest, bytes in training as they are, and with all rows in bf16. */
typedef struct {
    int64_t rows;
    double  bytes, narrow;
} tables;

static tables measure(const cot_params *params)
{
    tables t = {0};
    for (size_t i = 0; i < cot_params_count(params); i++) {
        const cot_param *param = cot_params_at(params, i);
        if (param->spec.update != COT_UPDATE_TOUCHED_ROWS) continue;
        const double elements = (double)cot_tensor_count(&param->value) * (param->frozen ? 1 : 3);
        t.bytes += elements * (double)cot_dtype_size(param->value.dtype);
        t.narrow += elements * (double)cot_dtype_size(COT_BF16);
        t.rows = param->value.shape[0] > t.rows ? param->value.shape[0] : t.rows;
    }
    return t;
}

/* The largest square of experts that fits; 0 = none. */
static int64_t experts_that_fit(const tables *t, double needed, double available)
{
    const double room = available - (needed - t->bytes);
    const double side = room > 0 ? floor(sqrt((double)t->rows * room / t->narrow)) : 0;
    return (int64_t)(side * side);
}

cot_status cot_room_check(const cot_params *params, int64_t needed, int64_t available)
{
    if (needed <= available) return COT_OK;
    char advice[160] = "make the model or the micro-batches smaller, or set train.recompute";
    const tables t = measure(params);
    const double narrow = (double)needed - t.bytes + t.narrow;
    const int64_t experts = t.rows ? experts_that_fit(&t, (double)needed, (double)available) : 0;
    if (t.narrow < t.bytes && narrow <= (double)available)
        snprintf(advice, sizeof advice, "with experts.storage: bf16 it needs about %.1f GB", narrow / 1e9);
    else if (experts > 0)
        snprintf(advice, sizeof advice, "with experts.storage: bf16, %lld experts instead of %lld would fit", (long long)experts, (long long)t.rows);
    return cot_fail(COT_OUT_OF_MEMORY, "the run needs about %.1f GB (%lld parameters), %.1f GB are free: %s", (double)needed / 1e9,
                    (long long)cot_params_elements(params, false), (double)available / 1e9, advice);
}
