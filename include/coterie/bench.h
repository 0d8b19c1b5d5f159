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

/** Seconds of a clock that only goes forward. */
COT_API double cot_bench_now(void);

/** Seconds by kind of operation. */
typedef struct {
    const char *kind;
    double      seconds, back;  /**< all of them, and those spent going back */
} cot_bench_time;

typedef struct {
    int64_t     steps;              /**< that count */
    double      tokens_per_s, step_ms, min_step_ms;  /**< of the median step, of the fastest */
    double      flops_per_token;    /**< training, attention by its causal half */
    double      fraction_of_peak;   /**< of the product peak in the case's precision */
    double      peak_flops;
    int64_t     peak_rss_bytes;     /**< of this process during the case (where the system cannot say: since its start) */
    double      startup_s;          /**< from the recipe to the end of the first step */
    double      loss;               /**< of the last step */
    double      experts_used;       /**< by the last sparse layer in the last step, of its num_experts; 0 without one */
    size_t      time_count;
    cot_bench_time times[16];       /**< of a counted step, on average */
} cot_bench_result;

/**
 * Trains a recipe for `steps` counted steps after `warm_up` others and writes nothing.
 *
 * Errors   those of cot_plan_create() and cot_trainer_step(); COT_INVALID for less than one step.
 */
COT_API cot_status cot_bench_train(const cot_config *recipe, int64_t warm_up, int64_t steps, cot_bench_result *out);

/**
 * Router base's balanced assignment by itself, on one thread: the fastest of three.
 *
 *   lean   scores are standard normal, plus this times a normal draw for each expert: how much all tokens agree on who is best
 *
 * Errors   COT_INVALID, COT_OUT_OF_MEMORY.
 */
COT_API cot_status cot_bench_auction(int64_t tokens, int64_t experts, double lean, double *seconds);

enum { COT_BENCH_MOST_CHOICES = 64 };

/** Retrieval of each head's top_k of sub_keys^2 experts by queries of query_dim numbers. */
typedef struct {
    int64_t tokens, heads, top_k, query_dim, sub_keys;
} cot_retrieval_case;

/**
 * Retrieval by product keys, in f32, forward, from queries that are there: the fastest of three.
 *
 * Errors   COT_INVALID, COT_OUT_OF_MEMORY.
 */
COT_API cot_status cot_bench_retrieval(const cot_retrieval_case *c, double *seconds);

/**
 * What product keys replace: each query against sub_keys^2 whole keys of its width, once.
 *
 * Errors   COT_INVALID for a number of keys that is no multiple of 256 or more than COT_BENCH_MOST_CHOICES choices; COT_OUT_OF_MEMORY.
 */
COT_API cot_status cot_bench_brute_force(const cot_retrieval_case *c, double *seconds);

/** A pool of single neurons in f32 and how many of its rows tokens read, drawn evenly. */
typedef struct {
    int64_t experts, width, tokens, choices;
} cot_pool_case;

typedef struct {
    double gather_bytes;   /**< per second, reading those rows and doing nothing else */
    double forward_bytes;  /**< per second, of the pool's forward, which reads such rows of two tables */
} cot_pool_rates;

/**
 * Reads the rows of a pool and runs its forward, in turn, and keeps the best of each. Takes 8 experts width bytes.
 *
 * Errors   COT_INVALID, COT_OUT_OF_MEMORY.
 */
COT_API cot_status cot_bench_pool(const cot_pool_case *c, cot_pool_rates *out);

#ifdef __cplusplus
}
#endif

#endif
