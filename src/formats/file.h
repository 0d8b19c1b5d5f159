/* Files: writes that appear whole or not at all, whole small files with a limit, and read-only maps.
 *
 * Every failure leaves one line that names the path. No function here keeps a pointer to its arguments. */
#ifndef COT_FORMATS_FILE_H
#define COT_FORMATS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coterie/status.h>

/* A write that must not be lost: it goes to `.NAME.partial` in the folder of `path`, which commit flushes and renames
 * to `path`. Until then whatever stood at `path` stays as it was, and the partial file goes away on failure; one that
 * a killed process left is overwritten by the next write. A path that is a pipe or a device is written directly. */
typedef struct cot_file_writer cot_file_writer;

/* Errors: COT_IO, also when another writer is at work on the same path, in this process or another. */
cot_status cot_file_writer_open(const char *path, cot_file_writer **out);
/* Appends. After a failure every later write fails with the same status. */
cot_status cot_file_writer_put(cot_file_writer *writer, const void *data, size_t bytes);
uint64_t   cot_file_writer_position(const cot_file_writer *writer);  /* bytes put so far */
/* Flushes to the disk, puts the file in its place, and frees the writer whatever happens. Fails when a put failed. */
cot_status cot_file_writer_commit(cot_file_writer *writer);
void       cot_file_writer_abort(cot_file_writer *writer);  /* removes what was written and frees; accepts NULL */

/* All of the above in one call. */
cot_status cot_file_write(const char *path, const void *data, size_t bytes);

/* Adds to the end of a file, made when missing: all of it, or on failure nothing. A killed process may leave a part.
 * Errors: COT_IO. */
cot_status cot_file_append(const char *path, const void *data, size_t bytes);
/* Makes what was appended last when the power goes; nothing to do for a file that is not there. Errors: COT_IO. */
cot_status cot_file_flush(const char *path);

/* Takes a lock for as long as this process lives or until it is given back: a file that is made when missing and
 * removed at the end. A process that is killed leaves the file, but not the lock.
 * Errors: COT_INVALID when another holder is there, in this process or another; COT_IO. */
cot_status cot_file_lock(const char *path, int *lock);
void       cot_file_unlock(const char *path, int lock);  /* accepts -1 */

/* Reads a whole file (or pipe) of at most `limit` bytes, with a zero byte behind. Free *out with cot_free().
 * Errors: COT_IO; COT_FORMAT when it is longer. */
cot_status cot_file_read(const char *path, size_t limit, char **out, size_t *bytes);

/* A file in memory, read-only; pages come from the disk when they are touched. An empty file has bytes 0. */
typedef struct {
    const unsigned char *data;
    size_t               bytes;
} cot_file_map;

cot_status cot_file_map_open(const char *path, cot_file_map *out);
/* Tells the system that this part of a map will be read here and there: it then brings in only the pages that are touched. */
void       cot_file_map_scattered(const void *part, size_t bytes);
void       cot_file_map_close(cot_file_map *map);  /* accepts a map that is all zero or closed */

bool       cot_file_exists(const char *path);    /* as anything but a folder */
bool       cot_folder_exists(const char *path);
cot_status cot_folder_make(const char *path);    /* with the folders above it; fine when it is there already */

char *cot_path_join(const char *folder, const char *name);  /* NULL when memory is short; free with cot_free() */

#endif
