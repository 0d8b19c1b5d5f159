#define _POSIX_C_SOURCE 200809L
#include "data/token_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/hash.h"

/* ---- keys and names ---- */

static void add_text(cot_hash *hash, const char *text)
{
    if (text) cot_hash_add(hash, text, strlen(text) + 1);
    else cot_hash_add(hash, "\0", 2);
}

void cot_cache_key_set(cot_cache_key *key, const cot_source_files *files, const cot_data_options *options,
                       const cot_tokenizer *tokenizer)
{
    const uint64_t fingerprint = tokenizer ? cot_tokenizer_fingerprint(tokenizer) : 0;
    const int32_t  rule[2] = {options->invalid, tokenizer ? cot_tokenizer_end_of_text(tokenizer) : -1};
    cot_hash       hash;
    cot_hash_start(&hash);
    cot_hash_add(&hash, &fingerprint, sizeof fingerprint);
    cot_hash_add(&hash, rule, sizeof rule);
    cot_hash_add(&hash, &options->validation_fraction, sizeof options->validation_fraction);
    add_text(&hash, options->text_field);
    add_text(&hash, files->roots[0]);
    add_text(&hash, files->roots[1]);
    *key = (cot_cache_key){.files = files, .options = options, .tokenizer = tokenizer, .name = cot_hash_end(&hash)};
    for (size_t i = 0; i < files->count; i++) {
        add_text(&hash, files->files[i].name);
        add_text(&hash, files->files[i].path);
    }
    key->identity = cot_hash_end(&hash);
}

static cot_status cache_folder(const cot_data_options *options, char *out, size_t bytes)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int         n;
    if (options->cache_dir) n = snprintf(out, bytes, "%s", options->cache_dir);
    else if (xdg && xdg[0] == '/') n = snprintf(out, bytes, "%s/coterie", xdg);
    else if (home && home[0]) n = snprintf(out, bytes, "%s/.cache/coterie", home);
    else return cot_fail(COT_IO, "no place for the cache: neither HOME nor XDG_CACHE_HOME is set; set data.cache_dir");
    if (n < 0 || (size_t)n >= bytes)
        return cot_fail(COT_IO, "the path of the cache folder is longer than %zu bytes", bytes);
    return COT_OK;
}

/* A file name that tells people what the cache is of: the corpus's own name as far as it is harmless. */
static void write_stem(const char *root, char out[41])
{
    const char *slash = strrchr(root, '/');
    size_t      n = 0;
    for (const char *c = slash ? slash + 1 : root; *c && n < 40; c++) {
        const bool harmless =
            (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("-_.", *c);
        out[n++] = *c;
        if (!harmless) out[n - 1] = '_';
    }
    out[n] = '\0';
}

cot_status cot_cache_path(const cot_cache_key *key, char **out)
{
    char folder[3800], path[4000], stem[41];
    COT_TRY(cache_folder(key->options, folder, sizeof folder));
    write_stem(key->files->roots[0] ? key->files->roots[0] : key->files->roots[1], stem);
    snprintf(path, sizeof path, "%s/%s-%016" PRIx64 ".tokens", folder, stem, key->name);
    *out = cot_strdup(path);
    return *out ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "no memory for the path of the cache");
}

cot_status cot_file_hash(const char *path, uint64_t *out)
{
    static const size_t BYTES = 1 << 18;
    FILE               *file = fopen(path, "rb");
    if (!file) return cot_fail(COT_IO, "%s: cannot open: %s", path, strerror(errno));
    char      *buffer = cot_malloc(BYTES);
    cot_status status = buffer ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to read it", path);
    cot_hash   hash;
    cot_hash_start(&hash);
    for (size_t got = BYTES; status == COT_OK && got == BYTES;) {
        got = fread(buffer, 1, BYTES, file);
        cot_hash_add(&hash, buffer, got);
        if (ferror(file)) status = cot_fail(COT_IO, "%s: cannot read: %s", path, strerror(errno));
    }
    *out = cot_hash_end(&hash);
    cot_free(buffer);
    fclose(file);
    return status;
}

uint64_t cot_cache_header_hash(const cot_cache_header *header)
{
    cot_cache_header copy = *header;
    copy.header_hash = 0;
    return cot_hash_bytes(&copy, sizeof copy);
}

/* ---- opening ---- */

static bool map_file(const char *path, cot_token_cache *cache)
{
    const int   fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0) return false;
    void *mapping = MAP_FAILED;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size >= (off_t)sizeof(cot_cache_header)) {
        cache->mapped = (size_t)info.st_size;
        mapping = mmap(NULL, cache->mapped, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    close(fd);
    cache->mapping = mapping == MAP_FAILED ? NULL : mapping;
    return cache->mapping != NULL;
}

void cot_token_cache_close(cot_token_cache *cache)
{
    if (cache->mapping) munmap(cache->mapping, cache->mapped);
    *cache = (cot_token_cache){.mapping = NULL};
}

static bool header_fits(const cot_cache_header *header, const cot_cache_key *key)
{
    const uint64_t limit = (uint64_t)1 << 40;  /* so that no sum below overflows */
    bool           ok = header->magic == COT_CACHE_MAGIC && header->header_hash == cot_cache_header_hash(header);
    ok = ok && header->identity == key->identity && header->file_count == key->files->count;
    ok = ok && header->vocabulary == (uint64_t)cot_tokenizer_vocab_size(key->tokenizer);
    ok = ok && header->id_bytes == (header->vocabulary > UINT16_MAX + 1 ? 4 : 2) && header->separated <= 1;
    for (int s = 0; s < COT_SPLITS; s++) ok = ok && header->id_count[s] < limit && header->document_count[s] < limit;
    return ok;
}

/* Sets the views into the mapping; *stamps to its last section. False when the size is not what the header says. */
static bool lay_out(const cot_cache_header *header, cot_token_cache *cache, const cot_file_stamp **stamps)
{
    const char *base = cache->mapping;
    uint64_t    at = sizeof *header, offset[2 * COT_SPLITS + 1];
    for (int s = 0; s < COT_SPLITS; s++) {
        offset[s] = at;
        at += cot_cache_padded(header->id_count[s] * header->id_bytes);
    }
    for (int s = 0; s < COT_SPLITS; s++) {
        offset[COT_SPLITS + s] = at;
        at += header->document_count[s] * sizeof(cot_document);
    }
    offset[2 * COT_SPLITS] = at;
    if (at + header->file_count * sizeof **stamps != cache->mapped) return false;
    for (int s = 0; s < COT_SPLITS; s++) {
        cache->ids[s] = base + offset[s];
        cache->id_count[s] = header->id_count[s];
        cache->documents[s] = (const cot_document *)(base + offset[COT_SPLITS + s]);
        cache->document_count[s] = header->document_count[s];
    }
    cache->id_bytes = (uint32_t)header->id_bytes;
    cache->hash = header->body_hash;
    *stamps = (const cot_file_stamp *)(base + offset[2 * COT_SPLITS]);
    return true;
}

static bool documents_fit(const cot_token_cache *cache, cot_split split, uint64_t separated, uint64_t sources)
{
    uint64_t end = 0;
    for (uint64_t i = 0; i < cache->document_count[split]; i++) {
        const cot_document *document = &cache->documents[split][i];
        if (document->start != end || document->tokens > cache->id_count[split] - end || document->source >= sources)
            return false;
        end += document->tokens + separated;
        if (end > cache->id_count[split]) return false;
    }
    return end == cache->id_count[split];
}

static bool ids_below(const cot_token_cache *cache, cot_split split, uint64_t vocabulary)
{
    const uint16_t *narrow = cache->ids[split];
    const uint32_t *wide = cache->ids[split];
    uint32_t        highest = 0;
    for (uint64_t i = 0; i < cache->id_count[split]; i++) {
        const uint32_t id = cache->id_bytes == 2 ? narrow[i] : wide[i];
        highest = id > highest ? id : highest;
    }
    return cache->id_count[split] == 0 || highest < vocabulary;
}

static bool body_whole(const cot_cache_header *header, const cot_token_cache *cache, const cot_cache_key *key)
{
    const char *body = (const char *)cache->mapping + sizeof *header;
    if (cot_hash_bytes(body, cache->mapped - sizeof *header) != header->body_hash) return false;
    bool ok = true;
    for (int s = 0; s < COT_SPLITS; s++)
        ok = ok && documents_fit(cache, s, header->separated, (uint64_t)key->files->sources) &&
             ids_below(cache, s, header->vocabulary);
    return ok;
}

/* Are the sources what they were? A time stamp that differs, or that is so young that a later change of the file might
 * not show in it, leaves it to the content. */
static cot_status sources_same(const cot_cache_header *header, const cot_file_stamp *stamps,
                               const cot_source_files *files, bool *same)
{
    const int64_t settled_ns = 2000000000;
    *same = true;
    for (size_t i = 0; *same && i < files->count; i++) {
        const cot_source_file *file = &files->files[i];
        *same = file->bytes == stamps[i].bytes;
        if (!*same || (file->mtime_ns == stamps[i].mtime_ns && file->mtime_ns < header->written_ns - settled_ns))
            continue;
        uint64_t hash;
        COT_TRY(cot_file_hash(file->path, &hash));
        *same = hash == stamps[i].hash;
    }
    return COT_OK;
}

cot_status cot_token_cache_open(const char *path, const cot_cache_key *key, cot_token_cache *out, bool *usable)
{
    *out = (cot_token_cache){.mapping = NULL};
    *usable = false;
    if (!map_file(path, out)) return COT_OK;
    const cot_cache_header *header = out->mapping;
    const cot_file_stamp   *stamps;
    cot_status              status = COT_OK;
    if (header_fits(header, key) && lay_out(header, out, &stamps)) {
        status = sources_same(header, stamps, key->files, usable);
        *usable = status == COT_OK && *usable && body_whole(header, out, key);
    }
    if (!*usable) cot_token_cache_close(out);
    return status;
}
