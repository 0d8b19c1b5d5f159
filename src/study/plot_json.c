#include "study/plot_json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/json.h"

cot_status cot_plot_malformed(const cot_plot_place *place, const char *format, ...)
{
    char    what[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (place->line) return cot_fail(COT_FORMAT, "%s:%zu: %s", place->file, place->line, what);
    return cot_fail(COT_FORMAT, "%s: %s", place->file, what);
}

cot_status cot_plot_number(const json_t *map, const char *key, bool needed, const cot_plot_place *place, double *out)
{
    const json_t *const value = json_object_get(map, key);
    *out = NAN;
    if (json_is_null(value) || (!value && !needed)) return COT_OK;
    if (!json_is_number(value))
        return cot_plot_malformed(place, "'%s' is %s, expected a number", key, cot_json_kind(value));
    *out = json_number_value(value);
    return COT_OK;
}

static cot_status load_check(const json_t *load, int32_t layer, const cot_plot_place *place)
{
    size_t  expert;
    json_t *value;
    json_array_foreach(load, expert, value)
    {
        const double share = json_is_number(value) ? json_number_value(value) : -1;
        if (json_is_null(value)) continue;
        if (!(share >= 0 && share <= 1.001))
            return cot_plot_malformed(place, "the load of expert %zu in layer %d is no fraction from 0 to 1", expert,
                                      (int)layer);
    }
    return COT_OK;
}

cot_status cot_plot_load_read(const json_t *entry, const cot_plot_place *place, cot_plot_load *out)
{
    const json_t *const layer = json_object_get(entry, "layer");
    const json_t *const load = json_object_get(entry, "load");
    if (!json_is_integer(layer) || json_integer_value(layer) < 0 || json_integer_value(layer) > INT32_MAX)
        return cot_plot_malformed(place, "an entry of 'layers' has no 'layer' with the layer's number");
    if (!json_is_array(load) || json_array_size(load) == 0)
        return cot_plot_malformed(place, "'load' of layer %d is %s, expected a list with a fraction for each expert",
                                  (int)json_integer_value(layer), json_is_array(load) ? "empty" : cot_json_kind(load));
    *out = (cot_plot_load){.layer = (int32_t)json_integer_value(layer), .experts = json_array_size(load), .load = load};
    return load_check(load, out->layer, place);
}

void cot_plot_layers_release(cot_plot_layer *layers, size_t count)
{
    for (size_t i = 0; layers && i < count; i++) cot_free(layers[i].load);
    cot_free(layers);
}

enum { MOST_NUMBERS = 1 << 24 };  /* 128 MiB: far beyond what a picture can show, soon enough for a file that lies */

static cot_status layer_make(const json_t *entry, size_t rows, const cot_plot_place *place, cot_plot_layer *out)
{
    cot_plot_load load;
    COT_TRY(cot_plot_load_read(entry, place, &load));
    *out = (cot_plot_layer){.layer = load.layer, .rows = rows, .experts = load.experts};
    size_t numbers = 0;
    if (!cot_size_mul(rows, load.experts, &numbers) || numbers > MOST_NUMBERS)
        return cot_plot_malformed(place, "too many experts to draw");
    out->load = cot_malloc(numbers * sizeof *out->load);
    if (!out->load) return cot_fail(COT_OUT_OF_MEMORY, "%s: the load of %zu experts", place->file, load.experts);
    for (size_t i = 0; i < numbers; i++) out->load[i] = NAN;
    return COT_OK;
}

cot_status cot_plot_layers_make(const json_t *list, size_t rows, const cot_plot_place *place, cot_plot_layer **layers,
                                size_t *count)
{
    *layers = NULL;
    *count = 0;
    if (!list || json_is_null(list)) return COT_OK;
    if (!json_is_array(list)) return cot_plot_malformed(place, "'layers' is %s, expected a list", cot_json_kind(list));
    const size_t size = json_array_size(list);
    if (size == 0) return COT_OK;
    *layers = cot_calloc(size * sizeof **layers);
    if (!*layers) return cot_fail(COT_OUT_OF_MEMORY, "%s: %zu layers", place->file, size);
    *count = size;
    cot_status status = COT_OK;
    size_t     numbers = 0;
    for (size_t i = 0; status == COT_OK && i < size; i++) {
        status = layer_make(json_array_get(list, i), rows, place, &(*layers)[i]);
        numbers += rows * (*layers)[i].experts;
        if (status == COT_OK && numbers > MOST_NUMBERS) status = cot_plot_malformed(place, "too many experts to draw");
    }
    if (status == COT_OK) return COT_OK;
    cot_plot_layers_release(*layers, size);
    *layers = NULL;
    *count = 0;
    return status;
}
