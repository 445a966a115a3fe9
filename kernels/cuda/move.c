/* Ops that move elements: the processor's kernels say which copies and fills they are made of
 * (og_mover), once, when a call is prepared; here these are launches (move.cu). So shapes, slices
 * and paddings are understood in one place. */
#include "kernels/cuda/move.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/iterate.h"
#include "kernels/cuda/internal.h"

extern const og_cuda_image og_cuda_image_move;

enum { WIDEST = 16, WIDTHS = 5, BLOCKS_A_PROCESSOR = 16, LEAST_CROSSED = 16 };

/* While copies are collected, a tensor's data lies at an address that only says which it is: those
 * of operand i begin at (i + 1) × 2^APART. */
enum { APART = 40 };

/* A copy, or where `fills` is set a fill. */
typedef struct piece {
    int to, from;                     /* operands: inputs, then outputs */
    int64_t to_at, from_at;           /* bytes from their data */
    int rank;                         /* 0: one run */
    og__copy_axis axes[OG_MOVE_AXES]; /* strides in bytes, slowest first */
    int64_t size, total;              /* bytes of a run; runs */
    bool fills;
    unsigned char value[WIDEST];
} piece;

typedef struct plan {
    og_device recorder; /* first: the device of the call that is collected */
    piece *pieces;
    int n, room;
    bool failed; /* out of memory, or a copy that cannot be done here */
    og_cuda_function *move[WIDTHS], *far_move[WIDTHS], *cross[WIDTHS - 1], *fill;
} plan;

/* ---- collecting */

static bool operand_of(const og_call *call, const void *address, int *operand, int64_t *at)
{
    uintptr_t a = (uintptr_t)address + ((uintptr_t)1 << (APART - 1));
    *operand = (int)(a >> APART) - 1;
    *at = (int64_t)((uintptr_t)address - ((uintptr_t)(*operand + 1) << APART));
    return *operand >= 0 && *operand < call->nx + call->ny;
}

static piece *add_piece(const og_call *call, plan *p, void *to)
{
    if (p->n == p->room) {
        int room = p->room ? 2 * p->room : 8;
        piece *more = realloc(p->pieces, (size_t)room * sizeof *more);
        if (!more) {
            p->failed = true;
            return NULL;
        }
        p->pieces = more;
        p->room = room;
    }
    piece *x = &p->pieces[p->n];
    *x = (piece){0};
    if (!operand_of(call, to, &x->to, &x->to_at)) {
        p->failed = true;
        return NULL;
    }
    p->n++;
    return x;
}

static void collect_copy(const og_call *call, int rank, const og__copy_axis *axes, void *to,
                         const void *from, size_t size)
{
    plan *p = (plan *)(uintptr_t)call->device;
    piece *x = add_piece(call, p, to);
    if (!x || p->failed)
        return;
    x->size = (int64_t)size;
    x->total = 1;
    p->failed = !operand_of(call, from, &x->from, &x->from_at) || rank >= OG_MOVE_AXES;
    for (int a = 0; a < rank && !p->failed; a++) {
        x->axes[x->rank++] = axes[a];
        x->total *= axes[a].n;
    }
}

static void collect_fill(const og_call *call, void *to, int64_t n, const void *value, size_t size)
{
    plan *p = (plan *)(uintptr_t)call->device;
    piece *x = add_piece(call, p, to);
    if (!x)
        return;
    x->fills = true;
    x->size = (int64_t)size;
    x->total = n;
    for (int64_t i = 0; value && i < WIDEST; i++)
        x->value[i] = ((const unsigned char *)value)[i % x->size];
}

/* Only the first input is data that moves; of Concat all are. */
static bool moves(const og_call *call, int input)
{
    return input == 0 || strcmp(call->node->op->name, "Concat") == 0;
}

static bool supports(const og_call *call)
{
    for (int i = 0; i < call->nx; i++)
        if (!moves(call, i) && call->x[i].type.dtype != OG_UNDEFINED && !call->x[i].data &&
            og__elements(&call->x[i]) > 0)
            return false;
    if (strcmp(call->node->op->name, "Pad") == 0) {
        const char *mode = og_attr_string(call->node, "mode", "constant");
        if (strcmp(mode, "constant") != 0)
            return false;
    }
    og_call host = *call;
    host.device = og__cuda_of(call->device)->host;
    const og_kernel *kernel = og_device_kernel(host.device, &host, true);
    return kernel && kernel->flags & OG_KERNEL_STRIDED && og__supports_bytes(call);
}

/* ---- prepare */

static og_status find_functions(og__cuda *cuda, plan *p, og_error *error)
{
    char name[32];
    for (int w = 0; w < WIDTHS; w++) {
        snprintf(name, sizeof name, "og_move_%d", 1 << w);
        OG_TRY(og__cuda_function(cuda, &og_cuda_image_move, name, 0, &p->move[w], error));
        snprintf(name, sizeof name, "og_move_%d_far", 1 << w);
        OG_TRY(og__cuda_function(cuda, &og_cuda_image_move, name, 0, &p->far_move[w], error));
        snprintf(name, sizeof name, "og_cross_%d", 1 << w);
        if (w < WIDTHS - 1)
            OG_TRY(og__cuda_function(cuda, &og_cuda_image_move, name, 0, &p->cross[w], error));
    }
    return og__cuda_function(cuda, &og_cuda_image_move, "og_fill_bytes", 0, &p->fill, error);
}

static void release(og_call *call)
{
    plan *p = call->state;
    if (!p)
        return;
    free(p->pieces);
    free(p);
    call->state = NULL;
}

static void *fake_address(int operand)
{
    return (void *)((uintptr_t)(operand + 1) << APART);
}

/* The device of calls whose copies are collected. */
static const og_device *start_collecting(plan *p, const og_device *host)
{
    static const og_mover mover = {collect_copy, collect_fill};
    p->recorder = *host;
    p->recorder.mover = &mover;
    return &p->recorder;
}

/* Runs the processor's kernel with copies collected instead of done. */
static og_status collect(const og_call *call, plan *p, og_error *error)
{
    const og_device *host = og__cuda_of(call->device)->host;
    size_t n = (size_t)call->nx + (size_t)call->ny;
    og_tensor *tensors = malloc(n * sizeof *tensors);
    if (!tensors)
        return og_fail_memory(error, n * sizeof *tensors, "copies");
    og_call c = *call;
    c.x = tensors;
    c.y = tensors + call->nx;
    for (int i = 0; i < (int)n; i++) {
        tensors[i] = i < call->nx ? call->x[i] : call->y[i - call->nx];
        if (i >= call->nx || moves(call, i))
            tensors[i].data = fake_address(i);
    }
    c.device = host;
    const og_kernel *kernel = og_device_kernel(host, &c, true);
    c.device = start_collecting(p, host);
    og_status status = kernel->run(&c, error);
    free(tensors);
    if (status == OG_OK && p->failed)
        return og__call_fail(call, error, OG_INTERNAL, "its copies cannot be done on the device");
    return status;
}

static og_status prepare(og_call *call, og_error *error)
{
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "copies");
    call->state = p;
    og_status status = collect(call, p, error);
    if (status == OG_OK)
        status = find_functions(og__cuda_of(call->device), p, error);
    if (status != OG_OK)
        release(call);
    return status;
}

/* ---- run */

static const og_tensor *operand(const og_call *call, int i)
{
    return i < call->nx ? &call->x[i] : &call->y[i - call->nx];
}

/* Blocks of a kernel that loops. */
static int64_t blocks_for(const og_call *call, int64_t items)
{
    int64_t all = (items + OG_MOVE_THREADS - 1) / OG_MOVE_THREADS,
            most =
                (int64_t)og__cuda_of(call->device)->properties.multiprocessors * BLOCKS_A_PROCESSOR;
    return all < most ? all : most;
}

static int log_of(int64_t width)
{
    int w = 0;
    while ((int64_t)1 << w < width)
        w++;
    return w;
}

/* The widest unit that everything is a multiple of. */
static int64_t unit_of(const piece *x, uintptr_t addresses)
{
    int64_t unit = WIDEST;
    uint64_t all = (uint64_t)addresses | (uint64_t)x->size;
    for (int a = 0; a < x->rank; a++)
        all |= (uint64_t)llabs(x->axes[a].to) | (uint64_t)llabs(x->axes[a].from);
    while (all % (uint64_t)unit != 0)
        unit /= 2;
    return unit;
}

static og_status run_move(const og_call *call, const plan *p, const piece *x, char *to,
                          const char *from, const og_cuda_range *ranges, og_error *error)
{
    int64_t unit = unit_of(x, (uintptr_t)to | (uintptr_t)from);
    og_move_arguments m = {.to = to, .from = from, .total = x->total * (x->size / unit)};
    for (; m.rank < x->rank; m.rank++) {
        m.n[m.rank] = x->axes[m.rank].n;
        m.to_stride[m.rank] = x->axes[m.rank].to / unit;
        m.from_stride[m.rank] = x->axes[m.rank].from / unit;
    }
    m.n[m.rank] = x->size / unit; /* a run */
    m.to_stride[m.rank] = m.from_stride[m.rank] = 1;
    m.rank += m.n[m.rank] > 1;
    bool far_off = m.total >= ((int64_t)1 << 31);
    return og__cuda_launch(call, (far_off ? p->far_move : p->move)[log_of(unit)],
                           blocks_for(call, m.total), OG_MOVE_THREADS, 0, &m, sizeof m, ranges, 2,
                           error);
}

/* The axis along which `from` lies together, where it is not the one along which `to` does; -1: the
 * copy is none of tiles. */
static int crossed_axis(const piece *x, uintptr_t addresses)
{
    const og__copy_axis *last = &x->axes[x->rank - 1];
    if (x->rank < 2 || (x->size & (x->size - 1)) != 0 || x->size > 8 ||
        addresses % (uintptr_t)x->size != 0 || last->to != x->size || last->n < LEAST_CROSSED ||
        last->from == x->size || last->n > INT_MAX / 2)
        return -1;
    for (int a = 0; a < x->rank - 1; a++)
        if (x->axes[a].from == x->size && x->axes[a].n >= LEAST_CROSSED &&
            x->axes[a].n <= INT_MAX / 2)
            return a;
    return -1;
}

static og_status run_cross(const og_call *call, const plan *p, const piece *x, int crossed,
                           char *to, const char *from, const og_cuda_range *ranges, og_error *error)
{
    const og__copy_axis *row = &x->axes[crossed], *column = &x->axes[x->rank - 1];
    og_cross_arguments c = {.to = to,
                            .from = from,
                            .rows = (int)row->n,
                            .columns = (int)column->n,
                            .row_tiles = (int)((row->n + OG_MOVE_TILE - 1) / OG_MOVE_TILE),
                            .column_tiles = (int)((column->n + OG_MOVE_TILE - 1) / OG_MOVE_TILE),
                            .to_row = row->to / x->size,
                            .from_column = column->from / x->size};
    int64_t blocks = (int64_t)c.row_tiles * c.column_tiles;
    for (int a = 0; a < x->rank - 1; a++)
        if (a != crossed) {
            c.n[c.rank] = x->axes[a].n;
            c.to_stride[c.rank] = x->axes[a].to / x->size;
            c.from_stride[c.rank++] = x->axes[a].from / x->size;
            blocks *= x->axes[a].n;
        }
    if (blocks > INT_MAX)
        return run_move(call, p, x, to, from, ranges, error);
    return og__cuda_launch(call, p->cross[log_of(x->size)], blocks, OG_MOVE_THREADS, 0, &c,
                           sizeof c, ranges, 2, error);
}

static og_status run_fill(const og_call *call, const plan *p, const piece *x, char *to,
                          og_error *error)
{
    const og__cuda *cuda = og__cuda_of(call->device);
    bool same = true;
    for (int i = 1; i < WIDEST; i++)
        same = same && x->value[i] == x->value[0];
    size_t bytes = (size_t)(x->total * x->size);
    if (same)
        return cuda->driver->set(cuda->card, OG_CUDA_COMPUTE, to, x->value[0], bytes, error);
    og_fill_arguments f = {.to = to, .bytes = (int64_t)bytes};
    memcpy(f.value, x->value, sizeof f.value);
    const og_cuda_range range = {to, bytes, true};
    return og__cuda_launch(call, p->fill, blocks_for(call, f.bytes), OG_MOVE_THREADS, 0, &f,
                           sizeof f, &range, 1, error);
}

static og_status run(const og_call *call, og_error *error)
{
    const plan *p = call->state;
    const og__cuda *cuda = og__cuda_of(call->device);
    for (int i = 0; i < p->n; i++) {
        const piece *x = &p->pieces[i];
        const og_tensor *target = operand(call, x->to);
        char *to = (char *)target->data + x->to_at;
        if (x->total == 0)
            continue;
        if (x->fills) {
            OG_TRY(run_fill(call, p, x, to, error));
            continue;
        }
        const og_tensor *source = operand(call, x->from);
        const char *from = (const char *)source->data + x->from_at;
        const og_cuda_range ranges[] = {og__cuda_range(target, true),
                                        og__cuda_range(source, false)};
        if (x->rank == 0) {
            OG_TRY(
                cuda->driver->copy(cuda->card, OG_CUDA_COMPUTE, to, from, (size_t)x->size, error));
            continue;
        }
        int crossed = crossed_axis(x, (uintptr_t)to | (uintptr_t)from);
        OG_TRY(crossed >= 0 ? run_cross(call, p, x, crossed, to, from, ranges, error)
                            : run_move(call, p, x, to, from, ranges, error));
    }
    return OG_OK;
}

/* ---- copies for other kernels */

struct og__cuda_copier {
    og_call call; /* its state is the plan */
    og_tensor y;
};

void og__cuda_copier_free(og__cuda_copier *copier)
{
    if (!copier)
        return;
    release(&copier->call);
    free(copier);
}

og_status og__cuda_copier_new(const og_call *call, const og_tensor *from, og__cuda_copier **made,
                              og_error *error)
{
    og__cuda_copier *copier = calloc(1, sizeof *copier);
    plan *p = calloc(1, sizeof *p);
    if (!copier || !p) {
        free(copier);
        free(p);
        return og_fail_memory(error, sizeof *p, "a copy");
    }
    og_tensor x = *from;
    copier->y = og_tensor_dense(&from->type, NULL);
    copier->call = (og_call){
        .node = call->node, .device = call->device, .nx = 1, .ny = 1, .y = &copier->y, .state = p};
    og_call c = copier->call;
    x.data = fake_address(0);
    c.device = start_collecting(p, og__cuda_of(call->device)->host);
    og__copy_dense(&c, fake_address(1), &x);
    og_status status = p->failed ? og__call_fail(call, error, OG_INTERNAL, "a copy of it")
                                 : find_functions(og__cuda_of(call->device), p, error);
    if (status != OG_OK) {
        og__cuda_copier_free(copier);
        return status;
    }
    *made = copier;
    return OG_OK;
}

og_status og__cuda_copier_run(const og_call *call, const og__cuda_copier *copier,
                              const og_tensor *from, void *to, og_error *error)
{
    og_tensor x = *from, y = copier->y;
    og_call c = copier->call;
    c.device = call->device;
    y.data = to;
    c.x = &x;
    c.y = &y;
    return run(&c, error);
}

#define MOVES(op)                                                       \
    {                                                                   \
        op, "moves", OG_KERNEL_STRIDED, supports, prepare, run, release \
    }

const og_kernel og_kernels_cuda_move[] = {
    {"ai.ongrad::Copy", "moves", OG_KERNEL_STRIDED | OG_KERNEL_ANY_ORDER, supports, prepare, run,
     release},
    MOVES("Reshape"),
    MOVES("Flatten"),
    MOVES("Squeeze"),
    MOVES("Unsqueeze"),
    MOVES("Transpose"),
    MOVES("Expand"),
    MOVES("Slice"),
    MOVES("ai.ongrad::SliceGrad"),
    MOVES("Concat"),
    MOVES("Split"),
    MOVES("Tile"),
    MOVES("DepthToSpace"),
    MOVES("SpaceToDepth"),
    MOVES("Pad"),
    {NULL},
};
