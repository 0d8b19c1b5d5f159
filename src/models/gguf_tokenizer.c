/* A tokenizer's part of a GGUF file: byte-level BPE is its model "gpt2", with keys in GPT-2's byte alphabet as ours. */
#include "models/gguf_export.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "data/tokenizers/vocabulary.h"

/* What a token is to llama.cpp. Control tokens are not found in plain text, user-defined ones are. */
enum { NORMAL = 1, CONTROL = 3, USER_DEFINED = 4, UNUSED = 5 };

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

static cot_status put_kinds(cot_gguf *file, const cot_tokenizer *t, int64_t vocab_size)
{
    const int32_t known = cot_tokenizer_vocab_size(t);
    int32_t      *kinds = cot_malloc((size_t)vocab_size * sizeof *kinds);
    if (!kinds) return cot_fail(COT_OUT_OF_MEMORY, "no memory for the kinds of %lld tokens", (long long)vocab_size);
    for (int64_t id = 0; id < vocab_size; id++) {
        const int flags = id < known ? t->flags[id] : 0;
        kinds[id] = id >= known                 ? UNUSED
                    : flags & COT_TOKEN_SPECIAL ? CONTROL
                    : flags & COT_TOKEN_ADDED   ? USER_DEFINED
                                                : NORMAL;
    }
    cot_gguf_i32s(file, "tokenizer.ggml.token_type", kinds, (size_t)vocab_size);
    cot_free(kinds);
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

cot_status cot_gguf_tokenizer(cot_gguf *file, const cot_tokenizer *tokenizer, int64_t vocab_size)
{
    const int32_t end = cot_tokenizer_end_of_text(tokenizer);
    if (end < 0) /* there is no way to say "none" */
        return cot_fail(COT_INVALID,
                        "the tokenizer has no end-of-text token, and llama.cpp would take token 11 for it");
    if (!is_gpt2(tokenizer))
        return cot_fail(COT_INVALID, "the tokenizer is not byte-level BPE with GPT-2's pattern, the kind that GGUF is written with");
    cot_gguf_text(file, "tokenizer.ggml.model", "gpt2");
    cot_gguf_text(file, "tokenizer.ggml.pre", "gpt-2");
    put_tokens(file, tokenizer, vocab_size);
    COT_TRY(put_kinds(file, tokenizer, vocab_size));
    COT_TRY(put_merges(file, tokenizer));
    cot_gguf_u32(file, "tokenizer.ggml.bos_token_id", (uint32_t)end);
    cot_gguf_u32(file, "tokenizer.ggml.eos_token_id", (uint32_t)end);
    cot_gguf_bool(file, "tokenizer.ggml.add_bos_token", false);
    cot_gguf_bool(file, "tokenizer.ggml.add_eos_token", false);
    return COT_OK;
}
