/* Whole training steps, planned for the CUDA device and for the processor, from the same weights on
 * the same inputs: losses and weights agree after every step, where steps run plainly and where
 * they are recorded and replayed. */
#include "runtime/graph/build.h"
#include "runtime/graph/storage.h"
#include "runtime/passes/passes.h"
#include "runtime/plan/plan.h"
#include "tests/cuda/open.h"

enum { STEPS = 6, RECORDED_FROM = 2, MOST_INPUTS = 2 };

/* Numbers in (-½, ½) that only depend on i. */
static float number(int64_t i)
{
    uint64_t h = (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
    return (float)((double)((h ^ h >> 29) * 0xbf58476d1ce4e5b9u >> 11) * 0x1p-53 - 0.5);
}

typedef struct model {
    const og_device *device;
    og_graph *g, *first; /* as it is now; whose arena it lies in */
    og_storages storages;
    int n;
    og_val w[8];
} model;

static og_val parameter(model *m, const char *name, int rank, const int64_t *dims)
{
    og_type type = og_type_make(OG_FLOAT, rank, dims);
    m->w[m->n] = og_storage_state(m->g, &m->storages, OG_STORAGE_PARAMETER, name, &type, NULL, 0);
    return m->w[m->n++];
}

static og_val input(model *m, const char *name, og_dtype dtype, int rank, const int64_t *dims)
{
    og_type type = og_type_make(dtype, rank, dims);
    return og_graph_add_input(m->g, name, &type);
}

/* w ← w - 0.1 dw for every parameter; the loss is the graph's output. Nodes have the outputs that
 * their gradients read. */
static void train(model *m, og_val loss)
{
    og_val dw[8];
    og_graph_add_output(m->g, "loss", loss);
    m->g = og_pass_whole(m->g, m->device);
    loss = og_val_of(m->g, m->g->outputs[0].value);
    for (int i = 0; i < m->n; i++)
        m->w[i] = og_val_of(m->g, m->g->states[i].in);
    if (!CHECK(og_autodiff(m->g, loss, One(loss), m->w, m->n, dw)))
        printf("    %s\n", og_error_text(&m->g->error));
    for (int i = 0; i < m->n && CHECK(dw[i].g != NULL); i++)
        og_graph_set_state(m->g, m->w[i], Sub(m->w[i], Mul(Scalar(dw[i], 0.1), dw[i])));
}

static og_val cross_entropy(og_val logits, og_val labels)
{
    og_outs rows = Ops("ai.ongrad::SoftmaxCrossEntropy", 2, In(logits, labels));
    return Reduce("ReduceMean", rows.y[0], 0, NULL, false);
}

static void build_mlp(model *m)
{
    og_val x = input(m, "x", OG_FLOAT, 2, (int64_t[]){12, 20}),
           labels = input(m, "labels", OG_INT64, 1, (int64_t[]){12});
    og_val h = Add(MatMul(x, parameter(m, "w0", 2, (int64_t[]){20, 33})),
                   parameter(m, "b0", 1, (int64_t[]){33}));
    h = Ops("LayerNormalization", 3, In(h, parameter(m, "scale", 1, (int64_t[]){33}))).y[0];
    h = Op("ai.ongrad::GeluErf", In(h));
    train(m, cross_entropy(MatMul(h, parameter(m, "w1", 2, (int64_t[]){33, 5})), labels));
}

static void build_cnn(model *m)
{
    og_val x = input(m, "x", OG_FLOAT, 4, (int64_t[]){4, 3, 8, 8}),
           labels = input(m, "labels", OG_INT64, 1, (int64_t[]){4});
    og_val h = Op("Conv", In(x, parameter(m, "w0", 4, (int64_t[]){16, 3, 3, 3})),
                  Is("pads", 4, ((int64_t[]){1, 1, 1, 1})));
    h = Relu(Add(h, parameter(m, "b0", 3, (int64_t[]){16, 1, 1})));
    h = Ops("ai.ongrad::MaxPoolTraining", 2, In(h), Is("kernel_shape", 2, ((int64_t[]){2, 2})),
            Is("strides", 2, ((int64_t[]){2, 2})))
            .y[0];
    h = Transpose(h, ((int[]){0, 2, 3, 1}));
    h = Reshape(h, 2, ((int64_t[]){4, 256}));
    train(m, cross_entropy(MatMul(h, parameter(m, "w1", 2, (int64_t[]){256, 5})), labels));
}

static og_val layer(model *m, og_val x, const char *w, const char *b, int64_t from, int64_t to)
{
    og_val product = MatMul(x, parameter(m, w, 2, (int64_t[]){from, to}));
    return Add(product, parameter(m, b, 1, &to));
}

/* Everything that a product can do besides. */
static void build_layers(model *m)
{
    og_val x = input(m, "x", OG_FLOAT, 2, (int64_t[]){12, 20}),
           labels = input(m, "labels", OG_INT64, 1, (int64_t[]){12});
    og_val h = Op("ai.ongrad::GeluTanh", In(layer(m, x, "w0", "b0", 20, 40)));
    h = Relu(layer(m, h, "w1", "b1", 40, 24));
    train(m, cross_entropy(layer(m, h, "w2", "b2", 24, 5), labels));
}

/* Rows of a table, summed, and a running statistic beside the weights. */
static void build_table(model *m)
{
    og_val x = input(m, "x", OG_FLOAT, 2, (int64_t[]){6, 9}),
           labels = input(m, "labels", OG_INT64, 1, (int64_t[]){6});
    og_val rows = Op("Gather", In(parameter(m, "table", 2, (int64_t[]){5, 9}), labels));
    og_val y =
        Op("Concat", In(Tanh(Mul(rows, x)), Slice(SwapLast(SwapLast(x)), 1, 2, 4)), I("axis", 1));
    train(m, Reduce("ReduceMean", Mul(y, y), 0, NULL, false));
}

/* One walk, written twice and then merged, with a way back for each loss: both need the reserve. */
static void build_recurrence(model *m)
{
    og_val x = input(m, "x", OG_FLOAT, 3, (int64_t[]){5, 4, 3}),
           labels = input(m, "labels", OG_INT64, 1, (int64_t[]){4});
    og_val w = parameter(m, "w", 2, (int64_t[]){24, 3}),
           r = parameter(m, "r", 2, (int64_t[]){24, 6}), b = parameter(m, "b", 1, (int64_t[]){48});
    og_outs first = Ops("ai.ongrad::LSTMDirection", 5, In(x, w, r, b), I("reverse", 1)),
            again = Ops("ai.ongrad::LSTMDirection", 5, In(x, w, r, b), I("reverse", 1));
    og_val loss =
        cross_entropy(MatMul(first.y[1], parameter(m, "v", 2, (int64_t[]){6, 5})), labels);
    train(m, Add(loss, Reduce("ReduceMean", Mul(again.y[0], again.y[0]), 0, NULL, false)));
}

static og_plan *plan_for(og_device *d, void (*build)(model *), model *m, og_error *error)
{
    *m = (model){.device = d, .g = og_graph_new(), .storages = {.arena = og_arena_new()}};
    m->first = m->g;
    build(m);
    og_graph *g = m->g;
    g = og_pass_simplify(g);
    g = og_pass_products(g);
    g = og_pass_legalize(g, d);
    g = og_pass_simplify(g);
    g = og_pass_matmul_epilogue(g, d);
    g = og_pass_fuse(g, d);
    g = og_pass_epilogue(g, d);
    if (g->error.status != OG_OK) {
        og_error_move(error, &g->error);
        return NULL;
    }
    og_arena *own = og_arena_new();
    og_graph *planned = og_graph_copy(g, own);
    og_storages_place(&m->storages);
    return og_plan_new(planned, own, &m->storages, 0, d, false, error);
}

static void upload(og_device *d, void *to, const void *from, size_t bytes)
{
    og_error error = {0};
    if (!d->remote)
        memcpy(to, from, bytes);
    else
        GOES(d->remote->upload(d, to, from, bytes, &error));
}

static void download(og_device *d, void *to, const void *from, size_t bytes)
{
    og_error error = {0};
    if (!d->remote)
        memcpy(to, from, bytes);
    else
        GOES(d->remote->download(d, to, from, bytes, &error));
}

/* Constants that kernels read lie on the card, too. */
static void load_constants(og_plan *plan, og_device *d)
{
    for (int i = 0; d->remote && i < plan->n_steps; i++) {
        og_call *call = &plan->steps[i].call;
        for (int k = 0; k < call->nx; k++) {
            const og_value *v = og_graph_value(plan->graph, call->node->in[k]);
            const og_value *root = v ? plan->graph->values[plan->layouts.places[v->id].root] : NULL;
            if (!root || root->kind != OG_VALUE_CONST)
                continue;
            size_t bytes = (size_t)og_type_bytes(&root->type);
            char *at = d->alloc(d, bytes);
            upload(d, at, root->data, bytes);
            call->x[k].data =
                at + plan->layouts.places[v->id].layout.offset * og_dtype_bits(v->type.dtype) / 8;
        }
    }
}

static size_t state_bytes(const model *m)
{
    size_t bytes = 0;
    for (int i = 0; i < m->storages.n; i++)
        bytes += ((size_t)og_type_bytes(&m->storages.items[i].type) + 255) / 256 * 256;
    return bytes;
}

/* What ran: kernels compiled for it; products that did more. */
typedef struct counts {
    int compiled, epilogues;
} counts;

/* All states after STEPS steps, and each step's loss. */
static float *train_on(og_device *d, void (*build)(model *), float losses[STEPS], size_t *n,
                       counts *ran)
{
    og_error error = {0};
    model m;
    og_plan *plan = plan_for(d, build, &m, &error);
    if (!CHECK(plan != NULL)) {
        printf("    %s\n", og_error_text(&error));
        return NULL;
    }
    size_t bytes = state_bytes(&m);
    float *states = malloc(bytes);
    *n = bytes / sizeof(float);
    for (size_t i = 0; i < *n; i++)
        states[i] = number((int64_t)i);
    char *base = d->alloc(d, bytes), *activations = d->alloc(d, plan->activation_bytes + 1);
    upload(d, base, states, bytes);
    og_plan_bind(plan, base, activations);
    load_constants(plan, d);
    void *inputs[MOST_INPUTS], *recording = NULL;
    for (int i = 0; i < plan->graph->n_inputs; i++) {
        inputs[i] =
            d->alloc(d, (size_t)og_type_bytes(&plan->graph->values[plan->graph->inputs[i]]->type));
        og_plan_set_input(plan, i, inputs[i]);
    }
    *ran = (counts){0};
    for (int i = 0; i < plan->n_steps; i++) {
        ran->compiled += strcmp(plan->steps[i].kernel->name, "compiled") == 0;
        ran->epilogues += strcmp(plan->steps[i].call.node->op->name, "MatMulEpilogue") == 0;
    }
    for (int step = 0; step < STEPS; step++) {
        const og_type *x = &plan->graph->values[plan->graph->inputs[0]]->type,
                      *y = &plan->graph->values[plan->graph->inputs[1]]->type;
        float data[4096];
        int64_t labels[64];
        for (int64_t i = 0; i < og_type_elements(x); i++)
            data[i] = number(i * 31 + step);
        for (int64_t i = 0; i < og_type_elements(y); i++)
            labels[i] = (i * 7 + step) % 5;
        upload(d, inputs[0], data, (size_t)og_type_bytes(x));
        upload(d, inputs[1], labels, (size_t)og_type_bytes(y));
        bool record = d->remote && step == RECORDED_FROM;
        if (record)
            GOES(d->remote->record(d, &error));
        for (int i = 0; (!recording || record) && i < plan->n_steps; i++)
            GOES(plan->steps[i].kernel->run(&plan->steps[i].call, &error));
        if (record)
            GOES(d->remote->recorded(d, &recording, &error));
        if (recording)
            GOES(d->remote->replay(d, recording, &error));
        download(d, &losses[step], og_plan_output(plan, 0), sizeof(float));
    }
    download(d, states, base, bytes);
    if (recording)
        d->remote->forget(d, recording);
    og_plan_free(plan);
    og_graph_free(m.first);
    og_arena_free(m.storages.arena);
    if (!d->remote) {
        d->free(d, base, bytes);
        d->free(d, activations, 0);
        for (int i = 0; i < 2; i++)
            d->free(d, inputs[i], 0);
    }
    return states;
}

/* Between gcc's vector functions and its scalar ones there are a few units in the last place, which
 * six steps may make ten times larger. */
static void agree(void (*build)(model *), int epilogues)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        og_device *d = open_device(seed);
        d->options.allow_tf32 = false;
        float want[STEPS], got[STEPS];
        size_t n, m;
        counts native, none;
        float *a = train_on(test_host, build, want, &n, &none),
              *b = train_on(d, build, got, &m, &native);
        REQUIRE(a && b);
        CHECK(native.compiled > 3);
        CHECK_INT(native.epilogues, epilogues);
        for (int s = 0; s < STEPS; s++)
            CHECK_CLOSE(got[s], want[s], 1e-5);
        for (size_t i = 0; i < n; i++)
            if (!CHECK_CLOSE(b[i], a[i], 1e-5))
                break;
        free(a);
        free(b);
        close_device(d);
    }
}

TEST(a_perceptron_trains)
{
    agree(build_mlp, 1); /* the first bias's gradient */
}

TEST(a_convolution_trains)
{
    agree(build_cnn, 0);
}

TEST(a_table_trains)
{
    agree(build_table, 0);
}

TEST(layers_train)
{
    agree(build_layers, 5); /* both layers, both of their slopes with sums, the last layer's sum */
}

/* What the library has no way to do is done as if there were no such products. */
TEST(layers_train_where_products_do_less)
{
    og_sim_set_refused(1U << OG_CUDA_DRELU_BGRAD | 1U << OG_CUDA_DGELU_BGRAD, 0);
    agree(build_layers, 7); /* the sums are those of gradients of weights */
    og_sim_set_refused(~(1U << OG_CUDA_PLAIN), 0);
    agree(build_layers, 0);
    og_sim_set_refused(0, 16);
    agree(build_layers, 5);
    og_sim_set_refused(0, 0);
}

/* The first way back leaves the reserve as it is for the second, which has it in place. */
TEST(a_recurrence_trains)
{
    int walks = 0, back = 0, in_place = 0;
    og_error error = {0};
    model m;
    agree(build_recurrence, 0);
    og_device *d = open_device(1);
    og_plan *plan = plan_for(d, build_recurrence, &m, &error);
    REQUIRE(plan != NULL);
    for (int i = 0; i < plan->n_steps; i++) {
        const og_node *n = plan->steps[i].call.node;
        bool grad = strcmp(n->op->name, "LSTMWholeGrad") == 0;
        walks += strcmp(n->op->name, "LSTMWhole") == 0;
        back += grad;
        in_place += grad && plan->buffer_of[n->in[n->n_in - 1]] == plan->buffer_of[n->out[6]];
    }
    CHECK_INT(walks, 1);
    CHECK_INT(back, 2);
    CHECK_INT(in_place, 1);
    og_plan_free(plan);
    og_graph_free(m.first);
    og_arena_free(m.storages.arena);
    close_device(d);
}

static const og_test tests[] = {
    TEST_ROW(a_recurrence_trains),  TEST_ROW(a_perceptron_trains),
    TEST_ROW(a_convolution_trains), TEST_ROW(a_table_trains),
    TEST_ROW(layers_train),         TEST_ROW(layers_train_where_products_do_less),
};
TEST_MAIN(tests)
