/* MatMulEpilogue on the card: every form in every type against the same by hand, and what is
 * refused; whole steps with it are in test_plan.c. */
#include <math.h>

#include "ops/matmul.h"
#include "tests/cuda/call.h"

typedef struct precision {
    og_dtype in, out;
    bool tf32;
    closeness close; /* of sums of at most 40 products of numbers below 1 (test_matmul.c) */
} precision;

static const precision precisions[] = {
    {OG_FLOAT, OG_FLOAT, false, {1e-5, 1e-5}},     {OG_FLOAT, OG_FLOAT, true, {2e-3, 8e-3}},
    {OG_FLOAT16, OG_FLOAT16, false, {2e-3, 2e-3}}, {OG_BFLOAT16, OG_BFLOAT16, false, {1e-2, 1e-2}},
    {OG_FLOAT16, OG_FLOAT, false, {1e-5, 1e-5}},   {OG_BFLOAT16, OG_FLOAT, false, {1e-5, 1e-5}},
};

typedef struct shape {
    int rank; /* of A; its axes before the last two are rows, too */
    int64_t batch, m, n, k;
    bool a_transposed, b_transposed;
} shape;

static const shape shapes[] = {
    {2, 1, 12, 24, 40, false, false}, {2, 1, 12, 24, 7, true, false},
    {2, 1, 5, 136, 9, false, true},   {3, 3, 4, 16, 33, false, false},
    {2, 1, 1, 8, 1, false, false},    {2, 1, 9, 17, 33, true, true},
};

static double gate(double x)
{
    return 1 / (1 + exp(-1.5957691216057308 * x * (1 + 0.044715 * x * x)));
}

static double gelu_slope(double x)
{
    double s = gate(x);
    return s * (1 + x * (1 - s) * 1.5957691216057308 * (1 + 3 * 0.044715 * x * x));
}

static og_tensor matrices(og_dtype dtype, int rank, const int64_t *dims, bool transposed,
                          uint64_t *seed)
{
    og_tensor t = test_filled(dtype, rank, dims, seed);
    if (transposed) {
        t.strides[rank - 2] = 1;
        t.strides[rank - 1] = dims[rank - 2];
    }
    return t;
}

/* y and the second output of a form, from the product in double. */
static void expect(kernel_call *c, og_matmul_form form)
{
    og_tensor *y = &c->y[0];
    const og_tensor *a = &c->x[0], *b = &c->x[1], *x = &c->x[2];
    kernel_call product = {.op = "MatMul", .nx = 2, .ny = 1};
    for (int i = 0; i < 2; i++)
        product.x[i] = test_convert(&c->x[i], OG_DOUBLE);
    product.y[0] = test_tensor(OG_DOUBLE, y->type.rank, y->type.dims);
    test_run(&product);
    int64_t n = y->type.dims[y->type.rank - 1], k = b->type.dims[0], rows = og__elements(y) / n;
    double *sums = calloc((size_t)(rows + n), sizeof *sums);
    for (int64_t e = 0; e < rows * n; e++) {
        double v = test_element(&product.y[0], e);
        if (form <= OG_MATMUL_GELU)
            v += test_element(x, e % n);
        if (form == OG_MATMUL_GELU && c->ny > 1)
            og__store_double(c->y[1].data, c->y[1].type.dtype, e, v);
        v = form == OG_MATMUL_RELU        ? fmax(v, 0)
            : form == OG_MATMUL_GELU      ? v * gate(v)
            : form == OG_MATMUL_RELU_GRAD ? test_element(x, e) > 0 ? v : 0
            : form == OG_MATMUL_GELU_GRAD ? v * gelu_slope(test_element(x, e))
                                          : v;
        og__store_double(y->data, y->type.dtype, e, v);
        sums[e % n] += v;
    }
    for (int64_t i = 0; c->ny > 1 && form > OG_MATMUL_GELU && i < og__elements(&c->y[1]); i++) {
        double sum = form < OG_MATMUL_SUM_A ? sums[i] : 0;
        for (int64_t l = 0; form >= OG_MATMUL_SUM_A && l < k; l++)
            sum +=
                form == OG_MATMUL_SUM_A ? test_element(a, i * k + l) : test_element(b, l * n + i);
        og__store_double(c->y[1].data, c->y[1].type.dtype, i, sum);
    }
    free(sums);
    test_free_tensors(&product);
}

/* A call without the expected outputs. */
static kernel_call call_of(og_matmul_form form, const precision *p, const shape *s, int ny,
                           uint64_t *seed)
{
    int64_t a[3] = {s->batch, s->m, s->k}, b[2] = {s->k, s->n}, y[3] = {s->batch, s->m, s->n};
    int skip = 3 - s->rank;
    bool grad = form == OG_MATMUL_RELU_GRAD || form == OG_MATMUL_GELU_GRAD;
    kernel_call c = {.op = "ai.ongrad::MatMulEpilogue",
                     .n_attrs = 2,
                     .nx = form < OG_MATMUL_SUM_A ? 3 : 2,
                     .ny = ny};
    c.attrs[0] = (og_attr){.name = "form", .kind = OG_ATTR_STRING, .s = og_matmul_form_names[form]};
    c.attrs[1] = (og_attr){.name = "wide", .kind = OG_ATTR_INT, .i = p->in != p->out};
    c.x[0] = matrices(p->in, s->rank, a + skip, s->a_transposed, seed);
    c.x[1] = matrices(p->in, 2, b, s->b_transposed, seed);
    if (c.nx > 2)
        c.x[2] = grad ? test_filled(p->out, s->rank, y + skip, seed)
                      : test_filled(p->out, 1, &s->n, seed);
    c.y[0] = test_tensor(p->out, s->rank, y + skip);
    if (ny > 1)
        c.y[1] = form == OG_MATMUL_GELU
                     ? test_tensor(p->out, s->rank, y + skip)
                     : test_tensor(p->out, 1, form == OG_MATMUL_SUM_A ? &s->m : &s->n);
    return c;
}

static bool has_kernel(og_device *d, kernel_call *c)
{
    kernel_node n;
    og_tensor x[CALL_MAX], y[CALL_MAX];
    test_node(&n, c);
    memcpy(x, c->x, sizeof x);
    memcpy(y, c->y, sizeof y);
    for (int i = 0; i < CALL_MAX; i++)
        x[i].data = y[i].data = NULL;
    og_call call = {.node = &n.node, .device = d, .nx = c->nx, .ny = c->ny, .x = x, .y = y};
    return og_device_kernel(d, &call, false) != NULL;
}

static bool is_gelu(og_matmul_form form)
{
    return form == OG_MATMUL_GELU || form == OG_MATMUL_GELU_GRAD;
}

static void check(og_device *d, og_matmul_form form, const precision *p, const shape *s, int ny)
{
    uint64_t seed = 7;
    char text[128];
    snprintf(text, sizeof text, "%s, %d outputs, %s to %s, [%lld x %lld x %lld]",
             og_matmul_form_names[form], ny, og_dtype_name(p->in), og_dtype_name(p->out),
             (long long)s->m, (long long)s->n, (long long)s->k);
    TEST_CASE(text);
    kernel_call c = call_of(form, p, s, ny, &seed);
    if (is_gelu(form) && s->n % 8 != 0) {
        CHECK(!has_kernel(d, &c));
    } else {
        expect(&c, form);
        card_gives(d, &c, "cuBLASLt", 0, 0, p->close);
    }
    test_free_tensors(&c);
    TEST_CASE("");
}

TEST(forms_of_every_type_and_layout)
{
    og_device *d = open_device(1);
    for (size_t t = 0; t < sizeof precisions / sizeof *precisions; t++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int form = 0; form < OG_MATMUL_FORMS; form++) {
                const precision *p = &precisions[t];
                bool sum = form >= OG_MATMUL_SUM_A, wide = p->out == OG_FLOAT;
                d->options.allow_tf32 = p->tf32;
                if ((form == OG_MATMUL_SUM_A && shapes[i].rank > 2) ||
                    (sum && !wide)) /* rounded once more than each of them: by hand, not alike */
                    continue;
                check(d, form, p, &shapes[i], form == OG_MATMUL_GELU || sum ? 2 : 1);
                if ((form == OG_MATMUL_RELU_GRAD || form == OG_MATMUL_GELU_GRAD) && wide)
                    check(d, form, p, &shapes[i], 2);
            }
    close_device(d);
}

/* Inputs that begin anywhere; the outputs are where the planner puts them. */
TEST(inputs_at_odd_addresses)
{
    static const shape s = {2, 1, 6, 24, 10, false, false};
    og_device *d = open_device(2);
    d->options.allow_tf32 = false;
    for (int form = 0; form < OG_MATMUL_FORMS; form++)
        for (int wide = 0; wide < 2; wide++) {
            uint64_t seed = 5;
            const precision *p = &precisions[wide ? 4 : 0];
            TEST_CASE(og_matmul_form_names[form]);
            kernel_call c = call_of(form, p, &s, form < OG_MATMUL_GELU ? 1 : 2, &seed);
            expect(&c, form);
            card_gives_aligned(d, &c, "cuBLASLt", 1, p->close);
            test_free_tensors(&c);
        }
    TEST_CASE("");
    close_device(d);
}

/* Gradients of weights are added to their sums: always, or where a scalar says so, without which
 * what the sum holds is not read. */
TEST(sums_are_continued)
{
    static const og_instr add = {OG_SCALAR_Add, 1, 0, -1, 0},
                          accumulate = {OG_SCALAR_Accumulate, 0, 1, 2, 0};
    static const int16_t results[] = {2, 3};
    static const og_program programs[] = {{OG_FLOAT, 2, 1, 1, &add, &results[0]},
                                          {OG_FLOAT, 3, 1, 1, &accumulate, &results[1]}};
    static const shape s = {2, 1, 12, 24, 40, true, false};
    og_device *d = open_device(3);
    for (int form = OG_MATMUL_SUM_A; form < OG_MATMUL_FORMS; form++)
        for (int more = -1; more < 2; more++) {
            uint64_t seed = 3;
            kernel_call c = call_of(form, &precisions[4], &s, 2, &seed);
            expect(&c, form);
            c.program = &programs[more >= 0];
            og_tensor *sum = &c.x[c.nx++];
            *sum = test_filled(OG_FLOAT, 2, c.y[0].type.dims, &seed);
            for (int64_t e = 0; e < og__elements(sum); e++)
                if (more)
                    ((float *)c.y[0].data)[e] += ((float *)sum->data)[e];
                else
                    ((float *)sum->data)[e] = NAN;
            if (more >= 0) {
                c.x[c.nx] = test_tensor(OG_FLOAT, 0, NULL);
                *(float *)c.x[c.nx++].data = (float)more;
            }
            card_gives(d, &c, "cuBLASLt", 0, 0, precisions[4].close);
            test_free_tensors(&c);
        }
    close_device(d);
}

/* What the library has no way for, the kernel does not support: the op's definition is computed. */
TEST(refusals_are_asked_for)
{
    uint64_t seed = 1;
    kernel_call c = call_of(OG_MATMUL_SUM_B, &precisions[0], &shapes[0], 2, &seed);
    og_device *d = open_device(1);
    CHECK(has_kernel(d, &c));
    close_device(d);
    og_sim_set_refused(1U << OG_CUDA_BGRADA, 0);
    d = open_device(1);
    CHECK(!has_kernel(d, &c));
    CHECK(!has_kernel(d, &c)); /* what is kept of the answer */
    c.attrs[0].s = og_matmul_form_names[OG_MATMUL_BIAS];
    c.nx = 3;
    c.ny = 1;
    c.x[2] = test_filled(OG_FLOAT, 1, &shapes[0].n, &seed);
    CHECK(has_kernel(d, &c));
    close_device(d);
    og_sim_set_refused(0, 0);
    free(c.y[1].data);
    test_free_tensors(&c);
}

static const og_test tests[] = {
    TEST_ROW(forms_of_every_type_and_layout),
    TEST_ROW(inputs_at_odd_addresses),
    TEST_ROW(sums_are_continued),
    TEST_ROW(refusals_are_asked_for),
};
TEST_MAIN(tests)
