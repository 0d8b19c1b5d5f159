/* Pictures: what is read from metrics and evaluations, what stands in the script, and that gnuplot draws it. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <coterie/plot.h>
#include <dirent.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

#define assert_near(got, want, tolerance) assert_true(fabs((got) - (want)) <= (tolerance))

static char folder[] = "/tmp/cot_test_plot_XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[2][300];
    static int  turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static const char *write_file(const char *name, const char *text)
{
    const char *const path = in_folder(name);
    FILE *const       f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static size_t files_in_folder(void)
{
    size_t count = 0;
    DIR   *d = opendir(folder);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));) count += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    closedir(d);
    return count;
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    DIR *d = opendir(folder);
    if (!d) return -1;
    for (const struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) unlink(in_folder(e->d_name));
    closedir(d);
    return rmdir(folder);
}

/* ---- metrics ---- */

static const char metrics[] =
    "{\"step\":1,\"tokens\":100,\"loss\":3.5,\"layers\":[{\"layer\":1,\"load\":[0.5,0.25,0.25],\"cv2\":0.1}]}\n"
    "{\"step\":2,\"tokens\":200,\"loss\":null,\"layers\":[{\"layer\":1,\"load\":[1,0,0]}]}\n"
    "\n"
    "{\"step\":2,\"tokens\":200,\"valid\":{\"loss\":3.25,\"bits_per_byte\":2.5}}\n"
    "{\"note\":\"resumed\"}\n"
    "{\"step\":3,\"tokens\":300,\"loss\":3,\"layers\":[{\"layer\":1,\"load\":[0.25,0.5,0.25]}]}\n";

static void reads_metrics(void **state)
{
    (void)state;
    cot_plot_run *run = NULL;
    assert_int_equal(cot_plot_run_read(write_file("m.jsonl", metrics), &run), COT_OK);
    assert_int_equal(run->steps, 3);
    assert_true(run->tokens[2] == 300 && run->loss[0] == 3.5 && isnan(run->loss[1]));
    assert_int_equal(run->validations, 1);
    assert_true(run->valid_tokens[0] == 200 && run->valid_loss[0] == 3.25 && run->valid_bits_per_byte[0] == 2.5);
    assert_int_equal(run->layers, 1);
    assert_int_equal(run->layer[0].layer, 1);
    assert_int_equal(run->layer[0].rows, 3);
    assert_int_equal(run->layer[0].experts, 3);
    assert_true(run->layer[0].load[3] == 1 && run->layer[0].load[7] == 0.5);
    cot_plot_run_destroy(run);
}

/* 600 steps become 150 stretches of 4, and the mean load of each is that of its steps. The steps after 300 are logged
 * twice, as a run that was killed and resumed does it, and the last line breaks off. */
static void long_and_resumed(void **state)
{
    (void)state;
    enum { STEPS = 600 };
    char *const text = malloc(STEPS * 400);
    assert_non_null(text);
    char *at = text;
    for (int pass = 0; pass < 2; pass++)
        for (int i = pass ? 300 : 0; i < (pass ? STEPS : 400); i++)
            at += sprintf(at, "{\"step\":%d,\"tokens\":%d,\"loss\":%d,"
                              "\"layers\":[{\"layer\":0,\"load\":[%.4f,%.4f]}]}\n", i + 1, (i + 1) * 10, pass,
                          i / 600.0, 1 - i / 600.0);
    strcpy(at, "{\"step\":601,\"tok");
    cot_plot_run *run = NULL;
    assert_int_equal(cot_plot_run_read(write_file("long.jsonl", text), &run), COT_OK);
    free(text);
    assert_int_equal(run->steps, STEPS);
    assert_true(run->loss[299] == 0 && run->loss[300] == 1 && run->loss[STEPS - 1] == 1);
    assert_int_equal(run->layer[0].rows, 150);
    for (int s = 0; s < 150; s++) {
        assert_near(run->layer[0].load[2 * s], (4 * s + 1.5) / 600, 1e-4);  /* four digits were written */
        assert_near(run->layer[0].load[2 * s + 1], 1 - (4 * s + 1.5) / 600, 1e-4);
    }
    cot_plot_run_destroy(run);
}

#define LINE1 "{\"step\":1,\"tokens\":5,\"loss\":2"
#define LINE2 "{\"step\":2,\"tokens\":6,\"loss\":2"

static void bad_metrics(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
        cot_status  status;
    } cases[] = {
        {LINE1 "}\n{oops\n", ":2: not JSON: string or '}' expected near 'oops'", COT_FORMAT},
        {"[1]\n", ":1: a list, expected a map", COT_FORMAT},
        {"{\"step\":1,\"tokens\":\"5\",\"loss\":2}\n", ":1: 'tokens' is a string, expected a number", COT_FORMAT},
        {"{\"step\":1,\"loss\":2}\n", ":1: 'tokens' is absent, expected a number", COT_FORMAT},
        {"{\"step\":1,\"tokens\":-5,\"loss\":2}\n", ":1: 'tokens' is not a number from 0", COT_FORMAT},
        {"{\"step\":null,\"tokens\":5,\"loss\":2}\n", ":1: 'step' is not a number from 0", COT_FORMAT},
        {"{\"step\":1,\"tokens\":5,\"valid\":3}\n", ":1: 'valid' is a whole number, expected a map", COT_FORMAT},
        {LINE1 ",\"layers\":{}}\n", ":1: 'layers' is a map, expected a list", COT_FORMAT},
        {LINE1 ",\"layers\":[{}]}\n", ":1: an entry of 'layers' has no 'layer' with the layer's number", COT_FORMAT},
        {LINE1 ",\"layers\":[{\"layer\":0,\"load\":[]}]}\n",
         ":1: 'load' of layer 0 is empty, expected a list with a fraction for each expert", COT_FORMAT},
        {LINE1 ",\"layers\":[{\"layer\":0,\"load\":[0.5,7]}]}\n",
         ":1: the load of expert 1 in layer 0 is no fraction from 0 to 1", COT_FORMAT},
        {LINE1 ",\"layers\":[{\"layer\":0,\"load\":[1]}]}\n"
         LINE2 ",\"layers\":[{\"layer\":0,\"load\":[0.5,0.5]}]}\n",
         ":2: layer 0 with 2 experts, expected layer 0 with 1 as before", COT_FORMAT},
        {LINE1 ",\"layers\":[{\"layer\":0,\"load\":[1]}]}\n" LINE2 ",\"layers\":[]}\n",
         ":2: 0 layers, there were 1 before", COT_FORMAT},
        {"", ": nothing has been logged yet", COT_INVALID},
        {"{\"half\":", ": nothing has been logged yet", COT_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const path = write_file("bad.jsonl", cases[i].text);
        char              want[400];
        cot_plot_run     *run = NULL;
        const int64_t     blocks = cot_memory_blocks();
        snprintf(want, sizeof want, "%s%s", path, cases[i].message);
        assert_int_equal(cot_plot_run_read(path, &run), cases[i].status);
        assert_null(run);
        assert_string_equal(cot_last_error(), want);
        assert_int_equal(cot_memory_blocks(), blocks);
    }
    cot_plot_run *run = NULL;
    assert_int_equal(cot_plot_run_read(in_folder("absent.jsonl"), &run), COT_IO);
}

/* ---- evaluations ---- */

static const char evaluation[] =
    "{\"loss\":2.5,\"sources\":["
    "{\"name\":\"drama\",\"loss\":2,\"layers\":[{\"layer\":1,\"load\":[0.625,0.375,0]},{\"layer\":3,\"load\":[0,1]}]},"
    "{\"name\":\"empty\",\"tokens\":0,\"layers\":[]},"
    "{\"name\":\"it's `x` 50%d\",\"loss\":3,"
    "\"layers\":[{\"layer\":1,\"load\":[0.125,0.125,0.75]},{\"layer\":3,\"load\":[0.5,0.5]}]}],"
    "\"layers\":[{\"layer\":1},{\"layer\":3,\"key_grid\":{\"sub_keys\":3,\"bin\":2,\"use\":[[1000,0],[10,1]]}}],"
    "\"yardstick\":{\"orders\":["
    "{\"order\":1,\"loss\":5},{\"order\":2,\"loss\":3.125},{\"order\":3,\"loss\":3.5}]}}";

static void reads_evaluation(void **state)
{
    (void)state;
    cot_plot_evaluation *s = NULL;
    assert_int_equal(cot_plot_evaluation_read(write_file("eval.json", evaluation), &s), COT_OK);
    assert_int_equal(s->sources, 2);
    assert_string_equal(s->name[0], "drama");
    assert_string_equal(s->name[1], "it's `x` 50%d");
    assert_int_equal(s->layers, 2);
    assert_int_equal(s->layer[1].layer, 3);
    assert_int_equal(s->layer[0].rows, 2);
    assert_int_equal(s->layer[0].experts, 3);
    assert_true(s->layer[0].load[5] == 0.75 && s->layer[1].load[2] == 0.5);
    assert_int_equal(s->grids, 1);
    assert_true(s->grid[0].layer == 3 && s->grid[0].sub_keys == 3 && s->grid[0].bin == 2 && s->grid[0].cells == 2);
    assert_true(s->grid[0].use[0] == 1000 && s->grid[0].use[1] == 0 && s->grid[0].use[2] == 10 && s->grid[0].use[3] == 1);
    assert_int_equal(s->yardstick_order, 2);
    assert_true(s->yardstick_loss == 3.125);
    cot_plot_evaluation_destroy(s);
}

#define GRID(inside)                                                                                     \
    "{\"sources\":[{\"name\":\"a\",\"layers\":[{\"layer\":4,\"load\":[1]}]}],\"layers\":[{\"layer\":4," \
    "\"key_grid\":{" inside "}}]}"

static void bad_evaluations(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{}", ": 'sources' is absent, expected a list with measurements of each source of text"},
        {"{\"sources\":[]}", ": 'sources' is empty, expected a list with measurements of each source of text"},
        {"{\"sources\":[{\"name\":1}]}", ": source 1: 'name' is a whole number, expected a string"},
        {"{\"sources\":[{\"name\":\"a\",\"layers\":[{\"layer\":0,\"load\":[1]}]},{\"name\":\"b\",\"layers\":[]}]}",
         ": source 2: 0 layers, the first source has 1"},
        {"{\"sources\":[{\"name\":\"a\",\"layers\":[{\"layer\":0,\"load\":[1]}]},"
         "{\"name\":\"b\",\"layers\":[{\"layer\":0,\"load\":[0,1]}]}]}",
         ": source 2: layer 0 with 2 experts, the first source has layer 0 with 1"},
        {GRID("\"sub_keys\":0,\"bin\":1,\"use\":[]"), ": 'sub_keys' of a 'key_grid' is no whole number from 1 to 32768"},
        {GRID("\"sub_keys\":2,\"bin\":3,\"use\":[]"), ": 'bin' of a 'key_grid' is no whole number from 1 to 2"},
        {GRID("\"sub_keys\":3,\"bin\":2,\"use\":[[1,2]]"),
         ": the 'key_grid' of layer 4 has 1 rows, expected 2, at most 1024"},
        {GRID("\"sub_keys\":2000,\"bin\":1,\"use\":[]"),
         ": the 'key_grid' of layer 4 has 0 rows, expected 2000, at most 1024"},
        {GRID("\"sub_keys\":2,\"bin\":1,\"use\":[[1,2],[3]]"), ": a row of a 'key_grid' has 1 numbers, expected 2"},
        {GRID("\"sub_keys\":2,\"bin\":1,\"use\":[[1,2],[3,-4]]"),
         ": a 'key_grid' counts what is no whole number from 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const path = write_file("bad.json", cases[i][0]);
        char              want[400];
        cot_plot_evaluation *s = NULL;
        const int64_t     blocks = cot_memory_blocks();
        snprintf(want, sizeof want, "%s%s", path, cases[i][1]);
        assert_int_equal(cot_plot_evaluation_read(path, &s), COT_FORMAT);
        assert_null(s);
        assert_string_equal(cot_last_error(), want);
        assert_int_equal(cot_memory_blocks(), blocks);
    }
}

/* ---- scripts ---- */

typedef struct {
    cot_plot_run        *run;
    cot_plot_evaluation *evaluation;
    cot_plot             plot;
} example;

static example example_make(void)
{
    example e = {0};
    assert_int_equal(cot_plot_run_read(write_file("m.jsonl", metrics), &e.run), COT_OK);
    assert_int_equal(cot_plot_evaluation_read(write_file("eval.json", evaluation), &e.evaluation), COT_OK);
    e.plot = (cot_plot){.title = "a_run^2", .run = e.run, .evaluation = e.evaluation,
                        .parts = COT_PLOT_CURVE | COT_PLOT_LOAD | COT_PLOT_SOURCES | COT_PLOT_KEYS};
    return e;
}

static void example_free(example *e)
{
    cot_plot_run_destroy(e->run);
    cot_plot_evaluation_destroy(e->evaluation);
}

#define assert_holds(text, part) assert_non_null(strstr(text, part))

static void script_content(void **state)
{
    (void)state;
    example e = example_make();
    char   *text = NULL;
    assert_int_equal(cot_plot_script(&e.plot, "runs/a.png", &text), COT_OK);
    assert_holds(text, "set term pngcairo");
    assert_holds(text, "picture = 'runs/a.png'");
    assert_holds(text, "'{/:Bold a\\_run\\^2}'");                /* titles are bold, their special characters plain */
    assert_holds(text, "$training << EOD\n100 3.5\n");
    assert_holds(text, "$validation << EOD\n200 3.25\nEOD");
    assert_holds(text, "'{/:Bold validation 3.250}'");
    assert_holds(text, "2.500 bits per byte");
    assert_holds(text, "'{/:Bold Kneser-Ney 3.125}'");
    /* Loads times 3 experts, experts downwards. */
    assert_holds(text, "$load0 << EOD\n1.5 3 0.75\n0.75 0 1.5\n0.75 0 0.75\nEOD");
    assert_holds(text, "set cbrange [0:2]");
    /* Experts 0 and 1 serve the first source most, expert 2 the second. */
    assert_holds(text, "$share0 << EOD\n0 0 62.5 62 0xffffff\n1 0 37.5 38 0x59626e\n2 0 0 \"\" 0x59626e\n"
                       "0 1 12.5 12 0x59626e\n");
    /* Logarithms of the counts; the bin's size in the title. */
    assert_holds(text, "$keys0 << EOD\n3 NaN\n1 0\nEOD");
    assert_holds(text, "'{/:Bold layer 3: 3 × 3 experts, a cell for 2 × 2}'");
    assert_holds(text, "set cbrange [0:3]");
    assert_holds(text, "'1' 0, '10' 1, '100' 2, '1000' 3)");
    assert_holds(text, "'it''s ?x? 50%d'");                      /* nothing of a name is run or expanded */
    assert_null(strchr(text, '`'));
    free(text);

    e.plot.parts = COT_PLOT_CURVE;
    assert_int_equal(cot_plot_script(&e.plot, "a.pdf", &text), COT_OK);
    assert_holds(text, "set term pdfcairo");
    assert_null(strstr(text, "$load0"));
    assert_null(strstr(text, "$share0"));
    free(text);
    assert_int_equal(cot_plot_script(&e.plot, "a.svg", &text), COT_OK);
    assert_holds(text, "set term svg");
    free(text);
    example_free(&e);
}

/* A long run's raw curve keeps its highest and lowest losses, in few points. */
static void script_thins(void **state)
{
    (void)state;
    enum { STEPS = 20000 };
    static double tokens[STEPS], loss[STEPS];
    for (int i = 0; i < STEPS; i++) {
        tokens[i] = (i + 1) * 1e3;
        loss[i] = 2 + (i % 7) * 0.01;
    }
    loss[12345] = 3.75;
    loss[17000] = 1.125;
    const cot_plot_run run = {.steps = STEPS, .tokens = tokens, .loss = loss};
    const cot_plot     plot = {.run = &run, .parts = COT_PLOT_CURVE};
    char              *text = NULL;
    assert_int_equal(cot_plot_script(&plot, "a.png", &text), COT_OK);
    assert_holds(text, "\n12346000 3.75\n");
    assert_holds(text, "\n17001000 1.125\n");
    const char *const from = strstr(text, "$training << EOD\n"), *const to = strstr(from, "EOD\n$smoothed");
    size_t            lines = 0;
    for (const char *c = from; c < to; c++) lines += *c == '\n';
    assert_in_range(lines, 1000, 1700);
    free(text);
}

static void bad_requests(void **state)
{
    (void)state;
    example e = example_make();
    char   *text = (char *)&text;
    assert_int_equal(cot_plot_parts(e.run, e.evaluation, NULL),
                     COT_PLOT_CURVE | COT_PLOT_LOAD | COT_PLOT_SOURCES | COT_PLOT_KEYS);
    assert_int_equal(cot_plot_parts(e.run, NULL, NULL), COT_PLOT_CURVE | COT_PLOT_LOAD);
    assert_int_equal(cot_plot_parts(NULL, NULL, NULL), 0);
    assert_int_equal(cot_plot_script(&e.plot, "a.jpg", &text), COT_INVALID);
    assert_string_equal(cot_last_error(), "'a.jpg': a picture's name ends in .png, .svg or .pdf");
    assert_null(text);
    assert_int_equal(cot_plot_script(&e.plot, ".png", &text), COT_INVALID);
    assert_int_equal(cot_plot_script(&e.plot, "|sh>a.png", &text), COT_INVALID);
    assert_int_equal(cot_plot_script(&e.plot, "a\nb.png", &text), COT_INVALID);
    e.plot.parts = 0;
    assert_int_equal(cot_plot_script(&e.plot, "a.png", &text), COT_INVALID);
    e.plot.parts = 8;
    assert_int_equal(cot_plot_script(&e.plot, "a.png", &text), COT_INVALID);
    e.plot.parts = COT_PLOT_SOURCES;
    e.plot.evaluation = NULL;
    assert_int_equal(cot_plot_script(&e.plot, "a.png", &text), COT_INVALID);
    e.plot.parts = COT_PLOT_KEYS;
    assert_int_equal(cot_plot_script(&e.plot, "a.png", &text), COT_INVALID);
    e.plot.parts = COT_PLOT_LOAD;
    cot_plot_run dense = *e.run;
    dense.layers = 0;
    e.plot.run = &dense;
    assert_int_equal(cot_plot_script(&e.plot, "a.png", &text), COT_INVALID);
    e.plot.run = NULL;
    assert_int_equal(cot_plot_script(&e.plot, "a.png", &text), COT_INVALID);
    example_free(&e);
}

/* ---- drawing ---- */

static void check_picture(const char *path, const char *magic)
{
    char        head[8] = "";
    struct stat made;
    FILE *const f = fopen(path, "rb");
    assert_non_null(f);
    assert_true(fread(head, 1, 5, f) == 5);
    fclose(f);
    assert_memory_equal(head, magic, strlen(magic));
    assert_int_equal(stat(path, &made), 0);
    assert_true(made.st_size > 2000);
}

static void draws(void **state)
{
    (void)state;
    example           e = example_make();
    const char *const path = in_folder("it's.png");
    const size_t      before = files_in_folder();
    const cot_status  status = cot_plot_draw(&e.plot, path, false);
    if (status == COT_NOT_FOUND) {
        example_free(&e);
        skip(); /* no gnuplot on this machine */
    }
    if (status != COT_OK) fail_msg("%s", cot_last_error());
    check_picture(path, "\x89PNG");
    assert_int_equal(files_in_folder(), before + 1);

    assert_int_equal(cot_plot_draw(&e.plot, in_folder("a.svg"), false), COT_OK);
    check_picture(in_folder("a.svg"), "<?xml");
    assert_int_equal(cot_plot_draw(&e.plot, in_folder("a.pdf"), true), COT_OK);
    check_picture(in_folder("a.pdf"), "%PDF");
    assert_int_equal(files_in_folder(), before + 4);
    assert_int_equal(access(in_folder("a.gp"), R_OK), 0);

    assert_int_equal(cot_plot_draw(&e.plot, in_folder("absent/a.png"), false), COT_IO);
    example_free(&e);
}

/* Without gnuplot: one line that says what to install, and nothing left behind. With one that fails: its own words. */
static void no_gnuplot(void **state)
{
    (void)state;
    example      e = example_make();
    const char  *path = getenv("PATH");
    char *const  kept = path ? strdup(path) : NULL;
    const size_t before = files_in_folder();
    setenv("PATH", folder, 1);
    assert_int_equal(cot_plot_draw(&e.plot, in_folder("b.png"), true), COT_NOT_FOUND);
    assert_holds(cot_last_error(), "b.png: drawing needs gnuplot, which is not in PATH (Debian: gnuplot-nox)");
    assert_int_equal(files_in_folder(), before);

    const char *const fake = write_file("gnuplot", "#!/bin/sh\necho 'gnuplot> plot x' >&2\necho '   ^' >&2\n"
                                                   "echo '\"a.gp\" line 7: no such thing' >&2\nexit 1\n");
    assert_int_equal(chmod(fake, 0755), 0);
    assert_int_equal(cot_plot_draw(&e.plot, in_folder("b.png"), true), COT_IO);
    assert_holds(cot_last_error(), "b.png: gnuplot failed: line 7: no such thing");
    assert_int_equal(files_in_folder(), before + 1);
    unlink(in_folder("gnuplot"));

    if (kept) setenv("PATH", kept, 1);
    free(kept);
    example_free(&e);
}

/* Whichever allocation fails: a status, and nothing left behind. */
static void memory_short(void **state)
{
    (void)state;
    const char *const path = write_file("m.jsonl", metrics), *const eval = write_file("eval.json", evaluation);
    const int64_t     blocks = cot_memory_blocks();
    for (int64_t n = 1;; n++) {
        cot_plot_run        *run = NULL;
        cot_plot_evaluation *evaluated = NULL;
        cot_memory_fail_after(n);
        cot_status status = cot_plot_run_read(path, &run);
        if (status == COT_OK) status = cot_plot_evaluation_read(eval, &evaluated);
        cot_memory_fail_after(0);
        cot_plot_run_destroy(run);
        cot_plot_evaluation_destroy(evaluated);
        assert_int_equal(cot_memory_blocks(), blocks);
        if (status == COT_OK) break;
        assert_int_equal(status, COT_OUT_OF_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_metrics),    cmocka_unit_test(long_and_resumed), cmocka_unit_test(bad_metrics),
        cmocka_unit_test(reads_evaluation), cmocka_unit_test(bad_evaluations),  cmocka_unit_test(script_content),
        cmocka_unit_test(script_thins),     cmocka_unit_test(bad_requests),     cmocka_unit_test(draws),
        cmocka_unit_test(no_gnuplot),       cmocka_unit_test(memory_short),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
