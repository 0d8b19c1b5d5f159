#define _POSIX_C_SOURCE 200809L
/* The files of a run's folder.
 *
 *   recipe.yaml            the recipe as it was run
 *   metrics.jsonl          a line for each step
 *   config.json, model.safetensors, tokenizer.json ...   the last checkpoint as a model folder
 *   trainer.json           where the run stands; names the state file. Written last: what it names is whole
 *   state-STEP.safetensors parameters and optimizer state in full precision
 *   best/, kept/           model folders
 *
 * A checkpoint becomes valid when trainer.json is renamed into place; older state files go away after that. So whenever the
 * program dies, trainer.json names a state that was flushed to the disk before. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/fail.h"
#include "formats/file.h"
#include "formats/safetensors.h"
#include "training/trainer_state.h"

enum { PATH = 4096, STATE_NAME = 64 };

static void path_of(const cot_trainer *t, const char *name, char path[PATH]) { snprintf(path, PATH, "%s/%s", t->folder, name); }

cot_status cot_run_folder_check(const char *folder)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/recipe.yaml", folder);
    if (!cot_file_exists(path)) return COT_OK;
    return cot_fail(COT_INVALID, "%s holds a run already: go on with --resume %s, or choose another folder with --out", folder, folder);
}

cot_status cot_run_start(cot_trainer *t)
{
    char path[PATH], *yaml = NULL;
    COT_TRY(cot_config_to_yaml(t->plan->recipe, &yaml));
    const bool there = cot_folder_exists(t->folder);
    cot_status status = cot_folder_make(t->folder);
    path_of(t, "recipe.yaml", path);
    if (status == COT_OK) status = cot_file_write(path, yaml, strlen(yaml));
    if (status != COT_OK && !there) rmdir(t->folder);  /* an empty one helps nobody */
    free(yaml);
    return status;
}

/* ---- metrics.jsonl ---- */

static void set_number(json_t *object, const char *key, double value)
{
    json_object_set_new(object, key, isfinite(value) ? json_real(value) : json_null());
}

static json_t *layer_json(const cot_step_layer *layer)
{
    json_t *object = json_object(), *load = json_array();
    for (int64_t j = 0; j < layer->experts; j++) json_array_append_new(load, json_real(layer->load[j]));
    json_object_set_new(object, "layer", json_integer(layer->layer));
    json_object_set_new(object, "load", load);
    set_number(object, "cv2", layer->cv2);
    set_number(object, "max_vio", layer->max_vio);
    set_number(object, "router_entropy", layer->router_entropy);
    set_number(object, "drop_fraction", layer->drop_fraction);
    json_object_set_new(object, "dead_experts", json_integer(layer->dead));
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
    for (int64_t i = 0; i <= t->plan->model->num_layers; i++) json_array_append_new(norms, json_real(r->layer_grad_norm[i]));
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

static bool put_line(FILE *f, json_t *object)
{
    const bool fine = object && json_dumpf(object, f, JSON_COMPACT | JSON_REAL_PRECISION(9)) == 0 && fputc('\n', f) != EOF;
    json_decref(object);
    return fine;
}

cot_status cot_run_log(const cot_trainer *t, const cot_step_report *report)
{
    char path[PATH];
    path_of(t, "metrics.jsonl", path);
    FILE *f = fopen(path, "a");
    bool fine = f && put_line(f, report_json(t, report)) && (!report->valid || put_line(f, valid_json(report)));
    if (f && fclose(f) != 0) fine = false;
    return fine ? COT_OK : cot_fail(COT_IO, "%s: cannot append a line: %s", path, strerror(errno));
}

/* Lines of steps after `step` belong to a future that is about to be lived again. */
static cot_status cut_metrics(const cot_trainer *t, int64_t step)
{
    char path[PATH], *line = NULL;
    size_t size = 0;
    cot_file_writer *writer = NULL;
    path_of(t, "metrics.jsonl", path);
    FILE *f = fopen(path, "r");
    if (!f) return COT_OK;
    cot_status status = cot_file_writer_open(path, &writer);
    while (status == COT_OK && getline(&line, &size, f) > 0) {
        const char *found = strstr(line, "\"step\":");
        if (found && strchr(line, '\n') && strtoll(found + 7, NULL, 10) <= step) status = cot_file_writer_put(writer, line, strlen(line));
    }
    free(line);
    fclose(f);
    if (status == COT_OK) return cot_file_writer_commit(writer);
    cot_file_writer_abort(writer);
    return status;
}

/* ---- state ---- */

/* Every array that the next step depends on, as entries of a safetensors file. `names` holds the text of their names. */
typedef struct {
    cot_tensor_entry *entries;
    char            (*names)[320];
    size_t            count;
} state_list;

static void add_entry(state_list *list, const char *prefix, const char *name, const char *suffix, cot_dtype dtype, int64_t size, void *data)
{
    snprintf(list->names[list->count], sizeof *list->names, "%s%s%s", prefix, name, suffix);
    list->entries[list->count] = (cot_tensor_entry){.name = list->names[list->count], .dtype = dtype, .rank = 1, .shape = {size}, .data = data, .data_dtype = dtype};
    list->count++;
}

static cot_status list_state(const cot_trainer *t, state_list *list)
{
    const cot_params *params = t->plan->model->params;
    const size_t most = cot_params_count(params) + COT_MAX_SLOTS * t->optimizer->count;
    *list = (state_list){.entries = cot_malloc(most * sizeof *list->entries), .names = cot_malloc(most * sizeof *list->names)};
    if (!list->entries || !list->names) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a checkpoint's list");
    for (size_t i = 0; i < cot_params_count(params); i++) {
        const cot_tensor *value = &cot_params_at(params, i)->value;
        add_entry(list, "parameter.", cot_params_at(params, i)->name, "", value->dtype, cot_tensor_count(value), value->data);
    }
    for (size_t i = 0; i < t->optimizer->count; i++) {
        const cot_slots *s = &t->optimizer->slots[i];
        for (int j = 0; j < COT_MAX_SLOTS; j++) {
            if (!s->slot_size[j]) continue;
            char prefix[64];
            snprintf(prefix, sizeof prefix, "%s.", s->slot_name[j]);
            add_entry(list, prefix, s->param->name, "", s->param->value.dtype, s->slot_size[j], s->slot[j]);
        }
    }
    return COT_OK;
}

static void free_list(state_list *list)
{
    cot_free(list->entries);
    cot_free(list->names);
}

static cot_status write_state(const cot_trainer *t, const char *name)
{
    char path[PATH];
    state_list list;
    path_of(t, name, path);
    cot_status status = list_state(t, &list);
    if (status == COT_OK) status = cot_safetensors_write(path, list.entries, list.count);
    free_list(&list);
    return status;
}

static cot_status read_tensors(const state_list *list, const cot_safetensors *file, const char *path)
{
    if (cot_safetensors_count(file) != list->count)
        return cot_fail(COT_FORMAT, "%s holds %zu tensors, this run's recipe makes %zu: model or optimizer have changed", path, cot_safetensors_count(file), list->count);
    for (size_t i = 0; i < list->count; i++) {
        const cot_stored_tensor *stored = cot_safetensors_find(file, list->names[i]);
        if (!stored || stored->count != list->entries[i].shape[0])
            return cot_fail(COT_FORMAT, "%s: tensor '%s' %s: model or optimizer have changed", path, list->names[i], stored ? "has another size" : "is missing");
        COT_TRY(cot_safetensors_read(file, stored, list->entries[i].dtype, (void *)list->entries[i].data));
    }
    return COT_OK;
}

static cot_status read_state(cot_trainer *t, const char *name)
{
    char path[PATH];
    state_list list = {0};
    cot_safetensors *file = NULL;
    path_of(t, name, path);
    cot_status status = cot_safetensors_open(path, &file);
    if (status == COT_OK) status = list_state(t, &list);
    if (status == COT_OK) status = read_tensors(&list, file, path);
    for (size_t i = 0; i < cot_params_count(t->plan->model->params); i++) cot_params_at(t->plan->model->params, i)->version++;
    free_list(&list);
    cot_safetensors_close(file);
    return status;
}

static void remove_other_states(const cot_trainer *t, const char *keep)
{
    DIR *folder = opendir(t->folder);
    if (!folder) return;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        char path[PATH];
        const size_t length = strlen(entry->d_name);
        if (strncmp(entry->d_name, "state-", 6) != 0 || length < 12 || strcmp(entry->d_name + length - 12, ".safetensors") != 0) continue;
        if (strcmp(entry->d_name, keep) == 0) continue;
        path_of(t, entry->d_name, path);
        unlink(path);
    }
    closedir(folder);
}

/* ---- trainer.json ---- */

static cot_status write_position(const cot_trainer *t, const char *state)
{
    char path[PATH], fingerprint[32];
    const cot_data_position at = cot_batches_position(t->batches);
    path_of(t, "trainer.json", path);
    snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, cot_corpus_fingerprint(t->plan->corpus));
    json_t *root = json_pack("{s:s, s:I, s:I, s:I, s:s, s:o}", "state", state, "step", (json_int_t)t->step, "epoch", (json_int_t)at.epoch, "row",
                             (json_int_t)at.row, "data", fingerprint, "best_loss", isfinite(t->best_loss) ? json_real(t->best_loss) : json_null());
    char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    const cot_status status = text ? cot_file_write(path, text, strlen(text)) : cot_fail(COT_OUT_OF_MEMORY, "no memory for %s", path);
    free(text);
    json_decref(root);
    return status;
}

static cot_status read_position(cot_trainer *t, char state[STATE_NAME])
{
    char path[PATH], fingerprint[32], *text = NULL;
    size_t bytes = 0;
    json_error_t error;
    json_int_t step, epoch, row;
    const char *file, *data;
    json_t *best;
    path_of(t, "trainer.json", path);
    COT_TRY(cot_file_read(path, 1 << 20, &text, &bytes));
    json_t *root = json_loadb(text, bytes, 0, &error);
    cot_free(text);
    cot_status status = COT_OK;
    if (!root || json_unpack_ex(root, &error, 0, "{s:s, s:I, s:I, s:I, s:s, s:o}", "state", &file, "step", &step, "epoch", &epoch, "row", &row, "data", &data,
                                "best_loss", &best) != 0)
        status = cot_fail(COT_FORMAT, "%s: %s, expected what a checkpoint writes", path, error.text);
    if (status == COT_OK && (strchr(file, '/') || strlen(file) >= STATE_NAME || step < 0 || epoch < 0 || row < 0))
        status = cot_fail(COT_FORMAT, "%s: a value is out of range, expected what a checkpoint writes", path);
    snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, cot_corpus_fingerprint(t->plan->corpus));
    if (status == COT_OK && strcmp(data, fingerprint) != 0)
        status = cot_fail(COT_INVALID, "the data have changed since %s was written: the run cannot go on where it stood", path);
    if (status == COT_OK) {
        snprintf(state, STATE_NAME, "%s", file);
        t->step = step;
        t->best_loss = json_is_real(best) ? json_real_value(best) : INFINITY;
        status = cot_batches_seek(t->batches, (cot_data_position){(uint64_t)epoch, (uint64_t)row});
    }
    json_decref(root);
    return status;
}

/* ---- checkpoints ---- */

cot_status cot_run_save_model(const cot_trainer *t, const char *name)
{
    char path[PATH];
    path_of(t, name, path);
    COT_TRY(cot_folder_make(path));
    return cot_model_save(t->plan->model, t->plan->tokenizer, path);
}

cot_status cot_run_save(cot_trainer *t)
{
    char state[STATE_NAME];
    snprintf(state, sizeof state, "state-%lld.safetensors", (long long)t->step);
    COT_TRY(write_state(t, state));
    COT_TRY(cot_model_save(t->plan->model, t->plan->tokenizer, t->folder));
    COT_TRY(write_position(t, state));
    remove_other_states(t, state);
    return COT_OK;
}

/* A run that died before its first checkpoint stands at its start, which its recipe alone decides. */
cot_status cot_run_load(cot_trainer *t)
{
    char state[STATE_NAME], path[PATH];
    path_of(t, "trainer.json", path);
    if (cot_file_exists(path)) {
        COT_TRY(read_position(t, state));
        COT_TRY(read_state(t, state));
    }
    return cut_metrics(t, t->step);
}
