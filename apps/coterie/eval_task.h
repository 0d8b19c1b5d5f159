/* coterie eval --task: questions whose answers are scored. */
#ifndef COTERIE_APP_EVAL_TASK_H
#define COTERIE_APP_EVAL_TASK_H

#include <coterie/model.h>

#include "cli.h"

/* What --task adds to the options of eval. */
#define EVAL_TASK_OPTIONS                                                                                                                            \
    {.name = "task", .kind = CLI_TEXT, .repeated = true, .value = "FILE",                                                                            \
     .help = "scores the answers to questions instead (.jsonl, MMLU's .csv, BBH's .json, archives of them); may be repeated"},                       \
    {.name = "shots", .kind = CLI_INT, .value = "K", .min = 0, .max = 1 << 20, .help = "solved examples before each question (default: none)"},      \
    {.name = "shots-from", .kind = CLI_TEXT, .value = "FILE",                                                                                        \
     .help = "takes the first K questions of this file for examples (default: drawn among the task's others)"},                                      \
    {.name = "seed", .kind = CLI_INT, .value = "N", .fallback = "0", .min = 0, .max = 1e15, .help = "of the examples that are drawn"},               \
    {.name = "limit", .kind = CLI_INT, .value = "N", .min = 0, .max = 1e15, .help = "only the first N questions of each task"},                      \
    {.name = "description", .kind = CLI_TEXT, .value = "TEXT", .help = "stands before everything; \\n is a line break, here and below"},             \
    {.name = "query-end", .kind = CLI_TEXT, .value = "TEXT", .help = "stands behind every question, e.g. '\\nAnswer:'"},                             \
    {.name = "target-delimiter", .kind = CLI_TEXT, .value = "TEXT",                                                                                  \
     .help = "stands between question and answer (default: a space where neither has white space there)"},                                          \
    {.name = "fewshot-delimiter", .kind = CLI_TEXT, .value = "TEXT", .fallback = "\\n\\n", .help = "stands behind each example"},                    \
    {.name = "bins", .kind = CLI_INT, .value = "N", .fallback = "10", .min = 1, .max = 1000, .help = "of the calibration"},                          \
    {.name = "answers", .kind = CLI_TEXT, .value = "OUT.jsonl", .help = "keeps prompts and log probabilities of every question of the one task"}

/* The first option given that only --task has a use for, or NULL. */
const char *eval_task_option(const cli_args *args);

/* Runs all --task files; `run` is a run's folder that keeps the results, or NULL. */
int eval_tasks(const cli_args *args, cot_model *model, const cot_tokenizer *tokenizer, const char *run);

#endif
