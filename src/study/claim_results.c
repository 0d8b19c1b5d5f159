/* Results: one JSON object a line, added when a run has ended. A last line that was cut off is no result. */
#include "study/claim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/file.h"
#include "formats/json.h"

enum { MOST_BYTES = 64 << 20, MOST_LINES = 1 << 20 };

/* ---- looking up ---- */

/* The last line counts, so that a run that was made anew replaces the former one. */
const cot_claim_result *cot_claim_result_of(const cot_claim *c, size_t arm, int64_t seed)
{
    for (size_t i = c->results_count; i-- > 0;) {
        const cot_claim_result *r = &c->result[i];
        if (r->seed == seed && strcmp(r->arm, c->arm[arm].name) == 0 && strcmp(r->hash, c->arm[arm].hash) == 0) return r;
    }
    return NULL;
}

size_t cot_claim_values(const cot_claim *c, size_t arm, cot_measure measure, double *values, int64_t *seeds)
{
    size_t count = 0;
    for (int64_t seed = 1; seed <= c->seeds; seed++) {
        const cot_claim_result *r = cot_claim_result_of(c, arm, seed);
        if (!r || !isfinite(r->value[measure])) continue;
        if (seeds) seeds[count] = seed;
        values[count++] = r->value[measure];
    }
    return count;
}

/* ---- reading ---- */

static void copy_text(const json_t *line, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(line, key));
    snprintf(out, size, "%s", text ? text : "");
}

static double number(const json_t *value) { return json_is_number(value) ? json_number_value(value) : NAN; }

static cot_status fill(const json_t *line, const char *place, cot_claim_result *out)
{
    const json_t *seed = json_object_get(line, "seed"), *values = json_object_get(line, "measures"), *curve = json_object_get(line, "curve");
    *out = (cot_claim_result){.seed = (int64_t)json_integer_value(seed)};
    copy_text(line, "arm", out->arm, sizeof out->arm);
    copy_text(line, "recipe", out->hash, sizeof out->hash);
    copy_text(line, "cpu", out->cpu, sizeof out->cpu);
    copy_text(line, "kernels", out->kernels, sizeof out->kernels);
    copy_text(line, "version", out->version, sizeof out->version);
    copy_text(line, "date", out->date, sizeof out->date);
    copy_text(line, "failed", out->trouble, sizeof out->trouble);
    out->failed = out->trouble[0] != '\0';
    out->threads = (int64_t)json_integer_value(json_object_get(line, "threads"));
    if (!out->arm[0] || strlen(out->hash) != 16 || !json_is_integer(seed) || !json_is_object(values))
        return cot_fail(COT_FORMAT, "%s: no result of a run: expected arm, recipe (16 digits), seed and measures", place);
    for (size_t i = 0; i < COT_MEASURE_COUNT; i++) out->value[i] = number(json_object_get(values, cot_measure_name(i)));
    for (size_t i = 0; i < COT_CLAIM_CURVE; i++) out->curve[i] = number(json_array_get(curve, i));
    return COT_OK;
}

static cot_status keep(cot_claim *c, const cot_claim_result *result)
{
    cot_claim_result *grown = cot_malloc((c->results_count + 1) * sizeof *grown);
    if (!grown) return cot_fail(COT_OUT_OF_MEMORY, "no memory for %zu results", c->results_count + 1);
    if (c->results_count) memcpy(grown, c->result, c->results_count * sizeof *grown);
    grown[c->results_count++] = *result;
    cot_free(c->result);
    c->result = grown;
    return COT_OK;
}

static cot_status read_line(cot_claim *c, const char *text, size_t length, size_t number_of_line)
{
    char place[4200];
    json_t *line;
    cot_claim_result result;
    snprintf(place, sizeof place, "%s:%zu", c->results, number_of_line);
    COT_TRY(cot_json_parse(text, length, place, &line));
    cot_status status = fill(line, place, &result);
    json_decref(line);
    return status == COT_OK ? keep(c, &result) : status;
}

cot_status cot_claim_results_read(cot_claim *c)
{
    char *text;
    size_t bytes, line = 0;
    cot_status status = COT_OK;
    if (!cot_file_exists(c->results)) return COT_OK;
    COT_TRY(cot_file_read(c->results, MOST_BYTES, &text, &bytes));
    for (const char *at = text, *end; status == COT_OK && (end = memchr(at, '\n', (size_t)(text + bytes - at))); at = end + 1) {
        if (++line > MOST_LINES) status = cot_fail(COT_FORMAT, "%s: more than %d lines", c->results, MOST_LINES);
        else if (end > at) status = read_line(c, at, (size_t)(end - at), line);
    }
    cot_free(text);
    return status;
}

/* ---- adding ---- */

static json_t *rounded(double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.7g", value);
    return isfinite(value) ? json_real(strtod(text, NULL)) : json_null();
}

static json_t *line_of(const cot_claim *c, const cot_claim_result *r, const cot_claim_arm_state *arm)
{
    json_t *measures = json_object(), *curve = json_array();
    for (size_t i = 0; i < COT_MEASURE_COUNT; i++)
        if (isfinite(r->value[i])) json_object_set_new(measures, cot_measure_name(i), rounded(r->value[i]));
    for (size_t i = 0; i < COT_CLAIM_CURVE; i++) json_array_append_new(curve, rounded(r->curve[i]));
    json_t *line = json_pack("{s:s, s:s, s:I, s:s, s:I, s:o, s:o, s:o, s:s, s:s, s:I, s:s, s:s}", "claim", c->name, "arm", r->arm, "seed", (json_int_t)r->seed,
                             "recipe", r->hash, "tokens", (json_int_t)arm->tokens, "flops_per_token", rounded(arm->flops_per_token), "measures", measures, "curve",
                             curve, "cpu", r->cpu, "kernels", r->kernels, "threads", (json_int_t)r->threads, "version", r->version, "date", r->date);
    if (line && r->failed) json_object_set_new(line, "failed", json_string(r->trouble));
    return line;
}

/* What a killed process left behind the last whole line goes away. */
static cot_status mend_end(const char *path)
{
    char *text;
    size_t bytes;
    if (!cot_file_exists(path)) return COT_OK;
    COT_TRY(cot_file_read(path, MOST_BYTES, &text, &bytes));
    while (bytes > 0 && text[bytes - 1] != '\n') bytes--;
    const bool cut = text[bytes] != '\0';
    const cot_status status = cut ? cot_file_write(path, text, bytes) : COT_OK;
    cot_free(text);
    return status;
}

static cot_status append(const cot_claim *c, const char *text)
{
    char line[16384];
    const int length = snprintf(line, sizeof line, "%s\n", text);
    if (length < 0 || (size_t)length >= sizeof line) return cot_fail(COT_FORMAT, "%s: a line of results is too long", c->results);
    COT_TRY(mend_end(c->results));
    COT_TRY(cot_file_append(c->results, line, (size_t)length));
    return cot_file_flush(c->results);
}

cot_status cot_claim_results_add(cot_claim *c, const cot_claim_result *r)
{
    const cot_claim_arm_state *arm = c->arm;
    while (strcmp(arm->name, r->arm) != 0) arm++;
    json_t *line = line_of(c, r, arm);
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(7)) : NULL;
    json_decref(line);
    if (!text) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a line of results");
    const cot_status status = append(c, text);
    free(text);
    return status == COT_OK ? keep(c, r) : status;
}
