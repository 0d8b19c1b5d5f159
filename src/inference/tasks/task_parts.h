/* What the files of this folder share: a task in memory, prompts, scores. */
#ifndef COT_INFERENCE_TASKS_TASK_PARTS_H
#define COT_INFERENCE_TASKS_TASK_PARTS_H

#include <jansson.h>

#include <coterie/task.h>

typedef struct {
    int64_t line;
    int32_t gold;
    int32_t contexts, continuations;  /* one of them is 1 */
    const char **text;                /* [contexts + continuations] contexts first; the bytes lie behind, in the same block */
} cot_question;

struct cot_task {
    char         *name, *file;
    cot_task_kind kind;
    cot_question *questions;
    size_t        count, room;
};

/* Where a row stands, for messages. */
typedef struct {
    const char *file;
    int64_t     line;
} cot_task_place;

__attribute__((format(printf, 2, 3))) cot_status cot_task_malformed(const cot_task_place *at, const char *format, ...);

/* Adds the question that a row of JSON asks, as cot_task_read() has it. */
cot_status cot_task_add(cot_task *task, const json_t *row, const cot_task_place *at);

/* The forms of task files go by the ending of their names: is it that of one? */
bool cot_task_has_form(const char *name);

/* Makes a task of a file's whole text, unpacked. */
cot_status cot_task_parse(const char *path, const char *text, size_t length, cot_task **out);

static inline int32_t question_alternatives(const cot_question *q)
{
    return q->contexts > q->continuations ? q->contexts : q->continuations;
}

static inline const char *question_context(const cot_question *q, int32_t alternative)
{
    return q->text[q->contexts > 1 ? alternative : 0];
}

static inline const char *question_continuation(const cot_question *q, int32_t alternative)
{
    return q->text[q->contexts + (q->continuations > 1 ? alternative : 0)];
}

/* What a question is asked with, before tokens: as cot_task_prompt(), in memory that grows. */
typedef struct {
    char  *text;
    size_t length, room;
} cot_prompt;

cot_status cot_prompt_context(cot_prompt *prompt, const cot_task *task, const cot_task_options *options,
                              int64_t question, int32_t alternative);
cot_status cot_prompt_continuation(cot_prompt *prompt, const cot_task *task, const cot_task_options *options,
                                   int64_t question, int32_t alternative);
void       cot_prompt_release(cot_prompt *prompt);

/* Which other questions stand before a question as examples: [shots] out. They differ from it and from each other. */
void cot_task_draw_shots(uint64_t seed, int64_t question, int64_t count, int64_t shots, int64_t *out);

/* Fills scores, chance, calibration and temperature from the answers. `top` [tokens]: for completions, each scored
 * token's most probable one, right or wrong; else NULL. */
typedef struct {
    double confidence;
    bool   right;
} cot_confidence;

cot_status cot_task_measure(cot_task_result *result, int64_t bins, cot_confidence *top, int64_t count);

/* Sorts `predictions`. */
cot_status cot_calibrate(cot_confidence *predictions, int64_t count, int64_t bins, cot_calibration *out);
void       cot_calibration_release(cot_calibration *calibration);

/* e^log_probability / sum over alternatives, of log probabilities times `sharpness`. */
void cot_task_probabilities(const cot_task_answer *answer, double sharpness, double *out);

#endif
