/* Matrix products of the card against the processor's: vectors, matrices and stacks in every way
 * they can lie, in every type, with what a program adds. */
#include "tests/cuda/call.h"

/* Sums of at most 40 products of numbers below 1, in another order; TF32 rounds each operand to
 * 2^-11 of itself, half types the result to 2^-11 and 2^-8. */
static closeness close_of(og_dtype result, bool tf32)
{
    return result == OG_DOUBLE     ? (closeness){1e-13, 1e-13}
           : result == OG_FLOAT16  ? (closeness){1e-3, 1e-3}
           : result == OG_BFLOAT16 ? (closeness){8e-3, 8e-3}
           : tf32                  ? (closeness){1e-3, 4e-3}
                                   : (closeness){1e-5, 1e-5};
}

typedef struct product {
    const char *what;
    int ra, rb, ry;
    int64_t a[4], b[4], y[4];
    int order_a[4], order_b[4]; /* how they lie: the axes of a dense tensor; all 0: as they are */
} product;

static const product products[] = {
    {"matrices", 2, 2, 2, {5, 33}, {33, 17}, {5, 17}},
    {"A lies transposed", 2, 2, 2, {12, 40}, {40, 8}, {12, 8}, {1, 0}},
    {"B lies transposed", 2, 2, 2, {12, 40}, {40, 8}, {12, 8}, {0}, {1, 0}},
    {"a row", 2, 2, 2, {1, 7}, {7, 9}, {1, 9}},
    {"a column", 2, 2, 2, {9, 7}, {7, 1}, {9, 1}, {1, 0}, {1, 0}},
    {"vector A", 1, 2, 1, {7}, {7, 9}, {9}},
    {"vector B", 2, 1, 1, {9, 7}, {7}, {9}},
    {"vectors", 1, 1, 0, {7}, {7}, {0}},
    {"k = 1", 2, 2, 2, {6, 1}, {1, 5}, {6, 5}},
    {"a stack and one B", 3, 2, 3, {3, 4, 6}, {6, 5}, {3, 4, 5}},
    {"stacks", 3, 3, 3, {3, 4, 6}, {3, 6, 5}, {3, 4, 5}},
    {"one A and a stack", 2, 3, 3, {4, 6}, {3, 6, 5}, {3, 4, 5}},
    {"a broadcast axis", 4, 4, 4, {2, 1, 4, 6}, {1, 3, 6, 5}, {2, 3, 4, 5}},
    {"heads", 4, 4, 4, {2, 3, 4, 8}, {2, 3, 8, 4}, {2, 3, 4, 4}, {0, 2, 1, 3}, {0, 2, 3, 1}},
    {"many heads", 4, 4, 4, {6, 5, 4, 8}, {6, 5, 8, 4}, {6, 5, 4, 4}, {0, 2, 1, 3}, {0, 2, 3, 1}},
    {"no axis contiguous", 3, 2, 3, {3, 4, 6}, {6, 5}, {3, 4, 5}, {1, 2, 0}},
};

/* A tensor whose elements lie as those of a dense one of axes order[0], order[1] …, `gap` elements
 * behind each other's end. */
static og_tensor lying(og_dtype dtype, int rank, const int64_t *dims, const int *order,
                       uint64_t *seed)
{
    int64_t n = 1;
    bool as_is = true;
    for (int i = 0; i < rank; i++)
        as_is = as_is && order[i] == 0;
    og_tensor t = test_filled(dtype, rank, dims, seed);
    for (int i = rank - 1; i >= 0; i--) {
        int a = as_is ? i : order[i];
        t.strides[a] = n;
        n *= dims[a];
    }
    return t;
}

/* A program of a step for each letter: c adds a tensor as large as y, b a row; r, g activate. */
typedef struct added {
    og_program program;
    og_instr instr[4];
    int16_t out;
} added;

static void add_program(kernel_call *c, const char *steps, added *a, uint64_t *seed)
{
    og_tensor *y = &c->y[0];
    int n = (int)strlen(steps), n_in = 1;
    for (int i = 0; i < n; i++)
        n_in += steps[i] == 'c' || steps[i] == 'b';
    int16_t value = 0, next = 1;
    for (int i = 0; i < n; i++) {
        bool adds = steps[i] == 'c' || steps[i] == 'b';
        a->instr[i] = (og_instr){.op = adds              ? OG_SCALAR_Add
                                       : steps[i] == 'r' ? OG_SCALAR_Relu
                                                         : OG_SCALAR_GeluTanh,
                                 .a = value,
                                 .b = adds ? next : -1,
                                 .c = -1};
        if (adds) {
            int64_t columns = y->type.dims[y->type.rank - 1];
            c->x[c->nx++] = steps[i] == 'c'
                                ? test_filled(y->type.dtype, y->type.rank, y->type.dims, seed)
                                : test_filled(y->type.dtype, 1, &columns, seed);
            next++;
        }
        value = (int16_t)(n_in + i);
    }
    a->out = value;
    a->program = (og_program){OG_FLOAT, n_in, n, 1, a->instr, &a->out};
    c->program = n ? &a->program : NULL;
}

/* The same by hand, in float32 as a card holds it. */
static void expect(kernel_call *c, const char *steps)
{
    og_tensor *y = &c->y[0];
    kernel_call wide = {.op = "MatMul", .nx = 2, .ny = 1};
    og_dtype domain = y->type.dtype == OG_DOUBLE ? OG_DOUBLE : OG_FLOAT;
    for (int i = 0; i < 2; i++)
        wide.x[i] = test_convert(&c->x[i], domain);
    wide.y[0] = test_tensor(domain, y->type.rank, y->type.dims);
    test_run(&wide);
    int64_t columns = y->type.rank ? y->type.dims[y->type.rank - 1] : 1;
    for (int64_t e = 0; e < og__elements(y); e++) {
        double v = test_element(&wide.y[0], e);
        int input = 2;
        for (const char *s = steps; *s; s++)
            v = *s == 'c'   ? v + test_element(&c->x[input++], e)
                : *s == 'b' ? v + test_element(&c->x[input++], e % columns)
                : *s == 'r' ? fmax(v, 0)
                            : v / (1 + exp(-1.5957691216057308 * v * (1 + 0.044715 * v * v)));
        og__store_double(y->data, y->type.dtype, e, v);
    }
    test_free_tensors(&wide);
}

static void check_product(og_device *d, const product *p, og_dtype in, og_dtype out,
                          const char *steps, int shift)
{
    uint64_t seed = 7;
    added a;
    char text[96];
    snprintf(text, sizeof text, "%s, %s to %s, steps \"%s\"", p->what, og_dtype_name(in),
             og_dtype_name(out), steps);
    TEST_CASE(text);
    kernel_call c = {.op = in == out ? "MatMul" : "ai.ongrad::WideMatMul", .nx = 2, .ny = 1};
    c.x[0] = lying(in, p->ra, p->a, p->order_a, &seed);
    c.x[1] = lying(in, p->rb, p->b, p->order_b, &seed);
    c.y[0] = test_tensor(out, p->ry, p->y);
    add_program(&c, steps, &a, &seed);
    expect(&c, steps);
    card_gives(d, &c, "cuBLASLt", shift, 0, close_of(out, in == OG_FLOAT && d->options.allow_tf32));
    test_free_tensors(&c);
}

TEST(products_of_every_layout_and_type)
{
    static const struct {
        og_dtype in, out;
        bool tf32;
    } types[] = {{OG_FLOAT, OG_FLOAT, false},       {OG_FLOAT, OG_FLOAT, true},
                 {OG_FLOAT16, OG_FLOAT16, false},   {OG_FLOAT16, OG_FLOAT, false},
                 {OG_BFLOAT16, OG_BFLOAT16, false}, {OG_BFLOAT16, OG_FLOAT, false},
                 {OG_DOUBLE, OG_DOUBLE, false}};
    og_device *d = open_device(1);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
            d->options.allow_tf32 = types[t].tf32;
            check_product(d, &products[i], types[t].in, types[t].out, "", (int)t % 2);
        }
    close_device(d);
}

TEST(products_that_add_and_activate)
{
    static const char *const steps[] = {"b", "c", "cb", "r", "br", "bg", "cbr", "cbg", "cr"};
    static const int which[] = {0, 3, 9, 10, 14};
    og_device *d = open_device(2);
    d->options.allow_tf32 = false;
    d->options.deterministic = true;
    for (int s = 0; s < 9; s++)
        for (int i = 0; i < 5; i++) {
            /* one row: what is as large as y is added as such, and but one such thing */
            if (which[i] == 3 && steps[s][0] == 'c' && steps[s][1] == 'b')
                continue;
            if (which[i] == 3 && strchr(steps[s], 'g')) /* whose bias there is none */
                continue;
            check_product(d, &products[which[i]], OG_FLOAT, OG_FLOAT, steps[s], s % 2);
            check_product(d, &products[which[i]], OG_FLOAT16, OG_FLOAT, steps[s], 0);
        }
    close_device(d);
}

/* What the library does not take at addresses that are no multiples of 16 is moved to such. */
TEST(unaligned_operands_are_moved)
{
    og_sim_set_refused(0, 16);
    og_device *d = open_device(4);
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        const product *p = &products[i];
        int64_t runs = p->y[0] * (p->ry > 3 ? p->y[1] : 1);
        uint64_t seed = 7;
        if (p->ry > 2 && runs * 4 * 5 % 16 != 0) /* matrices of a result lie so themselves */
            continue;
        kernel_call c = {.op = "MatMul", .nx = 2, .ny = 1};
        TEST_CASE(p->what);
        c.x[0] = lying(OG_FLOAT, p->ra, p->a, p->order_a, &seed);
        c.x[1] = lying(OG_FLOAT, p->rb, p->b, p->order_b, &seed);
        c.y[0] = test_tensor(OG_FLOAT, p->ry, p->y);
        expect(&c, "");
        card_gives_aligned(d, &c, "cuBLASLt", 1, close_of(OG_FLOAT, true));
        test_free_tensors(&c);
    }
    og_sim_set_refused(0, 0);
    close_device(d);
}

/* A bias whose product is refused is added by a program: the kernel says so. */
TEST(refused_epilogues_are_not_supported)
{
    static const char *const steps[] = {"b", "r", "bg", "c", ""};
    og_device *d = open_device(5);
    og_sim_set_refused(~(1U << OG_CUDA_PLAIN), 0);
    for (int s = 0; s < 5; s++) {
        uint64_t seed = 7;
        added a;
        kernel_node n;
        kernel_call c = {.op = "MatMul", .nx = 2, .ny = 1};
        TEST_CASE(steps[s]);
        c.x[0] = lying(OG_FLOAT, 2, products[0].a, products[0].order_a, &seed);
        c.x[1] = lying(OG_FLOAT, 2, products[0].b, products[0].order_b, &seed);
        c.y[0] = test_tensor(OG_FLOAT, 2, products[0].y);
        add_program(&c, steps[s], &a, &seed);
        test_node(&n, &c);
        og_call call = {.node = &n.node, .device = d, .nx = c.nx, .ny = 1, .x = c.x, .y = c.y};
        const og_kernel *kernel = og_device_kernel(d, &call, false);
        CHECK((kernel && strcmp(kernel->name, "cuBLASLt") == 0) == (s > 2));
        test_free_tensors(&c);
    }
    og_sim_set_refused(0, 0);
    close_device(d);
}

/* An addend may be where the result goes: sums of gradients are taken further in place. more
 * negative: it is added in any case; else the card says so, and a sum that is begun may be NaN. */
static void sum_in_place(og_dtype in, float more)
{
    og_device *d = open_device(3);
    og_error error = {0};
    uint64_t seed = 3;
    added a;
    kernel_node n;
    int nx = more < 0 ? 3 : 4;
    kernel_call c = {.op = in == OG_FLOAT ? "MatMul" : "ai.ongrad::WideMatMul", .nx = 2, .ny = 1};
    d->options.allow_tf32 = false;
    c.x[0] = test_filled(in, 2, (int64_t[]){6, 16}, &seed);
    c.x[1] = test_filled(in, 2, (int64_t[]){16, 8}, &seed);
    c.y[0] = test_tensor(OG_FLOAT, 2, (int64_t[]){6, 8});
    add_program(&c, "c", &a, &seed);
    expect(&c, more == 0 ? "" : "c");
    if (more >= 0) {
        c.x[c.nx++] = test_filled(OG_FLOAT, 0, NULL, &seed);
        *(float *)c.x[3].data = more;
        a.instr[0] = (og_instr){.op = OG_SCALAR_Accumulate, .a = 0, .b = 1, .c = 2};
        a.program.n_in = 3;
        a.out = 3;
    }
    for (int i = 0; more == 0 && i < 6 * 8; i++)
        ((float *)c.x[2].data)[i] = NAN;
    test_node(&n, &c);
    og_tensor x[4] = {c.x[0], c.x[1], c.x[2], c.x[3]}, y = c.y[0];
    on_card place[4] = {0};
    for (int i = 0; i < nx; i++)
        x[i].data = NULL;
    y.data = NULL;
    og_call call = {.node = &n.node, .device = d, .nx = nx, .ny = 1, .x = x, .y = &y};
    const og_kernel *kernel = og_device_kernel(d, &call, false);
    REQUIRE(kernel && kernel->flags & OG_KERNEL_INPLACE_PROGRAM);
    GOES(kernel->prepare(&call, &error));
    for (int i = 0; i < nx; i++) {
        x[i].data = c.x[i].data;
        place_on_card(d, &x[i], true, 0, &place[i]);
    }
    y.data = x[2].data;
    call.workspace = d->alloc(d, call.workspace_bytes);
    GOES(kernel->run(&call, &error));
    og_tensor got = test_tensor(OG_FLOAT, 2, (int64_t[]){6, 8});
    GOES(d->remote->download(d, got.data, y.data, 6 * 8 * 4, &error));
    compare(&c.y[0], &got, close_of(OG_FLOAT, false));
    kernel->release(&call);
    free(got.data);
    test_free_tensors(&c);
    close_device(d);
}

TEST(a_sum_is_continued_in_place)
{
    sum_in_place(OG_FLOAT16, -1);
    sum_in_place(OG_FLOAT, -1);
}

TEST(the_card_says_whether_a_sum_is_continued)
{
    for (int more = 0; more < 2; more++) {
        sum_in_place(OG_FLOAT16, (float)more);
        sum_in_place(OG_BFLOAT16, (float)more);
        sum_in_place(OG_FLOAT, (float)more);
    }
}

static const og_test tests[] = {
    TEST_ROW(products_of_every_layout_and_type), TEST_ROW(products_that_add_and_activate),
    TEST_ROW(unaligned_operands_are_moved),      TEST_ROW(refused_epilogues_are_not_supported),
    TEST_ROW(a_sum_is_continued_in_place),
    TEST_ROW(the_card_says_whether_a_sum_is_continued),
};
TEST_MAIN(tests)
