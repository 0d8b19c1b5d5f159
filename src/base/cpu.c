#include "base/cpu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const level_names[] = {"ref", "avx2", "avx512", "avx512bf16"};

static cot_cpu_level level;
static char          model[128] = "unknown";

static cot_cpu_level detect(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return COT_CPU_REF;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) return COT_CPU_AVX2;
    return __builtin_cpu_supports("avx512bf16") ? COT_CPU_AVX512BF16 : COT_CPU_AVX512;
#else
    return COT_CPU_REF;
#endif
}

static void read_model(void)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f) return;
    char line[256];
    while (fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(model, sizeof model, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    fclose(f);
}

static void start(void)
{
    level = detect();
    const char *wish = getenv("COTERIE_CPU");
    for (int i = 0; wish && i < (int)level; i++)
        if (strcmp(wish, level_names[i]) == 0) level = (cot_cpu_level)i;
    read_model();
}

static void start_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
}

cot_cpu_level cot_cpu(void)
{
    start_once();
    return level;
}

const char *cot_cpu_name(cot_cpu_level l) { return level_names[l]; }

const char *cot_cpu_model(void)
{
    start_once();
    return model;
}
