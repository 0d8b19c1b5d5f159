#include "tensor/params.h"

#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/threads.h"

struct cot_params {
    cot_dtype   dtype;
    cot_param **entries;
    size_t      count, capacity;
    void       *values, *grads;  /* one block each */
    void       *file;            /* where mapped values lie, or NULL */
    void      (*close)(void *file);
};

cot_status cot_params_create(cot_dtype real, cot_params **out)
{
    *out = cot_calloc(sizeof **out);
    if (!*out) return cot_fail(COT_OUT_OF_MEMORY, "no memory for a parameter list");
    (*out)->dtype = real;
    return COT_OK;
}

static void param_destroy(cot_param *param)
{
    if (!param) return;
    if (param->packed_free) param->packed_free(param->packed);
    cot_free(param->name);
    cot_free(param);
}

void cot_params_keep(cot_params *params, void *file, void (*close)(void *file))
{
    if (params->file) params->close(params->file);
    params->file = file;
    params->close = close;
}

void cot_params_destroy(cot_params *params)
{
    if (!params) return;
    cot_params_keep(params, NULL, NULL);
    for (size_t i = 0; i < params->count; i++) param_destroy(params->entries[i]);
    cot_free(params->entries);
    cot_free(params->values);
    cot_free(params->grads);
    cot_free(params);
}

cot_dtype  cot_params_dtype(const cot_params *params) { return params->dtype; }
size_t     cot_params_count(const cot_params *params) { return params->count; }
cot_param *cot_params_at(const cot_params *params, size_t index) { return params->entries[index]; }

cot_param *cot_params_find(const cot_params *params, const char *name)
{
    for (size_t i = 0; i < params->count; i++)
        if (strcmp(params->entries[i]->name, name) == 0) return params->entries[i];
    return NULL;
}

static cot_status check_shape(const cot_param_spec *spec)
{
    int64_t count = 1;
    if (spec->rank < 1 || spec->rank > COT_MAX_RANK)
        return cot_fail(COT_INVALID, "parameter '%s' has rank %d, expected 1 to %d", spec->name, spec->rank, COT_MAX_RANK);
    for (int i = 0; i < spec->rank; i++)
        if (spec->shape[i] < 1 || __builtin_mul_overflow(count, spec->shape[i], &count) || count > INT64_MAX / 16)
            return cot_fail(COT_INVALID, "parameter '%s' has a size of %lld in dimension %d, expected a positive one that fits in memory",
                            spec->name, (long long)spec->shape[i], i);
    return COT_OK;
}

static cot_status reserve(cot_params *params)
{
    if (params->count < params->capacity) return COT_OK;
    const size_t capacity = params->capacity ? 2 * params->capacity : 64;
    cot_param **entries = cot_realloc(params->entries, params->count * sizeof *entries, capacity * sizeof *entries);
    if (!entries) return cot_fail(COT_OUT_OF_MEMORY, "no memory for %zu parameters", capacity);
    params->entries = entries;
    params->capacity = capacity;
    return COT_OK;
}

cot_status cot_params_add(cot_params *params, const cot_param_spec *spec, cot_param **out)
{
    *out = NULL;
    COT_TRY(check_shape(spec));
    if (cot_params_find(params, spec->name)) return cot_fail(COT_INVALID, "parameter '%s' is declared twice", spec->name);
    COT_TRY(reserve(params));
    cot_param *param = cot_calloc(sizeof *param);
    if (param) param->name = cot_strdup(spec->name);
    if (!param || !param->name) {
        param_destroy(param);
        return cot_fail(COT_OUT_OF_MEMORY, "no memory for parameter '%s'", spec->name);
    }
    param->spec = *spec;
    param->spec.name = NULL;
    param->version = 1;
    param->value = (cot_tensor){.dtype = spec->bf16 ? COT_BF16 : params->dtype, .rank = spec->rank, .shape = {1, 1, 1, 1}, .param = param};
    for (int i = 0; i < spec->rank; i++) param->value.shape[i] = spec->shape[i];
    params->entries[params->count++] = param;
    *out = param;
    return COT_OK;
}

static size_t padded_bytes(const cot_param *param)
{
    const size_t bytes = (size_t)cot_tensor_count(&param->value) * cot_dtype_size(param->value.dtype);
    return (bytes + COT_ALIGNMENT - 1) / COT_ALIGNMENT * COT_ALIGNMENT;
}

static bool trained(const cot_param *param) { return param->spec.update != COT_UPDATE_BUFFER && !param->frozen; }

static bool has_gradient(const cot_param *param)
{
    return trained(param) && param->spec.update != COT_UPDATE_TOUCHED_ROWS;
}

cot_status cot_params_allocate_raw(cot_params *params)
{
    size_t bytes = 0;
    for (size_t i = 0; i < params->count; i++)
        if (!params->entries[i]->mapped) bytes += padded_bytes(params->entries[i]);
    cot_free(params->values);
    params->values = cot_malloc(bytes);
    if (!params->values) return cot_fail(COT_OUT_OF_MEMORY, "no memory for %zu parameters of %.1f MB together", params->count, bytes / 1e6);
    char *next = params->values;
    for (size_t i = 0; i < params->count; i++) {
        if (params->entries[i]->mapped) continue;
        params->entries[i]->value.data = next;
        next += padded_bytes(params->entries[i]);
    }
    return COT_OK;
}

cot_status cot_params_allocate_grads(cot_params *params)
{
    size_t bytes = 0;
    for (size_t i = 0; i < params->count; i++)
        if (has_gradient(params->entries[i])) bytes += padded_bytes(params->entries[i]);
    cot_free(params->grads);
    params->grads = cot_malloc(bytes);
    if (!params->grads) return cot_fail(COT_OUT_OF_MEMORY, "no memory for gradients of %.1f MB", bytes / 1e6);
    char *next = params->grads;
    for (size_t i = 0; i < params->count; i++) {
        cot_param *param = params->entries[i];
        param->value.grad = has_gradient(param) ? next : NULL;
        if (has_gradient(param)) next += padded_bytes(param);
    }
    cot_params_clear_grads(params);
    return COT_OK;
}

void cot_params_clear_grads(cot_params *params)
{
    for (size_t i = 0; i < params->count; i++) {
        params->entries[i]->grad_fresh = true;
        if (params->entries[i]->rows) cot_row_grads_clear(params->entries[i]->rows);
    }
}

void cot_params_settle_grads(cot_params *params)
{
    for (size_t i = 0; i < params->count; i++) {
        cot_param *param = params->entries[i];
        if (!param->grad_fresh || !param->value.grad) continue;
        memset(param->value.grad, 0, (size_t)cot_tensor_count(&param->value) * cot_dtype_size(param->value.dtype));
        param->grad_fresh = false;
    }
}

int64_t cot_params_elements(const cot_params *params, bool trained_only)
{
    int64_t count = 0;
    for (size_t i = 0; i < params->count; i++)
        if (!trained_only || trained(params->entries[i])) count += cot_tensor_count(&params->entries[i]->value);
    return count;
}

int64_t cot_params_elements_frozen(const cot_params *params)
{
    int64_t count = 0;
    for (size_t i = 0; i < params->count; i++)
        if (params->entries[i]->frozen) count += cot_tensor_count(&params->entries[i]->value);
    return count;
}

int64_t cot_params_elements_by_row(const cot_params *params)
{
    int64_t count = 0;
    for (size_t i = 0; i < params->count; i++)
        if (params->entries[i]->spec.update == COT_UPDATE_TOUCHED_ROWS) count += cot_tensor_count(&params->entries[i]->value);
    return count;
}

cot_params_size cot_params_measure(const cot_params *params, bool experts_only)
{
    cot_params_size sum = {0, 0, 0};
    for (size_t i = 0; i < params->count; i++) {
        const cot_param *param = params->entries[i];
        const int64_t elements = cot_tensor_count(&param->value), bytes = elements * (int64_t)cot_dtype_size(param->value.dtype);
        if (experts_only && param->spec.placement != COT_PLACE_EXPERT) continue;
        sum.elements += elements;
        sum.bytes += bytes;
        sum.training += bytes * (1 + (trained(param) ? 2 : 0) + has_gradient(param));
    }
    return sum;
}

/* ---- initialisation ---- */

uint32_t cot_param_number(const cot_param *param)  /* FNV-1a, folded to 24 bits */
{
    uint32_t h = 2166136261u;
    for (const char *name = param->name; *name; name++) h = (h ^ (uint8_t)*name) * 16777619u;
    return (h ^ h >> 24) & 0xffffffu;
}

/* Elements beyond two standard deviations are drawn again, from the same element of later rounds. */
static double truncate_normal(cot_rng_key key, uint64_t element, double z)
{
    for (uint64_t round = 1; z < -2.0 || z > 2.0; round++) z = cot_rng_normal(key, element + (round << 44));
    return z;
}

static void store(void *data, cot_dtype dtype, int64_t i, double value)
{
    if (dtype == COT_F64) ((double *)data)[i] = value;
    else if (dtype == COT_F32) ((float *)data)[i] = (float)value;
    else ((cot_bf16 *)data)[i] = cot_f32_to_bf16((float)value);
}

static void fill_four(cot_param *param, cot_rng_key key, int64_t block)
{
    const cot_init init = param->spec.init;
    const int64_t count = cot_tensor_count(&param->value);
    double four[4] = {0, 0, 0, 0};
    if (init.kind == COT_INIT_NORMAL || init.kind == COT_INIT_TRUNCATED_NORMAL) cot_rng_normal4(key, (uint64_t)block, four);
    for (int64_t i = 4 * block, j = 0; j < 4 && i < count; i++, j++) {
        double value = init.kind == COT_INIT_ONE ? 1.0 : four[j];
        if (init.kind == COT_INIT_TRUNCATED_NORMAL) value = truncate_normal(key, (uint64_t)i, value);
        if (init.kind == COT_INIT_UNIFORM) value = 2.0 * cot_rng_uniform(key, (uint64_t)i) - 1.0;
        if (init.kind >= COT_INIT_NORMAL) value *= init.scale;
        store(param->value.data, param->value.dtype, i, value);
    }
}

static void initialise(cot_param *param, uint64_t seed)
{
    const cot_rng_key key = {.seed = seed, .stream = COT_RNG_INIT + cot_param_number(param)};
    const int64_t blocks = (cot_tensor_count(&param->value) + 3) / 4;
#pragma omp parallel for num_threads(cot_threads()) schedule(static) if (blocks > 4096)
    for (int64_t b = 0; b < blocks; b++) fill_four(param, key, b);
    param->version++;
}

cot_status cot_params_allocate(cot_params *params, uint64_t seed)
{
    for (size_t i = 0; i < params->count; i++) params->entries[i]->mapped = false;
    cot_params_keep(params, NULL, NULL);
    COT_TRY(cot_params_allocate_raw(params));
    for (size_t i = 0; i < params->count; i++) initialise(params->entries[i], seed);
    return COT_OK;
}
