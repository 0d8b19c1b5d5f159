/* A matrix of logits with everything that a router may look at, and what a router makes of it. */
#ifndef COT_TESTS_SCENE_H
#define COT_TESTS_SCENE_H

#include "ops/central_differences.h"

#include <stdio.h>
#include <string.h>

#include <coterie/config.h>

#include "routers/router.h"
#include "routing/capacity.h"

enum { SCENE_TOKENS = 64, SCENE_COLUMNS = 64, SCENE_CELLS = SCENE_TOKENS * SCENE_COLUMNS };

typedef struct {
    int64_t  tokens, columns, groups;  /* groups: columns of the primary logits */
    double   logits[SCENE_CELLS], raw[SCENE_CELLS], noise[SCENE_CELLS], primary[SCENE_CELLS];
    int32_t  ids[SCENE_TOKENS], previous[SCENE_TOKENS], position[SCENE_TOKENS], labels[SCENE_TOKENS],
        targets[SCENE_TOKENS];
    uint8_t  padding[SCENE_TOKENS];
    bool     has_padding, training;
    uint32_t step;
} scene;

/* As many experts, or the largest square up to it for routers that want one. */
static inline int64_t fitting_experts(const char *kind, int64_t experts)
{
    const cot_member *member;
    int64_t side = 1;
    while ((side + 1) * (side + 1) <= experts) side++;
    for (size_t i = 0; (member = cot_router_at(i)) != NULL; i++)
        if (strcmp(member->name, kind) == 0 && ((const cot_router_ops *)member)->traits & COT_ROUTER_SQUARE) return side * side;
    return experts;
}

static inline cot_router *make_router(const char *text, int64_t experts, const cot_build *build)
{
    cot_config *spec;
    cot_router *r = NULL;
    const cot_build lab = {.hidden_size = 1, .num_layers = 1};
    if (cot_config_parse(text, "test", &spec) != COT_OK ||
        cot_router_create(spec, fitting_experts(cot_config_text(cot_config_get(spec, "kind")), experts), build ? build : &lab, &r) != COT_OK)
        fail_msg("%s: %s", text, cot_last_error());
    cot_config_destroy(spec);
    return r;
}

static inline bool has_option(const cot_member *member, const char *name)
{
    for (const cot_option *o = member->options; o && o->name; o++)
        if (strcmp(o->name, name) == 0) return true;
    return false;
}

/* A member by its defaults, with as many choices as fit. */
static inline void member_text(const cot_member *member, int64_t experts, char *text, size_t size)
{
    const int64_t k = experts < 4 && (experts < 2 || has_option(member, "heads")) ? 1 : 2;
    if (has_option(member, "heads")) snprintf(text, size, "{kind: %s, heads: 1, top_k: %lld, query_dim: 4}", member->name, (long long)k);
    else if (has_option(member, "top_k")) snprintf(text, size, "{kind: %s, top_k: %lld}", member->name, (long long)k);
    else snprintf(text, size, "{kind: %s}", member->name);
}

static inline cot_router *make_member(const cot_member *member, int64_t experts)
{
    char text[128];
    member_text(member, experts, text, sizeof text);
    return make_router(text, experts, NULL);
}

/* Standard normal logits, draws in [0, 1) (which serve as normal ones too), small numbers for the rest. */
static inline void draw_scene(scene *s, int64_t tokens, int64_t columns, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    assert_true(tokens <= SCENE_TOKENS && columns <= SCENE_COLUMNS);
    s->tokens = tokens;
    s->columns = columns;
    s->groups = columns % 2 == 0 ? 2 : 1;
    for (int64_t i = 0; i < tokens * columns; i++) {
        s->logits[i] = test_normal(seed, (uint64_t)i);
        s->raw[i] = test_normal(seed + 1000, (uint64_t)i);
        s->noise[i] = test_uniform(seed + 2000, (uint64_t)i);
        s->primary[i] = test_normal(seed + 3000, (uint64_t)i);
    }
    for (int64_t t = 0; t < tokens; t++) {
        s->ids[t] = (int32_t)(test_uniform(seed + 4000, (uint64_t)t) * 20);
        s->previous[t] = t ? s->ids[t - 1] : -1;
        s->position[t] = (int32_t)t;
        s->labels[t] = (int32_t)(test_uniform(seed + 5000, (uint64_t)t) * 4);
        if (t) s->targets[t - 1] = s->ids[t];
    }
    if (tokens) s->targets[tokens - 1] = -1;
}

static inline cot_route_input scene_input(scene *s)
{
    return (cot_route_input){.tokens = s->tokens, .ids = s->ids, .previous = s->previous, .position = s->position,
                             .labels = s->labels, .targets = s->targets, .padding = s->has_padding ? s->padding : NULL,
                             .noise = s->noise};
}

/* The scene's tensors on a tape, in the order of `in`: logits, raw noise, primary logits. */
static inline cot_scores scene_scores(const scene *s, cot_tensor *const *in)
{
    return (cot_scores){.logits = in[0], .raw_noise_std = s->training ? in[1] : NULL, .primary = in[2]};
}

static inline cot_routing route_scene(cot_tape *tape, cot_router *r, scene *s)
{
    const int64_t shape[] = {s->tokens, s->columns}, primary[] = {s->tokens, s->groups};
    cot_routing out;
    cot_tape_reset(tape, false, s->training, 1, s->step);
    cot_tensor *const in[] = {cot_tape_wrap(tape, COT_F64, 2, shape, s->logits, true),
                              cot_tape_wrap(tape, COT_F64, 2, shape, s->raw, true),
                              cot_tape_wrap(tape, COT_F64, 2, primary, s->primary, true)};
    const cot_scores scores = scene_scores(s, in);
    const cot_route_input input = scene_input(s);
    cot_router_select(r, tape, &input, &scores, &out);
    cot_capacity_apply(tape, NULL, 0, &out);
    return out;
}

static inline double gate_at(const cot_routing *r, int64_t a) { return ((const double *)r->gate->data)[a]; }

/* weight [tokens, experts] += gates of what is used; returns nothing for skipped ones. */
static inline void scatter_gates(const cot_routing *r, double *weight)
{
    for (int64_t a = 0; a < r->assignments; a++)
        if (r->slot[a] != COT_SLOT_SKIPPED) weight[r->token[a] * r->experts + r->expert[a]] += gate_at(r, a);
}

#endif
