/* What the readers of array files share: the array itself, a span of bytes, and the step from a
 * header's claims to memory. Every size here comes from a file that may lie: nothing is allocated
 * or read before it was compared with what the file can hold. */
#ifndef OG_DATA_ARRAY_H
#define OG_DATA_ARRAY_H

#include "runtime/data/data.h"

struct og_array {
    og_dtype dtype;
    int rank;
    int64_t dims[OG_MAX_RANK];
    const void *data; /* in `map` or `owned`; aligned to the element; never NULL once open */
    void *map;        /* the whole file, read-only; NULL once it is not needed */
    size_t map_bytes;
    void *owned; /* malloc'd elements; NULL when `data` lies in the map */
};

typedef struct og__bytes {
    const uint8_t *p;
    size_t n;
} og__bytes;

/* Readers: fill dtype, rank, dims and data from the bytes of a file; og_array_free releases what a
 * failed one left. */
og_status og__npy_open(og__bytes file, og_array *array, og_error *error);
og_status og__npz_open(og__bytes file, const char *member, og_array *array, og_error *error);
og_status og__idx_open(og__bytes file, og_array *array, og_error *error);
og_status og__idx_gz_open(og__bytes file, og_array *array, og_error *error);
bool og__is_safetensors(og__bytes file);
og_status og__safetensors_open(og__bytes file, const char *member, og_array *array,
                               og_error *error);
/* A file of bare numbers: [N] of `dtype`. NULL on error. */
og_array *og__array_open_bare(const char *path, og_dtype dtype, og_error *error);

/* A .npy header: bytes up to the first element, from the first OG__NPY_PREFIX bytes (fewer only if
 * the file is shorter). At most 1 MB. */
enum { OG__NPY_PREFIX = 12 };
og_status og__npy_header_bytes(og__bytes prefix, size_t *bytes, og_error *error);
/* dtype, rank and dims from the whole header; `total` is the size of the file, which must be header
 * and elements exactly. *bytes: of the elements. */
og_status og__npy_header(og__bytes header, size_t total, og_array *array, size_t *bytes,
                         og_error *error);

/* Bytes of dtype and dims; an error when they overflow. */
og_status og__array_bytes(const og_array *array, size_t *bytes, og_error *error);
/* Take the elements at `data`, within the map: in place where aligned, else as a copy. */
og_status og__array_place(og_array *array, const uint8_t *data, size_t bytes, og_error *error);
/* Elements at `data` were read and are not needed until they are next read: where they lie in the
 * map, their pages leave the process and are read again when next touched. Any thread. */
void og__array_forget(const og_array *array, const void *data, size_t bytes);
/* array->owned of `bytes` bytes, also array->data. Refuses more than the machine's memory. */
og_status og__array_own(og_array *array, size_t bytes, og_error *error);

/* ---- zlib, in steps */

typedef struct og__inflate og__inflate;

/* Raw deflate or gzip (several members are one stream). NULL on error. `in` must stay valid. */
og__inflate *og__inflate_open(og__bytes in, bool gzip, og_error *error);
void og__inflate_close(og__inflate *z);
/* Exactly `bytes` bytes, or an error that says how many there were. */
og_status og__inflate_read(og__inflate *z, void *out, size_t bytes, og_error *error);
/* As much as there is up to `bytes`. */
og_status og__inflate_some(og__inflate *z, void *out, size_t bytes, size_t *got, og_error *error);
/* An error unless the stream ends here, and its checksum (gzip) is right. */
og_status og__inflate_end(og__inflate *z, og_error *error);
/* The most `compressed` bytes can become: deflate's limit is 1032 to 1. */
size_t og__inflate_limit(size_t compressed);

#endif
