#include "training/optimizers/optimizer.h"

#include <string.h>

#include "base/config_tree.h"
#include "base/fail.h"
#include "base/threads.h"
#include "training/patterns.h"

#define OPTIMIZER(id) extern const cot_optimizer_ops cot_optimizer_##id;
#include "training/optimizers/optimizers.def"
#undef OPTIMIZER

static const cot_optimizer_ops *const optimizers[] = {
#define OPTIMIZER(id) &cot_optimizer_##id,
#include "training/optimizers/optimizers.def"
#undef OPTIMIZER
};

const cot_member *cot_optimizer_at(size_t index) { return index < sizeof optimizers / sizeof *optimizers ? &optimizers[index]->member : NULL; }

enum { ZERO_PIECE = 8 << 20 };

typedef struct {
    char   *match;
    double  lr_scale, weight_decay;
} group;

const cot_option cot_optimizer_group_options[] = {
    COT_OPTION_STRING(group, match, "", "pattern of parameter names, as the shell's: * and ?"),
    COT_OPTION_DOUBLE(group, lr_scale, 1, 0, 1e6, "learning rate of these, times the optimizer's"),
    COT_OPTION_DOUBLE(group, weight_decay, -1, -1, 10, "their weight decay; -1 = the optimizer's"),
    COT_OPTION_END,
};

static cot_status check_groups(const cot_config *groups, const cot_params *params)
{
    if (groups && cot_config_get_kind(groups) != COT_CONFIG_LIST) return cot_config_expected(groups, "a list of {match: PATTERN, lr_scale: ..., weight_decay: ...}");
    for (size_t i = 0; i < cot_config_size(groups); i++) {
        group g = {0};
        const cot_config *entry = cot_config_at(groups, i), *match = cot_config_get(entry, "match");
        COT_TRY(cot_options_apply(cot_optimizer_group_options, &g, entry));
        const cot_status status = cot_pattern_check(match ? match : entry, g.match ? g.match : "", params);
        cot_options_release(cot_optimizer_group_options, &g);
        COT_TRY(status);
    }
    return COT_OK;
}

cot_status cot_optimizer_check(const cot_config *spec, const cot_params *params)
{
    const cot_member *member;
    COT_TRY(cot_family_find("optimizer", cot_optimizer_at, spec, &member));
    void *state;
    COT_TRY(cot_state_create(member, ((const cot_optimizer_ops *)member)->state_size, spec, &state));
    cot_status status = check_groups(((const cot_optimizer_common *)state)->groups, params);
    for (size_t i = 0; status == COT_OK && i < cot_params_count(params); i++)
        if (cot_params_at(params, i)->spec.update == COT_UPDATE_TOUCHED_ROWS && !((const cot_optimizer_ops *)member)->update_rows)
            status = cot_config_fail(spec, "has optimizer '%s', which cannot update '%s' by touched row: expected adamw, adagrad or muon", member->name,
                                     cot_params_at(params, i)->name);
    cot_state_destroy(member, state);
    return status;
}

static cot_status apply_groups(const cot_config *groups, cot_slots *slots)
{
    for (size_t i = 0; i < cot_config_size(groups); i++) {
        group g = {0};
        COT_TRY(cot_options_apply(cot_optimizer_group_options, &g, cot_config_at(groups, i)));
        if (g.match && cot_pattern_picks(g.match, slots->param->name)) {
            slots->lr_scale = g.lr_scale;
            if (g.weight_decay >= 0) slots->weight_decay = g.weight_decay;
        }
        cot_options_release(cot_optimizer_group_options, &g);
    }
    return COT_OK;
}

static cot_status take_params(cot_optimizer *o, cot_params *params)
{
    const cot_optimizer_common *common = o->state;
    o->slots = cot_calloc(cot_params_count(params) * sizeof *o->slots);
    if (!o->slots) return cot_fail(COT_OUT_OF_MEMORY, "no memory for an optimizer");
    for (size_t i = 0; i < cot_params_count(params); i++) {
        cot_param *param = cot_params_at(params, i);
        if (param->spec.update == COT_UPDATE_BUFFER || param->frozen) continue;
        cot_slots *slots = &o->slots[o->count];
        *slots = (cot_slots){.param = param, .lr_scale = 1, .weight_decay = param->spec.no_decay ? 0 : common->weight_decay};
        COT_TRY(apply_groups(common->groups, slots));
        o->ops->declare(o, slots);
        o->count++;
    }
    return COT_OK;
}

static size_t slot_bytes(const cot_slots *slots, int j)
{
    const size_t bytes = (size_t)slots->slot_size[j] * cot_dtype_size(slots->param->value.dtype);
    return (bytes + COT_ALIGNMENT - 1) / COT_ALIGNMENT * COT_ALIGNMENT;
}

/* By all threads: most of the time goes into pages that are touched for the first time. */
static void zero(char *memory, size_t bytes)
{
    const int64_t pieces = (int64_t)((bytes + ZERO_PIECE - 1) / ZERO_PIECE);
#pragma omp parallel for num_threads(cot_threads()) schedule(static) if (pieces > 1)
    for (int64_t p = 0; p < pieces; p++) {
        const size_t from = (size_t)p * ZERO_PIECE;
        memset(memory + from, 0, bytes - from < ZERO_PIECE ? bytes - from : ZERO_PIECE);
    }
}

static cot_status allocate_slots(cot_optimizer *o)
{
    size_t bytes = 0;
    for (size_t i = 0; i < o->count; i++)
        for (int j = 0; j < COT_MAX_SLOTS; j++) bytes += slot_bytes(&o->slots[i], j);
    o->memory = cot_malloc(bytes);
    if (o->memory) zero(o->memory, bytes);
    else return cot_fail(COT_OUT_OF_MEMORY, "no memory for an optimizer state of %.1f MB", (double)bytes / 1e6);
    char *next = o->memory;
    for (size_t i = 0; i < o->count; i++)
        for (int j = 0; j < COT_MAX_SLOTS; j++) {
            if (!o->slots[i].slot_size[j]) continue;
            o->slots[i].slot[j] = next;
            next += slot_bytes(&o->slots[i], j);
        }
    return COT_OK;
}

static cot_status setup(cot_optimizer *o, const cot_config *spec, cot_params *params)
{
    COT_TRY(cot_state_create(&o->ops->member, o->ops->state_size, spec, &o->state));
    COT_TRY(cot_tape_create(cot_params_dtype(params) == COT_F64 ? COT_MODE_F64 : COT_MODE_F32, &o->tape));
    COT_TRY(take_params(o, params));
    return allocate_slots(o);
}

cot_status cot_optimizer_create(const cot_config *spec, cot_params *params, uint64_t seed, cot_optimizer **out)
{
    *out = NULL;
    const cot_member *member;
    COT_TRY(cot_family_find("optimizer", cot_optimizer_at, spec, &member));
    cot_optimizer *o = cot_calloc(sizeof *o);
    if (!o) return cot_fail(COT_OUT_OF_MEMORY, "no memory for an optimizer");
    o->ops = (const cot_optimizer_ops *)member;
    o->seed = seed;
    const cot_status status = setup(o, spec, params);
    if (status != COT_OK) {
        cot_optimizer_destroy(o);
        return status;
    }
    *out = o;
    return COT_OK;
}

void cot_optimizer_destroy(cot_optimizer *o)
{
    if (!o) return;
    cot_state_destroy(&o->ops->member, o->state);
    cot_tape_destroy(o->tape);
    cot_free(o->slots);
    cot_free(o->memory);
    cot_free(o);
}

void cot_optimizer_step(cot_optimizer *o, double lr_factor, int64_t step, double grad_scale)
{
    const double lr = cot_optimizer_lr(o) * lr_factor;
    cot_tape_reset(o->tape, false, false, o->seed, (uint32_t)step);
    for (size_t i = 0; i < o->count; i++) {
        cot_slots *slots = &o->slots[i];
        const bool rows = slots->param->spec.update == COT_UPDATE_TOUCHED_ROWS;
        cot_tape_kind(o->tape, rows ? COT_TIME_ROWS : COT_TIME_OPTIMIZER);
        (rows ? o->ops->update_rows : o->ops->update)(o, o->tape, slots, lr * slots->lr_scale, step, grad_scale);
        slots->param->version++;
    }
    cot_tape_kind(o->tape, COT_TIME_OTHER);
}

double cot_optimizer_row_seconds(const cot_optimizer *o) { return cot_tape_time(o->tape, COT_TIME_ROWS); }
void   cot_optimizer_clear_times(cot_optimizer *o) { cot_tape_clear_times(o->tape); }

double cot_optimizer_lr(const cot_optimizer *o) { return ((const cot_optimizer_common *)o->state)->lr; }
