/* One call on the CUDA device, held against the same on the processor. */
#ifndef OG_TESTS_CUDA_CALL_H
#define OG_TESTS_CUDA_CALL_H

#include "tests/cuda/open.h"
#include "tests/kernels/call.h"

/* On the card, between other memory: `shift` elements behind a multiple of 256 bytes. */
typedef struct on_card {
    og_cuda_range range; /* of the host's tensor */
    char *memory;
    size_t shift;
} on_card;

__attribute__((unused)) static bool place_on_card(og_device *d, og_tensor *t, bool upload,
                                                  int shift, on_card *place)
{
    og_error error = {0};
    place->range = og__cuda_range(t, false);
    place->shift = (size_t)shift * og__size(t->type.dtype);
    place->memory = d->alloc(d, place->range.bytes + place->shift);
    if (!CHECK(place->memory != NULL) ||
        (upload && !GOES(d->remote->upload(d, place->memory + place->shift, place->range.at,
                                           place->range.bytes, &error))))
        return false;
    t->data =
        place->memory + place->shift + ((const char *)t->data - (const char *)place->range.at);
    return true;
}

/* Is the value the expected one, but for `relative` of it and `tiny`? */
static bool near(double got, double want, double relative, double tiny)
{
    if (isnan(got) || isnan(want))
        return isnan(got) && isnan(want);
    return got == want || fabs(got - want) <= relative * fabs(want) + tiny;
}

typedef struct closeness {
    double relative, tiny; /* both 0: to the bit */
} closeness;

static void compare(const og_tensor *want, const og_tensor *got, closeness close)
{
    if (close.relative == 0) {
        og_cuda_range r = og__cuda_range(want, false);
        CHECK(memcmp(want->data, got->data, r.bytes) == 0);
        return;
    }
    for (int64_t e = 0; e < og__elements(want); e++) {
        double a = test_element(got, e), b = test_element(want, e);
        if (!near(a, b, close.relative, close.tiny)) {
            test_failed(__FILE__, __LINE__);
            printf("element %lld is %.9g, on the processor %.9g\n", (long long)e, a, b);
            return;
        }
    }
}

/* The call's outputs as the processor computes them in float32 from the same numbers, rounded to
 * their types; absent tensors stay so. */
__attribute__((unused)) static bool expect_in_float(kernel_call *c)
{
    kernel_call wide = *c;
    for (int i = 0; i < c->nx; i++)
        if (c->x[i].type.dtype != OG_UNDEFINED)
            wide.x[i] = test_convert(&c->x[i], OG_FLOAT);
    for (int k = 0; k < c->ny; k++)
        if (c->y[k].type.dtype != OG_UNDEFINED)
            wide.y[k] = test_tensor(OG_FLOAT, c->y[k].type.rank, c->y[k].type.dims);
    bool ok = test_run(&wide);
    for (int k = 0; k < c->ny; k++)
        if (c->y[k].type.dtype != OG_UNDEFINED) {
            og_tensor y = test_convert(&wide.y[k], c->y[k].type.dtype);
            free(c->y[k].data);
            c->y[k] = y;
        }
    test_free_tensors(&wide);
    return ok;
}

/* The same image, channels-last. */
__attribute__((unused)) static void turn_channels_last(og_tensor *t)
{
    og_tensor last = test_channels_last(t);
    free(t->data);
    *t = last;
}

/* The error that is waiting for whoever waits next. */
static void expect_error(og_device *d, const char *text)
{
    og_error error = {0};
    CHECK(d->remote->finish(d, &error) == OG_INVALID_DATA);
    CHECK_STR(og_error_text(&error), text);
    og_error_clear(&error);
}

/* card_gives, below. y_shift: of outputs. refusal: the error that each run leaves behind; NULL:
 * none. */
static bool run_shifted(og_device *d, kernel_call *c, const char *name, int shift, int y_shift,
                        unsigned known, closeness close, const char *refusal)
{
    og_error error = {0};
    kernel_node n;
    og_tensor x[CALL_MAX], y[CALL_MAX];
    on_card px[CALL_MAX] = {0}, py[CALL_MAX] = {0};
    void *workspace = NULL, *recording = NULL;
    test_node(&n, c);
    for (int i = 0; i < c->nx; i++) {
        x[i] = c->x[i];
        x[i].data = known >> i & 1 ? c->x[i].data : NULL;
        x[i].offset = (size_t)shift * og__size(x[i].type.dtype);
    }
    memcpy(y, c->y, sizeof y);
    for (int i = 0; i < c->ny; i++) {
        y[i].data = NULL;
        y[i].offset = (size_t)y_shift * og__size(y[i].type.dtype);
    }
    og_call call = {.node = &n.node, .device = d, .nx = c->nx, .ny = c->ny, .x = x, .y = y};
    const og_kernel *kernel = og_device_kernel(d, &call, false);
    if (!CHECK(kernel != NULL) || !CHECK_STR(kernel->name, name) ||
        !GOES(kernel->prepare(&call, &error)))
        return false;
    bool ok = true;
    for (int i = 0; i < c->nx; i++) {
        x[i].data = c->x[i].data;
        ok = ok && place_on_card(d, &x[i], true, shift, &px[i]);
    }
    for (int i = 0; i < c->ny; i++) {
        y[i].data = c->y[i].data;
        ok = ok && place_on_card(d, &y[i], false, y_shift, &py[i]);
    }
    if (call.workspace_bytes)
        call.workspace = workspace = d->alloc(d, call.workspace_bytes);
    for (int replayed = 0; ok && replayed < 2; replayed++) {
        for (int i = 0; i < c->ny; i++)
            GOES(d->remote->clear(d, py[i].memory, py[i].range.bytes + py[i].shift, &error));
        if (replayed)
            ok = GOES(d->remote->record(d, &error));
        ok = ok && GOES(kernel->run(&call, &error));
        if (replayed)
            ok = ok && GOES(d->remote->recorded(d, &recording, &error)) &&
                 GOES(d->remote->replay(d, recording, &error));
        if (refusal)
            expect_error(d, refusal);
        for (int i = 0; ok && i < c->ny; i++) {
            og_tensor got = c->y[i];
            char *back = malloc(py[i].range.bytes + 1);
            GOES(d->remote->download(d, back, py[i].memory + py[i].shift, py[i].range.bytes,
                                     &error));
            got.data = back + ((char *)got.data - (const char *)py[i].range.at);
            compare(&c->y[i], &got, close);
            free(back);
        }
    }
    d->remote->forget(d, recording);
    if (kernel->release)
        kernel->release(&call);
    for (int i = 0; i < c->nx; i++)
        d->free(d, px[i].memory, 0);
    for (int i = 0; i < c->ny; i++)
        d->free(d, py[i].memory, 0);
    d->free(d, workspace, call.workspace_bytes);
    return ok;
}

static bool run_on_card(og_device *d, kernel_call *c, const char *name, int shift, unsigned known,
                        closeness close, const char *refusal)
{
    return run_shifted(d, c, name, shift, shift, known, close, refusal);
}

/* Runs c by the device's kernel of that name: plainly, and recorded and replayed. Outputs must
 * agree with c's. shift: see on_card. Inputs with `known` set are constants when the call is
 * prepared. */
__attribute__((unused)) static bool card_gives(og_device *d, kernel_call *c, const char *name,
                                               int shift, unsigned known, closeness close)
{
    return run_on_card(d, c, name, shift, known, close, NULL);
}

/* The same, but that outputs are where a planner puts them. */
__attribute__((unused)) static bool card_gives_aligned(og_device *d, kernel_call *c,
                                                       const char *name, int shift, closeness close)
{
    return run_shifted(d, c, name, shift, 0, 0, close, NULL);
}

/* The same, with what the processor gives. */
__attribute__((unused)) static bool same_on_card(og_device *d, kernel_call *c, const char *name,
                                                 int shift, unsigned known, closeness close)
{
    return test_run(c) && card_gives(d, c, name, shift, known, close);
}

#endif
