/* The loops in GNU vectors of PEAK_BYTES bytes; the compiler keeps PEAK_SUMS of them in registers. Included by peak_<isa>.c. */
#include "kernels/peak/peak.h"

#if defined(__x86_64__)
#if defined(PEAK_WIDE_REGISTERS)
#define PEAK_KEEP(value) __asm__("" : "+v"(value))
#else
#define PEAK_KEEP(value) __asm__("" : "+x"(value))
#endif
#else
#define PEAK_KEEP(value) __asm__("" : "+w"(value))
#endif

typedef float peak_vector __attribute__((vector_size(PEAK_BYTES)));

enum { LANES = PEAK_BYTES / 4 };

static double peak_f32(int64_t rounds)
{
    peak_vector sum[PEAK_SUMS], x, y;
    volatile float start = 1e-6f;
    for (int i = 0; i < LANES; i++) x[i] = start, y[i] = start;
    for (int i = 0; i < PEAK_SUMS; i++) sum[i] = x;
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 32
        for (int i = 0; i < PEAK_SUMS; i++) {
            sum[i] = x * y + sum[i];
            PEAK_KEEP(sum[i]);  /* each one stays a register of its own */
        }
    }
    float total = 0;
    for (int i = 0; i < PEAK_SUMS; i++)
        for (int j = 0; j < LANES; j++) total += sum[i][j];
    volatile float keep = total;
    (void)keep;
    return 2.0 * LANES * PEAK_SUMS * (double)rounds;
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
