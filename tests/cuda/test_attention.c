/* WideAttentionHeads and its gradient on the card against AttentionHeads of the processor, which
 * reads the same halves widened. */
#include "runtime/exec/exec.h"
#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"
#include "tests/cuda/call.h"

/* y and gradients are rounded to half, probabilities before: of values about 1. */
static const closeness close_half = {2e-3, 4e-3}, close_bfloat = {2e-2, 2e-2};

typedef enum mask_kind { NONE, CAUSAL, HIDDEN, PADDED, BIASED, EMPTY } mask_kind;
static const char *const mask_names[] = {"no mask", "causal",       "half of it hidden",
                                         "padded",  "bias by head", "rows of nothing"};

typedef struct sizes {
    int64_t B, H, S, T, D, E;
} sizes;

enum { Q, K, V, MASK, KEEP };

static og_tensor mask_of(mask_kind kind, sizes s, uint64_t *seed)
{
    const int64_t square[] = {s.S, s.T}, padded[] = {s.B, 1, 1, s.T}, whole[] = {1, s.H, s.S, s.T};
    if (kind == NONE)
        return (og_tensor){.type = {.dtype = OG_UNDEFINED}};
    og_tensor m = kind == PADDED   ? test_tensor(OG_FLOAT, 4, padded)
                  : kind == BIASED ? test_filled(OG_FLOAT, 4, whole, seed)
                                   : test_tensor(OG_FLOAT, 2, square);
    float *x = m.data;
    for (int64_t e = 0; kind != BIASED && e < og__elements(&m); e++) {
        int64_t i = e / s.T, j = e % s.T;
        bool shut = kind == CAUSAL   ? j > i
                    : kind == HIDDEN ? (i + j) % 3 == 0 && j > 0
                    : kind == PADDED ? j > i
                                     : i % 4 == 1;
        x[e] = !shut ? 0 : kind == HIDDEN ? -3.4e38F : -INFINITY;
    }
    return m;
}

/* The call in float32, which has been run, and the same with halves. */
typedef struct pair {
    kernel_call wide, half;
} pair;

static void free_pair(pair *p)
{
    test_free_tensors(&p->wide);
    for (int i = 0; i < p->half.nx; i++) /* float32 tensors are those of `wide` */
        if (p->half.x[i].type.dtype != OG_FLOAT && p->half.x[i].type.dtype != OG_UNDEFINED)
            free(p->half.x[i].data);
    for (int i = 0; i < p->half.ny; i++)
        free(p->half.y[i].data);
}

static og_tensor as_half(const og_tensor *t, og_dtype dtype, bool operand)
{
    return operand && t->type.dtype != OG_UNDEFINED ? test_convert(t, dtype) : *t;
}

/* Widened: what the halves hold. */
static og_tensor halves(og_dtype dtype, int64_t a, int64_t b, int64_t c, int64_t d, uint64_t *seed)
{
    og_tensor half = test_filled(dtype, 4, (int64_t[]){a, b, c, d}, seed),
              x = test_convert(&half, OG_FLOAT);
    free(half.data);
    return x;
}

static og_val constant(og_graph *g, const og_tensor *t)
{
    return t->type.dtype ? og_graph_add_const(g, "", &t->type, t->data) : OG_NONE;
}

/* The call by its definition, on the processor: its outputs, or, with `close`, held against c's. */
static bool by_definition(kernel_call *c, const closeness *close)
{
    og_graph *g = og_graph_new();
    og_val x[CALL_MAX];
    for (int i = 0; i < c->nx; i++)
        x[i] = constant(g, &c->x[i]);
    const og_vals in = {c->nx, x};
    og_outs y = Ops(c->op, c->ny, in, F("scale", c->attrs[0].f), I("zero_nan", c->attrs[1].i),
                    F("keep_scale", c->attrs[2].f));
    for (int k = 0; k < c->ny; k++)
        og_graph_add_output(g, "y", y.y[k]);
    bool half = c->x[0].type.dtype != OG_FLOAT;
    og_graph *simple = og_pass_legalize(g, test_host);
    og_evaluator e = og_eager_evaluator(test_host);
    for (int i = 0, n = simple->n_nodes; i < n; i++) {
        CHECK(!half || strncmp(simple->nodes[i]->op->name, "WideAttention", 13) != 0);
        e.run(e.user, simple, simple->nodes[i]);
    }
    CHECK_STR(og_error_text(&simple->error), "");
    bool ok = simple->error.status == OG_OK;
    for (int k = 0; k < c->ny && ok; k++) {
        const og_value *v = simple->values[simple->outputs[k].value];
        og_tensor got = og_tensor_dense(&v->type, (void *)(uintptr_t)v->data);
        ok = CHECK(v->data != NULL) && CHECK(og_type_equal(&v->type, &c->y[k].type));
        if (ok && close)
            compare(&c->y[k], &got, *close);
        else if (ok)
            memcpy(c->y[k].data, v->data, (size_t)og_type_bytes(&v->type));
    }
    og_graph_free(g);
    return ok;
}

static bool forward(og_dtype dtype, mask_kind mask, bool drops, sizes s, uint64_t *seed, pair *p)
{
    p->wide = (kernel_call){
        .op = "ai.ongrad::AttentionHeads", .nx = drops ? 5 : 4, .ny = 3, .n_attrs = 3};
    kernel_call *c = &p->wide;
    c->attrs[0] = (og_attr){.name = "scale", .kind = OG_ATTR_FLOAT, .f = 0.5};
    c->attrs[1] = (og_attr){.name = "zero_nan", .kind = OG_ATTR_INT, .i = mask == EMPTY};
    c->x[Q] = halves(dtype, s.B, s.S, s.H, s.D, seed);
    c->x[K] = halves(dtype, s.B, s.T, s.H, s.D, seed);
    c->x[V] = halves(dtype, s.B, s.T, s.H, s.E, seed);
    c->attrs[2] = (og_attr){.name = "keep_scale", .kind = OG_ATTR_FLOAT, .f = drops ? 1.5 : 1};
    c->x[MASK] = mask_of(mask, s, seed);
    if (drops)
        c->x[KEEP] = test_tensor(OG_FLOAT, 4, (int64_t[]){s.B, s.H, s.S, s.T});
    for (int64_t e = 0; drops && e < og__elements(&c->x[KEEP]); e++)
        ((float *)c->x[KEEP].data)[e] = test_uniform(seed) > -0.3;
    c->y[0] = test_tensor(OG_FLOAT, 4, (int64_t[]){s.B, s.S, s.H, s.E});
    c->y[1] = test_tensor(OG_FLOAT, 3, (int64_t[]){s.B, s.H, s.S});
    c->y[2] = test_tensor(OG_FLOAT, 3, (int64_t[]){s.B, s.H, s.S});
    bool ran = drops ? by_definition(c, NULL) : test_run(c);
    p->half = *c;
    p->half.op = "ai.ongrad::WideAttentionHeads";
    for (int i = 0; i < c->nx; i++)
        p->half.x[i] = as_half(&c->x[i], dtype, i != MASK);
    p->half.y[0] = test_convert(&c->y[0], dtype);
    p->half.y[1] = test_convert(&c->y[1], OG_FLOAT);
    p->half.y[2] = test_tensor(OG_FLOAT, 3, c->y[2].type.dims);
    for (int64_t e = 0; e < og__elements(&c->y[1]); e++) /* the sum is kept, and 0 */
        ((float *)p->half.y[1].data)[e] += ((const float *)c->y[2].data)[e];
    return ran;
}

/* After `forward`, whose tensors it borrows. */
static bool backward(og_dtype dtype, sizes s, const pair *walk, uint64_t *seed, pair *p)
{
    const kernel_call *f = &walk->wide;
    p->wide = *f;
    kernel_call *c = &p->wide;
    c->op = "ai.ongrad::AttentionHeadsGrad";
    bool drops = f->nx > KEEP;
    c->nx = drops ? 9 : 8;
    c->x[0] = halves(dtype, s.B, s.S, s.H, s.E, seed);
    for (int i = 0; i < 3; i++) {
        c->x[1 + i] = test_convert(&f->x[i], OG_FLOAT);
        c->y[i] = test_tensor(OG_FLOAT, 4, f->x[i].type.dims);
    }
    og_tensor y = test_convert(&f->y[0], dtype);
    c->x[4] = test_convert(&y, OG_FLOAT);
    free(y.data);
    c->x[5] = test_convert(&f->y[1], OG_FLOAT);
    c->x[6] = test_convert(&f->y[2], OG_FLOAT);
    c->x[7] = f->x[MASK].type.dtype ? test_convert(&f->x[MASK], OG_FLOAT) : f->x[MASK];
    if (drops)
        c->x[8] = test_convert(&f->x[KEEP], OG_FLOAT);
    bool ran = drops ? by_definition(c, NULL) : test_run(c);
    p->half = *c;
    p->half.op = "ai.ongrad::WideAttentionHeadsGrad";
    for (int i = 0; i < c->nx; i++)
        p->half.x[i] = as_half(&c->x[i], dtype, i < 5 || i == 8);
    for (int i = 0; i < 3; i++)
        p->half.y[i] = test_convert(&c->y[i], dtype);
    return ran;
}

/* known: the mask is a constant. */
static void compare_attention(og_device *d, og_dtype dtype, mask_kind mask, bool known, bool drops,
                              sizes s)
{
    pair walk, back;
    uint64_t seed = (uint64_t)(s.T + mask);
    char text[160];
    snprintf(text, sizeof text, "%s, %s%s, B %d H %d S %d T %d D %d E %d", og_dtype_name(dtype),
             mask_names[mask],
             known   ? " constant"
             : drops ? ", some dropped"
                     : "",
             (int)s.B, (int)s.H, (int)s.S, (int)s.T, (int)s.D, (int)s.E);
    TEST_CASE(text);
    closeness close = dtype == OG_FLOAT16 ? close_half : close_bfloat;
    bool ran = forward(dtype, mask, drops, s, &seed, &walk), has = mask != NONE;
    if (ran)
        card_gives(d, &walk.half, "cuDNN", 0, known && has ? 1U << MASK : 0, close);
    if (ran && backward(dtype, s, &walk, &seed, &back)) {
        card_gives(d, &back.half, "cuDNN", 0, known && has ? 1U << 7 : 0, close);
        free_pair(&back);
    }
    free_pair(&walk);
}

TEST(masks)
{
    static const og_dtype types[] = {OG_FLOAT16, OG_BFLOAT16};
    og_device *d = open_device(1);
    for (int t = 0; t < 2; t++)
        for (int mask = NONE; mask <= BIASED; mask++)
            for (int known = 0; known < 2; known++)
                compare_attention(d, types[t], (mask_kind)mask, known, false,
                                  (sizes){2, 3, 9, 9, 8, 8});
    close_device(d);
}

TEST(shapes)
{
    static const sizes all[] = {
        {1, 1, 1, 1, 8, 8}, {2, 1, 5, 17, 16, 8}, {1, 2, 17, 5, 8, 24}, {1, 4, 33, 33, 64, 64}};
    og_device *d = open_device(2);
    for (int i = 0; i < 4; i++) {
        compare_attention(d, OG_FLOAT16, NONE, false, false, all[i]);
        compare_attention(d, OG_FLOAT16, NONE, false, true, all[i]);
        compare_attention(d, OG_FLOAT16, CAUSAL, true, false, all[i]);
    }
    d->options.deterministic = true;
    compare_attention(d, OG_BFLOAT16, CAUSAL, true, true, all[3]);
    close_device(d);
}

/* Their probabilities are NaN, which zero_nan makes zeros. */
TEST(rows_that_attend_to_nothing)
{
    og_device *d = open_device(3);
    pair walk, back;
    uint64_t seed = 4;
    const sizes s = {2, 2, 6, 8, 8, 8};
    if (forward(OG_FLOAT16, EMPTY, false, s, &seed, &walk)) {
        for (int64_t e = 0; e < og__elements(&walk.half.y[0]); e++)
            CHECK(!isnan(test_element(&walk.half.y[0], e)));
        card_gives(d, &walk.half, "cuDNN", 0, 0, close_half);
        if (backward(OG_FLOAT16, s, &walk, &seed, &back)) {
            card_gives(d, &back.half, "cuDNN", 0, 0, close_half);
            free_pair(&back);
        }
    }
    free_pair(&walk);
    close_device(d);
}

/* Heads out of one tensor of queries, keys and values: read where they lie. */
TEST(heads_side_by_side)
{
    og_device *d = open_device(4);
    pair walk;
    uint64_t seed = 5;
    const sizes s = {2, 2, 6, 6, 8, 8};
    if (!forward(OG_FLOAT16, CAUSAL, false, s, &seed, &walk))
        return;
    og_tensor all = test_tensor(OG_FLOAT16, 5, (int64_t[]){s.B, s.S, 3, s.H, s.D});
    int64_t width = s.H * s.D, n = s.B * s.S * width;
    for (int i = 0; i < 3; i++) {
        og_tensor *x = &walk.half.x[i];
        uint16_t *to = (uint16_t *)all.data + i * width;
        for (int64_t e = 0; e < n; e++)
            to[e / width * 3 * width + e % width] = ((const uint16_t *)x->data)[e];
        free(x->data);
        x->data = to;
        x->strides[1] = 3 * width;
        x->strides[0] = s.S * 3 * width;
    }
    card_gives(d, &walk.half, "cuDNN", 0, 0, close_half);
    for (int i = 0; i < 3; i++)
        walk.half.x[i].type.dtype = OG_UNDEFINED; /* not to be freed */
    free(all.data);
    free_pair(&walk);
    close_device(d);
}

/* What no engine takes has a definition. */
TEST(heads_that_fit_no_engine)
{
    og_device *d = open_device(5);
    static const int64_t widths[] = {4, 12};
    for (int i = 0; i < 2; i++) {
        pair walk;
        kernel_node n;
        uint64_t seed = 1;
        if (!forward(OG_FLOAT16, NONE, false, (sizes){1, 1, 4, 4, widths[i], 8}, &seed, &walk))
            continue;
        test_node(&n, &walk.half);
        og_call call = {.node = &n.node,
                        .device = d,
                        .nx = walk.half.nx,
                        .ny = walk.half.ny,
                        .x = walk.half.x,
                        .y = walk.half.y};
        CHECK(!og_device_kernel(d, &call, false));
        free_pair(&walk);
    }
    close_device(d);
}

/* Of the statistics their sum alone; by the definition they are the processor's. */
TEST(definitions)
{
    og_device *d = open_device(6);
    for (int mask = NONE; mask <= EMPTY; mask++) {
        pair walk, back;
        uint64_t seed = (uint64_t)mask;
        const sizes s = {2, 2, 5, 7, 6, 4};
        TEST_CASE(mask_names[mask]);
        if (!forward(OG_FLOAT16, (mask_kind)mask, mask % 2 == 1, s, &seed, &walk))
            continue;
        for (int k = 1; k < 3; k++)
            memcpy(walk.half.y[k].data, walk.wide.y[k].data,
                   (size_t)og__elements(&walk.wide.y[k]) * sizeof(float));
        by_definition(&walk.half, &close_half);
        if (backward(OG_FLOAT16, s, &walk, &seed, &back)) {
            by_definition(&back.half, &close_half);
            free_pair(&back);
        }
        free_pair(&walk);
    }
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(masks),
                                TEST_ROW(shapes),
                                TEST_ROW(rows_that_attend_to_nothing),
                                TEST_ROW(heads_side_by_side),
                                TEST_ROW(heads_that_fit_no_engine),
                                TEST_ROW(definitions)};
TEST_MAIN(tests)
