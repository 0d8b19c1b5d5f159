/* Where each tensor begins follows from the header; rows are copied from the mapped file to their places. */
#include "formats/llama2c.h"

#include <assert.h>
#include <string.h>

#include "base/fail.h"
#include "formats/dialects/dialect.h"

enum { HEADER = 7, LIMIT = 1 << 24 /* of every size; products of two fit in 64 bits */, MAGIC = 0x616b3432 };

/* ---- opening ---- */

static int32_t number_at(const unsigned char *data)
{
    int32_t value;
    memcpy(&value, data, sizeof value);
    return value;
}

static cot_status check_header(const cot_llama2c *f)
{
    const struct {
        const char *what;
        int64_t     value;
    } sizes[] = {{"width", f->width},        {"hidden width", f->hidden},   {"layers", f->layers},  {"heads", f->heads},
                 {"key heads", f->kv_heads}, {"vocabulary", f->vocabulary}, {"context", f->context}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].value < 1 || sizes[i].value > LIMIT)
            return cot_fail(COT_FORMAT, "'%s': its header says %s %lld, expected 1 to %d", f->path, sizes[i].what,
                            (long long)sizes[i].value, LIMIT);
    if (f->width % (2 * f->heads) || f->heads % f->kv_heads)
        return cot_fail(COT_FORMAT,
                        "'%s': its header says %lld heads over %lld key heads in a width of %lld, which do "
                        "not divide into even heads",
                        f->path, (long long)f->heads, (long long)f->kv_heads, (long long)f->width);
    return COT_OK;
}

static int64_t kv_width(const cot_llama2c *f)
{
    return f->width / f->heads * f->kv_heads;
}

/* ---- places ---- */

/* The tensors in file order, those of one kind for all layers together. */
typedef enum { EMBED, NORM, Q, K, V, OUT, FFN_NORM, GATE, DOWN, UP, LAST_NORM, ROTARY, HEAD, KINDS } kind;

static bool of_layers(kind k)
{
    return k >= NORM && k <= UP;
}

/* Numbers in one tensor. */
static uint64_t count_of(const cot_llama2c *f, kind k)
{
    const uint64_t width = (uint64_t)f->width, hidden = (uint64_t)f->hidden, words = (uint64_t)f->vocabulary;
    switch (k) {
    case EMBED: return words * width;
    case NORM: case FFN_NORM: case LAST_NORM: return width;
    case Q: case OUT: return width * width;
    case K: case V: return width * (uint64_t)kv_width(f);
    case GATE: case DOWN: case UP: return width * hidden;
    case ROTARY: return (uint64_t)f->context * (uint64_t)(f->width / f->heads);
    case HEAD: return f->tied ? 0 : words * width;
    case KINDS: break;
    }
    return 0;
}

/* Where the tensors of a kind begin, in numbers behind the header; KINDS: the end. */
static uint64_t place_of(const cot_llama2c *f, kind wanted)
{
    uint64_t place = 0;
    for (kind k = EMBED; k < wanted; k++) place += count_of(f, k) * (of_layers(k) ? (uint64_t)f->layers : 1);
    return place;
}

/* Sizes may be too large to be counted exactly: f64 sees that. */
static cot_status check_length(const cot_llama2c *f)
{
    double all = HEADER;
    for (kind k = EMBED; k < KINDS; k++) all += (double)count_of(f, k) * (of_layers(k) ? (double)f->layers : 1);
    if (all < 0x1p60 && 4 * (HEADER + place_of(f, KINDS)) == f->map.bytes) return COT_OK;
    return cot_fail(COT_FORMAT, "'%s' has %zu bytes, expected %.0f for the sizes in its header", f->path, f->map.bytes,
                    4 * all);
}

static cot_status read_header(cot_llama2c *f)
{
    if (f->map.bytes < 4 * HEADER)
        return cot_fail(COT_FORMAT, "'%s' has %zu bytes, expected a llama2.c checkpoint", f->path, f->map.bytes);
    int64_t size[HEADER];
    for (int i = 0; i < HEADER; i++) size[i] = number_at(f->map.data + 4 * i);
    if (size[0] == MAGIC)
        return cot_fail(COT_FORMAT, "'%s' is a llama2.c checkpoint of version %lld, expected version 0", f->path,
                        (long long)size[1]);
    f->width = size[0], f->hidden = size[1], f->layers = size[2], f->heads = size[3], f->kv_heads = size[4];
    f->tied = size[5] > 0;
    f->vocabulary = f->tied ? size[5] : -size[5];
    f->context = size[6];
    COT_TRY(check_header(f));
    return check_length(f);
}

cot_status cot_llama2c_open(const char *path, cot_llama2c *out)
{
    *out = (cot_llama2c){.path = path};
    COT_TRY(cot_file_map_open(path, &out->map));
    const cot_status status = read_header(out);
    if (status != COT_OK) cot_llama2c_close(out);
    return status;
}

void cot_llama2c_close(cot_llama2c *file)
{
    cot_file_map_close(&file->map);
}

/* ---- reading ---- */

/* Rows [from, from + rows) of one of our parameters; their places change within heads of head_dim rows (0: they do
 * not). */
typedef struct {
    const char *ours; /* {i} stands for a layer */
    kind        kind;
    int64_t     from, rows, head_dim;
} part;

enum { PARTS = 13 };

static void list_parts(const cot_llama2c *f, part out[PARTS])
{
    const int64_t head = f->width / f->heads, kv = kv_width(f);
    const part    parts[PARTS] = {
           {"embed.weight", EMBED, 0, f->vocabulary, 0},
           {"head.weight", HEAD, 0, f->vocabulary, 0},
           {"final_norm.weight", LAST_NORM, 0, 1, 0},
           {"layers.{i}.mixer_norm.weight", NORM, 0, 1, 0},
           {"layers.{i}.mixer.qkv.weight", Q, 0, f->width, head},
           {"layers.{i}.mixer.qkv.weight", K, f->width, kv, head},
           {"layers.{i}.mixer.qkv.weight", V, f->width + kv, kv, 0},
           {"layers.{i}.mixer.out.weight", OUT, 0, f->width, 0},
           {"layers.{i}.ffn_norm.weight", FFN_NORM, 0, 1, 0},
           {"layers.{i}.ffn.gate_up.weight", GATE, 0, f->hidden, 0},
           {"layers.{i}.ffn.gate_up.weight", UP, f->hidden, f->hidden, 0},
           {"layers.{i}.ffn.down.weight", DOWN, 0, f->width, 0},
           {NULL, KINDS, 0, 0, 0},
    };
    memcpy(out, parts, sizeof parts);
}

/* Copies a tensor row by row; theirs turn neighbours, ours halves. */
static void copy_part(const cot_llama2c *f, const part *p, int64_t layer, float *to)
{
    const uint64_t       count = count_of(f, p->kind);
    const size_t         columns = (size_t)count / (size_t)p->rows, bytes = columns * sizeof *to;
    const unsigned char *from = f->map.data + 4 * (HEADER + place_of(f, p->kind) + (uint64_t)layer * count);
    for (int64_t row = 0; row < p->rows; row++) {
        const int64_t within = p->head_dim ? row % p->head_dim : 0, half = p->head_dim / 2;
        const int64_t theirs = p->head_dim ? row - within + within % half * 2 + within / half : row;
        memcpy(to + (size_t)(p->from + row) * columns, from + (size_t)theirs * bytes, bytes);
    }
}

void cot_llama2c_read(const cot_llama2c *f, cot_params *params)
{
    part parts[PARTS];
    list_parts(f, parts);
    for (size_t i = 0; i < cot_params_count(params); i++) {
        cot_param *param = cot_params_at(params, i);
        uint64_t   filled = 0;
        for (const part *p = parts; p->ours; p++) {
            int64_t layer = 0, unused;
            if (!cot_pattern_match(p->ours, param->name, &layer, &unused)) continue;
            filled += count_of(f, p->kind);
            assert(filled <= (uint64_t)cot_tensor_count(&param->value));
            copy_part(f, p, layer, param->value.data);
        }
        assert(filled == (uint64_t)cot_tensor_count(&param->value));
        param->version++;
    }
}
