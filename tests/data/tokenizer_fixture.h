/* What the tokenizer's tests share: training on texts in memory, and the peer's answers. */
#ifndef COT_TESTS_DATA_TOKENIZER_FIXTURE_H
#define COT_TESTS_DATA_TOKENIZER_FIXTURE_H

#include <coterie/tokenizer.h>
#include <string.h>

#include "formats/json.h"

typedef struct {
    const char *const *texts;  /* NULL ends them */
    size_t             at;
} text_list;

static inline cot_status next_text(void *context, const char **text, size_t *length)
{
    text_list *list = context;
    *text = list->texts[list->at];
    *length = *text ? strlen(*text) : 0;
    if (*text) list->at++;
    return COT_OK;
}

/* Trained on one text with "<|endoftext|>" as its special token. */
static inline cot_status try_train(const char *text, int32_t vocab_size, cot_tokenizer **out)
{
    const char *const           texts[] = {text, NULL};
    text_list                   list = {texts, 0};
    const cot_tokenizer_options options = {.vocab_size = vocab_size};
    return cot_tokenizer_train(&options, next_text, &list, out);
}

/* The same, NULL on failure. */
static inline cot_tokenizer *train_on(const char *text, int32_t vocab_size)
{
    cot_tokenizer *tokenizer;
    return try_train(text, vocab_size, &tokenizer) == COT_OK ? tokenizer : NULL;
}

/* tests/data/tokenizer/peer.json: answers of other libraries; see tests/peers/tokenizer_oracle.py. */
static inline json_t *read_peer(void)
{
    json_t *peer;
    return cot_json_read(COT_TEST_DATA "/tokenizer/peer.json", 1 << 20, &peer) == COT_OK ? peer : NULL;
}

static inline const char *peer_corpus(const json_t *peer) { return json_string_value(json_object_get(peer, "corpus")); }

#endif
