/* zlib behind a read call: from bytes in memory, of any size (zlib's own counters are 32 bits
 * wide). */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "runtime/base/checked.h"
#include "runtime/data/array.h"

enum { MOST_AT_ONCE = 1 << 30 };

struct og__inflate {
    z_stream z;
    og__bytes in; /* not yet given to zlib */
    bool gzip, ended;
    size_t made; /* bytes delivered */
};

og__inflate *og__inflate_open(og__bytes in, bool gzip, og_error *error)
{
    og__inflate *z = calloc(1, sizeof *z);
    if (!z || inflateInit2(&z->z, gzip ? 16 + MAX_WBITS : -MAX_WBITS) != Z_OK) {
        free(z);
        og_fail_memory(error, sizeof *z, "unpacking");
        return NULL;
    }
    z->in = in;
    z->gzip = gzip;
    return z;
}

void og__inflate_close(og__inflate *z)
{
    if (!z)
        return;
    inflateEnd(&z->z);
    free(z);
}

size_t og__inflate_limit(size_t compressed)
{
    size_t limit;
    return og_mul_size(compressed, 1032, &limit) ? limit : SIZE_MAX;
}

static void feed(og__inflate *z)
{
    if (z->z.avail_in > 0 || z->in.n == 0)
        return;
    size_t n = z->in.n < MOST_AT_ONCE ? z->in.n : MOST_AT_ONCE;
    z->z.next_in = (Bytef *)(uintptr_t)z->in.p;
    z->z.avail_in = (uInt)n;
    z->in.p += n;
    z->in.n -= n;
}

/* Is there another gzip member behind the one that ended? Zeros, as tapes have them, are not one.
 */
static bool next_member(og__inflate *z)
{
    feed(z);
    return z->gzip && z->z.avail_in > 0 && z->z.next_in[0] == 0x1f && inflateReset(&z->z) == Z_OK;
}

og_status og__inflate_some(og__inflate *z, void *out, size_t bytes, size_t *got, og_error *error)
{
    *got = 0;
    while (*got < bytes && !z->ended) {
        size_t n = bytes - *got < MOST_AT_ONCE ? bytes - *got : MOST_AT_ONCE;
        feed(z);
        z->z.next_out = (Bytef *)out + *got;
        z->z.avail_out = (uInt)n;
        int result = inflate(&z->z, Z_NO_FLUSH);
        *got += n - z->z.avail_out;
        z->made += n - z->z.avail_out;
        if (result == Z_STREAM_END)
            z->ended = !next_member(z);
        else if (result == Z_BUF_ERROR)
            return og_fail(error, OG_INVALID_DATA,
                           "cut off: the compressed data ends after %zu bytes", z->made);
        else if (result == Z_MEM_ERROR)
            return og_fail_memory(error, bytes, "unpacking");
        else if (result != Z_OK)
            return og_fail(error, OG_INVALID_DATA, "damaged compressed data after %zu bytes: %s",
                           z->made, z->z.msg ? z->z.msg : "not a deflate stream");
    }
    return OG_OK;
}

og_status og__inflate_read(og__inflate *z, void *out, size_t bytes, og_error *error)
{
    size_t got;
    OG_TRY(og__inflate_some(z, out, bytes, &got, error));
    if (got < bytes)
        return og_fail(error, OG_INVALID_DATA,
                       "cut off: %zu bytes unpacked where the header promises %zu more", z->made,
                       bytes - got);
    return OG_OK;
}

og_status og__inflate_end(og__inflate *z, og_error *error)
{
    uint8_t more;
    size_t got;
    OG_TRY(og__inflate_some(z, &more, 1, &got, error));
    if (got)
        return og_fail(error, OG_INVALID_DATA, "more data than the header promises (%zu bytes)",
                       z->made - 1);
    for (;;) {
        feed(z);
        if (z->z.avail_in == 0)
            return OG_OK;
        if (*z->z.next_in++ != 0)
            return og_fail(error, OG_INVALID_DATA, "unknown bytes behind the compressed data");
        z->z.avail_in--;
    }
}
