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
 * A checkpoint becomes valid when trainer.json is renamed into place; older state files go away after that. So whenever
 * the program dies, trainer.json names a state that was flushed to the disk before, and metrics.jsonl holds every step
 * up to it. While a process trains in the folder it holds `.lock` there, which the system lets go of when the process
 * dies. */
#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/fail.h"
#include "formats/file.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "training/trainer_state.h"

enum { PATH = 4096 };

static void path_of(const cot_trainer *t, const char *name, char path[PATH])
{
    snprintf(path, PATH, "%s/%s", t->folder, name);
}

/* ---- start ---- */

cot_status cot_run_folder_check(const char *folder)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/recipe.yaml", folder);
    if (cot_file_exists(path))
        return cot_fail(COT_INVALID,
                        "%s holds a run already: go on with --resume %s, or choose another folder with --out", folder,
                        folder);
    snprintf(path, sizeof path, "%s/config.json", folder);
    return cot_file_exists(path)
               ? cot_fail(COT_INVALID, "%s holds a model already: choose another folder with --out", folder)
               : COT_OK;
}

bool cot_run_has_checkpoint(const char *folder)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/trainer.json", folder);
    return cot_file_exists(path);
}

cot_status cot_run_find(const char *folder)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/recipe.yaml", folder);
    return cot_file_exists(path) ? COT_OK : cot_fail(COT_NOT_FOUND, "%s holds no run: there is no %s", folder, path);
}

cot_status cot_run_lock(const char *folder, int *lock)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/.lock", folder);
    const cot_status status = cot_file_lock(path, lock);
    if (status != COT_INVALID) return status;
    return cot_fail(COT_INVALID, "another process is training in %s: wait for it, or stop it first", folder);
}

void cot_run_unlock(const char *folder, int lock)
{
    char path[PATH];
    snprintf(path, sizeof path, "%s/.lock", folder);
    cot_file_unlock(path, lock);
}

cot_status cot_run_write_recipe(const cot_trainer *t)
{
    char path[PATH], *yaml = NULL;
    path_of(t, "recipe.yaml", path);
    COT_TRY(cot_config_to_yaml(t->plan->recipe, &yaml));
    const cot_status status = cot_file_write(path, yaml, strlen(yaml));
    free(yaml);
    return status;
}

static cot_status start(cot_trainer *t)
{
    COT_TRY(cot_run_lock(t->folder, &t->lock));
    COT_TRY(cot_run_folder_check(t->folder));  /* once more: now nobody else can come first */
    return cot_run_write_recipe(t);
}

cot_status cot_run_start(cot_trainer *t)
{
    const bool there = cot_folder_exists(t->folder);
    COT_TRY(cot_folder_make(t->folder));
    const cot_status status = start(t);
    if (status == COT_OK) return COT_OK;
    cot_run_unlock(t->folder, t->lock);
    t->lock = -1;
    if (!there) rmdir(t->folder);  /* an empty one helps nobody */
    return status;
}

/* ---- state ---- */

/* Every array that the next step depends on, as entries of a safetensors file. `names` holds the text of their
 * names. */
typedef struct {
    cot_tensor_entry *entries;
    char            (*names)[320];
    size_t            count;
} state_list;

static void add_entry(state_list *list, const char *prefix, const char *name, const char *suffix, cot_dtype dtype,
                      int64_t size, void *data)
{
    snprintf(list->names[list->count], sizeof *list->names, "%s%s%s", prefix, name, suffix);
    list->entries[list->count] = (cot_tensor_entry){.name = list->names[list->count],
                                                    .dtype = dtype,
                                                    .rank = 1,
                                                    .shape = {size},
                                                    .data = data,
                                                    .data_dtype = dtype};
    list->count++;
}

static cot_status list_state(const cot_trainer *t, state_list *list)
{
    const cot_params *params = t->plan->model->params;
    const size_t most = cot_params_count(params) + COT_MAX_SLOTS * t->optimizer->count;
    *list = (state_list){.entries = cot_malloc(most * sizeof *list->entries),
                         .names = cot_malloc(most * sizeof *list->names)};
    if (!list->entries || !list->names) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a checkpoint's list");
    for (size_t i = 0; i < cot_params_count(params); i++) {
        const cot_tensor *value = &cot_params_at(params, i)->value;
        add_entry(list, "parameter.", cot_params_at(params, i)->name, "", value->dtype, cot_tensor_count(value),
                  value->data);
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
        return cot_fail(COT_FORMAT,
                        "%s holds %zu tensors, this run's recipe makes %zu: model or optimizer have changed", path,
                        cot_safetensors_count(file), list->count);
    for (size_t i = 0; i < list->count; i++) {
        const cot_stored_tensor *stored = cot_safetensors_find(file, list->names[i]);
        if (!stored || stored->count != list->entries[i].shape[0])
            return cot_fail(COT_FORMAT, "%s: tensor '%s' %s: model or optimizer have changed", path, list->names[i],
                            stored ? "has another size" : "is missing");
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
    for (size_t i = 0; i < cot_params_count(t->plan->model->params); i++)
        cot_params_at(t->plan->model->params, i)->version++;
    free_list(&list);
    cot_safetensors_close(file);
    return status;
}

static bool is_state(const char *name)
{
    return strncmp(name, "state-", 6) == 0 || strncmp(name, ".state-", 7) == 0;  /* the latter: what a killed process left of one */
}

/* All but the one that trainer.json names. */
static void remove_other_states(const cot_trainer *t)
{
    DIR *folder = opendir(t->folder);
    if (!folder) return;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        char path[PATH];
        if (!is_state(entry->d_name) || strcmp(entry->d_name, t->state) == 0) continue;
        path_of(t, entry->d_name, path);
        unlink(path);
    }
    closedir(folder);
}

/* ---- trainer.json ---- */

static cot_status write_position(cot_trainer *t, const char *state)
{
    char path[PATH], fingerprint[32];
    const cot_data_position at = cot_batches_position(t->batches);
    path_of(t, "trainer.json", path);
    snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, cot_corpus_fingerprint(t->plan->corpus));
    json_t *root = json_pack("{s:s, s:I, s:I, s:I, s:s, s:o}", "state", state, "step", (json_int_t)t->step, "epoch",
                             (json_int_t)at.epoch, "row", (json_int_t)at.row, "data", fingerprint, "best_loss",
                             isfinite(t->best_loss) ? json_real(t->best_loss) : json_null());
    char *text = root ? json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    const cot_status status =
        text ? cot_file_write(path, text, strlen(text)) : cot_fail(COT_OUT_OF_MEMORY, "no memory for %s", path);
    free(text);
    json_decref(root);
    if (status == COT_OK) snprintf(t->state, sizeof t->state, "%s", state);
    return status;
}

static cot_status read_position(cot_trainer *t)
{
    char path[PATH], fingerprint[32];
    json_error_t error;
    json_int_t step, epoch, row;
    const char *file, *data;
    json_t *best, *root;
    path_of(t, "trainer.json", path);
    COT_TRY(cot_json_read(path, 1 << 20, &root));
    cot_status status = COT_OK;
    if (json_unpack_ex(root, &error, 0, "{s:s, s:I, s:I, s:I, s:s, s:o}", "state", &file, "step", &step, "epoch",
                       &epoch, "row", &row, "data", &data, "best_loss", &best) != 0)
        status = cot_fail(COT_FORMAT, "%s: %s, expected what a checkpoint writes", path, error.text);
    if (status == COT_OK && (strchr(file, '/') || strlen(file) >= sizeof t->state || step < 0 || epoch < 0 || row < 0))
        status = cot_fail(COT_FORMAT, "%s: a value is out of range, expected what a checkpoint writes", path);
    snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, cot_corpus_fingerprint(t->plan->corpus));
    if (status == COT_OK && strcmp(data, fingerprint) != 0)
        status = cot_fail(COT_INVALID,
                          "the data have changed since %s was written: the run cannot go on where it stood", path);
    if (status == COT_OK) {
        snprintf(t->state, sizeof t->state, "%s", file);
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

/* What trainer.json will name, and the model for everybody else. */
static cot_status write_checkpoint(const cot_trainer *t, const char *state)
{
    COT_TRY(write_state(t, state));
    COT_TRY(cot_model_save(t->plan->model, t->plan->tokenizer, t->folder));
    return cot_run_log_flush(t);
}

cot_status cot_run_save(cot_trainer *t)
{
    char state[COT_STATE_NAME];
    COT_TRY(cot_run_log_check(t));
    snprintf(state, sizeof state, "state-%lld.safetensors", (long long)t->step);
    const cot_status status = write_checkpoint(t, state);
    if (status == COT_OK) COT_TRY(write_position(t, state));  /* when this fails, either state may be the one it names */
    remove_other_states(t);
    return status;
}

/* A run that died before its first checkpoint stands at its start, which its recipe alone decides. */
cot_status cot_run_load(cot_trainer *t)
{
    if (cot_run_has_checkpoint(t->folder)) {
        COT_TRY(read_position(t));
        COT_TRY(read_state(t, t->state));
    }
    remove_other_states(t);
    return cot_run_log_cut(t);
}
