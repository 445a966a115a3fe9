/* oneDNN 2.6 and 3.x behind onednn.h. The 2.x interface has descriptors by value and operation
 * descriptors of which primitive descriptors are made; 3.x has handles, and makes primitive
 * descriptors directly. */
#include "kernels/cpu/onednn.h"

#include <omp.h>

#include "kernels/cpu/internal.h"
#include "runtime/base/checked.h"

#define V3 (DNNL_VERSION_MAJOR >= 3)

void og__onednn_settle(void)
{
    int capacity;
    if (dnnl_get_primitive_cache_capacity(&capacity) == dnnl_success &&
        dnnl_set_primitive_cache_capacity(0) == dnnl_success)
        dnnl_set_primitive_cache_capacity(capacity);
}

/* ---- memory descriptors */

static dnnl_data_type_t data_type(og_dtype dtype)
{
    return dtype == OG_FLOAT ? dnnl_f32 : dtype == OG_BFLOAT16 ? dnnl_bf16 : dnnl_data_type_undef;
}

/* Does oneDNN use the instructions for bfloat16? Its own environment variable may forbid it. */
static bool multiplies_bfloat16(void)
{
    const unsigned wanted = dnnl_cpu_isa_avx512_core_bf16;
    return og__has_bfloat16() && ((unsigned)dnnl_get_effective_cpu_isa() & wanted) == wanted;
}

bool og__dnnl_dtype(og_dtype dtype)
{
    return dtype == OG_FLOAT || (dtype == OG_BFLOAT16 && multiplies_bfloat16());
}

static void copy_dims(dnnl_dims_t to, int n, const int64_t *from)
{
    for (int i = 0; i < n; i++)
        to[i] = from[i];
}

og__md_ref og__md_get(const og__md *md)
{
#if V3
    return md->desc;
#else
    return md->desc.ndims ? &md->desc : NULL;
#endif
}

bool og__md_strided(og__md *md, og_dtype dtype, int rank, const int64_t *dims,
                    const int64_t *strides)
{
    dnnl_dims_t d = {0}, s = {0};
    copy_dims(d, rank, dims);
    copy_dims(s, rank, strides);
#if V3
    return dnnl_memory_desc_create_with_strides(&md->desc, rank, d, data_type(dtype), s) ==
           dnnl_success;
#else
    return dnnl_memory_desc_init_by_strides(&md->desc, rank, d, data_type(dtype), s) ==
           dnnl_success;
#endif
}

bool og__md_dense(og__md *md, og_dtype dtype, int rank, const int64_t *dims)
{
    int64_t strides[DNNL_MAX_NDIMS], step = 1;
    for (int i = rank - 1; i >= 0; i--) {
        strides[i] = step;
        step *= dims[i];
    }
    return og__md_strided(md, dtype, rank, dims, strides);
}

static bool tagged(og__md *md, og_dtype dtype, int rank, const int64_t *dims, dnnl_format_tag_t tag)
{
    dnnl_dims_t d = {0};
    copy_dims(d, rank, dims);
#if V3
    return dnnl_memory_desc_create_with_tag(&md->desc, rank, d, data_type(dtype), tag) ==
           dnnl_success;
#else
    return dnnl_memory_desc_init_by_tag(&md->desc, rank, d, data_type(dtype), tag) == dnnl_success;
#endif
}

bool og__md_any(og__md *md, og_dtype dtype, int rank, const int64_t *dims)
{
    return tagged(md, dtype, rank, dims, dnnl_format_tag_any);
}

bool og__md_blocks(og__md *md, int rank, const int64_t *dims, bool depthwise)
{
    static const dnnl_format_tag_t tags[2][3] = {
        {dnnl_OIw16i16o, dnnl_OIhw16i16o, dnnl_OIdhw16i16o},
        {dnnl_Goiw16g, dnnl_Goihw16g, dnnl_Goidhw16g}};
    int spatial = rank - 2 - depthwise;
    return spatial >= 1 && spatial <= 3 &&
           tagged(md, OG_FLOAT, rank, dims, tags[depthwise][spatial - 1]);
}

bool og__md_copy(og__md *md, og__md_ref from)
{
#if V3
    return dnnl_memory_desc_clone(&md->desc, from) == dnnl_success;
#else
    md->desc = *from;
    return true;
#endif
}

bool og__md_equal(og__md_ref a, og__md_ref b)
{
    return dnnl_memory_desc_equal(a, b) != 0;
}

size_t og__md_bytes(og__md_ref md)
{
    return og_align_up(dnnl_memory_desc_get_size(md), 256);
}

void og__md_free(og__md *md)
{
#if V3
    if (md->desc)
        dnnl_memory_desc_destroy(md->desc);
#endif
    memset(md, 0, sizeof *md);
}

/* ---- engines */

bool og__dnnl_open(og__dnnl *d, int threads)
{
    d->threads = threads;
    return dnnl_engine_create(&d->engine, dnnl_cpu, 0) == dnnl_success &&
           dnnl_stream_create(&d->stream, d->engine, dnnl_stream_in_order) == dnnl_success;
}

void og__dnnl_close(og__dnnl *d)
{
    if (d->stream)
        dnnl_stream_destroy(d->stream);
    if (d->engine)
        dnnl_engine_destroy(d->engine);
    *d = (og__dnnl){0};
}

og_status og__dnnl_fail(const og_call *call, og_error *error, const char *what)
{
    return og__call_fail(call, error, OG_INTERNAL, "oneDNN refused %s", what);
}

/* oneDNN takes the number of threads from OpenMP, when it makes a primitive and when it runs it. */
static int use_threads(int threads)
{
    int before = omp_get_max_threads();
    if (before != threads)
        omp_set_num_threads(threads);
    return before;
}

/* ---- primitives */

static bool add_arg(og__dnnl *d, og__primitive *p, int arg, og__md_ref md)
{
    dnnl_memory_t memory;
    if (dnnl_memory_create(&memory, md, d->engine, DNNL_MEMORY_NONE) != dnnl_success)
        return false;
    p->args[p->n++] = (dnnl_exec_arg_t){arg, memory};
    return true;
}

/* ---- steps after a product */

void og__post_free(og__post *post)
{
    for (int i = 0; i < post->n; i++)
        og__md_free(&post->steps[i].add);
}

/* A row that comes first is the primitive's bias. */
static bool first_is_bias(const og__post *post)
{
    return post && post->n > 0 && post->steps[0].row;
}

int og__post_arg(int i, bool row_first)
{
    return i == 0 && row_first ? DNNL_ARG_BIAS
                               : DNNL_ARG_ATTR_MULTIPLE_POST_OP(i - row_first) | DNNL_ARG_SRC_1;
}

/* Measured for 2.6: these are within 4e-7 of the exact value everywhere. Its GELUs lose all digits
 * below -4, and its ReLU makes zero of NaN. */
static const struct {
    og_scalar scalar;
    dnnl_alg_kind_t alg;
    float alpha;
} activations[] = {{OG_SCALAR_Tanh, dnnl_eltwise_tanh, 0},
                   {OG_SCALAR_Sigmoid, dnnl_eltwise_logistic, 0},
                   {OG_SCALAR_Silu, dnnl_eltwise_swish, 1}};
enum { ACTIVATIONS = sizeof activations / sizeof *activations };

bool og__dnnl_activation(og_scalar scalar)
{
    for (int i = 0; i < ACTIVATIONS; i++)
        if (activations[i].scalar == scalar)
            return true;
    return false;
}

static dnnl_status_t append_activation(dnnl_post_ops_t ops, og_scalar scalar)
{
    int i = 0;
    while (i < ACTIVATIONS - 1 && activations[i].scalar != scalar)
        i++;
#if V3
    return dnnl_post_ops_append_eltwise(ops, activations[i].alg, activations[i].alpha, 0);
#else
    return dnnl_post_ops_append_eltwise(ops, 1, activations[i].alg, activations[i].alpha, 0);
#endif
}

static bool set_post(dnnl_primitive_attr_t attr, const og__post *post)
{
    dnnl_post_ops_t ops;
    if (dnnl_post_ops_create(&ops) != dnnl_success)
        return false;
    dnnl_status_t status = dnnl_success;
    for (int i = first_is_bias(post); i < post->n && status == dnnl_success; i++) {
        og__md_ref add = og__md_get(&post->steps[i].add);
        status = add ? dnnl_post_ops_append_binary(ops, dnnl_binary_add, add)
                     : append_activation(ops, post->steps[i].scalar);
    }
    if (status == dnnl_success)
        status = dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
    return status == dnnl_success;
}

/* Scratch memory from the caller, never oneDNN's own; `post` NULL: no steps. */
static bool make_attr(dnnl_primitive_attr_t *attr, const og__post *post)
{
    if (dnnl_primitive_attr_create(attr) != dnnl_success)
        return false;
    if (dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user) == dnnl_success &&
        (!post || set_post(*attr, post)))
        return true;
    dnnl_primitive_attr_destroy(*attr);
    return false;
}

/* The primitive of `pd`, with arguments args[i] laid out as the descriptor says that query[i]
 * finds. */
static bool finish(og__dnnl *d, og__primitive *p, dnnl_primitive_desc_t pd, int n, const int *args,
                   const dnnl_query_t *query)
{
    bool ok = dnnl_primitive_create(&p->primitive, pd) == dnnl_success;
    for (int i = 0; ok && i < n; i++)
        ok = add_arg(d, p, args[i], dnnl_primitive_desc_query_md(pd, query[i], 0));
    og__md_ref scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    if (ok && scratch && dnnl_memory_desc_get_size(scratch) > 0) {
        p->scratch = og__md_bytes(scratch);
        ok = add_arg(d, p, DNNL_ARG_SCRATCHPAD, scratch);
    }
    return ok;
}

static dnnl_status_t conv_pd(og__dnnl *d, dnnl_primitive_desc_t *pd, const og__conv_desc *c,
                             dnnl_primitive_attr_t attr)
{
    dnnl_dims_t strides = {0}, dilates = {0}, begins = {0}, ends = {0};
    copy_dims(strides, c->spatial, c->strides);
    copy_dims(begins, c->spatial, c->pads);
    copy_dims(ends, c->spatial, c->pads + c->spatial);
    for (int i = 0; i < c->spatial; i++)
        dilates[i] = c->dilations[i] - 1; /* oneDNN counts the gaps */
    const dnnl_alg_kind_t alg = dnnl_convolution_direct;
#if V3
    switch (c->kind) {
    case OG__CONV_FORWARD:
        return dnnl_convolution_forward_primitive_desc_create(pd, d->engine, dnnl_forward_training,
                                                              alg, c->x, c->w, c->bias, c->y,
                                                              strides, dilates, begins, ends, attr);
    case OG__CONV_DATA:
        return dnnl_convolution_backward_data_primitive_desc_create(
            pd, d->engine, alg, c->x, c->w, c->y, strides, dilates, begins, ends, NULL, attr);
    default:
        return dnnl_convolution_backward_weights_primitive_desc_create(
            pd, d->engine, alg, c->x, c->w, NULL, c->y, strides, dilates, begins, ends, NULL, attr);
    }
#else
    dnnl_convolution_desc_t desc;
    dnnl_status_t status;
    switch (c->kind) {
    case OG__CONV_FORWARD:
        status = dnnl_dilated_convolution_forward_desc_init(&desc, dnnl_forward_training, alg, c->x,
                                                            c->w, c->bias, c->y, strides, dilates,
                                                            begins, ends);
        break;
    case OG__CONV_DATA:
        status = dnnl_dilated_convolution_backward_data_desc_init(&desc, alg, c->x, c->w, c->y,
                                                                  strides, dilates, begins, ends);
        break;
    default:
        status = dnnl_dilated_convolution_backward_weights_desc_init(
            &desc, alg, c->x, c->w, NULL, c->y, strides, dilates, begins, ends);
    }
    return status == dnnl_success ? dnnl_primitive_desc_create(pd, &desc, attr, d->engine, NULL)
                                  : status;
#endif
}

/* oneDNN's own plain loops, which are slower than ours. */
static bool is_reference(const_dnnl_primitive_desc_t pd)
{
    const char *name = NULL;
    return dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name) ==
               dnnl_success &&
           name && strncmp(name, "ref", 3) == 0;
}

bool og__primitive_conv(og__dnnl *d, og__primitive *p, const og__conv_desc *conv, og__md chosen[3])
{
    /* Arguments x, w, y, bias for each kind. */
    static const int args[3][4] = {
        [OG__CONV_FORWARD] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS},
        [OG__CONV_DATA] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
        [OG__CONV_WEIGHTS] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST}};
    static const dnnl_query_t query[3][4] = {
        [OG__CONV_FORWARD] = {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md,
                              dnnl_query_weights_md},
        [OG__CONV_DATA] = {dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md},
        [OG__CONV_WEIGHTS] = {dnnl_query_src_md, dnnl_query_diff_weights_md,
                              dnnl_query_diff_dst_md}};
    dnnl_primitive_attr_t attr;
    if (!make_attr(&attr, conv->post))
        return false;
    int before = use_threads(d->threads);
    dnnl_primitive_desc_t pd = NULL;
    bool ok = conv_pd(d, &pd, conv, attr) == dnnl_success;
    if (ok && is_reference(pd)) {
        dnnl_primitive_desc_destroy(pd);
        ok = false;
    }
    if (ok) {
        for (int i = 0; ok && chosen && i < 3; i++)
            ok = og__md_copy(&chosen[i], dnnl_primitive_desc_query_md(pd, query[conv->kind][i], 0));
        if (p)
            ok = ok && finish(d, p, pd, 3, args[conv->kind], query[conv->kind]);
        if (ok && p && conv->bias)
            ok = add_arg(d, p, DNNL_ARG_BIAS, conv->bias);
        dnnl_primitive_desc_destroy(pd);
    }
    use_threads(before);
    dnnl_primitive_attr_destroy(attr);
    return ok;
}

static bool matmul_pd(og__dnnl *d, dnnl_primitive_desc_t *pd, og__md_ref a, og__md_ref b,
                      og__md_ref y, const og__post *post)
{
    dnnl_primitive_attr_t attr;
    if (!make_attr(&attr, post))
        return false;
    og__md_ref bias = first_is_bias(post) ? og__md_get(&post->steps[0].add) : NULL;
#if V3
    bool ok = dnnl_matmul_primitive_desc_create(pd, d->engine, a, b, bias, y, attr) == dnnl_success;
#else
    dnnl_matmul_desc_t desc;
    bool ok = dnnl_matmul_desc_init(&desc, a, b, bias, y) == dnnl_success &&
              dnnl_primitive_desc_create(pd, &desc, attr, d->engine, NULL) == dnnl_success;
#endif
    dnnl_primitive_attr_destroy(attr);
    return ok;
}

bool og__primitive_matmul(og__dnnl *d, og__primitive *p, og__md_ref a, og__md_ref b, og__md_ref y,
                          const og__post *post)
{
    int before = use_threads(d->threads);
    dnnl_primitive_desc_t pd = NULL;
    bool ok = matmul_pd(d, &pd, a, b, y, post);
    if (ok) {
        ok = finish(
            d, p, pd, 3, (const int[]){DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
            (const dnnl_query_t[]){dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md});
        for (int i = 0; ok && post && i < post->n; i++) {
            og__md_ref add = og__md_get(&post->steps[i].add);
            ok = !add || add_arg(d, p, og__post_arg(i, first_is_bias(post)), add);
        }
        dnnl_primitive_desc_destroy(pd);
    }
    use_threads(before);
    return ok;
}

bool og__matmul_layout(og__dnnl *d, og__md_ref a, og__md_ref b, og__md_ref y, const og__post *post,
                       og__md *chosen)
{
    int before = use_threads(d->threads);
    dnnl_primitive_desc_t pd = NULL;
    bool ok = matmul_pd(d, &pd, a, b, y, post);
    if (ok) {
        ok = og__md_copy(chosen, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
        dnnl_primitive_desc_destroy(pd);
    }
    use_threads(before);
    return ok;
}

bool og__primitive_reorder(og__dnnl *d, og__primitive *p, og__md_ref from, og__md_ref to)
{
    dnnl_primitive_attr_t attr;
    if (!make_attr(&attr, NULL))
        return false;
    int before = use_threads(d->threads);
    dnnl_primitive_desc_t pd = NULL;
    bool ok = dnnl_reorder_primitive_desc_create(&pd, from, d->engine, to, d->engine, attr) ==
              dnnl_success;
    if (ok) {
        ok = finish(d, p, pd, 0, NULL, NULL) && add_arg(d, p, DNNL_ARG_FROM, from) &&
             add_arg(d, p, DNNL_ARG_TO, to);
        dnnl_primitive_desc_destroy(pd);
    }
    use_threads(before);
    dnnl_primitive_attr_destroy(attr);
    return ok;
}

bool og__primitive_run(const og__dnnl *d, og__primitive *p, int n, const int *args,
                       void *const *data, void *scratch)
{
    for (int i = 0; i < p->n; i++) {
        void *handle = scratch;
        for (int k = 0; k < n; k++)
            if (args[k] == p->args[i].arg)
                handle = data[k];
        if (handle != p->handles[i]) {
            if (dnnl_memory_set_data_handle(p->args[i].memory, handle) != dnnl_success)
                return false;
            p->handles[i] = handle;
        }
    }
    int before = use_threads(d->threads);
    bool ok = dnnl_primitive_execute(p->primitive, d->stream, p->n, p->args) == dnnl_success;
    use_threads(before);
    return ok;
}

void og__primitive_free(og__primitive *p)
{
    for (int i = 0; i < p->n; i++)
        dnnl_memory_destroy(p->args[i].memory);
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    *p = (og__primitive){0};
}
