/* A model's weights in a dialect's names: internal tensors come apart into published ones and together again. */
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/file.h"
#include "formats/model_folder.h"

/* ---- writing ---- */

typedef struct {
    const cot_param  *param;
    cot_dtype         dtype;
    cot_arena        *names;
    cot_tensor_entry *entries;
    size_t            count, room;
} collection;

static cot_status no_memory(const char *path)
{
    return cot_fail(COT_OUT_OF_MEMORY, "'%s': no memory to list its tensors", path);
}

static bool make_room(collection *c)
{
    if (c->count < c->room) return true;
    const size_t room = c->room ? 2 * c->room : 256;
    cot_tensor_entry *grown = cot_realloc(c->entries, c->count * sizeof *grown, room * sizeof *grown);
    if (!grown) return false;
    c->entries = grown;
    c->room = room;
    return true;
}

static cot_status collect(void *context, const cot_piece *piece)
{
    collection *c = context;
    const size_t bytes = strlen(piece->name) + 1;
    char *name = cot_arena_alloc(c->names, bytes);
    if (!name || !make_room(c)) return no_memory(piece->name);
    memcpy(name, piece->name, bytes);
    const cot_tensor *value = &c->param->value;
    cot_tensor_entry *entry = &c->entries[c->count++];
    *entry = (cot_tensor_entry){.name = name, .dtype = value->dtype == COT_BF16 ? COT_BF16 : c->dtype, .rank = piece->rank, .data_dtype = value->dtype};
    entry->data = (const unsigned char *)value->data + (size_t)piece->first * cot_dtype_size(value->dtype);
    for (int d = 0; d < piece->rank; d++) entry->shape[d] = piece->shape[d];
    return COT_OK;
}

static cot_status collect_all(collection *c, const cot_dialect *dialect, const cot_model_card *card,
                              const cot_params *params)
{
    for (size_t i = 0; i < cot_params_count(params); i++) {
        c->param = cot_params_at(params, i);
        COT_TRY(cot_dialect_pieces(dialect, card, c->param->name, &c->param->spec, collect, c));
    }
    return COT_OK;
}

cot_status cot_model_folder_write_weights(const char *path, const cot_dialect *dialect, const cot_model_card *card,
                                          const cot_params *params)
{
    collection c = {.dtype = card->dtype, .names = cot_arena_create()};
    char *file = cot_path_join(path, "model.safetensors");
    cot_status status = c.names && file ? collect_all(&c, dialect, card, params) : no_memory(path);
    if (status == COT_OK) status = cot_folder_make(path);
    if (status == COT_OK) status = cot_safetensors_write(file, c.entries, c.count);
    cot_free(file);
    cot_free(c.entries);
    cot_arena_destroy(c.names);
    return status;
}

/* ---- reading ---- */

typedef struct {
    const char            *path;  /* the folder */
    const cot_safetensors *set;
    unsigned char         *used;  /* which stored tensors have found their place */
    cot_param             *param;
    bool                   map, mapped;  /* may tables stay in the file? did one? */
} loading;

static cot_status wrong_shape(const loading *l, const cot_stored_tensor *found, const cot_piece *piece)
{
    char text[2][256] = {"", ""};
    for (int side = 0; side < 2; side++) {
        const int      rank = side ? piece->rank : found->rank;
        const int64_t *shape = side ? piece->shape : found->shape;
        size_t used = 0;
        for (int d = 0; d < rank && used < sizeof text[side]; d++)
            used += (size_t)snprintf(text[side] + used, sizeof text[side] - used, "%s%lld", d ? ", " : "",
                                     (long long)shape[d]);
    }
    return cot_fail(COT_FORMAT, "'%s': tensor '%s' is [%s], expected [%s]", cot_safetensors_file(l->set, found),
                    found->name, text[0], text[1]);
}

static cot_status check_piece(void *context, const cot_piece *piece)
{
    loading *l = context;
    const cot_stored_tensor *found = cot_safetensors_find(l->set, piece->name);
    if (!found) return cot_fail(COT_FORMAT, "'%s': tensor '%s' is missing from its weights", l->path, piece->name);
    if (found->rank != piece->rank ||
        memcmp(found->shape, piece->shape, (size_t)piece->rank * sizeof *piece->shape) != 0)
        return wrong_shape(l, found, piece);
    if (!cot_stored_readable(found->dtype, l->param->value.dtype))
        return cot_fail(COT_FORMAT, "'%s': tensor '%s' is stored as %s, expected floating point of 16 to 64 bits",
                        cot_safetensors_file(l->set, found), found->name, cot_stored_name(found->dtype));
    l->used[found - cot_safetensors_at(l->set, 0)] = 1;
    return COT_OK;
}

/* A table that is one stored tensor of its own type. */
static cot_status map_piece(void *context, const cot_piece *piece)
{
    loading *l = context;
    cot_param *param = l->param;
    const cot_stored_tensor *found = cot_safetensors_find(l->set, piece->name);
    const bool whole = param->spec.update == COT_UPDATE_TOUCHED_ROWS && found->count == cot_tensor_count(&param->value);
    const void *view = whole ? cot_safetensors_view(found, param->value.dtype) : NULL;
    if (!view) return COT_OK;
    cot_file_map_scattered(view, found->bytes);
    param->value.data = (void *)(uintptr_t)view;
    param->mapped = l->mapped = true;
    return COT_OK;
}

static cot_status read_piece(void *context, const cot_piece *piece)
{
    loading *l = context;
    if (l->param->mapped) return COT_OK;
    const cot_tensor *value = &l->param->value;
    unsigned char *target = (unsigned char *)value->data + (size_t)piece->first * cot_dtype_size(value->dtype);
    return cot_safetensors_read(l->set, cot_safetensors_find(l->set, piece->name), value->dtype, target);
}

static cot_status each_piece(loading *l, const cot_model_folder *folder, cot_params *params, cot_piece_visitor visit)
{
    for (size_t i = 0; i < cot_params_count(params); i++) {
        l->param = cot_params_at(params, i);
        char joined[COT_TENSOR_NAME];
        if (cot_dialect_joined_name(folder->dialect, l->param->name, joined, sizeof joined) &&
            cot_safetensors_find(l->set, joined))
            COT_TRY(cot_dialect_whole(joined, &l->param->spec, visit, l));
        else
            COT_TRY(cot_dialect_pieces(folder->dialect, &folder->card, l->param->name, &l->param->spec, visit, l));
    }
    return COT_OK;
}

static bool is_ignored(const cot_dialect *dialect, const char *name)
{
    int64_t unused;
    for (const char *const *pattern = dialect->ignored; *pattern; pattern++)
        if (cot_pattern_match(*pattern, name, &unused, &unused)) return true;
    return false;
}

static cot_status check_surplus(const loading *l, const cot_dialect *dialect)
{
    for (size_t i = 0; i < cot_safetensors_count(l->set); i++) {
        const cot_stored_tensor *tensor = cot_safetensors_at(l->set, i);
        if (!l->used[i] && !is_ignored(dialect, tensor->name))
            return cot_fail(COT_FORMAT, "'%s': tensor '%s' has no place in the model that config.json describes",
                            cot_safetensors_file(l->set, tensor), tensor->name);
    }
    return COT_OK;
}

/* Only now that the file is known to hold as much. */
static cot_status take_memory(cot_params *params)
{
    const bool taken = cot_params_count(params) > 0 && cot_params_at(params, 0)->value.data;
    return taken ? COT_OK : cot_params_allocate_raw(params);
}

static cot_status load_all(loading *l, const cot_model_folder *folder, cot_params *params)
{
    COT_TRY(each_piece(l, folder, params, check_piece));
    COT_TRY(check_surplus(l, folder->dialect));
    if (l->map) COT_TRY(each_piece(l, folder, params, map_piece));
    COT_TRY(take_memory(params));
    COT_TRY(each_piece(l, folder, params, read_piece));
    for (size_t i = 0; i < cot_params_count(params); i++) cot_params_at(params, i)->version++;
    return COT_OK;
}

static void close_set(void *set) { cot_safetensors_close(set); }

static cot_status load(const char *path, const cot_model_folder *folder, bool map, cot_params *params)
{
    cot_safetensors *set;
    COT_TRY(cot_safetensors_open_folder(path, &set));
    loading l = {.path = path, .set = set, .map = map, .used = cot_calloc(cot_safetensors_count(set))};
    const cot_status status = l.used ? load_all(&l, folder, params) : no_memory(path);
    cot_free(l.used);
    if (l.mapped) cot_params_keep(params, set, close_set);
    else cot_safetensors_close(set);
    return status;
}

cot_status cot_model_folder_load_weights(const char *path, const cot_model_folder *folder, cot_params *params)
{
    return load(path, folder, false, params);
}

cot_status cot_model_folder_map_weights(const char *path, const cot_model_folder *folder, cot_params *params)
{
    return load(path, folder, true, params);
}
