/* External data: the files beside a model that hold its tensors.
 *
 * A location is relative to the model's folder, without "..", and what it resolves to, symbolic
 * links followed, must be a regular file inside that folder, or inside the real folder of a model
 * file that is itself a link (caches of model hubs keep snapshots/…/model.onnx → ../../blobs/…). So
 * a model cannot make us read a file elsewhere. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/onnx/file.h"
#include "runtime/onnx/names.h"

typedef struct mapping {
    char *path; /* resolved; NULL: memory that was lent, not mapped here */
    og__file file;
} mapping;

struct og__external {
    char *folder;       /* as the caller gave it; NULL: no external data */
    char *real_folder;  /* resolved */
    char *model_folder; /* resolved folder of the resolved model file; may equal real_folder; NULL
                           if unknown */
    mapping *files;
    int n_files;
    size_t capacity;
    uint64_t bytes;
    og_arena *arena;
    og__names locations; /* → index in files */
};

og__external *og__external_new(const char *path, const char *folder)
{
    og__external *e = calloc(1, sizeof(*e));
    if (!e || !(e->arena = og_arena_new()))
        goto failed;
    e->locations = og__names_in(e->arena);
    if (path) {
        char *real = realpath(path, NULL);
        e->model_folder = real ? og__path_folder(real) : NULL;
        free(real);
        e->folder = og__path_folder(path);
    } else if (folder) {
        e->folder = strdup(*folder ? folder : ".");
    }
    if ((path || folder) && !e->folder)
        goto failed;
    e->real_folder = e->folder ? realpath(e->folder, NULL) : NULL;
    return e;
failed:
    og__external_free(e);
    return NULL;
}

void og__external_free(og__external *e)
{
    if (!e)
        return;
    for (int i = 0; i < e->n_files; i++)
        if (e->files[i].path) {
            og__file_unmap(&e->files[i].file);
            free(e->files[i].path);
        }
    free(e->folder);
    free(e->real_folder);
    free(e->model_folder);
    og_arena_free(e->arena);
    free(e);
}

void og__external_forget(const og__external *e, const void *data, size_t bytes)
{
    for (int i = 0; i < e->n_files; i++)
        if (e->files[i].path)
            og__file_forget(&e->files[i].file, data, bytes);
}

uint64_t og__external_bytes(const og__external *e)
{
    return e->bytes;
}

static bool location_is_safe(const char *location)
{
    if (!*location || *location == '/' || strlen(location) >= PATH_MAX)
        return false;
    for (const char *p = location; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == '\0'))
            return false;
    }
    return true;
}

static bool lies_in(const char *path, const char *folder)
{
    size_t n = folder ? strlen(folder) : 0;
    if (n == 0 || strncmp(path, folder, n) != 0)
        return false;
    return folder[n - 1] == '/' || path[n] == '/' || !path[n];
}

/* The resolved path of folder/location; NULL with errno set. */
static char *resolve(const char *folder, const char *location)
{
    size_t n = strlen(folder) + strlen(location) + 2;
    char *joined = malloc(n);
    if (!joined)
        return NULL;
    snprintf(joined, n, "%s/%s", folder, location);
    char *real = realpath(joined, NULL);
    int e = errno;
    free(joined);
    errno = e;
    return real;
}

/* One more mapping; false when out of memory. */
static bool add_mapping(og__external *e, char *path, og__file file)
{
    mapping *files =
        og_arena_grow(e->arena, e->files, (size_t)e->n_files, &e->capacity, sizeof(*files));
    if (!files)
        return false;
    e->files = files;
    e->files[e->n_files++] = (mapping){path, file};
    e->bytes += file.size;
    return true;
}

bool og__external_lend(og__external *e, const char *location, const void *data, size_t size)
{
    const char *key = og_arena_strdup(e->arena, location);
    return key && add_mapping(e, NULL, (og__file){data, size}) &&
           og__names_set(&e->locations, key, e->n_files - 1);
}

/* Index of the mapping of a resolved path; takes `real` over. */
static og_status map_file(og__external *e, char *real, int *index, og_error *error)
{
    for (int i = 0; i < e->n_files; i++)
        if (e->files[i].path && strcmp(e->files[i].path, real) == 0) {
            free(real);
            *index = i;
            return OG_OK;
        }
    og__file file;
    og_status status = og__file_map(real, "external data", SIZE_MAX / 4, &file, error);
    if (status != OG_OK) {
        free(real);
        return status;
    }
    if (!add_mapping(e, real, file)) {
        og__file_unmap(&file);
        free(real);
        return og_fail_memory(error, sizeof(mapping), "external data");
    }
    *index = e->n_files - 1;
    return OG_OK;
}

static og_status find_file(og__external *e, const char *location, int *index, og_error *error)
{
    if (og__names_get(&e->locations, location, index))
        return OG_OK;
    if (!e->folder)
        return og_fail(error, OG_INVALID_MODEL,
                       "external data \"%s\": the model was loaded from memory without a folder",
                       location);
    if (!location_is_safe(location))
        return og_fail(error, OG_INVALID_MODEL,
                       "external data \"%s\": a path inside the model's folder is required "
                       "(relative, without \"..\")",
                       location);
    char *real = resolve(e->folder, location);
    if (!real && errno == ENOENT && e->model_folder)
        real = resolve(e->model_folder, location);
    if (!real)
        return og_fail(error, OG_IO_ERROR, "external data \"%s\" in \"%s\": %s", location,
                       e->folder, strerror(errno));
    if (!lies_in(real, e->real_folder) && !lies_in(real, e->model_folder)) {
        og_fail(error, OG_INVALID_MODEL,
                "external data \"%s\" leads to \"%s\", outside the model's folder", location, real);
        free(real);
        return OG_INVALID_MODEL;
    }
    OG_TRY(map_file(e, real, index, error));
    const char *key = og_arena_strdup(e->arena, location);
    if (!key || !og__names_set(&e->locations, key, *index))
        return og_fail_memory(error, strlen(location), "external data");
    return OG_OK;
}

og_status og__external_find(og__external *e, const char *location, uint64_t offset, uint64_t bytes,
                            const void **data, og_error *error)
{
    int index;
    OG_TRY(find_file(e, location, &index, error));
    const og__file *file = &e->files[index].file;
    if (offset > file->size || bytes > file->size - offset)
        return og_fail(
            error, OG_INVALID_MODEL,
            "external data \"%s\": %llu bytes at offset %llu are needed, the file has %zu",
            location, (unsigned long long)bytes, (unsigned long long)offset, file->size);
    *data = bytes ? (const void *)(file->data + offset) : "";
    return OG_OK;
}
