/* Files as the loader and the saver see them: mappings of regular files, external data of tensors,
 * and a sink that replaces a file in one step. */
#ifndef OG_ONNX_FILE_H
#define OG_ONNX_FILE_H

#include "runtime/base/arena.h"

/* ---- mappings (file.c) */

typedef struct og__file {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
} og__file;

/* Map a regular file of at most `limit` bytes. `what` names it in messages: "model", "external
 * data". The mapping shows what others write into the file, and must not be read once they cut it
 * short; replacing the file, as og__sink does, leaves it alone. */
og_status og__file_map(const char *path, const char *what, size_t limit, og__file *file,
                       og_error *error);
void og__file_unmap(og__file *file);
/* What lies at `data` is not needed until it is next read: its pages leave the process and are read
 * again when they are next touched. Does nothing where `data` is not in the mapping. */
void og__file_forget(const og__file *file, const void *data, size_t bytes);
/* What stands before the last '/', "." if there is none; malloc'd, NULL when out of memory. */
char *og__path_folder(const char *path);
/* What stands after it. */
const char *og__path_base(const char *path);

/* ---- external data (external.c) */

typedef struct og__external og__external;

/* For a model at `path`, or in `folder` if `path` is NULL; both NULL: every reference is refused.
 * Mappings last until og__external_free. */
og__external *og__external_new(const char *path, const char *folder);
void og__external_free(og__external *external);
/* `bytes` bytes at `offset` of the file `location` names; *data points into the mapping, at any
 * alignment. */
og_status og__external_find(og__external *external, const char *location, uint64_t offset,
                            uint64_t bytes, const void **data, og_error *error);
/* `location` stands for memory that outlives the references, instead of a file. false when out of
 * memory. */
bool og__external_lend(og__external *external, const char *location, const void *data, size_t size);
/* og__file_forget for all of its mappings. */
void og__external_forget(const og__external *external, const void *data, size_t bytes);
/* Bytes mapped so far. */
uint64_t og__external_bytes(const og__external *external);

/* ---- replacing a file (sink.c) */

typedef struct og__sink {
    char *path, *temporary; /* temporary NULL: `path` is no regular file and is written directly */
    int fd;                 /* -1 when closed */
    uint8_t *buffer;
    size_t used;
    uint64_t written;
    og_error *error;
} og__sink;

/* Write to a temporary file beside `path`. After failure of any call: og__sink_abandon. */
og_status og__sink_open(og__sink *sink, const char *path, og_error *error);
/* Signature of og_onnx_write_fn, user = the sink; false after setting its error. */
bool og__sink_write(void *sink, const void *bytes, size_t size);
/* Everything is on the disk, still under the temporary name. */
og_status og__sink_finish(og__sink *sink);
/* The finished file takes the place of `path`. */
og_status og__sink_commit(og__sink *sink);
/* Remove what is left and release the sink; after a commit only the latter. */
void og__sink_abandon(og__sink *sink);

#endif
