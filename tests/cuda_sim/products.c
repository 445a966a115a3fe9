/* Products: what cuBLASLt documents that it takes, held against each plan and run, and the product
 * itself in double. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/internal.h"
#include "runtime/base/half.h"
#include "tests/cuda_sim/internal.h"

/* "Supported types" of cublasLtMatmul: compute type, scale type float32 (float64), A = B, C = D. */
static bool types_go(const og_cuda_product *p)
{
    if (p->a != p->b || p->c != p->d)
        return false;
    switch (p->arithmetic) {
    case OG_CUDA_FLOAT:
    case OG_CUDA_TF32:
        return p->a == OG_FLOAT && p->d == OG_FLOAT;
    case OG_CUDA_HALF:
        return og_dtype_is_half(p->a) && (p->d == p->a || p->d == OG_FLOAT);
    case OG_CUDA_DOUBLE:
        return p->a == OG_DOUBLE && p->d == OG_DOUBLE;
    default:
        return false;
    }
}

const char *sim_product_wrong(const og_cuda_product *p)
{
    if (p->m < 1 || p->n < 1 || p->k < 1 || p->batch < 1)
        return "m, n, k and batch must be at least 1";
    if (!types_go(p))
        return "no such combination of element types and arithmetic";
    if (p->lda < (p->transpose_a ? p->k : p->m))
        return "lda is less than A has rows";
    if (p->ldb < (p->transpose_b ? p->n : p->k))
        return "ldb is less than B has rows";
    if (p->ldc < p->m || p->ldd < p->m)
        return "ldc or ldd is less than m";
    /* one behind the other, or side by side in longer columns */
    bool behind = p->stride_d >= p->ldd * (p->n - 1) + p->m,
         beside = p->stride_d >= p->m && p->stride_d * (p->batch - 1) + p->m <= p->ldd;
    if (p->batch > 1 && !behind && !beside)
        return "matrices D of the batch overlap";
    if (p->alignment & (p->alignment - 1))
        return "the alignment is no power of two";
    og_cuda_use aux = og_cuda_aux_use(p->epilogue);
    if (og_cuda_bias_use(p->epilogue) && p->bias != p->d &&
        !(og_dtype_is_half(p->a) && og_dtype_is_half(p->bias)))
        return "a bias has the type of D, or that of 16-bit operands";
    if ((aux || og_cuda_bias_use(p->epilogue) == OG_CUDA_WRITTEN) && p->batch > 1)
        return "aux and gradients of a bias need a batch of 1";
    if (aux && p->ldaux < p->m)
        return "ldaux is less than m";
    if (aux && p->ldaux % (og_cuda_aux_is_bits(p->epilogue) ? 128 : 8) != 0)
        return "ldaux must be a multiple of 8 elements, or of 128 bits";
    if (p->epilogue != OG_CUDA_PLAIN && p->arithmetic == OG_CUDA_DOUBLE)
        return "there are no epilogues in float64";
    return NULL;
}

/* ---- ways */

static const uint64_t workspaces[OG_SIM_WAYS] = {4096, 0, 8192, 16384};
static float times[OG_SIM_WAYS] = {3, 4, 2, 5};

uint64_t og_sim_workspace(int way)
{
    return workspaces[way];
}

void og_sim_set_times(const float ms[OG_SIM_WAYS])
{
    memcpy(times, ms, sizeof times);
}

float sim_product_ms(int way)
{
    return times[way];
}

int sim_product_ways(const og_cuda_product *p, og_cuda_way ways[OG_SIM_WAYS])
{
    int n = 0;
    for (int i = 0; i < OG_SIM_WAYS; i++)
        if (workspaces[i] <= p->workspace_limit)
            ways[n++] = (og_cuda_way){{(unsigned char)(i + 1)}, workspaces[i]};
    return n;
}

int sim_product_way(const og_cuda_product *p, const og_cuda_way *way)
{
    og_cuda_way ways[OG_SIM_WAYS];
    int n = sim_product_ways(p, ways);
    for (int i = 0; i < n; i++)
        if (memcmp(&ways[i], way, sizeof *way) == 0)
            return ways[i].algorithm[0] - 1;
    return -1;
}

/* ---- what there is no way for */

static struct {
    bool set;
    uint32_t epilogues;
    size_t alignment;
} refused;

void og_sim_set_refused(uint32_t epilogues, size_t alignment)
{
    refused.set = true;
    refused.epilogues = epilogues;
    refused.alignment = alignment;
}

bool sim_product_refused(const og_cuda_product *p)
{
    const char *names = getenv("OG_SIM_REFUSE");
    if (!refused.set && names)
        og_sim_set_refused(strstr(names, "epilogues") ? ~(1U << OG_CUDA_PLAIN) : 0,
                           strstr(names, "unaligned") ? 16 : 0);
    return refused.epilogues >> p->epilogue & 1 ||
           (p->alignment && p->alignment < refused.alignment);
}

/* ---- operands */

const char *sim_operands_wrong(const og_cuda_plan *plan, const og_cuda_operands *o)
{
    const og_cuda_product *p = &plan->product;
    uintptr_t alignment = p->alignment ? p->alignment : 256;
    if (((uintptr_t)o->a | (uintptr_t)o->b | (uintptr_t)o->d) % alignment != 0 ||
        (p->reads_c && (uintptr_t)o->c % alignment != 0))
        return "an operand is not aligned as the plan says";
    if (og_cuda_bias_use(p->epilogue) && (!o->bias || (uintptr_t)o->bias % 16 != 0))
        return "the bias is missing or not aligned to 16 bytes";
    if (og_cuda_aux_use(p->epilogue) && (!o->aux || (uintptr_t)o->aux % 16 != 0))
        return "aux is missing or not aligned to 16 bytes";
    if (plan->workspace && (!o->workspace || o->workspace_bytes < plan->workspace))
        return "the workspace is smaller than the plan needs";
    if ((uintptr_t)o->workspace % 256 != 0)
        return "the workspace is not aligned to 256 bytes";
    if (p->reads_c && o->c == o->d && (p->ldc != p->ldd || p->stride_c != p->stride_d))
        return "C is D and lies otherwise";
    if (!o->alpha || !o->beta)
        return "alpha or beta is missing";
    return NULL;
}

static size_t matrix_bytes(const og_cuda_product *p, int64_t rows, int64_t columns, int64_t ld,
                           int64_t stride, og_dtype dtype)
{
    return (size_t)(((p->batch - 1) * stride + ld * (columns - 1) + rows) * og_dtype_bits(dtype) /
                    8);
}

int sim_product_ranges(const og_cuda_plan *plan, const og_cuda_operands *o, og_cuda_range *r)
{
    const og_cuda_product *p = &plan->product;
    int n = 0;
    int64_t ra = p->transpose_a ? p->k : p->m, ca = p->transpose_a ? p->m : p->k,
            rb = p->transpose_b ? p->n : p->k, cb = p->transpose_b ? p->k : p->n;
    r[n++] = (og_cuda_range){o->a, matrix_bytes(p, ra, ca, p->lda, p->stride_a, p->a), false};
    r[n++] = (og_cuda_range){o->b, matrix_bytes(p, rb, cb, p->ldb, p->stride_b, p->b), false};
    if (p->reads_c)
        r[n++] =
            (og_cuda_range){o->c, matrix_bytes(p, p->m, p->n, p->ldc, p->stride_c, p->c), false};
    r[n++] = (og_cuda_range){o->d, matrix_bytes(p, p->m, p->n, p->ldd, p->stride_d, p->d), true};
    og_cuda_use bias = og_cuda_bias_use(p->epilogue), aux = og_cuda_aux_use(p->epilogue);
    if (bias) {
        int64_t length = p->epilogue == OG_CUDA_BGRADB ? p->n : p->m;
        r[n++] = (og_cuda_range){o->bias, (size_t)(length * og_dtype_bits(p->bias) / 8),
                                 bias == OG_CUDA_WRITTEN};
    }
    if (aux) {
        int64_t bits = og_cuda_aux_is_bits(p->epilogue) ? 1 : og_dtype_bits(p->d);
        r[n++] = (og_cuda_range){o->aux, (size_t)(((p->n - 1) * p->ldaux + p->m) * bits + 7) / 8,
                                 aux == OG_CUDA_WRITTEN};
    }
    if (plan->workspace)
        r[n++] = (og_cuda_range){o->workspace, plan->workspace, true};
    if (p->scalars_on_device) {
        size_t size = p->arithmetic == OG_CUDA_DOUBLE ? sizeof(double) : sizeof(float);
        r[n++] = (og_cuda_range){o->alpha, size, false};
        r[n++] = (og_cuda_range){o->beta, size, false};
    }
    return n;
}

/* ---- arithmetic */

/* To nearest, ties away from zero. */
double sim_tf32(double v)
{
    if (!isfinite(v))
        return v;
    return og_bits_float((og_float_bits((float)v) + 0x1000) & 0xffffe000);
}

/* op(X) as rows × columns of doubles, column-major. The types that whole models have without a call
 * for each element. */
static double *gather(const og_cuda_product *p, const void *data, og_dtype dtype, bool transpose,
                      int64_t rows, int64_t columns, int64_t ld, int64_t offset)
{
    double *x = malloc((size_t)(rows * columns) * sizeof *x);
    int64_t down = transpose ? ld : 1, across = transpose ? 1 : ld;
    bool rounds = p->arithmetic == OG_CUDA_TF32;
    for (int64_t j = 0; x && j < columns; j++) {
        const float *floats = (const float *)data + offset + j * across;
        const uint16_t *halves = (const uint16_t *)data + offset + j * across;
        double *to = x + j * rows;
        if (dtype == OG_FLOAT)
            for (int64_t i = 0; i < rows; i++)
                to[i] = floats[i * down];
        else if (dtype == OG_BFLOAT16)
            for (int64_t i = 0; i < rows; i++)
                to[i] = og_bfloat_to_float(halves[i * down]);
        else
            for (int64_t i = 0; i < rows; i++)
                to[i] = og__load_double(data, dtype, offset + j * across + i * down);
        for (int64_t i = 0; rounds && i < rows; i++)
            to[i] = sim_tf32(to[i]);
    }
    return x;
}

double sim_product_scalar(const og_cuda_product *p, const void *at)
{
    return p->arithmetic == OG_CUDA_DOUBLE ? *(const double *)at : *(const float *)at;
}

/* Along op(A), op(B) or D. */
static void bias_gradient(const og_cuda_product *p, const og_cuda_operands *o, const double *a,
                          const double *b)
{
    bool of_b = p->epilogue == OG_CUDA_BGRADB, of_a = p->epilogue == OG_CUDA_BGRADA;
    for (int64_t i = 0; i < (of_b ? p->n : p->m); i++) {
        double sum = 0;
        for (int64_t l = 0; l < (of_a || of_b ? p->k : p->n); l++)
            sum += of_a   ? a[l * p->m + i]
                   : of_b ? b[i * p->k + l]
                          : og__load_double(o->d, p->d, l * p->ldd + i);
        og__store_double(o->bias, p->bias, i, sum);
    }
}

/* Gelu by tanh, as x / (1 + exp(-2 u)) with u = √(2/π) (x + 0.044715 x³). */
static double gelu(double x)
{
    return x / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static double gelu_slope(double x)
{
    double s = 1 / (1 + exp(-2 * sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    return s + x * s * (1 - s) * 2 * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * x * x);
}

/* What a card holds between one operation and the next. */
static double held(const og_cuda_product *p, double v)
{
    return p->arithmetic == OG_CUDA_DOUBLE ? v : (double)(float)v;
}

/* Element (i, j) of D from the sum; reads or writes aux. */
static double finish(const og_cuda_product *p, const og_cuda_operands *o, int64_t i, int64_t j,
                     double x)
{
    og_cuda_epilogue e = p->epilogue;
    int64_t at = j * p->ldaux + i;
    uint8_t *byte = og_cuda_aux_is_bits(e) ? (uint8_t *)o->aux + at / 8 : NULL;
    if (og_cuda_bias_use(e) == OG_CUDA_READ)
        x = held(p, x + og__load_double(o->bias, p->bias, i));
    switch (e) {
    case OG_CUDA_RELU_AUX_BIAS:
        *byte = (uint8_t)((*byte & ~(1 << at % 8)) | (x > 0) << at % 8);
        return x > 0 ? x : 0;
    case OG_CUDA_RELU:
    case OG_CUDA_RELU_BIAS:
        return x < 0 ? 0 : x;
    case OG_CUDA_GELU_AUX_BIAS:
        og__store_double(o->aux, p->d, at, x);
        return gelu(x);
    case OG_CUDA_GELU_BIAS:
        return gelu(x);
    case OG_CUDA_DRELU:
    case OG_CUDA_DRELU_BGRAD:
        return *byte >> at % 8 & 1 ? x : 0;
    case OG_CUDA_DGELU:
    case OG_CUDA_DGELU_BGRAD:
        return x * gelu_slope(og__load_double(o->aux, p->d, at));
    default:
        return x;
    }
}

void sim_product_run(const og_cuda_plan *plan, const og_cuda_operands *o, double alpha, double beta)
{
    const og_cuda_product *p = &plan->product;
    if (plan->workspace)
        sim_poison(o->workspace, plan->workspace);
    for (int64_t s = 0; s < p->batch; s++) {
        double *a = gather(p, o->a, p->a, p->transpose_a, p->m, p->k, p->lda, s * p->stride_a),
               *b = gather(p, o->b, p->b, p->transpose_b, p->k, p->n, p->ldb, s * p->stride_b),
               *column = malloc((size_t)p->m * sizeof *column);
        for (int64_t j = 0; a && b && column && j < p->n; j++) {
            memset(column, 0, (size_t)p->m * sizeof *column);
            for (int64_t l = 0; l < p->k; l++)
                for (int64_t i = 0; i < p->m; i++)
                    column[i] += a[l * p->m + i] * b[j * p->k + l];
            int64_t at = s * p->stride_d + j * p->ldd;
            if (p->reads_c && beta == 0 && o->c == o->d) /* a sum that is begun: what was it? */
                sim_poison((char *)o->d + at * og_dtype_bits(p->d) / 8,
                           (size_t)(p->m * og_dtype_bits(p->d) / 8));
            for (int64_t i = 0; i < p->m; i++) {
                double v = held(p, alpha * held(p, column[i]));
                if (p->reads_c && beta != 0)
                    v = held(p, v + beta * og__load_double(o->c, p->c,
                                                           s * p->stride_c + j * p->ldc + i));
                og__store_double(o->d, p->d, s * p->stride_d + j * p->ldd + i,
                                 finish(p, o, i, j, v));
            }
        }
        if (a && b && og_cuda_bias_use(p->epilogue) == OG_CUDA_WRITTEN)
            bias_gradient(p, o, a, b);
        free(a);
        free(b);
        free(column);
    }
}
