/* From a product's program to the steps that oneDNN does (epilogue.h). */
#include "kernels/cpu/epilogue.h"

/* y + an input: a row, or as many elements as y. */
static bool add_input(const og_call *call, int64_t columns, int input, og__epilogue *e)
{
    const og_tensor *x = &call->x[input], *y = &call->y[0];
    int64_t elements = og__elements(x);
    bool row = elements == columns && x->type.rank > 0 && x->type.dims[x->type.rank - 1] == columns;
    if (x->type.dtype != y->type.dtype || (!row && elements != og__elements(y)))
        return false;
    e->steps[e->n].input = input;
    e->steps[e->n].row = row;
    e->steps[e->n++].copied = !og_tensor_is_dense(x);
    return true;
}

/* Rounding to y's type between steps, which is left out: the steps are exacter without. */
static bool rounds(og_scalar op, og_dtype dtype)
{
    return (op == OG_SCALAR_RoundBfloat16 && dtype == OG_BFLOAT16) ||
           (op == OG_SCALAR_RoundFloat16 && dtype == OG_FLOAT16);
}

bool og__epilogue_of(const og_call *call, int64_t columns, og__epilogue *e)
{
    const og_program *p = call->node->program;
    int value = 0, own = og_own_inputs(call->node);
    *e = (og__epilogue){0};
    if (!p)
        return true;
    if (p->fold || p->n_out != 1 || p->domain != OG_FLOAT)
        return false;
    for (int k = 0; k < p->n_instr; k++) {
        const og_instr *i = &p->instr[k];
        if (rounds(i->op, call->y[0].type.dtype) && i->a == value) {
            value = p->n_in + k;
            continue;
        }
        if (e->n == OG__POST_STEPS)
            return false;
        if (i->op == OG_SCALAR_Add) {
            int other = i->a == value ? i->b : i->a;
            if ((i->a != value && i->b != value) || other < 1 || other >= p->n_in ||
                !add_input(call, columns, own + other - 1, e))
                return false;
        } else if (i->a == value && og__dnnl_activation(i->op)) {
            e->steps[e->n].input = -1;
            e->steps[e->n++].scalar = i->op;
        } else {
            return false;
        }
        value = p->n_in + k;
    }
    return p->out[0] == value;
}

void og__epilogue_book(og__epilogue *e, og_call *call)
{
    for (int i = 0; i < e->n; i++)
        if (e->steps[i].copied) {
            const og_tensor *x = &call->x[e->steps[i].input];
            e->steps[i].copy_offset = call->workspace_bytes;
            call->workspace_bytes +=
                ((size_t)og__elements(x) * og__size(x->type.dtype) + 255) / 256 * 256;
        }
}

bool og__epilogue_post(const og__epilogue *e, const og_call *call, int rank, const int64_t *dims,
                       const int64_t *strides, og__post *post)
{
    *post = (og__post){.n = e->n};
    for (int i = 0; i < e->n; i++) {
        post->steps[i].row = e->steps[i].row;
        post->steps[i].scalar = e->steps[i].scalar;
        if (e->steps[i].input < 0)
            continue;
        int64_t row[3] = {1, 1, 1};
        row[rank - 1] = dims[rank - 1];
        og_dtype dtype = call->x[e->steps[i].input].type.dtype;
        if (!(e->steps[i].row ? og__md_dense(&post->steps[i].add, dtype, rank, row)
                              : og__md_strided(&post->steps[i].add, dtype, rank, dims, strides)))
            return false;
    }
    return true;
}

void og__epilogue_gather(const og__epilogue *e, const og_call *call, char *data[OG__POST_STEPS])
{
    for (int i = 0; i < e->n; i++) {
        const og_tensor *x = e->steps[i].input < 0 ? NULL : &call->x[e->steps[i].input];
        data[i] = x ? x->data : NULL;
        if (!e->steps[i].copied)
            continue;
        data[i] = (char *)call->workspace + e->steps[i].copy_offset;
        og__copy_dense(call, data[i], x);
    }
}

int og__epilogue_args(const og__epilogue *e, const og_call *call,
                      char *const gathered[OG__POST_STEPS], int64_t offset, int n, int *args,
                      void **data)
{
    for (int i = 0; i < e->n; i++) {
        if (e->steps[i].input < 0)
            continue;
        int64_t size = (int64_t)og__size(call->x[e->steps[i].input].type.dtype);
        args[n] = og__post_arg(i, e->steps[0].row);
        data[n++] = gathered[i] + (e->steps[i].row ? 0 : offset * size);
    }
    return n;
}
