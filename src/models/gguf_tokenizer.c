/* A tokenizer's part of a GGUF file: byte-level BPE is its model "gpt2", with keys in GPT-2's byte alphabet as ours;
 * BPE over characters with byte fallback, as Llama's and Mixtral's, is its model "llama", with a score for each
 * token. */
#include "models/gguf_export.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/vocabulary.h"

/* What a token is to llama.cpp. Control tokens are not found in plain text, user-defined ones are. */
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5, BYTE = 6 };

static void put_tokens(cot_gguf *file, const cot_tokenizer *t, int64_t vocab_size)
{
    const int32_t known = cot_tokenizer_vocab_size(t);
    size_t        length;
    cot_gguf_texts(file, "tokenizer.ggml.tokens", (size_t)vocab_size);
    for (int32_t id = 0; id < known; id++) {
        const char *key = cot_byte_table_at(&t->keys, (uint32_t)id, &length);
        cot_gguf_item(file, key, length);
    }
    for (int64_t id = known; id < vocab_size;
         id++) { /* a text that no token has: the space is not in the byte alphabet */
        char text[32];
        snprintf(text, sizeof text, "[unused %lld]", (long long)id);
        cot_gguf_item(file, text, strlen(text));
    }
}

static bool is_byte(const cot_tokenizer *t, int32_t id)
{
    size_t      length;
    const char *key = cot_tokenizer_key(t, id, &length);
    return t->byte_fallback && cot_fallback_byte(key, length) >= 0;
}

static int32_t kind_of(const cot_tokenizer *t, int64_t id)
{
    if (id >= cot_tokenizer_vocab_size(t)) return UNUSED;
    const uint8_t flags = t->flags[id];
    if (id == t->unknown) return UNKNOWN;
    if (flags & COT_TOKEN_SPECIAL) return CONTROL;
    if (flags & COT_TOKEN_ADDED) return USER_DEFINED;
    return is_byte(t, (int32_t)id) ? BYTE : NORMAL;
}

static cot_status put_kinds(cot_gguf *file, const cot_tokenizer *t, int64_t vocab_size)
{
    int32_t *kinds = cot_malloc((size_t)vocab_size * sizeof *kinds);
    if (!kinds) return cot_fail(COT_OUT_OF_MEMORY, "no memory for the kinds of %lld tokens", (long long)vocab_size);
    for (int64_t id = 0; id < vocab_size; id++) kinds[id] = kind_of(t, id);
    cot_gguf_i32s(file, "tokenizer.ggml.token_type", kinds, (size_t)vocab_size);
    cot_free(kinds);
    return COT_OK;
}

/* Of two pairs llama.cpp merges the one whose token has the higher score: the merge that comes first here. */
static cot_status put_scores(cot_gguf *file, const cot_tokenizer *t, int64_t vocab_size)
{
    float *scores = cot_malloc((size_t)vocab_size * sizeof *scores);
    if (!scores) return cot_fail(COT_OUT_OF_MEMORY, "no memory for the scores of %lld tokens", (long long)vocab_size);
    for (int64_t id = 0; id < vocab_size; id++) scores[id] = -(float)t->merge_count;
    for (int32_t i = t->merge_count; i-- > 0;) scores[t->merges[i].id] = -(float)t->merges[i].rank;
    cot_gguf_f32s(file, "tokenizer.ggml.scores", scores, (size_t)vocab_size);
    cot_free(scores);
    return COT_OK;
}

/* "left right". */
static cot_status put_merges(cot_gguf *file, const cot_tokenizer *t)
{
    size_t longest = 0, left_length, right_length;
    for (uint32_t id = 0; id < t->keys.count; id++) {
        cot_byte_table_at(&t->keys, id, &left_length);
        if (left_length > longest) longest = left_length;
    }
    char *text = cot_malloc(2 * longest + 1);
    if (!text) return cot_fail(COT_OUT_OF_MEMORY, "no memory for merges of %zu bytes", longest);
    cot_gguf_texts(file, "tokenizer.ggml.merges", (size_t)t->merge_count);
    for (int32_t rank = 0; rank < t->merge_count; rank++) {
        const char *left = cot_byte_table_at(&t->keys, (uint32_t)t->merges[rank].left, &left_length);
        const char *right = cot_byte_table_at(&t->keys, (uint32_t)t->merges[rank].right, &right_length);
        memcpy(text, left, left_length);
        text[left_length] = ' ';
        memcpy(text + left_length + 1, right, right_length);
        cot_gguf_item(file, text, left_length + 1 + right_length);
    }
    cot_free(text);
    return COT_OK;
}

static bool is_gpt2(const cot_tokenizer *t)
{
    const cot_splitter *s = &t->splitter;
    return s->byte_level && s->count == 1 && s->steps[0].kind == COT_SPLIT_GPT2;
}

/* Does the normalizer nothing but write U+2581 for spaces, and perhaps put one before the text? */
static bool escapes_spaces(const cot_normalizer *n, bool *prefix)
{
    const cot_normalizer_step *last = n->count ? &n->steps[n->count - 1] : NULL;
    *prefix = false;
    if (!last) return false;
    if (last->kind == COT_NORMALIZE_SENTENCEPIECE) {
        *prefix = last->prefix;
        return n->count == 1 && last->escape && !last->trim && !last->suffix && !last->charsmap.unit_count;
    }
    *prefix = n->count == 2 && n->steps[0].kind == COT_NORMALIZE_PREPEND;
    return last->kind == COT_NORMALIZE_REPLACE && last->find && !strcmp(last->find, " ") &&
           n->count == 1 + (size_t)*prefix;
}

static cot_status put_gpt2(cot_gguf *file, const cot_tokenizer *t, int64_t vocab_size)
{
    cot_gguf_text(file, "tokenizer.ggml.model", "gpt2");
    cot_gguf_text(file, "tokenizer.ggml.pre", "gpt-2");
    put_tokens(file, t, vocab_size);
    COT_TRY(put_kinds(file, t, vocab_size));
    return put_merges(file, t);
}

static cot_status put_llama(cot_gguf *file, const cot_tokenizer *t, int64_t vocab_size, bool prefix)
{
    cot_gguf_text(file, "tokenizer.ggml.model", "llama");
    cot_gguf_text(file, "tokenizer.ggml.pre", "default");
    put_tokens(file, t, vocab_size);
    COT_TRY(put_scores(file, t, vocab_size));
    COT_TRY(put_kinds(file, t, vocab_size));
    if (t->unknown >= 0) cot_gguf_u32(file, "tokenizer.ggml.unknown_token_id", (uint32_t)t->unknown);
    cot_gguf_bool(file, "tokenizer.ggml.add_space_prefix", prefix);
    return COT_OK;
}

cot_status cot_gguf_tokenizer(cot_gguf *file, const cot_tokenizer *t, int64_t vocab_size)
{
    const int32_t end = cot_tokenizer_end_of_text(t), start = cot_tokenizer_start_of_text(t);
    bool          prefix;
    if (end < 0) /* there is no way to say "none" */
        return cot_fail(COT_INVALID,
                        "the tokenizer has no end-of-text token, and llama.cpp would take token 11 for it");
    if (is_gpt2(t)) COT_TRY(put_gpt2(file, t, vocab_size));
    else if (t->kind == COT_MODEL_BPE && t->byte_fallback && !t->splitter.count &&
             escapes_spaces(&t->normalizer, &prefix))
        COT_TRY(put_llama(file, t, vocab_size, prefix));
    else
        return cot_fail(COT_INVALID,
                        "the tokenizer is neither byte-level BPE with GPT-2's pattern nor BPE with byte fallback as "
                        "Llama's, the kinds that GGUF is written with");
    cot_gguf_u32(file, "tokenizer.ggml.bos_token_id", (uint32_t)(start >= 0 ? start : end));
    cot_gguf_u32(file, "tokenizer.ggml.eos_token_id", (uint32_t)end);
    cot_gguf_bool(file, "tokenizer.ggml.add_bos_token", start >= 0);
    cot_gguf_bool(file, "tokenizer.ggml.add_eos_token", false);
    return COT_OK;
}
