/* Reads what `coterie eval --json` prints, as far as pictures need it:
 *   {"sources": [{"name": "drama", "tokens": 1000, "layers": [{"layer": 1, "load": [...]}, ...]}, ...],
 *    "yardstick": {"orders": [{"order": 1, "loss": 6.1}, ...]}, ...} */
#include <coterie/plot.h>

#include <math.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/json.h"
#include "study/plot_json.h"

enum { EVAL_BYTES = 64 << 20 };

static cot_status add_layers(cot_plot_evaluation *s, const json_t *list, size_t entries, const cot_plot_place *place)
{
    const size_t source = s->sources - 1;
    if (source == 0) COT_TRY(cot_plot_layers_make(list, entries, place, &s->layer, &s->layers));
    if (json_array_size(list) != s->layers)
        return cot_plot_malformed(place, "%zu layers, the first source has %zu", json_array_size(list), s->layers);
    for (size_t i = 0; i < s->layers; i++) {
        cot_plot_layer *const layer = &s->layer[i];
        cot_plot_load         load;
        COT_TRY(cot_plot_load_read(json_array_get(list, i), place, &load));
        if (load.layer != layer->layer || load.experts != layer->experts)
            return cot_plot_malformed(place, "layer %d with %zu experts, the first source has layer %d with %zu",
                                      (int)load.layer, load.experts, (int)layer->layer, layer->experts);
        for (size_t e = 0; e < load.experts; e++)
            layer->load[source * load.experts + e] = json_number_value(json_array_get(load.load, e));
    }
    return COT_OK;
}

/* A source without scored tokens is left out. */
static cot_status add_source(cot_plot_evaluation *e, size_t index, const json_t *list, const char *file)
{
    const json_t *const  entry = json_array_get(list, index);
    char where[300];
    snprintf(where, sizeof where, "%.200s: source %zu", file, index + 1);
    const cot_plot_place place = {.file = where};
    const json_t *const  name = json_object_get(entry, "name");
    double               tokens;
    COT_TRY(cot_plot_number(entry, "tokens", false, &place, &tokens));
    if (tokens == 0) return COT_OK;
    if (!json_is_string(name))
        return cot_plot_malformed(&place, "'name' is %s, expected a string", cot_json_kind(name));
    char *const copy = cot_strdup(json_string_value(name));
    if (!copy) return cot_fail(COT_OUT_OF_MEMORY, "%s", where);
    e->name[e->sources++] = copy;
    return add_layers(e, json_object_get(entry, "layers"), json_array_size(list), &place);
}

static cot_status sources_fill(cot_plot_evaluation *e, const json_t *list, const cot_plot_place *place)
{
    if (!json_is_array(list) || json_array_size(list) == 0)
        return cot_plot_malformed(place, "'sources' is %s, expected a list with measurements of each source of text",
                                  json_is_array(list) ? "empty" : cot_json_kind(list));
    const size_t entries = json_array_size(list);
    e->name = cot_calloc(entries * sizeof *e->name);
    if (!e->name) return cot_fail(COT_OUT_OF_MEMORY, "%s: %zu sources", place->file, entries);
    for (size_t i = 0; i < entries; i++) COT_TRY(add_source(e, i, list, place->file));
    for (size_t i = 0; i < e->layers; i++) e->layer[i].rows = e->sources;
    return COT_OK;
}

/* Keeps the best order. */
static cot_status yardstick_fill(cot_plot_evaluation *e, const json_t *yardstick, const cot_plot_place *place)
{
    size_t  index;
    json_t *entry;
    json_array_foreach(json_object_get(yardstick, "orders"), index, entry)
    {
        double order, loss;
        COT_TRY(cot_plot_number(entry, "order", true, place, &order));
        COT_TRY(cot_plot_number(entry, "loss", true, place, &loss));
        if (!(order >= 1 && order <= 100) || !(loss < e->yardstick_loss)) continue;
        e->yardstick_order = (int)order;
        e->yardstick_loss = loss;
    }
    return COT_OK;
}

static cot_status evaluation_fill(cot_plot_evaluation *e, const json_t *root, const char *file)
{
    const cot_plot_place place = {.file = file};
    e->yardstick_loss = INFINITY;
    COT_TRY(sources_fill(e, json_object_get(root, "sources"), &place));
    return yardstick_fill(e, json_object_get(root, "yardstick"), &place);
}

cot_status cot_plot_evaluation_read(const char *path, cot_plot_evaluation **out)
{
    *out = NULL;
    json_t *root;
    COT_TRY(cot_json_read(path, EVAL_BYTES, &root));
    cot_plot_evaluation *const s = cot_calloc(sizeof *s);
    const cot_status status = s ? evaluation_fill(s, root, path)
                                : cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to read it", path);
    json_decref(root);
    if (status == COT_OK) *out = s;
    else cot_plot_evaluation_destroy(s);
    return status;
}

void cot_plot_evaluation_destroy(cot_plot_evaluation *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->sources; i++) cot_free(s->name[i]);
    cot_free(s->name);
    cot_plot_layers_release(s->layer, s->layers);
    cot_free(s);
}
