/* Products that carry a program, against the same kernel's result put through the program's steps
 * in double: every kernel that takes them, every step, layouts, stacks and odd sizes. */
#include "tests/kernels/call.h"

typedef struct shape {
    const char *name, *kernel;
    int ra, rb;
    int64_t a[4], b[4];
    bool swapped; /* both lie with their last two axes swapped */
} shape;

static const shape shapes[] = {
    {"odd", "oneDNN", 2, 2, {37, 53}, {53, 29}, false},
    {"transposed", "oneDNN", 2, 2, {37, 53}, {53, 29}, true},
    {"one row", "oneDNN", 2, 2, {1, 53}, {53, 29}, false},
    {"vector", "oneDNN", 1, 2, {53}, {53, 29}, false},
    {"one column", "oneDNN", 2, 2, {37, 53}, {53, 1}, false},
    {"stack", "oneDNN", 3, 3, {6, 33, 20}, {6, 20, 17}, false},
    {"stack, shared B", "oneDNN", 3, 2, {6, 33, 20}, {20, 17}, true},
    {"heads", "oneDNN", 4, 4, {2, 3, 50, 16}, {2, 3, 16, 50}, true},
    {"long stack", "oneDNN", 3, 3, {96, 40, 64}, {96, 64, 40}, false},
    {"large", "oneDNN packed", 2, 2, {523, 400}, {400, 401}, false},
    {"large, transposed", "oneDNN packed", 2, 2, {520, 400}, {400, 401}, true},
    {"large stack", "oneDNN packed", 3, 2, {40, 20, 400}, {400, 401}, false},
};

/* Operands: 0 the product, 1 a bias, 2 a residual. */
static const struct {
    const char *name;
    int n_in, n;
    og_instr instr[3];
} programs[] = {
    {"bias", 2, 1, {{OG_SCALAR_Add, 0, 1, -1}}},
    {"bias first", 2, 1, {{OG_SCALAR_Add, 1, 0, -1}}},
    {"tanh", 1, 1, {{OG_SCALAR_Tanh, 0, -1, -1}}},
    {"bias, tanh", 2, 2, {{OG_SCALAR_Add, 0, 1, -1}, {OG_SCALAR_Tanh, 2, -1, -1}}},
    {"bias, sigmoid", 2, 2, {{OG_SCALAR_Add, 0, 1, -1}, {OG_SCALAR_Sigmoid, 2, -1, -1}}},
    {"bias, silu", 2, 2, {{OG_SCALAR_Add, 0, 1, -1}, {OG_SCALAR_Silu, 2, -1, -1}}},
    {"bias, residual", 3, 2, {{OG_SCALAR_Add, 0, 1, -1}, {OG_SCALAR_Add, 2, 3, -1}}},
    {"residual, bias", 3, 2, {{OG_SCALAR_Add, 0, 2, -1}, {OG_SCALAR_Add, 3, 1, -1}}},
    {"bias, tanh, residual",
     3,
     3,
     {{OG_SCALAR_Add, 0, 1, -1}, {OG_SCALAR_Tanh, 3, -1, -1}, {OG_SCALAR_Add, 4, 2, -1}}},
    {"residual, silu, bias",
     3,
     3,
     {{OG_SCALAR_Add, 0, 2, -1}, {OG_SCALAR_Silu, 3, -1, -1}, {OG_SCALAR_Add, 1, 4, -1}}},
};

static og_tensor matrix(og_dtype dtype, int rank, const int64_t *dims, bool swapped, uint64_t *seed)
{
    int64_t stored[OG_MAX_RANK], stride;
    memcpy(stored, dims, (size_t)rank * sizeof *dims);
    if (!swapped || rank < 2)
        return test_filled(dtype, rank, stored, seed);
    stored[rank - 1] = dims[rank - 2];
    stored[rank - 2] = dims[rank - 1];
    og_tensor t = test_filled(dtype, rank, stored, seed);
    memcpy(t.type.dims, dims, (size_t)rank * sizeof *dims);
    stride = t.strides[rank - 1];
    t.strides[rank - 1] = t.strides[rank - 2];
    t.strides[rank - 2] = stride;
    return t;
}

/* Additions alone give the bits of a program that adds: in float, one rounding each. */
static bool adds_alone(const og_program *p)
{
    bool alone = true;
    for (int k = 0; k < p->n_instr; k++)
        alone = alone && p->instr[k].op == OG_SCALAR_Add;
    return alone;
}

/* v through the program's steps; scale: of what was added up on the way. */
static double through(const og_program *p, double v, double bias, double residual, double *scale)
{
    bool alone = adds_alone(p);
    double values[8] = {v, bias, residual};
    *scale = fabs(v);
    for (int k = 0; k < p->n_instr; k++) {
        const og_instr *i = &p->instr[k];
        double a = values[i->a];
        values[p->n_in + k] = i->op == OG_SCALAR_Add       ? a + values[i->b]
                              : i->op == OG_SCALAR_Tanh    ? tanh(a)
                              : i->op == OG_SCALAR_Sigmoid ? 1 / (1 + exp(-a))
                                                           : a / (1 + exp(-a));
        if (alone)
            values[p->n_in + k] = (float)values[p->n_in + k];
        *scale += fabs(values[p->n_in + k]);
    }
    return values[p->n_in + p->n_instr - 1];
}

/* type: of the result, WideMatMul's another than the operands'. */
static void check_shape(const shape *s, int program, const char *op, og_dtype dtype, og_dtype type,
                        bool gaps)
{
    uint64_t seed = 11;
    int16_t out = (int16_t)(programs[program].n_in + programs[program].n - 1);
    const og_program p = {OG_FLOAT, programs[program].n_in,  programs[program].n,
                          1,        programs[program].instr, &out};
    int64_t dims[4], columns = s->b[s->rb - 1];
    int rank = s->ra;
    memcpy(dims, s->a, sizeof dims);
    dims[rank - 1] = columns;
    kernel_call plain = {.op = op, .kernel = s->kernel, .nx = 2, .ny = 1, .threads = 2};
    plain.x[0] = matrix(dtype, s->ra, s->a, s->swapped, &seed);
    plain.x[1] = matrix(dtype, s->rb, s->b, s->swapped, &seed);
    plain.y[0] = test_tensor(type, rank, dims);
    kernel_call c = plain;
    c.program = &p;
    c.nx = 1 + p.n_in;
    og_tensor bias = test_filled(type, 1, &columns, &seed),
              residual = matrix(type, rank, dims, gaps, &seed);
    c.x[2] = bias;
    c.x[3] = residual;
    c.y[0] = test_tensor(type, rank, dims);
    int64_t n = og__elements(&c.y[0]);
    og_tensor first = test_tensor(type, rank, dims);
    bool ran = test_run(&plain);
    static const int threads[] = {1, 2, 5};
    for (int t = 0; t < 3 && ran; t++) {
        c.threads = threads[t];
        memset(c.y[0].data, 0xff, (size_t)n * og__size(type));
        ran = test_run(&c);
        if (t == 0)
            memcpy(first.data, c.y[0].data, (size_t)n * og__size(type));
        CHECK(memcmp(first.data, c.y[0].data, (size_t)n * og__size(type)) == 0);
    }
    /* A half result is rounded once more in the plain one, and an activation's slope is at most
     * 1.1; sums in float are the same to the bit. */
    double unit = type == OG_BFLOAT16 ? 0x1p-7 : adds_alone(&p) ? 0 : 0x1p-21;
    for (int64_t e = 0; ran && e < n; e++) {
        double scale,
            want = through(&p, test_element(&plain.y[0], e), test_element(&bias, e % columns),
                           test_element(&residual, e), &scale);
        double got = test_element(&c.y[0], e);
        if (!CHECK(fabs(got - want) <= unit * (scale + 1))) {
            printf("    element %lld: %.9g, expected %.9g\n", (long long)e, got, want);
            break;
        }
    }
    free(first.data);
    free(bias.data);
    free(residual.data);
    free(c.y[0].data);
    test_free_tensors(&plain);
}

TEST(products)
{
    if (!test_has_kernel("MatMul", "oneDNN"))
        SKIP("built without oneDNN");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t k = 0; k < sizeof programs / sizeof *programs; k++) {
            static char text[80];
            snprintf(text, sizeof text, "%s; %s", shapes[i].name, programs[k].name);
            TEST_CASE(text);
            check_shape(&shapes[i], (int)k, "MatMul", OG_FLOAT, OG_FLOAT, k % 2);
            if (!og__has_bfloat16())
                continue;
            check_shape(&shapes[i], (int)k, "MatMul", OG_BFLOAT16, OG_BFLOAT16, false);
            check_shape(&shapes[i], (int)k, "ai.ongrad::WideMatMul", OG_BFLOAT16, OG_FLOAT, false);
        }
    TEST_CASE("");
}

/* NaN and infinities stay what they are: a row of NaN, one that is infinite. */
TEST(special_values)
{
    if (!test_has_kernel("MatMul", "oneDNN"))
        SKIP("built without oneDNN");
    for (size_t k = 0; k < sizeof programs / sizeof *programs; k++) {
        TEST_CASE(programs[k].name);
        int16_t out = (int16_t)(programs[k].n_in + programs[k].n - 1);
        const og_program p = {OG_FLOAT, programs[k].n_in,  programs[k].n,
                              1,        programs[k].instr, &out};
        kernel_call c = {.op = "MatMul", .program = &p, .nx = 1 + p.n_in, .ny = 1};
        c.x[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){3, 2});
        c.x[1] = test_tensor(OG_FLOAT, 2, (int64_t[]){2, 20});
        c.x[2] = test_tensor(OG_FLOAT, 1, (int64_t[]){20});
        c.x[3] = test_tensor(OG_FLOAT, 2, (int64_t[]){3, 20});
        c.y[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){3, 20});
        const float rows[] = {NAN, INFINITY, -INFINITY};
        for (int r = 0; r < 3; r++)
            ((float *)c.x[0].data)[2 * r] = rows[r];
        for (int i = 0; i < 40; i++)
            ((float *)c.x[1].data)[i] = 1;
        if (test_run(&c))
            for (int64_t e = 0; e < 60; e++) {
                double scale, want = through(&p, rows[e / 20], 0, 0, &scale);
                if (!CHECK_CLOSE(test_element(&c.y[0], e), want, 1e-6))
                    break;
            }
        c.nx = 4;
        test_free_tensors(&c);
    }
    TEST_CASE("");
}

/* What oneDNN would do less exactly, or other than our loops with NaN, it is not asked for. */
TEST(refused)
{
    static const og_scalar scalars[] = {OG_SCALAR_Relu, OG_SCALAR_GeluErf, OG_SCALAR_GeluTanh,
                                        OG_SCALAR_Exp};
    og_device *device = og_cpu_device_new(1);
    og_type a = og_type_make(OG_FLOAT, 2, (int64_t[]){8, 8});
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
        og_instr instr = {scalars[i], 0, -1, -1};
        int16_t out = 1;
        const og_program p = {OG_FLOAT, 1, 1, 1, &instr, &out};
        og_node node = {.op = og_op_find(NULL, "MatMul"), .name = "", .n_in = 2, .n_out = 1};
        og_tensor x[2] = {og_tensor_dense(&a, NULL), og_tensor_dense(&a, NULL)}, y = x[0];
        og_call call = {.node = &node, .device = device, .nx = 2, .ny = 1, .x = x, .y = &y};
        CHECK(og_device_kernel(device, &call, false) != NULL);
        node.program = &p;
        CHECK(og_device_kernel(device, &call, false) == NULL);
    }
    device->destroy(device);
}

static const og_test tests[] = {TEST_ROW(products), TEST_ROW(special_values), TEST_ROW(refused)};
TEST_MAIN(tests)
