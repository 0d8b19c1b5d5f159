/* A task's result and answers as JSON. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/file.h"
#include "inference/tasks/task_parts.h"

static json_t *number(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* ---- the result ---- */

static json_t *scores(const cot_task_result *r)
{
    json_t *object = json_object();
    for (size_t i = 0; i < r->score_count; i++) {
        const cot_task_score *s = &r->scores[i];
        json_t *entry = json_object();
        json_object_set_new(entry, "value", number(s->value));
        json_object_set_new(entry, "stderr", number(s->standard_error));
        if (!isnan(s->tie_rate)) json_object_set_new(entry, "tie_rate", number(s->tie_rate));
        json_object_set_new(object, s->name, entry);
    }
    return object;
}

static json_t *bins(const cot_calibration_bin *list, int64_t count)
{
    json_t *array = json_array();
    for (int64_t b = 0; b < count; b++)
        json_array_append_new(array, json_pack("{s:o, s:o, s:I, s:o, s:o}", "from", number(list[b].from), "to",
                                               number(list[b].to), "count", (json_int_t)list[b].count, "confidence",
                                               number(list[b].confidence), "accuracy", number(list[b].accuracy)));
    return array;
}

static json_t *calibration(const cot_calibration *c)
{
    return json_pack("{s:I, s:I, s:o, s:o, s:o, s:o}", "count", (json_int_t)c->count, "bins", (json_int_t)c->bins,
                     "ece_width", number(c->ece_width), "ece_mass", number(c->ece_mass), "width",
                     bins(c->width, c->bins), "mass", bins(c->mass, c->bins));
}

cot_status cot_task_result_to_json(const cot_task_result *r, char **out)
{
    json_t *root = json_object(), *calibrations = json_object();
    json_object_set_new(root, "task", json_string(r->name));
    json_object_set_new(root, "kind", json_string(cot_task_kind_name(r->kind)));
    json_object_set_new(root, "questions", json_integer((json_int_t)r->questions));
    json_object_set_new(root, "left_out", json_integer((json_int_t)r->left_out));
    json_object_set_new(root, "shots", json_integer((json_int_t)r->shots));
    json_object_set_new(root, "window", json_integer((json_int_t)r->window));
    json_object_set_new(root, "cut", json_integer((json_int_t)r->cut));
    if (!isnan(r->chance)) json_object_set_new(root, "chance", number(r->chance));
    json_object_set_new(root, "scores", scores(r));
    json_object_set_new(calibrations, r->all.count ? "top" : "token", calibration(&r->top));
    if (r->all.count) json_object_set_new(calibrations, "all", calibration(&r->all));
    if (r->all.count) json_object_set_new(calibrations, "temperature", number(r->temperature));
    json_object_set_new(root, "calibration", calibrations);
    *out = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    json_decref(root);
    return *out ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for the JSON of a task");
}

/* ---- answers ---- */

static json_t *alternative(const cot_task_answer *a, cot_task_kind kind, int32_t i, const char *context,
                           const char *continuation)
{
    json_t *entry = json_object();
    if (kind == COT_TASK_CONTEXTS) json_object_set_new(entry, "context", json_string(context));
    json_object_set_new(entry, "continuation", json_string(continuation));
    json_object_set_new(entry, "log_probability", number(a->log_probability[i]));
    if (kind == COT_TASK_CHOICES) json_object_set_new(entry, "unconditional", number(a->unconditional[i]));
    json_object_set_new(entry, "tokens", json_integer(a->tokens[i]));
    json_object_set_new(entry, "characters", json_integer(a->characters[i]));
    json_object_set_new(entry, "bytes", json_integer(a->bytes[i]));
    return entry;
}

static cot_status answer(const cot_task_result *r, const cot_task *task, const cot_task_options *options,
                         const cot_task_answer *a, json_t **out)
{
    json_t *row = json_object(), *list = json_array();
    json_object_set_new(row, "line", json_integer((json_int_t)a->line));
    json_object_set_new(row, "gold", json_integer(a->gold));
    json_object_set_new(row, "greedy", json_boolean(a->greedy));
    json_object_set_new(row, "cut", json_boolean(a->cut));
    *out = row;
    for (int32_t i = 0; i < a->alternatives; i++) {
        char *context, *continuation;
        const cot_status status = cot_task_prompt(task, options, a->question, i, &context, &continuation);
        if (status != COT_OK) {
            json_decref(list);
            return status;
        }
        if (i == 0 && r->kind != COT_TASK_CONTEXTS) json_object_set_new(row, "context", json_string(context));
        json_array_append_new(list, alternative(a, r->kind, i, context, continuation));
        free(context);
        free(continuation);
    }
    json_object_set_new(row, "alternatives", list);
    return COT_OK;
}

static cot_status write_answer(cot_file_writer *writer, const json_t *row)
{
    char *text = json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(17));
    if (!text) return cot_fail(COT_OUT_OF_MEMORY, "no memory for the JSON of an answer");
    cot_status status = cot_file_writer_put(writer, text, strlen(text));
    if (status == COT_OK) status = cot_file_writer_put(writer, "\n", 1);
    free(text);
    return status;
}

cot_status cot_task_result_write_answers(const cot_task_result *result, const cot_task *task,
                                         const cot_task_options *options, const char *path)
{
    cot_file_writer *writer;
    cot_status status = cot_file_writer_open(path, &writer);
    if (status != COT_OK) return status;
    for (int64_t q = 0; status == COT_OK && q < result->questions; q++) {
        json_t *row = NULL;
        status = answer(result, task, options, &result->answers[q], &row);
        if (status == COT_OK) status = write_answer(writer, row);
        json_decref(row);
    }
    if (status == COT_OK) return cot_file_writer_commit(writer);
    cot_file_writer_abort(writer);
    return status;
}
