/* The .npz format: a zip archive of .npy files, stored or deflated, with or without zip64.
 * https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
 *
 * The central directory is what is believed, and only if it agrees with itself: it must lie right
 * before its end record, entries must fill it exactly, members must lie before it, and a member's
 * local header must name the same file and method. Checksums are verified. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "runtime/base/checked.h"
#include "runtime/base/text.h"
#include "runtime/data/array.h"

enum {
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR_BYTES = 20,
    ENTRY_BYTES = 46,
    LOCAL_BYTES = 30,
    STORED = 0,
    DEFLATED = 8
};

typedef struct directory {
    og__bytes bytes;
    uint64_t entries;
} directory;

typedef struct entry {
    og__bytes name; /* within the file */
    unsigned flags, method;
    uint32_t crc;
    uint64_t packed, size, offset;
} entry;

static uint64_t get(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static og_status damaged(og_error *error, const char *what)
{
    return og_fail(error, OG_INVALID_DATA, "damaged or cut off .npz (zip) file: %s", what);
}

/* ---- the central directory */

static og_status find_directory(og__bytes file, directory *dir, og_error *error)
{
    /* The end record is last, but for a comment of at most 65535 bytes whose length it gives. */
    size_t end = 0;
    bool found = false;
    for (size_t comment = 0; comment <= 65535 && comment + END_BYTES <= file.n && !found;
         comment++) {
        end = file.n - END_BYTES - comment;
        found = !memcmp(file.p + end, "PK\5\6", 4) && get(file.p + end + 20, 2) == comment;
    }
    if (!found)
        return damaged(error, "its directory is missing");
    const uint8_t *e = file.p + end;
    uint64_t disk = get(e + 4, 2), first_disk = get(e + 6, 2), here = get(e + 8, 2);
    uint64_t entries = get(e + 10, 2), size = get(e + 12, 4), offset = get(e + 16, 4);
    if (end >= LOCATOR_BYTES && !memcmp(e - LOCATOR_BYTES, "PK\6\7", 4)) {
        uint64_t at = get(e - LOCATOR_BYTES + 8, 8);
        if (end < LOCATOR_BYTES + END64_BYTES || at > end - LOCATOR_BYTES - END64_BYTES ||
            memcmp(file.p + at, "PK\6\6", 4) != 0 ||
            get(file.p + at + 4, 8) != end - LOCATOR_BYTES - at - 12)
            return damaged(error, "bad zip64 end record");
        e = file.p + at;
        disk = get(e + 16, 4);
        first_disk = get(e + 20, 4);
        here = get(e + 24, 8);
        entries = get(e + 32, 8);
        size = get(e + 40, 8);
        offset = get(e + 48, 8);
        end = (size_t)at;
    }
    if (disk || first_disk || here != entries)
        return damaged(error, "an archive in several parts");
    if (size > end || offset != end - size)
        return damaged(error, "its directory is not where it says");
    *dir = (directory){{file.p + offset, (size_t)size}, entries};
    return OG_OK;
}

/* The 64-bit numbers of a zip64 extra field replace those that are all ones, in this order. */
static bool read_zip64(og__bytes extra, entry *m)
{
    bool wants[] = {m->size == UINT32_MAX, m->packed == UINT32_MAX, m->offset == UINT32_MAX};
    uint64_t *fields[] = {&m->size, &m->packed, &m->offset};
    while (extra.n >= 4) {
        size_t id = get(extra.p, 2), n = get(extra.p + 2, 2);
        extra.p += 4;
        extra.n -= 4;
        if (n > extra.n)
            return false;
        if (id == 1) {
            const uint8_t *p = extra.p;
            for (int i = 0; i < 3; i++) {
                if (!wants[i])
                    continue;
                if ((size_t)(extra.p + n - p) < 8)
                    return false;
                *fields[i] = get(p, 8);
                p += 8;
            }
            return true;
        }
        extra.p += n;
        extra.n -= n;
    }
    return !wants[0] && !wants[1] && !wants[2];
}

/* The entry at the start of `rest`, which moves on. */
static og_status next_entry(og__bytes *rest, entry *m, og_error *error)
{
    const uint8_t *p = rest->p;
    if (rest->n < ENTRY_BYTES || memcmp(p, "PK\1\2", 4) != 0)
        return damaged(error, "bad entry in its directory");
    size_t name = get(p + 28, 2), extra = get(p + 30, 2), comment = get(p + 32, 2);
    size_t length = ENTRY_BYTES + name + extra + comment;
    if (length > rest->n)
        return damaged(error, "an entry longer than its directory");
    *m = (entry){.name = {p + ENTRY_BYTES, name},
                 .flags = (unsigned)get(p + 8, 2),
                 .method = (unsigned)get(p + 10, 2),
                 .crc = (uint32_t)get(p + 16, 4),
                 .packed = get(p + 20, 4),
                 .size = get(p + 24, 4),
                 .offset = get(p + 42, 4)};
    if (!read_zip64((og__bytes){p + ENTRY_BYTES + name, extra}, m))
        return damaged(error, "bad zip64 field");
    rest->p += length;
    rest->n -= length;
    return OG_OK;
}

/* "weights" names the member weights.npy. */
static bool is_named(const entry *m, const char *name)
{
    size_t n = strlen(name);
    return (m->name.n == n || (m->name.n == n + 4 && !memcmp(m->name.p + n, ".npy", 4))) &&
           !memcmp(m->name.p, name, n);
}

static void add_name(og_text *list, const entry *m)
{
    size_t n = m->name.n;
    if (n > 4 && !memcmp(m->name.p + n - 4, ".npy", 4))
        n -= 4;
    og_text_add(list, list->length ? ", " : "");
    for (size_t i = 0; i < n && i < 80; i++)
        og_text_addn(
            list, m->name.p[i] >= 0x20 && m->name.p[i] != 0x7f ? (const char *)m->name.p + i : "?",
            1);
}

/* The member called `name`, or the only one. */
static og_status find_member(const directory *dir, const char *name, entry *out, og_error *error)
{
    enum { MOST_LISTED = 20 };
    og_text list = {0};
    uint64_t found = 0;
    og_status status = OG_OK;
    og__bytes rest = dir->bytes;
    for (uint64_t i = 0; i < dir->entries; i++) {
        entry m;
        OG_TRY_CLEANUP(next_entry(&rest, &m, error));
        if (i < MOST_LISTED)
            add_name(&list, &m);
        else if (i == MOST_LISTED)
            og_text_add(&list, ", …");
        if (name ? is_named(&m, name) : i == 0) {
            *out = m;
            found++;
        }
    }
    if (rest.n)
        status = damaged(error, "its directory has bytes behind the last entry");
    else if (dir->entries == 0)
        status = og_fail(error, OG_INVALID_DATA, "the archive has no arrays");
    else if (!name && dir->entries > 1)
        status = og_fail(error, OG_INVALID_DATA,
                         "the archive has %llu arrays: %s; hint: choose one with FILE.npz:NAME",
                         (unsigned long long)dir->entries, list.s ? list.s : "");
    else if (found == 0)
        status = og_fail(error, OG_INVALID_DATA, "no array \"%s\" in the archive; it has %s", name,
                         list.s ? list.s : "");
    else if (found > 1)
        status = og_fail(error, OG_INVALID_DATA, "the archive has %llu arrays called \"%s\"",
                         (unsigned long long)found, name);
cleanup:
    og_text_free(&list);
    return status;
}

/* ---- one member */

/* The member's bytes as they lie in the file. */
static og_status member_bytes(og__bytes file, const directory *dir, const entry *m, og__bytes *out,
                              og_error *error)
{
    size_t limit = (size_t)(dir->bytes.p - file.p); /* members lie before the directory */
    if (m->flags & 1)
        return og_fail(error, OG_UNSUPPORTED, "the archive is encrypted");
    if (m->method != STORED && m->method != DEFLATED)
        return og_fail(error, OG_UNSUPPORTED,
                       "zip compression method %u; stored and deflated members are read",
                       m->method);
    if (limit < LOCAL_BYTES || m->offset > limit - LOCAL_BYTES)
        return damaged(error, "a member beyond the end");
    const uint8_t *p = file.p + m->offset;
    size_t name = get(p + 26, 2), extra = get(p + 28, 2),
           room = limit - (size_t)m->offset - LOCAL_BYTES;
    if (memcmp(p, "PK\3\4", 4) != 0 || get(p + 8, 2) != m->method || name != m->name.n ||
        name > room || memcmp(p + LOCAL_BYTES, m->name.p, name) != 0)
        return damaged(error, "a member's header does not match the directory");
    if (extra > room - name || m->packed > room - name - extra)
        return damaged(error, "a member longer than the file");
    *out = (og__bytes){p + LOCAL_BYTES + name + extra, (size_t)m->packed};
    return OG_OK;
}

static uint32_t checksum(uint32_t crc, const void *p, size_t n)
{
    return (uint32_t)crc32_z(crc, p, n);
}

static og_status read_stored(og__bytes member, const entry *m, og_array *array, og_error *error)
{
    if (m->size != m->packed)
        return damaged(error, "a stored member of two sizes");
    if (checksum(0, member.p, member.n) != m->crc)
        return damaged(error, "wrong checksum");
    return og__npy_open(member, array, error);
}

static og_status read_deflated(og__bytes member, const entry *m, og_array *array, og_error *error)
{
    if (m->size > og__inflate_limit(member.n))
        return damaged(error, "a member that claims to unpack to more than deflate allows");
    size_t total = (size_t)m->size, prefix = total < OG__NPY_PREFIX ? total : OG__NPY_PREFIX;
    size_t length = 0, bytes = 0;
    uint8_t head[OG__NPY_PREFIX], *header = NULL;
    og_status status = OG_OK;
    og__inflate *z = og__inflate_open(member, false, error);
    if (!z)
        return OG_OUT_OF_MEMORY;
    OG_TRY_CLEANUP(og__inflate_read(z, head, prefix, error));
    OG_TRY_CLEANUP(og__npy_header_bytes((og__bytes){head, prefix}, &length, error));
    if (length < prefix || length > total) {
        status = damaged(error, "a .npy header that does not fit its member");
        goto cleanup;
    }
    header = malloc(length);
    if (!header) {
        status = og_fail_memory(error, length, "a .npy header");
        goto cleanup;
    }
    memcpy(header, head, prefix);
    OG_TRY_CLEANUP(og__inflate_read(z, header + prefix, length - prefix, error));
    OG_TRY_CLEANUP(og__npy_header((og__bytes){header, length}, total, array, &bytes, error));
    OG_TRY_CLEANUP(og__array_own(array, bytes, error));
    OG_TRY_CLEANUP(og__inflate_read(z, array->owned, bytes, error));
    OG_TRY_CLEANUP(og__inflate_end(z, error));
    if (checksum(checksum(0, header, length), array->owned, bytes) != m->crc)
        status = damaged(error, "wrong checksum");
cleanup:
    og__inflate_close(z);
    free(header);
    return status;
}

og_status og__npz_open(og__bytes file, const char *member, og_array *array, og_error *error)
{
    directory dir = {0};
    entry m = {0};
    og__bytes bytes = {0};
    OG_TRY(find_directory(file, &dir, error));
    OG_TRY(find_member(&dir, member, &m, error));
    OG_TRY(member_bytes(file, &dir, &m, &bytes, error));
    if (m.method == STORED)
        return read_stored(bytes, &m, array, error);
    return read_deflated(bytes, &m, array, error);
}
