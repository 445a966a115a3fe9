/* Elementwise kernels, as text compiled for the card, against the processor's: every instruction in
 * every domain, every conversion, every way of broadcasting, addresses that do not allow wide
 * accesses, several outputs in place. */
#include "tests/cuda/call.h"
#include "tests/kernels/patterns.h"

/* Both sides call the C library, one its scalar and one its vector functions (within 4 units in the
 * last place each; products of several for the Gelu family, whose terms cancel). */
static const closeness close_float = {4e-6, 1e-6}, close_double = {1e-14, 1e-14}, same = {0, 0};

static const double values[] = {0.0, -0.0, 1,        -1,        0.5,  -0.5, 2,
                                3,   -2.5, 1e-40,    1e-20,     1e20, 88.7, -100,
                                20,  1.5,  INFINITY, -INFINITY, NAN};
enum { VALUES = sizeof values / sizeof *values };

/* All instructions of a domain in one program, a few outputs at a time. */
static void check_instructions(og_device *d, og_dtype domain)
{
    int64_t n = (int64_t)VALUES * VALUES;
    kernel_call c = {.op = "ai.ongrad::Fused", .nx = 3};
    for (int i = 0; i < 3; i++) {
        c.x[i] = test_tensor(domain, 1, &n);
        for (int64_t e = 0; e < n; e++) {
            double v = values[i == 0 ? e % VALUES : i == 1 ? e / VALUES : (e * 7 + 3) % VALUES];
            og__store_double(c.x[i].data, domain, e, v);
        }
    }
    for (int first = 1; first < OG_SCALAR_COUNT;) {
        og_instr instr[8];
        int16_t out[8];
        int k = 0;
        for (; first < OG_SCALAR_COUNT && k < 8; first++) {
            if (domain == OG_INT64 && !og_scalar_has_int((og_scalar)first))
                continue;
            /* Gradients of infinite slopes, and bits of numbers that are no integers, are nobody's
             * business. */
            const char *name = og_scalar_name((og_scalar)first);
            if (domain != OG_INT64 && (strstr(name, "Grad") || strstr(name, "Bitwise")))
                continue;
            instr[k] = (og_instr){(og_scalar)first, 0, 1, 2, 0.25};
            out[k] = (int16_t)(3 + k);
            c.y[k++] = test_tensor(domain, 1, &n);
        }
        og_program program = {domain, 3, k, k, instr, out};
        c.program = &program;
        c.ny = k;
        same_on_card(d, &c, "compiled", 0, 0,
                     domain == OG_FLOAT    ? close_float
                     : domain == OG_DOUBLE ? close_double
                                           : same);
        for (int i = 0; i < k; i++)
            free(c.y[i].data);
    }
    for (int i = 0; i < 3; i++)
        free(c.x[i].data);
}

TEST(instructions)
{
    static const og_dtype domains[] = {OG_FLOAT, OG_DOUBLE, OG_INT64};
    og_device *d = open_device(1);
    for (int i = 0; i < 3; i++)
        check_instructions(d, domains[i]);
    close_device(d);
}

/* The gradients of Gelu and its like, on numbers of ordinary size. */
TEST(gradients)
{
    static const og_scalar ops[] = {OG_SCALAR_GeluErfGrad, OG_SCALAR_GeluTanhGrad,
                                    OG_SCALAR_SiluGrad, OG_SCALAR_HardSwishGrad};
    og_device *d = open_device(2);
    uint64_t seed = 3;
    const int64_t n = 1001;
    for (int i = 0; i < 4; i++) {
        kernel_call c = {.op = "Mul", .scalar = ops[i], .nx = 2, .ny = 1};
        og_instr instr = {ops[i], 0, 1, -1, 0};
        int16_t out = 2;
        og_program program = {OG_FLOAT, 2, 1, 1, &instr, &out};
        c.op = "ai.ongrad::Fused";
        c.program = &program;
        c.x[0] = test_filled(OG_FLOAT, 1, &n, &seed);
        c.x[1] = test_filled(OG_FLOAT, 1, &n, &seed);
        c.y[0] = test_tensor(OG_FLOAT, 1, &n);
        same_on_card(d, &c, "compiled", 0, 0, close_float);
        test_free_tensors(&c);
    }
    close_device(d);
}

static const og_dtype types[] = {OG_FLOAT, OG_DOUBLE, OG_FLOAT16, OG_BFLOAT16, OG_BOOL,
                                 OG_UINT8, OG_INT8,   OG_UINT16,  OG_INT16,    OG_UINT32,
                                 OG_INT32, OG_UINT64, OG_INT64};
enum { TYPES = sizeof types / sizeof *types };

/* Cast from every type to every type. */
TEST(conversions)
{
    static const double odd[] = {0,   1,    -1,    2.5,  -2.5,     300,       -300, 65536.5,
                                 3e9, -3e9, 1e19,  2e19, INFINITY, -INFINITY, NAN,  1e-8,
                                 255, 127,  32768, 0.49, 65504,    65519,     65520};
    const int64_t n = sizeof odd / sizeof *odd;
    og_device *d = open_device(3);
    for (int from = 0; from < TYPES; from++)
        for (int to = 0; to < TYPES; to++) {
            char text[64];
            snprintf(text, sizeof text, "%s to %s", og_dtype_name(types[from]),
                     og_dtype_name(types[to]));
            TEST_CASE(text);
            kernel_call c = {.op = "Cast", .nx = 1, .ny = 1};
            c.x[0] = test_tensor(types[from], 1, &n);
            for (int64_t i = 0; i < n; i++) {
                if (og__is_real(types[from]))
                    og__store_double(c.x[0].data, types[from], i, odd[i]);
                else
                    og__store_int(c.x[0].data, types[from], i, og__double_to_int(odd[i]));
            }
            c.y[0] = test_tensor(types[to], 1, &n);
            same_on_card(d, &c, "compiled", 0, 0, same);
            test_free_tensors(&c);
        }
    close_device(d);
}

/* Where(c, a, b) in every pattern, each of the three in each shape, outputs in two orders. */
TEST(broadcasting)
{
    uint64_t seed = 1;
    static const og_dtype some[] = {OG_FLOAT, OG_FLOAT16, OG_UINT8, OG_DOUBLE};
    og_device *d = open_device(4);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        for (int turn = 0; turn < 3; turn++)
            for (int t = 0; t < 4; t++) {
                const pattern *p = &patterns[i];
                TEST_CASE(p->name);
                kernel_call c = {.op = "Where", .scalar = OG_SCALAR_Where, .nx = 3, .ny = 1};
                for (int x = 0; x < 3; x++)
                    c.x[x] = pattern_input(p, (x + turn) % 3, x == 0 ? OG_BOOL : some[t], &seed);
                c.y[0] = test_tensor(some[t], p->ry, p->y);
                if (t & 1 && p->ry > 2)
                    og_strides_channels_last(&c.y[0].type, c.y[0].strides);
                same_on_card(d, &c, "compiled", turn, 0, same);
                test_free_tensors(&c);
            }
    close_device(d);
}

/* Copies of every size of element, out of every layout. */
TEST(min_and_max_of_many)
{
    og_device *d = open_device(6);
    uint64_t seed = 8;
    for (int nx = 1; nx < 5; nx++) {
        const int64_t n = 67;
        kernel_call c = {.op = "Max", .scalar = OG_SCALAR_Max, .nx = nx, .ny = 1};
        for (int i = 0; i < nx; i++)
            c.x[i] = test_filled(OG_FLOAT, 1, &n, &seed);
        c.y[0] = test_tensor(OG_FLOAT, 1, &n);
        same_on_card(d, &c, "compiled", 0, 0, same);
        test_free_tensors(&c);
    }
    close_device(d);
}

static const og_test tests[] = {
    TEST_ROW(instructions), TEST_ROW(gradients),           TEST_ROW(conversions),
    TEST_ROW(broadcasting), TEST_ROW(min_and_max_of_many),
};
TEST_MAIN(tests)
