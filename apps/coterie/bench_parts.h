/* What `coterie bench` measures besides whole training steps: each function prints a table, or adds to `json` when that is
 * not NULL, and returns an exit code. */
#ifndef COTERIE_APP_BENCH_PARTS_H
#define COTERIE_APP_BENCH_PARTS_H

#include <jansson.h>

#include <coterie/bench.h>

#include "cli.h"

/* Trains recipe bench-NAME with `changes` (NULL-ended) on top, in a precision. */
int bench_train_case(const cli_args *args, const char *name, const char *dtype, const char *const *changes, int64_t warm_up, int64_t steps,
                     cot_bench_result *out);

/* Seconds of a kind of operation in a step; *back (may be NULL) those going back. */
double bench_seconds_of(const cot_bench_result *r, const char *kind, double *back);

/* Is a row meant? The command line's words from the second on name rows; none: all. */
bool bench_row_wanted(const cli_args *args, const char *name);
/* Refuses words that name none of `names`. */
int  bench_check_rows(const cli_args *args, const char *const *names, size_t count);

/* Which of f32 and bf16 to measure: what --dtype says, and bf16 without being asked where the machine has it. */
void bench_precisions(const cli_args *args, const cot_machine *machine, bool wanted[2]);

/* Are all words that name rows known? Asked before anything is measured. */
int bench_routers_check(const cli_args *args);
int bench_retrieval_check(const cli_args *args);

int bench_routers(const cli_args *args, const cot_machine *machine, json_t *json);
int bench_retrieval(const cli_args *args, json_t *json);
int bench_generation(const cli_args *args, const cot_machine *machine, json_t *json);
/* What the PEER layer of a step that was measured costs, and its pool against the machine. */
int bench_peer_layer(const cot_bench_result *r, json_t *json);

#endif
