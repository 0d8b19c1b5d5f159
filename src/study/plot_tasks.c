/* Reads what `coterie eval --task --json` prints, or a run keeps of one task, as far as pictures need it:
 *   {"tasks": [{"task": "copa", "calibration": {"top": {"count": 100, "ece_width": 0.1, "width":
 *     [{"from": 0, "to": 0.1, "count": 5, "confidence": 0.07, "accuracy": 0.2}, ...]}}}, ...]}
 * Completions have "token" in place of "top". */
#include <coterie/plot.h>

#include <math.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/json.h"
#include "study/plot_json.h"

enum { TASK_BYTES = 64 << 20, MOST_BINS = 1000 };

static cot_status take_share(const json_t *bin, const char *key, const cot_plot_place *place, double *out)
{
    COT_TRY(cot_plot_number(bin, key, true, place, out));
    return *out >= 0 && *out <= 1 ? COT_OK : cot_plot_malformed(place, "'%s' of a bin is no fraction from 0 to 1", key);
}

/* A bin without predictions is left out. */
static cot_status add_bin(cot_plot_task *t, const json_t *bin, const cot_plot_place *place)
{
    cot_plot_bin *const b = &t->bin[t->bins];
    double count;
    COT_TRY(cot_plot_number(bin, "count", true, place, &count));
    if (!(count > 0)) return COT_OK;
    COT_TRY(take_share(bin, "from", place, &b->from));
    COT_TRY(take_share(bin, "to", place, &b->to));
    COT_TRY(take_share(bin, "confidence", place, &b->confidence));
    COT_TRY(take_share(bin, "accuracy", place, &b->accuracy));
    b->count = count;
    t->bins++;
    return COT_OK;
}

static cot_status fill_task(cot_plot_task *t, const json_t *entry, const cot_plot_place *place)
{
    const json_t *const name = json_object_get(entry, "task");
    const json_t *const kinds = json_object_get(entry, "calibration"), *const top = json_object_get(kinds, "top");
    const json_t *const one = top ? top : json_object_get(kinds, "token"), *const bins = json_object_get(one, "width");
    if (!json_is_string(name))
        return cot_plot_malformed(place, "'task' is %s, expected the name of a task", cot_json_kind(name));
    if (!json_is_array(bins) || json_array_size(bins) > MOST_BINS)
        return cot_plot_malformed(place, "the calibration of '%.40s' has no 'width', a list of at most %d bins",
                                  json_string_value(name), MOST_BINS);
    t->of_tokens = !top;
    t->name = cot_strdup(json_string_value(name));
    t->bin = cot_calloc((json_array_size(bins) + 1) * sizeof *t->bin);
    if (!t->name || !t->bin) return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for a task", place->file);
    COT_TRY(cot_plot_number(one, "ece_width", false, place, &t->error));
    COT_TRY(cot_plot_number(one, "count", true, place, &t->count));
    for (size_t i = 0; i < json_array_size(bins); i++) COT_TRY(add_bin(t, json_array_get(bins, i), place));
    return COT_OK;
}

static void release_task(cot_plot_task *t)
{
    cot_free(t->name);
    cot_free(t->bin);
    *t = (cot_plot_task){0};
}

static cot_status add_task(cot_plot_tasks *tasks, const json_t *entry, const cot_plot_place *place)
{
    cot_plot_task *const t = &tasks->task[tasks->count];
    const cot_status status = fill_task(t, entry, place);
    if (status == COT_OK && t->bins) tasks->count++;
    else release_task(t);
    return status;
}

static cot_status add_tasks(cot_plot_tasks *tasks, const json_t *root, const char *path)
{
    const cot_plot_place place = {.file = path};
    const json_t *const  list = json_object_get(root, "tasks");
    if (list && !json_is_array(list))
        return cot_plot_malformed(&place, "'tasks' is %s, expected a list", cot_json_kind(list));
    const size_t more = list ? json_array_size(list) : 1;
    cot_plot_task *const grown =
        cot_realloc(tasks->task, tasks->count * sizeof *grown, (tasks->count + more + 1) * sizeof *grown);
    if (!grown) return cot_fail(COT_OUT_OF_MEMORY, "%s: %zu tasks", path, more);
    tasks->task = grown;
    for (size_t i = 0; i < more; i++) {
        grown[tasks->count] = (cot_plot_task){0};
        COT_TRY(add_task(tasks, list ? json_array_get(list, i) : root, &place));
    }
    return COT_OK;
}

cot_status cot_plot_tasks_add(const char *path, cot_plot_tasks **tasks)
{
    json_t *root;
    COT_TRY(cot_json_read(path, TASK_BYTES, &root));
    if (!*tasks) *tasks = cot_calloc(sizeof **tasks);
    const cot_status status = *tasks ? add_tasks(*tasks, root, path)
                                     : cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to read it", path);
    json_decref(root);
    return status;
}

void cot_plot_tasks_destroy(cot_plot_tasks *tasks)
{
    if (!tasks) return;
    for (size_t i = 0; i < tasks->count; i++) release_task(&tasks->task[i]);
    cot_free(tasks->task);
    cot_free(tasks);
}
