/* Reads a file as a stream of bytes, unpacked on the way when its name ends in .gz or .zst. Memory stays bounded
 * whatever the file holds, and a file that unpacks to an absurd size is refused. */
#ifndef COT_DATA_READER_H
#define COT_DATA_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

typedef struct cot_reader cot_reader;

bool       cot_reader_packed(const char *path);  /* does the name say .gz or .zst? */
cot_status cot_reader_open(const char *path, cot_reader **out);
void       cot_reader_close(cot_reader *reader);  /* accepts NULL */

/* Fills `buffer` up to `capacity`; fewer bytes come only at the end of the stream. */
cot_status cot_reader_read(cot_reader *reader, void *buffer, size_t capacity, size_t *got);

/* Bytes of the file itself that were read so far, for progress. */
uint64_t cot_reader_consumed(const cot_reader *reader);

#endif
