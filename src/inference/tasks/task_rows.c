/* Rows of JSON become questions; their keys say what they ask. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/json.h"
#include "inference/tasks/task_parts.h"

enum { MAX_ALTERNATIVES = 1 << 16 };

cot_status cot_task_malformed(const cot_task_place *at, const char *format, ...)
{
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return cot_fail(COT_FORMAT, "%s:%lld: %s", at->file, (long long)at->line, what);
}

static cot_status no_memory(const char *file)
{
    return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for its questions", file);
}

/* ---- rows: while one is parsed, texts are the row's ---- */

static cot_status take_text(const json_t *row, const char *key, const cot_task_place *at, const char **out)
{
    const json_t *value = json_object_get(row, key);
    if (!json_is_string(value)) return cot_task_malformed(at, "'%s' is %s, expected a text", key, cot_json_kind(value));
    *out = json_string_value(value);
    return COT_OK;
}

static cot_status take_list(const json_t *row, const char *key, const cot_task_place *at, const char **out)
{
    const json_t *list = json_object_get(row, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        if (!json_is_string(value))
            return cot_task_malformed(at, "entry %zu of '%s' is %s, expected a text", i, key, cot_json_kind(value));
        out[i] = json_string_value(value);
    }
    return COT_OK;
}

static cot_status count_list(const json_t *row, const char *key, const cot_task_place *at, int32_t *count)
{
    const json_t *list = json_object_get(row, key);
    if (!json_is_array(list))
        return cot_task_malformed(at, "'%s' is %s, expected a list of texts", key, cot_json_kind(list));
    if (json_array_size(list) < 2 || json_array_size(list) > MAX_ALTERNATIVES)
        return cot_task_malformed(at, "'%s' has %zu entries, expected 2 to %d", key, json_array_size(list),
                                  MAX_ALTERNATIVES);
    *count = (int32_t)json_array_size(list);
    return COT_OK;
}

static cot_status take_gold(const json_t *row, const cot_task_place *at, int32_t alternatives, int32_t *gold)
{
    const json_t *value = json_object_get(row, "gold");
    if (!json_is_integer(value))
        return cot_task_malformed(at, "'gold' is %s, expected a whole number", cot_json_kind(value));
    if (json_integer_value(value) < 0 || json_integer_value(value) >= alternatives)
        return cot_task_malformed(at, "'gold' is %lld, expected 0 to %d", (long long)json_integer_value(value),
                                  alternatives - 1);
    *gold = (int32_t)json_integer_value(value);
    return COT_OK;
}

static cot_status make_texts(cot_question *q, const cot_task_place *at, int32_t contexts, int32_t continuations)
{
    q->line = at->line;
    q->contexts = contexts;
    q->continuations = continuations;
    q->text = cot_calloc((size_t)(contexts + continuations) * sizeof *q->text);
    return q->text ? COT_OK : no_memory(at->file);
}

static cot_status parse_choices(const json_t *row, const cot_task_place *at, cot_question *q)
{
    int32_t count;
    COT_TRY(count_list(row, "choices", at, &count));
    COT_TRY(take_gold(row, at, count, &q->gold));
    COT_TRY(make_texts(q, at, 1, count));
    COT_TRY(take_text(row, "query", at, &q->text[0]));
    return take_list(row, "choices", at, q->text + 1);
}

static cot_status parse_contexts(const json_t *row, const cot_task_place *at, cot_question *q)
{
    int32_t count;
    COT_TRY(count_list(row, "context_options", at, &count));
    COT_TRY(take_gold(row, at, count, &q->gold));
    COT_TRY(make_texts(q, at, count, 1));
    COT_TRY(take_list(row, "context_options", at, q->text));
    return take_text(row, "continuation", at, &q->text[count]);
}

static cot_status parse_pair(const json_t *row, const cot_task_place *at, cot_question *q)
{
    COT_TRY(make_texts(q, at, 1, 2));
    q->text[0] = "";
    COT_TRY(take_text(row, "sentence_good", at, &q->text[1]));
    return take_text(row, "sentence_bad", at, &q->text[2]);
}

static cot_status parse_completion(const json_t *row, const cot_task_place *at, cot_question *q)
{
    COT_TRY(make_texts(q, at, 1, 1));
    COT_TRY(take_text(row, "context", at, &q->text[0]));
    return take_text(row, "continuation", at, &q->text[1]);
}

/* By the first of these keys that a row has. */
static const struct {
    const char   *key;
    cot_task_kind kind;
    cot_status (*parse)(const json_t *row, const cot_task_place *at, cot_question *q);
} kinds[] = {
    {"choices", COT_TASK_CHOICES, parse_choices},
    {"context_options", COT_TASK_CONTEXTS, parse_contexts},
    {"sentence_good", COT_TASK_PAIRS, parse_pair},
    {"continuation", COT_TASK_COMPLETION, parse_completion},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

const char *cot_task_kind_name(cot_task_kind kind)
{
    static const char *const names[] = {"multiple choice", "context choice", "minimal pairs", "completion"};
    return (size_t)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

static cot_status check_question(const cot_question *q, const cot_task_place *at)
{
    for (int32_t i = 0; i < q->continuations; i++)
        if (!q->text[q->contexts + i][0])
            return cot_task_malformed(at, "%s %d is empty, expected a text",
                                      q->continuations > 1 ? "choice" : "continuation", i);
    return COT_OK;
}

/* One block for the texts: rows may be short, and many. */
static cot_status keep_texts(cot_question *q, const char *file)
{
    const size_t count = (size_t)(q->contexts + q->continuations);
    size_t bytes = count * sizeof *q->text;
    for (size_t i = 0; i < count; i++) bytes += strlen(q->text[i]) + 1;
    const char **kept = cot_malloc(bytes);
    if (!kept) return no_memory(file);
    char *to = (char *)(kept + count);
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(q->text[i]) + 1;
        memcpy(to, q->text[i], length);
        kept[i] = to;
        to += length;
    }
    cot_free(q->text);
    q->text = kept;
    return COT_OK;
}

cot_status cot_task_add(cot_task *task, const json_t *row, const cot_task_place *at)
{
    size_t k = 0;
    while (k < KINDS && !json_object_get(row, kinds[k].key)) k++;
    if (k == KINDS)
        return cot_task_malformed(at, "neither query, choices and gold, nor context_options, continuation and gold, "
                                      "nor sentence_good and sentence_bad, "
                                      "nor context and continuation are there");
    if (task->count == 0) task->kind = kinds[k].kind;
    if (task->kind != kinds[k].kind)
        return cot_task_malformed(at, "a row of another kind, %s; expected %s as in line %lld",
                                  cot_task_kind_name(kinds[k].kind), cot_task_kind_name(task->kind),
                                  (long long)task->questions[0].line);
    if (task->count == task->room) {
        const size_t room = 2 * task->room + 64;
        cot_question *grown = cot_realloc(task->questions, task->room * sizeof *grown, room * sizeof *grown);
        if (!grown) return no_memory(at->file);
        task->questions = grown;
        task->room = room;
    }
    cot_question *q = &task->questions[task->count++];
    *q = (cot_question){0};
    COT_TRY(kinds[k].parse(row, at, q));
    COT_TRY(check_question(q, at));
    return keep_texts(q, at->file);
}

void cot_task_destroy(cot_task *task)
{
    if (!task) return;
    for (size_t i = 0; i < task->count; i++) cot_free(task->questions[i].text);
    cot_free(task->questions);
    cot_free(task->name);
    cot_free(task->file);
    cot_free(task);
}

const char   *cot_task_name(const cot_task *task) { return task->name; }
cot_task_kind cot_task_kind_of(const cot_task *task) { return task->kind; }
int64_t       cot_task_count(const cot_task *task) { return (int64_t)task->count; }
