/* Conv, its gradients and ConvTranspose, plain: products (gemm.h) with the matrix of windows.
 *
 * For one image, one group and some output positions p, the windows are
 *
 *     col[c, k][p] = x[c][p stride + k dilation - pad]      (0 outside)
 *
 * With w and y as matrices [m, c k] and [m, p]:
 *
 *     y = w col
 *     dcol = wᵀ dy, added up to dx where windows overlap
 *     dw = Σ dy colᵀ, over images and p
 *
 * Work is cut into tasks that write different elements, whose sums run in one order whatever the
 * number of threads. Half types are converted to float in the workspace and back. */
#include "kernels/cpu/conv.h"

#include <stdlib.h>

#include "kernels/cpu/gemm.h"
#include "runtime/base/checked.h"

/* Elements of a matrix of windows that one task holds at a time. */
#define WINDOWS (256 << 10)

typedef struct plan {
    og__conv conv;
    og__conv_op op;
    og_dtype dtype; /* computed in: float or double */
    int threads;
    int64_t c_group, m_group;       /* channels of a group */
    int64_t c_step, m_step, p_step; /* channels and positions of a task */
    int64_t window, in, out;        /* elements of a kernel, of an image's channel */
    int64_t c_tiles, m_tiles, p_tiles, tasks;
    bool direct;                         /* windows are x itself: 1 × 1, no pads, no strides */
    size_t x_offset, w_offset, y_offset; /* float copies of half tensors */
    size_t thread_offset, col_bytes, thread_bytes;
} plan;

/* ---- windows */

/* Walks the runs of positions from … to - 1 that share all but the last coordinate. Row `k` of the
 * kernel. */
typedef struct run {
    int64_t at, count;      /* first position, how many */
    int64_t first, last;    /* of `count`, those that fall inside x */
    int64_t offset, stride; /* in a channel of x, of position `at + first`; between positions */
} run;

static run next_run(const og__conv *c, const int64_t k[3], int64_t at, int64_t to)
{
    int64_t width = c->out[2], column = at % width, row = at / width % c->out[1],
            plane = at / width / c->out[1];
    run r = {.at = at, .count = og__min(width - column, to - at), .stride = c->strides[2]};
    int64_t z = plane * c->strides[0] + k[0] * c->dilations[0] - c->begins[0];
    int64_t y = row * c->strides[1] + k[1] * c->dilations[1] - c->begins[1];
    int64_t x = column * c->strides[2] + k[2] * c->dilations[2] - c->begins[2];
    if (z < 0 || z >= c->in[0] || y < 0 || y >= c->in[1])
        return r;
    r.first = x < 0 ? og__min(r.count, (-x + r.stride - 1) / r.stride) : 0;
    r.last = x >= c->in[2] ? 0 : og__min(r.count, (c->in[2] - 1 - x) / r.stride + 1);
    if (r.last < r.first)
        r.last = r.first;
    r.offset = (z * c->in[1] + y) * c->in[2] + x + r.first * r.stride;
    return r;
}

#define WINDOWS_OF(T)                                                                             \
    /* x: channels of one image → col: [channels × window, to - from] */                       \
    static void gather_##T(const plan *p, int64_t channels, int64_t from, int64_t to, const T *x, \
                           T *col)                                                                \
    {                                                                                             \
        const og__conv *c = &p->conv;                                                             \
        for (int64_t row = 0; row < channels * p->window; row++, col += to - from) {              \
            int64_t k = row % p->window;                                                          \
            const int64_t at[3] = {k / c->kernel[2] / c->kernel[1],                               \
                                   k / c->kernel[2] % c->kernel[1], k % c->kernel[2]};            \
            const T *image = x + row / p->window * p->in;                                         \
            for (int64_t q = from; q < to;) {                                                     \
                run r = next_run(c, at, q, to);                                                   \
                T *line = col + (q - from);                                                       \
                const T *source = image + r.offset;                                               \
                for (int64_t i = 0; i < r.first; i++)                                             \
                    line[i] = 0;                                                                  \
                if (r.stride == 1)                                                                \
                    memcpy(line + r.first, source, (size_t)(r.last - r.first) * sizeof(T));       \
                else                                                                              \
                    for (int64_t i = r.first; i < r.last; i++)                                    \
                        line[i] = source[(i - r.first) * r.stride];                               \
                for (int64_t i = r.last; i < r.count; i++)                                        \
                    line[i] = 0;                                                                  \
                q += r.count;                                                                     \
            }                                                                                     \
        }                                                                                         \
    }                                                                                             \
    /* The other way, adding to x. */                                                             \
    static void scatter_##T(const plan *p, int64_t channels, int64_t from, int64_t to, T *x,      \
                            const T *col)                                                         \
    {                                                                                             \
        const og__conv *c = &p->conv;                                                             \
        for (int64_t row = 0; row < channels * p->window; row++, col += to - from) {              \
            int64_t k = row % p->window;                                                          \
            const int64_t at[3] = {k / c->kernel[2] / c->kernel[1],                               \
                                   k / c->kernel[2] % c->kernel[1], k % c->kernel[2]};            \
            T *image = x + row / p->window * p->in;                                               \
            for (int64_t q = from; q < to;) {                                                     \
                run r = next_run(c, at, q, to);                                                   \
                const T *line = col + (q - from);                                                 \
                T *target = image + r.offset;                                                     \
                for (int64_t i = r.first; i < r.last; i++)                                        \
                    target[(i - r.first) * r.stride] += line[i];                                  \
                q += r.count;                                                                     \
            }                                                                                     \
        }                                                                                         \
    }                                                                                             \
    /* count rows of n elements, row i plus bias[i] */                                            \
    static void add_bias_##T(int64_t count, int64_t n, int64_t row, const T *bias, T *y)          \
    {                                                                                             \
        for (int64_t i = 0; i < count; i++)                                                       \
            for (int64_t j = 0; j < n; j++)                                                       \
                y[i * row + j] += bias[i];                                                        \
    }
WINDOWS_OF(float)
WINDOWS_OF(double)

/* ---- tasks */

/* One task: all pointers to whole tensors, in the computed type. */
typedef struct job {
    const plan *p;
    char *x, *w, *y;
    const char *bias;
    char *col, *gemm;
} job;

#define AT(pointer, index) ((pointer) + (index)*size)

/* y[image, channels m0 … m1 of the group, positions q0 … q1] */
static void forward_task(const job *j, int64_t task)
{
    const plan *p = j->p;
    const og__conv *c = &p->conv;
    int64_t size = (int64_t)og__size(p->dtype), rows = p->c_group * p->window;
    int64_t q0 = task % p->p_tiles * p->p_step, group = task / p->p_tiles % c->group,
            image = task / p->p_tiles / c->group;
    int64_t q1 = og__min(p->out, q0 + p->p_step), m0 = group * p->m_group;
    char *x = AT(j->x, (image * c->c + group * p->c_group) * p->in),
         *y = AT(j->y, (image * c->m + m0) * p->out + q0);
    og__gemm g = {.dtype = p->dtype,
                  .m = p->m_group,
                  .n = q1 - q0,
                  .k = rows,
                  .a_row = rows,
                  .a_column = 1,
                  .b_row = p->direct ? p->in : q1 - q0,
                  .b_column = 1,
                  .c_row = p->out};
    if (!p->direct) {
        if (p->dtype == OG_DOUBLE)
            gather_double(p, p->c_group, q0, q1, (const double *)x, (double *)j->col);
        else
            gather_float(p, p->c_group, q0, q1, (const float *)x, (float *)j->col);
    }
    og__gemm_run(&g, AT(j->w, m0 * rows), p->direct ? AT(x, q0) : j->col, y, j->gemm);
    if (j->bias && p->dtype == OG_DOUBLE)
        add_bias_double(p->m_group, q1 - q0, p->out, (const double *)j->bias + m0, (double *)y);
    else if (j->bias)
        add_bias_float(p->m_group, q1 - q0, p->out, (const float *)j->bias + m0, (float *)y);
}

/* x[image, channels c0 … c1 of the group] */
static void data_task(const job *j, int64_t task)
{
    const plan *p = j->p;
    const og__conv *c = &p->conv;
    int64_t size = (int64_t)og__size(p->dtype), rows = p->c_group * p->window;
    int64_t c0 = task % p->c_tiles * p->c_step, group = task / p->c_tiles % c->group,
            image = task / p->c_tiles / c->group;
    int64_t channels = og__min(p->c_step, p->c_group - c0), m0 = group * p->m_group,
            c_at = group * p->c_group + c0;
    char *x = AT(j->x, (image * c->c + c_at) * p->in);
    og__gemm g = {.dtype = p->dtype,
                  .m = channels * p->window,
                  .k = p->m_group,
                  .a_row = 1,
                  .a_column = rows,
                  .b_row = p->out,
                  .b_column = 1};
    memset(x, 0, (size_t)(channels * p->in * size));
    for (int64_t q0 = 0; q0 < p->out; q0 += p->p_step) {
        int64_t q1 = og__min(p->out, q0 + p->p_step);
        g.n = q1 - q0;
        g.c_row = p->direct ? p->in : g.n;
        og__gemm_run(&g, AT(j->w, m0 * rows + c0 * p->window),
                     AT(j->y, (image * c->m + m0) * p->out + q0), p->direct ? AT(x, q0) : j->col,
                     j->gemm);
        if (p->direct)
            continue;
        if (p->dtype == OG_DOUBLE)
            scatter_double(p, channels, q0, q1, (double *)x, (const double *)j->col);
        else
            scatter_float(p, channels, q0, q1, (float *)x, (const float *)j->col);
    }
    if (j->bias && p->dtype == OG_DOUBLE)
        add_bias_double(channels, p->in, p->in, (const double *)j->bias + c_at, (double *)x);
    else if (j->bias)
        add_bias_float(channels, p->in, p->in, (const float *)j->bias + c_at, (float *)x);
}

/* w[channels m0 … m1 of the group, c0 … c1] */
static void weights_task(const job *j, int64_t task)
{
    const plan *p = j->p;
    const og__conv *c = &p->conv;
    int64_t size = (int64_t)og__size(p->dtype), rows = p->c_group * p->window;
    int64_t c0 = task % p->c_tiles * p->c_step, m0 = task / p->c_tiles % p->m_tiles * p->m_step;
    int64_t group = task / p->c_tiles / p->m_tiles, channels = og__min(p->c_step, p->c_group - c0);
    int64_t m_at = group * p->m_group + m0, c_at = group * p->c_group + c0;
    char *w = AT(j->w, m_at * rows + c0 * p->window);
    og__gemm g = {.dtype = p->dtype,
                  .m = og__min(p->m_step, p->m_group - m0),
                  .n = channels * p->window,
                  .a_row = p->out,
                  .a_column = 1,
                  .b_row = 1,
                  .c_row = rows};
    for (int64_t image = 0; image < c->n; image++)
        for (int64_t q0 = 0; q0 < p->out; q0 += p->p_step) {
            int64_t q1 = og__min(p->out, q0 + p->p_step);
            const char *x = AT(j->x, (image * c->c + c_at) * p->in);
            g.k = q1 - q0;
            g.b_column = p->direct ? p->in : g.k;
            if (p->direct)
                x = AT(x, q0);
            else if (p->dtype == OG_DOUBLE)
                gather_double(p, channels, q0, q1, (const double *)x, (double *)j->col);
            else
                gather_float(p, channels, q0, q1, (const float *)x, (float *)j->col);
            og__gemm_run(&g, AT(j->y, (image * c->m + m_at) * p->out + q0), p->direct ? x : j->col,
                         w, j->gemm);
            g.add = true;
        }
}

/* ---- the kernel */

static bool supports(const og_call *call, og__conv_op op)
{
    og__conv c;
    if (!og__conv_of(call, op, &c) || !og__is_real(call->x[0].type.dtype))
        return false;
    for (int i = 0; i < call->nx; i++)
        if (og__has(call->nx, call->x, i) && og__elements(&call->x[i]) == 0)
            return false;
    return og__elements(&call->y[0]) > 0;
}

static void plan_tasks(plan *p)
{
    const og__conv *c = &p->conv;
    int64_t want = 4 * p->threads, rows = p->c_group * p->window;
    p->c_step = p->c_group;
    p->m_step = p->m_group;
    p->c_tiles = p->m_tiles = p->p_tiles = 1;
    if (p->threads > 1 && p->op != OG__CONV) {
        int64_t tasks = p->op == OG__CONV_GRAD_WEIGHTS ? c->group : c->n * c->group;
        int64_t pieces = og__max(1, og__min(p->c_group, want / tasks));
        p->c_step = (p->c_group + pieces - 1) / pieces;
        p->c_tiles = (p->c_group + p->c_step - 1) / p->c_step;
        if (p->op == OG__CONV_GRAD_WEIGHTS) {
            pieces = og__max(1, og__min(p->m_group, p->threads / (tasks * p->c_tiles)));
            p->m_step = (p->m_group + pieces - 1) / pieces;
            p->m_tiles = (p->m_group + p->m_step - 1) / p->m_step;
        }
        rows = p->c_step * p->window;
    }
    p->p_step = og__min(p->out, og__max(64, WINDOWS / rows / 64 * 64));
    if (p->op == OG__CONV) {
        int64_t pieces = og__max(1, want / (c->n * c->group));
        p->p_step =
            og__min(p->p_step, (int64_t)og_align_up((size_t)((p->out + pieces - 1) / pieces), 64));
        p->p_tiles = (p->out + p->p_step - 1) / p->p_step;
        p->tasks = c->n * c->group * p->p_tiles;
    } else if (p->op == OG__CONV_GRAD_WEIGHTS) {
        p->tasks = c->group * p->c_tiles * p->m_tiles;
    } else {
        p->tasks = c->n * c->group * p->c_tiles;
    }
    size_t size = og__size(p->dtype);
    p->col_bytes = p->direct ? 0 : og_align_up((size_t)(rows * p->p_step) * size, 256);
    int64_t gm = og__max(p->m_group, rows), gn = og__max(rows, p->p_step), gk = og__max(gm, gn);
    p->thread_bytes = p->col_bytes + og__gemm_bytes(p->dtype, gm, gn, gk);
}

static og_status prepare(og_call *call, og_error *error, og__conv_op op)
{
    plan *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a convolution");
    og__conv *c = &p->conv;
    og__conv_of(call, op, c);
    p->op = op;
    og_dtype dtype = call->x[0].type.dtype;
    p->dtype = dtype == OG_DOUBLE ? OG_DOUBLE : OG_FLOAT;
    p->c_group = c->c / c->group;
    p->m_group = c->m / c->group;
    p->window = og__product(c->kernel, 0, OG__SPATIAL);
    p->in = og__product(c->in, 0, OG__SPATIAL);
    p->out = og__product(c->out, 0, OG__SPATIAL);
    p->direct = p->window == 1;
    for (int a = 0; a < OG__SPATIAL; a++)
        p->direct = p->direct && c->strides[a] == 1 && c->begins[a] == 0 && c->ends[a] == 0;
    p->threads = og__product_threads(call, c->n * c->m * p->out * p->c_group * p->window);
    plan_tasks(p);

    size_t bytes = 0;
    if (dtype != p->dtype) {
        og__conv_tensors t = og__conv_tensors_of(call, op);
        p->x_offset = bytes;
        bytes += og_align_up((size_t)og__elements(t.x) * sizeof(float), 256);
        p->w_offset = bytes;
        bytes += og_align_up((size_t)og__elements(t.w) * sizeof(float), 256);
        p->y_offset = bytes;
        bytes += og_align_up((size_t)og__elements(t.y) * sizeof(float), 256);
        bytes += og_align_up((size_t)(t.bias ? og__elements(t.bias) : 0) * sizeof(float), 256);
    }
    p->thread_offset = bytes;
    call->workspace_bytes = bytes + (size_t)p->threads * p->thread_bytes;
    call->state = p;
    return OG_OK;
}

/* A half tensor as float, and back. */
static char *widen(const og_tensor *t, char *to)
{
    for (int64_t i = 0, n = og__elements(t); i < n; i++)
        ((float *)to)[i] = (float)og__load_double(t->data, t->type.dtype, i);
    return to;
}

static og_status run_conv(const og_call *call, og_error *error)
{
    (void)error;
    const plan *p = call->state;
    og__conv_tensors t = og__conv_tensors_of(call, p->op);
    char *workspace = call->workspace;
    job j = {p, t.x->data, t.w->data, t.y->data, t.bias ? t.bias->data : NULL, NULL, NULL};
    bool half = t.x->type.dtype != p->dtype;
    if (half) {
        const og_tensor *written = &call->y[0];
        j.x = t.x == written ? workspace + p->x_offset : widen(t.x, workspace + p->x_offset);
        j.w = t.w == written ? workspace + p->w_offset : widen(t.w, workspace + p->w_offset);
        j.y = t.y == written ? workspace + p->y_offset : widen(t.y, workspace + p->y_offset);
        if (t.bias)
            j.bias = widen(t.bias, workspace + p->y_offset +
                                       og_align_up((size_t)og__elements(t.y) * sizeof(float), 256));
    }
#pragma omp parallel for num_threads(p->threads) schedule(static)
    for (int thread = 0; thread < p->threads; thread++) {
        job mine = j;
        mine.col = workspace + p->thread_offset + (size_t)thread * p->thread_bytes;
        mine.gemm = mine.col + p->col_bytes;
        for (int64_t i = p->tasks * thread / p->threads; i < p->tasks * (thread + 1) / p->threads;
             i++) {
            if (p->op == OG__CONV)
                forward_task(&mine, i);
            else if (p->op == OG__CONV_GRAD_WEIGHTS)
                weights_task(&mine, i);
            else
                data_task(&mine, i);
        }
    }
    if (half) {
        const char *from = p->op == OG__CONV ? j.y : p->op == OG__CONV_GRAD_WEIGHTS ? j.w : j.x;
        for (int64_t i = 0, n = og__elements(&call->y[0]); i < n; i++)
            og__store_double(call->y[0].data, call->y[0].type.dtype, i, ((const float *)from)[i]);
    }
    return OG_OK;
}

#define OP(function, op)                                                \
    static bool function##_supports(const og_call *call)                \
    {                                                                   \
        return supports(call, op);                                      \
    }                                                                   \
    static og_status function##_prepare(og_call *call, og_error *error) \
    {                                                                   \
        return prepare(call, error, op);                                \
    }
OP(forward, OG__CONV)
OP(grad_data, OG__CONV_GRAD_DATA)
OP(grad_weights, OG__CONV_GRAD_WEIGHTS)
OP(transpose, OG__CONV_TRANSPOSE)
#define ROW(op, function)                                                                      \
    {                                                                                          \
        op, "windows", OG_KERNEL_REFERENCE, function##_supports, function##_prepare, run_conv, \
            og__free_state                                                                     \
    }

const og_kernel og_kernels_cpu_conv[] = {
    ROW("Conv", forward),
    ROW("ai.ongrad::ConvGradData", grad_data),
    ROW("ai.ongrad::ConvGradWeights", grad_weights),
    ROW("ConvTranspose", transpose),
    {NULL},
};
