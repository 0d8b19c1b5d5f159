/* Tokenizers of llama2.c: SentencePiece BPE without its settings. */
#ifndef COT_DATA_TOKENIZERS_LLAMA2C_TOKENIZER_H
#define COT_DATA_TOKENIZERS_LLAMA2C_TOKENIZER_H

#include <coterie/tokenizer.h>

/* Reads one from bytes; `name` stands for the file in messages. Errors: COT_FORMAT; COT_OUT_OF_MEMORY. */
cot_status cot_llama2c_tokenizer_parse(const char *bytes, size_t length, const char *name, cot_tokenizer **out);

cot_status cot_llama2c_tokenizer_load(const char *path, cot_tokenizer **out);

/* The one that lies beside a checkpoint of so many symbols: tok512.bin (that size), or tokenizer.bin; *out is NULL when
 * there is none. Errors: as above; COT_FORMAT when it has more symbols. */
cot_status cot_llama2c_tokenizer_beside(const char *checkpoint, int64_t vocab_size, cot_tokenizer **out);

#endif
