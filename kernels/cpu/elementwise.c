/* The interpreter of elementwise programs: what Fused, Cast and the scalar ops run on (scalar.c,
 * cast.c). elementwise_plan.c prepares it.
 *
 * The iteration space is the shape of the first output, its axes in the order in which the outputs
 * lie, walked in tiles that stay in L1. Outputs have no gaps, so a tile is a contiguous piece of
 * each. An input is, for a tile,
 *
 * - uniform: one element for the whole space. It is read once, and instructions on uniform operands
 *   alone also run once;
 * - direct: of the domain's type and contiguous over this tile. It is read in place;
 * - gathered: anything else. It is loaded and converted into a register, a piece of L1 a tile long.
 *
 * A program that ends in a reduction has its tiles taken in as they are computed (fold.h); without
 * other outputs, its space is walked as its first input of that shape lies.
 *
 * Results go straight to the output where types agree and no input that is still to be read shares
 * its memory; else they are stored when all instructions of the tile have run. The last, partial
 * tile is computed in registers only and in whole vectors, so that no result depends on where in
 * the tensor it stands. */
#include "kernels/cpu/elementwise_plan.h"
#include "runtime/base/checked.h"

/* Of results that wait in an output to be reduced together. */
#define TOGETHER_BYTES (16 << 10)
/* From this many steps on, memory idles while a tile is computed unless the next one is asked for.
 */
#define LONG_PROGRAM 6

/* Elements at … at + n - 1 of the iteration space into a register. */
static void gather(const og__tile_plan *p, const og__tile_input *in, const void *data, int64_t at,
                   int64_t n, char *to)
{
    const char *from = data;
    int64_t size = (int64_t)og__size(in->dtype), index[OG_MAX_RANK] = {0}, offset = 0;
    if (in->dtype == OG_BIT) {
        p->ops->load_bits[p->domain](to, data, at, n);
        return;
    }
    for (int a = in->rank - 1; a >= 0; a--) {
        index[a] = at % in->dims[a];
        at /= in->dims[a];
        offset += index[a] * in->strides[a];
    }
    int last = in->rank - 1;
    for (;;) {
        int64_t run = og__min(n, in->dims[last] - index[last]);
        p->ops->load[p->domain][in->dtype](to, from + offset * size, in->strides[last], run);
        n -= run;
        if (n == 0)
            return;
        to += run * (int64_t)p->size;
        offset -= index[last] * in->strides[last];
        index[last] = 0;
        for (int a = last - 1; a >= 0; a--) {
            offset += in->strides[a];
            if (++index[a] < in->dims[a])
                break;
            offset -= in->strides[a] * in->dims[a];
            index[a] = 0;
        }
    }
}

/* Where elements at … at + n - 1 lie one after the other in memory; NULL if they do not. */
static const void *in_place(const og__tile_plan *p, const og__tile_input *in, const void *data,
                            int64_t at, int64_t n)
{
    int last = in->rank - 1;
    if (in->copied || in->dtype != og__domain_dtype[p->domain] ||
        (in->strides[last] != 1 && in->dims[last] != 1))
        return NULL;
    if (at % in->dims[last] + n > in->dims[last])
        return NULL;
    int64_t offset = 0;
    for (int a = last; a >= 0; a--) {
        offset += at % in->dims[a] * in->strides[a];
        at /= in->dims[a];
    }
    return (const char *)data + offset * (int64_t)p->size;
}

/* May output `o`, the result of step k, be written while the tile's later steps still run? */
static bool may_write(const og__tile_plan *p, const og_call *call, int o, int k)
{
    const char *y = call->y[o].data, *end = y + (size_t)p->total * p->size;
    for (int i = 0; i < p->n_in; i++) {
        const og__tile_input *in = &p->inputs[i];
        if (in->uniform || in->last_use <= k || in->copied)
            continue;
        int64_t bits = og_dtype_bits(in->dtype);
        const char *x = call->x[i].data;
        if (x + in->low * bits / 8 < end && y < x + ((in->high + 1) * bits + 7) / 8)
            return false;
    }
    return true;
}

/* One tile; n < whole in the last one only. values: by value, where its elements are. */
static void run_tile(const og__tile_plan *p, const og_call *call, const bool *direct, char *slots,
                     const void **values, int64_t at, int64_t n)
{
    int64_t whole = (int64_t)og_align_up((size_t)n, OG__LANES),
            slot_bytes = p->tile * (int64_t)p->size;
    for (int k = 0; k < p->n_steps || k == 0; k++) {
        for (int i = 0; i < p->n_in; i++) {
            const og__tile_input *in = &p->inputs[i];
            if (in->uniform || in->first_use != k)
                continue;
            const void *data = n == whole ? in_place(p, in, call->x[i].data, at, n) : NULL;
            if (!data) {
                char *slot = slots + in->slot * slot_bytes;
                gather(p, in, call->x[i].data, at, n, slot);
                memset(slot + n * (int64_t)p->size, 0, (size_t)(whole - n) * p->size);
                data = slot;
            } else if (p->n_steps >= LONG_PROGRAM) {
                for (int64_t b = 0; b < p->tile * (int64_t)p->size; b += 64)
                    __builtin_prefetch((const char *)data + p->tile * (int64_t)p->size + b);
            }
            values[i] = data;
        }
        if (k == p->n_steps)
            break;
        const og__tile_step *s = &p->steps[k];
        void *y = slots + s->slot * slot_bytes;
        if (s->output >= 0 && direct[s->output] && n == whole)
            y = (char *)call->y[s->output].data + at * (int64_t)p->size;
        s->fn(y, values[s->a], values[s->b], values[s->c], s->imm, whole);
        values[s->value] = y;
    }
    for (int o = 0; o < p->n_out; o++) {
        if (p->out_dtype[o] == OG_UNDEFINED)
            continue;
        char *y = (char *)call->y[o].data + at * og_dtype_bits(p->out_dtype[o]) / 8;
        if (p->out_dtype[o] == OG_BIT)
            p->ops->store_bits[p->domain](y, values[p->out[o]], n);
        else if (values[p->out[o]] != y || p->out_dtype[o] != og__domain_dtype[p->domain])
            p->ops->store[p->domain][p->out_dtype[o]](y, values[p->out[o]], n);
    }
}

/* A vector for each uniform value. */
static void run_uniform(const og__tile_plan *p, const og_call *call, char *uniform)
{
    int64_t bytes = OG__LANES * (int64_t)p->size;
    for (int i = 0; i < p->n_in; i++)
        if (p->inputs[i].uniform)
            p->ops->load[p->domain][p->inputs[i].dtype](uniform + i * bytes, call->x[i].data, 0,
                                                        OG__LANES);
    for (int k = 0; k < p->n_uniform_steps; k++) {
        const og__tile_step *s = &p->uniform_steps[k];
        s->fn(uniform + s->value * bytes, uniform + s->a * bytes, uniform + s->b * bytes,
              uniform + s->c * bytes, s->imm, OG__LANES);
    }
}

/* The pointers of a thread: uniform values, whole tiles of them where a step wants that. */
static const void **thread_values(const og__tile_plan *p, const char *uniform, char *slots)
{
    const void **values =
        (const void **)(slots + og_align_up((size_t)p->n_slots * (size_t)p->tile * p->size, 64));
    for (int v = 0; v < p->n_values; v++) {
        values[v] = uniform + v * OG__LANES * (int64_t)p->size;
        if (p->expanded[v] >= 0) {
            char *slot = slots + p->expanded[v] * p->tile * (int64_t)p->size;
            p->ops->load[p->domain][og__domain_dtype[p->domain]](slot, values[v], 0, p->tile);
            values[v] = slot;
        }
    }
    return values;
}

/* A run of one part of the reduction: its elements computed and taken in, tile by tile. Where they
 * are written to an output and lie in rows, several rows are taken in together, which is faster. */
static void run_folded(const og__tile_plan *p, const og_call *call, const bool *direct, char *slots,
                       const void **values, int64_t part, int64_t run)
{
    void *accumulators = (char *)call->workspace + p->fold_offset;
    int64_t begin, end, size = (int64_t)p->size;
    int64_t together = og__fold_together(&p->fold, TOGETHER_BYTES / size);
    og__fold_range(&p->fold, part, run, &begin, &end);
    const char *waiting = NULL; /* the elements from … */
    int64_t from = begin;       /* … on, which are still to be taken in */
    for (int64_t at = begin; at < end; at += p->tile) {
        int64_t n = og__min(p->tile, end - at);
        run_tile(p, call, direct, slots, values, at, n);
        const char *data = values[p->folded];
        if (waiting && data != waiting + (at - from) * size) {
            og__fold_take(&p->fold, accumulators, part, from, at - from, waiting, p->size);
            waiting = NULL;
        }
        if (!waiting) {
            waiting = data;
            from = at;
        }
        bool stays =
            p->folded_output >= 0 && data == (char *)call->y[p->folded_output].data + at * size;
        if (!stays || at + n - from >= together || at + n == end) {
            og__fold_take(&p->fold, accumulators, part, from, at + n - from, waiting, p->size);
            waiting = NULL;
        }
    }
}

static void run_part(const og__tile_plan *p, const og_call *call, const bool *direct, char *slots,
                     const void **values, int64_t part)
{
    og__fold_start(&p->fold, (char *)call->workspace + p->fold_offset, part);
    for (int64_t run = 0; run < og__fold_runs(&p->fold); run++)
        run_folded(p, call, direct, slots, values, part, run);
}

og_status og__elementwise_run(const og_call *call, og_error *error)
{
    (void)error;
    const og__tile_plan *p = call->state;
    if (p->total == 0 && p->folded < 0)
        return OG_OK;
    char *uniform = call->workspace;
    if (p->total > 0)
        run_uniform(p, call, uniform);
    bool *direct = (bool *)(uniform + (size_t)p->n_values * OG__LANES * p->size);
    memset(direct, 0, (size_t)p->n_out);
    for (int k = 0; k < p->n_steps; k++)
        if (p->steps[k].output >= 0)
            direct[p->steps[k].output] = may_write(p, call, p->steps[k].output, k);

    int64_t tiles = (p->total + p->tile - 1) / p->tile,
            items = p->folded < 0 ? tiles : p->fold.parts;
#pragma omp parallel for num_threads(og__team(call, p->threads)) schedule(static)
    for (int t = 0; t < p->threads; t++) {
        char *slots = uniform + p->uniform_bytes + (size_t)t * p->thread_bytes;
        const void **values = thread_values(p, uniform, slots);
        int64_t first = items * t / p->threads, last = items * (t + 1) / p->threads;
        for (int64_t i = first; i < last; i++)
            if (p->folded >= 0)
                run_part(p, call, direct, slots, values, i);
            else
                run_tile(p, call, direct, slots, values, i * p->tile,
                         og__min(p->tile, p->total - i * p->tile));
    }
    if (p->folded >= 0)
        og__fold_finish(&p->fold, (char *)call->workspace + p->fold_offset, &call->y[p->n_out]);
    return OG_OK;
}
