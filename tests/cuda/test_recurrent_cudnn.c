/* LSTMWhole, GRUWhole, RNNWhole and their gradients on the card, against the processor's Direction
 * ops and the products that follow them. */
#include "tests/cuda/recurrent.h"

/* As LSTMWholeGrad and the others list them. */
enum { IN_Y = 7, IN_DY, IN_DH, IN_DC, IN_RESERVE, INPUTS };
enum { DX, DW, DR, DB, DH0, DC0, SPENT, OUTPUTS };

/* Runs c by the card's kernel for it, into c's outputs. in_place: the last output lies where the
 * last input does. */
static bool card_runs(og_device *d, kernel_call *c, bool in_place)
{
    og_error error = {0};
    kernel_node n;
    og_tensor x[CALL_MAX], y[CALL_MAX];
    on_card px[CALL_MAX] = {0}, py[CALL_MAX] = {0};
    test_node(&n, c);
    memcpy(x, c->x, sizeof x);
    memcpy(y, c->y, sizeof y);
    for (int i = 0; i < c->nx; i++)
        x[i].data = NULL;
    og_call call = {.node = &n.node, .device = d, .nx = c->nx, .ny = c->ny, .x = x, .y = y};
    const og_kernel *kernel = og_device_kernel(d, &call, false);
    if (!CHECK(kernel != NULL) || !CHECK_STR(kernel->name, "cuDNN") ||
        !GOES(kernel->prepare(&call, &error)))
        return false;
    bool ok = true;
    for (int i = 0; i < c->nx; i++) {
        x[i].data = c->x[i].data;
        ok = ok && (x[i].data == NULL || place_on_card(d, &x[i], true, 0, &px[i]));
    }
    for (int i = 0; i < c->ny; i++)
        ok = ok && place_on_card(d, &y[i], false, 0, &py[i]);
    if (in_place)
        y[c->ny - 1].data = x[c->nx - 1].data;
    call.workspace = d->alloc(d, call.workspace_bytes);
    ok = ok && GOES(kernel->run(&call, &error));
    for (int i = 0; ok && i < c->ny; i++)
        ok = GOES(d->remote->download(d, c->y[i].data, y[i].data, py[i].range.bytes, &error));
    kernel->release(&call);
    for (int i = 0; i < c->nx; i++)
        d->free(d, px[i].memory, 0);
    for (int i = 0; i < c->ny; i++)
        d->free(d, py[i].memory, 0);
    d->free(d, call.workspace, call.workspace_bytes);
    return ok;
}

/* ---- the processor's way back, whole */

/* da [T, B, GH]: the gradient of what v [T, B, n] is multiplied with: dm [GH, n] = Σ daᵀ v. */
static void add_weights(const og_tensor *da, const og_tensor *v, int64_t rows, int64_t n,
                        og_tensor *dm)
{
    int64_t GH = dm->type.dims[0];
    double *sums = calloc((size_t)(GH * n), sizeof *sums);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t g = 0; g < GH; g++)
            for (int64_t i = 0; i < n; i++)
                sums[g * n + i] += test_element(da, row * GH + g) * test_element(v, row * n + i);
    for (int64_t i = 0; i < GH * n; i++)
        og__store_double(dm->data, dm->type.dtype, i, sums[i]);
    free(sums);
}

static void sum_rows(const og_tensor *da, int64_t rows, int64_t GH, float *sums)
{
    for (int64_t g = 0; g < GH; g++) {
        double sum = 0;
        for (int64_t row = 0; row < rows; row++)
            sum += test_element(da, row * GH + g);
        sums[g] = (float)sum;
    }
}

/* y of the step that each step follows, h0 before the first: [T, B, H] */
static og_tensor states_before(const kernel_call *walk, int which, sizes s, og_dtype dtype)
{
    og_tensor before = test_tensor(dtype, 3, (int64_t[]){s.T, s.B, s.H});
    for (int64_t t = 0; t < s.T; t++) {
        int64_t from = which & REVERSE ? t + 1 : t - 1;
        for (int64_t i = 0; i < s.B * s.H; i++) {
            double v = from >= 0 && from < s.T ? test_element(&walk->y[0], from * s.B * s.H + i)
                       : walk->x[5].data       ? test_element(&walk->x[5], i)
                                               : 0;
            og__store_double(before.data, dtype, t * s.B * s.H + i, v);
        }
    }
    return before;
}

/* dx, dw, dr, db, dh0, dc0 from what the Direction's gradient gives. */
static void whole_of(const unit *u, const kernel_call *walk, const kernel_call *back, int which,
                     sizes s, kernel_call *whole)
{
    const og_tensor *dxw = &back->y[0], *dhr = u->gates == 3 ? &back->y[1] : dxw;
    int64_t rows = s.T * s.B, GH = u->gates * s.H;
    og_dtype dtype = walk->x[0].type.dtype;
    og_tensor before = states_before(walk, which, s, dtype);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t i = 0; i < s.I; i++) {
            double sum = 0;
            for (int64_t g = 0; g < GH; g++)
                sum += test_element(dxw, row * GH + g) * test_element(&walk->x[1], g * s.I + i);
            og__store_double(whole->y[DX].data, dtype, row * s.I + i, sum);
        }
    add_weights(dxw, &walk->x[0], rows, s.I, &whole->y[DW]);
    add_weights(dhr, &before, rows, s.H, &whole->y[DR]);
    memset(whole->y[DB].data, 0, (size_t)(2 * GH) * sizeof(float));
    if (which & BIAS) {
        sum_rows(dxw, rows, GH, whole->y[DB].data);
        sum_rows(dhr, rows, GH, (float *)whole->y[DB].data + GH);
    }
    for (int k = 0; which & STATES && k < u->states; k++)
        memcpy(whole->y[DH0 + k].data, back->y[(u->gates == 3 ? 2 : 1) + k].data,
               (size_t)(s.B * s.H) * sizeof(float));
    free(before.data);
}

/* ---- both ways */

/* Gradients are sums of many rounded products: of half ones what is tiny beside the largest. */
static void compare_gradients(const kernel_call *want, const kernel_call *got, int which,
                              const unit *u, og_dtype dtype)
{
    for (int k = DX; k < SPENT; k++) {
        closeness close = close_of(dtype);
        double most = 0;
        if (k >= DH0 && (!(which & STATES) || k - DH0 >= u->states))
            continue;
        for (int64_t e = 0; e < og__elements(&want->y[k]); e++)
            most = fmax(most, fabs(test_element(&want->y[k], e)));
        close.tiny += dtype == OG_FLOAT ? 0 : close.relative * most;
        compare(&want->y[k], &got->y[k], close);
    }
}

static void gradient_outputs(const kernel_call *walk, og_dtype dtype, sizes s, int64_t GH,
                             int64_t reserve, kernel_call *c)
{
    c->ny = OUTPUTS;
    c->y[DX] = test_tensor(dtype, 3, walk->x[0].type.dims);
    c->y[DW] = test_tensor(dtype, 2, walk->x[1].type.dims);
    c->y[DR] = test_tensor(dtype, 2, walk->x[2].type.dims);
    c->y[DB] = test_tensor(OG_FLOAT, 1, (int64_t[]){2 * GH});
    c->y[DH0] = test_tensor(OG_FLOAT, 2, (int64_t[]){s.B, s.H});
    c->y[DC0] = test_tensor(OG_FLOAT, 2, (int64_t[]){s.B, s.H});
    c->y[SPENT] = test_tensor(OG_UINT8, 1, &reserve);
}

/* The way back of `whole`, which the card has run; `with_dy`: y is read, not the last states alone.
 */
static void compare_back(og_device *d, const unit *u, const char *op, og_dtype dtype, int which,
                         sizes s, const kernel_call *walk, const kernel_call *whole, uint64_t *seed,
                         bool with_dy)
{
    char name[80], direction[80];
    int kept, own;
    snprintf(direction, sizeof direction, "%sDirectionGrad", op);
    snprintf(name, sizeof name, "%sWholeGrad", op);
    kernel_call back = back_of(u, direction, dtype, which, s, walk, seed, &kept, &own);
    kernel_call c = {.op = name, .nx = INPUTS}, want = {.ny = 0};
    og_tensor dy = back.x[kept];
    if (!with_dy)
        back.x[kept] = (og_tensor){.data = NULL};
    c.n_attrs = attrs_of(u, which, c.attrs);
    memcpy(c.x, walk->x, sizeof(og_tensor) * (size_t)walk->nx);
    c.x[IN_Y] = whole->y[0];
    for (int k = 0; k <= u->states; k++)
        c.x[IN_DY + k] = back.x[kept + k];
    c.x[IN_RESERVE] = whole->y[whole->ny - 1];
    gradient_outputs(walk, dtype, s, u->gates * s.H, og__elements(&c.x[IN_RESERVE]), &c);
    gradient_outputs(walk, dtype, s, u->gates * s.H, 0, &want);
    if (test_run(&back)) {
        whole_of(u, walk, &back, which, s, &want);
        if (card_runs(d, &c, false)) /* the reserve stays for … */
            compare_gradients(&want, &c, which, u, dtype);
        if (card_runs(d, &c, true)) /* … this one */
            compare_gradients(&want, &c, which, u, dtype);
    }
    back.x[kept] = dy;
    for (int k = kept; k < own; k++)
        free(back.x[k].data);
    free_outputs(&back);
    free_outputs(&c);
    free_outputs(&want);
}

static void compare_whole(og_device *d, const unit *u, og_dtype dtype, int which, sizes s)
{
    char text[160], op[64], direction[80], name[80];
    uint64_t seed = (uint64_t)(which + 100 * s.H);
    snprintf(op, sizeof op, "ai.ongrad::%s%s", dtype == OG_FLOAT ? "" : "Wide", u->name);
    snprintf(direction, sizeof direction, "%sDirection", op);
    snprintf(name, sizeof name, "%sWhole", op);
    snprintf(text, sizeof text, "%s, %s, %s,%s%s%s T %d B %d I %d H %d", name,
             u->activation ? u->activation : "-", og_dtype_name(dtype), which & BIAS ? " bias" : "",
             which & STATES ? " states" : "", which & REVERSE ? " reverse" : "", (int)s.T, (int)s.B,
             (int)s.I, (int)s.H);
    TEST_CASE(text);
    kernel_call c = walk_of(u, direction, dtype, which, s, &seed), whole = c;
    kernel_node n;
    outputs_of(u, s, AND_SAVED, &c);
    whole.op = name;
    outputs_of(u, s, AND_STATES, &whole);
    test_node(&n, &whole);
    og_call call = {.node = &n.node, .device = d, .nx = whole.nx, .x = whole.x};
    const og_kernel *kernel = og_device_kernel(d, &call, false);
    if (CHECK(kernel && kernel->reserve_bytes)) {
        int64_t bytes = (int64_t)kernel->reserve_bytes(&call);
        whole.y[whole.ny++] = test_tensor(OG_UINT8, 1, &bytes);
        if (CHECK(bytes > 0) && test_run(&c) && card_runs(d, &whole, false)) {
            for (int k = 0; k <= u->states; k++)
                compare(&c.y[k], &whole.y[k], close_of(dtype));
            compare_back(d, u, op, dtype, which, s, &c, &whole, &seed, true);
            if (which & STATES)
                compare_back(d, u, op, dtype, which, s, &c, &whole, &seed, false);
        }
    }
    free_outputs(&whole);
    test_free_tensors(&c);
}

TEST(whole_ways)
{
    static const sizes all[] = {{5, 3, 4, 7}, {1, 1, 1, 1}, {3, 2, 9, 16}};
    og_device *d = open_device(1);
    d->options.allow_tf32 = false;
    for (int u = 0; u < UNITS; u++)
        for (int which = 0; which < ALL; which++)
            if (!(which & LENS))
                for (int i = 0; i < 3; i++)
                    compare_whole(d, &units[u], OG_FLOAT, which, all[i]);
    close_device(d);
}

TEST(half_operands)
{
    static const int choices[] = {0, BIAS | STATES, BIAS | STATES | REVERSE};
    og_device *d = open_device(2);
    for (int u = 0; u < UNITS; u++)
        for (int i = 0; i < 3; i++) {
            compare_whole(d, &units[u], OG_FLOAT16, choices[i], (sizes){4, 3, 5, 8});
            compare_whole(d, &units[u], OG_BFLOAT16, choices[i], (sizes){4, 3, 5, 7});
        }
    close_device(d);
}

/* What cuDNN does not do has no kernel as a whole: sequences of different lengths, float64, and all
 * where the same bits are wanted. */
TEST(what_is_left_to_steps)
{
    og_device *d = open_device(3);
    uint64_t seed = 1;
    const sizes s = {3, 2, 4, 5};
    kernel_call c = walk_of(&units[0], "ai.ongrad::LSTMWhole", OG_FLOAT, LENS, s, &seed);
    kernel_node n;
    test_node(&n, &c);
    og_call call = {.node = &n.node, .device = d, .nx = c.nx, .x = c.x};
    CHECK(!og_device_kernel(d, &call, false));
    c.x[4].type.dtype = OG_UNDEFINED;
    CHECK(og_device_kernel(d, &call, false) != NULL);
    d->options.deterministic = true;
    CHECK(!og_device_kernel(d, &call, false));
    d->options.deterministic = false;
    for (int i = 0; i < 3; i++)
        c.x[i].type.dtype = OG_DOUBLE;
    CHECK(!og_device_kernel(d, &call, false));
    test_free_tensors(&c);
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(whole_ways), TEST_ROW(half_operands),
                                TEST_ROW(what_is_left_to_steps)};
TEST_MAIN(tests)
