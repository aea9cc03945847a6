/* Preloaded into a process, remembers what a disk would hold if the power went now: of each file the bytes
 * that were synced, of each directory the names that were synced. Kept as files under POWERCUT_SHADOW, for
 * what lies under POWERCUT_ROOT: files/ID holds bytes, directories/ID lines of "f ID name" or "d ID name",
 * root the ID of the root. An ID is the inode and its time of birth, since inodes are used again. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096
#define DIRTY 512

struct dirty { off_t from, to; };
/* What was written through a descriptor and not synced. A file is only written through one at a time here,
 * but synced through others, so all descriptors of a file are looked at. */
static struct { int used; dev_t dev; ino_t ino; int count; struct dirty dirty[DIRTY]; } fds[FDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *root, *shadow;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static void id_of(int fd, char *id, size_t size) {
    struct statx found;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &found)) { perror("statx"); _exit(99); }
    snprintf(id, size, "%llx.%llx.%x", (unsigned long long)found.stx_ino,
             (unsigned long long)found.stx_btime.tv_sec, found.stx_btime.tv_nsec);
}

__attribute__((constructor)) static void begin(void) {
    root = getenv("POWERCUT_ROOT");
    shadow = getenv("POWERCUT_SHADOW");
    if (!root || !shadow) return;
    char path[4096], id[64];
    int fd = open(root, O_RDONLY | O_DIRECTORY);
    id_of(fd, id, sizeof id);
    close(fd);
    snprintf(path, sizeof path, "%s/root", shadow);
    FILE *file = fopen(path, "w");
    fprintf(file, "%s\n", id);
    fclose(file);
}

static int ours(const char *path) {
    if (!root || strncmp(path, root, strlen(root)) || strstr(path, "-shm")) return 0;
    char next = path[strlen(root)];
    return next == '/' || !next; /* the shadow may lie beside it */
}

static void opened(int fd, const char *path) {
    struct stat found;
    if (fd < 0 || fd >= FDS || !ours(path) || fstat(fd, &found)) return;
    pthread_mutex_lock(&lock);
    fds[fd].used = 1; fds[fd].dev = found.st_dev; fds[fd].ino = found.st_ino; fds[fd].count = 0;
    pthread_mutex_unlock(&lock);
}

static int known(int fd) { return fd >= 0 && fd < FDS && fds[fd].used; }

static void wrote(int fd, off_t from, ssize_t bytes) {
    if (!known(fd) || bytes <= 0) return;
    pthread_mutex_lock(&lock);
    struct dirty *dirty = fds[fd].dirty;
    int count = fds[fd].count;
    if (count && dirty[count - 1].to == from) dirty[count - 1].to = from + bytes;
    else if (count < DIRTY) { dirty[count].from = from; dirty[count].to = from + bytes; fds[fd].count++; }
    else { /* too many: one range over all of them */
        for (int n = 1; n < DIRTY; n++) {
            if (dirty[n].from < dirty[0].from) dirty[0].from = dirty[n].from;
            if (dirty[n].to > dirty[0].to) dirty[0].to = dirty[n].to;
        }
        if (from < dirty[0].from) dirty[0].from = from;
        if (from + bytes > dirty[0].to) dirty[0].to = from + bytes;
        fds[fd].count = 1;
    }
    pthread_mutex_unlock(&lock);
}

static void copy(int from, int to, off_t at, off_t end) {
    static __thread char buffer[65536];
    while (at < end) {
        size_t want = end - at < (off_t)sizeof buffer ? (size_t)(end - at) : sizeof buffer;
        ssize_t got = pread(from, buffer, want, at);
        if (got <= 0) return;
        /* Not through our own pwrite: the shadow is not watched. */
        if (pwrite(to, buffer, got, at) != got) { perror("shadow"); _exit(99); }
        at += got;
    }
}

static void synced_file(int fd, struct stat *now) {
    char id[64], path[4096], self[64];
    id_of(fd, id, sizeof id);
    snprintf(path, sizeof path, "%s/files/%s", shadow, id);
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int to = open(path, O_WRONLY | O_CREAT, 0600), from = open(self, O_RDONLY);
    static struct dirty ranges[FDS];
    pthread_mutex_lock(&lock);
    for (int other = 0; other < FDS; other++) {
        if (!fds[other].used || fds[other].ino != now->st_ino || fds[other].dev != now->st_dev) continue;
        int count = fds[other].count;
        memcpy(ranges, fds[other].dirty, count * sizeof *ranges);
        fds[other].count = 0;
        for (int n = 0; n < count; n++) copy(from, to, ranges[n].from, ranges[n].to);
    }
    if (ftruncate(to, now->st_size)) { perror("shadow"); _exit(99); }
    pthread_mutex_unlock(&lock);
    close(to);
    close(from);
}

static void synced_directory(int fd) {
    char id[64], path[4096], temporary[4200], self[64];
    id_of(fd, id, sizeof id);
    snprintf(path, sizeof path, "%s/directories/%s", shadow, id);
    snprintf(temporary, sizeof temporary, "%s.%d", path, (int)gettid());
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    FILE *out = fopen(temporary, "w");
    DIR *names = opendir(self);
    for (struct dirent *entry; (entry = readdir(names));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        int child = openat(fd, entry->d_name, O_RDONLY | O_NOFOLLOW);
        if (child < 0) continue;
        struct stat found;
        fstat(child, &found);
        id_of(child, id, sizeof id);
        fprintf(out, "%c %s %s\n", S_ISDIR(found.st_mode) ? 'd' : 'f', id, entry->d_name);
        close(child);
    }
    closedir(names);
    fclose(out);
    rename(temporary, path);
}

static void synced(int fd) {
    if (!known(fd)) return;
    struct stat now;
    fstat(fd, &now);
    if (S_ISDIR(now.st_mode)) synced_directory(fd);
    else synced_file(fd, &now);
}

#define OPEN(name, parameters, path, ...) \
    int name parameters { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0; \
        va_end(rest); \
        int fd = real(__VA_ARGS__, mode); \
        opened(fd, path); \
        return fd; \
    }
OPEN(open, (const char *path, int flags, ...), path, path, flags)
OPEN(open64, (const char *path, int flags, ...), path, path, flags)
OPEN(openat, (int at, const char *path, int flags, ...), path, at, path, flags)
OPEN(openat64, (int at, const char *path, int flags, ...), path, at, path, flags)

int close(int fd) {
    REAL(close);
    if (known(fd)) {
        /* What was not synced before closing stays lost: move nothing to other descriptors. */
        pthread_mutex_lock(&lock);
        fds[fd].used = 0;
        pthread_mutex_unlock(&lock);
    }
    return real(fd);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    off_t at = known(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = real(fd, bytes, count);
    wrote(fd, at, done);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    off_t at = known(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = real(fd, parts, count);
    wrote(fd, at, done);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    REAL(pwrite);
    ssize_t done = real(fd, bytes, count, at);
    wrote(fd, at, done);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    REAL(pwrite64);
    ssize_t done = real(fd, bytes, count, at);
    wrote(fd, at, done);
    return done;
}

int fsync(int fd) {
    REAL(fsync);
    int done = real(fd);
    if (!done) synced(fd);
    return done;
}

int fdatasync(int fd) {
    REAL(fdatasync);
    int done = real(fd);
    if (!done) synced(fd);
    return done;
}
