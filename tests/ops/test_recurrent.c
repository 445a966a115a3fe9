/* LSTM, GRU and RNN, in double unless said otherwise: the kernels and the hand-written gradients of
 * one direction against the definition unrolled into simple ops and what autodiff makes of it; the
 * ops of ONNX against their parts; the number of threads against one; hostile inputs. */
#include "tests/test.h"

#include <stdlib.h>

#include "kernels/cpu/cpu.h"
#include "runtime/exec/exec.h"
#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"

/* Sums of a few hundred products of numbers about 1, in double, in two orders. */
static const double TOLERANCE = 1e-11;

typedef struct unit {
    const char *op, *activation;
    int64_t gates;
    int states; /* 2: h and c */
} unit;
static const unit units[] = {{"LSTMDirection", NULL, 4, 2},
                             {"GRUDirection", NULL, 3, 1},
                             {"RNNDirection", NULL, 1, 1},
                             {"RNNDirection", "Relu", 1, 1}};
enum { UNITS = sizeof units / sizeof *units };

/* Which of the things that may be there are, and in which order steps go. */
enum { BIAS = 1, LENS = 2, STATES = 4, REVERSE = 8, ALL = 16 };

typedef struct bench {
    og_graph *g;
    og_device *device;
    uint64_t seed;
} bench;

static bool bench_begin(bench *b, int threads, uint64_t seed)
{
    *b = (bench){og_graph_new(), og_cpu_device_new(threads), seed};
    return CHECK(b->g && b->device);
}

static void bench_end(bench *b)
{
    og_graph_free(b->g);
    if (b->device)
        b->device->destroy(b->device);
}

/* Uniform in (-1, 1). */
static double uniform(bench *b)
{
    b->seed = b->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(int64_t)(b->seed >> 11) * 0x1p-52 - 1;
}

static og_val random_of(bench *b, og_dtype dtype, int rank, const int64_t *dims)
{
    og_type t = og_type_make(OG_DOUBLE, rank, dims);
    int64_t n = og_type_elements(&t);
    double *data = og_arena_array(b->g->arena, (size_t)n + 1, sizeof *data);
    float *narrow = og_arena_array(b->g->arena, (size_t)n + 1, sizeof *narrow);
    for (int64_t k = 0; data && narrow && k < n; k++)
        narrow[k] = (float)(data[k] = uniform(b));
    t.dtype = dtype;
    return og_graph_add_const(b->g, "", &t, dtype == OG_FLOAT ? (void *)narrow : (void *)data);
}

/* 0 … T, both ends among them. */
static og_val random_lens(bench *b, int64_t T, int64_t B)
{
    og_type t = og_type_make(OG_INT32, 1, &B);
    int32_t *lens = og_arena_array(b->g->arena, (size_t)B + 1, sizeof *lens);
    for (int64_t k = 0; lens && k < B; k++)
        lens[k] = k == 0   ? (int32_t)T
                  : k == 1 ? 0
                           : (int32_t)(((uint64_t)(uniform(b) * 1e6 + 1e6)) % (uint64_t)(T + 1));
    return og_graph_add_const(b->g, "", &t, lens);
}

enum { INPUTS = 7, MOST_OUT = 5 };

static void direction_inputs(bench *b, const unit *u, og_dtype dtype, int which,
                             const int64_t *size, og_val *x)
{
    int64_t T = size[0], B = size[1], I = size[2], H = size[3], GH = u->gates * H;
    bool states = which & STATES;
    x[0] = random_of(b, dtype, 3, ((int64_t[]){T, B, I}));
    x[1] = random_of(b, dtype, 2, ((int64_t[]){GH, I}));
    x[2] = random_of(b, dtype, 2, ((int64_t[]){GH, H}));
    x[3] = which & BIAS ? random_of(b, dtype, 1, ((int64_t[]){2 * GH})) : OG_NONE;
    x[4] = which & LENS ? random_lens(b, T, B) : OG_NONE;
    x[5] = states ? random_of(b, dtype, 2, ((int64_t[]){B, H})) : OG_NONE;
    x[6] = states && u->states == 2 ? random_of(b, dtype, 2, ((int64_t[]){B, H})) : OG_NONE;
}

static og_node *direction_node(bench *b, const unit *u, int which, const og_val *x, int n_out)
{
    const og_op *op = og_op_find(OG_DOMAIN, u->op);
    int in[INPUTS], n_attrs = 0;
    og_attr *attrs = og_arena_array(b->g->arena, 2, sizeof *attrs);
    if (!CHECK(op && attrs))
        return NULL;
    attrs[n_attrs++] = I("reverse", (which & REVERSE) != 0);
    if (u->activation)
        attrs[n_attrs++] = S("activation", u->activation);
    for (int k = 0; k < INPUTS; k++)
        in[k] = Has(x[k]) ? x[k].id : -1;
    return og_graph_add_node(b->g, op, "n", in, u->states == 2 ? 7 : 6, n_out, attrs, n_attrs);
}

static bool fine(const bench *b)
{
    if (b->g->error.status != OG_OK)
        CHECK_STR(og_error_text(&b->g->error), "");
    return b->g->error.status == OG_OK;
}

static void run_from(bench *b, int first)
{
    og_evaluator e = og_eager_evaluator(b->device);
    int end = b->g->n_nodes;
    for (int i = first; i < end && b->g->error.status == OG_OK; i++)
        e.run(e.user, b->g, b->g->nodes[i]);
}

static void compare(const char *what, int which, og_val a, og_val definition)
{
    if (!CHECK(Has(a) == Has(definition)) || !Has(a) ||
        !CHECK(og_type_equal(og_type_of(a), og_type_of(definition))))
        return;
    for (int64_t k = 0, n = Count(a); k < n; k++) {
        double v = og_value_double(og_value_of(a), k);
        double w = og_value_double(og_value_of(definition), k);
        if (!CHECK(fabs(v - w) <= TOLERANCE * fmax(1, fabs(w)))) {
            printf("      %s %d [%lld]: %.17g, by the definition %.17g\n", what, which,
                   (long long)k, v, w);
            return;
        }
    }
}

/* Σ w y over y, h and c, the same weights for the same seed. */
static og_val weighted(bench *b, int n, const og_val *y)
{
    og_val loss = OG_NONE;
    b->seed = 99;
    for (int k = 0; k < n; k++) {
        og_val w = random_of(b, OG_DOUBLE, Rank(y[k]), og_type_of(y[k])->dims);
        og_val part = Reduce("ReduceSum", Mul(w, y[k]), 0, NULL, false);
        loss = Has(loss) ? Add(loss, part) : part;
    }
    return loss;
}

/* Gradients of the weighted sum of the first `n` outputs by x, absent ones left out. */
static void differentiate(bench *b, int n, const og_val *y, const og_val *x, og_val *dx)
{
    og_val of[INPUTS], d[INPUTS];
    int at[INPUTS] = {0}, count = 0;
    for (int k = 0; k < INPUTS; k++) {
        dx[k] = OG_NONE;
        if (Has(x[k]) && DType(x[k]) == OG_DOUBLE) {
            at[count] = k;
            of[count++] = x[k];
        }
    }
    og_val loss = weighted(b, n, y);
    og_autodiff(b->g, loss, One(loss), of, count, d);
    for (int k = 0; k < count; k++)
        dx[at[k]] = d[k];
}

static void compare_direction(const unit *u, int which, const int64_t *size, int n_loss)
{
    bench b;
    og_val x[INPUTS], rule[INPUTS], plain[INPUTS], y[MOST_OUT], z[MOST_OUT];
    char text[128];
    snprintf(text, sizeof text, "%s %s T %d B %d I %d H %d%s%s%s%s, loss of %d", u->op,
             u->activation ? u->activation : "", (int)size[0], (int)size[1], (int)size[2],
             (int)size[3], which & BIAS ? " bias" : "", which & LENS ? " lens" : "",
             which & STATES ? " states" : "", which & REVERSE ? " reverse" : "", n_loss);
    TEST_CASE(text);
    if (bench_begin(&b, 1, (uint64_t)which + 1)) {
        direction_inputs(&b, u, OG_DOUBLE, which, size, x);
        const og_op *op = og_op_find(OG_DOMAIN, u->op);
        int n_out = op->saved > 1 + u->states ? op->saved : 1 + u->states;
        og_node *n = direction_node(&b, u, which, x, n_out);
        if (n) {
            bool want[MOST_OUT] = {true, true, true, true, true};
            for (int k = 0; k < n->n_out; k++)
                y[k] = og_val_of(b.g, n->out[k]);
            og_expand e = {
                .g = b.g, .node = n, .nx = n->n_in, .ny = n->n_out, .x = x, .y = z, .want = want};
            op->expand(&e);
            differentiate(&b, n_loss, y, x, rule);
            differentiate(&b, n_loss, z, x, plain);
            run_from(&b, 0);
        }
        for (int k = 0; n && fine(&b) && k < n->n_out; k++)
            compare("output", k, y[k], z[k]);
        for (int k = 0; n && fine(&b) && k < INPUTS; k++)
            if (Has(plain[k])) /* the definition may find that nothing flows, where 0 flows */
                compare("gradient of input", k, rule[k], plain[k]);
    }
    bench_end(&b);
    TEST_CASE("");
}

TEST(directions_are_their_definitions)
{
    static const int64_t sizes[][4] = {{4, 3, 2, 3}, {1, 2, 3, 1}, {3, 50, 5, 17}};
    for (int u = 0; u < UNITS; u++)
        for (int which = 0; which < ALL; which++) {
            compare_direction(&units[u], which, sizes[0], 1 + units[u].states);
            compare_direction(&units[u], which, sizes[0], 1);
            compare_direction(&units[u], which, sizes[which & STATES ? 2 : 1], 1 + units[u].states);
        }
}

/* Only the last state is used, as classifiers of sequences do: no gradient comes through y. */
TEST(gradient_of_the_last_state_alone)
{
    for (int u = 0; u < UNITS; u++) {
        bench b;
        og_val x[INPUTS], dx[2][INPUTS];
        TEST_CASE(units[u].op);
        if (bench_begin(&b, 1, 5)) {
            direction_inputs(&b, &units[u], OG_DOUBLE, BIAS | LENS, (int64_t[]){5, 3, 2, 4}, x);
            const og_op *op = og_op_find(OG_DOMAIN, units[u].op);
            og_node *n =
                direction_node(&b, &units[u], BIAS | LENS, x, op->saved > 2 ? op->saved : 2);
            og_val z[MOST_OUT], h = n ? og_val_of(b.g, n->out[1]) : OG_NONE;
            bool want[MOST_OUT] = {true, true, true, true, true};
            if (n) {
                og_expand e = {.g = b.g,
                               .node = n,
                               .nx = n->n_in,
                               .ny = n->n_out,
                               .x = x,
                               .y = z,
                               .want = want};
                op->expand(&e);
                differentiate(&b, 1, &h, x, dx[0]);
                differentiate(&b, 1, &z[1], x, dx[1]);
                run_from(&b, 0);
            }
            for (int k = 0; n && fine(&b) && k < INPUTS; k++)
                compare("gradient of input", k, dx[0][k], dx[1][k]);
        }
        bench_end(&b);
    }
    TEST_CASE("");
}

/* The same bits from one thread and from three, in float. */
TEST(threads_change_nothing)
{
    for (int u = 0; u < UNITS; u++) {
        bench b[2];
        og_node *n[2] = {NULL, NULL};
        TEST_CASE(units[u].op);
        for (int k = 0; k < 2; k++) {
            og_val x[INPUTS], dy[3];
            if (!bench_begin(&b[k], k ? 3 : 1, 7))
                continue;
            direction_inputs(&b[k], &units[u], OG_FLOAT, BIAS | LENS | STATES,
                             (int64_t[]){9, 61, 40, 65}, x);
            n[k] = direction_node(&b[k], &units[u], BIAS | LENS | STATES, x,
                                  og_op_find(OG_DOMAIN, units[u].op)->saved);
            if (!n[k])
                continue;
            og_val y[MOST_OUT], dx[INPUTS] = {OG_NONE, OG_NONE, OG_NONE, OG_NONE};
            bool need[INPUTS] = {true, true, true, true, false, true, true};
            for (int j = 0; j < n[k]->n_out; j++) {
                y[j] = og_val_of(b[k].g, n[k]->out[j]);
                if (j < 3)
                    dy[j] = random_of(&b[k], OG_FLOAT, Rank(y[j]), og_type_of(y[j])->dims);
            }
            og_grad d = {.g = b[k].g,
                         .node = n[k],
                         .nx = n[k]->n_in,
                         .ny = n[k]->n_out,
                         .x = x,
                         .y = y,
                         .dy = dy,
                         .need = need,
                         .dx = dx};
            n[k]->op->grad(&d);
            run_from(&b[k], 0);
        }
        if (n[0] && n[1] && fine(&b[0]) && fine(&b[1]))
            for (int i = 0; i < b[0].g->n_values; i++) {
                const og_value *v = b[0].g->values[i], *w = b[1].g->values[i];
                CHECK(memcmp(v->data, w->data, (size_t)og_type_bytes(&v->type)) == 0);
            }
        bench_end(&b[0]);
        bench_end(&b[1]);
    }
    TEST_CASE("");
}

/* ---- in mixed precision */

/* Outputs of a direction and, by its rule, gradients of its inputs: wide with x, w and r of `half`,
 * or in double with the same numbers. */
typedef struct walked {
    og_val y[MOST_OUT], dx[INPUTS];
    int n_out;
} walked;

static og_val converted(og_val v, og_dtype dtype)
{
    return Has(v) && og_dtype_is_float(DType(v)) ? Cast(v, dtype) : v;
}

static walked walk_with_gradient(bench *b, const unit *u, int which, const og_val *x, bool wide)
{
    walked w = {.n_out = 0};
    char name[32];
    unit named = *u;
    snprintf(name, sizeof name, "Wide%s", u->op);
    named.op = wide ? name : u->op;
    int saved = og_op_find(OG_DOMAIN, u->op)->saved;
    og_node *n = direction_node(b, &named, which, x, saved > 1 + u->states ? saved : 1 + u->states);
    if (!n)
        return w;
    og_val dy[MOST_OUT];
    bool need[INPUTS];
    w.n_out = n->n_out;
    b->seed = 99;
    for (int k = 0; k < w.n_out; k++) {
        w.y[k] = og_val_of(b->g, n->out[k]);
        const og_type *t = og_type_of(w.y[k]);
        dy[k] = k < 1 + u->states
                    ? converted(random_of(b, OG_FLOAT, t->rank, t->dims), DType(w.y[k]))
                    : og_full(b->g, t, 0);
    }
    for (int k = 0; k < INPUTS; k++) {
        w.dx[k] = OG_NONE;
        need[k] = Has(x[k]) && DType(x[k]) != OG_INT32;
    }
    og_grad d = {.g = b->g,
                 .node = n,
                 .nx = n->n_in,
                 .ny = n->n_out,
                 .x = x,
                 .y = w.y,
                 .dy = dy,
                 .need = need,
                 .dx = w.dx};
    n->op->grad(&d);
    return w;
}

/* Largest difference, relative to the largest element, or 1. */
static double difference(og_val a, og_val b)
{
    double worst = 0, size = 1;
    for (int64_t k = 0, n = Count(a); k < n; k++) {
        double v = og_value_double(og_value_of(a), k), w = og_value_double(og_value_of(b), k);
        worst = v - w != v - w ? INFINITY : fmax(worst, fabs(v - w));
        size = fmax(size, fabs(w));
    }
    return worst / size;
}

/* bfloat16 has 8 bits, float16 11: a number is rounded by at most this part of it. The state is
 * rounded before its product, a sum of H such errors; they differ in sign, so that the outputs stay
 * within what they could add up to in one step. Gradients are rounded at every step: dxw before its
 * product, of 4 H. */
static void compare_wide(const unit *u, int which, og_dtype half, const int64_t *size)
{
    bench b;
    og_val x[INPUTS], narrow[INPUTS], exact[INPUTS];
    char text[128];
    snprintf(text, sizeof text, "%s %s %s H %d, %d", og_dtype_name(half), u->op,
             u->activation ? u->activation : "", (int)size[3], which);
    TEST_CASE(text);
    double bound = (half == OG_FLOAT16 ? 0x1p-11 : 0x1p-8) * (double)size[3];
    if (bench_begin(&b, 2, (uint64_t)which + 1)) {
        direction_inputs(&b, u, OG_FLOAT, which, size, x);
        for (int k = 0; k < INPUTS; k++) {
            if (k < 3)
                x[k] = Mul(x[k], Scalar(x[k], 0.5));
            narrow[k] = k < 3 ? converted(x[k], half) : x[k];
            exact[k] = converted(narrow[k], OG_DOUBLE);
        }
        walked wide = walk_with_gradient(&b, u, which, narrow, true);
        walked plain = walk_with_gradient(&b, u, which, exact, false);
        run_from(&b, 0);
        for (int k = 0; fine(&b) && k < wide.n_out; k++) {
            CHECK_INT(DType(wide.y[k]), OG_FLOAT);
            CHECK_CLOSE(difference(wide.y[k], plain.y[k]), 0, bound);
        }
        for (int k = 0; fine(&b) && k < INPUTS; k++)
            if (CHECK(Has(wide.dx[k]) == Has(plain.dx[k])) && Has(wide.dx[k])) {
                CHECK_INT(DType(wide.dx[k]), DType(narrow[k]));
                CHECK_CLOSE(difference(wide.dx[k], plain.dx[k]), 0, 4 * bound);
            }
    }
    bench_end(&b);
    TEST_CASE("");
}

TEST(wide_directions)
{
    static const int64_t sizes[][4] = {{4, 3, 2, 3}, {5, 20, 16, 8}};
    for (int u = 0; u < UNITS; u++)
        for (int which = 0; which < ALL; which++)
            for (int k = 0; k < 2; k++) {
                compare_wide(&units[u], which, OG_BFLOAT16, sizes[k]);
                compare_wide(&units[u], which, OG_FLOAT16, sizes[k]);
            }
}

/* ---- ONNX's ops */

/* A gradient step through both directions in reverse layout is that of the definitions of their
 * parts: what run_gradients holds against finite differences is small; here 70 steps are unrolled,
 * more than one Concat takes. */
TEST(many_steps_unroll)
{
    bench b;
    if (bench_begin(&b, 1, 3)) {
        int64_t T = 70, H = 2;
        og_val x = random_of(&b, OG_DOUBLE, 3, ((int64_t[]){T, 1, 3}));
        og_val w = random_of(&b, OG_DOUBLE, 3, ((int64_t[]){1, 3 * H, 3}));
        og_val r = random_of(&b, OG_DOUBLE, 3, ((int64_t[]){1, 3 * H, H}));
        og_val fast = Op("GRU", In(x, w, r), I("hidden_size", H), I("linear_before_reset", 1));
        og_val slow = Op("GRU", In(x, w, r), I("hidden_size", H), I("linear_before_reset", 1),
                         F("clip", 1e9)); /* never reached, and no usual cell */
        int nodes = b.g->n_nodes;
        run_from(&b, 0);
        CHECK(b.g->n_nodes > nodes + 70); /* the second was unrolled, the first was not */
        if (fine(&b))
            compare("Y", 0, fast, slow);
    }
    bench_end(&b);
}

typedef struct bad_case {
    int input; /* that has another type, -1: none */
    og_type type;
    const char *attr; /* another attribute, instead of hidden_size where that is its name */
    int64_t number;
    const char *string;
    const char *message;
} bad_case;

TEST(hostile_inputs)
{
    static const bad_case cases[] = {
        {0, {OG_FLOAT, 2, {5, 2}}, NULL, 0, NULL, "X (input 0) is float32 [5, 2], expected rank 3"},
        {0, {OG_FLOAT, 3, {0, 2, 3}}, NULL, 0, NULL, "no steps"},
        {0, {OG_INT64, 3, {5, 2, 3}}, NULL, 0, NULL, "expected a floating point type"},
        {1,
         {OG_FLOAT, 2, {16, 3}},
         NULL,
         0,
         NULL,
         "W (input 1) is float32 [16, 3], expected rank 3"},
        {1,
         {OG_FLOAT, 3, {1, 12, 3}},
         NULL,
         0,
         NULL,
         "W (input 1) is float32 [1, 12, 3], expected float32 [1, 16, 3]"},
        {1, {OG_FLOAT, 3, {1, 16, 4}}, NULL, 0, NULL, "columns of X"},
        {1, {OG_DOUBLE, 3, {1, 16, 3}}, NULL, 0, NULL, "expected float32 [1, 16, 3]"},
        {2, {OG_FLOAT, 3, {1, 16, 5}}, NULL, 0, NULL, "R (input 2) is float32 [1, 16, 5]"},
        {2, {OG_FLOAT, 3, {2, 16, 4}}, NULL, 0, NULL, "expected float32 [1, 16, 4]"},
        {3, {OG_FLOAT, 2, {1, 16}}, NULL, 0, NULL, "B (input 3) is float32 [1, 16], expected"},
        {4, {OG_INT64, 1, {2}}, NULL, 0, NULL, "expected int32"},
        {4, {OG_INT32, 1, {3}}, NULL, 0, NULL, "sequence_lens (input 4) is int32 [3]"},
        {5, {OG_FLOAT, 3, {2, 1, 4}}, NULL, 0, NULL, "initial_h (input 5)"},
        {6, {OG_FLOAT, 2, {2, 4}}, NULL, 0, NULL, "initial_c (input 6)"},
        {7, {OG_FLOAT, 2, {1, 16}}, NULL, 0, NULL, "P (input 7)"},
        {-1, {0}, "hidden_size", -1, NULL, "attribute hidden_size is missing"},
        {-1, {0}, "hidden_size", 0, NULL, "hidden_size is 0"},
        {-1, {0}, "hidden_size", INT64_MAX / 2, NULL, "hidden_size is"},
        {-1, {0}, "hidden_size", 5, NULL, "expected float32 [1, 20, 3]"},
        {-1, {0}, "direction", 0, "sideways", "direction is \"sideways\""},
        {-1, {0}, "direction", 0, "bidirectional", "expected float32 [2, 16, 3]"},
        {-1, {0}, "layout", 2, NULL, "layout is 2"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const bad_case *c = &cases[k];
        og_type types[8] = {{OG_FLOAT, 3, {5, 2, 3}},  {OG_FLOAT, 3, {1, 16, 3}},
                            {OG_FLOAT, 3, {1, 16, 4}}, {OG_FLOAT, 2, {1, 32}},
                            {OG_INT32, 1, {2}},        {OG_FLOAT, 3, {1, 2, 4}},
                            {OG_FLOAT, 3, {1, 2, 4}},  {OG_FLOAT, 2, {1, 12}}};
        og_attr attrs[2] = {I("hidden_size", 4)};
        int in[8], n_attrs = 1;
        og_graph *g = og_graph_new();
        REQUIRE(g);
        TEST_CASE(c->message);
        if (c->input >= 0)
            types[c->input] = c->type;
        for (int i = 0; i < 8; i++)
            in[i] = og_graph_add_input(g, "x", &types[i]).id;
        if (c->attr && strcmp(c->attr, "hidden_size") == 0)
            n_attrs = c->number < 0 ? 0 : (attrs[0].i = c->number, 1);
        else if (c->attr)
            attrs[n_attrs++] = c->string ? S(c->attr, c->string) : I(c->attr, c->number);
        CHECK(!og_graph_add_node(g, og_op_find("", "LSTM"), "cells", in, 8, 3, attrs, n_attrs));
        CHECK_TEXT(og_error_text(&g->error), "LSTM \"cells\"");
        CHECK_TEXT(og_error_text(&g->error), c->message);
        og_graph_free(g);
    }
    TEST_CASE("");
}

/* A length that is no length: known when the model is read, or not before it runs. */
TEST(lengths_out_of_range)
{
    static const int32_t bad[][2] = {{6, 1}, {2, -1}};
    for (int k = 0; k < 4; k++) {
        bench b;
        if (!bench_begin(&b, 1, 3))
            continue;
        og_type t = og_type_make(OG_INT32, 1, (int64_t[]){2});
        og_val x = random_of(&b, OG_FLOAT, 3, ((int64_t[]){5, 2, 3}));
        og_val w = random_of(&b, OG_FLOAT, 3, ((int64_t[]){1, 4, 3}));
        og_val r = random_of(&b, OG_FLOAT, 3, ((int64_t[]){1, 4, 4}));
        og_val lens = k < 2 ? og_const_copy(b.g, &t, bad[k]) : og_graph_add_input(b.g, "l", &t);
        og_val y = Op("RNN", In(x, w, r, OG_NONE, lens), I("hidden_size", 4));
        CHECK_INT(Has(y), k >= 2);
        if (k >= 2) {
            og_value_of(lens)->kind = OG_VALUE_CONST;
            og_value_of(lens)->data = bad[k - 2];
            run_from(&b, 0);
        }
        CHECK_TEXT(og_error_text(&b.g->error), "sequence_lens [");
        CHECK_TEXT(og_error_text(&b.g->error), "expected 0 to 5");
        CHECK_TEXT(og_error_text(&b.g->error), "RNN");
        bench_end(&b);
    }
}

/* What passes put in for a device, given what it is not made for. */
TEST(wholes_that_are_none)
{
    const og_type x = og_type_make(OG_FLOAT, 3, (int64_t[]){5, 2, 3}),
                  w = og_type_make(OG_FLOAT, 2, (int64_t[]){16, 3}),
                  r = og_type_make(OG_FLOAT, 2, (int64_t[]){16, 4}),
                  lens = og_type_make(OG_INT32, 1, (int64_t[]){2}),
                  y = og_type_make(OG_FLOAT, 3, (int64_t[]){5, 2, 4}),
                  reserve = og_type_make(OG_UINT8, 1, (int64_t[]){7});
    static const struct {
        bool grad, lens, y, reserve;
        int64_t bytes;
        const char *message;
    } cases[] = {
        {false, false, false, false, -1, "reserve_bytes is -1, expected 0 or more"},
        {false, true, false, false, 7, "sequence_lens (input 4) is there: sequences are whole"},
        {true, false, false, true, 7, "y or the reserve (inputs 7 and 11) is absent"},
        {true, false, true, false, 7, "y or the reserve (inputs 7 and 11) is absent"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        og_graph *g = og_graph_new();
        REQUIRE(g);
        TEST_CASE(cases[k].message);
        og_val in[12] = {og_graph_add_input(g, "x", &x), og_graph_add_input(g, "w", &w),
                         og_graph_add_input(g, "r", &r)};
        for (int i = 3; i < 12; i++)
            in[i] = OG_NONE;
        if (cases[k].lens)
            in[4] = og_graph_add_input(g, "lens", &lens);
        if (cases[k].y)
            in[7] = og_graph_add_input(g, "y", &y);
        if (cases[k].reserve)
            in[11] = og_graph_add_input(g, "reserve", &reserve);
        if (cases[k].grad)
            Ops("ai.ongrad::LSTMWholeGrad", 7, ((og_vals){12, in}));
        else
            Ops("ai.ongrad::LSTMWhole", 4, ((og_vals){7, in}), I("reserve_bytes", cases[k].bytes));
        CHECK_TEXT(og_error_text(&g->error), cases[k].message);
        og_graph_free(g);
    }
    TEST_CASE("");
}

/* An export with a literal batch of 1 writes initial states of that batch: zeros hold for any. */
TEST(baked_initial_states)
{
    for (int zero = 0; zero < 2; zero++) {
        bench b;
        if (!bench_begin(&b, 1, 4))
            continue;
        static const float states[2][4] = {{0, 0, 0, 1}, {0}};
        og_type t = og_type_make(OG_FLOAT, 3, (int64_t[]){1, 1, 4});
        og_val x = random_of(&b, OG_FLOAT, 3, ((int64_t[]){5, 2, 3}));
        og_val w = random_of(&b, OG_FLOAT, 3, ((int64_t[]){1, 4, 3}));
        og_val r = random_of(&b, OG_FLOAT, 3, ((int64_t[]){1, 4, 4}));
        og_val h0 = og_const_copy(b.g, &t, states[zero]);
        og_val y = Op("RNN", In(x, w, r, OG_NONE, OG_NONE, h0), I("hidden_size", 4));
        og_val z = Op("RNN", In(x, w, r), I("hidden_size", 4));
        CHECK_INT(Has(y), zero);
        if (zero) {
            run_from(&b, 0);
            if (fine(&b))
                compare("Y", 0, y, z);
        } else {
            CHECK_TEXT(og_error_text(&b.g->error),
                       "initial_h (input 5) is float32 [1, 1, 4], expected float32 [1, 2, 4]");
        }
        bench_end(&b);
    }
}

static const og_test tests[] = {
    TEST_ROW(directions_are_their_definitions),
    TEST_ROW(gradient_of_the_last_state_alone),
    TEST_ROW(threads_change_nothing),
    TEST_ROW(wide_directions),
    TEST_ROW(many_steps_unroll),
    TEST_ROW(baked_initial_states),
    TEST_ROW(hostile_inputs),
    TEST_ROW(lengths_out_of_range),
    TEST_ROW(wholes_that_are_none),
};
TEST_MAIN(tests)
