#define _POSIX_C_SOURCE 200809L
/* metrics.jsonl: a line for each step, and one for each evaluation, behind its step's. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/fail.h"
#include "formats/file.h"
#include "formats/json.h"
#include "routing/measures.h"
#include "training/trainer_state.h"

static char *path_of(const cot_trainer *t) { return cot_path_join(t->folder, "metrics.jsonl"); }

static cot_status no_memory(void) { return cot_fail(COT_OUT_OF_MEMORY, "no memory for a line of metrics.jsonl"); }

static void set_number(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null());
}

static json_t *layer_json(const cot_step_layer *layer)
{
    json_t *object = json_object(), *load = json_array();
    for (int64_t j = 0; j < cot_load_entries(layer->experts); j++)
        json_array_append_new(load, json_real(cot_load_entry(layer->load, layer->experts, j)));
    json_object_set_new(object, "layer", json_integer(layer->layer));
    json_object_set_new(object, "load", load);
    set_number(object, "cv2", layer->cv2);
    set_number(object, "max_vio", layer->max_vio);
    set_number(object, "router_entropy", layer->router_entropy);
    set_number(object, "drop_fraction", layer->drop_fraction);
    json_object_set_new(object, "dead_experts", json_integer(layer->dead));
    set_number(object, "usage", layer->usage);
    set_number(object, "unevenness", layer->unevenness);
    if (layer->sub_keys)
        json_object_set_new(object, "use_histogram",
                            cot_json_integers(layer->use_histogram, cot_use_histogram_size(layer->use_histogram)));
    return object;
}

static json_t *report_json(const cot_trainer *t, const cot_step_report *r)
{
    json_t *object = json_object(), *norms = json_array(), *layers = json_array();
    json_object_set_new(object, "step", json_integer(r->step));
    json_object_set_new(object, "tokens", json_integer(r->tokens));
    set_number(object, "loss", r->loss);
    set_number(object, "balance_loss", r->balance_loss);
    set_number(object, "lr", r->lr);
    set_number(object, "grad_norm", r->grad_norm);
    for (int64_t i = 0; i <= t->plan->model->num_layers; i++)
        json_array_append_new(norms, json_real(r->layer_grad_norm[i]));
    json_object_set_new(object, "grad_norm_layers", norms);
    set_number(object, "tokens_per_s", r->tokens_per_s);
    for (int64_t i = 0; i < r->layer_count; i++) json_array_append_new(layers, layer_json(&r->layers[i]));
    json_object_set_new(object, "layers", layers);
    return object;
}

static json_t *valid_json(const cot_step_report *r)
{
    json_t *object = json_object(), *valid = json_object();
    json_object_set_new(object, "step", json_integer(r->step));
    json_object_set_new(object, "tokens", json_integer(r->tokens));
    set_number(valid, "loss", r->valid->total.loss);
    set_number(valid, "bits_per_byte", r->valid->total.bits_per_byte);
    json_object_set_new(object, "valid", valid);
    return object;
}

/* The object as a line behind the text (NULL = none yet), which it replaces; NULL when memory is short. Takes both. */
static char *add_line(char *text, json_t *object)
{
    char *line = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    const size_t before = text ? strlen(text) : 0, bytes = before + (line ? strlen(line) : 0) + 2;
    char *whole = line ? cot_realloc(text, before, bytes) : NULL;
    if (whole) snprintf(whole + before, bytes - before, "%s\n", line);
    else cot_free(text);
    free(line);
    json_decref(object);
    return whole;
}

/* In one piece, so that a line is there with its evaluation or not at all. */
cot_status cot_run_log(cot_trainer *t, const cot_step_report *report)
{
    char *path = path_of(t), *text = add_line(NULL, report_json(t, report));
    if (text && report->valid) text = add_line(text, valid_json(report));
    const cot_status status = path && text ? cot_file_append(path, text, strlen(text)) : no_memory();
    if (status == COT_OK) t->logged = report->step;
    cot_free(text);
    cot_free(path);
    return status;
}

cot_status cot_run_log_check(const cot_trainer *t)
{
    if (t->logged == t->step) return COT_OK;
    return cot_fail(COT_IO, "%s: metrics.jsonl lacks step %lld: go on from the last checkpoint", t->folder,
                    (long long)t->step);
}

cot_status cot_run_log_flush(const cot_trainer *t)
{
    char *path = path_of(t);
    const cot_status status = path ? cot_file_flush(path) : no_memory();
    cot_free(path);
    return status;
}

/* Is it a whole line of a step up to `step`? Later ones belong to a future that is about to be lived again. */
static bool is_past(const char *line, int64_t step)
{
    const char *found = strstr(line, "\"step\":");
    return found && strchr(line, '\n') && strtoll(found + 7, NULL, 10) <= step;
}

static cot_status copy_past(FILE *from, const char *path, int64_t step)
{
    char *line = NULL;
    size_t size = 0;
    cot_file_writer *to;
    COT_TRY(cot_file_writer_open(path, &to));
    cot_status status = COT_OK;
    while (status == COT_OK && getline(&line, &size, from) > 0)
        if (is_past(line, step)) status = cot_file_writer_put(to, line, strlen(line));
    free(line);
    if (status == COT_OK && !feof(from)) status = cot_fail(COT_IO, "'%s': cannot be read to its end", path);
    if (status == COT_OK) return cot_file_writer_commit(to);
    cot_file_writer_abort(to);
    return status;
}

cot_status cot_run_log_cut(cot_trainer *t)
{
    char *path = path_of(t);
    if (!path) return no_memory();
    FILE *f = fopen(path, "r");
    cot_status status = COT_OK;
    if (f) status = copy_past(f, path, t->step);
    else if (cot_file_exists(path)) status = cot_fail(COT_IO, "cannot read '%s': %s", path, strerror(errno));
    if (f) fclose(f);
    cot_free(path);
    t->logged = t->step;
    return status;
}
