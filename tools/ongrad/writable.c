/* Is a path fit to be written, asked before the work starts: hours later is too late. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/ongrad/run.h"
#include "tools/ongrad/say.h"

static bool same_file(const char *a, const struct stat *b)
{
    struct stat info;
    return stat(a, &info) == 0 && info.st_dev == b->st_dev && info.st_ino == b->st_ino;
}

static const char *file_being_read(const og__run *run, const struct stat *info)
{
    const og__bindings *b = &run->data;
    const char *model = run->arguments->model;
    if (model && run->model && same_file(model, info))
        return model;
    for (int i = 0; i < run->losses.n; i++)
        if (run->losses.items[i].is_model && same_file(run->losses.items[i].loss, info))
            return run->losses.items[i].loss;
    for (int i = 0; i < b->n_inputs; i++)
        if (b->inputs[i].path && same_file(b->inputs[i].path, info))
            return b->inputs[i].path;
    for (int t = 0; t < b->n_targets; t++)
        if (b->targets[t].path && same_file(b->targets[t].path, info))
            return b->targets[t].path;
    return NULL;
}

int og__run_check_writable(const og__run *run, const char *what, const char *path)
{
    struct stat info;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (!*name)
        return og__say_error(run->command, OG__EXIT_USAGE, "%s %s is a folder, expected a file",
                             what, path);
    if (stat(path, &info) == 0) {
        if (S_ISDIR(info.st_mode))
            return og__say_error(run->command, OG__EXIT_USAGE, "%s %s is a folder, expected a file",
                                 what, path);
        const char *other = file_being_read(run, &info);
        if (other)
            return og__say_error(run->command, OG__EXIT_USAGE,
                                 "%s %s is a file that is being read (%s); choose another name",
                                 what, path, other);
        if (S_ISREG(info.st_mode) && access(path, W_OK) != 0)
            return og__say_error(run->command, OG__EXIT_FAILED, "cannot write %s: %s", path,
                                 strerror(errno));
    }
    char *folder = slash == path ? strdup("/")
                   : slash       ? strndup(path, (size_t)(slash - path))
                                 : strdup(".");
    int status = OG__EXIT_DONE;
    if (!folder)
        return og__say_error(run->command, OG__EXIT_FAILED, "out of memory");
    if (stat(folder, &info) != 0)
        status = og__say_error(run->command, OG__EXIT_FAILED, "cannot write %s: the folder %s: %s",
                               path, folder, strerror(errno));
    else if (!S_ISDIR(info.st_mode))
        status = og__say_error(run->command, OG__EXIT_FAILED, "cannot write %s: %s is not a folder",
                               path, folder);
    else if (access(folder, W_OK | X_OK) != 0)
        status = og__say_error(run->command, OG__EXIT_FAILED, "cannot write %s: the folder %s: %s",
                               path, folder, strerror(errno));
    free(folder);
    return status;
}
