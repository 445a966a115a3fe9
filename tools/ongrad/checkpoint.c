#include "tools/ongrad/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/ongrad/progress.h"
#include "tools/ongrad/say.h"

static int no_memory(const og__checkpoints *c)
{
    return og__say_error(c->command, OG__EXIT_FAILED, "out of memory for the checkpoints");
}

char *og__checkpoint_path(const og__arguments *a, const char *output)
{
    static const char end[] = ".onnx";
    const char *given = og__argument(a, "checkpoint");
    size_t n = strlen(output), stem = n;
    if (given)
        return strdup(given);
    if (n > sizeof end - 1 && strcmp(output + n - (sizeof end - 1), end) == 0)
        stem = n - (sizeof end - 1);
    char *path = malloc(stem + sizeof ".ckpt.onnx");
    if (path)
        sprintf(path, "%.*s.ckpt.onnx", (int)stem, output);
    return path;
}

bool og__every_parse(const char *text, og__every *every, double *amount)
{
    static const struct {
        const char *unit;
        og__every every;
        double factor;
    } units[] = {{"", OG__EVERY_STEPS, 1},      {"steps", OG__EVERY_STEPS, 1},
                 {"ep", OG__EVERY_EPOCHS, 1},   {"epochs", OG__EVERY_EPOCHS, 1},
                 {"s", OG__EVERY_SECONDS, 1},   {"m", OG__EVERY_SECONDS, 60},
                 {"h", OG__EVERY_SECONDS, 3600}};
    char *end;
    double value = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof *units && end != text; i++) {
        bool counts = units[i].every != OG__EVERY_SECONDS;
        if (strcmp(end, units[i].unit) != 0 || !(value > 0) || value > 1e15 ||
            (counts && value != floor(value)))
            continue;
        *every = units[i].every;
        *amount = value * units[i].factor;
        return true;
    }
    return false;
}

static bool is_no_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && !S_ISREG(info.st_mode);
}

int og__checkpoints_open(og__checkpoints *c, const og__run *run, const char *output)
{
    const og__arguments *a = run->arguments;
    const char *every = og__argument(a, "checkpoint_every");
    *c = (og__checkpoints){
        .command = run->command, .keep = (int)og__argument_int(a, "keep"), .lock = -1, .saved = -1};
    if (every && !og__every_parse(every, &c->every, &c->amount))
        return og__say_error(c->command, OG__EXIT_USAGE,
                             "--checkpoint_every is \"%s\", expected optimizer steps (500), epochs "
                             "(2ep) or time (30s, 10m, 2h)",
                             every);
    if (!og__argument_is_set(a, "checkpoint") && is_no_file(output)) {
        if (every)
            return og__say_error(c->command, OG__EXIT_USAGE,
                                 "%s is no file that checkpoints could lie beside; say where with "
                                 "--checkpoint PATH",
                                 output);
        return OG__EXIT_DONE;
    }
    c->path = og__checkpoint_path(a, output);
    if (!c->path)
        return no_memory(c);
    if (strcmp(c->path, output) == 0)
        return og__say_error(c->command, OG__EXIT_USAGE, "--output and --checkpoint are both %s",
                             output);
    if (is_no_file(c->path))
        return og__say_error(c->command, OG__EXIT_USAGE, "--checkpoint %s is no file", c->path);
    return OG__EXIT_DONE;
}

/* Locked, and still what the path names: whoever held it before may have removed it since. */
static bool try_lock(og__checkpoints *c)
{
    struct stat mine, there;
    c->lock = open(c->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (c->lock < 0)
        return false;
    if (flock(c->lock, LOCK_EX | LOCK_NB) == 0 && fstat(c->lock, &mine) == 0 &&
        stat(c->lock_path, &there) == 0 && mine.st_ino == there.st_ino)
        return true;
    int problem = errno;
    close(c->lock);
    c->lock = -1;
    errno = problem;
    return false;
}

int og__checkpoints_lock(og__checkpoints *c)
{
    char pid[32] = {0};
    if (!c->path)
        return OG__EXIT_DONE;
    c->lock_path = malloc(strlen(c->path) + sizeof ".lock");
    if (!c->lock_path)
        return no_memory(c);
    sprintf(c->lock_path, "%s.lock", c->path);
    for (int i = 0; i < 3 && !try_lock(c); i++)
        if (errno == EWOULDBLOCK) {
            int fd = open(c->lock_path, O_RDONLY | O_CLOEXEC);
            if (fd >= 0 && read(fd, pid, sizeof pid - 1) < 0)
                pid[0] = '\0';
            if (fd >= 0)
                close(fd);
            return og__say_error(c->command, OG__EXIT_FAILED,
                                 "another run%s%.*s writes %s; give this one another --output or "
                                 "--checkpoint",
                                 pid[0] ? ", process " : "", (int)strcspn(pid, "\n"), pid, c->path);
        }
    if (c->lock < 0)
        return og__say_error(c->command, OG__EXIT_FAILED, "cannot lock %s: %s", c->lock_path,
                             strerror(errno));
    /* For the other run's message; a full disk is told of elsewhere. */
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(c->lock, 0) != 0 || pwrite(c->lock, pid, (size_t)n, 0) < 0)
        errno = 0;
    og_checkpoint_clean_path(c->path);
    return OG__EXIT_DONE;
}

void og__checkpoints_close(og__checkpoints *c)
{
    if (c->lock_path && c->lock >= 0) {
        unlink(c->lock_path);
        close(c->lock);
    }
    free(c->lock_path);
    free(c->path);
    *c = (og__checkpoints){.lock = -1};
}

void og__checkpoints_begin(og__checkpoints *c, int64_t steps, int64_t epochs)
{
    c->steps = steps;
    c->epochs = epochs;
    c->seconds = og__seconds();
}

bool og__checkpoints_due(og__checkpoints *c, int64_t steps, int64_t epochs)
{
    int64_t amount = (int64_t)c->amount;
    bool due = c->every == OG__EVERY_STEPS    ? steps / amount > c->steps / amount
               : c->every == OG__EVERY_EPOCHS ? epochs / amount > c->epochs / amount
               : c->every == OG__EVERY_SECONDS
                   ? steps > c->steps && og__seconds() - c->seconds >= c->amount
                   : false;
    if (due)
        og__checkpoints_begin(c, steps, epochs);
    return due;
}
