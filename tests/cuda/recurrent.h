/* What tests of recurrences share: the units, and calls of one direction with what may be there. */
#ifndef OG_TESTS_CUDA_RECURRENT_H
#define OG_TESTS_CUDA_RECURRENT_H

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

/* y, the last states, and what gradients read. */
enum { JUST_Y, AND_STATES, AND_SAVED };
static void outputs_of(const unit *u, sizes s, int how, kernel_call *c)
{
    c->y[0] = test_tensor(OG_FLOAT, 3, (int64_t[]){s.T, s.B, s.H});
    c->ny = 1;
    for (int k = 0; how >= AND_STATES && k < u->states; k++)
        c->y[c->ny++] = test_tensor(OG_FLOAT, 2, (int64_t[]){s.B, s.H});
    if (how == AND_SAVED && u->gates > 1)
        c->y[c->ny++] = test_tensor(OG_FLOAT, 3, (int64_t[]){s.T, s.B, 4 * s.H});
    if (how == AND_SAVED && u->states == 2)
        c->y[c->ny++] = test_tensor(OG_FLOAT, 3, (int64_t[]){s.T, s.B, s.H});
}

static void free_outputs(kernel_call *c)
{
    for (int k = 0; k < c->ny; k++)
        free(c->y[k].data);
}

/* The way back by the Direction's gradient, of what `walk` left with all outputs. Inputs from
 * `*kept` on to `*own` are its own, as are its outputs. */
static kernel_call back_of(const unit *u, const char *op, og_dtype dtype, int which, sizes s,
                           const kernel_call *walk, uint64_t *seed, int *kept, int *own)
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
    *kept = n;
    c.x[n++] = test_filled(OG_FLOAT, 3, three, seed);
    for (int k = 0; k < u->states; k++, n++)
        if (states)
            c.x[n] = test_filled(OG_FLOAT, 2, two, seed);
    *own = n;
    c.x[n++] = walk->x[4];
    if (u->gates > 1)
        c.x[n++] = walk->x[lstm ? 6 : 5];
    c.nx = n;
    c.y[c.ny++] = test_tensor(dtype, 3, out);
    if (u->gates == 3)
        c.y[c.ny++] = test_tensor(dtype, 3, out);
    for (int k = 0; states && k < u->states; k++)
        c.y[c.ny++] = test_tensor(OG_FLOAT, 2, two);
    return c;
}

#endif
