/* Task files of every form, in archives too, and what is refused of them. */
#define _GNU_SOURCE
#include <stdio.h>

#include "inference/task_fixture.h"

#include "base/memory.h"

/* ---- files ---- */

static void kinds_are_read(void **state)
{
    (void)state;
    scratch files = scratch_make();
    cot_task *t = task_of(&files, "a.jsonl",
                          "{\"query\": \"q\", \"choices\": [\"x\", \"yz\"], \"gold\": 1, \"more\": [1]}\r\n\n  "
                          "\n{\"gold\": 0, \"query\": \"\", \"choices\": [\"a\", \"b\", \"c\"]}");
    assert_string_equal(cot_task_name(t), "a");
    assert_int_equal(cot_task_kind_of(t), COT_TASK_CHOICES);
    assert_int_equal(cot_task_count(t), 2);
    assert_int_equal(t->questions[0].line, 1);
    assert_int_equal(t->questions[1].line, 4);
    assert_int_equal(t->questions[0].gold, 1);
    assert_string_equal(question_continuation(&t->questions[0], 1), "yz");
    assert_int_equal(question_alternatives(&t->questions[1]), 3);
    cot_task_destroy(t);
    t = task_of(&files, "b.jsonl",
                "{\"context_options\": [\"one\", \"two\"], \"continuation\": \"end\", \"gold\": 0}\n");
    assert_int_equal(cot_task_kind_of(t), COT_TASK_CONTEXTS);
    assert_string_equal(question_context(&t->questions[0], 1), "two");
    assert_string_equal(question_continuation(&t->questions[0], 1), "end");
    cot_task_destroy(t);
    t = task_of(&files, "c.jsonl", "{\"sentence_good\": \"good\", \"sentence_bad\": \"bad\", \"UID\": \"u\"}\n");
    assert_int_equal(cot_task_kind_of(t), COT_TASK_PAIRS);
    assert_string_equal(question_continuation(&t->questions[0], 0), "good");
    assert_int_equal(t->questions[0].gold, 0);
    cot_task_destroy(t);
    const char *text = "{\"context\": \"c\", \"continuation\": \" d\"}\n";
    put_gz(&files, "d.jsonl.gz", text, strlen(text));
    CHECK_OK(cot_task_read(scratch_path(&files, "d.jsonl.gz"), &t));
    assert_int_equal(cot_task_kind_of(t), COT_TASK_COMPLETION);
    assert_string_equal(cot_task_name(t), "d");
    cot_task_destroy(t);
    cot_task_destroy(NULL);
    scratch_remove(&files);
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    static const struct { const char *text, *said; } files[] = {
        {"", "bad.jsonl: no row in it"},
        {"\n \n", "bad.jsonl: no row in it"},
        {"{\"a\": 1}", "bad.jsonl:1: neither query, choices and gold"},
        {"[1]", "bad.jsonl:1: a list, expected a JSON object"},
        {"\n{oops", "bad.jsonl:2: not a JSON object: "},
        {"{\"query\": \"\xff\"}", "bad.jsonl:1: not a JSON object: unable to decode byte 0xff"},
        {"{\"choices\": [\"a\", \"b\"], \"choices\": []}", "bad.jsonl:1: not a JSON object: duplicate object key"},
        {"{\"choices\": \"ab\", \"gold\": 0, \"query\": \"\"}", "bad.jsonl:1: 'choices' is a string, expected a list of texts"},
        {"{\"choices\": [\"a\"], \"gold\": 0, \"query\": \"\"}", "bad.jsonl:1: 'choices' has 1 entries, expected 2 to 65536"},
        {"{\"choices\": [\"a\", 2], \"gold\": 0, \"query\": \"\"}", "bad.jsonl:1: entry 1 of 'choices' is a whole number, expected a text"},
        {"{\"choices\": [\"a\", \"\"], \"gold\": 0, \"query\": \"\"}", "bad.jsonl:1: choice 1 is empty"},
        {"{\"choices\": [\"a\", \"b\"], \"query\": \"\"}", "bad.jsonl:1: 'gold' is absent, expected a whole number"},
        {"{\"choices\": [\"a\", \"b\"], \"gold\": 2, \"query\": \"\"}", "bad.jsonl:1: 'gold' is 2, expected 0 to 1"},
        {"{\"choices\": [\"a\", \"b\"], \"gold\": -1, \"query\": \"\"}", "bad.jsonl:1: 'gold' is -1, expected 0 to 1"},
        {"{\"choices\": [\"a\", \"b\"], \"gold\": 1.0, \"query\": \"\"}", "bad.jsonl:1: 'gold' is a number, expected a whole number"},
        {"{\"choices\": [\"a\", \"b\"], \"gold\": 1}", "bad.jsonl:1: 'query' is absent, expected a text"},
        {"{\"context\": \"a\", \"continuation\": \"\"}", "bad.jsonl:1: continuation 0 is empty"},
        {"{\"context_options\": [\"a\", \"b\"], \"gold\": 1}", "bad.jsonl:1: 'continuation' is absent, expected a text"},
        {"{\"sentence_good\": \"a\"}", "bad.jsonl:1: 'sentence_bad' is absent, expected a text"},
        {"{\"context\": \"a\", \"continuation\": \"b\"}\n\n{\"sentence_good\": \"a\", \"sentence_bad\": \"b\"}",
         "bad.jsonl:3: a row of another kind, minimal pairs; expected completion as in line 1"},
        {"{\"query\": \"a\\u0000b\"}", "bad.jsonl:1: not a JSON object: \\u0000"},
    };
    scratch dir = scratch_make();
    cot_task *t;
    const int64_t blocks = cot_memory_blocks();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        put_text(&dir, "bad.jsonl", files[i].text);
        CHECK_FAILS(cot_task_read(scratch_path(&dir, "bad.jsonl"), &t), COT_FORMAT, files[i].said);
        assert_null(t);
    }
    char *deep = malloc(2000001);  /* nested a million deep */
    memset(deep, '[', 1000000);
    memset(deep + 1000000, ']', 1000000);
    scratch_put(&dir, "bad.jsonl", deep, 2000000);
    free(deep);
    CHECK_FAILS(cot_task_read(scratch_path(&dir, "bad.jsonl"), &t), COT_FORMAT,
                "bad.jsonl:1: nested deeper than 2048 levels");
    put_text(&dir, "plain.gz", "{}");
    CHECK_FAILS(cot_task_read(scratch_path(&dir, "plain.gz"), &t), COT_FORMAT, "not gzip data");
    CHECK_FAILS(cot_task_read(scratch_path(&dir, "absent.jsonl"), &t), COT_IO, "absent.jsonl");
    assert_int_equal(cot_memory_blocks(), blocks);
    scratch_remove(&dir);
}

/* ---- other forms and archives ---- */

static void published_forms_are_read(void **state)
{
    (void)state;
    scratch files = scratch_make();
    cot_task *t = task_of(&files, "anatomy_test.csv",
                          "\" What, said \"\"he\"\",\nis it? \",one,\"two, or so\",A\r\n\nWhy?,because,no,maybe,D4,C\nlast,x,y,B");
    assert_string_equal(cot_task_name(t), "anatomy_test");
    assert_int_equal(cot_task_kind_of(t), COT_TASK_CHOICES);
    assert_int_equal(cot_task_count(t), 3);
    assert_string_equal(question_context(&t->questions[0], 0),
                        "What, said \"he\",\nis it?\nA. one\nB. two, or so\nAnswer:");
    assert_string_equal(question_continuation(&t->questions[0], 1), "B");
    assert_int_equal(question_alternatives(&t->questions[0]), 2);
    assert_int_equal(t->questions[1].line, 4);
    assert_string_equal(question_context(&t->questions[1], 0), "Why?\nA. because\nB. no\nC. maybe\nD. D4\nAnswer:");
    assert_int_equal(t->questions[1].gold, 2);
    assert_int_equal(t->questions[2].gold, 1);
    cot_task_destroy(t);
    t = task_of(&files, "snarks.json",
                "{\"canary\": \"c\", \"examples\": [{\"input\": \"Which? (A) x (B) y\", \"target\": \"(B)\"}, "
                "{\"input\": \"(A) (B) (C)\", \"target\": \"(C)\"},\n{\"input\": \"(A)\", \"target\": \"(A)\"}]}");
    assert_int_equal(cot_task_kind_of(t), COT_TASK_CHOICES);
    assert_string_equal(question_context(&t->questions[0], 0), "Q: Which? (A) x (B) y\nA:");
    assert_int_equal(question_alternatives(&t->questions[0]), 2);
    assert_int_equal(t->questions[0].gold, 1);
    assert_int_equal(question_alternatives(&t->questions[1]), 3);
    assert_int_equal(question_alternatives(&t->questions[2]), 3);  /* it offers but one: all that the file has */
    assert_string_equal(question_continuation(&t->questions[2], 0), "(A)");
    cot_task_destroy(t);
    char many[4096] = "{\"examples\": [", *to = many + strlen(many);
    for (int i = 0; i < 27; i++) to += sprintf(to, "%s{\"input\": \"count\", \"target\": \"%d\"}", i ? ", " : "", i);
    strcpy(to, "]}");
    t = task_of(&files, "counting.json", many);  /* too many different ones to choose from */
    assert_int_equal(cot_task_kind_of(t), COT_TASK_COMPLETION);
    assert_string_equal(question_context(&t->questions[26], 0), "Q: count\nA:");
    assert_string_equal(question_continuation(&t->questions[26], 0), "26");
    cot_task_destroy(t);
    scratch_remove(&files);
}

static void broken_forms_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *said;
    } files[] = {
        {"a.csv", "q,x,y,A\nq,x,B", "a.csv:2: 3 fields"},
        {"a.csv", "q,x,y,C", "a.csv:1: the last of 4 fields is no letter from A to B"},
        {"a.csv", "q,x,y,", "the last of 4 fields is no letter"},
        {"a.csv", "q,x,y,A\n\"q,x\ny,B\n", "a.csv:2: a quote that nothing closes"},
        {"a.csv", "\"q\"x,y,z,A", "a.csv:1: field 1 goes on behind its closing quote"},
        {"a.csv", ",,,,,,,,,,,,,,,,,,,,,,,,,,,,A", "more than 28 fields"},
        {"a.csv", "q,x,y,A\n\xff,x,y,A", "a.csv:2: neither zero bytes nor anything but UTF-8"},
        {"a.csv", " \n\n", "no row in it"},
        {"a.json", "{}", "'examples' is absent, expected a list"},
        {"a.json", "[", "not JSON"},
        {"a.json", "{\"examples\": [{\"input\": \"q\"}]}", "a.json:1: 'input' is a string and 'target' absent in this example"},
        {"a.json", "{\"examples\": [{\"input\": \"q\", \"target\": \"a\"}]}", "a.json:1: 'choices' has 1 entries"},
        {"a.json", "{\"examples\": []}", "no row in it"},
    };
    scratch dir = scratch_make();
    cot_task *t;
    const int64_t blocks = cot_memory_blocks();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        put_text(&dir, files[i].name, files[i].text);
        CHECK_FAILS(cot_task_read(scratch_path(&dir, files[i].name), &t), COT_FORMAT, files[i].said);
        assert_null(t);
    }
    assert_int_equal(cot_memory_blocks(), blocks);
    scratch_remove(&dir);
}

/* The sum that a header of an archive carries. */
static void seal(char *header)
{
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < 512; i++) sum += (unsigned char)header[i];
    sprintf(header + 148, "%06o", sum);
}

/* A header and its contents, padded, at `to`; returns what follows. */
static char *put_member(char *to, const char *prefix, const char *name, char type, const char *text)
{
    const size_t length = strlen(text), padded = (length + 511) / 512 * 512;
    memset(to, 0, 512 + padded);
    strcpy(to, name);
    sprintf(to + 124, "%011o", (unsigned)length);
    to[156] = type;
    memcpy(to + 257, "ustar", 6);
    strcpy(to + 345, prefix);
    seal(to);
    memcpy(to + 512, text, length);
    return to + 512 + padded;
}

static char *put_archive(char *to)
{
    static const char pair[] = "{\"sentence_good\": \"good\", \"sentence_bad\": \"bad\"}\n";
    to = put_member(to, "", "blimp/", '5', "");
    to = put_member(to, "", "blimp/README", '0', "words");
    to = put_member(to, "", "blimp/one.jsonl", '0', pair);
    to = put_member(to, "blimp/more", "two.jsonl", '\0', pair);
    to = put_member(to, "", "blimpish.csv", '0', "q,x,y,A\n");
    memset(to, 0, 1024);
    return to + 1024;
}

static void archives_are_read(void **state)
{
    (void)state;
    static char tar[16384];
    const size_t bytes = (size_t)(put_archive(tar) - tar);
    scratch files = scratch_make();
    cot_task **tasks, *t;
    size_t count;
    const int64_t blocks = cot_memory_blocks();
    put_gz(&files, "blimp.tar.gz", tar, bytes);
    CHECK_OK(cot_tasks_read(scratch_path(&files, "blimp.tar.gz"), &tasks, &count));
    assert_int_equal(count, 3);
    assert_string_equal(cot_task_name(tasks[1]), "two");
    assert_int_equal(cot_task_kind_of(tasks[2]), COT_TASK_CHOICES);
    cot_tasks_destroy(tasks, count);
    scratch_put(&files, "blimp.tar", tar, bytes);
    CHECK_OK(cot_tasks_read(scratch_path(&files, "blimp.tar/blimp"), &tasks, &count));
    assert_int_equal(count, 2);
    assert_string_equal(tasks[1]->file, scratch_path(&files, "blimp.tar/blimp/more/two.jsonl"));
    cot_tasks_destroy(tasks, count);
    CHECK_OK(cot_task_read(scratch_path(&files, "blimp.tar/blimp/more/two.jsonl"), &t));
    cot_task_destroy(t);
    CHECK_FAILS(cot_task_read(scratch_path(&files, "blimp.tar/blimp"), &t), COT_INVALID,
                "2 task files, expected one of them, e.g.");
    CHECK_FAILS(cot_task_read(scratch_path(&files, "blimp.tar/blim"), &t), COT_FORMAT, "no task file in it under blim");
    CHECK_FAILS(cot_task_read(scratch_path(&files, "absent.tar/a"), &t), COT_IO, "absent.tar");
    assert_int_equal(cot_memory_blocks(), blocks);
    scratch_remove(&files);
}

static void broken_archives_are_refused(void **state)
{
    (void)state;
    static char tar[16384];
    const size_t bytes = (size_t)(put_archive(tar) - tar);
    scratch files = scratch_make();
    cot_task *t;
    const int64_t blocks = cot_memory_blocks();
    scratch_put(&files, "cut.tar", tar, 1536 + 20);
    CHECK_FAILS(cot_task_read(scratch_path(&files, "cut.tar"), &t), COT_FORMAT,
                "no header of a tar archive's member at byte 1536");
    scratch_put(&files, "cut.tar", tar, 2048 + 20);
    CHECK_FAILS(cot_task_read(scratch_path(&files, "cut.tar"), &t), COT_FORMAT,
                "cut.tar: ends after 2068 bytes (unpacked), inside a member");
    tar[600] ^= 1;
    scratch_put(&files, "bad.tar", tar, bytes);
    CHECK_FAILS(cot_task_read(scratch_path(&files, "bad.tar"), &t), COT_FORMAT,
                "no header of a tar archive's member at byte 512");
    put_member(tar, "", "a.csv", '0', "");
    memcpy(tar + 124, "77777777777", 11);
    seal(tar);
    scratch_put(&files, "vast.tar", tar, 512);
    CHECK_FAILS(cot_task_read(scratch_path(&files, "vast.tar"), &t), COT_FORMAT, "longer than 256 MiB together");
    assert_int_equal(cot_memory_blocks(), blocks);
    scratch_remove(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_are_read),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(published_forms_are_read),
        cmocka_unit_test(broken_forms_are_refused),
        cmocka_unit_test(archives_are_read),
        cmocka_unit_test(broken_archives_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
