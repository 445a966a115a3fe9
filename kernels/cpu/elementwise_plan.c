/* How an elementwise program will run (elementwise.c): its steps, their registers, its tiles. */
#include <stdlib.h>

#include "kernels/cpu/elementwise_plan.h"
#include "runtime/base/checked.h"

#define TILE_BYTES 4096
/* What the registers and the memory streams of a tile may take of L1 before tiles are halved. */
#define L1_SHARE (32 << 10)

const og__tile_ops *og__tile_ops_best(void)
{
#if defined(__x86_64__)
    switch (og__simd_level()) {
    case 4:
        return &og__tile_ops_v4;
    case 3:
        return &og__tile_ops_v3;
    default:
        break;
    }
#endif
    return &og__tile_ops_v2;
}

bool og__elementwise_dtype(og_dtype dtype)
{
    return dtype > OG_UNDEFINED && dtype < OG_DTYPE_COUNT &&
           og__tile_ops_v2.load[OG__DOMAIN_FLOAT][dtype] != NULL;
}

static og__domain domain_of(og_dtype dtype)
{
    return dtype == OG_DOUBLE  ? OG__DOMAIN_DOUBLE
           : dtype == OG_FLOAT ? OG__DOMAIN_FLOAT
                               : OG__DOMAIN_INT;
}

/* Which loop runs an instruction whose operands are (not) uniform, and which uniform operands it
 * needs expanded. */
static og__variant choose(const og__tile_plan *p, og_scalar op, const int16_t operand[3],
                          bool expand[3])
{
    static const og__variant one[3] = {OG__UNIFORM_A, OG__UNIFORM_B, OG__UNIFORM_C};
    og__variant best = OG__VECTORS;
    for (int o = 0; o < 3; o++) {
        expand[o] = operand[o] >= 0 && p->uniform[operand[o]];
        if (expand[o] && best == OG__VECTORS && p->ops->op[p->domain][one[o]][op]) {
            best = one[o];
            expand[o] = false;
        }
    }
    return best;
}

/* By falling stride, after those of one element. */
void og__output_order(const og_tensor *y, int *order)
{
    int ones = 0, n = 0;
    for (int a = 0; a < y->type.rank; a++)
        if (y->type.dims[a] == 1)
            order[ones++] = a;
    n = ones;
    for (int a = 0; a < y->type.rank; a++) {
        if (y->type.dims[a] == 1)
            continue;
        int at = n++;
        for (; at > ones && y->strides[order[at - 1]] < y->strides[a]; at--)
            order[at] = order[at - 1];
        order[at] = a;
    }
}

static const og_type *space_of(const og_call *call, const og_program *program)
{
    return program->fold ? &program->space : &call->y[0].type;
}

/* The order in which the space is walked. */
static void walk_order(const og_call *call, const og_program *program, int *order)
{
    const og_type *space = space_of(call, program);
    og_tensor dense = og_tensor_dense(space, NULL);
    const og_tensor *like = program->n_out ? &call->y[0] : &dense;
    for (int i = 0; i < call->nx && like == &dense; i++)
        if (og_type_same_dims(&call->x[i].type, space) && og_tensor_is_channels_last(&call->x[i]))
            like = &call->x[i];
    og__output_order(like, order);
}

bool og__elementwise_folds(const og_call *call, const og_program *program)
{
    og__fold fold;
    int order[OG_MAX_RANK];
    walk_order(call, program, order);
    return og__fold_plan(&fold, program, &call->y[program->n_out], order);
}

/* Do the elements lie one after the other in this order? */
static bool lies_in_order(const og_tensor *t, const og_type *space, const int *order)
{
    int64_t strides[OG_MAX_RANK], next = 1;
    if (!og_type_same_dims(&t->type, space) || og__elements(t) < 2)
        return false;
    og__broadcast_strides(t, space, strides);
    for (int a = space->rank - 1; a >= 0; a--) {
        if (space->dims[order[a]] > 1 && strides[order[a]] != next)
            return false;
        next *= space->dims[order[a]];
    }
    return true;
}

bool og__elementwise_bits(const og_call *call, const og_program *program)
{
    int order[OG_MAX_RANK];
    walk_order(call, program, order);
    for (int i = 0; i < call->nx; i++)
        if (call->x[i].type.dtype == OG_BIT &&
            !lies_in_order(&call->x[i], space_of(call, program), order))
            return false;
    for (int i = 0; i < call->ny; i++) /* parts of a reduction begin anywhere */
        if (call->y[i].type.dtype == OG_BIT && (program->fold || og__elements(&call->y[i]) < 2))
            return false;
    return true;
}

static void plan_inputs(og__tile_plan *p, const og_call *call, const og_type *space,
                        const int *order)
{
    for (int i = 0; i < p->n_in; i++) {
        og__tile_input *in = &p->inputs[i];
        const og_tensor *x = &call->x[i];
        int64_t strides[OG_MAX_RANK];
        og__broadcast_strides(x, space, strides);
        in->dtype = x->type.dtype;
        in->rank = space->rank;
        for (int a = 0; a < in->rank; a++) {
            in->dims[a] = space->dims[order[a]];
            in->strides[a] = strides[order[a]];
        }
        og__collapse(&in->rank, in->dims, 1, &in->strides);
        in->uniform = true;
        for (int a = 0; a < in->rank; a++) {
            int64_t span = (in->dims[a] - 1) * in->strides[a];
            in->uniform = in->uniform && (in->strides[a] == 0 || in->dims[a] == 1);
            *(span < 0 ? &in->low : &in->high) += span;
        }
        in->first_use = in->last_use = -1;
        in->slot = -1;
        p->uniform[i] = in->uniform;
    }
}

/* Split the instructions into those that run once and those that run for every tile. */
static void plan_steps(og__tile_plan *p, const og_program *program)
{
    for (int k = 0; k < program->n_instr; k++) {
        const og_instr *instr = &program->instr[k];
        int value = p->n_in + k, arity = (int)og__min(og_scalar_arity(instr->op), 3);
        int16_t operand[3] = {arity > 0 ? instr->a : -1, arity > 1 ? instr->b : -1,
                              arity > 2 ? instr->c : -1};
        bool uniform = true, expand[3] = {false, false, false};
        for (int o = 0; o < arity; o++)
            uniform = uniform && p->uniform[operand[o]];
        p->uniform[value] = uniform;
        og__variant variant = uniform ? OG__VECTORS : choose(p, instr->op, operand, expand);
        og__tile_step *s =
            uniform ? &p->uniform_steps[p->n_uniform_steps++] : &p->steps[p->n_steps++];
        *s = (og__tile_step){.fn = p->ops->op[p->domain][variant][instr->op],
                             .a = (int16_t)og__max(operand[0], 0),
                             .b = (int16_t)og__max(operand[1], 0),
                             .c = (int16_t)og__max(operand[2], 0),
                             .value = (int16_t)value,
                             .slot = -1,
                             .output = -1,
                             .imm = instr->imm};
        for (int o = 0; o < arity; o++) {
            if (expand[o])
                p->expanded[operand[o]] = 0; /* numbered by plan_slots */
            if (!uniform && operand[o] < p->n_in) {
                og__tile_input *in = &p->inputs[operand[o]];
                in->last_use = p->n_steps - 1;
                if (in->first_use < 0)
                    in->first_use = in->last_use;
            }
        }
    }
}

/* Which results are outputs, and may be written in place of a register. */
static void plan_outputs(og__tile_plan *p, const og_program *program, const og_call *call)
{
    for (int o = 0; o < p->n_out + (p->folded >= 0); o++) {
        bool stored = o < p->n_out;
        int value = stored ? program->out[o] : p->folded;
        if (stored) {
            p->out[o] = (int16_t)value;
            p->out_dtype[o] = call->y[o].type.dtype;
            if (p->out_dtype[o] == OG_UNDEFINED)
                continue;
            if (value == p->folded && p->out_dtype[o] == og__domain_dtype[p->domain])
                p->folded_output = o;
        }
        if (p->uniform[value]) {
            p->expanded[value] = 0;
        } else if (value < p->n_in) {
            og__tile_input *in = &p->inputs[value];
            in->copied = in->copied || (stored && p->n_out > 1);
            in->first_use = 0;
            in->last_use = p->n_steps;
        } else if (stored) {
            for (int k = 0; k < p->n_steps; k++)
                if (p->steps[k].value == value && p->steps[k].output < 0 &&
                    p->out_dtype[o] == og__domain_dtype[p->domain])
                    p->steps[k].output = o;
        }
    }
}

/* The last step that reads a value; n_steps if an output is stored from it at the end, or it is
 * reduced. */
static int last_use(const og__tile_plan *p, int value)
{
    if (value == p->folded)
        return p->n_steps;
    for (int o = 0; o < p->n_out; o++)
        if (p->out[o] == value)
            return p->n_steps;
    for (int k = p->n_steps - 1; k >= 0; k--)
        if (p->steps[k].a == value || p->steps[k].b == value || p->steps[k].c == value)
            return k;
    return -1;
}

/* Registers: a value holds one from the step that makes it (or first reads it) to the last that
 * reads it. `busy`: by slot, the last step its present owner is read in. */
static int take_slot(og__tile_plan *p, int *busy, int now, int until)
{
    int s = 0;
    while (s < p->n_slots && busy[s] >= now)
        s++;
    if (s == p->n_slots)
        p->n_slots++;
    busy[s] = until;
    return s;
}

static void plan_slots(og__tile_plan *p, int *busy)
{
    for (int v = 0; v < p->n_values; v++)
        if (p->expanded[v] >= 0)
            p->expanded[v] = take_slot(p, busy, 0, p->n_steps + 1);
    /* With no steps at all, inputs stored as they are are loaded "before step 0". */
    for (int k = 0; k < p->n_steps || k == 0; k++) {
        for (int i = 0; i < p->n_in; i++) {
            og__tile_input *in = &p->inputs[i];
            if (!in->uniform && in->first_use == k)
                in->slot = take_slot(p, busy, k, in->last_use);
        }
        /* The result may take the register of an operand read here for the last time. */
        if (k < p->n_steps)
            p->steps[k].slot =
                take_slot(p, busy, k + 1, (int)og__max(last_use(p, p->steps[k].value), k));
    }
}

/* Room for the plan and its arrays; NULL when out of memory. */
static og__tile_plan *plan_new(const og_program *program)
{
    size_t in = (size_t)program->n_in, instr = (size_t)program->n_instr,
           out = (size_t)program->n_out;
    size_t bytes = sizeof(og__tile_plan) + in * sizeof(og__tile_input) +
                   2 * instr * sizeof(og__tile_step) + (in + instr) * sizeof(int) +
                   out * sizeof(og_dtype) + out * sizeof(int16_t) + (in + instr) * sizeof(bool);
    og__tile_plan *p = calloc(1, bytes);
    if (!p)
        return NULL;
    p->n_in = program->n_in;
    p->n_values = program->n_in + program->n_instr;
    p->n_out = program->n_out;
    p->inputs = (og__tile_input *)(p + 1);
    p->uniform_steps = (og__tile_step *)(p->inputs + in);
    p->steps = p->uniform_steps + instr;
    p->expanded = (int *)(p->steps + instr);
    p->out_dtype = (og_dtype *)(p->expanded + in + instr);
    p->out = (int16_t *)(p->out_dtype + out);
    p->uniform = (bool *)(p->out + out);
    for (int v = 0; v < p->n_values; v++)
        p->expanded[v] = -1;
    return p;
}

og_status og__elementwise_prepare(og_call *call, const og_program *program, og_error *error)
{
    og__tile_plan *p = plan_new(program);
    int *busy = calloc(2 * (size_t)(program->n_in + program->n_instr) + 1, sizeof *busy);
    if (!p || !busy) {
        free(p);
        free(busy);
        return og_fail_memory(error, sizeof *p, "an elementwise program");
    }
    p->domain = domain_of(program->domain);
    p->size = og__size(program->domain);
    p->ops = og__tile_ops_best();
    const og_type *space = space_of(call, program);
    int order[OG_MAX_RANK];
    walk_order(call, program, order);
    p->total = og__product(space->dims, 0, space->rank);
    p->folded = program->fold ? program->folded : -1;
    p->folded_output = -1;
    plan_inputs(p, call, space, order);
    plan_steps(p, program);
    plan_outputs(p, program, call);
    plan_slots(p, busy);
    free(busy);

    int streams = p->n_slots + p->n_out;
    for (int i = 0; i < p->n_in; i++)
        streams += !p->inputs[i].uniform;
    p->tile = TILE_BYTES / (int64_t)p->size;
    while (streams * p->tile * (int64_t)p->size > L1_SHARE && p->tile > 256)
        p->tile /= 2;
    p->tile = og__min(p->tile, (int64_t)og_align_up((size_t)og__max(p->total, 1), OG__LANES));
    p->threads = og__threads(call, p->total * og__max(1, p->n_steps));
    if (p->folded >= 0) {
        og__fold_plan(&p->fold, program, &call->y[p->n_out], order);
        p->threads = (int)og__max(1, og__min(p->threads, p->fold.parts));
    }
    p->uniform_bytes =
        og_align_up((size_t)p->n_values * OG__LANES * p->size + (size_t)p->n_out, 256);
    p->thread_bytes = og_align_up((size_t)p->n_slots * (size_t)p->tile * p->size, 64) +
                      (size_t)p->n_values * sizeof(void *);
    p->thread_bytes = og_align_up(p->thread_bytes, 256);
    p->fold_offset = p->uniform_bytes + (size_t)p->threads * p->thread_bytes;
    call->workspace_bytes = p->fold_offset + (p->folded >= 0 ? og__fold_bytes(&p->fold) : 0);
    call->state = p;
    return OG_OK;
}
