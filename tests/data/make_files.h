/* Small data files in memory, right ones and lying ones, for the tests of the readers. A buffer
 * that grew too large or a file that cannot be written ends the program: the tests have nothing to
 * run on then. */
#ifndef OG_TESTS_MAKE_FILES_H
#define OG_TESTS_MAKE_FILES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

typedef struct blob {
    uint8_t p[1 << 16];
    size_t n;
} blob;

static inline void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static inline void put(blob *b, const void *p, size_t n)
{
    if (n > sizeof b->p - b->n)
        give_up("a test's file is too large");
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
}

static inline void put_le(blob *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(v >> 8 * i);
        put(b, &byte, 1);
    }
}

static inline void put_be(blob *b, uint64_t v, int bytes)
{
    for (int i = bytes; i-- > 0;) {
        uint8_t byte = (uint8_t)(v >> 8 * i);
        put(b, &byte, 1);
    }
}

static inline void save_bytes(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f))
        give_up(path);
}

static inline void save(const char *path, const blob *b)
{
    save_bytes(path, b->p, b->n);
}

/* .npy with this text as its dictionary, padded as numpy does. */
static inline void make_npy(blob *b, int version, const char *dictionary, const void *data,
                            size_t bytes)
{
    size_t start = version == 1 ? 10 : 12, length = strlen(dictionary) + 1;
    length += (64 - (start + length) % 64) % 64;
    b->n = 0;
    put(b, "\x93NUMPY", 6);
    put_le(b, (uint64_t)version, 1);
    put_le(b, 0, 1);
    put_le(b, length, version == 1 ? 2 : 4);
    put(b, dictionary, strlen(dictionary));
    while (b->n < start + length - 1)
        put(b, " ", 1);
    put(b, "\n", 1);
    put(b, data, bytes);
}

/* ---- zip */

typedef struct zip_writer {
    blob file, directory;
    int entries;
    uint32_t crc_lie;  /* added to checksums */
    uint64_t size_lie; /* added to unpacked sizes */
    unsigned flags;
    int zip64; /* 0: none; 1: sizes and end record in 64 bits */
} zip_writer;

/* Raw deflate (window_bits -15) or gzip (31). */
static inline size_t pack(uint8_t *out, size_t room, const uint8_t *in, size_t n, int window_bits)
{
    z_stream z = {0};
    if (deflateInit2(&z, 9, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        give_up("deflate");
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)room;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END)
        give_up("deflate");
    deflateEnd(&z);
    return room - z.avail_out;
}

static inline void zip_add(zip_writer *w, const char *name, const uint8_t *p, size_t n, int method)
{
    static uint8_t packed[1 << 16];
    size_t n_packed = n;
    const uint8_t *content = p;
    uint32_t crc = (uint32_t)crc32(0, p, (uInt)n) + w->crc_lie;
    uint64_t size = n + w->size_lie, offset = w->file.n;
    if (method == 8) {
        n_packed = pack(packed, sizeof packed, p, n, -15);
        content = packed;
    }
    uint64_t size32 = w->zip64 ? UINT32_MAX : size, packed32 = w->zip64 ? UINT32_MAX : n_packed;
    /* numpy always leaves room for 64-bit sizes in the local header */
    put(&w->file, "PK\3\4", 4);
    put_le(&w->file, 45, 2);
    put_le(&w->file, w->flags, 2);
    put_le(&w->file, (uint64_t)method, 2);
    put_le(&w->file, 0, 4);
    put_le(&w->file, crc, 4);
    put_le(&w->file, UINT32_MAX, 4);
    put_le(&w->file, UINT32_MAX, 4);
    put_le(&w->file, strlen(name), 2);
    put_le(&w->file, 20, 2);
    put(&w->file, name, strlen(name));
    put_le(&w->file, 1, 2);
    put_le(&w->file, 16, 2);
    put_le(&w->file, size, 8);
    put_le(&w->file, n_packed, 8);
    put(&w->file, content, n_packed);

    put(&w->directory, "PK\1\2", 4);
    put_le(&w->directory, 45, 2);
    put_le(&w->directory, 45, 2);
    put_le(&w->directory, w->flags, 2);
    put_le(&w->directory, (uint64_t)method, 2);
    put_le(&w->directory, 0, 4);
    put_le(&w->directory, crc, 4);
    put_le(&w->directory, packed32, 4);
    put_le(&w->directory, size32, 4);
    put_le(&w->directory, strlen(name), 2);
    put_le(&w->directory, w->zip64 ? 28 : 0, 2);
    put_le(&w->directory, 0, 2);
    put_le(&w->directory, 0, 2);
    put_le(&w->directory, 0, 2);
    put_le(&w->directory, 0, 4);
    put_le(&w->directory, w->zip64 ? UINT32_MAX : offset, 4);
    put(&w->directory, name, strlen(name));
    if (w->zip64) {
        put_le(&w->directory, 1, 2);
        put_le(&w->directory, 24, 2);
        put_le(&w->directory, size, 8);
        put_le(&w->directory, n_packed, 8);
        put_le(&w->directory, offset, 8);
    }
    w->entries++;
}

static inline void zip_finish(zip_writer *w)
{
    uint64_t at = w->file.n;
    put(&w->file, w->directory.p, w->directory.n);
    if (w->zip64) {
        uint64_t end = w->file.n;
        put(&w->file, "PK\6\6", 4);
        put_le(&w->file, 44, 8);
        put_le(&w->file, 45, 2);
        put_le(&w->file, 45, 2);
        put_le(&w->file, 0, 4);
        put_le(&w->file, 0, 4);
        put_le(&w->file, (uint64_t)w->entries, 8);
        put_le(&w->file, (uint64_t)w->entries, 8);
        put_le(&w->file, w->directory.n, 8);
        put_le(&w->file, at, 8);
        put(&w->file, "PK\6\7", 4);
        put_le(&w->file, 0, 4);
        put_le(&w->file, end, 8);
        put_le(&w->file, 1, 4);
    }
    put(&w->file, "PK\5\6", 4);
    put_le(&w->file, 0, 2);
    put_le(&w->file, 0, 2);
    put_le(&w->file, w->zip64 ? 0xffff : (uint64_t)w->entries, 2);
    put_le(&w->file, w->zip64 ? 0xffff : (uint64_t)w->entries, 2);
    put_le(&w->file, w->zip64 ? UINT32_MAX : w->directory.n, 4);
    put_le(&w->file, w->zip64 ? UINT32_MAX : at, 4);
    put_le(&w->file, 0, 2);
}

#endif
