/* Products by cuBLASLt: descriptions and algorithms are a plan's, made once.
 *
 * The heuristic names a few algorithms. Which of them is the fastest is found when a product runs
 * for the first time, on its own operands, and kept on disk (tuning.h): from then on a plan has
 * that one alone. Where it cannot be kept, or with `deterministic`, the heuristic's first is taken,
 * so that another process computes the same bits. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/driver_cuda.h"
#include "kernels/cuda/tuning.h"

enum { A, B, C, D, MATRICES };
enum { MOST_WAYS = 8, MOST_RUNS = 20 };
#define ENOUGH_MS 0.4F /* of runs in a row, to tell two algorithms apart */
#define MOST_MS 100.0F /* for one product; what is not timed by then is left out */

typedef struct way {
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace;
} way;

_Static_assert(sizeof(cublasLtMatmulAlgo_t) == OG__ALGORITHM_BYTES, "tuning.h keeps them");

struct og_cuda_plan {
    og_cuda_product product;
    cublasLtMatmulDesc_t description;
    cublasLtMatrixLayout_t layouts[MATRICES];
    way ways[MOST_WAYS]; /* the first one is what runs */
    int n_ways;          /* 1: it is settled */
    size_t workspace;    /* the most that one of them needs */
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
    /* Algorithms are chosen by alignments; the addresses themselves come with each run. */
    void *aligned = (void *)256;
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
static og_status ask(og_cuda_card *card, og_cuda_plan *plan, int most, og_error *error)
{
    const og_cuda_product *p = &plan->product;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found[MOST_WAYS] = {0};
    int n = 0;
    CHECK(cublasLtMatmulPreferenceCreate, &preference);
    og_status status = prefer(card, p, preference, error);
    cublasStatus_t result = CUBLAS_STATUS_SUCCESS;
    if (status == OG_OK)
        result = card->cublas->cublasLtMatmulAlgoGetHeuristic(
            card->handle, plan->description, plan->layouts[A], plan->layouts[B], plan->layouts[C],
            plan->layouts[D], preference, most, found, &n);
    card->cublas->cublasLtMatmulPreferenceDestroy(preference);
    OG_TRY(status);
    for (int i = 0; result == CUBLAS_STATUS_SUCCESS && i < n; i++)
        if (found[i].state == CUBLAS_STATUS_SUCCESS)
            plan->ways[plan->n_ways++] = (way){found[i].algo, found[i].workspaceSize};
    if (result == CUBLAS_STATUS_SUCCESS && plan->n_ways == 0)
        result = CUBLAS_STATUS_NOT_SUPPORTED;
    if (result == CUBLAS_STATUS_NOT_SUPPORTED)
        return og_fail(error, OG_UNSUPPORTED,
                       "cuBLASLt has no way to multiply %lld x %lld by %lld x %lld, %s to %s",
                       (long long)p->m, (long long)p->k, (long long)p->k, (long long)p->n,
                       og_dtype_name(p->a), og_dtype_name(p->d));
    return check(card, result, "cublasLtMatmulAlgoGetHeuristic", error);
}

/* ---- the fastest of them */

static og_status make_key(og_cuda_card *card, const og_cuda_plan *plan, og_text *key,
                          og_error *error)
{
    og__tuning_key(key, &plan->product, card->properties.name, card->cublas->cublasLtGetVersion());
    return key->failed ? og_fail_memory(error, key->length, "a product's key") : OG_OK;
}

/* What is known since an earlier run, if the library still takes it, within `most` bytes. */
static bool recall(og_cuda_card *card, og_cuda_plan *plan, const char *key, size_t most)
{
    og__choice choice;
    way known;
    cublasLtMatmulHeuristicResult_t result = {0};
    if (!og__tuning_read(key, &choice))
        return false;
    memcpy(&known.algorithm, choice.algorithm, sizeof known.algorithm);
    if (card->cublas->cublasLtMatmulAlgoCheck(card->handle, plan->description, plan->layouts[A],
                                              plan->layouts[B], plan->layouts[C], plan->layouts[D],
                                              &known.algorithm, &result) != CUBLAS_STATUS_SUCCESS ||
        result.workspaceSize > most)
        return false;
    known.workspace = result.workspaceSize;
    plan->ways[0] = known;
    plan->n_ways = 1;
    return true;
}

static void keep(og_cuda_plan *plan, const char *key, int chosen)
{
    og__choice choice = {.workspace = plan->ways[chosen].workspace};
    memcpy(choice.algorithm, &plan->ways[chosen].algorithm, sizeof choice.algorithm);
    og__tuning_write(key, &choice);
    plan->ways[0] = plan->ways[chosen];
    plan->n_ways = 1;
}

static cublasStatus_t multiply(og_cuda_card *card, const og_cuda_plan *plan, const way *w,
                               const og_cuda_operands *o)
{
    return card->cublas->cublasLtMatmul(
        card->handle, plan->description, o->alpha, o->a, plan->layouts[A], o->b, plan->layouts[B],
        o->beta, plan->product.reads_c ? o->c : o->d, plan->layouts[C], o->d, plan->layouts[D],
        &w->algorithm, o->workspace, o->workspace_bytes, card->streams[OG_CUDA_COMPUTE]);
}

#define DRIVER_CHECK(function, ...) \
    OG_TRY(og__cuda_check(card, card->cuda->function(__VA_ARGS__), #function, error))

/* *ms of `runs` in a row; negative: it does not run. */
static og_status time_runs(og_cuda_card *card, const og_cuda_plan *plan, const way *w,
                           const og_cuda_operands *o, int runs, CUevent events[2], float *ms,
                           og_error *error)
{
    CUstream stream = card->streams[OG_CUDA_COMPUTE];
    DRIVER_CHECK(cuEventRecord, events[0], stream);
    for (int i = 0; i < runs; i++)
        if (multiply(card, plan, w, o) != CUBLAS_STATUS_SUCCESS) {
            *ms = -1;
            return OG_OK;
        }
    DRIVER_CHECK(cuEventRecord, events[1], stream);
    DRIVER_CHECK(cuEventSynchronize, events[1]);
    DRIVER_CHECK(cuEventElapsedTime, ms, events[0], events[1]);
    return OG_OK;
}

/* Milliseconds of a run of each way. */
static og_status time_all(og_cuda_card *card, const og_cuda_plan *plan, const og_cuda_operands *o,
                          CUevent events[2], float ms[MOST_WAYS], og_error *error)
{
    float spent = 0;
    for (int i = 0; i < plan->n_ways; i++) {
        float once = -1;
        ms[i] = -1;
        if (spent > MOST_MS)
            continue;
        for (int warm = 0; warm < 2; warm++) { /* the first time loads its code */
            OG_TRY(time_runs(card, plan, &plan->ways[i], o, 1, events, &once, error));
            spent += once > 0 ? once : 0;
        }
        int runs = once <= ENOUGH_MS / MOST_RUNS ? MOST_RUNS : 1 + (int)(ENOUGH_MS / once);
        if (once < 0)
            continue;
        OG_TRY(time_runs(card, plan, &plan->ways[i], o, runs, events, &ms[i], error));
        spent += ms[i];
        ms[i] /= (float)runs;
    }
    return OG_OK;
}

/* The bytes that D spans. */
static size_t bytes_of_d(const og_cuda_product *p)
{
    int64_t last = (p->batch - 1) * p->stride_d + (p->n - 1) * p->ldd + p->m;
    return (size_t)(last * og_dtype_bits(p->d) / 8);
}

/* What is written is written again by each way, and the same; but sums that a product adds to in
 * place. For these memory of its own is borrowed; *scratch 0: there is none. */
static og_status borrow(og_cuda_card *card, const og_cuda_plan *plan, og_cuda_operands *o,
                        CUdeviceptr *scratch, bool *works, og_error *error)
{
    *scratch = 0;
    *works = true;
    if (!plan->product.reads_c || o->c != o->d)
        return OG_OK;
    size_t bytes = bytes_of_d(&plan->product);
    CUresult result = card->cuda->cuMemAlloc(scratch, bytes);
    *works = result != CUDA_ERROR_OUT_OF_MEMORY;
    if (!*works)
        return OG_OK;
    OG_TRY(og__cuda_check(card, result, "cuMemAlloc", error));
    DRIVER_CHECK(cuMemsetD8Async, *scratch, 0x3c, bytes, card->streams[OG_CUDA_COMPUTE]);
    o->c = o->d = (void *)(uintptr_t)*scratch;
    return OG_OK;
}

static og_status measure(og_cuda_card *card, const og_cuda_plan *plan,
                         const og_cuda_operands *operands, int *fastest, og_error *error)
{
    og_cuda_operands o = *operands;
    CUevent events[2] = {NULL};
    CUdeviceptr scratch = 0;
    float ms[MOST_WAYS];
    bool works = false;
    og_status status = OG_OK;
    for (int i = 0; i < 2; i++)
        OG_TRY_CLEANUP(og__cuda_check(card, card->cuda->cuEventCreate(&events[i], CU_EVENT_DEFAULT),
                                      "cuEventCreate", error));
    OG_TRY_CLEANUP(borrow(card, plan, &o, &scratch, &works, error));
    if (works)
        OG_TRY_CLEANUP(time_all(card, plan, &o, events, ms, error));
    *fastest = works ? og__tuning_fastest(ms, plan->n_ways) : 0;
cleanup:
    for (int i = 0; i < 2; i++)
        if (events[i])
            card->cuda->cuEventDestroy(events[i]);
    if (scratch)
        card->cuda->cuMemFree(scratch);
    return status;
}

/* Leaves one way. A run that is recorded cannot be timed. */
static og_status settle(og_cuda_card *card, og_cuda_plan *plan, const og_cuda_operands *o,
                        og_error *error)
{
    og_text key = {0};
    int fastest = 0;
    if (card->recording)
        return OG_OK;
    og_status status = make_key(card, plan, &key, error);
    if (status == OG_OK && !recall(card, plan, key.s, o->workspace_bytes)) {
        status = measure(card, plan, o, &fastest, error);
        if (status == OG_OK)
            keep(plan, key.s, fastest < 0 ? 0 : fastest);
    }
    og_text_free(&key);
    return status;
}

static og_status choose(og_cuda_card *card, og_cuda_plan *plan, og_error *error)
{
    og_text key = {0};
    bool tunes = !plan->product.deterministic && og__tuning_keeps();
    og_status status = tunes ? make_key(card, plan, &key, error) : OG_OK;
    if (status == OG_OK && (!tunes || !recall(card, plan, key.s, plan->product.workspace_limit)))
        status = ask(card, plan, tunes ? MOST_WAYS : 1, error);
    for (int i = 0; i < plan->n_ways; i++)
        if (plan->ways[i].workspace > plan->workspace)
            plan->workspace = plan->ways[i].workspace;
    og_text_free(&key);
    return status;
}

/* ---- the driver's table */

og_status og__cublas_plan(og_cuda_card *card, const og_cuda_product *product, og_cuda_plan **made,
                          size_t *workspace, og_error *error)
{
    OG_TRY(
        og__cuda_check(card, card->cuda->cuCtxSetCurrent(card->context), "cuCtxSetCurrent", error));
    OG_TRY(open_library(card, error));
    og_cuda_plan *plan = calloc(1, sizeof *plan);
    if (!plan)
        return og_fail_memory(error, sizeof *plan, "a product");
    plan->product = *product;
    og_status status = describe(card, plan, error);
    if (status == OG_OK)
        status = lay_out(card, plan, error);
    if (status == OG_OK)
        status = choose(card, plan, error);
    if (status != OG_OK) {
        og__cublas_free(card, plan);
        return status;
    }
    *made = plan;
    *workspace = plan->workspace;
    return OG_OK;
}

og_status og__cublas_run(og_cuda_card *card, og_cuda_plan *plan, const og_cuda_operands *o,
                         og_error *error)
{
    const og_cuda_product *p = &plan->product;
    OG_TRY(
        og__cuda_check(card, card->cuda->cuCtxSetCurrent(card->context), "cuCtxSetCurrent", error));
    if (og_cuda_bias_use(p->epilogue))
        SET(cublasLtMatmulDescSetAttribute, plan->description, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
            o->bias);
    if (og_cuda_aux_use(p->epilogue))
        SET(cublasLtMatmulDescSetAttribute, plan->description,
            CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, o->aux);
    if (plan->n_ways > 1)
        OG_TRY(settle(card, plan, o, error));
    return check(card, multiply(card, plan, &plan->ways[0], o), "cublasLtMatmul", error);
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
