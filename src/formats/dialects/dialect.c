/* Patterns, pieces, and the list of dialects. */
#include "formats/dialects/dialect.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"

#define DIALECT(id) extern const cot_dialect cot_dialect_##id;
#include "formats/dialects/dialects.def"
#undef DIALECT

static const cot_dialect *const dialects[] = {
#define DIALECT(id) &cot_dialect_##id,
#include "formats/dialects/dialects.def"
#undef DIALECT
};

enum { DIALECTS = sizeof dialects / sizeof *dialects, MOST_DIGITS = 9 };

const char *const cot_dialect_ignored[] = {"lm_head.weight", "model.layers.{i}.self_attn.rotary_emb.inv_freq", NULL};

const cot_dialect *cot_dialect_at(size_t index) { return index < DIALECTS ? dialects[index] : NULL; }

const cot_dialect *cot_dialect_find(const char *model_type)
{
    for (size_t i = 0; i < DIALECTS; i++)
        if (strcmp(dialects[i]->model_type, model_type) == 0) return dialects[i];
    return NULL;
}

cot_model_card cot_model_card_empty(void)
{
    return (cot_model_card){.ids = cot_text_ids_none(), .rope_theta = 10000, .rms_norm_eps = 1e-5, .dtype = COT_F32};
}

bool cot_text_ids_end(const cot_text_ids *ids, int64_t token)
{
    for (int64_t i = 0; i < ids->eos_count; i++)
        if (ids->eos_token_id[i] == token) return true;
    return false;
}

/* ---- patterns ---- */

/* Is it "{i}" or "{e}"? */
static bool is_hole(const char *p) { return p[0] == '{' && (p[1] == 'i' || p[1] == 'e') && p[2] == '}'; }

/* A whole number without needless zeros; advances *text. */
static bool read_number(const char **text, int64_t *out)
{
    const char *p = *text;
    int64_t     value = 0;
    for (; *p >= '0' && *p <= '9' && p - *text < MOST_DIGITS; p++) value = 10 * value + (*p - '0');
    if (p == *text || (**text == '0' && p - *text > 1)) return false;
    *text = p;
    *out = value;
    return true;
}

bool cot_pattern_match(const char *pattern, const char *text, int64_t *i, int64_t *e)
{
    while (*pattern) {
        if (is_hole(pattern)) {
            if (!read_number(&text, pattern[1] == 'i' ? i : e)) return false;
            pattern += 3;
        } else if (*pattern++ != *text++) {
            return false;
        }
    }
    return *text == '\0';
}

bool cot_pattern_fill(const char *pattern, int64_t i, int64_t e, char *out, size_t size)
{
    size_t at = 0;
    while (*pattern && at < size) {
        if (is_hole(pattern)) {
            at += (size_t)snprintf(out + at, size - at, "%lld", (long long)(pattern[1] == 'i' ? i : e));
            pattern += 3;
        } else {
            out[at++] = *pattern++;
        }
    }
    if (at >= size) return false;
    out[at] = '\0';
    return true;
}

/* ---- pieces ---- */

/* The rows of a part in a matrix of `rows`: from, count. False when they do not divide. */
static bool find_rows(cot_part part, const cot_param_spec *spec, const cot_model_card *card, int64_t rows,
                      int64_t *from, int64_t *count)
{
    int64_t size[3] = {1, 1, 0};  /* gate, up */
    if (part == COT_PART_Q || part == COT_PART_K || part == COT_PART_V) {
        const bool given = spec->row_parts == 3;
        size[0] = given ? spec->row_part[0] : card->num_heads;
        size[1] = given ? spec->row_part[1] : card->num_kv_heads;
        size[2] = given ? spec->row_part[2] : card->num_kv_heads;
    } else if (part == COT_PART_WHOLE) {
        size[1] = 0;
    }
    const int64_t total = size[0] + size[1] + size[2];
    if (total < 1 || rows % total != 0) return false;
    const int index = part == COT_PART_K || part == COT_PART_UP ? 1 : part == COT_PART_V ? 2 : 0;
    *from = 0;
    for (int p = 0; p < index; p++) *from += rows / total * size[p];
    *count = rows / total * size[index];
    return true;
}

/* All that one row of the table makes of an internal tensor: one published tensor, or one per expert. */
static cot_status visit_row(const cot_dialect_tensor *row, const cot_model_card *card, const char *name,
                            const cot_param_spec *spec, int64_t layer, cot_piece_visitor visit, void *context)
{
    const int stacked = strstr(row->published, "{e}") != NULL;
    const int64_t experts = stacked ? spec->shape[0] : 1;
    int64_t row_size = 1, from, count;
    for (int d = stacked + 1; d < spec->rank; d++) row_size *= spec->shape[d];
    if (spec->rank <= stacked || !find_rows(row->part, spec, card, spec->shape[stacked], &from, &count))
        return cot_fail(COT_SHAPE_MISMATCH, "'%s' does not divide into the rows of '%s'", name, row->published);
    for (int64_t e = 0; e < experts; e++) {
        cot_piece piece = {.rank = spec->rank - stacked,
                           .first = (e * spec->shape[stacked] + from) * row_size,
                           .count = count * row_size};
        for (int d = 0; d < COT_MAX_RANK; d++) piece.shape[d] = d < piece.rank ? spec->shape[d + stacked] : 1;
        piece.shape[0] = count;
        if (!cot_pattern_fill(row->published, layer, e, piece.name, sizeof piece.name))
            return cot_fail(COT_INVALID, "'%s': the name it is published under is too long", name);
        COT_TRY(visit(context, &piece));
    }
    return COT_OK;
}

cot_status cot_dialect_whole(const char *name, const cot_param_spec *spec, cot_piece_visitor visit, void *context)
{
    cot_piece piece = {.rank = spec->rank, .count = 1};
    for (int d = 0; d < COT_MAX_RANK; d++) {
        piece.shape[d] = d < spec->rank ? spec->shape[d] : 1;
        piece.count *= piece.shape[d];
    }
    if (strlen(name) >= sizeof piece.name) return cot_fail(COT_INVALID, "'%s' is too long a name", name);
    strcpy(piece.name, name);
    return visit(context, &piece);
}

cot_status cot_dialect_pieces(const cot_dialect *dialect, const cot_model_card *card, const char *name,
                              const cot_param_spec *spec, cot_piece_visitor visit, void *context)
{
    bool known = false;
    if (spec->update == COT_UPDATE_TOUCHED_ROWS && dialect->keeps_unknown)  /* a million experts are no million tensors */
        return cot_dialect_whole(name, spec, visit, context);
    for (const cot_dialect_tensor *row = dialect->tensors; row->ours; row++) {
        int64_t layer = 0, unused;
        if (!cot_pattern_match(row->ours, name, &layer, &unused)) continue;
        known = true;
        COT_TRY(visit_row(row, card, name, spec, layer, visit, context));
    }
    if (known) return COT_OK;
    if (dialect->keeps_unknown) return cot_dialect_whole(name, spec, visit, context);
    return cot_fail(COT_NOT_FOUND, "'%s' has no name in files of type '%s'", name, dialect->model_type);
}

bool cot_dialect_knows(const cot_dialect *dialect, const char *name)
{
    int64_t unused;
    for (const cot_dialect_tensor *row = dialect->tensors; row->ours; row++)
        if (cot_pattern_match(row->ours, name, &unused, &unused)) return true;
    return dialect->keeps_unknown;
}

bool cot_dialect_joined_name(const cot_dialect *dialect, const char *name, char *out, size_t size)
{
    int64_t layer = 0, unused;
    for (const cot_dialect_tensor *row = dialect->joined; row && row->ours; row++)
        if (cot_pattern_match(row->ours, name, &layer, &unused))
            return cot_pattern_fill(row->published, layer, 0, out, size);
    return false;
}

/* ---- which one ---- */

static bool misses_name(const cot_dialect *dialect, const cot_params *params, char *reason, size_t size)
{
    for (size_t i = 0; params && i < cot_params_count(params); i++) {
        const char *name = cot_params_at(params, i)->name;
        if (cot_dialect_knows(dialect, name)) continue;
        snprintf(reason, size, "it has no name for %s", name);
        return true;
    }
    return false;
}

bool cot_dialect_misfit(const cot_dialect *dialect, const cot_model_card *card, const cot_params *params, char *reason,
                        size_t size)
{
    if (dialect->keeps_unknown) return false;
    return cot_traits_misfit(dialect->must, dialect->may, card, reason, size)
           || misses_name(dialect, params, reason, size);
}

const cot_dialect *cot_dialect_for(const cot_model_card *card, const cot_params *params)
{
    char reason[256];
    for (size_t d = 0; d < DIALECTS; d++)
        if (!cot_dialect_misfit(dialects[d], card, params, reason, sizeof reason)) return dialects[d];
    return NULL;  /* not reached: the last of the list takes all */
}
