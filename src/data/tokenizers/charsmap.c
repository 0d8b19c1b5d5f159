/* A unit of Darts-clone's double array, 32 bits:
 *     inner   bits 0-7 label, 8 a value follows, 9 the offset is shifted by 8, 10-30 offset
 *     value   bits 0-30, bit 31 set
 * A child lies at (place ^ offset) ^ label. [kudo2018sentencepiece] */
#include "data/tokenizers/charsmap.h"

#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

enum { HEADER = 4 };

static uint32_t read_u32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & 1u << 9) >> 6); }
static uint32_t label_of(uint32_t unit) { return unit & (1u << 31 | 0xff); }

cot_status cot_charsmap_read(cot_charsmap *map, const char *bytes, size_t length, const char *name)
{
    *map = (cot_charsmap){0};
    if (!length) return COT_OK;
    const unsigned char *at = (const unsigned char *)bytes;
    const size_t         trie = length >= HEADER ? read_u32(at) : SIZE_MAX;
    if (trie > length - HEADER || trie % 4 || !trie)
        return cot_fail(COT_FORMAT, "%s: a map of characters of %zu bytes, with a trie of %zu: it is broken", name,
                        length, trie);
    map->unit_count = trie / 4;
    map->text_bytes = length - HEADER - trie;
    map->units = cot_malloc(trie);
    map->texts = cot_malloc(map->text_bytes + 1);
    if (!map->units || !map->texts) {
        cot_charsmap_release(map);
        return cot_fail(COT_OUT_OF_MEMORY, "%s: a map of characters", name);
    }
    for (size_t i = 0; i < map->unit_count; i++) map->units[i] = read_u32(at + HEADER + 4 * i);
    memcpy(map->texts, bytes + HEADER + trie, map->text_bytes);
    map->texts[map->text_bytes] = '\0';
    return COT_OK;
}

void cot_charsmap_release(cot_charsmap *map)
{
    cot_free(map->units);
    cot_free(map->texts);
    *map = (cot_charsmap){0};
}

size_t cot_charsmap_find(const cot_charsmap *map, const char *text, size_t length, bool longest,
                         const char **replacement)
{
    if (!map->unit_count) return 0;
    size_t   found = 0;
    uint32_t place = offset_of(map->units[0]);
    for (size_t i = 0; i < length; i++) {
        const uint32_t byte = (unsigned char)text[i];
        place ^= byte;
        if (!byte || place >= map->unit_count || label_of(map->units[place]) != byte) break;
        const uint32_t unit = map->units[place];
        place ^= offset_of(unit);
        if (!(unit >> 8 & 1) || place >= map->unit_count) continue;
        const uint32_t value = map->units[place] & ~(1u << 31);
        if (value >= map->text_bytes) continue;
        *replacement = map->texts + value;
        found = i + 1;
        if (!longest) break;
    }
    return found;
}
