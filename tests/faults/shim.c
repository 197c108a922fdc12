/* A machine that fails on demand, for LD_PRELOAD. Two files tell what to do, and may change at any time:

   FAULT_SCRIPT  words "OPERATION=WHAT": of the files whose name contains ".sqlite3", those whose name ends in
                 the word "suffix=…" if there is one, fail. OPERATION is read, write, sync, truncate or open;
                 WHAT is an errno, or "hold": wait until the script says something else. "resolve=hold" and
                 "resolve=fail" are for names, and "die=N" kills the process at its Nth change of such a file.
   FAULT_CLOCK   a number of seconds by which the wall clock is wrong. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define HOLD (-1)

/* Reads a control file; its length, 0 when there is none. By system calls, which nothing here intercepts. */
static int control(const char *variable, char *text, int size) {
    const char *path = getenv(variable);
    int file = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    int length = file < 0 ? 0 : (int)syscall(SYS_read, file, text, size - 1);
    if (file >= 0) syscall(SYS_close, file);
    text[length > 0 ? length : 0] = 0;
    return length > 0 ? length : 0;
}

/* What the script says about an operation: 0 nothing, HOLD, or a number. */
static int scripted(const char *script, const char *operation) {
    size_t length = strlen(operation);
    for (const char *word = script; word; word = strchr(word, ' ')) {
        word += *word == ' ';
        if (strncmp(word, operation, length) || word[length] != '=') continue;
        return strncmp(word + length + 1, "hold", 4) ? atoi(word + length + 1) : HOLD;
    }
    return 0;
}

static int concerns(const char *script, const char *path) {
    const char *suffix = strstr(script, "suffix=");
    if (!strstr(path, ".sqlite3")) return 0;
    if (!suffix) return 1;
    suffix += strlen("suffix=");
    size_t length = strcspn(suffix, " \n"), whole = strlen(path);
    return whole >= length && !strncmp(path + whole - length, suffix, length);
}

static void wait_a_moment(void) {
    struct timespec moment = {0, 5000000};
    nanosleep(&moment, NULL);
}

/* 0 when the operation on the file named `path`, or open as `file`, may go on, else -1 with errno. */
static int fails(const char *operation, const char *path, int file) {
    static atomic_int changes;
    char script[256], link[32], target[PATH_MAX];
    int what;
    if (!control("FAULT_SCRIPT", script, sizeof script)) return 0;
    if (!path) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, target, sizeof target - 1);
        target[length > 0 ? length : 0] = 0;
        path = target;
    }
    if (!concerns(script, path)) return 0;
    if (strcmp(operation, "read") && strcmp(operation, "open")) {
        int last = scripted(script, "die");
        if (last && atomic_fetch_add(&changes, 1) + 1 >= last) kill(getpid(), SIGKILL);
    }
    while ((what = scripted(script, operation)) == HOLD) {
        wait_a_moment();
        control("FAULT_SCRIPT", script, sizeof script);
    }
    if (what) errno = what;
    return what ? -1 : 0;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);

#define FAILING(result, name, operation, parameters, arguments) \
    result name parameters { \
        REAL(name) \
        return fails(operation, NULL, file) ? -1 : real arguments; \
    }

FAILING(ssize_t, read, "read", (int file, void *data, size_t size), (file, data, size))
FAILING(ssize_t, pread, "read", (int file, void *data, size_t size, off_t at), (file, data, size, at))
FAILING(ssize_t, pread64, "read", (int file, void *data, size_t size, off64_t at), (file, data, size, at))
FAILING(ssize_t, write, "write", (int file, const void *data, size_t size), (file, data, size))
FAILING(ssize_t, pwrite, "write", (int file, const void *data, size_t size, off_t at), (file, data, size, at))
FAILING(ssize_t, pwrite64, "write", (int file, const void *data, size_t size, off64_t at), (file, data, size, at))
FAILING(int, fsync, "sync", (int file), (file))
FAILING(int, fdatasync, "sync", (int file), (file))
FAILING(int, ftruncate, "truncate", (int file, off_t size), (file, size))
FAILING(int, ftruncate64, "truncate", (int file, off64_t size), (file, size))

#define OPENING(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = va_arg(more, mode_t); \
        va_end(more); \
        REAL(name) \
        return fails("open", path, -1) ? -1 : real(path, flags, mode); \
    }

OPENING(open)
OPENING(open64)

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    char script[256], address[sizeof(struct in6_addr)];
    int numeric = !name || inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
    int what = 0;
    while (!numeric && control("FAULT_SCRIPT", script, sizeof script) && (what = scripted(script, "resolve")) == HOLD)
        wait_a_moment();
    REAL(getaddrinfo)
    return what > 0 ? EAI_AGAIN : real(name, service, hints, found);
}

static time_t wrong_by(void) {
    char text[32];
    return control("FAULT_CLOCK", text, sizeof text) ? (time_t)atoll(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += wrong_by();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
