/* Ops against their definitions, in double: each case runs an op and the nodes of its gradient with
 * the device's plain kernels and through `expand`, which must agree in type and value. Where the op
 * is linear in an input, its gradient must also be the adjoint: ⟨dy, y⟩ = ⟨dx, x⟩.
 *
 * A case is text. Inputs: d[2,3] random in (-1, 1), p[4] random in (0.5, 1.5), i{2,-1} and j{2}
 * int64 and int32 lists, i=1 and b=1 an int64 and a bool scalar, s special values (zeros,
 * infinities, NaN), - absent. Attributes: axis=1  alpha=0.5  pads=[1,1]  mode='edge'. */
#include "tests/test.h"

#include <stdlib.h>

#include "kernels/cpu/cpu.h"
#include "runtime/exec/exec.h"
#include "runtime/graph/build.h"

enum { MOST = 16, TABLE = 256 };
static const double TOLERANCE = 1e-11;

typedef struct bench {
    og_graph *g;
    og_device *device;
    og_evaluator evaluator;
    uint64_t seed;
} bench;

static const og_op *covered[TABLE]; /* ops whose kernel and definition were compared */
static int n_covered;

/* ---- reading a case */

/* Uniform in (-1, 1). */
static double uniform(bench *b)
{
    b->seed += 0x9e3779b97f4a7c15u;
    uint64_t z = b->seed;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)(int64_t)((z ^ z >> 31) >> 11) * 0x1p-52 - 1;
}

/* "1,2,3" up to `close`; the count. */
static int read_ints(const char **text, char close, int64_t *ints)
{
    int n = 0;
    while (**text && **text != close) {
        char *end;
        ints[n++] = strtoll(*text, &end, 10);
        *text = *end == ',' ? end + 1 : end;
    }
    *text += **text == close;
    return n;
}

static og_val random_like(bench *b, const og_type *type, double center, double radius)
{
    int64_t n = og_type_elements(type);
    double *data = og_arena_array(b->g->arena, (size_t)n + 1, sizeof *data);
    for (int64_t i = 0; data && i < n; i++)
        data[i] = center + radius * uniform(b);
    return og_graph_add_const(b->g, "", type, data);
}

static og_val read_input(bench *b, const char **text)
{
    static const double special[] = {1, -0.5, 0, -0.0, INFINITY, -INFINITY, NAN, 5e-324};
    char kind = *(*text)++;
    int64_t ints[TABLE], n;
    og_type t = {.dtype = OG_DOUBLE};
    if (kind == 'd' || kind == 'p') {
        (*text)++;
        t.rank = read_ints(text, ']', t.dims);
        return kind == 'd' ? random_like(b, &t, 0, 1) : random_like(b, &t, 1, 0.5);
    }
    if (kind == 's') {
        t.rank = 1;
        t.dims[0] = sizeof special / sizeof *special;
        return og_const_copy(b->g, &t, special);
    }
    if (kind == '-')
        return OG_NONE;
    if (*(*text)++ == '=') {
        int64_t value = strtoll(*text, NULL, 10);
        og_type flag = og_type_make(OG_BOOL, 0, NULL);
        og_val v = kind == 'b' ? og_const_copy(b->g, &flag, &(bool){value != 0})
                               : og_const_int(b->g, value);
        *text += strcspn(*text, " ");
        return v;
    }
    n = read_ints(text, '}', ints);
    og_val v = og_const_ints(b->g, (int)n, ints);
    if (kind == 'j') {
        int32_t narrow[TABLE];
        for (int64_t i = 0; i < n; i++)
            narrow[i] = (int32_t)ints[i];
        t = og_type_make(OG_INT32, 1, &n);
        v = og_const_copy(b->g, &t, narrow);
    }
    return v;
}

static og_attr read_attr(og_graph *g, const char **text)
{
    const char *equal = strchr(*text, '=');
    og_attr a = {.name = og_arena_strndup(g->arena, *text, (size_t)(equal - *text))};
    char *end;
    *text = equal + 1;
    if (**text == '[') {
        int64_t ints[TABLE];
        (*text)++;
        a.kind = OG_ATTR_INTS;
        a.n = read_ints(text, ']', ints);
        a.ints = og_arena_copy(g->arena, ints, sizeof *ints * (size_t)a.n + 1);
    } else if (**text == '\'') {
        end = strchr(*text + 1, '\'');
        a.kind = OG_ATTR_STRING;
        a.s = og_arena_strndup(g->arena, *text + 1, (size_t)(end - *text - 1));
        *text = end + 1;
    } else {
        a.f = strtod(*text, &end);
        bool real = memchr(*text, '.', (size_t)(end - *text)) != NULL;
        a.kind = real ? OG_ATTR_FLOAT : OG_ATTR_INT;
        a.i = real ? 0 : (int64_t)a.f;
        *text = end;
    }
    return a;
}

typedef struct definition_case {
    const char *op, *inputs, *attrs;
    const char *linear; /* numbers of the inputs that y[0] is linear in */
    int outputs;        /* 0: those that there always are or the gradient reads, or 1 */
} definition_case;

static og_node *add_case(bench *b, const definition_case *c)
{
    static const char internal[] = OG_DOMAIN "::";
    bool ours = strncmp(c->op, internal, sizeof internal - 1) == 0;
    const char *name = ours ? c->op + sizeof internal - 1 : c->op;
    const og_op *op = og_op_find(ours ? OG_DOMAIN : "", name);
    int in[MOST], n_in = 0, n_attrs = 0;
    og_attr attrs[MOST] = {0};
    if (!CHECK(op))
        return NULL;
    for (const char *at = c->inputs; *at;)
        if (*at == ' ') {
            at++;
        } else {
            og_val v = read_input(b, &at);
            in[n_in++] = Has(v) ? v.id : -1;
        }
    for (const char *at = c->attrs; *at;)
        if (*at == ' ')
            at++;
        else
            attrs[n_attrs++] = read_attr(b->g, &at);
    int fewest = op->min_out > op->saved ? op->min_out : op->saved;
    int outputs = c->outputs ? c->outputs : fewest ? fewest : 1;
    og_node *n = og_graph_add_node(b->g, op, "n", in, n_in, outputs,
                                   og_arena_copy(b->g->arena, attrs, sizeof attrs), n_attrs);
    CHECK_STR(og_error_text(&b->g->error), "");
    return n;
}

/* ---- running */

static bool fine(const bench *b)
{
    if (b->g->error.status != OG_OK)
        CHECK_STR(og_error_text(&b->g->error), "");
    return b->g->error.status == OG_OK;
}

static bool has_kernel(const bench *b, og_node *n)
{
    og_tensor x[MOST] = {0}, y[MOST] = {0};
    og_call call = {.node = n, .device = b->device, .nx = n->n_in, .ny = n->n_out, .x = x, .y = y};
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0)
            x[i] = og_tensor_dense(&b->g->values[n->in[i]]->type, NULL);
    for (int i = 0; i < n->n_out; i++)
        y[i] = og_tensor_dense(&b->g->values[n->out[i]]->type, NULL);
    return og_device_kernel(b->device, &call, true) || og_device_kernel(b->device, &call, false);
}

static void compare(const og_node *n, int out, const og_value *kernel, const og_value *definition)
{
    char a[160], d[160];
    og_type_text(a, NULL, &kernel->type);
    og_type_text(d, NULL, &definition->type);
    CHECK_STR(d, a);
    if (!og_type_equal(&kernel->type, &definition->type) || !CHECK(definition->data))
        return;
    int64_t elements = og_type_elements(&kernel->type);
    for (int64_t i = 0; i < elements; i++) {
        double v = og_value_double(kernel, i), w = og_value_double(definition, i);
        bool same = v == w || (isnan(v) && isnan(w)) ||
                    fabs(v - w) <= TOLERANCE * fmax(1, fmax(fabs(v), fabs(w)));
        if (!CHECK(same)) {
            printf("      %s output %d, %s, element %lld: kernel %.17g, definition %.17g\n",
                   n->op->name, out, a, (long long)i, v, w);
            return;
        }
    }
}

/* Evaluate n with a kernel and, where it has both, through its definition. */
static void run_node(bench *b, og_node *n)
{
    og_graph *g = b->g;
    og_val x[MOST], y[MOST];
    bool want[MOST], both = n->op->expand && has_kernel(b, n);
    int first = g->n_nodes;
    for (int i = 0; i < n->n_in; i++)
        x[i] = og_val_of(g, n->in[i]);
    for (int i = 0; i < n->n_out; i++) {
        y[i] = OG_NONE;
        want[i] = true;
    }
    og_expand e = {.g = g, .node = n, .nx = n->n_in, .ny = n->n_out, .x = x, .y = y, .want = want};
    if (both)
        n->op->expand(&e);
    for (int i = first; i < g->n_nodes && fine(b); i++)
        b->evaluator.run(b->evaluator.user, g, g->nodes[i]);
    if (fine(b))
        b->evaluator.run(b->evaluator.user, g, n);
    if (!fine(b) || !both)
        return;
    for (int i = 0; i < n->n_out; i++)
        if (CHECK(Has(y[i])))
            compare(n, i, g->values[n->out[i]], og_value_of(y[i]));
    covered[n_covered++ % TABLE] = n->op;
}

static double inner(const og_value *a, const og_value *b)
{
    double sum = 0;
    for (int64_t i = 0; i < og_type_elements(&a->type); i++)
        sum += og_value_double(a, i) * og_value_double(b, i);
    return sum;
}

/* The gradient's nodes, and that it is the adjoint in the inputs c->linear. */
static void run_gradient(bench *b, og_node *n, const char *linear)
{
    og_graph *g = b->g;
    og_val x[MOST], y[MOST], dy[MOST], dx[MOST];
    bool need[MOST];
    for (int i = 0; i < n->n_in; i++) {
        x[i] = og_val_of(g, n->in[i]);
        dx[i] = OG_NONE;
        need[i] = Has(x[i]) && DType(x[i]) == OG_DOUBLE;
    }
    for (int i = 0; i < n->n_out; i++) {
        y[i] = og_val_of(g, n->out[i]);
        dy[i] = DType(y[i]) != OG_DOUBLE ? OG_NONE
                : i == 0                 ? random_like(b, og_type_of(y[i]), 0, 1)
                                         : og_full(g, og_type_of(y[i]), 0);
    }
    og_grad d = {.g = g,
                 .node = n,
                 .nx = n->n_in,
                 .ny = n->n_out,
                 .x = x,
                 .y = y,
                 .dy = dy,
                 .need = need,
                 .dx = dx};
    int first = g->n_nodes;
    n->op->grad(&d);
    int end = g->n_nodes;
    for (int i = first; i < end && fine(b); i++)
        run_node(b, g->nodes[i]);
    for (; *linear && fine(b); linear++) {
        int i = *linear - '0';
        if (CHECK(Has(dx[i])) && CHECK(og_type_equal(og_type_of(dx[i]), og_type_of(x[i]))))
            CHECK_CLOSE(inner(og_value_of(dx[i]), og_value_of(x[i])),
                        inner(og_value_of(dy[0]), og_value_of(y[0])), 1e-10);
    }
}

static void run_case(const definition_case *c, uint64_t seed)
{
    char text[512];
    snprintf(text, sizeof text, "%s %s %s", c->op, c->inputs, c->attrs);
    TEST_CASE(text);
    bench b = {.g = og_graph_new(), .device = og_cpu_device_new(1), .seed = seed};
    if (CHECK(b.g && b.device)) {
        b.evaluator = og_eager_evaluator(b.device);
        og_node *n = add_case(&b, c);
        if (n)
            run_node(&b, n);
        if (n && n->op->grad && fine(&b))
            run_gradient(&b, n, c->linear);
    }
    og_graph_free(b.g);
    if (b.device)
        b.device->destroy(b.device);
    TEST_CASE("");
}

#define RUN(cases)                                                \
    for (size_t k = 0; k < sizeof(cases) / sizeof(*(cases)); k++) \
    run_case(&(cases)[k], k + 1)

/* ---- cases */

TEST(convolution)
{
    static const definition_case cases[] = {
        {"Conv", "d[2,3,7,8] d[4,3,3,2]", "", "01"},
        {"Conv", "d[2,3,7,8] d[4,3,3,2]", "strides=[2,3]", "01"}, /* a row and columns unused */
        {"Conv", "d[2,3,7,8] d[4,3,3,2]", "strides=[2,3] pads=[1,0,2,1] dilations=[2,1]", "01"},
        {"Conv", "d[3,4,9] d[6,2,3]", "group=2 strides=[2] pads=[2,1]", "01"},
        {"Conv", "d[3,6,9] d[3,2,2]", "group=3 dilations=[3]", "01"},
        {"Conv", "d[2,5,6,6] d[10,1,3,3]", "group=5 strides=[3,3] pads=[1,1,1,1]", "01"},
        {"Conv", "d[2,4,8,8] d[4,1,3,3]", "group=4 strides=[2,2] dilations=[2,2]", "01"},
        {"Conv", "d[1,2,5,4,6] d[3,2,2,3,2]",
         "strides=[2,1,3] dilations=[1,1,2] pads=[0,1,0,1,0,2]", "01"},
        {"Conv", "d[2,2,7,6] d[3,2,3,3] d[3]", "pads=[1,1,1,1]", ""},
        {"Conv", "d[2,2,7,6] d[3,2,3,3]", "auto_pad='SAME_UPPER' strides=[2,2]", "01"},
        {"Conv", "d[2,2,7,6] d[3,2,2,2]", "auto_pad='SAME_LOWER' strides=[2,3]", "01"},
        {"Conv", "d[2,2,7,6] d[3,2,2,2]", "auto_pad='VALID' strides=[3,4]", "01"},
        {"Conv", "d[2,3,5,5] d[4,3,1,1]", "strides=[2,2]", "01"},
        {"Conv", "d[2,3,6,6] d[4,3,1,1]", "strides=[4,4]", "01"},
        {"Conv", "d[1,1,2] d[1,1,4]", "pads=[2,2]", "01"},
        {"Conv", "d[1,2,3] d[2,2,2]", "pads=[5,4] strides=[2]", "01"},
        {"ConvTranspose", "d[2,3,4,5] d[3,2,3,3]", "", ""},
        {"ConvTranspose", "d[2,4,4] d[4,3,3] d[6]",
         "group=2 strides=[3] output_padding=[1] pads=[1,0] dilations=[2]", ""},
    };
    RUN(cases);
}

TEST(pooling)
{
    static const definition_case cases[] = {
        {"MaxPool", "d[2,3,6,7]", "kernel_shape=[2,3]", "0"},
        {"MaxPool", "d[2,3,7,7]", "kernel_shape=[3,3] strides=[2,2] pads=[1,1,1,1]", "0"},
        {"MaxPool", "d[2,3,9]", "kernel_shape=[2] strides=[2] ceil_mode=1", "0"},
        {"MaxPool", "d[1,2,4,5,6]", "kernel_shape=[2,2,2] strides=[1,2,3] dilations=[2,1,2]", "0"},
        /* windows in padding only: an index of -1, and y = -∞ */
        {"MaxPool", "d[2,2,1,4]", "kernel_shape=[2,2] dilations=[2,1] pads=[1,0,1,0]", ""},
        {"ai.ongrad::MaxPoolTraining", "d[2,3,6,7]", "kernel_shape=[2,3]", "0"},
        {"ai.ongrad::MaxPoolTraining", "d[2,3,7,7]",
         "kernel_shape=[3,3] strides=[2,2] pads=[1,1,1,1]", "0"},
        {"ai.ongrad::MaxPoolTraining", "d[1,2,5,7]", "kernel_shape=[2,3] auto_pad='SAME_UPPER'",
         "0"},
        {"ai.ongrad::MaxPoolTraining", "d[2,3,9]", "kernel_shape=[2] strides=[2] ceil_mode=1", "0"},
        {"ai.ongrad::MaxPoolTraining", "d[1,2,4,5,6]",
         "kernel_shape=[2,2,2] strides=[1,2,3] dilations=[2,1,2]", "0"},
        {"ai.ongrad::MaxPoolTraining", "d[1,2,2,17,20]", "kernel_shape=[2,10,15] strides=[1,3,1]",
         "0"},
        {"ai.ongrad::MaxPoolTraining", "d[2,2,1,4]",
         "kernel_shape=[2,2] dilations=[2,1] pads=[1,0,1,0]", ""},
        {"AveragePool", "d[2,3,6,7]", "kernel_shape=[2,3]", "0"},
        {"AveragePool", "d[2,3,7,8]", "kernel_shape=[3,2] strides=[3,3]", "0"},
        {"AveragePool", "d[2,3,7]", "kernel_shape=[3] strides=[2] pads=[1,2]", "0"},
        {"AveragePool", "d[2,3,7]", "kernel_shape=[3] strides=[2] pads=[1,2] count_include_pad=1",
         "0"},
        {"AveragePool", "d[2,1,8,6]", "kernel_shape=[3,3] strides=[2,2] ceil_mode=1", "0"},
        {"AveragePool", "d[2,1,8,6]",
         "kernel_shape=[3,3] strides=[2,2] ceil_mode=1 pads=[1,0,0,1] count_include_pad=1", "0"},
        {"AveragePool", "d[1,1,5]", "kernel_shape=[2] strides=[3] ceil_mode=1 pads=[0,1]", "0"},
        {"AveragePool", "d[1,1,4]", "kernel_shape=[2] strides=[4] ceil_mode=1 pads=[1,1]", "0"},
        {"AveragePool", "d[2,2,9,8]", "kernel_shape=[3,2] dilations=[2,3] pads=[2,1,1,2]", "0"},
        {"AveragePool", "d[1,2,4,5,6]", "kernel_shape=[2,3,2] strides=[2,1,3] pads=[0,1,1,1,1,0]",
         "0"},
        {"AveragePool", "d[2,2,7,7]", "kernel_shape=[3,3] strides=[2,2] auto_pad='SAME_UPPER'",
         "0"},
        {"GlobalAveragePool", "d[2,3,4,5]", "", "0"},
        {"GlobalMaxPool", "d[2,3,4,5]", "", ""},
        {"LRN", "d[2,5,3,3]", "size=3 alpha=0.5 beta=0.6 bias=1.5", ""},
    };
    RUN(cases);
}

TEST(indexing)
{
    static const definition_case cases[] = {
        {"Gather", "d[5,3] i{4,0,4,-5,1}", "", "0"},
        {"Gather", "d[5,3] j{2,2}", "axis=0", "0"},
        {"Gather", "d[2,4,3] i{3,-1,0}", "axis=1", "0"},
        {"Gather", "d[2,4,3] i=2", "axis=-1", "0"},
        {"Gather", "d[6] i=5", "", "0"},
        {"Gather", "d[6] i{}", "", "0"},
        {"Pad", "d[4,5] i{1,2,3,4}", "mode='reflect'", "0"},
        {"Pad", "d[4,5] i{1,2,0,7}", "mode='edge'", "0"},
        {"Slice", "d[4,5,6] i{1} i{3}", "", "0"},
        {"Slice", "d[4,5,6] i{1,-2} i{3,99} i{0,2}", "", "0"},
        {"Slice", "d[9,5] i{1} i{8} i{0} i{3}", "", "0"},
        {"Slice", "d[9,5] i{7,4} i{0,-99} i{0,1} i{-3,-1}", "", "0"},
        {"Slice", "d[4,5,6] i{1,4,0} i{4,0,6} i{0,1,-1} i{1,-2,2}", "", "0"},
        {"Slice", "d[4,5] i{3} i{4} i{1} i{7}", "", "0"},
        {"Slice", "d[4,5] i{2} i{2} i{0}", "", "0"},
        {"Slice", "d[4,5] i{0,0} i{4,5}", "", "0"},
        {"OneHot", "d[3] i=4 d[2]", "", ""},
        {"Trilu", "d[2,4,5] i=1", "upper=0", "0"},
    };
    RUN(cases);
}

TEST(normalization)
{
    static const definition_case cases[] = {
        {"LayerNormalization", "d[3,4,5] d[5] d[5]", "", ""},
        {"LayerNormalization", "d[3,4,5] d[4,5]", "axis=1 epsilon=0.01", ""},
        {"LayerNormalization", "d[3,4,5] d[1] d[5]", "axis=-1", ""},
        {"RMSNormalization", "d[3,4,5] d[4,5]", "axis=1 epsilon=0.01", ""},
        {"ai.ongrad::RMSNormalizationTraining", "d[3,4,5] d[5]", "", ""},
        {"ai.ongrad::RMSNormalizationTraining", "d[3,4,5] d[4,1]", "axis=1 epsilon=0.01", ""},
        {"BatchNormalization", "d[4,3,5] d[3] d[3] d[3] p[3]", "epsilon=0.001", ""},
        {"ai.ongrad::BatchNormalizationTraining", "d[4,3,5,2] d[3] d[3]", "epsilon=0.01", ""},
        {"ai.ongrad::BatchNormalizationTraining", "d[6,3] p[3] d[3]", "", ""},
        {"InstanceNormalization", "d[2,3,4,5] d[3] d[3]", "", ""},
        {"GroupNormalization", "d[2,6,4] d[6] d[6]", "num_groups=3", ""},
        {"ai.ongrad::GroupNormalizationByGroup", "d[2,6,4] d[3] d[3]", "num_groups=3", ""},
        {"GroupNormalization", "d[3,6] d[6] d[6]", "num_groups=2", ""},
        {"ai.ongrad::GroupNormalizationTraining", "d[2,6,4,3] d[6] d[6]",
         "num_groups=2 epsilon=0.01", ""},
        {"ai.ongrad::GroupNormalizationTraining", "d[2,6,4] d[6] d[6]", "num_groups=6", ""},
        {"ai.ongrad::GroupNormalizationTraining", "d[3,6,4] d[6] d[6]", "num_groups=1", ""},
        {"Softmax", "d[3,4,5]", "axis=1", ""},
        {"LogSoftmax", "d[3,4,5]", "", ""},
        {"ai.ongrad::SoftmaxCrossEntropy", "d[4,5] i{0,4,-1,2}", "", ""},
        {"ai.ongrad::SoftmaxCrossEntropy", "d[2,1] j{0,0}", "", ""},
        {"ai.ongrad::SoftmaxCrossEntropyGrad", "d[3] d[3,4] i{3,-4,1} d[3] d[3]", "", ""},
        {"ai.ongrad::FlattenedSoftmax", "d[3,4,5]", "axis=1", ""},
        {"ai.ongrad::FlattenedLogSoftmax", "d[3,4,5]", "axis=1", ""},
        {"ai.ongrad::FlattenedHardmax", "d[3,4,5]", "axis=1", ""},
    };
    RUN(cases);
}

/* More of the recurrences, and their gradients against autodiff's: test_recurrent.c. */
TEST(recurrence)
{
    static const definition_case cases[] = {
        {"ai.ongrad::LSTMDirection", "d[5,3,2] d[12,2] d[12,3] d[24] j{5,0,2} d[3,3] d[3,3]",
         "reverse=1", ""},
        {"ai.ongrad::LSTMDirectionGrad",
         "d[12,3] d[5,2,12] d[5,2,3] d[5,2,3] d[2,3] d[2,3] j{5,2} d[2,3]", "", "", 3},
        {"ai.ongrad::LSTMDirectionGrad", "d[12,3] d[5,2,12] d[5,2,3] - d[2,3]", "reverse=1", "", 1},
        {"ai.ongrad::GRUDirection", "d[5,3,2] d[9,2] d[9,3] d[18] j{5,0,2} d[3,3]", "", ""},
        {"ai.ongrad::GRUDirectionGrad", "d[9,3] d[5,2,12] d[5,2,3] d[5,2,3] d[2,3] j{3,5} d[2,3]",
         "reverse=1", "", 3},
        {"ai.ongrad::GRUDirectionGrad", "d[9,3] d[5,2,12] d[5,2,3] d[5,2,3]", "", "", 2},
        {"ai.ongrad::RNNDirection", "d[5,3,2] d[3,2] d[3,3] - j{5,0,2}", "reverse=1", ""},
        {"ai.ongrad::RNNDirectionGrad", "d[3,3] d[5,2,3] d[5,2,3] d[2,3] j{4,0}", "", "", 2},
        {"ai.ongrad::RNNDirectionGrad", "d[3,3] d[5,2,3] d[5,2,3]", "activation='Relu' reverse=1",
         "", 1},
    };
    RUN(cases);
}

TEST(optimizers)
{
    static const definition_case cases[] = {
        {"ai.ongrad::AdamStep", "d[5,7] d[5,7] d[5,7] p[5,7] b=1 p[] p[] p[] p[]",
         "beta1=0.8 beta2=0.95 epsilon=0.001", ""},
        {"ai.ongrad::AdamStep", "d[40000] d[40000] d[40000] p[40000] b=1 p[] p[] p[] p[]", "l2=0.1",
         ""},
        {"ai.ongrad::AdamStep", "d[9] d[9] d[9] p[9] b=0 p[] p[] p[] p[]", "", ""},
    };
    RUN(cases);
}

TEST(elementwise)
{
    static const definition_case cases[] = {
        {"ai.ongrad::Log1p", "d[40]", "", ""},
        {"ai.ongrad::Log1p", "s", "", ""},
        {"ai.ongrad::GeluErf", "d[40]", "", ""},
        {"ai.ongrad::GeluErf", "s", "", ""},
        {"ai.ongrad::GeluTanh", "d[40]", "", ""},
        {"ai.ongrad::GeluTanh", "s", "", ""},
        {"ai.ongrad::Accumulate", "d[3,5] d[3,5] p[1]", "", ""},
        {"ai.ongrad::Accumulate", "d[8] d[8] s", "", ""},
        {"ai.ongrad::GeluErfGrad", "d[3,5] d[3,5]", "", ""},
        {"ai.ongrad::GeluTanhGrad", "d[3,5] d[3,5]", "", ""},
        {"ai.ongrad::Silu", "d[40]", "", ""},
        {"ai.ongrad::Silu", "s", "", ""},
        {"ai.ongrad::SiluGrad", "d[3,5] d[3,5]", "", ""},
        {"HardSwish", "d[40]", "", ""},
        {"HardSwish", "s", "", ""},
        {"ai.ongrad::HardSwishGrad", "d[3,5] d[3,5]", "", ""},
        {"ai.ongrad::HardSwishGrad", "d[8] s", "", ""},
        {"ai.ongrad::IsFinite", "s", "", ""},
        {"ai.ongrad::IsFinite", "d[7]", "", ""},
        {"ai.ongrad::Copy", "d[2,3]", "", "0"},
    };
    RUN(cases);
}

/* Blocks are of 48 queries and 96 keys: one, several, several and a rest. */
TEST(attention)
{
    static const definition_case cases[] = {
        {"ai.ongrad::AttentionHeads", "d[2,5,3,4] d[2,7,3,4] d[2,7,3,6]", "", "2", 3},
        {"ai.ongrad::AttentionHeads", "d[1,1,1,1] d[1,1,1,1] d[1,1,1,1] d[1]", "scale=0.5", "2", 3},
        {"ai.ongrad::AttentionHeads", "d[1,48,1,16] d[1,96,1,16] d[1,96,1,16] d[48,96]",
         "scale=0.25", "2", 3},
        {"ai.ongrad::AttentionHeads", "d[2,101,2,8] d[2,203,2,8] d[2,203,2,3] d[2,1,1,203]",
         "scale=1.5", "2", 3},
        {"ai.ongrad::AttentionHeads", "d[1,50,2,128] d[1,97,2,128] d[1,97,2,65] d[2,50,97]",
         "scale=0.1 zero_nan=1", "2", 3},
        {"ai.ongrad::AttentionHeads", "d[1,3,1,256] d[1,200,1,256] d[1,200,1,256] d[1,1,3,200]",
         "scale=0.0625", "2", 3},
    };
    RUN(cases);
}

TEST(random_numbers)
{
    static const definition_case cases[] = {
        {"ai.ongrad::Random", "i{0,0,0}", "key=0 y_dims=[7]", ""},
        {"ai.ongrad::Random", "i{-3,5000000001,2}", "key=11 y_dims=[3,130]", ""},
        {"ai.ongrad::Random", "i{9,1,0}", "key=1 y_dims=[]", ""},
        {"ai.ongrad::KeepMask", "i{77,3,1} p[1]", "key=2 y_dims=[300]", ""},
    };
    RUN(cases);
}

/* Those of half operands, which cannot be compared in double: kernels/test_products does. */
static bool is_wide(const og_op *op)
{
    return strncmp(op->name, "Wide", 4) == 0;
}

/* Standard ONNX has none of the internal ops: each has a definition, and each that also has a
 * kernel was compared above. */
TEST(internal_ops_are_defined)
{
    og_device *device = og_cpu_device_new(1);
    REQUIRE(device);
    for (const og_op_table *t = og_op_tables; t->family; t++)
        for (const og_op *op = t->ops; op->name; op++) {
            if (!op->domain || strcmp(op->domain, OG_DOMAIN) != 0 || strcmp(op->name, "Fused") == 0)
                continue;
            TEST_CASE(op->name);
            CHECK(op->expand);
            bool compared = !n_covered || is_wide(op) || !og_device_has(device, op);
            for (int k = 0; k < n_covered && k < TABLE; k++)
                compared |= covered[k] == op;
            CHECK(compared);
        }
    TEST_CASE("");
    device->destroy(device);
}

static const og_test tests[] = {
    TEST_ROW(convolution),    TEST_ROW(pooling),
    TEST_ROW(indexing),       TEST_ROW(normalization),
    TEST_ROW(recurrence),     TEST_ROW(optimizers),
    TEST_ROW(elementwise),    TEST_ROW(attention),
    TEST_ROW(random_numbers), TEST_ROW(internal_ops_are_defined),
};
TEST_MAIN(tests)
