/* The text of a reduction's kernels (fold.h). */
#include "kernels/cuda/fold.h"

#include "kernels/cpu/internal.h"

/* What nothing has been taken into. */
static const char *start_of(const og_program *p)
{
    bool ints = p->domain == OG_INT64;
    switch (p->fold) {
    case OG_FOLD_PROD:
        return "(T)1";
    case OG_FOLD_MAX:
        return ints ? "(-9223372036854775807ll - 1)"
                    : "(T)og_double_of_bits(0xfff0000000000000ull)";
    case OG_FOLD_MIN:
        return ints ? "9223372036854775807ll" : "(T)og_double_of_bits(0x7ff0000000000000ull)";
    default:
        return "(T)0";
    }
}

static const char *join_of(og_fold fold)
{
    return fold == OG_FOLD_PROD  ? "a * b"
           : fold == OG_FOLD_MAX ? "a != a ? a : (b > a || b != b ? b : a)"
           : fold == OG_FOLD_MIN ? "a != a ? a : (b < a || b != b ? b : a)"
                                 : "a + b";
}

static void write_begin(const og__fold_loop *f, og_text *text)
{
    const og_program *p = &f->loop.program;
    const char *type = og__text_type(f->result);
    og__loop_begin(&f->loop, text);
    og_text_add(text, "typedef struct og_fold_arguments {\n");
    if (p->n_in)
        og_text_printf(text, "    const void *x[%d];\n", p->n_in);
    if (p->n_out)
        og_text_printf(text, "    void *y[%d];\n", p->n_out);
    og_text_printf(text,
                   "    void *result;\n    T *parts;\n} og_fold_arguments;\n"
                   "OG_DEVICE T og_join(T a, T b)\n{\n    return %s;\n}\n"
                   "OG_WARP_JOIN(og_join_warp, T, og_join)\n"
                   "OG_DEVICE T og_finish(T v)\n{\n    return v%s",
                   join_of(p->fold), p->fold == OG_FOLD_MEAN ? " / (T)" : ";\n}\n");
    if (p->fold == OG_FOLD_MEAN)
        og_text_printf(text, "%lld;\n}\n", (long long)f->count);
    /* a result, counted along the kept axes */
    og_text_add(text, "OG_DEVICE void og_store(og_fold_arguments p, I k, T v)\n{\n"
                      "    int64_t at = 0;\n");
    for (int a = f->loop.rank - 1; a >= 0; a--)
        if (!f->reduced[a])
            og_text_printf(text, "    at += (int64_t)(k %% %lldu) * %lld;\n    k /= %lldu;\n",
                           (long long)f->loop.dims[a], (long long)f->y_strides[a],
                           (long long)f->loop.dims[a]);
    og_text_printf(text, "    (void)k;\n    ((%s *)p.result)[at] = (%s)%sog_finish(v));\n}\n", type,
                   type, og__text_stores(f->result, p->domain));
}

/* The index of the group that is kept group k, and step r of what is reduced. */
static void write_index(const og__fold_loop *f, og_text *text)
{
    const og__loop *loop = &f->loop;
    og_text_add(text, "        I uk = k, ur = r;\n");
    for (int a = loop->rank - 1; a >= 0; a--) {
        char from = f->reduced[a] ? 'r' : 'k';
        int64_t width = a == loop->rank - 1 ? loop->width : 1, n = loop->dims[a] / width;
        og_text_printf(text, "        const I i%d = u%c %% %lldu * %lldu;\n        u%c /= %lldu;\n",
                       a, from, (long long)n, (long long)width, from, (long long)n);
    }
    og_text_add(text, "        (void)uk;\n        (void)ur;\n");
    for (int a = 0; a < loop->rank; a++)
        og_text_printf(text, "        (void)i%d;\n", a);
    og__loop_addresses(loop, text, "        ");
}

/* The position is Σ index × what lies behind the axis. */
static void write_position(const og__fold_loop *f, og_text *text)
{
    const og__loop *loop = &f->loop;
    int64_t behind = 1;
    if (!loop->program.n_out)
        return;
    og_text_add(text, "        const I i = 0");
    for (int a = loop->rank - 1; a >= 0; a--) {
        og_text_printf(text, " + i%d * %lldu", a, (long long)behind);
        behind *= loop->dims[a];
    }
    og_text_add(text, ";\n");
}

/* acc takes in group (k, r). */
static void write_take(const og__fold_loop *f, og_text *text)
{
    const og_program *p = &f->loop.program;
    og_text take = {0};
    const char *to = f->by_rows ? "acc[0]" : "acc[e]";
    og_text_printf(&take,
                   p->fold == OG_FOLD_SUM_SQUARE ? "            %s = og_join(%s, y[%d] * y[%d]);\n"
                                                 : "            %s = og_join(%s, y[%d]);\n",
                   to, to, p->n_out, p->n_out);
    write_index(f, text);
    write_position(f, text);
    og__loop_group(&f->loop, text, take.s);
    text->failed = text->failed || take.failed;
    og_text_free(&take);
}

/* A result of a part, or the result itself. */
static void write_put(const og__fold_loop *f, og_text *text, const char *k, const char *v)
{
    if (f->parts > 1)
        og_text_printf(text, "p.parts[(%s) * %lldu + part] = %s;\n", k, (long long)f->parts, v);
    else
        og_text_printf(text, "og_store(p, %s, %s);\n", k, v);
}

static void write_rows(const og__fold_loop *f, og_text *text, const char *name)
{
    bool warp = f->team == OG__FOLD_WARP;
    og_text_printf(text,
                   "OG_KERNEL(%s, og_fold_arguments, p)\n{\n"
                   "    const I unit = %s, lane = threadIdx.x %% %du;\n"
                   "    const I k = unit / %lldu, part = unit %% %lldu;\n"
                   "    (void)part;\n",
                   name,
                   warp ? "(I)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32" : "(I)blockIdx.x",
                   f->team, (long long)f->parts, (long long)f->parts);
    if (warp)
        og_text_printf(text, "    if (k >= %lldu)\n        return;\n", (long long)f->kept);
    else
        og_text_add(text, "    OG_SHARED(T, scratch, 32);\n");
    og_text_printf(
        text,
        "    T acc[1] = {%s};\n"
        "    const I end = part * %lldu + %lldu < %lldu ? part * %lldu + %lldu : %lldu;\n"
        "    for (I r = part * %lldu + lane; r < end; r += %du) {\n",
        start_of(&f->loop.program), (long long)f->part, (long long)f->part, (long long)f->steps,
        (long long)f->part, (long long)f->part, (long long)f->steps, (long long)f->part, f->team);
    write_take(f, text);
    og_text_add(text, "    }\n    T v = og_join_warp(acc[0]);\n");
    if (!warp)
        og_text_printf(text,
                       "    if (threadIdx.x %% 32 == 0)\n        scratch[threadIdx.x / 32] = v;\n"
                       "    __syncthreads();\n"
                       "    if (threadIdx.x >= 32)\n        return;\n"
                       "    v = og_join_warp(threadIdx.x < %du ? scratch[threadIdx.x] : %s);\n",
                       f->team / 32, start_of(&f->loop.program));
    og_text_add(text, "    if (lane == 0)\n        ");
    write_put(f, text, "k", "v");
    og_text_add(text, "}\n");
}

static void write_columns(const og__fold_loop *f, og_text *text, const char *name)
{
    int width = f->loop.width, across = OG__FOLD_COLUMNS, down = OG__FOLD_THREADS / across;
    int64_t groups = f->kept / width, blocks = (groups + across - 1) / across;
    og_text_printf(
        text,
        "OG_KERNEL(%s, og_fold_arguments, p)\n{\n"
        "    OG_SHARED(T, scratch, %d);\n"
        "    const I tx = threadIdx.x %% %du, ty = threadIdx.x / %du;\n"
        "    const I k = (I)blockIdx.x %% %lldu * %du + tx, part = (I)blockIdx.x / %lldu;\n"
        "    T acc[%d];\n"
        "    OG_UNROLL for (int e = 0; e < %d; e++)\n        acc[e] = %s;\n"
        "    const I end = part * %lldu + %lldu < %lldu ? part * %lldu + %lldu : %lldu;\n"
        "    for (I r = part * %lldu + ty; k < %lldu && r < end; r += %du) {\n",
        name, OG__FOLD_THREADS * width, across, across, (long long)blocks, across,
        (long long)blocks, width, width, start_of(&f->loop.program), (long long)f->part,
        (long long)f->part, (long long)f->steps, (long long)f->part, (long long)f->part,
        (long long)f->steps, (long long)f->part, (long long)groups, down);
    write_take(f, text);
    og_text_printf(text,
                   "    }\n"
                   "    OG_UNROLL for (int e = 0; e < %d; e++)\n"
                   "        scratch[(ty * %d + e) * %d + tx] = acc[e];\n"
                   "    __syncthreads();\n"
                   "    if (ty != 0 || k >= %lldu)\n        return;\n"
                   "    OG_UNROLL for (int e = 0; e < %d; e++) {\n"
                   "        for (int j = 1; j < %d; j++)\n"
                   "            acc[e] = og_join(acc[e], scratch[(j * %d + e) * %d + tx]);\n"
                   "        ",
                   width, width, across, (long long)groups, width, down, width, across);
    og_text k = {0};
    og_text_printf(&k, "k * %du + e", width);
    write_put(f, text, k.s ? k.s : "", "acc[e]");
    text->failed = text->failed || k.failed;
    og_text_free(&k);
    og_text_add(text, "    }\n}\n");
}

static void write_kernel(const og__fold_loop *f, og_text *text, const char *name)
{
    if (f->by_rows)
        write_rows(f, text, name);
    else
        write_columns(f, text, name);
}

/* A warp for each result. */
static void write_join(const og__fold_loop *f, og_text *text)
{
    og_text_printf(text,
                   "OG_KERNEL(" OG__FOLD_JOIN ", og_fold_arguments, p)\n{\n"
                   "    const I k = (I)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;\n"
                   "    if (k >= %lldu)\n        return;\n"
                   "    T v = %s;\n"
                   "    for (int i = (int)(threadIdx.x %% 32); i < %lld; i += 32)\n"
                   "        v = og_join(v, p.parts[k * %lldu + i]);\n"
                   "    v = og_join_warp(v);\n"
                   "    if (threadIdx.x %% 32 == 0)\n        og_store(p, k, v);\n}\n",
                   (long long)f->kept, start_of(&f->loop.program), (long long)f->parts,
                   (long long)f->parts);
}

void og__fold_write(const og__fold_loop *f, og_text *text)
{
    write_begin(f, text);
    og__fold_loop narrow = og__fold_narrow(f);
    write_kernel(&narrow, text, OG__FOLD_SINGLE);
    if (f->loop.width > 1)
        write_kernel(f, text, OG__FOLD_WIDE);
    if (f->parts > 1)
        write_join(f, text);
}
