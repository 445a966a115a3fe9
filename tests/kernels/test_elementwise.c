/* Elementwise programs: every scalar instruction, in every build for this processor, against the C
 * library in double; then whole kernels over broadcasts, strides, tails, types, in place and with
 * several outputs. */
#include "kernels/cpu/elementwise.h"
#include "tests/kernels/patterns.h"

/* ---- the instructions */

#define F(name) name
#define T double
#define DIVIDE(a, b) ((a) / (b))
#define POWER(a, b) pow(a, b)
#define REMAINDER(a, b) remainder_of(a, b)
#define ROUND(type, a) og_##type##_to_float(og_float_to_##type((float)(a)))

static double remainder_of(double a, double b)
{
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static double expected_real(og_scalar op, double a, double b, double c, double imm)
{
    switch (op) {
#define X(name, arity, ints, expression) \
    case OG_SCALAR_##name:               \
        return (expression);
#include "runtime/graph/scalar.def"
#undef X
    default:
        return NAN;
    }
}
#undef F
#undef T
#undef DIVIDE
#undef POWER
#undef REMAINDER
#undef ROUND

static const double special[] = {
    0.0,   -0.0,  1,     -1,      0.5,    -0.5,   2,          3,         -2.5,       1e-40, -1e-40,
    1e-45, 1e-20, 1e20,  3e38,    -3e38,  88.7,   -87.3,      -103.9,    100,        -100,  1e-3,
    -1e-3, 0.999, 1.001, 12345.6, 1e9,    -1e9,   0.70710678, 3.1415927, -1.5707964, 20,    -20,
    1.5,   -1.5,  2.5,   1e300,   -1e300, 1e-310, INFINITY,   -INFINITY, NAN};
enum { SPECIAL = sizeof special / sizeof *special, COUNT = 4096 };

/* COUNT numbers: pairs and triples of special ones first, then random ones of all sizes. `shift`
 * decides how the three operands are combined. */
static void fill_operand(double *to, int shift, uint64_t *seed)
{
    for (int i = 0; i < COUNT; i++) {
        if (i < SPECIAL * SPECIAL)
            to[i] = special[shift == 0   ? i % SPECIAL
                            : shift == 1 ? i / SPECIAL
                                         : (i * 7 + 3) % SPECIAL];
        else
            to[i] = test_uniform(seed) * exp(6 * test_uniform(seed));
    }
}

static bool is_close(double got, double want, double relative, double tiny)
{
    if (isnan(got) || isnan(want))
        return isnan(got) && isnan(want);
    return got == want || fabs(got - want) <= relative * fabs(want) + tiny;
}

/* Beside its result, what an instruction's rounding errors are relative to: for those that compute
 * a product with a probability and its derivative, the operands, whose terms cancel where that is
 * small. Infinity: anything is right, where dy is infinite and the slope may underflow, and where
 * x² overflows (PyTorch's gradient is NaN there too). */
static double cancelled(og_scalar op, double a, double b)
{
    switch (op) {
    case OG_SCALAR_GeluErf:
    case OG_SCALAR_GeluTanh:
    case OG_SCALAR_HardSwish:
    case OG_SCALAR_Silu:
        return fabs(a);
    case OG_SCALAR_GeluTanhGrad:
        if (fabs(b) > 1e18)
            return INFINITY;
        return fabs(a) * (1 + fmin(fabs(b), 10));
    case OG_SCALAR_GeluErfGrad:
    case OG_SCALAR_SiluGrad:
    case OG_SCALAR_HardSwishGrad:
        return fabs(a) * (1 + fmin(fabs(b), 10));
    default:
        return 0;
    }
}

static void check_level(const og__tile_ops *ops, int level, og__domain domain, og__load_fn *load)
{
    static _Alignas(64) double a[COUNT], b[COUNT], c[COUNT];
    static _Alignas(64) char ta[COUNT * 8], tb[COUNT * 8], tc[COUNT * 8], y[COUNT * 8];
    uint64_t seed = 21;
    bool is_float = domain == OG__DOMAIN_FLOAT;
    fill_operand(a, 0, &seed);
    fill_operand(b, 1, &seed);
    fill_operand(c, 2, &seed);
    load(ta, a, 1, COUNT);
    load(tb, b, 1, COUNT);
    load(tc, c, 1, COUNT);
    og_dtype dtype = is_float ? OG_FLOAT : OG_DOUBLE;
    size_t size = og__size(dtype);
    for (int op = 1; op < OG_SCALAR_COUNT; op++)
        for (int variant = 0; variant < OG__VARIANT_COUNT; variant++) {
            og__tile_fn *fn = ops->op[domain][variant][op];
            char text[64];
            snprintf(text, sizeof text, "%s, level %d, variant %d", og_scalar_name((og_scalar)op),
                     level, variant);
            TEST_CASE(text);
            if (variant == OG__VECTORS)
                CHECK(fn != NULL);
            /* A uniform operand is tried with each special value. */
            for (int u = 0; fn && u < (variant == OG__VECTORS ? 1 : SPECIAL); u++) {
                fn(y, variant == OG__UNIFORM_A ? ta + (size_t)u * size : ta,
                   variant == OG__UNIFORM_B ? tb + (size_t)u * SPECIAL * size : tb,
                   variant == OG__UNIFORM_C ? tc + (size_t)u * size : tc, 0.25, COUNT);
                int wrong = 0;
                for (int i = 0; i < COUNT && wrong < 3; i++) {
                    double va = og__load_double(ta, dtype, variant == OG__UNIFORM_A ? u : i);
                    double vb =
                        og__load_double(tb, dtype, variant == OG__UNIFORM_B ? u * SPECIAL : i);
                    double vc = og__load_double(tc, dtype, variant == OG__UNIFORM_C ? u : i);
                    double want = expected_real((og_scalar)op, va, vb, vc, 0.25);
                    double got = og__load_double(y, dtype, i);
                    if (is_float)
                        want = (float)want;
                    double relative = is_float ? 1e-6 : 4e-15, tiny = is_float ? 2e-38 : 4e-308;
                    double scale = cancelled((og_scalar)op, va, vb);
                    if (!isinf(scale) && !is_close(got, want, relative, tiny + relative * scale)) {
                        test_failed(__FILE__, __LINE__);
                        printf("(%.9g, %.9g, %.9g) is %.17g, expected %.17g\n", va, vb, vc, got,
                               want);
                        wrong++;
                    }
                }
            }
            TEST_CASE("");
        }
}

static const og__tile_ops *level_ops(int level)
{
#if defined(__x86_64__)
    return level == 2 ? &og__tile_ops_v2 : level == 3 ? &og__tile_ops_v3 : &og__tile_ops_v4;
#else
    return level == 2 ? &og__tile_ops_v2 : NULL;
#endif
}

TEST(scalars_float)
{
    for (int level = 2; level <= og__simd_level(); level++)
        check_level(level_ops(level), level, OG__DOMAIN_FLOAT,
                    level_ops(level)->load[OG__DOMAIN_FLOAT][OG_DOUBLE]);
}

TEST(scalars_double)
{
    for (int level = 2; level <= og__simd_level(); level++)
        check_level(level_ops(level), level, OG__DOMAIN_DOUBLE,
                    level_ops(level)->load[OG__DOMAIN_DOUBLE][OG_DOUBLE]);
}

/* Every float16 to float, and floats of every exponent back, bit for bit as half.h has them; a NaN
 * may become a quiet one. */
TEST(float16_conversions)
{
    enum { N = 1 << 16, PIECE = 37 }; /* no whole vectors */
    static uint16_t halves[N], back[N];
    static float floats[N], wide[N];
    uint64_t seed = 17;
    for (int i = 0; i < N; i++) {
        halves[i] = (uint16_t)i;
        floats[i] = og_bits_float((uint32_t)i << 16 | (uint32_t)(test_random(&seed) & 0xffff));
        if (i % 2) /* where float16 has ties */
            floats[i] = og_bits_float(og_float_bits(floats[i]) & ~0xfffu);
    }
    for (int level = 2; level <= og__simd_level(); level++) {
        const og__tile_ops *ops = level_ops(level);
        for (int i = 0; i < N; i += PIECE) {
            int n = i + PIECE < N ? PIECE : N - i;
            ops->load[OG__DOMAIN_FLOAT][OG_FLOAT16](wide + i, halves + i, 1, n);
            ops->store[OG__DOMAIN_FLOAT][OG_FLOAT16](back + i, floats + i, n);
        }
        int wrong = 0;
        for (int i = 0; i < N; i++) {
            float exact = og_half_to_float(halves[i]);
            wrong +=
                og_float_bits(wide[i]) != og_float_bits(exact) && !(isnan(exact) && isnan(wide[i]));
            wrong += back[i] != og_float_to_half(floats[i]);
        }
        CHECK_INT(wrong, 0);
    }
}

/* In 128 bits, cut to 64. */
static int64_t expected_int(og_scalar op, int64_t a, int64_t b, int64_t c, int64_t imm)
{
    __int128 p = 1;
    switch (op) {
    case OG_SCALAR_Const:
        return imm;
    case OG_SCALAR_Identity:
        return a;
    case OG_SCALAR_Neg:
        return (int64_t) - (__int128)a;
    case OG_SCALAR_Abs:
        return a < 0 ? (int64_t) - (__int128)a : a;
    case OG_SCALAR_Relu:
        return a < 0 ? 0 : a;
    case OG_SCALAR_Sign:
        return a < 0 ? -1 : a > 0;
    case OG_SCALAR_Not:
        return !a;
    case OG_SCALAR_Add:
        return (int64_t)((__int128)a + b);
    case OG_SCALAR_Sub:
        return (int64_t)((__int128)a - b);
    case OG_SCALAR_Mul:
        return (int64_t)((__int128)a * b);
    case OG_SCALAR_Div:
        return b ? (int64_t)((__int128)a / b) : 0;
    case OG_SCALAR_Mod:
        return b ? (int64_t)(((__int128)a % b + b) % b) : 0;
    case OG_SCALAR_Pow:
        if (b < 0)
            return a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
        if (b > 100)
            return a == 0 || a == 1 ? a : a == -1 ? (b % 2 ? -1 : 1) : a % 2 ? INT64_MIN : 0;
        for (int64_t i = 0; i < b; i++)
            p = (int64_t)(uint64_t)((unsigned __int128)p * (unsigned __int128)a);
        return (int64_t)p;
    case OG_SCALAR_Min:
        return a < b ? a : b;
    case OG_SCALAR_Max:
        return a > b ? a : b;
    case OG_SCALAR_Equal:
        return a == b;
    case OG_SCALAR_Less:
        return a < b;
    case OG_SCALAR_LessOrEqual:
        return a <= b;
    case OG_SCALAR_Greater:
        return a > b;
    case OG_SCALAR_GreaterOrEqual:
        return a >= b;
    case OG_SCALAR_And:
        return a && b;
    case OG_SCALAR_Or:
        return a || b;
    case OG_SCALAR_Xor:
        return !a != !b;
    case OG_SCALAR_BitwiseAnd:
        return a & b;
    case OG_SCALAR_BitwiseOr:
        return a | b;
    case OG_SCALAR_BitwiseXor:
        return a ^ b;
    case OG_SCALAR_Where:
        return a ? b : c;
    case OG_SCALAR_Accumulate:
        return c ? (int64_t)((uint64_t)a + (uint64_t)b) : a;
    default:
        return 0;
    }
}

TEST(scalars_int)
{
    static const int64_t values[] = {0,  1,  -1, 2,  -2, 3,         -3,        7,         10,
                                     -7, 20, 62, 63, 64, INT64_MAX, INT64_MIN, INT32_MAX, -1000003};
    enum { N = sizeof values / sizeof *values, ALL = N * N / OG__LANES * OG__LANES };
    static _Alignas(64) int64_t a[N * N], b[N * N], c[N * N], y[N * N];
    for (int i = 0; i < N * N; i++) {
        a[i] = values[i % N];
        b[i] = values[i / N];
        c[i] = values[(i * 5 + 1) % N];
    }
    for (int level = 2; level <= og__simd_level(); level++)
        for (int op = 1; op < OG_SCALAR_COUNT; op++) {
            TEST_CASE(og_scalar_name((og_scalar)op));
            og__tile_fn *fn = level_ops(level)->op[OG__DOMAIN_INT][OG__VECTORS][op];
            CHECK((fn != NULL) == og_scalar_has_int((og_scalar)op));
            if (!fn)
                continue;
            fn(y, a, b, c, 5, ALL);
            for (int i = 0; i < ALL; i++) {
                if (op == OG_SCALAR_Pow && b[i] > 100 && a[i] % 2 && a[i] != 1 && a[i] != -1)
                    continue; /* odd to a huge power: no simple expectation */
                if (!CHECK_INT(y[i], expected_int((og_scalar)op, a[i], b[i], c[i], 5)))
                    printf("        of %lld, %lld\n", (long long)a[i], (long long)b[i]);
            }
        }
    TEST_CASE("");
}

/* ---- whole kernels */

/* Row-major position `at` of `to` as a position of t, which is broadcast. */
static double broadcast_element(const og_tensor *t, const og_type *to, int64_t at)
{
    int64_t offset = 0, shift = to->rank - t->type.rank;
    for (int a = to->rank - 1; a >= 0; a--) {
        int64_t i = at % to->dims[a];
        at /= to->dims[a];
        if (a >= shift && t->type.dims[a - shift] > 1)
            offset += i * t->strides[a - shift];
    }
    return og__load_double(t->data, t->type.dtype, offset);
}

/* Where(c, a, b), so that each of the three has each shape; condition of types bool and float. */
TEST(broadcasting)
{
    uint64_t seed = 1;
    static const og_dtype types[] = {OG_FLOAT, OG_DOUBLE, OG_FLOAT16, OG_BFLOAT16,
                                     OG_INT32, OG_INT64,  OG_UINT8,   OG_BOOL};
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        for (int turn = 0; turn < 3; turn++)
            for (int t = 0; t < 16; t++) {
                const pattern *p = &patterns[i];
                og_dtype dtype = types[t / 2];
                bool last = t & 1 && p->ry > 2; /* the output channels-last */
                TEST_CASE(p->name);
                kernel_call c = {.op = "Where", .scalar = OG_SCALAR_Where, .nx = 3, .ny = 1};
                for (int x = 0; x < 3; x++)
                    c.x[x] = pattern_input(p, (x + turn) % 3, x == 0 ? OG_BOOL : dtype, &seed);
                c.y[0] = test_tensor(dtype, p->ry, p->y);
                if (last)
                    og_strides_channels_last(&c.y[0].type, c.y[0].strides);
                if (test_run(&c))
                    for (int64_t e = 0; e < og__elements(&c.y[0]); e++) {
                        const og_tensor *from =
                            &c.x[broadcast_element(&c.x[0], &c.y[0].type, e) != 0 ? 1 : 2];
                        if (!CHECK(test_element(&c.y[0], e) ==
                                   broadcast_element(from, &c.y[0].type, e)))
                            break;
                    }
                test_free_tensors(&c);
            }
    TEST_CASE("");
}

/* (a - b) · c as a program, in every pattern and domain. */
TEST(programs)
{
    static const og_instr instr[] = {{OG_SCALAR_Sub, 0, 1, -1}, {OG_SCALAR_Mul, 3, 2, -1}};
    static const int16_t out = 4;
    static const og_dtype types[] = {OG_FLOAT, OG_DOUBLE, OG_INT64};
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++)
        for (int turn = 0; turn < 3; turn++)
            for (int t = 0; t < 3; t++) {
                const pattern *p = &patterns[i];
                TEST_CASE(p->name);
                og_program program = {types[t], 3, 2, 1, instr, &out};
                kernel_call c = {.op = "ai.ongrad::Fused", .program = &program, .nx = 3, .ny = 1};
                for (int x = 0; x < 3; x++)
                    c.x[x] = pattern_input(p, (x + turn) % 3, types[t], &seed);
                c.y[0] = test_tensor(types[t], p->ry, p->y);
                if (test_run(&c))
                    for (int64_t e = 0; e < og__elements(&c.y[0]); e++) {
                        double v[3];
                        for (int x = 0; x < 3; x++)
                            v[x] = broadcast_element(&c.x[x], &c.y[0].type, e);
                        double want =
                            t == 0 ? (float)(v[0] - v[1]) * (float)v[2] : (v[0] - v[1]) * v[2];
                        if (!CHECK_CLOSE(test_element(&c.y[0], e), want, t == 0 ? 1e-6 : 1e-15))
                            break;
                    }
                test_free_tensors(&c);
            }
    TEST_CASE("");
}

/* Results do not depend on how many elements there are, or where they stand. */
TEST(tails)
{
    uint64_t seed = 9;
    int64_t most = 5000;
    og_tensor x = test_filled(OG_FLOAT, 1, &most, &seed), whole = test_tensor(OG_FLOAT, 1, &most);
    kernel_call c = {
        .op = "Exp", .scalar = OG_SCALAR_Exp, .nx = 1, .ny = 1, .x = {x}, .y = {whole}};
    test_run(&c);
    for (int64_t n = 1; n < most; n += n < 70 ? 1 : 617)
        for (int64_t start = 0; start < 3; start++) {
            og_tensor part = x;
            part.type.dims[0] = n;
            part.data = (float *)x.data + start;
            kernel_call k = {.op = "Exp", .scalar = OG_SCALAR_Exp, .nx = 1, .ny = 1, .x = {part}};
            k.y[0] = test_tensor(OG_FLOAT, 1, &n);
            if (n + start > most)
                k.y[0].type.dims[0] = k.x[0].type.dims[0] = most - start;
            test_run(&k);
            CHECK(memcmp(k.y[0].data, (float *)whole.data + start,
                         (size_t)k.y[0].type.dims[0] * sizeof(float)) == 0);
            free(k.y[0].data);
        }
    free(x.data);
    free(whole.data);
}

/* AdamW's shape: three results that take the place of three inputs, a skipped update leaves all of
 * them alone. */
TEST(in_place)
{
    enum { PARAMETER, GRADIENT, M, V, RATE, B1, C1, B2, C2, EPSILON, FINITE, INPUTS };
    static const og_instr instr[] = {{OG_SCALAR_Mul, M, B1, -1},
                                     {OG_SCALAR_Mul, GRADIENT, C1, -1},
                                     {OG_SCALAR_Add, 11, 12, -1},
                                     {OG_SCALAR_Mul, V, B2, -1},
                                     {OG_SCALAR_Mul, GRADIENT, GRADIENT, -1},
                                     {OG_SCALAR_Mul, 15, C2, -1},
                                     {OG_SCALAR_Add, 14, 16, -1},
                                     {OG_SCALAR_Sqrt, 17, -1, -1},
                                     {OG_SCALAR_Add, 18, EPSILON, -1},
                                     {OG_SCALAR_Div, 13, 19, -1},
                                     {OG_SCALAR_Mul, 20, RATE, -1},
                                     {OG_SCALAR_Sub, PARAMETER, 21, -1},
                                     {OG_SCALAR_Where, FINITE, 22, PARAMETER},
                                     {OG_SCALAR_Where, FINITE, 13, M},
                                     {OG_SCALAR_Where, FINITE, 17, V}};
    static const int16_t out[] = {24, 25, 23};
    static const double scalars[] = {0.1, 0.9, 0.1, 0.99, 0.01, 1e-8};
    const og_program program = {OG_FLOAT, INPUTS, 15, 3, instr, out};
    for (int finite = 0; finite < 2; finite++)
        for (int64_t n = 7; n < 40000; n = n * 5 + 3) {
            uint64_t seed = 77;
            kernel_call c = {.op = "ai.ongrad::Fused", .program = &program, .nx = INPUTS, .ny = 3};
            og_tensor before[4];
            for (int i = 0; i < INPUTS; i++) {
                c.x[i] = i < 4 ? test_filled(OG_FLOAT, 1, &n, &seed)
                               : test_tensor(i == FINITE ? OG_BOOL : OG_FLOAT, 0, NULL);
                if (i >= 4)
                    og__store_double(c.x[i].data, c.x[i].type.dtype, 0,
                                     i == FINITE ? finite : scalars[i - 4]);
            }
            for (int64_t e = 0; e < n; e++)
                ((float *)c.x[V].data)[e] = fabsf(((float *)c.x[V].data)[e]);
            for (int i = 0; i < 4; i++)
                before[i] = test_convert(&c.x[i], OG_DOUBLE);
            c.y[0] = c.x[M];
            c.y[1] = c.x[V];
            c.y[2] = c.x[PARAMETER];
            test_run(&c);
            for (int64_t e = 0; e < n; e++) {
                double p = test_element(&before[0], e), g = test_element(&before[1], e),
                       m = test_element(&before[2], e);
                double v = test_element(&before[3], e);
                if (finite) {
                    m = 0.9 * m + 0.1 * g;
                    v = 0.99 * v + 0.01 * g * g;
                    p -= 0.1 * m / (sqrt(v) + 1e-8);
                }
                bool ok = CHECK_CLOSE(test_element(&c.x[M], e), m, 1e-6) &&
                          CHECK_CLOSE(test_element(&c.x[V], e), v, 1e-6) &&
                          CHECK_CLOSE(test_element(&c.x[PARAMETER], e), p, 1e-6);
                if (!ok)
                    break;
            }
            c.ny = 0;
            test_free_tensors(&c);
            for (int i = 0; i < 4; i++)
                free(before[i].data);
        }
}

/* Two outputs that exchange two inputs' memory, one used again after its place was written. */
TEST(exchange)
{
    static const og_instr instr[] = {
        {OG_SCALAR_Add, 0, 1, -1}, {OG_SCALAR_Mul, 0, 2, -1}, {OG_SCALAR_Sub, 1, 3, -1}};
    static const int16_t out[] = {2, 4, 1};
    const og_program program = {OG_FLOAT, 2, 3, 3, instr, out};
    int64_t n = 3000;
    uint64_t seed = 4;
    kernel_call c = {.op = "ai.ongrad::Fused", .program = &program, .nx = 2, .ny = 3};
    c.x[0] = test_filled(OG_FLOAT, 1, &n, &seed);
    c.x[1] = test_filled(OG_FLOAT, 1, &n, &seed);
    og_tensor a = test_convert(&c.x[0], OG_DOUBLE), b = test_convert(&c.x[1], OG_DOUBLE);
    c.y[0] = c.x[0];
    c.y[1] = c.x[1];
    c.y[2] = test_tensor(OG_DOUBLE, 1, &n);
    test_run(&c);
    for (int64_t e = 0; e < n; e++) {
        double va = test_element(&a, e), vb = test_element(&b, e), sum = va + vb;
        bool ok = CHECK_CLOSE(test_element(&c.y[0], e), sum, 1e-6) &&
                  CHECK_CLOSE(test_element(&c.y[1], e), vb - va * sum, 1e-6) &&
                  CHECK(test_element(&c.y[2], e) == vb);
        if (!ok)
            break;
    }
    free(c.y[2].data);
    c.ny = 0;
    test_free_tensors(&c);
    free(a.data);
    free(b.data);
}

static bool bit_at(const unsigned char *bits, int64_t i)
{
    return bits[i / 8] >> i % 8 & 1;
}

/* Bits to every domain from any place on, and back; what lies behind the last byte is not touched.
 */
TEST(bit_conversions)
{
    enum { N = 333 };
    static const og_dtype types[OG__DOMAIN_COUNT] = {OG_FLOAT, OG_DOUBLE, OG_INT64};
    unsigned char bits[N / 8 + 2], back[N / 8 + 2];
    uint64_t seed = 5;
    for (size_t i = 0; i < sizeof bits; i++)
        bits[i] = (unsigned char)test_random(&seed);
    for (int level = 2; level <= og__simd_level(); level++)
        for (int d = 0; d < OG__DOMAIN_COUNT; d++)
            for (int64_t start = 0; start < 20; start++)
                for (int64_t n = 1; n <= N - start; n += n < 40 ? 1 : 97) {
                    static _Alignas(64) char wide[N * 8];
                    bool good = true;
                    level_ops(level)->load_bits[d](wide, bits, start, n);
                    for (int64_t i = 0; i < n; i++)
                        good &= og__load_double(wide, types[d], i) == bit_at(bits, start + i);
                    memset(back, 0xa5, sizeof back);
                    level_ops(level)->store_bits[d](back, wide, n);
                    for (int64_t i = 0; i < (n + 7) / 8 * 8; i++)
                        good &= bit_at(back, i) == (i < n && bit_at(bits, start + i));
                    CHECK(good && back[(n + 7) / 8] == 0xa5);
                }
}

static og_tensor test_bits(int rank, const int64_t *dims)
{
    og_type type = og_type_make(OG_BIT, rank, dims);
    og_tensor t = og_tensor_dense(&type, NULL);
    t.data = malloc((size_t)og_type_bytes(&type));
    return t;
}

/* A mask written by one program and read by others, one of which ends in a reduction. */
TEST(bits)
{
    static const og_instr test[] = {{OG_SCALAR_Less, 0, 1, -1}},
                          use[] = {{OG_SCALAR_Mul, 0, 1, -1}};
    static const int16_t out[] = {2};
    const og_program make = {OG_FLOAT, 2, 1, 1, test, out}, read = {OG_FLOAT, 2, 1, 1, use, out};
    static const int64_t shapes[][4] = {
        {1, 1, 1, 3}, {2, 3, 5, 7}, {3, 17, 13, 11}, {1, 1, 7, 4096}};
    uint64_t seed = 3;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int last = 0; last < 2; last++) {
            og_tensor a = test_filled(OG_FLOAT, 4, shapes[s], &seed);
            og_tensor b = test_filled(OG_FLOAT, 4, shapes[s], &seed);
            og_tensor mask = test_bits(4, shapes[s]), y = test_tensor(OG_FLOAT, 4, shapes[s]);
            for (og_tensor *t[] = {&a, &b, &mask, &y}, **at = t; last && at < t + 4; at++)
                og_strides_channels_last(&(*at)->type, (*at)->strides);
            kernel_call c = {.op = "ai.ongrad::Fused", .program = &make, .nx = 2, .ny = 1};
            c.x[0] = a;
            c.x[1] = b;
            c.y[0] = mask;
            test_run(&c);
            kernel_call r = {.op = "ai.ongrad::Fused", .program = &read, .nx = 2, .ny = 1};
            r.x[0] = a;
            r.x[1] = mask;
            r.y[0] = y;
            test_run(&r);
            double sum = 0;
            for (int64_t e = 0; e < og__elements(&a); e++) {
                double x = test_element(&a, e), want = x < test_element(&b, e) ? x : 0;
                sum += want;
                if (!CHECK(test_element(&y, e) == want))
                    break;
            }
            og_program folds = read;
            folds.n_out = 0;
            folds.fold = OG_FOLD_SUM;
            folds.folded = 2;
            folds.folded_axes = 13; /* all but 1 */
            folds.space = a.type;
            int64_t kept = shapes[s][1];
            r.program = &folds;
            r.y[0] = test_tensor(OG_FLOAT, 1, &kept);
            test_run(&r);
            double folded = 0;
            for (int64_t i = 0; i < kept; i++)
                folded += test_element(&r.y[0], i);
            CHECK_CLOSE(folded, sum, 1e-5);
            test_free_tensors(&r);
            free(b.data);
            free(y.data);
        }
}

/* What cannot be walked bit by bit is refused: a broadcast, another order of axes, the output of a
 * program whose parts begin anywhere. */
TEST(bits_refused)
{
    static const og_instr use[] = {{OG_SCALAR_Mul, 0, 1, -1}};
    static const int16_t out[] = {2}, mask_out[] = {1};
    og_program read = {OG_FLOAT, 2, 1, 1, use, out};
    og_tensor x =
        og_tensor_dense(&(og_type){.dtype = OG_FLOAT, .rank = 4, .dims = {2, 3, 4, 5}}, NULL);
    og_tensor mask = x, row = x;
    mask.type.dtype = row.type.dtype = OG_BIT;
    row.type.dims[2] = 1;
    og_tensor last = mask;
    og_strides_channels_last(&last.type, last.strides);
    const og_tensor *masks[] = {&mask, &row, &last};
    og_device *device = og_cpu_device_new(1);
    for (int i = 0; i < 4; i++) {
        kernel_call c = {.op = "ai.ongrad::Fused", .program = &read, .nx = 2, .ny = 1};
        kernel_node n;
        c.x[0] = c.y[0] = x;
        c.x[1] = i < 3 ? *masks[i] : x;
        og_program folds = {OG_FLOAT, 2, 1, 1, use, mask_out, OG_FOLD_SUM, 2, 15, x.type};
        if (i == 3) {
            c.program = &folds;
            c.y[0] = mask;
            c.y[c.ny++] = og_tensor_dense(&(og_type){.dtype = OG_FLOAT}, NULL);
        }
        test_node(&n, &c);
        og_call call = {
            .node = &n.node, .device = device, .nx = c.nx, .ny = c.ny, .x = c.x, .y = c.y};
        CHECK_INT(og_device_kernel(device, &call, false) != NULL, i == 0);
    }
    device->destroy(device);
}

TEST(casts)
{
    static const og_dtype types[] = {OG_FLOAT,  OG_DOUBLE, OG_FLOAT16, OG_BFLOAT16, OG_BOOL,
                                     OG_INT8,   OG_UINT8,  OG_INT16,   OG_UINT16,   OG_INT32,
                                     OG_UINT32, OG_INT64,  OG_UINT64};
    for (int from = 0; from < 13; from++)
        for (int to = 0; to < 13; to++) {
            char text[64];
            snprintf(text, sizeof text, "%s to %s", og_dtype_name(types[from]),
                     og_dtype_name(types[to]));
            TEST_CASE(text);
            kernel_call c = {.op = "Cast", .nx = 1, .ny = 1};
            int64_t n = 37;
            c.x[0] = test_tensor(types[from], 1, &n);
            c.y[0] = test_tensor(types[to], 1, &n);
            for (int i = 0; i < n; i++) /* 0 … 108 in all types; some with a fraction */
                og__store_double(c.x[0].data, types[from], i,
                                 i * 3 + (og__is_real(types[from]) ? 0.5 : 0));
            if (test_run(&c))
                for (int i = 0; i < n; i++) {
                    double v = og__load_double(c.x[0].data, types[from], i);
                    double want = types[to] == OG_BOOL     ? v != 0
                                  : og__is_real(types[to]) ? v
                                                           : trunc(v);
                    CHECK(og__load_double(c.y[0].data, types[to], i) == want);
                }
            test_free_tensors(&c);
        }
    TEST_CASE("");
}

TEST(casts_at_the_edges)
{
    static const struct {
        og_dtype from, to;
        double value, want;
    } cases[] = {
        {OG_FLOAT, OG_INT64, 1e30, 0x1p63},
        {OG_FLOAT, OG_INT64, -1e30, -0x1p63},
        {OG_FLOAT, OG_INT64, NAN, 0},
        {OG_FLOAT, OG_INT32, -2.9, -2},
        {OG_FLOAT, OG_UINT8, 257, 1},
        {OG_FLOAT, OG_BOOL, NAN, 1},
        {OG_FLOAT, OG_BOOL, -0.0, 0},
        {OG_FLOAT, OG_BOOL, 1e-45, 1},
        {OG_DOUBLE, OG_FLOAT, 1e300, INFINITY},
        {OG_DOUBLE, OG_FLOAT16, 65519, 65504},
        {OG_DOUBLE, OG_FLOAT16, 65520, INFINITY},
        {OG_FLOAT, OG_FLOAT16, 0x1p-24, 0x1p-24},
        {OG_FLOAT, OG_FLOAT16, 0x1.8p-25, 0x1p-24},
        {OG_FLOAT, OG_FLOAT16, 0x1p-25, 0},
        {OG_FLOAT, OG_FLOAT16, 2049, 2048},
        {OG_FLOAT, OG_FLOAT16, 2051, 2052},
        {OG_FLOAT, OG_FLOAT16, NAN, NAN},
        {OG_FLOAT, OG_BFLOAT16, 257, 256},
        {OG_FLOAT, OG_BFLOAT16, 259, 260},
        {OG_FLOAT, OG_BFLOAT16, NAN, NAN},
        {OG_FLOAT, OG_BFLOAT16, 3.4e38, INFINITY},
        {OG_FLOAT16, OG_FLOAT, -0x1p-24, -0x1p-24},
        {OG_FLOAT16, OG_FLOAT, -INFINITY, -INFINITY},
        {OG_UINT64, OG_DOUBLE, 0x1p63, 0x1p63},
        {OG_DOUBLE, OG_UINT64, 0x1.8p63, 0x1.8p63},
        {OG_INT64, OG_FLOAT, 16777217, 16777216},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kernel_call c = {.op = "Cast", .nx = 1, .ny = 1};
        c.x[0] = test_tensor(cases[i].from, 0, NULL);
        c.y[0] = test_tensor(cases[i].to, 0, NULL);
        og__store_double(c.x[0].data, cases[i].from, 0, cases[i].value);
        if (test_run(&c) &&
            !CHECK_CLOSE(og__load_double(c.y[0].data, cases[i].to, 0), cases[i].want, 0))
            printf("        %s to %s\n", og_dtype_name(cases[i].from), og_dtype_name(cases[i].to));
        test_free_tensors(&c);
    }
}

TEST(several_inputs)
{
    uint64_t seed = 8;
    for (int n = 1; n < 6; n++) {
        kernel_call c = {.op = "Max", .scalar = OG_SCALAR_Max, .nx = n, .ny = 1};
        for (int i = 0; i < n; i++)
            c.x[i] = test_filled(OG_FLOAT, 2, (int64_t[]){i % 2 ? 1 : 9, 21}, &seed);
        c.y[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){9, 21});
        if (test_run(&c))
            for (int e = 0; e < 9 * 21; e++) {
                double want = -INFINITY;
                for (int i = 0; i < n; i++)
                    want = fmax(want, broadcast_element(&c.x[i], &c.y[0].type, e));
                CHECK(test_element(&c.y[0], e) == want);
            }
        test_free_tensors(&c);
    }
}

/* Types of a single op's inputs decide what it computes in. */
TEST(domains)
{
    int64_t n = 3;
    kernel_call c = {.op = "Pow", .scalar = OG_SCALAR_Pow, .nx = 2, .ny = 1};
    c.x[0] = test_tensor(OG_INT32, 1, &n);
    c.x[1] = test_tensor(OG_FLOAT, 0, NULL);
    c.y[0] = test_tensor(OG_INT32, 1, &n);
    for (int i = 0; i < 3; i++)
        ((int32_t *)c.x[0].data)[i] = i + 10000;
    *(float *)c.x[1].data = 2;
    test_run(&c);
    for (int i = 0; i < 3; i++)
        CHECK_INT(((int32_t *)c.y[0].data)[i], (i + 10000) * (i + 10000));
    test_free_tensors(&c);

    c = (kernel_call){.op = "Equal", .scalar = OG_SCALAR_Equal, .nx = 2, .ny = 1};
    for (int i = 0; i < 2; i++)
        c.x[i] = test_tensor(OG_INT64, 1, &n);
    c.y[0] = test_tensor(OG_BOOL, 1, &n);
    for (int i = 0; i < 3; i++) { /* equal as doubles */
        ((int64_t *)c.x[0].data)[i] = INT64_MAX - 1;
        ((int64_t *)c.x[1].data)[i] = INT64_MAX - i;
    }
    test_run(&c);
    for (int i = 0; i < 3; i++)
        CHECK_INT(((uint8_t *)c.y[0].data)[i], i == 1);
    test_free_tensors(&c);
}

static const og_test tests[] = {
    TEST_ROW(scalars_float), TEST_ROW(scalars_double),     TEST_ROW(float16_conversions),
    TEST_ROW(scalars_int),   TEST_ROW(broadcasting),       TEST_ROW(programs),
    TEST_ROW(tails),         TEST_ROW(in_place),           TEST_ROW(exchange),
    TEST_ROW(casts),         TEST_ROW(casts_at_the_edges), TEST_ROW(several_inputs),
    TEST_ROW(domains),       TEST_ROW(bit_conversions),    TEST_ROW(bits),
    TEST_ROW(bits_refused),
};
TEST_MAIN(tests)
