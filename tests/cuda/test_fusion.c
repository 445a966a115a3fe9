/* Fusions through the driver's table on the simulated card: what they compute, that equal ones
 * share a plan, and that wrong descriptions and runs are found. */
#include "kernels/cuda/fusion.h"
#include "tests/cuda/open.h"
#include "tests/kernels/call.h"

/* ---- a device, and memory of it */

typedef struct rig {
    og_device *device;
    og__cuda *cuda;
    og_call call; /* of no node: names the device */
    void *memory[OG_CUDA_TENSORS], *workspace;
    size_t workspace_bytes;
} rig;

static rig set_up(void)
{
    og_sim_leave_fusions(false);
    rig r = {.device = open_device(1), .workspace_bytes = 8192};
    r.device->options.allow_tf32 = false;
    r.cuda = og__cuda_of(r.device);
    r.call.device = r.device;
    r.workspace = r.device->alloc(r.device, r.workspace_bytes);
    return r;
}

/* Memory for tensor t of so many floats; filled, or nothing. */
static float *place(rig *r, int t, int n, bool fill)
{
    og_error error = {0};
    float *x = malloc((size_t)n * sizeof *x);
    uint64_t seed = (uint64_t)t;
    int64_t dims = n;
    og_tensor random = test_filled(OG_FLOAT, 1, &dims, &seed);
    memcpy(x, random.data, (size_t)n * sizeof *x);
    free(random.data);
    r->memory[t] = r->device->alloc(r->device, (size_t)n * sizeof *x);
    if (fill)
        GOES(r->device->remote->upload(r->device, r->memory[t], x, (size_t)n * sizeof *x, &error));
    return x;
}

static void run(rig *r, const og_cuda_fusion *f)
{
    og_error error = {0};
    const og__fusion *plan = og__fusion_find(&r->call, f);
    if (CHECK(plan != NULL))
        GOES(og__fusion_run(&r->call, plan, r->memory, r->workspace, r->workspace_bytes, &error));
    GOES(r->device->remote->finish(r->device, &error));
}

static void fetch(rig *r, int t, float *y, int n)
{
    og_error error = {0};
    GOES(r->device->remote->download(r->device, y, r->memory[t], (size_t)n * sizeof *y, &error));
}

/* ---- attention: every kind of operation but convolutions */

enum { HEADS = 2, ROWS = 5, WIDTH = 3 };

static const int64_t head[] = {1, HEADS, ROWS, WIDTH}, keys[] = {1, HEADS, WIDTH, ROWS},
                     keys_strides[] = {HEADS * ROWS * WIDTH, ROWS *WIDTH, 1, WIDTH},
                     scores[] = {1, HEADS, ROWS, ROWS}, column[] = {1, HEADS, ROWS, 1};

typedef struct attention {
    og_cuda_fusion fusion;
    int q, k, v, y, statistics;
} attention;

/* y = softmax(causal(q kᵀ / 2)) v,  statistics = log Σ exp */
static attention causal_attention(const rig *r)
{
    attention a = {0};
    og_cuda_fusion *f = &a.fusion;
    og__fusion_begin(f, &r->call, OG_FLOAT);
    a.q = og__fusion_memory(f, OG_FLOAT, 4, head, NULL);
    a.k = og__fusion_memory(f, OG_FLOAT, 4, keys, keys_strides);
    a.v = og__fusion_memory(f, OG_FLOAT, 4, head, NULL);
    a.y = og__fusion_memory(f, OG_FLOAT, 4, head, NULL);
    a.statistics = og__fusion_memory(f, OG_FLOAT, 4, column, NULL);
    int product = og__fusion_virtual(f, OG_FLOAT, 4, scores, NULL),
        scaled = og__fusion_virtual(f, OG_FLOAT, 4, scores, NULL),
        row = og__fusion_virtual(f, OG_INT32, 4, scores, NULL),
        col = og__fusion_virtual(f, OG_INT32, 4, scores, NULL),
        sees = og__fusion_virtual(f, OG_BOOL, 4, scores, NULL),
        masked = og__fusion_virtual(f, OG_FLOAT, 4, scores, NULL),
        most = og__fusion_virtual(f, OG_FLOAT, 4, column, NULL),
        shifted = og__fusion_virtual(f, OG_FLOAT, 4, scores, NULL),
        powers = og__fusion_virtual(f, OG_FLOAT, 4, scores, NULL),
        sum = og__fusion_virtual(f, OG_FLOAT, 4, column, NULL),
        logarithm = og__fusion_virtual(f, OG_FLOAT, 4, column, NULL),
        weights = og__fusion_virtual(f, OG_FLOAT, 4, scores, NULL);
    og_cuda_operation *o = og__fusion_add(f, OG_CUDA_MATMUL);
    o->in[0] = a.q, o->in[1] = a.k, o->out[0] = product;
    og__fusion_pointwise(f, OG_CUDA_MUL, product, og__fusion_constant(f, 4, 0.5F), 0, scaled);
    og__fusion_pointwise(f, OG_CUDA_INDEX, scaled, 0, 0, row);
    f->operations[f->n_operations - 1].axis = 2;
    og__fusion_pointwise(f, OG_CUDA_INDEX, scaled, 0, 0, col);
    f->operations[f->n_operations - 1].axis = 3;
    og__fusion_pointwise(f, OG_CUDA_GREATER_EQUAL, row, col, 0, sees);
    og__fusion_pointwise(f, OG_CUDA_SELECT, scaled, og__fusion_constant(f, 4, -INFINITY), sees,
                         masked);
    o = og__fusion_add(f, OG_CUDA_REDUCTION);
    o->mode = OG_CUDA_MAXIMUM, o->in[0] = masked, o->out[0] = most;
    og__fusion_pointwise(f, OG_CUDA_SUB, masked, most, 0, shifted);
    og__fusion_pointwise(f, OG_CUDA_EXP, shifted, 0, 0, powers);
    o = og__fusion_add(f, OG_CUDA_REDUCTION);
    o->mode = OG_CUDA_SUM, o->in[0] = powers, o->out[0] = sum;
    og__fusion_pointwise(f, OG_CUDA_LOG, sum, 0, 0, logarithm);
    og__fusion_pointwise(f, OG_CUDA_ADD, most, logarithm, 0, a.statistics);
    og__fusion_pointwise(f, OG_CUDA_DIV, powers, sum, 0, weights);
    o = og__fusion_add(f, OG_CUDA_MATMUL);
    o->in[0] = weights, o->in[1] = a.v, o->out[0] = a.y;
    return a;
}

static void attend(const float *q, const float *k, const float *v, int row, float *y,
                   float *statistics)
{
    double weights[ROWS], sum = 0;
    int i = 0;
    do {
        double score = 0;
        for (int d = 0; d < WIDTH; d++)
            score += (double)q[row * WIDTH + d] * k[i * WIDTH + d];
        sum += weights[i] = exp(score / 2);
    } while (++i <= row);
    for (int d = 0; d < WIDTH; d++) {
        double value = 0;
        for (int j = 0; j <= row; j++)
            value += weights[j] / sum * v[j * WIDTH + d];
        y[d] = (float)value;
    }
    *statistics = (float)log(sum);
}

TEST(a_chain_of_operations)
{
    enum { N = HEADS * ROWS * WIDTH };
    rig r = set_up();
    attention a = causal_attention(&r);
    float *q = place(&r, a.q, N, true), *k = place(&r, a.k, N, true), *v = place(&r, a.v, N, true),
          *y = place(&r, a.y, N, false), *statistics = place(&r, a.statistics, HEADS * ROWS, false);
    run(&r, &a.fusion);
    fetch(&r, a.y, y, N);
    fetch(&r, a.statistics, statistics, HEADS * ROWS);
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < ROWS; i++) {
            float want[WIDTH], statistic;
            int at = h * ROWS * WIDTH;
            attend(q + at, k + at, v + at, i, want, &statistic);
            for (int d = 0; d < WIDTH; d++)
                CHECK_CLOSE(y[at + i * WIDTH + d], want[d], 1e-6);
            CHECK_CLOSE(statistics[h * ROWS + i], statistic, 1e-6);
        }
    free(q), free(k), free(v), free(y), free(statistics);
    close_device(r.device);
}

/* The same elements under other strides, which is a transposition. */
TEST(a_reshape_transposes)
{
    static const int64_t dims[] = {1, 2, 4, 4}, strides[] = {32, 16, 1, 4};
    rig r = set_up();
    og_cuda_fusion f;
    og__fusion_begin(&f, &r.call, OG_FLOAT);
    int x = og__fusion_memory(&f, OG_FLOAT, 4, dims, NULL),
        turned = og__fusion_virtual(&f, OG_FLOAT, 4, dims, strides),
        y = og__fusion_memory(&f, OG_FLOAT, 4, dims, NULL);
    og_cuda_operation *o = og__fusion_add(&f, OG_CUDA_RESHAPE);
    o->in[0] = x, o->out[0] = turned;
    og__fusion_pointwise(&f, OG_CUDA_IDENTITY, turned, 0, 0, y);
    float *in = place(&r, x, 32, true), *out = place(&r, y, 32, false);
    run(&r, &f);
    fetch(&r, y, out, 32);
    for (int i = 0; i < 32; i++)
        CHECK_CLOSE(out[i], in[i / 16 * 16 + i % 4 * 4 + i / 4 % 4], 0);
    free(in), free(out);
    close_device(r.device);
}

TEST(equal_descriptions_share_a_plan)
{
    rig r = set_up();
    attention a = causal_attention(&r), b = causal_attention(&r);
    const og__fusion *first = og__fusion_find(&r.call, &a.fusion);
    CHECK(first && first->workspace > 0);
    CHECK(og__fusion_find(&r.call, &b.fusion) == first);
    r.device->options.deterministic = true;
    b = causal_attention(&r);
    CHECK(og__fusion_find(&r.call, &b.fusion) != first);
    close_device(r.device);
}

/* ---- convolutions that are wrong */

enum { CHANNELS = 8, SIDE = 4 };

typedef struct convolution {
    og_cuda_fusion fusion;
    int x, w, y;
    og_cuda_operation *operation;
} convolution;

static int image(og_cuda_fusion *f, og_dtype dtype, int64_t n, int64_t c, int64_t side)
{
    const int64_t dims[] = {n, c, side, side}, strides[] = {side * side * c, 1, side * c, c};
    return og__fusion_memory(f, dtype, 4, dims, strides);
}

static void convolve(const rig *r, og_dtype dtype, convolution *c)
{
    og__fusion_begin(&c->fusion, &r->call, dtype);
    c->x = image(&c->fusion, dtype, 2, CHANNELS, SIDE);
    c->w = image(&c->fusion, dtype, CHANNELS, CHANNELS, 3);
    c->y = image(&c->fusion, dtype, 2, CHANNELS, SIDE);
    c->operation = og__fusion_add(&c->fusion, OG_CUDA_CONV);
    c->operation->in[0] = c->x, c->operation->in[1] = c->w, c->operation->out[0] = c->y;
    for (int a = 0; a < 2; a++) {
        c->operation->begins[a] = c->operation->ends[a] = 1;
        c->operation->steps[a] = c->operation->dilations[a] = 1;
    }
}

static void wrong(void (*spoil)(convolution *c), const char *part)
{
    rig r = set_up();
    convolution c;
    convolve(&r, OG_FLOAT, &c);
    spoil(&c);
    CHECK(!og__fusion_find(&r.call, &c.fusion));
    finds(r.device, part);
}

static void a_row_too_short(convolution *c)
{
    c->fusion.tensors[c->x].strides[2] = (SIDE - 1) * CHANNELS;
}
static void rows_apart(convolution *c)
{
    c->fusion.tensors[c->x].strides[0] += CHANNELS;
}
static void dense(convolution *c)
{
    static const int64_t strides[] = {CHANNELS * 9, 9, 3, 1};
    memcpy(c->fusion.tensors[c->w].strides, strides, sizeof strides);
}
static void too_large(convolution *c)
{
    c->operation->ends[1] = 0;
}
static void other_type(convolution *c)
{
    c->fusion.tensors[c->w].dtype = OG_FLOAT16;
}
static void nothing_made(convolution *c)
{
    c->fusion.tensors[c->x].place = OG_CUDA_VIRTUAL;
}
static void used_by_none(convolution *c)
{
    og__fusion_constant(&c->fusion, 4, 1);
}
static void written_twice(convolution *c)
{
    c->fusion.operations[c->fusion.n_operations++] = *c->operation;
}

TEST(wrong_descriptions_are_found)
{
    wrong(a_row_too_short, "two elements in one place");
    wrong(rows_apart, "lie channels-last and without gaps");
    wrong(dense, "lie channels-last and without gaps");
    wrong(too_large, "a convolution's places do not fit");
    wrong(other_type, "one element type");
    wrong(nothing_made, "a virtual operand that no operation before has made");
    wrong(used_by_none, "a tensor that nothing uses");
    wrong(written_twice, "a result that another operation has made");
}

/* ---- pooling that is wrong */

typedef struct pooling {
    og_cuda_fusion fusion;
    int x, y, places;
    og_cuda_operation *operation;
} pooling;

/* The largest of 3 x 3, 2 apart, of images padded by 1; or its gradient. */
static void pool(const rig *r, bool gradient, pooling *p)
{
    og__fusion_begin(&p->fusion, &r->call, OG_FLOAT16);
    p->x = image(&p->fusion, OG_FLOAT16, 2, CHANNELS, SIDE);
    p->y = image(&p->fusion, OG_FLOAT16, 2, CHANNELS, SIDE / 2);
    p->places = image(&p->fusion, OG_INT8, 2, CHANNELS, SIDE / 2);
    og_cuda_operation *o = p->operation =
        og__fusion_add(&p->fusion, gradient ? OG_CUDA_POOL_GRAD : OG_CUDA_POOL);
    o->mode = OG_CUDA_MAXIMUM;
    o->in[0] = gradient ? p->y : p->x;
    o->out[0] = gradient ? p->x : p->y;
    (gradient ? o->in : o->out)[1] = p->places;
    for (int a = 0; a < 2; a++) {
        o->window[a] = 3;
        o->steps[a] = 2;
        o->begins[a] = o->ends[a] = 1;
    }
}

static void pools_wrong(bool gradient, void (*spoil)(pooling *p), const char *part)
{
    rig r = set_up();
    pooling p;
    pool(&r, gradient, &p);
    CHECK(og__fusion_find(&r.call, &p.fusion) != NULL);
    spoil(&p);
    CHECK(!og__fusion_find(&r.call, &p.fusion));
    finds(r.device, part);
}

static void another_step(pooling *p)
{
    p->operation->steps[1] = 1;
}
static void padding_of_a_window(pooling *p)
{
    p->operation->begins[0] = 3;
}
static void a_window_of_133(pooling *p)
{
    p->operation->window[0] = 19, p->operation->window[1] = 7;
    p->operation->begins[0] = 9, p->operation->ends[0] = 9;
    p->operation->begins[1] = 3, p->operation->ends[1] = 3;
}
static void places_as_many_as_x(pooling *p)
{
    p->fusion.tensors[p->places] = p->fusion.tensors[p->x];
    p->fusion.tensors[p->places].dtype = OG_INT8;
}
static void places_in_another_order(pooling *p)
{
    static const int64_t strides[] = {CHANNELS * 4, 4, 2, 1};
    memcpy(p->fusion.tensors[p->places].strides, strides, sizeof strides);
}
static void places_of_int32(pooling *p)
{
    p->fusion.tensors[p->places].dtype = OG_INT32;
}
static void an_average(pooling *p)
{
    p->operation->mode = OG_CUDA_AVERAGE;
}
static void a_sum(pooling *p)
{
    p->operation->mode = OG_CUDA_SUM;
}
static void without_places(pooling *p)
{
    p->operation->in[1] = 0;
    p->fusion.n_tensors--;
}
static void of_another_type(pooling *p)
{
    p->fusion.tensors[p->y].dtype = OG_FLOAT;
}
static void images_in_another_order(pooling *p)
{
    static const int64_t strides[] = {CHANNELS * 4, 4, 2, 1};
    memcpy(p->fusion.tensors[p->y].strides, strides, sizeof strides);
}

TEST(wrong_poolings_are_found)
{
    for (int gradient = 0; gradient < 2; gradient++) {
        pools_wrong(gradient, another_step, "a pooling's places do not fit");
        pools_wrong(gradient, padding_of_a_window, "a pooling's places do not fit");
        pools_wrong(gradient, a_window_of_133, "more places than an int8 holds");
        pools_wrong(gradient, places_as_many_as_x, "lie as the smaller images do");
        pools_wrong(gradient, places_in_another_order, "lie as the smaller images do");
        pools_wrong(gradient, places_of_int32, "places of largest elements are int8");
        pools_wrong(gradient, an_average, "the largest elements' places, and nothing else's");
        pools_wrong(gradient, a_sum, "pooling whose mode is another operation's");
        pools_wrong(gradient, of_another_type, "a pooling's images differ");
        pools_wrong(gradient, images_in_another_order, "a pooling's images lie channels-last");
    }
    pools_wrong(true, without_places, "the largest elements' places, and nothing else's");
}

/* What cuDNN has no engine for is refused, without a fault, and asked for once. */
TEST(what_has_no_engine_is_refused)
{
    rig r = set_up();
    og_error error = {0};
    convolution c;
    convolve(&r, OG_FLOAT16, &c);
    c.fusion.tensors[c.y].dtype = OG_FLOAT;
    CHECK(!og__fusion_find(&r.call, &c.fusion));
    CHECK(!og__fusion_find(&r.call, &c.fusion));
    CHECK_TEXT(r.cuda->fusions->why, "writes another type than it reads");
    CHECK(!r.cuda->fusions->next);
    GOES(r.device->remote->finish(r.device, &error));
    close_device(r.device);
}

static void runs_wrong(void (*spoil)(rig *r, const convolution *c), const char *part)
{
    rig r = set_up();
    og_error error = {0};
    convolution c;
    convolve(&r, OG_FLOAT, &c);
    free(place(&r, c.x, 2 * CHANNELS * SIDE * SIDE, true));
    free(place(&r, c.w, CHANNELS * CHANNELS * 9, true));
    free(place(&r, c.y, 2 * CHANNELS * SIDE * SIDE, false));
    spoil(&r, &c);
    const og__fusion *plan = og__fusion_find(&r.call, &c.fusion);
    CHECK(plan && r.cuda->driver->fusion_run(r.cuda->card, plan->plan, r.memory, r.workspace,
                                             r.workspace_bytes, &error) != OG_OK);
    og_error_clear(&error);
    finds(r.device, part);
}

static void small_workspace(rig *r, const convolution *c)
{
    r->workspace_bytes = c->fusion.n_tensors; /* any that is too few */
}
static void workspace_between(rig *r, const convolution *c)
{
    (void)c;
    r->workspace = (char *)r->workspace + 128;
}
static void no_address(rig *r, const convolution *c)
{
    r->memory[c->w] = NULL;
}
static void between_addresses(rig *r, const convolution *c)
{
    r->memory[c->w] = (char *)r->memory[c->w] + 4;
}
static void in_place(rig *r, const convolution *c)
{
    r->memory[c->y] = r->memory[c->x];
}
static void behind_the_end(rig *r, const convolution *c)
{
    r->memory[c->y] = (char *)r->memory[c->y] + 16;
}

TEST(wrong_runs_are_found)
{
    runs_wrong(small_workspace, "the workspace is smaller than the plan needs");
    runs_wrong(workspace_between, "the workspace is not aligned to 256 bytes");
    runs_wrong(no_address, "a tensor has no address");
    runs_wrong(between_addresses, "a tensor is not aligned to 16 bytes");
    runs_wrong(in_place, "overlaps what else it was given");
    runs_wrong(behind_the_end, "which are in no block of memory");
}

static const og_test tests[] = {
    TEST_ROW(a_chain_of_operations),
    TEST_ROW(a_reshape_transposes),
    TEST_ROW(equal_descriptions_share_a_plan),
    TEST_ROW(wrong_descriptions_are_found),
    TEST_ROW(wrong_poolings_are_found),
    TEST_ROW(what_has_no_engine_is_refused),
    TEST_ROW(wrong_runs_are_found),
};
TEST_MAIN(tests)
