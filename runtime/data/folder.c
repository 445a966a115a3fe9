#define _GNU_SOURCE /* strverscmp */
/* A folder with one file a sample. Files are listed once, below all sub-folders, in the order of
 * their names; hidden ones are passed over. The kind of file there is most of is what the folder
 * holds: others are counted and left out. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "runtime/data/reader.h"

enum { MOST_DEPTH = 32 };

typedef enum kind { NPY, IMAGE, VIDEO, OTHER, KINDS } kind;

static const struct {
    const char *extension;
    kind kind;
} extensions[] = {
    {"npy", NPY},   {"jpg", IMAGE}, {"jpeg", IMAGE}, {"png", IMAGE}, {"webp", IMAGE},
    {"bmp", IMAGE}, {"tif", IMAGE}, {"tiff", IMAGE}, {"ppm", IMAGE}, {"pgm", IMAGE},
    {"mp4", VIDEO}, {"mkv", VIDEO}, {"webm", VIDEO}, {"avi", VIDEO}, {"mov", VIDEO},
    {"m4v", VIDEO}, {"mpg", VIDEO}, {"mpeg", VIDEO}, {"ts", VIDEO},  {"gif", VIDEO},
};

typedef struct listing {
    og_arena *arena;
    const char **files;
    size_t n, capacity;
    const char *root;
    int64_t counts[KINDS];
} listing;

static kind kind_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof extensions / sizeof *extensions; i++)
        if (!strcasecmp(dot + 1, extensions[i].extension))
            return extensions[i].kind;
    return OTHER;
}

size_t og__stem_length(const char *name)
{
    return kind_of(name) == OTHER ? strlen(name) : (size_t)(strrchr(name, '.') - name);
}

/* A link that leads nowhere counts as a file, so that reading it says what is wrong. */
static bool is_folder(const char *path, const struct dirent *entry, bool *regular)
{
    struct stat info;
    *regular = entry->d_type == DT_REG;
    if (entry->d_type == DT_REG || entry->d_type == DT_DIR)
        return entry->d_type == DT_DIR;
    bool exists = stat(path, &info) == 0;
    *regular = !exists || S_ISREG(info.st_mode);
    if (!exists)
        return false;
    return S_ISDIR(info.st_mode);
}

/* below: of root, "" or "a/b" */
static og_status list(listing *l, const char *below, int depth, og_error *error)
{
    char path[OG__PATH_BYTES];
    og_status status = OG_OK;
    size_t root = strlen(l->root);
    if (depth > MOST_DEPTH || root + strlen(below) + 260 > sizeof path)
        return og_fail(error, OG_INVALID_DATA, "folders nested more than %d deep at %.200s",
                       MOST_DEPTH, below);
    int n = snprintf(path, sizeof path, "%s%s%s", l->root, *below ? "/" : "", below);
    DIR *folder = opendir(path);
    if (!folder)
        return og_fail(error, OG_IO_ERROR, "cannot read the folder %s: %s", path, strerror(errno));
    struct dirent *entry;
    while (status == OG_OK && (entry = readdir(folder))) {
        bool regular;
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path + n, sizeof path - (size_t)n, "/%s", entry->d_name);
        char *name = og_arena_strdup(l->arena, path + root + 1);
        const char **files =
            og_arena_grow(l->arena, l->files, l->n, &l->capacity, sizeof *l->files);
        if (!name || !files) {
            status = og_fail_memory(error, l->n * sizeof *files, "a list of files");
            break;
        }
        l->files = files;
        if (is_folder(path, entry, &regular)) {
            status = list(l, name, depth + 1, error);
        } else if (regular) {
            l->counts[kind_of(name)]++;
            l->files[l->n++] = name;
        }
    }
    closedir(folder);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Keeps the files of the chosen kinds, and names the samples. */
static og_status keep(og_source *source, listing *l, bool pictures, og_error *error)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++) {
        kind k = kind_of(l->files[i]);
        if (pictures ? k == IMAGE || k == VIDEO : k == NPY)
            l->files[n++] = l->files[i];
    }
    source->keys = og_arena_array(source->arena, n, sizeof *source->keys);
    if (!source->keys)
        return og_fail_memory(error, n * sizeof *source->keys, "a list of files");
    for (size_t i = 0; i < n; i++) {
        const char *dot = strrchr(l->files[i], '.');
        source->keys[i] = og_arena_strndup(source->arena, l->files[i], (size_t)(dot - l->files[i]));
        if (!source->keys[i])
            return og_fail_memory(error, strlen(l->files[i]), "a list of files");
    }
    if (n < l->n)
        og_text_printf(&source->note, "%zu other file%s left out", l->n - n,
                       l->n - n == 1 ? "" : "s");
    source->files = l->files;
    source->samples = (int64_t)n;
    return OG_OK;
}

/* The folder of a file: the length of its path without the name. */
static size_t folder_length(const char *file)
{
    const char *slash = strrchr(file, '/');
    return slash ? (size_t)(slash - file) : 0;
}

/* Images of one folder become one sample; files are sorted by name, numbers in them by value. */
static int by_frame(const void *a, const void *b)
{
    return strverscmp(*(const char *const *)a, *(const char *const *)b);
}

/* begins[i]: sample i starts at that file. Samples named by their folder where `merged[i]`. */
static og_status regroup(og_source *s, const bool *joins, og_error *error)
{
    int64_t n = 0, *first = malloc(((size_t)s->samples + 1) * sizeof *first);
    if (!first)
        return og_fail_memory(error, (size_t)s->samples * sizeof *first, "a list of clips");
    for (int64_t i = 0; i < s->samples; n++) {
        size_t length = folder_length(s->files[i]);
        int64_t end = i + 1;
        while (joins[i] && end < s->samples && joins[end] &&
               folder_length(s->files[end]) == length &&
               !strncmp(s->files[end], s->files[i], length))
            end++;
        first[n] = i;
        const char *key = joins[i] ? og_arena_strndup(s->arena, s->files[i], length) : s->keys[i];
        if (!key) {
            free(first);
            return og_fail_memory(error, length, "a list of clips");
        }
        qsort(s->files + i, (size_t)(end - i), sizeof *s->files, by_frame);
        s->keys[n] = key;
        i = end;
    }
    first[n] = s->samples;
    free(s->first);
    s->first = first;
    s->samples = s->dims[0] = n;
    return OG_OK;
}

/* Every folder that holds images. */
static og_status join_clips(og_source *s, og_error *error)
{
    bool *joins = calloc((size_t)s->samples + 1, sizeof *joins), any = false;
    og_status status = OG_OK;
    if (!joins)
        return og_fail_memory(error, (size_t)s->samples, "a list of clips");
    for (int64_t i = 0; i < s->samples; i++)
        any |= joins[i] = kind_of(s->files[i]) == IMAGE && folder_length(s->files[i]) > 0;
    if (any)
        status = regroup(s, joins, error);
    free(joins);
    return status;
}

og_source *og__folder_open(const char *path, const og_source_options *options, og_error *error)
{
    og_source *source = og__source_new(&og__npy_files, path, error);
    if (!source)
        return NULL;
    listing l = {.arena = source->arena, .root = source->path};
    size_t n = strlen(source->path);
    char *root = og_arena_strndup(source->arena, path, n);
    while (root && n > 1 && root[n - 1] == '/')
        root[--n] = '\0';
    l.root = source->path = root;
    source->options = *options;
    og_status status = root ? list(&l, "", 0, error) : og_fail_memory(error, n, "a path");
    int64_t pictures = l.counts[IMAGE] + l.counts[VIDEO];
    if (status == OG_OK && pictures + l.counts[NPY] == 0)
        status = og_fail(error, OG_INVALID_DATA,
                         "the folder has no files of data%s; .npy, images (.jpg .png .webp .bmp "
                         ".tif) and videos (.mp4 .mkv .webm .avi .mov) are read",
                         l.n ? "" : ": it is empty");
    if (status == OG_OK) {
        qsort(l.files, l.n, sizeof *l.files, by_name);
        status = keep(source, &l, pictures > l.counts[NPY], error);
    }
    if (status == OG_OK && pictures > l.counts[NPY]) {
        source->type = &og__picture_files;
        source->dtype = OG_UINT8;
        source->rank = 1;
        source->dims[0] = source->samples;
        if (options->clips)
            status = join_clips(source, error);
    } else if (status == OG_OK) {
        status = og__npy_files_scan(source, error);
    }
    if (status == OG_OK)
        return source;
    og_source_free(source);
    return NULL;
}

/* ---- folders that go by another source's sample */

typedef struct key_list {
    const char **keys;
    int64_t n;
} key_list;

static bool has_key(const key_list *list, const char *key, size_t length)
{
    int64_t low = 0, high = list->n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        int order = strncmp(list->keys[middle], key, length);
        if (order == 0 && list->keys[middle][length])
            order = 1;
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static og_status merge_by(og_source *s, const key_list *others, og_error *error)
{
    bool *joins = calloc((size_t)s->samples + 1, sizeof *joins), any = false;
    og_status status = OG_OK;
    if (!joins)
        return og_fail_memory(error, (size_t)s->samples, "a list of clips");
    for (int64_t i = 0; i < s->samples; i++) {
        size_t length = folder_length(s->files[i]);
        any |= joins[i] =
            length && kind_of(s->files[i]) == IMAGE && has_key(others, s->files[i], length);
    }
    if (any)
        status = regroup(s, joins, error);
    free(joins);
    return status;
}

og_status og_sources_merge_folders(og_source *const *sources, int n, og_error *error)
{
    og_status status = OG_OK;
    for (int i = 0; i < n && status == OG_OK; i++) {
        og_source *s = sources[i];
        if (!s || s->type != &og__picture_files || s->first)
            continue;
        for (int k = 0; k < n && status == OG_OK && !s->first; k++) {
            if (k == i || !sources[k] || !sources[k]->keys)
                continue;
            size_t count = (size_t)sources[k]->samples;
            key_list others = {malloc((count + 1) * sizeof *others.keys), (int64_t)count};
            if (!others.keys)
                return og_fail_memory(error, count * sizeof *others.keys, "a list of names");
            memcpy(others.keys, sources[k]->keys, count * sizeof *others.keys);
            qsort(others.keys, count, sizeof *others.keys, by_name);
            status = merge_by(s, &others, error);
            free(others.keys);
        }
    }
    return status;
}
