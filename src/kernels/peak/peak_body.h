/* The loops in GNU vectors of PEAK_BYTES bytes. Included by peak_<isa>.c. */
#include "kernels/peak/peak.h"

/* Keeps the compiler from doing less than is asked for. */
#if defined(__x86_64__)
#define PEAK_KEEP(value) __asm__ volatile("" : "+v"(value))
#else
#define PEAK_KEEP(value) __asm__ volatile("" : "+w"(value))
#endif

/* Twelve chains of multiply-adds hide the latency of each, and their sums are certain to stay in registers. */
#define PEAK_CHAINS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
enum { CHAINS = 12 };

typedef float peak_vector __attribute__((vector_size(PEAK_BYTES)));

enum { LANES = PEAK_BYTES / 4 };

static double peak_f32(int64_t rounds)
{
    const peak_vector zero = {0}, x = zero + 0.5f;
#define START(i) peak_vector sum##i = x;
#define STEP(i) sum##i = sum##i * x + x;
#define KEEP(i) PEAK_KEEP(sum##i);
    PEAK_CHAINS(START)
    for (int64_t r = 0; r < rounds; r++) {
        PEAK_CHAINS(STEP)
        PEAK_CHAINS(KEEP)
    }
#undef START
#undef STEP
#undef KEEP
    return 2.0 * LANES * CHAINS * (double)rounds;
}

static float peak_read(const float *data, size_t count)
{
    enum { WAYS = 8 };
    peak_vector sum[WAYS] = {{0}};
    const peak_vector *vector = (const peak_vector *)data;
    for (size_t i = 0; i + WAYS <= count / LANES; i += WAYS)
        for (int j = 0; j < WAYS; j++) sum[j] += vector[i + (size_t)j];
    float total = 0;
    for (int i = 0; i < WAYS; i++)
        for (int j = 0; j < LANES; j++) total += sum[i][j];
    return total;
}

static float peak_gather(const float *table, const int32_t *row, size_t rows, size_t width)
{
    enum { AHEAD = 8, LINE = 16 };
    peak_vector sum[4] = {{0}};
    for (size_t r = 0; r < rows; r++) {
        if (r + AHEAD < rows)
            for (size_t i = 0; i < width; i += LINE) __builtin_prefetch(table + (size_t)row[r + AHEAD] * width + i);
        const peak_vector *vector = (const peak_vector *)(table + (size_t)row[r] * width);
        for (size_t i = 0; i < width / LANES; i++) sum[i % 4] += vector[i];
    }
    float total = 0;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < LANES; j++) total += sum[i][j];
    return total;
}
