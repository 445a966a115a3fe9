/* Products by cuBLASLt: a plan has the description and one algorithm. Which algorithms there are is
 * the heuristic's to say; which is taken, whoever plans. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/driver_cuda.h"

enum { A, B, C, D, MATRICES };
enum { MOST_WAYS = 32 };

_Static_assert(sizeof(cublasLtMatmulAlgo_t) == OG_CUDA_ALGORITHM_BYTES, "a way is one");

struct og_cuda_plan {
    og_cuda_product product;
    cublasLtMatmulDesc_t description;
    cublasLtMatrixLayout_t layouts[MATRICES];
    cublasLtMatmulAlgo_t algorithm;
};

static og_status check(og_cuda_card *card, cublasStatus_t status, const char *call, og_error *error)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return OG_OK;
    return og_fail(error, status == CUBLAS_STATUS_ALLOC_FAILED ? OG_OUT_OF_MEMORY : OG_INTERNAL,
                   "cuBLASLt: %s: %s", call, card->cublas->cublasLtGetStatusString(status));
}
#define CHECK(function, ...) \
    OG_TRY(check(card, card->cublas->function(__VA_ARGS__), #function, error))
/* An attribute from a variable of its type. */
#define SET(function, object, attribute, variable) \
    CHECK(function, object, attribute, &(variable), sizeof(variable))

static og_status open_library(og_cuda_card *card, og_error *error)
{
    const char *why;
    if (card->handle)
        return OG_OK;
    card->cublas = og__open_cublas(&why);
    if (!card->cublas)
        return og_fail(error, OG_UNSUPPORTED, "products cannot be computed: %s", why);
    CHECK(cublasLtCreate, &card->handle);
    return OG_OK;
}

static cudaDataType_t type_of(og_dtype dtype)
{
    return dtype == OG_DOUBLE     ? CUDA_R_64F
           : dtype == OG_FLOAT16  ? CUDA_R_16F
           : dtype == OG_BFLOAT16 ? CUDA_R_16BF
                                  : CUDA_R_32F;
}

static const cublasLtEpilogue_t epilogues[OG_CUDA_EPILOGUES] = {
    [OG_CUDA_PLAIN] = CUBLASLT_EPILOGUE_DEFAULT,
    [OG_CUDA_BIAS] = CUBLASLT_EPILOGUE_BIAS,
    [OG_CUDA_RELU] = CUBLASLT_EPILOGUE_RELU,
    [OG_CUDA_RELU_BIAS] = CUBLASLT_EPILOGUE_RELU_BIAS,
    [OG_CUDA_RELU_AUX_BIAS] = CUBLASLT_EPILOGUE_RELU_AUX_BIAS,
    [OG_CUDA_GELU_BIAS] = CUBLASLT_EPILOGUE_GELU_BIAS,
    [OG_CUDA_GELU_AUX_BIAS] = CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
    [OG_CUDA_DRELU] = CUBLASLT_EPILOGUE_DRELU,
    [OG_CUDA_DRELU_BGRAD] = CUBLASLT_EPILOGUE_DRELU_BGRAD,
    [OG_CUDA_DGELU] = CUBLASLT_EPILOGUE_DGELU,
    [OG_CUDA_DGELU_BGRAD] = CUBLASLT_EPILOGUE_DGELU_BGRAD,
    [OG_CUDA_BGRADA] = CUBLASLT_EPILOGUE_BGRADA,
    [OG_CUDA_BGRADB] = CUBLASLT_EPILOGUE_BGRADB,
};

static og_status describe(og_cuda_card *card, og_cuda_plan *plan, og_error *error)
{
    const og_cuda_product *p = &plan->product;
    cublasComputeType_t compute = p->arithmetic == OG_CUDA_DOUBLE ? CUBLAS_COMPUTE_64F
                                  : p->arithmetic == OG_CUDA_TF32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                                  : CUBLAS_COMPUTE_32F;
    CHECK(cublasLtMatmulDescCreate, &plan->description, compute,
          p->arithmetic == OG_CUDA_DOUBLE ? CUDA_R_64F : CUDA_R_32F);
    cublasLtMatmulDesc_t d = plan->description;
    const struct {
        cublasLtMatmulDescAttributes_t which;
        int32_t value;
    } attributes[] = {
        {CUBLASLT_MATMUL_DESC_POINTER_MODE,
         p->scalars_on_device ? CUBLASLT_POINTER_MODE_DEVICE : CUBLASLT_POINTER_MODE_HOST},
        {CUBLASLT_MATMUL_DESC_TRANSA, p->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N},
        {CUBLASLT_MATMUL_DESC_TRANSB, p->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N},
        {CUBLASLT_MATMUL_DESC_EPILOGUE, epilogues[p->epilogue]},
    };
    for (size_t i = 0; i < sizeof attributes / sizeof *attributes; i++)
        CHECK(cublasLtMatmulDescSetAttribute, d, attributes[i].which, &attributes[i].value,
              sizeof attributes[i].value);
    /* Algorithms are chosen by alignments; the addresses themselves come with each run. Kernels
     * promise 16 for those of bias and aux. */
    void *aligned = (void *)16;
    cudaDataType_t bias = type_of(p->bias);
    if (og_cuda_bias_use(p->epilogue)) {
        SET(cublasLtMatmulDescSetAttribute, d, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, bias);
        SET(cublasLtMatmulDescSetAttribute, d, CUBLASLT_MATMUL_DESC_BIAS_POINTER, aligned);
    }
    if (og_cuda_aux_use(p->epilogue)) {
        SET(cublasLtMatmulDescSetAttribute, d, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p->ldaux);
        SET(cublasLtMatmulDescSetAttribute, d, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aligned);
    }
    return OG_OK;
}

static og_status lay_out(og_cuda_card *card, og_cuda_plan *plan, og_error *error)
{
    const og_cuda_product *p = &plan->product;
    const struct {
        og_dtype dtype;
        int64_t rows, columns, ld, stride;
    } matrices[MATRICES] = {
        {p->a, p->transpose_a ? p->k : p->m, p->transpose_a ? p->m : p->k, p->lda, p->stride_a},
        {p->b, p->transpose_b ? p->n : p->k, p->transpose_b ? p->k : p->n, p->ldb, p->stride_b},
        {p->c, p->m, p->n, p->ldc, p->stride_c},
        {p->d, p->m, p->n, p->ldd, p->stride_d}};
    int32_t batch = (int32_t)p->batch;
    for (int i = 0; i < MATRICES; i++) {
        CHECK(cublasLtMatrixLayoutCreate, &plan->layouts[i], type_of(matrices[i].dtype),
              (uint64_t)matrices[i].rows, (uint64_t)matrices[i].columns, matrices[i].ld);
        if (p->batch == 1)
            continue;
        SET(cublasLtMatrixLayoutSetAttribute, plan->layouts[i], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
            batch);
        SET(cublasLtMatrixLayoutSetAttribute, plan->layouts[i],
            CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, matrices[i].stride);
    }
    return OG_OK;
}

static og_status prefer(og_cuda_card *card, const og_cuda_product *p,
                        cublasLtMatmulPreference_t preference, og_error *error)
{
    static const cublasLtMatmulPreferenceAttributes_t alignments[MATRICES] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    uint64_t limit = p->workspace_limit;
    uint32_t alignment = (uint32_t)p->alignment;
    SET(cublasLtMatmulPreferenceSetAttribute, preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
        limit);
    /* Sums of pieces that are added as they are done come in any order. */
    uint32_t schemes =
        CUBLASLT_REDUCTION_SCHEME_MASK & ~(uint32_t)CUBLASLT_REDUCTION_SCHEME_INPLACE;
    if (p->deterministic)
        SET(cublasLtMatmulPreferenceSetAttribute, preference,
            CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes);
    for (int i = 0; alignment && i < MATRICES; i++)
        SET(cublasLtMatmulPreferenceSetAttribute, preference, alignments[i], alignment);
    return OG_OK;
}

/* The heuristic's choices, the best first. */
static og_status ask(og_cuda_card *card, const og_cuda_plan *plan, og_cuda_way *ways, int most,
                     int *n, og_error *error)
{
    const og_cuda_product *p = &plan->product;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found[MOST_WAYS] = {0};
    int n_found = 0;
    CHECK(cublasLtMatmulPreferenceCreate, &preference);
    og_status status = prefer(card, p, preference, error);
    cublasStatus_t result = CUBLAS_STATUS_SUCCESS;
    if (status == OG_OK)
        result = card->cublas->cublasLtMatmulAlgoGetHeuristic(
            card->handle, plan->description, plan->layouts[A], plan->layouts[B], plan->layouts[C],
            plan->layouts[D], preference, most < MOST_WAYS ? most : MOST_WAYS, found, &n_found);
    card->cublas->cublasLtMatmulPreferenceDestroy(preference);
    OG_TRY(status);
    *n = 0;
    for (int i = 0; result == CUBLAS_STATUS_SUCCESS && i < n_found; i++) {
        if (found[i].state != CUBLAS_STATUS_SUCCESS)
            continue;
        ways[*n].workspace = found[i].workspaceSize;
        memcpy(ways[(*n)++].algorithm, &found[i].algo, sizeof found[i].algo);
    }
    if (result == CUBLAS_STATUS_SUCCESS && *n == 0)
        result = CUBLAS_STATUS_NOT_SUPPORTED;
    /* of an epilogue it also says that it is none for such operands */
    if (result == CUBLAS_STATUS_NOT_SUPPORTED ||
        (result == CUBLAS_STATUS_INVALID_VALUE && p->epilogue != OG_CUDA_PLAIN))
        return og_fail(error, OG_UNSUPPORTED,
                       "cuBLASLt has no way to multiply %lld x %lld by %lld x %lld, %s to %s, with "
                       "epilogue %d",
                       (long long)p->m, (long long)p->k, (long long)p->k, (long long)p->n,
                       og_dtype_name(p->a), og_dtype_name(p->d), p->epilogue);
    return check(card, result, "cublasLtMatmulAlgoGetHeuristic", error);
}

static og_status choose(og_cuda_card *card, og_cuda_plan *plan, const og_cuda_way *way,
                        og_error *error)
{
    cublasLtMatmulHeuristicResult_t result = {0};
    memcpy(&plan->algorithm, way->algorithm, sizeof plan->algorithm);
    if (card->cublas->cublasLtMatmulAlgoCheck(card->handle, plan->description, plan->layouts[A],
                                              plan->layouts[B], plan->layouts[C], plan->layouts[D],
                                              &plan->algorithm, &result) != CUBLAS_STATUS_SUCCESS ||
        result.workspaceSize > way->workspace)
        return og_fail(error, OG_UNSUPPORTED, "cuBLASLt does not take an algorithm (any more)");
    return OG_OK;
}

/* ---- the driver's table */

static og_status enter(og_cuda_card *card, og_error *error)
{
    return og__cuda_check(card, card->cuda->cuCtxSetCurrent(card->context), "cuCtxSetCurrent",
                          error);
}

uint64_t og__cublas_version(og_cuda_card *card)
{
    og_error error = {0};
    bool there = enter(card, &error) == OG_OK && open_library(card, &error) == OG_OK;
    og_error_clear(&error);
    return there ? card->cublas->cublasLtGetVersion() : 0;
}

/* Without an algorithm. */
static og_status plan_new(og_cuda_card *card, const og_cuda_product *product, og_cuda_plan **made,
                          og_error *error)
{
    OG_TRY(enter(card, error));
    OG_TRY(open_library(card, error));
    og_cuda_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return og_fail_memory(error, sizeof *plan, "a product");
    plan->product = *product;
    og_status status = describe(card, plan, error);
    if (status == OG_OK)
        status = lay_out(card, plan, error);
    if (status == OG_OK)
        *made = plan;
    else
        og__cublas_free(card, plan);
    return status;
}

og_status og__cublas_ways(og_cuda_card *card, const og_cuda_product *product, og_cuda_way *ways,
                          int most, int *n, og_error *error)
{
    og_cuda_plan *plan;
    OG_TRY(plan_new(card, product, &plan, error));
    og_status status = ask(card, plan, ways, most, n, error);
    og__cublas_free(card, plan);
    return status;
}

og_status og__cublas_plan(og_cuda_card *card, const og_cuda_product *product,
                          const og_cuda_way *way, og_cuda_plan **made, og_error *error)
{
    og_cuda_plan *plan;
    OG_TRY(plan_new(card, product, &plan, error));
    og_status status = choose(card, plan, way, error);
    if (status == OG_OK)
        *made = plan;
    else
        og__cublas_free(card, plan);
    return status;
}

/* The operands that the description has. */
static og_status point(og_cuda_card *card, const og_cuda_plan *plan, const og_cuda_operands *o,
                       og_error *error)
{
    const og_cuda_product *p = &plan->product;
    if (og_cuda_bias_use(p->epilogue))
        SET(cublasLtMatmulDescSetAttribute, plan->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
            o->bias);
    if (og_cuda_aux_use(p->epilogue))
        SET(cublasLtMatmulDescSetAttribute, plan->description,
            CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, o->aux);
    return OG_OK;
}

static cublasStatus_t multiply(og_cuda_card *card, const og_cuda_plan *plan,
                               const og_cuda_operands *o)
{
    return card->cublas->cublasLtMatmul(
        card->handle, plan->description, o->alpha, o->a, plan->layouts[A], o->b, plan->layouts[B],
        o->beta, plan->product.reads_c ? o->c : o->d, plan->layouts[C], o->d, plan->layouts[D],
        &plan->algorithm, o->workspace, o->workspace_bytes, card->streams[OG_CUDA_COMPUTE]);
}

og_status og__cublas_run(og_cuda_card *card, og_cuda_plan *plan, const og_cuda_operands *o,
                         og_error *error)
{
    OG_TRY(enter(card, error));
    OG_TRY(point(card, plan, o, error));
    return check(card, multiply(card, plan, o), "cublasLtMatmul", error);
}

#define DRIVER_CHECK(function, ...) \
    OG_TRY(og__cuda_check(card, card->cuda->function(__VA_ARGS__), #function, error))

static og_status time_between(og_cuda_card *card, const og_cuda_plan *plan,
                              const og_cuda_operands *o, int runs, CUevent events[2], float *ms,
                              og_error *error)
{
    CUstream stream = card->streams[OG_CUDA_COMPUTE];
    DRIVER_CHECK(cuEventRecord, events[0], stream);
    for (int i = 0; i < runs; i++)
        if (multiply(card, plan, o) != CUBLAS_STATUS_SUCCESS) {
            *ms = -1;
            return OG_OK;
        }
    DRIVER_CHECK(cuEventRecord, events[1], stream);
    DRIVER_CHECK(cuEventSynchronize, events[1]);
    DRIVER_CHECK(cuEventElapsedTime, ms, events[0], events[1]);
    return OG_OK;
}

og_status og__cublas_time(og_cuda_card *card, og_cuda_plan *plan, const og_cuda_operands *o,
                          int runs, float *ms, og_error *error)
{
    CUevent events[2] = {NULL};
    OG_TRY(enter(card, error));
    OG_TRY(point(card, plan, o, error));
    og_status status = OG_OK;
    for (int i = 0; i < 2 && status == OG_OK; i++)
        status = og__cuda_check(card, card->cuda->cuEventCreate(&events[i], CU_EVENT_DEFAULT),
                                "cuEventCreate", error);
    if (status == OG_OK)
        status = time_between(card, plan, o, runs, events, ms, error);
    for (int i = 0; i < 2; i++)
        if (events[i])
            card->cuda->cuEventDestroy(events[i]);
    return status;
}

void og__cublas_free(og_cuda_card *card, og_cuda_plan *plan)
{
    if (!plan)
        return;
    for (int i = 0; i < MATRICES; i++)
        if (plan->layouts[i])
            card->cublas->cublasLtMatrixLayoutDestroy(plan->layouts[i]);
    if (plan->description)
        card->cublas->cublasLtMatmulDescDestroy(plan->description);
    free(plan);
}
