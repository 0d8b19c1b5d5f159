/* Files: a write appears whole or not at all, whatever goes wrong; reads are bounded. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/file.h"
#include "formats/scratch.h"

static void holds(const char *path, const char *text)
{
    char  *content;
    size_t bytes;
    assert_int_equal(cot_file_read(path, 1 << 20, &content, &bytes), COT_OK);
    assert_int_equal(bytes, strlen(text));
    assert_string_equal(content, text);
    cot_free(content);
}

static void writes_and_replaces(void **state)
{
    (void)state;
    scratch     s = scratch_make();
    const char *path = scratch_path(&s, "file");
    assert_int_equal(cot_file_write(path, "old", 3), COT_OK);
    holds(path, "old");

    cot_file_writer *writer;
    assert_int_equal(cot_file_writer_open(path, &writer), COT_OK);
    assert_int_equal(cot_file_writer_put(writer, "new", 3), COT_OK);
    holds(path, "old");  /* until the commit */
    assert_int_equal(cot_file_writer_position(writer), 3);
    assert_int_equal(cot_file_writer_commit(writer), COT_OK);
    holds(path, "new");
    assert_int_equal(scratch_count(&s), 1);

    assert_int_equal(cot_file_write(path, "", 0), COT_OK);
    holds(path, "");
    scratch_remove(&s);
}

static void large_writes_come_back(void **state)
{
    (void)state;
    enum { SIZE = 300001 };  /* over the buffer's border in pieces of all kinds */
    scratch        s = scratch_make();
    unsigned char *data = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) data[i] = (unsigned char)(i * 2654435761u >> 24);
    cot_file_writer *writer;
    assert_int_equal(cot_file_writer_open(scratch_path(&s, "large"), &writer), COT_OK);
    for (size_t at = 0, piece = 1; at < SIZE; at += piece, piece = 3 * piece % 100003) {
        if (piece > SIZE - at) piece = SIZE - at;
        assert_int_equal(cot_file_writer_put(writer, data + at, piece), COT_OK);
    }
    assert_int_equal(cot_file_writer_commit(writer), COT_OK);
    cot_file_map map;
    assert_int_equal(cot_file_map_open(s.path, &map), COT_OK);
    assert_int_equal(map.bytes, SIZE);
    assert_memory_equal(map.data, data, SIZE);
    cot_file_map_close(&map);
    cot_file_map_close(&map);  /* twice is fine */
    free(data);
    scratch_remove(&s);
}

static void abort_leaves_the_old(void **state)
{
    (void)state;
    scratch     s = scratch_make();
    const char *path = scratch_path(&s, "file");
    assert_int_equal(cot_file_write(path, "old", 3), COT_OK);
    cot_file_writer *writer;
    assert_int_equal(cot_file_writer_open(path, &writer), COT_OK);
    assert_int_equal(cot_file_writer_put(writer, "new", 3), COT_OK);
    assert_int_equal(scratch_count(&s), 2);
    cot_file_writer_abort(writer);
    assert_int_equal(scratch_count(&s), 1);
    holds(path, "old");
    cot_file_writer_abort(NULL);
    scratch_remove(&s);
}

/* A limit on file sizes stands for a disk that fills up in the middle. */
static void failed_write_leaves_the_old(void **state)
{
    (void)state;
    static char data[1 << 20];
    scratch     s = scratch_make();
    const char *path = scratch_path(&s, "file");
    assert_int_equal(cot_file_write(path, "old", 3), COT_OK);
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 100000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const cot_status status = cot_file_write(path, data, sizeof data);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(status, COT_IO);
    assert_non_null(strstr(cot_last_error(), path));
    assert_int_equal(scratch_count(&s), 1);
    holds(path, "old");
    scratch_remove(&s);
}

static void full_disk_says_so(void **state)
{
    (void)state;
    if (access("/dev/full", W_OK) != 0) skip();
    assert_int_equal(cot_file_write("/dev/full", "x", 1), COT_IO);
    assert_non_null(strstr(cot_last_error(), "'/dev/full': the disk is full"));
    assert_int_equal(cot_file_write("/dev/null", "x", 1), COT_OK);  /* written directly, not replaced */
    struct stat info;
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
}

static void two_writers_do_not_mix(void **state)
{
    (void)state;
    scratch          s = scratch_make();
    const char      *path = scratch_path(&s, "file");
    cot_file_writer *first, *second;
    assert_int_equal(cot_file_writer_open(path, &first), COT_OK);
    assert_int_equal(cot_file_writer_open(path, &second), COT_IO);
    assert_null(second);
    assert_non_null(strstr(cot_last_error(), "another process is writing it"));
    assert_int_equal(cot_file_writer_put(first, "x", 1), COT_OK);
    assert_int_equal(cot_file_writer_commit(first), COT_OK);
    assert_int_equal(cot_file_writer_open(path, &second), COT_OK);
    assert_int_equal(cot_file_writer_commit(second), COT_OK);
    assert_int_equal(scratch_count(&s), 1);
    scratch_remove(&s);
}

/* A file may not grow beyond 8 bytes: of a line that does not fit nothing stays. */
static void appends_all_or_nothing(void **state)
{
    (void)state;
    scratch s = scratch_make();
    const char *path = scratch_path(&s, "log");
    struct rlimit before, small;
    assert_int_equal(cot_file_append(path, "one\n", 4), COT_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 8;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    const cot_status status = cot_file_append(path, "longer\n", 7);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, COT_IO);
    holds(path, "one\n");
    assert_int_equal(cot_file_append(path, "two\n", 4), COT_OK);
    assert_int_equal(cot_file_flush(path), COT_OK);
    holds(path, "one\ntwo\n");
    assert_int_equal(cot_file_flush(scratch_path(&s, "absent")), COT_OK);
    assert_int_equal(cot_file_append(scratch_path(&s, "no/where"), "x", 1), COT_IO);
    scratch_remove(&s);
}

static void one_holds_a_lock(void **state)
{
    (void)state;
    scratch s = scratch_make();
    const char *path = scratch_path(&s, "lock");
    int first, second;
    assert_int_equal(cot_file_lock(path, &first), COT_OK);
    assert_int_equal(cot_file_lock(path, &second), COT_INVALID);
    assert_int_equal(second, -1);
    cot_file_unlock(path, second);
    cot_file_unlock(path, first);
    assert_int_equal(scratch_count(&s), 0);
    scratch_put(&s, "lock", "", 0);  /* what a killed holder leaves */
    assert_int_equal(cot_file_lock(path, &second), COT_OK);
    cot_file_unlock(path, second);
    assert_int_equal(cot_file_lock(scratch_path(&s, "no/where"), &first), COT_IO);
    scratch_remove(&s);
}

static void leftovers_of_a_killed_writer_go(void **state)
{
    (void)state;
    scratch s = scratch_make();
    scratch_put(&s, ".file.partial", "half a file that was longer", 27);
    assert_int_equal(cot_file_write(scratch_path(&s, "file"), "new", 3), COT_OK);
    holds(s.path, "new");
    assert_int_equal(scratch_count(&s), 1);
    scratch_remove(&s);
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    scratch s = scratch_make();
    char   *text;
    size_t  bytes;
    cot_file_map map;
    assert_int_equal(cot_file_write(s.folder, "x", 1), COT_IO);
    assert_int_equal(cot_file_write(scratch_path(&s, "new/"), "x", 1), COT_IO);
    assert_int_equal(cot_file_write(scratch_path(&s, "missing/file"), "x", 1), COT_IO);
    assert_int_equal(cot_file_read(s.folder, 100, &text, &bytes), COT_IO);
    assert_int_equal(cot_file_read(scratch_path(&s, "missing"), 100, &text, &bytes), COT_IO);
    assert_null(text);
    assert_int_equal(cot_file_map_open(s.folder, &map), COT_IO);
    assert_int_equal(cot_file_map_open("/dev/zero", &map), COT_IO);
    assert_int_equal(mkfifo(scratch_path(&s, "pipe"), 0600), 0);
    assert_int_equal(cot_file_map_open(s.path, &map), COT_IO);  /* and does not wait for a writer */
    assert_int_equal(cot_file_read("/dev/zero", 100, &text, &bytes), COT_FORMAT);
    assert_null(text);
    scratch_remove(&s);
}

static void reads_up_to_the_limit(void **state)
{
    (void)state;
    scratch s = scratch_make();
    char   *text;
    size_t  bytes;
    scratch_put(&s, "file", "12345", 5);
    assert_int_equal(cot_file_read(s.path, 5, &text, &bytes), COT_OK);
    assert_int_equal(bytes, 5);
    cot_free(text);
    assert_int_equal(cot_file_read(s.path, 4, &text, &bytes), COT_FORMAT);
    assert_non_null(strstr(cot_last_error(), "longer than 4 bytes"));
    cot_file_map map;
    scratch_put(&s, "empty", "", 0);
    assert_int_equal(cot_file_map_open(s.path, &map), COT_OK);
    assert_int_equal(map.bytes, 0);
    cot_file_map_close(&map);
    scratch_remove(&s);
}

static void makes_folders(void **state)
{
    (void)state;
    scratch     s = scratch_make();
    const char *path = scratch_path(&s, "a/b/c");
    assert_int_equal(cot_folder_make(path), COT_OK);
    assert_true(cot_folder_exists(path));
    assert_false(cot_file_exists(path));
    assert_int_equal(cot_folder_make(path), COT_OK);
    scratch_put(&s, "file", "", 0);
    assert_true(cot_file_exists(s.path));
    assert_int_equal(cot_folder_make(s.path), COT_IO);
    assert_int_equal(cot_folder_make(scratch_path(&s, "file/below")), COT_IO);
    assert_int_equal(cot_folder_make(""), COT_IO);
    scratch_remove(&s);
}

static void survives_short_memory(void **state)
{
    (void)state;
    scratch       s = scratch_make();
    const char   *path = scratch_path(&s, "file");
    const int64_t before = cot_memory_blocks();
    cot_status    status = COT_OUT_OF_MEMORY;
    int           failures = 0;
    for (int n = 1; status != COT_OK; n++) {
        cot_memory_fail_after(n);
        status = cot_file_write(path, "new", 3);
        char  *text;
        size_t bytes;
        if (status == COT_OK && (status = cot_file_read(path, 100, &text, &bytes)) == COT_OK) cot_free(text);
        cot_memory_fail_after(0);
        assert_int_equal(cot_memory_blocks(), before);
        failures += status != COT_OK;
    }
    assert_in_range(failures, 4, 10);
    assert_int_equal(scratch_count(&s), 1);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_and_replaces),
        cmocka_unit_test(large_writes_come_back),
        cmocka_unit_test(abort_leaves_the_old),
        cmocka_unit_test(failed_write_leaves_the_old),
        cmocka_unit_test(full_disk_says_so),
        cmocka_unit_test(two_writers_do_not_mix),
        cmocka_unit_test(appends_all_or_nothing),
        cmocka_unit_test(one_holds_a_lock),
        cmocka_unit_test(leftovers_of_a_killed_writer_go),
        cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(reads_up_to_the_limit),
        cmocka_unit_test(makes_folders),
        cmocka_unit_test(survives_short_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
