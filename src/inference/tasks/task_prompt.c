/* Questions as prompts: description, examples, the question, and what is to follow; joined as lm-eval joins them. */
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/rng.h"
#include "data/utf8.h"
#include "inference/tasks/task_parts.h"

static cot_status append(cot_prompt *p, const char *text)
{
    const size_t length = text ? strlen(text) : 0;
    if (p->length + length + 1 > p->room) {
        const size_t room = 2 * (p->length + length) + 256;
        char *grown = cot_realloc(p->text, p->room, room);
        if (!grown) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a prompt of %zu bytes", p->length + length);
        p->text = grown;
        p->room = room;
    }
    if (length) memcpy(p->text + p->length, text, length);
    p->length += length;
    p->text[p->length] = '\0';
    return COT_OK;
}

void cot_prompt_release(cot_prompt *prompt)
{
    cot_free(prompt->text);
    *prompt = (cot_prompt){0};
}

static bool ends_with_space(const char *text)
{
    const size_t length = text ? strlen(text) : 0;
    size_t at = length;
    while (at > 0 && length - at < 4 && ((unsigned char)text[--at] & 0xc0) == 0x80) {}
    return length > 0 && cot_utf8_space(text + at, length - at);
}

/* What stands between a context (with its end) and a continuation. */
static const char *delimiter(const cot_task_options *o, const char *context, const char *continuation)
{
    if (o->target_delimiter) return o->target_delimiter;
    const char *last = o->query_end && *o->query_end ? o->query_end : context;
    return ends_with_space(last) || cot_utf8_space(continuation, strlen(continuation)) ? "" : " ";
}

static cot_status append_question(cot_prompt *p, const cot_task_options *o, const cot_question *q, int32_t alternative)
{
    COT_TRY(append(p, question_context(q, alternative)));
    return append(p, o->query_end);
}

static cot_status append_answer(cot_prompt *p, const cot_task_options *o, const cot_question *q, int32_t alternative)
{
    const char *continuation = question_continuation(q, alternative);
    COT_TRY(append(p, delimiter(o, question_context(q, alternative), continuation)));
    return append(p, continuation);
}

/* ---- examples ---- */

void cot_task_draw_shots(uint64_t seed, int64_t question, int64_t count, int64_t shots, int64_t *out)
{
    const cot_rng_key key = {.seed = seed, .step = (uint32_t)question, .stream = COT_RNG_SHOTS};
    uint64_t draw = 0;
    for (int64_t i = 0; i < shots;) {
        out[i] = (int64_t)cot_rng_below(key, draw++, (uint64_t)count);
        bool taken = out[i] == question;
        for (int64_t j = 0; j < i; j++) taken |= out[j] == out[i];
        i += !taken;
    }
}

/* Drawn among others of the task, or the first of another. */
static cot_status choose_shots(const cot_task *task, const cot_task_options *o, int64_t question, int64_t *out)
{
    const int64_t others = o->shots_from ? (int64_t)o->shots_from->count : (int64_t)task->count - 1;
    if (o->shots > others)
        return cot_fail(COT_INVALID, "%lld examples are asked for, and %s has only %lld%s", (long long)o->shots,
                        o->shots_from ? o->shots_from->file : task->file, (long long)others,
                        o->shots_from ? "" : " other questions");
    for (int64_t i = 0; o->shots_from && i < o->shots; i++) out[i] = i;
    if (!o->shots_from) cot_task_draw_shots(o->seed, question, (int64_t)task->count, o->shots, out);
    return COT_OK;
}

static cot_status append_shots(cot_prompt *p, const cot_task *task, const cot_task_options *o, int64_t question)
{
    const cot_task *from = o->shots_from ? o->shots_from : task;
    int64_t *shots = cot_malloc((size_t)o->shots * sizeof *shots);
    cot_status status = shots ? choose_shots(task, o, question, shots)
                              : cot_fail(COT_OUT_OF_MEMORY, "no memory for %lld examples", (long long)o->shots);
    for (int64_t i = 0; status == COT_OK && i < o->shots; i++) {
        const cot_question *q = &from->questions[shots[i]];
        status = append_question(p, o, q, q->gold);
        if (status == COT_OK) status = append_answer(p, o, q, q->gold);
        if (status == COT_OK) status = append(p, o->fewshot_delimiter ? o->fewshot_delimiter : "\n\n");
    }
    cot_free(shots);
    return status;
}

/* ---- prompts ---- */

cot_status cot_prompt_context(cot_prompt *p, const cot_task *task, const cot_task_options *o, int64_t question,
                              int32_t alternative)
{
    p->length = 0;
    COT_TRY(append(p, o->description));
    if (o->shots > 0) COT_TRY(append_shots(p, task, o, question));
    return append_question(p, o, &task->questions[question], alternative);
}

cot_status cot_prompt_continuation(cot_prompt *p, const cot_task *task, const cot_task_options *o, int64_t question,
                                   int32_t alternative)
{
    p->length = 0;
    return append_answer(p, o, &task->questions[question], alternative);
}

static cot_status copy_out(const cot_prompt *p, char **out)
{
    *out = malloc(p->length + 1);
    if (!*out) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a prompt of %zu bytes", p->length);
    memcpy(*out, p->text, p->length + 1);
    return COT_OK;
}

cot_status cot_task_prompt(const cot_task *task, const cot_task_options *options, int64_t question, int64_t alternative,
                           char **context, char **continuation)
{
    *context = *continuation = NULL;
    if (question < 0 || question >= (int64_t)task->count)
        return cot_fail(COT_INVALID, "question %lld of '%s', expected 0 to %lld", (long long)question, task->name,
                        (long long)task->count - 1);
    const int32_t alternatives = question_alternatives(&task->questions[question]);
    if (alternative < 0 || alternative >= alternatives)
        return cot_fail(COT_INVALID, "alternative %lld of question %lld of '%s', expected 0 to %d",
                        (long long)alternative, (long long)question, task->name, alternatives - 1);
    cot_prompt p = {0};
    cot_status status = cot_prompt_context(&p, task, options, question, (int32_t)alternative);
    if (status == COT_OK) status = copy_out(&p, context);
    if (status == COT_OK) status = cot_prompt_continuation(&p, task, options, question, (int32_t)alternative);
    if (status == COT_OK) status = copy_out(&p, continuation);
    cot_prompt_release(&p);
    if (status == COT_OK) return COT_OK;
    free(*context);
    *context = NULL;
    return status;
}
