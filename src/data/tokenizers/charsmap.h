/* SentencePiece's precompiled map of characters: a double-array trie of what is replaced, and the replacements. */
#ifndef COT_DATA_TOKENIZERS_CHARSMAP_H
#define COT_DATA_TOKENIZERS_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

typedef struct {
    uint32_t *units;
    size_t    unit_count;
    char     *texts;  /* each ends with a NUL, and a NUL is behind the last */
    size_t    text_bytes;
} cot_charsmap;  /* all zero maps nothing */

/* Reads the bytes of a map: the trie's size (u32, little-endian), the trie, the texts. No bytes: nothing is mapped. */
cot_status cot_charsmap_read(cot_charsmap *map, const char *bytes, size_t length, const char *name);
void       cot_charsmap_release(cot_charsmap *map);

/* The longest or shortest prefix of `text` that the map replaces: its length, 0 for none, and what it becomes. */
size_t cot_charsmap_find(const cot_charsmap *map, const char *text, size_t length, bool longest,
                         const char **replacement);

#endif
