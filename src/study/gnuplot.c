#define _POSIX_C_SOURCE 200809L
#include "study/gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/memory.h"
#include "formats/file.h"
#include "study/plot_page.h"

extern char **environ;

enum { WORDS = 4096 };

/* ---- the program ---- */

/* Reads to the end; the first WORDS - 1 bytes are kept. */
static void read_words(int fd, char words[WORDS])
{
    char   rest[512];
    size_t used = 0;
    for (;;) {
        const bool    full = used == WORDS - 1;
        const ssize_t got = read(fd, full ? rest : words + used, full ? sizeof rest : WORDS - 1 - used);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        if (!full) used += (size_t)got;
    }
    words[used] = '\0';
}

/* What gnuplot complained about: the last line with ink, from "line N:" on where it says so. */
static const char *complaint(char *words)
{
    const char *last = "it said nothing";
    char       *state = NULL;
    for (char *line = strtok_r(words, "\r\n", &state); line; line = strtok_r(NULL, "\r\n", &state)) {
        line += strspn(line, " \t");
        if (*line && *line != '^') last = line;
    }
    const char *const at = strstr(last, " line ");
    return at ? at + 1 : last;
}

/* Starts gnuplot with nothing to read, nowhere to print, and its complaints going to `errors`. Returns an errno. */
static int start(const char *define, const char *script, int errors, pid_t *child)
{
    char name[] = "gnuplot", defaults[] = "-d", execute[] = "-e";
    char *const arguments[] = {name, defaults, execute, (char *)define, (char *)script, NULL};
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    if (error) return error;
    error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!error) error = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (!error) error = posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
    if (!error) error = posix_spawnp(child, name, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static bool finished_well(pid_t child)
{
    int   how = 0;
    pid_t got;
    do got = waitpid(child, &how, 0);
    while (got < 0 && errno == EINTR);
    return got == child && WIFEXITED(how) && WEXITSTATUS(how) == 0;
}

typedef struct {
    const char *picture;
    char       *part;    /* where the script draws: a hidden file beside the picture */
    char       *script;  /* the script's file, beside it */
    char       *define;  /* tells the script: picture = 'PART' */
} job;

static cot_status run(const job *j)
{
    int   ends[2];
    pid_t child;
    if (pipe(ends) != 0) return cot_fail(COT_IO, "%s: cannot start gnuplot: %s", j->picture, strerror(errno));
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    const int error = start(j->define, j->script, ends[1], &child);
    close(ends[1]);
    char words[WORDS] = "";
    if (!error) read_words(ends[0], words);
    close(ends[0]);
    if (error == ENOENT)
        return cot_fail(COT_NOT_FOUND, "%s: drawing needs gnuplot, which is not in PATH (Debian: gnuplot-nox)",
                        j->picture);
    if (error) return cot_fail(COT_IO, "%s: cannot start gnuplot: %s", j->picture, strerror(error));
    const bool  well = finished_well(child);
    struct stat made;
    if (!well || stat(j->part, &made) != 0 || made.st_size == 0)
        return cot_fail(COT_IO, "%s: gnuplot failed: %.300s", j->picture, complaint(words));
    if (rename(j->part, j->picture) != 0)
        return cot_fail(COT_IO, "%s: cannot be written: %s", j->picture, strerror(errno));
    return COT_OK;
}

/* ---- its files ---- */

static char *joined(const char *a, size_t a_length, const char *b, const char *c)
{
    const size_t b_length = strlen(b), c_length = strlen(c);
    char *const  out = cot_malloc(a_length + b_length + c_length + 1);
    if (!out) return NULL;
    memcpy(out, a, a_length);
    memcpy(out + a_length, b, b_length);
    memcpy(out + a_length + b_length, c, c_length + 1);
    return out;
}

/* "picture = 'PART'", free()d by the caller. */
static char *definition(const char *part)
{
    char  *text = NULL;
    size_t bytes = 0;
    FILE  *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    fputs("picture = ", out);
    cot_plot_quote(out, part);
    const bool good = !ferror(out);
    if (fclose(out) == 0 && good) return text;
    free(text);
    return NULL;
}

static bool job_prepare(job *j)
{
    const char *const slash = strrchr(j->picture, '/');
    const size_t      folder = slash ? (size_t)(slash + 1 - j->picture) : 0;
    char              mark[32];
    snprintf(mark, sizeof mark, ".%ld", (long)getpid());
    char *const hidden = joined(j->picture, folder, ".", j->picture + folder);
    if (hidden) j->part = joined(hidden, strlen(hidden), mark, "");
    cot_free(hidden);
    if (!j->part) return false;
    j->script = joined(j->part, strlen(j->part), ".gp", "");
    j->define = definition(j->part);
    return j->script && j->define;
}

cot_status cot_gnuplot_run(const char *script, const char *picture)
{
    job        j = {.picture = picture};
    cot_status status = job_prepare(&j) ? COT_OK : cot_fail(COT_OUT_OF_MEMORY, "%s: no memory to draw it", picture);
    if (status == COT_OK) status = cot_file_write(j.script, script, strlen(script));
    if (status == COT_OK) {
        status = run(&j);
        unlink(j.script);
        if (status != COT_OK) unlink(j.part);
    }
    cot_free(j.part);
    cot_free(j.script);
    free(j.define);
    return status;
}
