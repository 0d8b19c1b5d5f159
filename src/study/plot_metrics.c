/* Reads a run's metrics.jsonl, one JSON object a line:
 *   {"step": 1, "tokens": 4096, "loss": 3.2, ..., "layers": [{"layer": 1, "load": [...], ...}, ...]}   training
 *   {"step": 100, "tokens": 409600, "valid": {"loss": 3.1, "bits_per_byte": 2.2}}                      validation
 * A run may be any length: loads are averaged over equal stretches of logged steps, and whenever the stretches are used
 * up, neighbours are merged and stretches grow to twice the length. */
#include <coterie/plot.h>

#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/file.h"
#include "formats/json.h"
#include "study/plot_json.h"

enum { STRETCHES = 256 };

typedef struct {
    cot_plot_run   run;
    cot_plot_place place;
    double        *step, *valid_step;  /* [run.steps], [run.validations] */
    size_t         capacity, valid_capacity;
    size_t         stretch;            /* logged steps in each */
    uint32_t       logged[STRETCHES];  /* steps with loads, by stretch */
} reader;

static cot_status no_memory(const reader *r)
{
    return cot_fail(COT_OUT_OF_MEMORY, "%s: no memory for the metrics", r->place.file);
}

/* Makes room for one more in each of `arrays`; they share a capacity. */
static bool reserve(double **const *arrays, size_t count, size_t used, size_t *capacity)
{
    if (used < *capacity) return true;
    const size_t grown = *capacity ? 2 * *capacity : 256;
    for (size_t i = 0; i < count; i++) {
        double *const array = cot_realloc(*arrays[i], used * sizeof *array, grown * sizeof *array);
        if (!array) return false;
        *arrays[i] = array;
    }
    *capacity = grown;
    return true;
}

/* ---- loads ---- */

static void merge_stretches(reader *r)
{
    for (size_t i = 0; i < r->run.layers; i++) {
        const size_t  E = r->run.layer[i].experts;
        double *const load = r->run.layer[i].load;
        for (size_t s = 0; s < STRETCHES; s++)
            for (size_t e = 0; e < E; e++)
                load[s * E + e] = s < STRETCHES / 2 ? load[2 * s * E + e] + load[(2 * s + 1) * E + e] : 0;
    }
    for (size_t s = 0; s < STRETCHES; s++)
        r->logged[s] = s < STRETCHES / 2 ? r->logged[2 * s] + r->logged[2 * s + 1] : 0;
    r->stretch *= 2;
}

static cot_status layers_start(reader *r, const json_t *list)
{
    COT_TRY(cot_plot_layers_make(list, STRETCHES, &r->place, &r->run.layer, &r->run.layers));
    for (size_t i = 0; i < r->run.layers; i++)
        memset(r->run.layer[i].load, 0, STRETCHES * r->run.layer[i].experts * sizeof(double));
    return COT_OK;
}

/* Adds the loads of the step logged last to its stretch. */
static cot_status add_loads(reader *r, const json_t *list)
{
    if (!list || json_is_null(list)) return COT_OK;
    if (!r->run.layers) COT_TRY(layers_start(r, list));
    if (json_array_size(list) != r->run.layers)
        return cot_plot_malformed(&r->place, "%zu layers, there were %zu before", json_array_size(list), r->run.layers);
    while ((r->run.steps - 1) / r->stretch >= STRETCHES) merge_stretches(r);
    const size_t stretch = (r->run.steps - 1) / r->stretch;
    for (size_t i = 0; i < r->run.layers; i++) {
        cot_plot_layer *const layer = &r->run.layer[i];
        cot_plot_load         load;
        COT_TRY(cot_plot_load_read(json_array_get(list, i), &r->place, &load));
        if (load.layer != layer->layer || load.experts != layer->experts)
            return cot_plot_malformed(&r->place, "layer %d with %zu experts, expected layer %d with %zu as before",
                                      (int)load.layer, load.experts, (int)layer->layer, layer->experts);
        for (size_t e = 0; e < load.experts; e++)
            layer->load[stretch * load.experts + e] += json_number_value(json_array_get(load.load, e));
    }
    if (r->run.layers) r->logged[stretch]++;
    return COT_OK;
}

/* Sums become means; a stretch without loads repeats the one before. */
static void finish_loads(reader *r)
{
    const size_t rows = (r->run.steps + r->stretch - 1) / r->stretch;
    for (size_t i = 0; i < r->run.layers; i++) {
        cot_plot_layer *const layer = &r->run.layer[i];
        const size_t          E = layer->experts;
        layer->rows = rows < STRETCHES ? rows : STRETCHES;
        for (size_t s = 0; s < layer->rows; s++)
            for (size_t e = 0; e < E; e++) {
                double *const cell = &layer->load[s * E + e];
                *cell = r->logged[s] ? *cell / r->logged[s] : s > 0 ? *(cell - E) : NAN;
            }
    }
}

/* ---- lines ---- */

static cot_status add_training(reader *r, const json_t *line, double step, double tokens)
{
    cot_plot_run *const run = &r->run;
    double              loss;
    COT_TRY(cot_plot_number(line, "loss", true, &r->place, &loss));
    while (run->steps > 0 && r->step[run->steps - 1] >= step) run->steps--;
    double **const arrays[] = {&r->step, &run->tokens, &run->loss};
    if (!reserve(arrays, 3, run->steps, &r->capacity)) return no_memory(r);
    r->step[run->steps] = step;
    run->tokens[run->steps] = tokens;
    run->loss[run->steps] = loss;
    run->steps++;
    return add_loads(r, json_object_get(line, "layers"));
}

static cot_status add_validation(reader *r, const json_t *valid, double step, double tokens)
{
    cot_plot_run *const run = &r->run;
    double              loss, bits;
    if (!json_is_object(valid))
        return cot_plot_malformed(&r->place, "'valid' is %s, expected a map", cot_json_kind(valid));
    COT_TRY(cot_plot_number(valid, "loss", true, &r->place, &loss));
    COT_TRY(cot_plot_number(valid, "bits_per_byte", false, &r->place, &bits));
    while (run->validations > 0 && r->valid_step[run->validations - 1] >= step) run->validations--;
    double **const arrays[] = {&r->valid_step, &run->valid_tokens, &run->valid_loss, &run->valid_bits_per_byte};
    if (!reserve(arrays, 4, run->validations, &r->valid_capacity)) return no_memory(r);
    r->valid_step[run->validations] = step;
    run->valid_tokens[run->validations] = tokens;
    run->valid_loss[run->validations] = loss;
    run->valid_bits_per_byte[run->validations] = bits;
    run->validations++;
    return COT_OK;
}

static cot_status add_line(reader *r, const json_t *line)
{
    double step, tokens;
    if (!json_is_object(line)) return cot_plot_malformed(&r->place, "%s, expected a map", cot_json_kind(line));
    const json_t *const valid = json_object_get(line, "valid");
    if (!valid && !json_object_get(line, "loss")) return COT_OK;  /* something else that was logged */
    COT_TRY(cot_plot_number(line, "step", true, &r->place, &step));
    COT_TRY(cot_plot_number(line, "tokens", true, &r->place, &tokens));
    if (!(step >= 0)) return cot_plot_malformed(&r->place, "'step' is not a number from 0");
    if (!(tokens >= 0)) return cot_plot_malformed(&r->place, "'tokens' is not a number from 0");
    if (json_object_get(line, "loss")) COT_TRY(add_training(r, line, step, tokens));
    return valid ? add_validation(r, valid, step, tokens) : COT_OK;
}

static cot_status parse_line(reader *r, const char *text, size_t length, bool whole)
{
    json_error_t      error;
    const char *const excess = cot_json_excess(text, length);
    if (excess) return cot_plot_malformed(&r->place, "%s", excess);
    json_t *const line = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!line) {
        char message[JSON_ERROR_TEXT_LENGTH];
        cot_json_error_line(&error, message, sizeof message);
        return whole ? cot_plot_malformed(&r->place, "not JSON: %s", message) : COT_OK;
    }
    const cot_status status = add_line(r, line);
    json_decref(line);
    return status;
}

static cot_status parse_lines(reader *r, const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        const char *const end = memchr(text + at, '\n', bytes - at);
        const size_t      length = end ? (size_t)(end - (text + at)) : bytes - at;
        r->place.line++;
        if (length > 0) COT_TRY(parse_line(r, text + at, length, end != NULL));
        at += length + 1;
    }
    return COT_OK;
}

/* ---- files ---- */

static cot_status read_file(reader *r)
{
    cot_file_map map;
    COT_TRY(cot_file_map_open(r->place.file, &map));
    const cot_status status = parse_lines(r, (const char *)map.data, map.bytes);
    cot_file_map_close(&map);
    COT_TRY(status);
    if (r->run.steps + r->run.validations == 0)
        return cot_fail(COT_INVALID, "%s: nothing has been logged yet", r->place.file);
    finish_loads(r);
    return COT_OK;
}

static void run_release(cot_plot_run *run)
{
    cot_free(run->tokens);
    cot_free(run->loss);
    cot_free(run->valid_tokens);
    cot_free(run->valid_loss);
    cot_free(run->valid_bits_per_byte);
    cot_plot_layers_release(run->layer, run->layers);
}

cot_status cot_plot_run_read(const char *path, cot_plot_run **out)
{
    *out = NULL;
    reader       r = {.place = {.file = path}, .stretch = 1};
    cot_status   status = read_file(&r);
    cot_plot_run *const run = status == COT_OK ? cot_malloc(sizeof *run) : NULL;
    if (status == COT_OK && !run) status = no_memory(&r);
    cot_free(r.step);
    cot_free(r.valid_step);
    if (status != COT_OK) {
        run_release(&r.run);
        return status;
    }
    *run = r.run;
    *out = run;
    return COT_OK;
}

void cot_plot_run_destroy(cot_plot_run *run)
{
    if (!run) return;
    run_release(run);
    cot_free(run);
}
