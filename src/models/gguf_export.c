/* Models as GGUF files of architecture `llama`, which llama.cpp runs.
 *
 * Its rotary positions turn neighbours (2j, 2j + 1) of a head where ours turn (j, j + d/2): rows of q and k change
 * places within each head, the same way in both, so that scores stay. Scaled rotary positions are written as what they
 * come to, a divisor of each pair's frequency and a factor of the cosines and sines. Its experts lie in one tensor for
 * each of gate, up and down. */
#include <coterie/export.h>

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "models/gguf_export.h"
#include "models/model.h"

enum { ROWS = 256 /* handed over at once */, NAME = 64, QUANTIZATION_VERSION = 2, MOST_PAIRS = 512 /* of a head */ };

/* ---- tensors ---- */

typedef struct {
    const char *ours, *theirs; /* {i} stands for a layer */
    cot_part    part;
    bool        exact; /* f32 whatever is asked for: llama.cpp never stores routers in fewer bits */
} rule;

static const rule rules[] = {
    {"embed.weight", "token_embd.weight", COT_PART_WHOLE, false},
    {"head.weight", "output.weight", COT_PART_WHOLE, false},
    {"final_norm.weight", "output_norm.weight", COT_PART_WHOLE, false},
    {"layers.{i}.mixer_norm.weight", "blk.{i}.attn_norm.weight", COT_PART_WHOLE, false},
    {"layers.{i}.mixer.qkv.weight", "blk.{i}.attn_q.weight", COT_PART_Q, false},
    {"layers.{i}.mixer.qkv.weight", "blk.{i}.attn_k.weight", COT_PART_K, false},
    {"layers.{i}.mixer.qkv.weight", "blk.{i}.attn_v.weight", COT_PART_V, false},
    {"layers.{i}.mixer.qkv.bias", "blk.{i}.attn_q.bias", COT_PART_Q, false},
    {"layers.{i}.mixer.qkv.bias", "blk.{i}.attn_k.bias", COT_PART_K, false},
    {"layers.{i}.mixer.qkv.bias", "blk.{i}.attn_v.bias", COT_PART_V, false},
    {"layers.{i}.mixer.out.weight", "blk.{i}.attn_output.weight", COT_PART_WHOLE, false},
    {"layers.{i}.mixer.out.bias", "blk.{i}.attn_output.bias", COT_PART_WHOLE, false},
    {"layers.{i}.ffn_norm.weight", "blk.{i}.ffn_norm.weight", COT_PART_WHOLE, false},
    {"layers.{i}.ffn.gate_up.weight", "blk.{i}.ffn_gate.weight", COT_PART_GATE, false},
    {"layers.{i}.ffn.gate_up.weight", "blk.{i}.ffn_up.weight", COT_PART_UP, false},
    {"layers.{i}.ffn.gate_up.bias", "blk.{i}.ffn_gate.bias", COT_PART_GATE, false},
    {"layers.{i}.ffn.gate_up.bias", "blk.{i}.ffn_up.bias", COT_PART_UP, false},
    {"layers.{i}.ffn.down.bias", "blk.{i}.ffn_down.bias", COT_PART_WHOLE, false},
    {"layers.{i}.ffn.down.weight", "blk.{i}.ffn_down.weight", COT_PART_WHOLE, false},
    {"layers.{i}.ffn.router.weight", "blk.{i}.ffn_gate_inp.weight", COT_PART_WHOLE, true},
    {"layers.{i}.ffn.experts.gate_up", "blk.{i}.ffn_gate_exps.weight", COT_PART_GATE, false},
    {"layers.{i}.ffn.experts.gate_up", "blk.{i}.ffn_up_exps.weight", COT_PART_UP, false},
    {"layers.{i}.ffn.experts.down", "blk.{i}.ffn_down_exps.weight", COT_PART_WHOLE, false},
};

/* A tensor of the file: `blocks` (experts, or 1) runs of `count` rows from row `from` of ours, block_rows apart. */
typedef struct {
    const float *data;
    int64_t      blocks, block_rows, from, count, columns;
    int64_t      head_dim; /* rows change places within heads of this many; 0 = they do not */
    bool         vector;   /* rows of one number, stored as one row */
} source;

static source make_source(const cot_param *param, const cot_model_card *card, cot_part part)
{
    const cot_param_spec *spec = &param->spec;
    const int             stacked = spec->rank == 3;
    const int64_t         rows = spec->shape[stacked];
    const int64_t         q = card->num_heads * card->head_dim, kv = card->num_kv_heads * card->head_dim;
    const struct {
        int64_t from, count;
    } cut[] = {[COT_PART_WHOLE] = {0, rows}, [COT_PART_Q] = {0, q},           [COT_PART_K] = {q, kv},
               [COT_PART_V] = {q + kv, kv},  [COT_PART_GATE] = {0, rows / 2}, [COT_PART_UP] = {rows / 2, rows / 2}};
    return (source){.data = param->value.data,
                    .blocks = stacked ? spec->shape[0] : 1,
                    .block_rows = rows,
                    .from = cut[part].from,
                    .count = cut[part].count,
                    .columns = spec->rank > 1 ? spec->shape[stacked + 1] : 1,
                    .head_dim = part == COT_PART_Q || part == COT_PART_K ? card->head_dim : 0,
                    .vector = spec->rank == 1};
}

/* Row `row` of the file's tensor, in ours. */
static const float *row_of(const source *s, int64_t row)
{
    const int64_t block = row / s->count;
    row %= s->count;
    if (s->head_dim) {
        const int64_t within = row % s->head_dim;
        row += within / 2 + within % 2 * (s->head_dim / 2) - within;
    }
    return s->data + (block * s->block_rows + s->from + row) * s->columns;
}

static cot_gguf_type type_of(const source *s, bool exact, cot_export_type asked)
{
    if (s->vector || exact || asked == COT_EXPORT_F32) return COT_GGUF_F32;
    if (asked == COT_EXPORT_BF16) return COT_GGUF_BF16;
    return asked == COT_EXPORT_F16 || s->columns % COT_GGUF_Q8_BLOCK ? COT_GGUF_F16 : COT_GGUF_Q8_0;
}

/* ---- the file ---- */

typedef struct {
    const cot_model          *model;
    const cot_export_options *options;
    cot_model_card            card;
    cot_gguf                 *file;
    float                     divisors[MOST_PAIRS]; /* of the rotary frequencies */
    uint64_t                  done, total;          /* bytes of data */
} export;

typedef cot_status (*visitor)(export *e, const source *s, const char *name, cot_gguf_type type);

/* Every tensor of the file, in its order. */
static cot_status each_tensor(export *e, visitor visit)
{
    const int64_t pairs = e->card.head_dim / 2;
    const source  divisors = {
         .data = e->divisors, .blocks = 1, .block_rows = pairs, .count = pairs, .columns = 1, .vector = true};
    if (e->card.rope.rope_type != COT_ROPE_DEFAULT) COT_TRY(visit(e, &divisors, "rope_freqs.weight", COT_GGUF_F32));
    for (size_t p = 0; p < cot_params_count(e->model->params); p++) {
        const cot_param *param = cot_params_at(e->model->params, p);
        bool             known = false;
        for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
            char    name[NAME];
            int64_t layer = 0, unused;
            if (!cot_pattern_match(rules[r].ours, param->name, &layer, &unused)) continue;
            cot_pattern_fill(rules[r].theirs, layer, 0, name, sizeof name);
            const source s = make_source(param, &e->card, rules[r].part);
            COT_TRY(visit(e, &s, name, type_of(&s, rules[r].exact, e->options->type)));
            known = true;
        }
        if (!known) return cot_fail(COT_INVALID, "GGUF has no counterpart for the parameter '%s'", param->name);
    }
    return COT_OK;
}

/* What scaling divides the rotary frequencies by; the factor of cosines and sines. */
static double rope_divisors(export *e)
{
    const cot_model_card *c = &e->card;
    double                plain[MOST_PAIRS], scaled[MOST_PAIRS];
    cot_rope_frequencies(&(cot_rope_scaling){.rope_type = COT_ROPE_DEFAULT}, c->rope_theta, (int32_t)c->head_dim, 0,
                         plain);
    const double factor = cot_rope_frequencies(&c->rope, c->rope_theta, (int32_t)c->head_dim, 0, scaled);
    for (int64_t j = 0; j < c->head_dim / 2; j++) e->divisors[j] = (float)(plain[j] / scaled[j]);
    return factor;
}

static cot_status declare(export *e, const source *s, const char *name, cot_gguf_type type)
{
    const int64_t shape[3] = {s->blocks, s->count, s->columns};
    if (s->vector)
        cot_gguf_tensor(e->file, name, type, 1, shape + 1);
    else
        cot_gguf_tensor(e->file, name, type, s->blocks > 1 ? 3 : 2, s->blocks > 1 ? shape : shape + 1);
    return COT_OK;
}

static cot_status report(export *e, uint64_t bytes)
{
    e->done += bytes;
    if (!e->options->progress || e->options->progress(e->options->context, e->done, e->total)) return COT_OK;
    return cot_fail(COT_STOPPED, "the export was stopped");
}

/* Numbers that change places are gathered into one row. */
static cot_status write_vector(export *e, const source *s)
{
    float *row = cot_malloc((size_t)s->count * sizeof *row);
    if (!row) return cot_fail(COT_OUT_OF_MEMORY, "no memory for %lld numbers", (long long)s->count);
    for (int64_t i = 0; i < s->count; i++) row[i] = *row_of(s, i);
    const cot_status status = cot_gguf_rows(e->file, (const float *const[]){row}, 1);
    cot_free(row);
    return status;
}

static cot_status write(export *e, const source *s, const char *name, cot_gguf_type type)
{
    (void)name;
    if (s->vector) return write_vector(e, s);
    const size_t bytes = cot_gguf_row_bytes(type, (size_t)s->columns);
    for (int64_t row = 0; row < s->blocks * s->count; row += ROWS) {
        const float  *rows[ROWS];
        const int64_t n = s->blocks * s->count - row < ROWS ? s->blocks * s->count - row : ROWS;
        for (int64_t i = 0; i < n; i++) rows[i] = row_of(s, row + i);
        COT_TRY(cot_gguf_rows(e->file, rows, (size_t)n));
        COT_TRY(report(e, (uint64_t)n * bytes));
    }
    return COT_OK;
}

/* ---- settings ---- */

/* Numbers by which llama.cpp names a file's type. */
static uint32_t file_type(cot_export_type type)
{
    static const uint32_t numbers[] = {
        [COT_EXPORT_F32] = 0, [COT_EXPORT_F16] = 1, [COT_EXPORT_BF16] = 32, [COT_EXPORT_Q8_0] = 7};
    return numbers[type];
}

static void put_settings(export *e)
{
    const cot_model_card *c = &e->card;
    cot_gguf             *f = e->file;
    cot_gguf_text(f, "general.architecture", "llama");
    cot_gguf_text(f, "general.type", "model");
    cot_gguf_text(f, "general.name", e->options->name ? e->options->name : "coterie");
    cot_gguf_u32(f, "general.file_type", file_type(e->options->type));
    cot_gguf_u32(f, "general.quantization_version", QUANTIZATION_VERSION);
    cot_gguf_u32(f, "llama.vocab_size", (uint32_t)c->vocab_size);
    cot_gguf_u32(f, "llama.context_length", (uint32_t)c->max_position);
    cot_gguf_u32(f, "llama.embedding_length", (uint32_t)c->hidden_size);
    cot_gguf_u32(f, "llama.block_count", (uint32_t)c->num_layers);
    cot_gguf_u32(f, "llama.feed_forward_length",
                 (uint32_t)(c->num_experts ? c->moe_intermediate_size : c->intermediate_size));
    cot_gguf_u32(f, "llama.attention.head_count", (uint32_t)c->num_heads);
    cot_gguf_u32(f, "llama.attention.head_count_kv", (uint32_t)c->num_kv_heads);
    cot_gguf_u32(f, "llama.attention.key_length", (uint32_t)c->head_dim);
    cot_gguf_u32(f, "llama.attention.value_length", (uint32_t)c->head_dim);
    cot_gguf_f32(f, "llama.attention.layer_norm_rms_epsilon", (float)c->rms_norm_eps);
    cot_gguf_u32(f, "llama.rope.dimension_count", (uint32_t)c->head_dim);
    cot_gguf_f32(f, "llama.rope.freq_base", (float)c->rope_theta);
    if (c->rope.rope_type != COT_ROPE_DEFAULT)
        cot_gguf_f32(f, "llama.rope.scaling.attn_factor", (float)rope_divisors(e));
    if (c->num_experts == 0) return;
    cot_gguf_u32(f, "llama.expert_count", (uint32_t)c->num_experts);
    cot_gguf_u32(f, "llama.expert_used_count", (uint32_t)c->top_k);
}

/* Why GGUF's `llama` has no place for the model; false when it has. A window that nothing reaches beyond is none. */
static bool is_misfit(const cot_model_card *card, char *reason, size_t size)
{
    const uint32_t may = COT_TRAIT_EXPERTS | COT_TRAIT_UNIT_GATES | COT_TRAIT_QKV_BIAS | COT_TRAIT_OUTPUT_BIAS |
                         COT_TRAIT_ALL_BIASES | COT_TRAIT_FFN_BIAS | COT_TRAIT_HEAD_DIM | COT_TRAIT_SCALED_ROPE;
    cot_model_card c = *card;
    if (c.sliding_window >= c.max_position) c.sliding_window = 0;
    if (cot_traits_misfit(0, may, &c, reason, size)) return true;
    if (c.rope.rope_type != COT_ROPE_DYNAMIC) return false;
    snprintf(reason, size, "it has rotary frequencies that change with the length");
    return true;
}

static cot_status write_file(export *e, const char *path)
{
    put_settings(e);
    COT_TRY(each_tensor(e, declare));
    e->total = cot_gguf_data_bytes(e->file);
    COT_TRY(cot_gguf_open(e->file, path));
    COT_TRY(each_tensor(e, write));
    return cot_gguf_commit(e->file);
}

cot_status cot_export_gguf(const cot_model *model, const cot_tokenizer *tokenizer, const char *path,
                           const cot_export_options *options)
{
    export e = {.model = model, .options = options, .card = cot_model_card_of(model, tokenizer)};
    char reason[160];
    if (is_misfit(&e.card, reason, sizeof reason))
        return cot_fail(COT_INVALID, "the model has no counterpart in GGUF: %s", reason);
    if (!tokenizer) return cot_fail(COT_INVALID, "the model has no tokenizer, which a GGUF file holds");
    COT_TRY(cot_gguf_create(&e.file));
    cot_status status = cot_gguf_tokenizer(e.file, tokenizer, model->vocab_size);
    if (status == COT_OK) status = write_file(&e, path);
    cot_gguf_destroy(e.file);
    return status;
}
