/* LSTM, GRU and RNN of the card against the processor's: with and without all that may be there,
 * both ways, in float32 and with half operands. */
#include "tests/cuda/call.h"

/* Sums in another order, over a few steps; states and gradients are rounded to half for products.
 */
static const closeness close_float = {2e-5, 2e-6}, close_half = {1e-2, 2e-3},
                       close_bfloat = {5e-2, 1e-2};

enum { BIAS = 1, LENS = 2, STATES = 4, REVERSE = 8, ALL = 16 };

typedef struct unit {
    const char *name, *activation;
    int64_t gates;
    int states; /* 2: h and c */
} unit;
static const unit units[] = {
    {"LSTM", NULL, 4, 2}, {"GRU", NULL, 3, 1}, {"RNN", NULL, 1, 1}, {"RNN", "Relu", 1, 1}};
enum { UNITS = sizeof units / sizeof *units };

typedef struct sizes {
    int64_t T, B, I, H;
} sizes;

static closeness close_of(og_dtype dtype)
{
    return dtype == OG_FLOAT ? close_float : dtype == OG_FLOAT16 ? close_half : close_bfloat;
}

static int attrs_of(const unit *u, int which, og_attr *attrs)
{
    attrs[0] = (og_attr){.name = "reverse", .kind = OG_ATTR_INT, .i = (which & REVERSE) != 0};
    attrs[1] = (og_attr){.name = "activation", .kind = OG_ATTR_STRING, .s = u->activation};
    return u->activation ? 2 : 1;
}

static og_tensor lens_of(sizes s)
{
    og_tensor lens = test_tensor(OG_INT32, 1, &s.B);
    for (int64_t b = 0; b < s.B; b++)
        ((int32_t *)lens.data)[b] = (int32_t)(b == 0 ? s.T : (b * 5 + 2) % (s.T + 1));
    return lens;
}

/* x, w, r, b, lens, h0, c0 */
static kernel_call walk_of(const unit *u, const char *op, og_dtype dtype, int which, sizes s,
                           uint64_t *seed)
{
    int64_t GH = u->gates * s.H;
    kernel_call c = {.op = op, .nx = u->states == 2 ? 7 : 6};
    c.n_attrs = attrs_of(u, which, c.attrs);
    c.x[0] = test_filled(dtype, 3, (int64_t[]){s.T, s.B, s.I}, seed);
    c.x[1] = test_filled(dtype, 2, (int64_t[]){GH, s.I}, seed);
    c.x[2] = test_filled(dtype, 2, (int64_t[]){GH, s.H}, seed);
    for (int64_t i = 0; i < GH * s.H; i++) /* states stay about 1 */
        og__store_double(c.x[2].data, dtype, i, test_element(&c.x[2], i) / sqrt((double)s.H));
    if (which & BIAS)
        c.x[3] = test_filled(OG_FLOAT, 1, (int64_t[]){2 * GH}, seed);
    if (which & LENS)
        c.x[4] = lens_of(s);
    for (int k = 0; which & STATES && k < u->states; k++)
        c.x[5 + k] = test_filled(OG_FLOAT, 2, (int64_t[]){s.B, s.H}, seed);
    return c;
}

static void outputs_of(const unit *u, sizes s, bool all, kernel_call *c)
{
    c->y[0] = test_tensor(OG_FLOAT, 3, (int64_t[]){s.T, s.B, s.H});
    c->ny = 1;
    if (!all)
        return;
    for (int k = 0; k < u->states; k++)
        c->y[c->ny++] = test_tensor(OG_FLOAT, 2, (int64_t[]){s.B, s.H});
    if (u->gates > 1)
        c->y[c->ny++] = test_tensor(OG_FLOAT, 3, (int64_t[]){s.T, s.B, 4 * s.H});
    if (u->states == 2)
        c->y[c->ny++] = test_tensor(OG_FLOAT, 3, (int64_t[]){s.T, s.B, s.H});
}

/* The walk back, by what the walk left. Its tensors from the walk are the walk's own. */
static void compare_back(og_device *d, const unit *u, const char *op, og_dtype dtype, int which,
                         sizes s, const kernel_call *walk, uint64_t *seed)
{
    const int64_t three[] = {s.T, s.B, s.H}, two[] = {s.B, s.H}, out[] = {s.T, s.B, u->gates * s.H};
    bool lstm = u->states == 2, states = which & STATES;
    kernel_call c = {.op = op};
    int n = 0;
    c.n_attrs = attrs_of(u, which, c.attrs);
    c.x[n++] = walk->x[2];
    if (u->gates > 1)
        c.x[n++] = walk->y[lstm ? 3 : 2];
    c.x[n++] = walk->y[lstm ? 4 : 0];
    const int kept = n; /* before it: the walk's */
    c.x[n++] = test_filled(OG_FLOAT, 3, three, seed);
    for (int k = 0; k < u->states; k++, n++)
        if (states)
            c.x[n] = test_filled(OG_FLOAT, 2, two, seed);
    const int own = n;
    c.x[n++] = walk->x[4];
    if (u->gates > 1)
        c.x[n++] = walk->x[lstm ? 6 : 5];
    c.nx = n;
    c.y[c.ny++] = test_tensor(dtype, 3, out);
    if (u->gates == 3)
        c.y[c.ny++] = test_tensor(dtype, 3, out);
    for (int k = 0; states && k < u->states; k++)
        c.y[c.ny++] = test_tensor(OG_FLOAT, 2, two);
    same_on_card(d, &c, "steps", s.H % 2 != 0, 0, close_of(dtype));
    for (int k = kept; k < own; k++)
        free(c.x[k].data);
    for (int k = 0; k < c.ny; k++)
        free(c.y[k].data);
}

static void compare_unit(og_device *d, const unit *u, og_dtype dtype, int which, sizes s)
{
    char text[160], op[64], back[80];
    uint64_t seed = (uint64_t)(which + 100 * s.H);
    snprintf(op, sizeof op, "ai.ongrad::%s%sDirection", dtype == OG_FLOAT ? "" : "Wide", u->name);
    snprintf(back, sizeof back, "%sGrad", op);
    snprintf(text, sizeof text, "%s, %s, %s,%s%s%s%s T %d B %d I %d H %d", op,
             u->activation ? u->activation : "-", og_dtype_name(dtype), which & BIAS ? " bias" : "",
             which & LENS ? " lens" : "", which & STATES ? " states" : "",
             which & REVERSE ? " reverse" : "", (int)s.T, (int)s.B, (int)s.I, (int)s.H);
    TEST_CASE(text);
    kernel_call c = walk_of(u, op, dtype, which, s, &seed);
    outputs_of(u, s, true, &c);
    if (same_on_card(d, &c, "steps", s.H % 2 != 0, 0, close_of(dtype)))
        compare_back(d, u, back, dtype, which, s, &c, &seed);
    kernel_call alone = c; /* nothing is kept */
    outputs_of(u, s, false, &alone);
    same_on_card(d, &alone, "steps", 0, 0, close_of(dtype));
    free(alone.y[0].data);
    test_free_tensors(&c);
}

TEST(all_that_may_be_there)
{
    og_device *d = open_device(1);
    d->options.allow_tf32 = false;
    for (int u = 0; u < UNITS; u++)
        for (int which = 0; which < ALL; which++)
            compare_unit(d, &units[u], OG_FLOAT, which, (sizes){5, 3, 4, 7});
    close_device(d);
}

TEST(sizes_of_models)
{
    static const sizes all[] = {{1, 1, 1, 1}, {3, 1, 2, 130}, {2, 33, 5, 8}, {4, 9, 3, 64}};
    og_device *d = open_device(2);
    d->options.allow_tf32 = false;
    for (int u = 0; u < UNITS; u++)
        for (int i = 0; i < 4; i++)
            compare_unit(d, &units[u], OG_FLOAT, BIAS | STATES, all[i]);
    close_device(d);
}

TEST(half_operands)
{
    static const int choices[] = {0, BIAS | STATES, BIAS | LENS | STATES | REVERSE};
    og_device *d = open_device(3);
    for (int u = 0; u < UNITS; u++)
        for (int i = 0; i < 3; i++) {
            compare_unit(d, &units[u], OG_FLOAT16, choices[i], (sizes){4, 3, 5, 8});
            compare_unit(d, &units[u], OG_BFLOAT16, choices[i], (sizes){4, 3, 5, 7});
        }
    close_device(d);
}

/* What comes out shows it, and whoever waits hears the processor's words of the first one. */
TEST(a_length_that_is_none)
{
    const sizes s = {3, 3, 2, 4};
    og_device *d = open_device(4);
    d->options.allow_tf32 = false;
    for (int u = 0; u < UNITS; u++) {
        char op[64], text[128];
        uint64_t seed = 5;
        snprintf(op, sizeof op, "ai.ongrad::%sDirection", units[u].name);
        TEST_CASE(op);
        kernel_call c = walk_of(&units[u], op, OG_FLOAT, LENS, s, &seed);
        outputs_of(&units[u], s, false, &c);
        ((int32_t *)c.x[4].data)[1] = ((int32_t *)c.x[4].data)[2] = 3;
        test_run(&c);
        ((int32_t *)c.x[4].data)[1] = -1;
        ((int32_t *)c.x[4].data)[2] = 4;
        for (int64_t i = 0; i < og__elements(&c.y[0]); i++)
            if (i / s.H % s.B != 0)
                ((float *)c.y[0].data)[i] = NAN;
        snprintf(text, sizeof text,
                 "%sDirection \"n\": sequence_lens [1] is -1, expected 0 to 3 (steps)",
                 units[u].name);
        run_on_card(d, &c, "steps", 0, 0, close_float, text);
        test_free_tensors(&c);
    }
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(all_that_may_be_there), TEST_ROW(sizes_of_models),
                                TEST_ROW(half_operands), TEST_ROW(a_length_that_is_none)};
TEST_MAIN(tests)
