/* Sets of tensors over mapped files. */
#include "formats/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/threads.h"
#include "formats/convert.h"
#include "formats/file.h"
#include "formats/json.h"
#include "formats/safetensors_header.h"

enum { INDEX_LIMIT = 64 << 20, PIECE = 1 << 18 };

typedef struct {
    char        *name;
    cot_file_map map;
} source;

struct cot_safetensors {
    source         *files;
    size_t          file_count;
    cot_arena      *names;
    cot_stored_list list;
};

static cot_status no_memory(const char *file)
{
    return cot_fail(COT_OUT_OF_MEMORY, "'%s': no memory to list its tensors", file);
}

void cot_safetensors_close(cot_safetensors *set)
{
    if (!set) return;
    for (size_t i = 0; i < set->file_count; i++) {
        cot_file_map_close(&set->files[i].map);
        cot_free(set->files[i].name);
    }
    cot_free(set->files);
    cot_free(set->list.items);
    cot_arena_destroy(set->names);
    cot_free(set);
}

/* An empty set with room for `files` files. */
static cot_status set_create(size_t files, const char *name, cot_safetensors **out)
{
    cot_safetensors *set = cot_calloc(sizeof *set);
    if (!set) return no_memory(name);
    set->files = cot_calloc((files ? files : 1) * sizeof *set->files);
    set->names = cot_arena_create();
    if (!set->files || !set->names) {
        cot_safetensors_close(set);
        return no_memory(name);
    }
    *out = set;
    return COT_OK;
}

static cot_status add_file(cot_safetensors *set, const char *path)
{
    source *file = &set->files[set->file_count];
    file->name = cot_strdup(path);
    if (!file->name) return no_memory(path);
    set->file_count++;
    COT_TRY(cot_file_map_open(path, &file->map));
    return cot_safetensors_header(file->map.data, file->map.bytes, file->name, set->file_count - 1, set->names,
                                  &set->list);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const cot_stored_tensor *)a)->name, ((const cot_stored_tensor *)b)->name);
}

/* Sorts for the search and finds names that come twice. */
static cot_status finish(cot_safetensors *set)
{
    cot_stored_tensor *items = set->list.items;
    if (set->list.count > 0) qsort(items, set->list.count, sizeof *items, by_name);
    for (size_t i = 1; i < set->list.count; i++)
        if (strcmp(items[i - 1].name, items[i].name) == 0)
            return cot_fail(COT_FORMAT, "'%s': tensor '%s' comes twice (also in '%s')", set->files[items[i].file].name,
                            items[i].name, set->files[items[i - 1].file].name);
    return COT_OK;
}

/* Hands the set over, or closes it on failure. */
static cot_status deliver(cot_safetensors *set, cot_status status, cot_safetensors **out)
{
    if (status == COT_OK) status = finish(set);
    if (status == COT_OK) *out = set;
    else cot_safetensors_close(set);
    return status;
}

cot_status cot_safetensors_open(const char *path, cot_safetensors **out)
{
    *out = NULL;
    cot_safetensors *set;
    COT_TRY(set_create(1, path, &set));
    return deliver(set, add_file(set, path), out);
}

cot_status cot_safetensors_parse(const void *data, size_t bytes, const char *name, cot_safetensors **out)
{
    *out = NULL;
    cot_safetensors *set;
    COT_TRY(set_create(1, name, &set));
    set->files[0].name = cot_strdup(name);
    if (!set->files[0].name) return deliver(set, no_memory(name), out);
    set->file_count = 1;  /* its map stays empty: the caller owns the bytes */
    return deliver(set, cot_safetensors_header(data, bytes, set->files[0].name, 0, set->names, &set->list), out);
}

/* ---- several files with an index ---- */

/* A file beside the index and nowhere else. */
static bool is_plain_name(const char *name)
{
    return name && name[0] != '\0' && !strpbrk(name, "/\\") && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The distinct file names of the weight map, sorted, into names [entries]. */
static cot_status list_shards(const char *index, json_t *weight_map, const char **names, size_t *count)
{
    const char *tensor;
    json_t     *file;
    size_t      n = 0;
    json_object_foreach(weight_map, tensor, file) {
        if (!is_plain_name(json_string_value(file)))
            return cot_fail(COT_FORMAT,
                            "'%s': tensor '%s' is said to be in %s, expected the name of a file in the same folder",
                            index, tensor, json_is_string(file) ? json_string_value(file) : cot_json_kind(file));
        names[n++] = json_string_value(file);
    }
    qsort(names, n, sizeof *names, by_text);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0) names[kept++] = names[i];
    *count = kept;
    return COT_OK;
}

static cot_status add_shards(cot_safetensors *set, const char *folder, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *path = cot_path_join(folder, names[i]);
        if (!path) return no_memory(names[i]);
        const cot_status status = add_file(set, path);
        cot_free(path);
        COT_TRY(status);
    }
    return COT_OK;
}

/* Is every tensor where the index says? */
static cot_status check_index(const cot_safetensors *set, const char *index, json_t *weight_map)
{
    const char *tensor;
    json_t     *file;
    json_object_foreach(weight_map, tensor, file) {
        const cot_stored_tensor *found = cot_safetensors_find(set, tensor);
        const char *name = json_string_value(file);
        const char *path = found ? cot_safetensors_file(set, found) : "", *slash = strrchr(path, '/');
        if (strcmp(slash ? slash + 1 : path, name) != 0)
            return cot_fail(COT_FORMAT, "'%s': tensor '%s' is said to be in '%s', but is not there", index, tensor,
                            name);
    }
    return COT_OK;
}

static cot_status open_indexed(const char *folder, const char *index, json_t *root, cot_safetensors **out)
{
    json_t *weight_map = json_object_get(root, "weight_map");
    if (json_object_size(weight_map) == 0)
        return cot_fail(COT_FORMAT, "'%s': expected a map 'weight_map' with tensors", index);
    const char **names = cot_malloc(json_object_size(weight_map) * sizeof *names);
    if (!names) return no_memory(index);
    size_t           count = 0;
    cot_safetensors *set = NULL;
    cot_status       status = list_shards(index, weight_map, names, &count);
    if (status == COT_OK) status = set_create(count, index, &set);
    if (status == COT_OK) status = deliver(set, add_shards(set, folder, names, count), out);
    cot_free(names);
    if (status == COT_OK) status = check_index(*out, index, weight_map);
    if (status != COT_OK) {
        cot_safetensors_close(*out);
        *out = NULL;
    }
    return status;
}

cot_status cot_safetensors_open_folder(const char *folder, cot_safetensors **out)
{
    *out = NULL;
    char *index = cot_path_join(folder, "model.safetensors.index.json"),
         *single = cot_path_join(folder, "model.safetensors");
    json_t *root = NULL;
    cot_status status;
    if (!index || !single) status = no_memory(folder);
    else if (!cot_file_exists(index)) status = cot_safetensors_open(single, out);
    else {
        status = cot_json_read(index, INDEX_LIMIT, &root);
        if (status == COT_OK) status = open_indexed(folder, index, root, out);
    }
    json_decref(root);
    cot_free(index);
    cot_free(single);
    return status;
}

/* ---- what is in it ---- */

size_t                   cot_safetensors_count(const cot_safetensors *set) { return set->list.count; }
const cot_stored_tensor *cot_safetensors_at(const cot_safetensors *set, size_t index)
{
    return &set->list.items[index];
}

const cot_stored_tensor *cot_safetensors_find(const cot_safetensors *set, const char *name)
{
    const cot_stored_tensor key = {.name = name};
    return set->list.count ? bsearch(&key, set->list.items, set->list.count, sizeof key, by_name) : NULL;
}

const char *cot_safetensors_file(const cot_safetensors *set, const cot_stored_tensor *tensor)
{
    return set->files[tensor->file].name;
}

/* Our own type of a stored one, or -1. */
static int our_type(cot_stored dtype)
{
    static const int ours[] = {
#define X(id, size, type) [COT_STORED_##id] = type,
        COT_STORED_LIST(X)
#undef X
    };
    return ours[dtype];
}

bool cot_stored_readable(cot_stored dtype, cot_dtype to)
{
    return our_type(dtype) >= 0 && cot_convertible(to, (cot_dtype)our_type(dtype));
}

const void *cot_safetensors_view(const cot_stored_tensor *tensor, cot_dtype as)
{
    const bool fits = our_type(tensor->dtype) == (int)as && (uintptr_t)tensor->data % cot_dtype_size(as) == 0;
    return fits ? tensor->data : NULL;
}

cot_status cot_safetensors_read(const cot_safetensors *set, const cot_stored_tensor *tensor, cot_dtype to, void *out)
{
    if (!cot_stored_readable(tensor->dtype, to))
        return cot_fail(COT_FORMAT, "'%s': tensor '%s' is stored as %s, which cannot be read as %s",
                        cot_safetensors_file(set, tensor), tensor->name, cot_stored_name(tensor->dtype),
                        cot_dtype_name(to));
    const cot_dtype from = (cot_dtype)our_type(tensor->dtype);
    const size_t from_size = cot_stored_size(tensor->dtype), to_size = cot_dtype_size(to);
    const int64_t pieces = (tensor->count + PIECE - 1) / PIECE;
#pragma omp parallel for num_threads(cot_threads()) if (pieces > 1)
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t first = p * PIECE, left = tensor->count - first;
        cot_convert((unsigned char *)out + (size_t)first * to_size, to, tensor->data + (size_t)first * from_size, from,
                    (size_t)(left < PIECE ? left : PIECE));
    }
    return COT_OK;
}
