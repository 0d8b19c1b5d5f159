/* Measuring: what this machine can do, and how near the bench recipes come to it. */
#ifndef COTERIE_BENCH_H
#define COTERIE_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/config.h>
#include <coterie/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What all threads together reach. A multiply-add counts as two FLOPs. */
typedef struct {
    const char *cpu, *kernels;    /**< model name; "ref", "avx2", "avx512", "avx512bf16" */
    int         threads;
    double      f32_flops;        /**< product peak: the best of a loop over registers and of small products in cache */
    double      bf16_flops;       /**< the same; 0 where the processor has no bf16 products */
    double      read_bytes;       /**< per second, streaming over a table far larger than the caches */
    double      gather_bytes;     /**< per second, random rows of 1.5 KiB of such a table, fetched ahead, huge pages asked for */
} cot_machine;

/**
 * Measures the machine: about three seconds and 1.2 GB (less where memory is short: then read and gather are 0).
 */
COT_API cot_machine cot_machine_measure(void);

/**
 * The product peak alone, FLOP/s: a tenth of a second the first time, remembered after that.
 *
 *   bf16   of bf16 products (of f32 products where the processor has none)
 */
COT_API double cot_machine_product_peak(bool bf16);

/** Seconds by kind of operation. */
typedef struct {
    const char *kind;
    double      seconds;
} cot_bench_time;

typedef struct {
    int64_t     steps;              /**< that count; two more come first */
    double      tokens_per_s, step_ms, min_step_ms;  /**< of the median step, of the fastest */
    double      flops_per_token;    /**< training, attention by its causal half */
    double      fraction_of_peak;   /**< of the product peak in the case's precision */
    double      peak_flops;
    int64_t     peak_rss_bytes;     /**< of this process during the case (where the system cannot say: since its start) */
    double      startup_s;          /**< from the recipe to the end of the first step */
    double      loss;               /**< of the last step */
    size_t      time_count;
    cot_bench_time times[16];       /**< of a counted step, on average */
} cot_bench_result;

/**
 * Trains a recipe for `steps` counted steps and writes nothing.
 *
 * Errors   those of cot_plan_create() and cot_trainer_step().
 */
COT_API cot_status cot_bench_train(const cot_config *recipe, int64_t steps, cot_bench_result *out);

#ifdef __cplusplus
}
#endif

#endif
