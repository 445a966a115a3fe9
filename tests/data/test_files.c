/* Reading and writing array files: what is right is read bit for bit; what is cut off, damaged or
 * lying is an error that says so, without reading outside the file (which the sanitizers see). */
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/data/data.h"
#include "tests/data/make_files.h"
#include "tests/own_folder.h"
#include "tests/test.h"

static const float six[6] = {1, -2, 0.5f, 3e38f, -0.0f, 7};
static const char six_header[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";

static void check_six(const char *path)
{
    og_error e = {0};
    og_array *a = og_array_open(path, &e);
    CHECK_STR(og_error_text(&e), "");
    REQUIRE(a != NULL);
    CHECK_INT(og_array_dtype(a), OG_FLOAT);
    CHECK_INT(og_array_rank(a), 2);
    CHECK_INT(og_array_dims(a)[0], 2);
    CHECK_INT(og_array_dims(a)[1], 3);
    CHECK_INT((uintptr_t)og_array_data(a) % sizeof(float), 0);
    CHECK(!memcmp(og_array_data(a), six, sizeof six));
    og_array_free(a);
}

/* The file is refused with a message that contains `part`, its path in front. */
static void check_refused(const char *path, og_status status, const char *part)
{
    og_error e = {0};
    og_array *a = og_array_open(path, &e);
    CHECK(a == NULL);
    CHECK_INT(e.status, status);
    CHECK_TEXT(og_error_text(&e), part);
    CHECK(!strncmp(og_error_text(&e), path, strlen(path)));
    og_error_clear(&e);
    og_array_free(a);
}

/* Every proper beginning of the file is refused; `b` itself was accepted. */
static void check_cut_everywhere(const blob *b, const char *path)
{
    char where[32];
    for (size_t n = 0; n < b->n; n++) {
        og_error e = {0};
        snprintf(where, sizeof where, "cut at %zu", n);
        TEST_CASE(where);
        save_bytes(path, b->p, n);
        og_array *a = og_array_open(path, &e);
        CHECK(a == NULL);
        CHECK(e.status == OG_INVALID_DATA);
        CHECK(strlen(og_error_text(&e)) > strlen(path));
        og_error_clear(&e);
        og_array_free(a);
        TEST_CASE("");
        if (test_failures > 5)
            return;
    }
}

/* Any byte may be wrong: the file is read or refused, and nothing else happens. */
static void check_any_byte_wrong(const blob *b, const char *path)
{
    static const uint8_t flips[] = {0x01, 0x80, 0xff};
    blob *wrong = malloc(sizeof *wrong);
    REQUIRE(wrong != NULL);
    for (size_t i = 0; i < b->n; i++)
        for (size_t k = 0; k < sizeof flips; k++) {
            og_error e = {0};
            *wrong = *b;
            wrong->p[i] ^= flips[k];
            save(path, wrong);
            og_array *a = og_array_open(path, &e);
            CHECK((a == NULL) == (e.status != OG_OK));
            if (a && og_array_rank(a) == 0)
                CHECK_INT(og_array_dims(a)[0], 1);
            og_error_clear(&e);
            og_array_free(a);
        }
    free(wrong);
}

/* ---- .npy */

TEST(npy_versions)
{
    static blob b;
    for (int version = 1; version <= 3; version++) {
        make_npy(&b, version, six_header, six, sizeof six);
        save("six.npy", &b);
        check_six("six.npy");
    }
    save("six.unusual-name", &b);
    check_six("six.unusual-name");
}

TEST(npy_headers_read)
{
    static const struct {
        const char *dictionary;
        og_dtype dtype;
        int rank;
        size_t bytes;
    } cases[] = {
        {"{'descr': '<f2', 'fortran_order': False, 'shape': (4,), }", OG_FLOAT16, 1, 8},
        {"{\"shape\":(4,),\"fortran_order\":False,\"descr\":\"<f8\"}", OG_DOUBLE, 1, 32},
        {"{'descr': '|i1', 'fortran_order': False, 'shape': (2L, 3L)}", OG_INT8, 2, 6},
        {"{'descr': '<i2', 'fortran_order': True, 'shape': (3,)}", OG_INT16, 1, 6},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': ()}", OG_INT32, 0, 4},
        {"{'descr': '<i8', 'fortran_order': False, 'shape': (1, 1, 1)}", OG_INT64, 3, 8},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (0, 5)}", OG_UINT8, 2, 0},
        {"{'descr': '>u1', 'fortran_order': False, 'shape': (5,)}", OG_UINT8, 1, 5},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (5,)}", OG_UINT16, 1, 10},
        {"{'descr': '<u4', 'fortran_order': False, 'shape': (5,)}", OG_UINT32, 1, 20},
        {"{'descr': '<u8', 'fortran_order': False, 'shape': (5,)}", OG_UINT64, 1, 40},
        {"{'descr': '|b1', 'fortran_order': False, 'shape': (5,)}", OG_BOOL, 1, 5},
    };
    static const uint8_t zeros[64];
    static blob b;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TEST_CASE(cases[i].dictionary);
        make_npy(&b, 1, cases[i].dictionary, zeros, cases[i].bytes);
        save("header.npy", &b);
        og_error e = {0};
        og_array *a = og_array_open("header.npy", &e);
        CHECK_STR(og_error_text(&e), "");
        if (CHECK(a != NULL)) {
            CHECK_INT(og_array_dtype(a), cases[i].dtype);
            CHECK_INT(og_array_rank(a), cases[i].rank);
            if (cases[i].rank == 0)
                CHECK_INT(og_array_dims(a)[0], 1);
            CHECK(og_array_data(a) != NULL);
        }
        og_error_clear(&e);
        og_array_free(a);
    }
    TEST_CASE("");
}

TEST(npy_headers_refused)
{
    static const struct {
        const char *dictionary;
        og_status status;
        const char *part;
    } cases[] = {
        {"", OG_INVALID_DATA, "a dictionary"},
        {"{", OG_INVALID_DATA, "a quoted string"},
        {"{}", OG_INVALID_DATA, "\"descr\" is missing"},
        {"{'descr': '<f4', 'fortran_order': False}", OG_INVALID_DATA, "\"shape\" is missing"},
        {"{'descr': '<f4', 'shape': (2, 3)}", OG_INVALID_DATA, "\"fortran_order\" is missing"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
         OG_INVALID_DATA, "repeated key"},
        {"{'dtype': '<f4', 'fortran_order': False, 'shape': (2, 3)}", OG_INVALID_DATA,
         "unknown key \"dtype\""},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}", OG_UNSUPPORTED,
         "np.ascontiguousarray"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3)}", OG_UNSUPPORTED,
         "the other byte order"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (2, 3)}", OG_UNSUPPORTED,
         "Python objects"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (3,)}", OG_UNSUPPORTED,
         "dtype \"<c8\""},
        {"{'descr': '<U7', 'fortran_order': False, 'shape': (3,)}", OG_UNSUPPORTED,
         "dtype \"<U7\""},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6,)}", OG_UNSUPPORTED,
         "structured"},
        {"{'descr': '', 'fortran_order': False, 'shape': (6,)}", OG_UNSUPPORTED, "dtype \"\""},
        {"{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}", OG_INVALID_DATA, "True or False"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6)}", OG_INVALID_DATA, "a comma"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 6}", OG_INVALID_DATA, "a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-6,)}", OG_INVALID_DATA,
         "a non-negative integer"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (,)}", OG_INVALID_DATA,
         "a non-negative integer"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3", OG_INVALID_DATA, "a comma"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}", OG_INVALID_DATA, "a comma"},
        {"{'descr': '<f4' 'fortran_order': False, 'shape': (2, 3)}", OG_INVALID_DATA, "a comma"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)} import os", OG_INVALID_DATA,
         "nothing behind"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4)}", OG_INVALID_DATA, "cut off"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2)}", OG_INVALID_DATA,
         "more than the shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
         OG_INVALID_DATA, "overflows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}",
         OG_INVALID_DATA, "overflows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,)}",
         OG_INVALID_DATA, "overflows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 9999999999, 0)}",
         OG_INVALID_DATA, "overflows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2305843009213693951,)}",
         OG_INVALID_DATA, "cut off"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1)}",
         OG_UNSUPPORTED, "12 dims"},
        {"{'descr': '<f4\\n', 'fortran_order': False, 'shape': (2, 3)}", OG_INVALID_DATA,
         "a short quoted string"},
        {"{'a key much longer than any that numpy has': 1}", OG_INVALID_DATA,
         "a short quoted string"},
    };
    static blob b;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TEST_CASE(cases[i].dictionary);
        make_npy(&b, 1, cases[i].dictionary, six, sizeof six);
        save("refused.npy", &b);
        check_refused("refused.npy", cases[i].status, cases[i].part);
    }
    TEST_CASE("");
    make_npy(&b, 4, six_header, six, sizeof six);
    save("refused.npy", &b);
    check_refused("refused.npy", OG_UNSUPPORTED, ".npy version 4.0");
    make_npy(&b, 2, six_header, six, sizeof six);
    memset(b.p + 8, 0xff, 4);
    save("refused.npy", &b);
    check_refused("refused.npy", OG_INVALID_DATA, "header of 4294967295 bytes");
}

TEST(npy_cut_or_damaged)
{
    static blob b;
    for (int version = 1; version <= 2; version++) {
        make_npy(&b, version, six_header, six, sizeof six);
        check_cut_everywhere(&b, "cut.npy");
        check_any_byte_wrong(&b, "wrong.npy");
    }
}

TEST(npy_elements_off_alignment)
{
    /* A header of odd length: elements are copied to where they may be read. */
    static blob b;
    b.n = 0;
    put(&b, "\x93NUMPY\1\0", 8);
    put_le(&b, sizeof six_header - 1, 2);
    put(&b, six_header, sizeof six_header - 1);
    CHECK(b.n % 4 != 0);
    put(&b, six, sizeof six);
    save("odd.npy", &b);
    check_six("odd.npy");
}

TEST(npy_written_and_read)
{
    static const og_dtype dtypes[] = {OG_FLOAT16, OG_FLOAT,  OG_DOUBLE, OG_INT8,
                                      OG_INT16,   OG_INT32,  OG_INT64,  OG_UINT8,
                                      OG_UINT16,  OG_UINT32, OG_UINT64, OG_BOOL};
    static const int64_t shapes[][4] = {{0}, {5}, {2, 3}, {3, 1, 4, 2}, {0, 7}};
    static const int ranks[] = {0, 1, 2, 4, 2};
    uint8_t data[24 * 8];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 31 + 7);
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
        for (size_t s = 0; s < sizeof ranks / sizeof *ranks; s++) {
            og_error e = {0};
            TEST_CASE(og_dtype_name(dtypes[d]));
            CHECK_INT(og_npy_write("w.npy", dtypes[d], ranks[s], shapes[s], data, &e), OG_OK);
            og_array *a = og_array_open("w.npy", &e);
            CHECK_STR(og_error_text(&e), "");
            REQUIRE(a != NULL);
            CHECK_INT(og_array_dtype(a), dtypes[d]);
            CHECK_INT(og_array_rank(a), ranks[s]);
            size_t n = (size_t)og_dtype_bits(dtypes[d]) / 8;
            for (int i = 0; i < ranks[s]; i++) {
                CHECK_INT(og_array_dims(a)[i], shapes[s][i]);
                n *= (size_t)shapes[s][i];
            }
            CHECK(!memcmp(og_array_data(a), data, n));
            og_array_free(a);
        }
    TEST_CASE("");
}

TEST(npy_write_errors)
{
    og_error e = {0};
    int64_t dims[] = {1};
    CHECK_INT(og_npy_write("no/such/folder/a.npy", OG_FLOAT, 1, dims, six, &e), OG_IO_ERROR);
    CHECK_TEXT(og_error_text(&e), "no/such/folder/a.npy: cannot write");
    og_error_clear(&e);
    CHECK_INT(og_npy_write("b.npy", OG_BFLOAT16, 1, dims, six, &e), OG_UNSUPPORTED);
    CHECK_TEXT(og_error_text(&e), "bfloat16");
    og_error_clear(&e);
    dims[0] = -1;
    CHECK_INT(og_npy_write("b.npy", OG_FLOAT, 1, dims, six, &e), OG_INVALID_ARGUMENT);
    og_error_clear(&e);
    CHECK(access("b.npy", F_OK) != 0);
    /* A folder in its place: what was written beside it is gone again. */
    dims[0] = 1;
    mkdir("folder.npy", 0777);
    CHECK_INT(og_npy_write("folder.npy", OG_FLOAT, 1, dims, six, &e), OG_IO_ERROR);
    og_error_clear(&e);
    char part[64];
    snprintf(part, sizeof part, "folder.npy.%ld-0.part", (long)getpid());
    CHECK(access(part, F_OK) != 0);
    rmdir("folder.npy");
}

/* ---- .npz */

static zip_writer *zip_new(void)
{
    zip_writer *w = calloc(1, sizeof *w);
    if (!w)
        give_up("zip");
    return w;
}

/* One archive with the member x.npy. */
static void make_npz(zip_writer *w, int method)
{
    static blob npy;
    make_npy(&npy, 1, six_header, six, sizeof six);
    zip_add(w, "x.npy", npy.p, npy.n, method);
    zip_finish(w);
}

TEST(npz_read)
{
    for (int zip64 = 0; zip64 <= 1; zip64++)
        for (int method = 0; method <= 8; method += 8) {
            TEST_CASE(method ? "deflated" : "stored");
            zip_writer *w = zip_new();
            w->zip64 = zip64;
            make_npz(w, method);
            save("one.npz", &w->file);
            check_six("one.npz");
            check_six("one.npz:x");
            check_six("one.npz:x.npy");
            check_refused("one.npz:y", OG_INVALID_DATA, "no array \"y\" in the archive; it has x");
            free(w);
        }
    TEST_CASE("");
}

TEST(npz_several_members)
{
    static blob npy;
    zip_writer *w = zip_new();
    make_npy(&npy, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", "abc", 3);
    zip_add(w, "labels.npy", npy.p, npy.n, 0);
    make_npy(&npy, 1, six_header, six, sizeof six);
    zip_add(w, "images.npy", npy.p, npy.n, 8);
    zip_finish(w);
    save("two.npz", &w->file);
    check_six("two.npz:images");
    check_refused("two.npz", OG_INVALID_DATA,
                  "2 arrays: labels, images; hint: choose one with FILE.npz:NAME");
    save("with:colon.npz", &w->file);
    check_six("with:colon.npz:images");
    free(w);
    w = zip_new();
    zip_finish(w);
    save("none.npz", &w->file);
    check_refused("none.npz", OG_INVALID_DATA, "no arrays");
    free(w);
    w = zip_new();
    zip_add(w, "x.npy", npy.p, npy.n, 0);
    zip_add(w, "x.npy", npy.p, npy.n, 0);
    zip_finish(w);
    save("twice.npz", &w->file);
    check_refused("twice.npz:x", OG_INVALID_DATA, "2 arrays called \"x\"");
    free(w);
}

TEST(npz_lies)
{
    static const struct {
        const char *what;
        int method;
        uint32_t crc_lie;
        uint64_t size_lie;
        unsigned flags;
        og_status status;
        const char *part;
    } cases[] = {
        {"checksum", 0, 1, 0, 0, OG_INVALID_DATA, "wrong checksum"},
        {"checksum", 8, 1, 0, 0, OG_INVALID_DATA, "wrong checksum"},
        {"stored sizes", 0, 0, 1, 0, OG_INVALID_DATA, "two sizes"},
        {"unpacked size", 8, 0, 4, 0, OG_INVALID_DATA, "more than the shape"},
        {"unpacked size", 8, 0, (uint64_t)-4, 0, OG_INVALID_DATA, "cut off"},
        {"bomb", 8, 0, UINT64_C(1) << 40, 0, OG_INVALID_DATA, "more than deflate allows"},
        {"bomb", 8, 0, UINT64_MAX / 2, 0, OG_INVALID_DATA, "more than deflate allows"},
        {"encrypted", 8, 0, 0, 1, OG_UNSUPPORTED, "encrypted"},
        {"method", 12, 0, 0, 0, OG_UNSUPPORTED, "compression method 12"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TEST_CASE(cases[i].what);
        zip_writer *w = zip_new();
        w->zip64 = 1;
        w->crc_lie = cases[i].crc_lie;
        w->size_lie = cases[i].size_lie;
        w->flags = cases[i].flags;
        make_npz(w, cases[i].method);
        save("lie.npz", &w->file);
        check_refused("lie.npz", cases[i].status, cases[i].part);
        free(w);
    }
    TEST_CASE("");
}

TEST(npz_cut_or_damaged)
{
    for (int zip64 = 0; zip64 <= 1; zip64++)
        for (int method = 0; method <= 8; method += 8) {
            zip_writer *w = zip_new();
            w->zip64 = zip64;
            make_npz(w, method);
            check_cut_everywhere(&w->file, "cut.npz");
            check_any_byte_wrong(&w->file, "wrong.npz");
            free(w);
        }
}

/* ---- IDX */

static void make_idx(blob *b, int type, int rank, const uint32_t *dims)
{
    b->n = 0;
    put_be(b, (uint64_t)(type << 8 | rank), 4);
    for (int i = 0; i < rank; i++)
        put_be(b, dims[i], 4);
}

static void save_gz(const char *path, const blob *b)
{
    static uint8_t packed[1 << 16];
    save_bytes(path, packed, pack(packed, sizeof packed, b->p, b->n, 31));
}

TEST(idx_read)
{
    static const struct {
        int type, bytes;
        og_dtype dtype;
    } cases[] = {{0x08, 1, OG_UINT8}, {0x09, 1, OG_INT8},  {0x0b, 2, OG_INT16},
                 {0x0c, 4, OG_INT32}, {0x0d, 4, OG_FLOAT}, {0x0e, 8, OG_DOUBLE}};
    static const uint32_t dims[] = {3, 2};
    static blob b;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int gz = 0; gz <= 1; gz++) {
            TEST_CASE(og_dtype_name(cases[i].dtype));
            make_idx(&b, cases[i].type, 2, dims);
            for (int k = 0; k < 6; k++) {
                float f = (float)(k - 3) * 1000.5f;
                double d = (k - 3) * 1e100;
                uint64_t bits = (uint64_t)(int64_t)(k - 3);
                if (cases[i].dtype == OG_DOUBLE)
                    memcpy(&bits, &d, 8);
                if (cases[i].dtype == OG_FLOAT) {
                    uint32_t bits32;
                    memcpy(&bits32, &f, 4);
                    bits = bits32;
                }
                put_be(&b, bits, cases[i].bytes);
            }
            if (gz)
                save_gz("a.idx.gz", &b);
            else
                save("a.idx.gz", &b);
            og_error e = {0};
            og_array *a = og_array_open("a.idx.gz", &e);
            CHECK_STR(og_error_text(&e), "");
            REQUIRE(a != NULL);
            CHECK_INT(og_array_dtype(a), cases[i].dtype);
            CHECK_INT(og_array_rank(a), 2);
            CHECK_INT(og_array_dims(a)[0], 3);
            CHECK_INT(og_array_dims(a)[1], 2);
            const void *p = og_array_data(a);
            if (cases[i].dtype == OG_UINT8)
                CHECK_INT(((const uint8_t *)p)[0], 253);
            if (cases[i].dtype == OG_INT16)
                CHECK_INT(((const int16_t *)p)[5], 2);
            if (cases[i].dtype == OG_INT32)
                CHECK_INT(((const int32_t *)p)[0], -3);
            if (cases[i].dtype == OG_FLOAT)
                CHECK_CLOSE(((const float *)p)[5], 2001, 0);
            if (cases[i].dtype == OG_DOUBLE)
                CHECK_CLOSE(((const double *)p)[4], 1e100, 0);
            og_array_free(a);
        }
    TEST_CASE("");
}

TEST(idx_refused)
{
    static const uint32_t large[] = {0xffffffff, 0xffffffff, 0xffffffff}, four[] = {4};
    static const uint32_t ones[13] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static blob b;
    make_idx(&b, 0x08, 3, large);
    save("r.idx", &b);
    check_refused("r.idx", OG_INVALID_DATA, "overflows");
    save_gz("r.idx", &b);
    check_refused("r.idx", OG_INVALID_DATA, "overflows");
    make_idx(&b, 0x08, 1, large);
    save_gz("r.idx", &b);
    check_refused("r.idx", OG_INVALID_DATA, "more than");
    make_idx(&b, 0x0a, 1, four);
    save("r.idx", &b);
    check_refused("r.idx", OG_INVALID_DATA, "type code 0x0a");
    make_idx(&b, 0x08, 0, NULL);
    save("r.idx", &b);
    check_refused("r.idx", OG_INVALID_DATA, "0 dims");
    make_idx(&b, 0x08, 13, ones);
    put(&b, "x", 1);
    save("r.idx", &b);
    check_refused("r.idx", OG_UNSUPPORTED, "13 dims");
    save_gz("r.idx", &b);
    check_refused("r.idx", OG_UNSUPPORTED, "13 dims");
    make_idx(&b, 0x08, 1, four);
    put(&b, "12345", 5);
    save("r.idx", &b);
    check_refused("r.idx", OG_INVALID_DATA, "too long");
    save_gz("r.idx", &b);
    check_refused("r.idx", OG_INVALID_DATA, "more data than the header promises");
    make_npy(&b, 1, six_header, six, sizeof six);
    save_gz("r.npy.gz", &b);
    check_refused("r.npy.gz", OG_UNSUPPORTED, "gunzip");
}

TEST(idx_cut_or_damaged)
{
    static const uint32_t dims[] = {3, 2};
    static blob b, gz;
    make_idx(&b, 0x0b, 2, dims);
    put(&b, "abcdefghijkl", 12);
    check_cut_everywhere(&b, "cut.idx");
    check_any_byte_wrong(&b, "wrong.idx");
    gz.n = pack(gz.p, sizeof gz.p, b.p, b.n, 31);
    check_cut_everywhere(&gz, "cut.idx.gz");
    check_any_byte_wrong(&gz, "wrong.idx.gz");
}

TEST(idx_gz_of_two_members)
{
    static const uint32_t dims[] = {6};
    static blob b, gz;
    make_idx(&b, 0x08, 1, dims);
    put(&b, "abcdef", 6);
    gz.n = pack(gz.p, sizeof gz.p, b.p, 7, 31);
    gz.n += pack(gz.p + gz.n, sizeof gz.p - gz.n, b.p + 7, b.n - 7, 31);
    save("two.idx.gz", &gz);
    og_error e = {0};
    og_array *a = og_array_open("two.idx.gz", &e);
    CHECK_STR(og_error_text(&e), "");
    CHECK(a && !memcmp(og_array_data(a), "abcdef", 6));
    og_array_free(a);
    put(&gz, "\0\0\0", 3);
    save("two.idx.gz", &gz);
    a = og_array_open("two.idx.gz", &e);
    CHECK(a != NULL);
    og_array_free(a);
    put(&gz, "garbage", 7);
    save("two.idx.gz", &gz);
    check_refused("two.idx.gz", OG_INVALID_DATA, "unknown bytes");
}

/* ---- other files */

TEST(not_array_files)
{
    check_refused("missing.npy", OG_IO_ERROR, "cannot open");
    check_refused("missing.npz:x", OG_IO_ERROR, "cannot open");
    check_refused(".", OG_INVALID_DATA, "a folder");
    save_bytes("empty", "", 0);
    check_refused("empty", OG_INVALID_DATA, "the file is empty");
    save_bytes("text", "a,b,c\n1,2,3\n", 12);
    check_refused("text", OG_INVALID_DATA, "not an array file: .npy, .npz, IDX");
    static blob b;
    make_npy(&b, 1, six_header, six, sizeof six);
    save("plain.npy", &b);
    check_refused("plain.npy:x", OG_INVALID_DATA, "only .npz and .safetensors files have members");
    unlink("pipe");
    if (mkfifo("pipe", 0600) == 0)
        check_refused("pipe", OG_INVALID_DATA, "not a regular file");
}

static const og_test tests[] = {
    TEST_ROW(npy_versions),
    TEST_ROW(npy_headers_read),
    TEST_ROW(npy_headers_refused),
    TEST_ROW(npy_cut_or_damaged),
    TEST_ROW(npy_elements_off_alignment),
    TEST_ROW(npy_written_and_read),
    TEST_ROW(npy_write_errors),
    TEST_ROW(npz_read),
    TEST_ROW(npz_several_members),
    TEST_ROW(npz_lies),
    TEST_ROW(npz_cut_or_damaged),
    TEST_ROW(idx_read),
    TEST_ROW(idx_refused),
    TEST_ROW(idx_cut_or_damaged),
    TEST_ROW(idx_gz_of_two_members),
    TEST_ROW(not_array_files),
};
TEST_MAIN(tests)
