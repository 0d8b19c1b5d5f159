/* Reads what `coterie eval --json` prints, as far as pictures need it:
 *   {"sources": [{"name": "drama", "tokens": 1000, "layers": [{"layer": 1, "load": [...]}, ...]}, ...],
 *    "layers": [{"layer": 2, "key_grid": {"sub_keys": 256, "bin": 1, "use": [[0, 3, ...], ...]}}, ...],
 *    "yardstick": {"orders": [{"order": 1, "loss": 6.1}, ...]}, ...} */
#include <coterie/plot.h>

#include <math.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/json.h"
#include "study/plot_json.h"

enum { EVAL_BYTES = 64 << 20, MOST_SUB_KEYS = 1 << 15, MOST_CELLS = 1024, MOST_GRIDS = 64 };

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

/* ---- product keys ---- */

static cot_status take_whole(const json_t *map, const char *key, int64_t most, const cot_plot_place *place, int64_t *out)
{
    const json_t *const value = json_object_get(map, key);
    *out = json_is_integer(value) ? json_integer_value(value) : 0;
    if (*out >= 1 && *out <= most) return COT_OK;
    return cot_plot_malformed(place, "'%s' of a 'key_grid' is no whole number from 1 to %lld", key, (long long)most);
}

static cot_status take_row(const json_t *row, const cot_plot_place *place, int64_t cells, double *out)
{
    if ((int64_t)json_array_size(row) != cells)
        return cot_plot_malformed(place, "a row of a 'key_grid' has %zu numbers, expected %lld", json_array_size(row),
                                  (long long)cells);
    for (int64_t i = 0; i < cells; i++) {
        const json_t *const value = json_array_get(row, (size_t)i);
        out[i] = json_is_integer(value) ? (double)json_integer_value(value) : -1;
        if (out[i] < 0) return cot_plot_malformed(place, "a 'key_grid' counts what is no whole number from 0");
    }
    return COT_OK;
}

static cot_status grid_fill(cot_plot_grid *g, const json_t *entry, const json_t *grid, const cot_plot_place *place)
{
    const json_t *const layer = json_object_get(entry, "layer"), *const use = json_object_get(grid, "use");
    if (!json_is_integer(layer) || json_integer_value(layer) < 0 || json_integer_value(layer) > INT32_MAX)
        return cot_plot_malformed(place, "an entry of 'layers' has no 'layer' with the layer's number");
    g->layer = (int32_t)json_integer_value(layer);
    COT_TRY(take_whole(grid, "sub_keys", MOST_SUB_KEYS, place, &g->sub_keys));
    COT_TRY(take_whole(grid, "bin", g->sub_keys, place, &g->bin));
    g->cells = (g->sub_keys + g->bin - 1) / g->bin;
    if (g->cells > MOST_CELLS || (int64_t)json_array_size(use) != g->cells)
        return cot_plot_malformed(place, "the 'key_grid' of layer %d has %zu rows, expected %lld, at most %d",
                                  (int)g->layer, json_array_size(use), (long long)g->cells, MOST_CELLS);
    g->use = cot_malloc((size_t)(g->cells * g->cells) * sizeof *g->use);
    if (!g->use) return cot_fail(COT_OUT_OF_MEMORY, "%s: the grid of layer %d", place->file, (int)g->layer);
    for (int64_t i = 0; i < g->cells; i++)
        COT_TRY(take_row(json_array_get(use, (size_t)i), place, g->cells, g->use + i * g->cells));
    return COT_OK;
}

static cot_status grids_fill(cot_plot_evaluation *e, const json_t *layers, const cot_plot_place *place)
{
    size_t  index;
    json_t *entry;
    json_array_foreach(layers, index, entry)
    {
        const json_t *const grid = json_object_get(entry, "key_grid");
        if (!grid) continue;
        if (!e->grid) e->grid = cot_calloc(MOST_GRIDS * sizeof *e->grid);
        if (!e->grid) return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to read it", place->file);
        if (e->grids == MOST_GRIDS)
            return cot_plot_malformed(place, "more than %d layers with product keys", MOST_GRIDS);
        COT_TRY(grid_fill(&e->grid[e->grids++], entry, grid, place));
    }
    return COT_OK;
}

/* ---- the whole ---- */

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
    COT_TRY(grids_fill(e, json_object_get(root, "layers"), &place));
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
    for (size_t i = 0; i < s->grids; i++) cot_free(s->grid[i].use);
    cot_free(s->grid);
    cot_free(s);
}
