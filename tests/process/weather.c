/* Weather for one process, without rights: a wall clock that is set, a machine that slept, a disk that refuses.
 *
 * Preloaded (LD_PRELOAD) into the process under test. WEATHER_FILE names a file of three native int64 that the test
 * writes while the process runs: wall offset (ns), time asleep (ns), errno of every write below WEATHER_FOLDER (0 =
 * none). CLOCK_MONOTONIC is never touched: Linux lets nobody set it, and it stands still while a machine sleeps.
 *
 * Not libfaketime: 0.9.10 makes time.sleep() of Python 3.11 fail (EINVAL) when it leaves the monotonic clock alone.
 * Not `mount -o remount,ro`: the kernel refuses that (EBUSY) while a file is open for writing, and the journal's is. What
 * a file system does that turned read-only by itself is in test_read_only.py, with a real one: the same errors.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WALL_NS, ASLEEP_NS, REFUSES, WORDS };
static const int64_t fair[WORDS];
static const volatile int64_t *weather = fair;
static const char *folder = "";
static size_t folder_length;
#define S 1000000000LL
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void look_out(void) {
    const char *file = getenv("WEATHER_FILE"), *below = getenv("WEATHER_FOLDER");
    int fd = file ? (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *seen = mmap(NULL, sizeof fair, PROT_READ, MAP_SHARED, fd, 0);
        if (seen != MAP_FAILED) weather = seen;
        close(fd);
    }
    if (below) folder = below, folder_length = strlen(below);
}

/* ---- clocks ---- */

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (syscall(SYS_clock_gettime, clock, now)) return -1;
    int64_t ahead = 0;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI)
        ahead = weather[WALL_NS] + weather[ASLEEP_NS];
    if (clock == CLOCK_BOOTTIME) ahead = weather[ASLEEP_NS];
    int64_t ns = now->tv_sec * S + now->tv_nsec + ahead;
    now->tv_sec = ns / S, now->tv_nsec = ns % S;
    return 0;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec, now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *into) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (into) *into = exact.tv_sec;
    return exact.tv_sec;
}

/* ---- a disk that refuses: all that would change it ---- */

static int refused_path(const char *path) {
    int why = (int)weather[REFUSES];
    if (!why || !folder_length || strncmp(path, folder, folder_length)) return 0;
    errno = why;
    return 1;
}

static int refused(int fd) {
    char name[64], path[PATH_MAX];
    if (!weather[REFUSES]) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return refused_path(path);
}

static int changes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); }

#define OPEN(name)                                                              \
    int name(const char *path, int flags, ...) {                                \
        va_list more;                                                           \
        va_start(more, flags);                                                  \
        mode_t mode = va_arg(more, mode_t);                                     \
        va_end(more);                                                           \
        return changes(flags) && refused_path(path) ? -1 : REAL(name)(path, flags, mode); \
    }
#define OPENAT(name)                                                            \
    int name(int at, const char *path, int flags, ...) {                        \
        va_list more;                                                           \
        va_start(more, flags);                                                  \
        mode_t mode = va_arg(more, mode_t);                                     \
        va_end(more);                                                           \
        return changes(flags) && refused_path(path) ? -1 : REAL(name)(at, path, flags, mode); \
    }
#define CHANGE(result, name, check, parameters, arguments) \
    result name parameters { return check ? -1 : REAL(name) arguments; }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
CHANGE(ssize_t, write, refused(fd), (int fd, const void *data, size_t size), (fd, data, size))
CHANGE(ssize_t, pwrite, refused(fd), (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
CHANGE(ssize_t, pwrite64, refused(fd), (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
CHANGE(ssize_t, writev, refused(fd), (int fd, const struct iovec *parts, int count), (fd, parts, count))
CHANGE(int, ftruncate, refused(fd), (int fd, off_t size), (fd, size))
CHANGE(int, ftruncate64, refused(fd), (int fd, off64_t size), (fd, size))
CHANGE(int, fsync, refused(fd), (int fd), (fd))
CHANGE(int, fdatasync, refused(fd), (int fd), (fd))
CHANGE(int, mkdir, refused_path(path), (const char *path, mode_t mode), (path, mode))
CHANGE(int, mkdirat, refused_path(path), (int at, const char *path, mode_t mode), (at, path, mode))
CHANGE(int, unlink, refused_path(path), (const char *path), (path))
CHANGE(int, unlinkat, refused_path(path), (int at, const char *path, int flags), (at, path, flags))
CHANGE(int, rename, refused_path(to), (const char *from, const char *to), (from, to))
CHANGE(int, renameat, refused_path(to), (int a, const char *from, int b, const char *to), (a, from, b, to))
