/* The IDX format (MNIST's): 0 0 type rank, dims as big-endian 32-bit numbers, elements big-endian;
 * plain or gzipped. Bytes are used in place; wider elements are turned into the machine's byte
 * order in memory of their own. */
#include <string.h>

#include "runtime/data/array.h"

enum { LONGEST_HEADER = 4 + 4 * OG_MAX_RANK };

/* dtype, rank and dims from the first bytes (`head.n` may be less than a header where the file is
 * short). */
static og_status read_header(og__bytes head, og_array *array, size_t *length, size_t *bytes,
                             og_error *error)
{
    static const struct {
        uint8_t code;
        og_dtype dtype;
    } types[] = {{0x08, OG_UINT8}, {0x09, OG_INT8},  {0x0b, OG_INT16},
                 {0x0c, OG_INT32}, {0x0d, OG_FLOAT}, {0x0e, OG_DOUBLE}};
    if (head.n < 4 || head.p[0] || head.p[1])
        return og_fail(error, OG_INVALID_DATA,
                       "not an IDX file: it must start with two zero bytes");
    array->dtype = OG_UNDEFINED;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (head.p[2] == types[i].code)
            array->dtype = types[i].dtype;
    array->rank = head.p[3];
    if (array->dtype == OG_UNDEFINED || array->rank < 1)
        return og_fail(error, OG_INVALID_DATA,
                       "not an IDX file: type code 0x%02x, %d dims (types 08 09 0b 0c 0d 0e)",
                       head.p[2], head.p[3]);
    if (array->rank > OG_MAX_RANK) {
        array->rank = 0;
        return og_fail(error, OG_UNSUPPORTED, "%d dims; at most %d are read", head.p[3],
                       OG_MAX_RANK);
    }
    *length = 4 + 4 * (size_t)array->rank;
    if (head.n < *length)
        return og_fail(error, OG_INVALID_DATA,
                       "cut off: the IDX header takes %zu bytes, there are %zu", *length, head.n);
    for (int i = 0; i < array->rank; i++) {
        const uint8_t *d = head.p + 4 + 4 * i;
        array->dims[i] = (int64_t)d[0] << 24 | (int64_t)d[1] << 16 | (int64_t)d[2] << 8 | d[3];
    }
    return og__array_bytes(array, bytes, error);
}

/* Big-endian elements in array->owned become the machine's. */
static void to_native(og_array *array, size_t bytes)
{
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
        return;
    switch (og_dtype_bits(array->dtype)) {
    case 16:
        for (uint16_t *p = array->owned, *end = p + bytes / 2; p < end; p++)
            *p = __builtin_bswap16(*p);
        break;
    case 32:
        for (uint32_t *p = array->owned, *end = p + bytes / 4; p < end; p++)
            *p = __builtin_bswap32(*p);
        break;
    case 64:
        for (uint64_t *p = array->owned, *end = p + bytes / 8; p < end; p++)
            *p = __builtin_bswap64(*p);
        break;
    }
}

og_status og__idx_open(og__bytes file, og_array *array, og_error *error)
{
    size_t header = 0, bytes = 0;
    OG_TRY(read_header(file, array, &header, &bytes, error));
    if (bytes != file.n - header)
        return og_fail(error, OG_INVALID_DATA,
                       "%s: the IDX header promises %zu bytes, the file has %zu",
                       bytes > file.n - header ? "cut off" : "too long", bytes, file.n - header);
    if (og_dtype_bits(array->dtype) == 8)
        return og__array_place(array, file.p + header, bytes, error);
    OG_TRY(og__array_own(array, bytes, error));
    memcpy(array->owned, file.p + header, bytes);
    to_native(array, bytes);
    return OG_OK;
}

og_status og__idx_gz_open(og__bytes file, og_array *array, og_error *error)
{
    uint8_t head[LONGEST_HEADER];
    size_t got, more, header = 0, bytes = 0;
    og_status status = OG_OK;
    og__inflate *z = og__inflate_open(file, true, error);
    if (!z)
        return OG_OUT_OF_MEMORY;
    OG_TRY_CLEANUP(og__inflate_some(z, head, 4, &got, error));
    if (got == 4 && !memcmp(head, "\x93NUM", 4)) {
        status =
            og_fail(error, OG_UNSUPPORTED,
                    "a gzipped .npy file; hint: unpack it with gunzip, or use np.savez_compressed");
        goto cleanup;
    }
    if (got == 4 && head[3] <= OG_MAX_RANK) {
        OG_TRY_CLEANUP(og__inflate_some(z, head + 4, 4 * (size_t)head[3], &more, error));
        got += more;
    }
    OG_TRY_CLEANUP(read_header((og__bytes){head, got}, array, &header, &bytes, error));
    if (bytes > og__inflate_limit(file.n)) {
        status =
            og_fail(error, OG_INVALID_DATA,
                    "the IDX header promises %zu bytes, more than %zu compressed bytes can hold",
                    bytes, file.n);
        goto cleanup;
    }
    OG_TRY_CLEANUP(og__array_own(array, bytes, error));
    OG_TRY_CLEANUP(og__inflate_read(z, array->owned, bytes, error));
    OG_TRY_CLEANUP(og__inflate_end(z, error));
    to_native(array, bytes);
cleanup:
    og__inflate_close(z);
    return status;
}
