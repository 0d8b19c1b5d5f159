/* Tokenizers: text to token ids and back. Byte-level BPE is trained here; BPE and unigram tokenizers of other libraries
 * are read from a Hugging Face `tokenizer.json` or a SentencePiece model, with the same ids as these libraries give.
 *
 * With byte-level BPE that normalizes nothing, as trained here, any bytes can be encoded, and decode(encode(x)) == x:
 * each byte that is not valid UTF-8 counts as a character of its own. Other tokenizers may change a text before they
 * cut it (white space, normal forms) or lack tokens for some characters; bytes that are not valid UTF-8 are encoded as
 * they are where the vocabulary has tokens for single bytes. */
#ifndef COTERIE_TOKENIZER_H
#define COTERIE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cot_tokenizer cot_tokenizer;
typedef struct cot_tokenizer_encoder cot_tokenizer_encoder;

/**
 * Gives the next piece of text to train on: sets *text and *length, or *text to NULL at the end.
 *
 * A piece is a text of its own (a document): no token crosses from one to the next. It must stay valid until the next
 * call. A status other than COT_OK ends the training with it.
 */
typedef cot_status (*cot_text_reader)(void *context, const char **text, size_t *length);

typedef struct {
    int32_t            vocab_size;      /* all ids: special tokens, 256 bytes, merges */
    int64_t            min_frequency;   /* a pair seen less often is not merged; 0 = 2 */
    const char *const *special_tokens;  /* UTF-8, the end of text first; NULL = "<|endoftext|>" alone */
    size_t             special_count;   /* counts only where special_tokens is given */
} cot_tokenizer_options;

enum { COT_VOCAB_SIZE_MAX = 1 << 20 };

/**
 * Trains byte-level BPE: starts from bytes and merges, again and again, the most frequent pair of neighbours inside the
 * pre-tokens. A tie goes to the pair with the lower left id, then the lower right id.
 *
 * Ids: special tokens in the order given, the 256 bytes in the order of GPT-2's byte alphabet ('!' first), then
 * merges in the order found. The text of a special token is nothing special while training. Where no pair is left
 * that is frequent enough, the vocabulary stays smaller than asked for: see cot_tokenizer_vocab_size().
 *
 *   options   borrowed
 *   next      called until its text is NULL; not called at all (may be NULL) when vocab_size leaves no room for merges,
 *             which gives a plain byte tokenizer
 *
 * Errors   COT_INVALID for a vocab_size below 256 + special_count or above COT_VOCAB_SIZE_MAX, a special token that is
 *          empty, repeated, a byte symbol or not UTF-8, or text without a byte in it; what `next` returned.
 * Threads  safe, no shared state; runs on the calling thread.
 * Source   [sennrich2016neural], over bytes as in [radford2019language].
 */
COT_API cot_status cot_tokenizer_train(const cot_tokenizer_options *options, cot_text_reader next, void *context,
                                       cot_tokenizer **out);

/**
 * Reads a `tokenizer.json` or a SentencePiece `.model`, or what of these a folder holds (`tokenizer.json` first, then
 * `tokenizer.model`; `tokenizer_config.json` beside it says which token ends a text).
 *
 * Of tokenizer.json: models BPE and Unigram; normalizers NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, Prepend,
 * Replace, Precompiled; pre-tokenizers ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace, WhitespaceSplit;
 * decoders ByteLevel, Metaspace, Replace, ByteFallback, Fuse, Strip; sequences of these. Of SentencePiece: BPE and
 * unigram. Whatever else would change ids is refused. Truncation and padding are left to the caller.
 *
 * Errors   COT_IO when it cannot be read; COT_FORMAT with the file, what was found and what was expected.
 */
COT_API cot_status cot_tokenizer_load(const char *path, cot_tokenizer **out);

/**
 * Writes `tokenizer.json` and `tokenizer_config.json` (for Hugging Face's AutoTokenizer) into an existing folder. Each
 * appears whole or not at all.
 *
 *   model_max_length   tokens that the model takes at once; 0 = leave it out
 *
 * Errors   COT_INVALID for a negative model_max_length; COT_IO.
 */
COT_API cot_status cot_tokenizer_save(const cot_tokenizer *tokenizer, const char *folder, int64_t model_max_length);

COT_API void cot_tokenizer_destroy(cot_tokenizer *tokenizer);  /**< Accepts NULL. */

COT_API int32_t  cot_tokenizer_vocab_size(const cot_tokenizer *tokenizer);
COT_API uint64_t cot_tokenizer_fingerprint(const cot_tokenizer *tokenizer);  /**< Hash of all that decides about ids. */

/**
 * The bytes of a token, e.g. " the"; part of a character where a token is one.
 *
 * Returns  a text that lives as long as the tokenizer, a NUL behind its *length bytes; NULL when the id is out of
 * range.
 */
COT_API const char *cot_tokenizer_token(const cot_tokenizer *tokenizer, int32_t id, size_t *length);

/**
 * The same for the first token of a text, which some tokenizers write with a space that the text does not begin with:
 * a text is cot_tokenizer_first_token() of its first token and cot_tokenizer_token() of the others.
 */
COT_API const char *cot_tokenizer_first_token(const cot_tokenizer *tokenizer, int32_t id, size_t *length);

/** The token that stands for exactly these bytes, special ones left aside; -1 when there is none. */
COT_API int32_t cot_tokenizer_find(const cot_tokenizer *tokenizer, const char *bytes, size_t length);

COT_API int32_t cot_tokenizer_special(const cot_tokenizer *tokenizer, const char *text);  /**< Its id; -1 when none. */
COT_API bool    cot_tokenizer_is_special(const cot_tokenizer *tokenizer, int32_t id);

/** The id that a text begins with for the model, e.g. that of "<s>"; -1 when texts begin with themselves. */
COT_API int32_t cot_tokenizer_start_of_text(const cot_tokenizer *tokenizer);

/**
 * The id that ends a text: what the tokenizer's files say, else "<|endoftext|>", "</s>" and the like where there is
 * one, else the lowest special id, else -1.
 */
COT_API int32_t cot_tokenizer_end_of_text(const cot_tokenizer *tokenizer);

/**
 * Encodes one text.
 *
 *   text            [length] bytes, borrowed
 *   allow_special   whether special tokens written out in the text become their ids; text of strangers and training
 *                   text is better encoded without
 *   ids             [*count] out, the caller frees it with free(); never NULL on success
 *
 * Errors   COT_INVALID when the text holds a byte that the tokenizer has no token for, or 2^31 bytes or more without a
 *          place to cut; COT_OUT_OF_MEMORY.
 * Threads  safe: a tokenizer does not change once made.
 */
COT_API cot_status cot_tokenizer_encode(const cot_tokenizer *tokenizer, const char *text, size_t length,
                                        bool allow_special, int32_t **ids, size_t *count);

/**
 * An encoder remembers the words that it has seen: make one per thread to encode many texts.
 *
 * The tokenizer is borrowed as long as the encoder lives.
 */
COT_API cot_status cot_tokenizer_encoder_create(const cot_tokenizer *tokenizer, cot_tokenizer_encoder **out);
COT_API void       cot_tokenizer_encoder_destroy(cot_tokenizer_encoder *encoder);  /**< Accepts NULL. */

/**
 * cot_tokenizer_encode() through an encoder.
 *
 *   ids   [*count] out, the encoder's own memory, valid until its next call
 */
COT_API cot_status cot_tokenizer_encoder_run(cot_tokenizer_encoder *encoder, const char *text, size_t length,
                                             bool allow_special, const int32_t **ids, size_t *count);

/**
 * Tells an encoder that its next text goes on where the last one ended: nothing is put before it. Some tokenizers put
 * a space before every text, so that its first word looks like any other.
 */
COT_API void cot_tokenizer_encoder_go_on(cot_tokenizer_encoder *encoder);

/**
 * Decodes ids to bytes.
 *
 *   skip_special   leaves special tokens out
 *   text           [*length] out, a NUL behind it, the caller frees it with free()
 *
 * Errors   COT_INVALID for an id out of range.
 */
COT_API cot_status cot_tokenizer_decode(const cot_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                        bool skip_special, char **text, size_t *length);

#ifdef __cplusplus
}
#endif

#endif
