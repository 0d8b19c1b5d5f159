/* A tokenised corpus on disk: written once, mapped into memory ever after.
 *
 * The file, in the machine's byte order:
 *   cache_header
 *   ids of the training split, then of the validation split, u16 or u32; each document followed by the end-of-text id
 *   cot_document of the training split, then of the validation split
 *   cot_file_stamp of each source file
 * Sections start at multiples of 8 bytes. All counts stand in the header, the header and the rest each have a hash. */
#ifndef COT_DATA_TOKEN_CACHE_H
#define COT_DATA_TOKEN_CACHE_H

#include <coterie/data.h>

#include "data/source_files.h"

typedef struct {
    uint64_t start;   /* index of its first id in the split */
    uint64_t tokens;  /* without the end-of-text token */
    uint64_t bytes, words;
    uint64_t source;
} cot_document;

typedef struct {
    uint64_t bytes;
    int64_t  mtime_ns;
    uint64_t hash;  /* of its content */
} cot_file_stamp;

typedef struct {
    const void         *ids[COT_SPLITS];  /* uint16_t or uint32_t */
    uint32_t            id_bytes;
    uint64_t            id_count[COT_SPLITS];
    const cot_document *documents[COT_SPLITS];
    uint64_t            document_count[COT_SPLITS];
    uint64_t            hash;  /* of everything but the header */
    void               *mapping;
    size_t              mapped;
} cot_token_cache;

/* What a cache must have been made from. */
typedef struct {
    const cot_source_files *files;
    const cot_data_options *options;
    const cot_tokenizer    *tokenizer;
    uint64_t                name;      /* hash of paths, options and tokenizer: one cache file for each */
    uint64_t                identity;  /* the same and the list of files */
} cot_cache_key;

/* Without a tokenizer: the key of the text alone. */
void cot_cache_key_set(cot_cache_key *key, const cot_source_files *files, const cot_data_options *options,
                       const cot_tokenizer *tokenizer);

/* Where the cache of a key lies. */
cot_status cot_cache_path(const cot_cache_key *key, char **out);

/* Maps a cache. *usable is false, and nothing mapped, when there is none, or it is damaged, or its sources have
 * changed. */
cot_status cot_token_cache_open(const char *path, const cot_cache_key *key, cot_token_cache *out, bool *usable);
void       cot_token_cache_close(cot_token_cache *cache);

/* Tokenises the corpus into a new cache. */
cot_status cot_token_cache_write(const char *path, const cot_cache_key *key, cot_data_progress progress, void *context);

/* The hash of a file's content. */
cot_status cot_file_hash(const char *path, uint64_t *out);

/* The layout, for the reader and the writer. */
#define COT_CACHE_MAGIC 0x31304b4f54544f43u  /* "COTTOK01" in little-endian order */

typedef struct {
    uint64_t magic;
    uint64_t header_hash;  /* of this header with a zero here */
    uint64_t body_hash;
    uint64_t identity;
    int64_t  written_ns;
    uint64_t id_bytes;     /* 2 or 4 */
    uint64_t vocabulary;
    uint64_t separated;    /* 1: an end-of-text id follows each document */
    uint64_t id_count[COT_SPLITS];
    uint64_t document_count[COT_SPLITS];
    uint64_t file_count;
} cot_cache_header;

static inline uint64_t cot_cache_padded(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

uint64_t cot_cache_header_hash(const cot_cache_header *header);

#endif
