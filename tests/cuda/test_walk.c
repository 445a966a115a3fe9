/* Recurrences through the driver's table on the simulated card: an LSTM on plain memory, and that
 * wrong descriptions and runs are found, reserves of others among them. */
#include "kernels/cuda/walk_plan.h"
#include "tests/cuda/open.h"
#include "tests/kernels/call.h"

enum {
    T = 3,
    B = 2,
    I = 4,
    H = 5,
    X_BYTES = T * B * I * 4,
    Y_BYTES = T * B * H * 4,
    STATE_BYTES = B * H * 4
};

typedef struct rig {
    og_device *device;
    og__cuda *cuda;
    og_cuda_recurrence description;
    const og__walk *walk;
    og_cuda_recurrence_operands o;
    char *dweights;
} rig;

static void *fresh(rig *r, size_t bytes, bool fill)
{
    og_error error = {0};
    void *memory = r->device->alloc(r->device, bytes);
    float *values = calloc(bytes / 4 + 1, 4);
    uint64_t seed = bytes;
    for (size_t i = 0; i < bytes / 4; i++)
        values[i] = (float)test_uniform(&seed);
    if (fill)
        GOES(r->device->remote->upload(r->device, memory, values, bytes, &error));
    free(values);
    return memory;
}

static rig set_up(void)
{
    rig r = {.device = open_device(1)};
    r.cuda = og__cuda_of(r.device);
    memset(&r.description, 0, sizeof r.description);
    r.description.cell = OG_CUDA_LSTM;
    r.description.dtype = OG_FLOAT;
    r.description.bias = r.description.training = true;
    r.description.T = T;
    r.description.B = B;
    r.description.I = I;
    r.description.H = H;
    r.walk = og__walk_find(r.device, &r.description);
    const og_cuda_recurrence_sizes *s = &r.walk->sizes;
    r.dweights = fresh(&r, s->weights, true);
    r.o = (og_cuda_recurrence_operands){.weights = fresh(&r, s->weights, true),
                                        .x = fresh(&r, X_BYTES, true),
                                        .h0 = fresh(&r, STATE_BYTES, true),
                                        .c0 = fresh(&r, STATE_BYTES, true),
                                        .y = fresh(&r, Y_BYTES, false),
                                        .h = fresh(&r, STATE_BYTES, false),
                                        .c = fresh(&r, STATE_BYTES, false),
                                        .workspace = fresh(&r, s->workspace, false),
                                        .workspace_bytes = s->workspace,
                                        .reserve = fresh(&r, s->reserve, false),
                                        .reserve_bytes = s->reserve,
                                        .dy = fresh(&r, Y_BYTES, true),
                                        .dh = fresh(&r, STATE_BYTES, true),
                                        .dc = fresh(&r, STATE_BYTES, true),
                                        .dx = fresh(&r, X_BYTES, false),
                                        .dh0 = fresh(&r, STATE_BYTES, false),
                                        .dc0 = fresh(&r, STATE_BYTES, false),
                                        .dweights = r.dweights};
    return r;
}

static og_status walk(rig *r, og_error *error)
{
    return r->cuda->driver->recurrence_run(r->cuda->card, r->walk->plan, &r->o, error);
}

static og_status walk_back(rig *r, og_error *error)
{
    return r->cuda->driver->recurrence_back(r->cuda->card, r->walk->plan, &r->o, error);
}

/* Found when the walk, or the walk back, is queued. */
static void runs_wrong(void (*spoil)(rig *r), bool back, const char *part)
{
    rig r = set_up();
    og_error error = {0};
    if (back)
        GOES(walk(&r, &error));
    spoil(&r);
    CHECK((back ? walk_back : walk)(&r, &error) != OG_OK);
    og_error_clear(&error);
    finds(r.device, part);
}

static void small_workspace(rig *r)
{
    r->o.workspace_bytes--;
}
static void small_reserve(rig *r)
{
    r->o.reserve_bytes--;
}
static void reserve_between(rig *r)
{
    r->o.reserve = (char *)r->o.reserve + 16;
}
static void no_weights(rig *r)
{
    r->o.weights = NULL;
}
static void no_dy(rig *r)
{
    r->o.dy = NULL;
}
static void between_addresses(rig *r)
{
    r->o.h0 = (const char *)r->o.h0 + 4;
}
static void y_over_x(rig *r)
{
    r->o.y = (void *)(uintptr_t)r->o.x;
}
static void dx_over_x(rig *r)
{
    r->o.dx = (void *)(uintptr_t)r->o.x;
}
static void behind_the_end(rig *r)
{
    r->o.y = (char *)r->o.y + 16;
}

TEST(wrong_runs_are_found)
{
    runs_wrong(small_workspace, false, "the workspace is smaller than the plan needs");
    runs_wrong(small_workspace, true, "the workspace is smaller than the plan needs");
    runs_wrong(small_reserve, false, "the reserve is smaller than the plan needs");
    runs_wrong(small_reserve, true, "the reserve is smaller than the plan needs");
    runs_wrong(reserve_between, true, "are not aligned to 256 bytes");
    runs_wrong(no_weights, false, "the weights are missing");
    runs_wrong(no_dy, true, "dy, dx or the weights' gradients are missing");
    runs_wrong(between_addresses, false, "a tensor is not aligned to 16 bytes");
    runs_wrong(y_over_x, false, "overlaps what else it was given");
    runs_wrong(dx_over_x, true, "overlaps what else it was given");
    runs_wrong(behind_the_end, false, "which are in no block of memory");
}

/* Found when the walk back is done. */
static void reserve_wrong(void (*spoil)(rig *r), const char *part)
{
    rig r = set_up();
    og_error error = {0};
    spoil(&r);
    GOES(walk_back(&r, &error));
    finds(r.device, part);
}

static void never_run(rig *r)
{
    (void)r;
}
static void another_plan(rig *r)
{
    og_error error = {0};
    GOES(walk(r, &error));
    r->description.arithmetic = OG_CUDA_TF32;
    r->walk = og__walk_find(r->device, &r->description);
}
static void another_x(rig *r)
{
    og_error error = {0};
    GOES(walk(r, &error));
    float other[X_BYTES / 4] = {1};
    r->o.x = fresh(r, X_BYTES, false);
    GOES(r->device->remote->upload(r->device, (void *)(uintptr_t)r->o.x, other, X_BYTES, &error));
}
static void twice(rig *r)
{
    og_error error = {0};
    GOES(walk(r, &error));
    GOES(walk_back(r, &error));
}

TEST(a_wrong_reserve_is_found)
{
    reserve_wrong(never_run, "the reserve is not what a run of this plan has left");
    reserve_wrong(another_plan, "the reserve is not what a run of this plan has left");
    reserve_wrong(another_x, "the reserve is of another run");
    reserve_wrong(twice, "the reserve has served another way back");
}

/* Matrices in the order of their numbers, one behind the other, are other weights: y shows it. */
TEST(places_of_weights_count)
{
    og_error error = {0};
    float right[Y_BYTES / 4], wrong[Y_BYTES / 4];
    rig r = set_up();
    const og_cuda_recurrence_sizes *s = &r.walk->sizes;
    char *naive = fresh(&r, s->weights, false);
    size_t at = 0;
    for (int k = 0; k < s->matrices; k++) {
        size_t matrix = (size_t)(H * (k < 4 ? I : H)) * 4, bias = H * 4;
        GOES(r.device->remote->copy(r.device, naive + at, (const char *)r.o.weights + s->matrix[k],
                                    matrix, &error));
        GOES(r.device->remote->copy(r.device, naive + at + matrix,
                                    (const char *)r.o.weights + s->bias[k], bias, &error));
        at += matrix + bias;
    }
    GOES(walk(&r, &error));
    GOES(r.device->remote->download(r.device, right, r.o.y, Y_BYTES, &error));
    r.o.weights = naive;
    GOES(walk(&r, &error));
    GOES(r.device->remote->download(r.device, wrong, r.o.y, Y_BYTES, &error));
    for (int i = 0; i < Y_BYTES / 4; i++)
        CHECK(isfinite(right[i]));
    CHECK(memcmp(right, wrong, Y_BYTES) != 0);
    close_device(r.device);
}

/* Gradients of weights are added to what is there. */
TEST(weights_gradients_are_added)
{
    og_error error = {0};
    rig r = set_up();
    size_t at = r.walk->sizes.matrix[2];
    float before[H * I] = {0}, after[H * I] = {0}, again[H * I] = {0};
    for (int k = 0; k < 2; k++) {
        GOES(walk(&r, &error));
        GOES(r.device->remote->download(r.device, before, r.dweights + at, sizeof before, &error));
        GOES(walk_back(&r, &error));
        GOES(r.device->remote->download(r.device, k ? again : after, r.dweights + at, sizeof after,
                                        &error));
    }
    double grown = 0;
    for (int i = 0; i < H * I; i++) { /* `before` is what the first left */
        CHECK_CLOSE(before[i], after[i], 0);
        grown = fmax(grown, fabs((double)again[i] - after[i]));
    }
    CHECK(grown > 1e-3);
    close_device(r.device);
}

static void described_wrong(void (*spoil)(og_cuda_recurrence *d), const char *part)
{
    rig r = set_up();
    spoil(&r.description);
    CHECK(!og__walk_find(r.device, &r.description));
    finds(r.device, part);
}

static void no_steps(og_cuda_recurrence *d)
{
    d->T = 0;
}
static void float64(og_cuda_recurrence *d)
{
    d->dtype = OG_DOUBLE;
}
static void half_in_tf32(og_cuda_recurrence *d)
{
    d->dtype = OG_FLOAT16;
    d->arithmetic = OG_CUDA_TF32;
}

TEST(wrong_descriptions_are_found)
{
    described_wrong(no_steps, "steps, sequences, features and hidden units must be at least 1");
    described_wrong(float64, "an element type that is none of float32, float16 and bfloat16");
    described_wrong(half_in_tf32, "an arithmetic that is not the element type's");
}

static const og_test tests[] = {
    TEST_ROW(wrong_descriptions_are_found), TEST_ROW(wrong_runs_are_found),
    TEST_ROW(a_wrong_reserve_is_found),     TEST_ROW(places_of_weights_count),
    TEST_ROW(weights_gradients_are_added),
};
TEST_MAIN(tests)
