/* Products: what cuBLASLt documents that it takes, held against each plan and run, and the product
 * itself in double. */
#include <math.h>
#include <stdlib.h>

#include "runtime/base/half.h"
#include "tests/cuda_sim/internal.h"

static bool is_half(og_dtype t)
{
    return t == OG_FLOAT16 || t == OG_BFLOAT16;
}

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
        return is_half(p->a) && (p->d == p->a || p->d == OG_FLOAT);
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
    if (p->batch > 1 && p->stride_d < p->ldd * (p->n - 1) + p->m)
        return "matrices D of the batch overlap";
    if (p->alignment & (p->alignment - 1))
        return "the alignment is no power of two";
    bool bias = p->epilogue != OG_CUDA_PLAIN && p->epilogue != OG_CUDA_RELU;
    if (bias && p->bias != p->d && !(is_half(p->a) && is_half(p->bias)))
        return "a bias has the type of D, or that of 16-bit operands";
    if (p->epilogue >= OG_CUDA_BGRADA && p->batch > 1)
        return "gradients of a bias need a batch of 1";
    if (p->epilogue != OG_CUDA_PLAIN && p->arithmetic == OG_CUDA_DOUBLE)
        return "there are no epilogues in float64";
    return NULL;
}

const char *sim_operands_wrong(const og_cuda_plan *plan, const og_cuda_operands *o)
{
    const og_cuda_product *p = &plan->product;
    uintptr_t alignment = p->alignment ? p->alignment : 256;
    bool bias = p->epilogue != OG_CUDA_PLAIN && p->epilogue != OG_CUDA_RELU;
    if (((uintptr_t)o->a | (uintptr_t)o->b | (uintptr_t)o->d) % alignment != 0 ||
        (p->reads_c && (uintptr_t)o->c % alignment != 0))
        return "an operand is not aligned as the plan says";
    if (bias && (!o->bias || (uintptr_t)o->bias % 16 != 0))
        return "the bias is missing or not aligned to 16 bytes";
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
    if (p->epilogue != OG_CUDA_PLAIN && p->epilogue != OG_CUDA_RELU) {
        int64_t length = p->epilogue == OG_CUDA_BGRADB ? p->n : p->m;
        r[n++] = (og_cuda_range){o->bias, (size_t)(length * og_dtype_bits(p->bias) / 8),
                                 p->epilogue >= OG_CUDA_BGRADA};
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

static double load(const void *data, og_dtype dtype, int64_t i)
{
    switch (dtype) {
    case OG_DOUBLE:
        return ((const double *)data)[i];
    case OG_FLOAT16:
        return og_half_to_float(((const uint16_t *)data)[i]);
    case OG_BFLOAT16:
        return og_bfloat_to_float(((const uint16_t *)data)[i]);
    default:
        return ((const float *)data)[i];
    }
}

static void store(void *data, og_dtype dtype, int64_t i, double v)
{
    switch (dtype) {
    case OG_DOUBLE:
        ((double *)data)[i] = v;
        break;
    case OG_FLOAT16:
        ((uint16_t *)data)[i] = og_float_to_half((float)v);
        break;
    case OG_BFLOAT16:
        ((uint16_t *)data)[i] = og_float_to_bfloat((float)v);
        break;
    default:
        ((float *)data)[i] = (float)v;
    }
}

/* To 10 bits of mantissa, to nearest, ties away from zero. */
static double to_tf32(double v)
{
    if (!isfinite(v))
        return v;
    return og_bits_float((og_float_bits((float)v) + 0x1000) & 0xffffe000);
}

/* op(X) as rows × columns of doubles, column-major. */
static double *gather(const og_cuda_product *p, const void *data, og_dtype dtype, bool transpose,
                      int64_t rows, int64_t columns, int64_t ld, int64_t offset)
{
    double *x = malloc((size_t)(rows * columns) * sizeof *x);
    for (int64_t j = 0; x && j < columns; j++)
        for (int64_t i = 0; i < rows; i++) {
            double v = load(data, dtype, offset + (transpose ? i * ld + j : j * ld + i));
            x[j * rows + i] = p->arithmetic == OG_CUDA_TF32 ? to_tf32(v) : v;
        }
    return x;
}

static double scalar(const og_cuda_product *p, const void *at)
{
    return p->arithmetic == OG_CUDA_DOUBLE ? *(const double *)at : *(const float *)at;
}

static void bias_gradient(const og_cuda_product *p, const og_cuda_operands *o, const double *a,
                          const double *b)
{
    bool of_a = p->epilogue == OG_CUDA_BGRADA;
    for (int64_t i = 0; i < (of_a ? p->m : p->n); i++) {
        double sum = 0;
        for (int64_t l = 0; l < p->k; l++)
            sum += of_a ? a[l * p->m + i] : b[i * p->k + l];
        store(o->bias, p->bias, i, sum);
    }
}

void sim_product_run(const og_cuda_plan *plan, const og_cuda_operands *o)
{
    const og_cuda_product *p = &plan->product;
    double alpha = scalar(p, o->alpha), beta = scalar(p, o->beta);
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
            for (int64_t i = 0; i < p->m; i++) {
                double v = alpha * column[i];
                if (p->reads_c && beta != 0)
                    v += beta * load(o->c, p->c, s * p->stride_c + j * p->ldc + i);
                if (p->epilogue == OG_CUDA_BIAS || p->epilogue == OG_CUDA_RELU_BIAS)
                    v += load(o->bias, p->bias, i);
                if ((p->epilogue == OG_CUDA_RELU || p->epilogue == OG_CUDA_RELU_BIAS) && v < 0)
                    v = 0;
                store(o->d, p->d, s * p->stride_d + j * p->ldd + i, v);
            }
        }
        if (a && b && p->epilogue >= OG_CUDA_BGRADA)
            bias_gradient(p, o, a, b);
        free(a);
        free(b);
        free(column);
    }
}
