#include "layers/route_input.h"

static int64_t start_of(const cot_pass *pass, int64_t t) { return pass->first ? pass->first[t] : 0; }

/* Position in the document. A session's pass begins where its sequence stands. */
static const int32_t *positions(cot_tape *tape, const cot_pass *pass)
{
    int32_t *out = cot_tape_alloc(tape, (size_t)pass->tokens * sizeof *out);
    for (int64_t t = 0; out && t < pass->tokens; t++)
        out[t] = (int32_t)(t - start_of(pass, t) + (start_of(pass, t) == 0 ? pass->position : 0));
    return out;
}

static const int32_t *previous_ids(cot_tape *tape, const cot_pass *pass)
{
    if (!pass->ids) return NULL;
    int32_t *out = cot_tape_alloc(tape, (size_t)pass->tokens * sizeof *out);
    for (int64_t t = 0; out && t < pass->tokens; t++) {
        if (t > start_of(pass, t)) out[t] = pass->ids[t - 1];
        else out[t] = t == 0 && pass->position > 0 ? pass->previous : -1;
    }
    return out;
}

/* Padding belongs to no source. */
static const uint8_t *padding(cot_tape *tape, const cot_pass *pass)
{
    int64_t t = 0;
    while (pass->source && t < pass->tokens && pass->source[t] >= 0) t++;
    if (!pass->source || t == pass->tokens) return NULL;
    uint8_t *out = cot_tape_alloc(tape, (size_t)pass->tokens);
    for (t = 0; out && t < pass->tokens; t++) out[t] = pass->source[t] < 0;
    return out;
}

static cot_runs rows(cot_tape *tape, const cot_pass *pass)
{
    if (pass->row <= 0) return (cot_runs){0, NULL};
    const int64_t count = (pass->tokens + pass->row - 1) / pass->row;
    int64_t *offset = cot_tape_alloc(tape, (size_t)(count + 1) * sizeof *offset);
    for (int64_t i = 0; offset && i <= count; i++)
        offset[i] = i * pass->row < pass->tokens ? i * pass->row : pass->tokens;
    return (cot_runs){offset ? count : 0, offset};
}

cot_route_input cot_route_input_make(cot_tape *tape, const cot_pass *pass, cot_tensor *x)
{
    return (cot_route_input){.tokens = pass->tokens,
                             .x = x,
                             .ids = pass->ids,
                             .previous = previous_ids(tape, pass),
                             .position = positions(tape, pass),
                             .labels = pass->source,
                             .targets = pass->targets,
                             .draw = pass->draw,
                             .tally = pass->tally,
                             .padding = padding(tape, pass),
                             .sequences = rows(tape, pass)};
}
