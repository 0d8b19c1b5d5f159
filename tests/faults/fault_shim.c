/* Preloaded into the program by tests/faults/faults.py: counts the calls that change files, in the order in which they
 * come, and lets the n-th go wrong. Calls on standard output and standard error are left alone.
 *
 *   COTERIE_FAULT=die:N     SIGKILL in place of call N
 *   COTERIE_FAULT=tear:N    SIGKILL in the middle of call N: half of a write is on its way, anything else has been done
 *   COTERIE_FAULT=fail:N    call N alone fails: EIO
 *   COTERIE_FAULT=full:N    the disk is full from call N on: half of write N is taken, then writes and new files fail
 *   with ENOSPC COTERIE_FAULT=clock     nothing fails, but the time of day jumps by years, back and forth, and the
 *   monotonic clock by hours, forth COTERIE_FAULT_LOG=FILE  appends a line for each call: its number, what it is, its
 *   path */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef enum { GOOD, DIE, TEAR, FAIL, FULL } fate;

static long count;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void log_call(const char *what, const char *path)
{
    static int log = -1;
    const char *file = getenv("COTERIE_FAULT_LOG");
    char line[4200];
    if (!file) return;
    if (log < 0) log = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    const int length = snprintf(line, sizeof line, "%ld %s %s\n", count, what, path);
    syscall(SYS_write, log, line, (size_t)length);
}

/* Counts a call and says what shall become of it. `grows` tells those that need room on the disk. */
static fate next(const char *what, const char *path, bool grows)
{
    const char *fault = getenv("COTERIE_FAULT"), *colon = fault ? strchr(fault, ':') : NULL;
    const long at = colon ? strtol(colon + 1, NULL, 10) : 0;
    count++;
    log_call(what, path);
    if (!at || count < at) return GOOD;
    if (strncmp(fault, "full", 4) == 0) return grows ? FULL : GOOD;
    if (count > at) return GOOD;
    if (strncmp(fault, "die", 3) == 0) kill(getpid(), SIGKILL);
    return strncmp(fault, "tear", 4) == 0 ? TEAR : FAIL;
}

/* What a call that is no write returns: `result` where it was made, else its failure. */
#define ANSWER(fate_, call)              \
    do {                                 \
        const fate f_ = (fate_);         \
        if (f_ == FAIL || f_ == FULL) {  \
            errno = f_ == FAIL ? EIO : ENOSPC; \
            return -1;                   \
        }                                \
        const int result_ = (call);      \
        if (f_ == TEAR) kill(getpid(), SIGKILL); \
        return result_;                  \
    } while (0)

static const char *path_of(int file)
{
    static char path[4096];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    return path;
}

ssize_t write(int file, const void *data, size_t bytes)
{
    static bool full;
    ssize_t (*const call)(int, const void *, size_t) = (ssize_t (*)(int, const void *, size_t))real("write");
    if (file <= 2) return call(file, data, bytes);
    const fate f = next("write", path_of(file), true);
    if (f == GOOD) return call(file, data, bytes);
    if (f == FULL && !full) {
        full = true;
        if (bytes > 1) return call(file, data, bytes / 2);
    }
    if (f == TEAR) {
        const ssize_t written = call(file, data, bytes / 2);
        kill(getpid(), SIGKILL);
        return written;
    }
    errno = f == FULL ? ENOSPC : EIO;
    return -1;
}

int open(const char *path, int flags, ...)
{
    int (*const call)(const char *, int, ...) = (int (*)(const char *, int, ...))real("open");
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if (!(flags & O_CREAT)) return call(path, flags, mode);
    struct stat info;
    ANSWER(next("open", path, stat(path, &info) != 0), call(path, flags, mode));
}

int rename(const char *from, const char *to)
{
    int (*const call)(const char *, const char *) = (int (*)(const char *, const char *))real("rename");
    ANSWER(next("rename", to, false), call(from, to));
}

int fsync(int file)
{
    int (*const call)(int) = (int (*)(int))real("fsync");
    ANSWER(next("fsync", path_of(file), false), call(file));
}

int unlink(const char *path)
{
    int (*const call)(const char *) = (int (*)(const char *))real("unlink");
    ANSWER(next("unlink", path, false), call(path));
}

int mkdir(const char *path, mode_t mode)
{
    int (*const call)(const char *, mode_t) = (int (*)(const char *, mode_t))real("mkdir");
    struct stat info;
    if (stat(path, &info) == 0) return call(path, mode);  /* it fails anyway */
    ANSWER(next("mkdir", path, true), call(path, mode));
}

int ftruncate(int file, off_t length)
{
    int (*const call)(int, off_t) = (int (*)(int, off_t))real("ftruncate");
    ANSWER(next("ftruncate", path_of(file), false), call(file, length));
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    static _Thread_local long calls;
    const int result = (int)syscall(SYS_clock_gettime, clock, out);
    const char *fault = getenv("COTERIE_FAULT");
    if (result != 0 || !fault || strcmp(fault, "clock") != 0) return result;
    calls++;
    if (clock == CLOCK_REALTIME) out->tv_sec += (calls % 3 - 1) * 100000000;
    else if (clock == CLOCK_MONOTONIC) out->tv_sec += calls / 5 * 3600;
    return result;
}
