/* Small corpora on disk and a tokenizer whose tokens are bytes. Include it with _GNU_SOURCE defined. */
#ifndef COT_TESTS_DATA_CORPUS_FIXTURE_H
#define COT_TESTS_DATA_CORPUS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <coterie/data.h>
#include <zlib.h>
#ifdef COT_HAVE_ZSTD
#include <zstd.h>
#endif

#include "formats/scratch.h"

#define CHECK_OK(call)                                                      \
    do {                                                                    \
        if ((call) != COT_OK) fail_msg("%s: %s", #call, cot_last_error());  \
    } while (0)

#define CHECK_FAILS(call, status, text)                                                              \
    do {                                                                                             \
        assert_int_equal(call, status);                                                              \
        if (!strstr(cot_last_error(), text)) fail_msg("'%s' lacks '%s'", cot_last_error(), text);    \
    } while (0)

static inline void put_text(scratch *s, const char *name, const char *text)
{
    scratch_put(s, name, text, strlen(text));
}

static inline void make_folder(scratch *s, const char *name)
{
    if (mkdir(scratch_path(s, name), 0700) != 0) abort();
}

static inline void put_gz(scratch *s, const char *name, const char *text, size_t bytes)
{
    gzFile file = gzopen(scratch_path(s, name), "wb");
    if (!file || (bytes && gzwrite(file, text, (unsigned)bytes) != (int)bytes) || gzclose(file) != Z_OK) abort();
}

#ifdef COT_HAVE_ZSTD
static inline void put_zst(scratch *s, const char *name, const char *text, size_t bytes)
{
    const size_t room = ZSTD_compressBound(bytes);
    void        *packed = malloc(room);
    const size_t size = ZSTD_compress(packed, room, text, bytes, 3);
    if (ZSTD_isError(size)) abort();
    scratch_put(s, name, packed, size);
    free(packed);
}
#endif

/* A `data:` block whose path is FOLDER/NAME, whose cache is FOLDER/cache, and which says `more` besides. */
static inline cot_config *data_config(scratch *s, const char *name, const char *more)
{
    char        text[2048];
    cot_config *config;
    snprintf(text, sizeof text, "path: '%s/%s'\ncache_dir: '%s/cache'\n%s\n", s->folder, name, s->folder, more);
    CHECK_OK(cot_config_parse(text, "data.yaml", &config));
    return config;
}

/* The end of text is id 0. */
static inline cot_tokenizer *byte_tokenizer(void)
{
    const cot_tokenizer_options options = {.vocab_size = 257};
    cot_tokenizer              *tokenizer;
    CHECK_OK(cot_tokenizer_train(&options, NULL, NULL, &tokenizer));
    assert_int_equal(cot_tokenizer_end_of_text(tokenizer), 0);
    return tokenizer;
}

static inline int32_t id_of(const cot_tokenizer *tokenizer, char byte)
{
    return cot_tokenizer_find(tokenizer, &byte, 1);
}

/* All of a split's text, one piece after the other; documents end in a '|'. The caller frees it. */
static inline char *all_text(const cot_config *config, cot_split split)
{
    cot_texts *texts;
    CHECK_OK(cot_texts_open(config, split, &texts));
    size_t length = 0;
    char  *all = calloc(1, 1);
    for (;;) {
        cot_text piece;
        CHECK_OK(cot_texts_next(texts, &piece));
        if (piece.source < 0) break;
        all = realloc(all, length + piece.length + 2);
        memcpy(all + length, piece.text, piece.length);
        length += piece.length;
        if (piece.ends) all[length++] = '|';
        all[length] = '\0';
    }
    cot_texts_close(texts);
    return all;
}

static inline void check_text(const cot_config *config, cot_split split, const char *want)
{
    char *got = all_text(config, split);
    assert_string_equal(got, want);
    free(got);
}

/* Reads a split to its end or first failure. */
static inline cot_status read_all(const cot_config *config, cot_split split)
{
    cot_texts *texts;
    cot_status status = cot_texts_open(config, split, &texts);
    cot_text   piece = {.source = 0};
    while (status == COT_OK && piece.source >= 0) status = cot_texts_next(texts, &piece);
    cot_texts_close(texts);
    return status;
}

#endif
