/* Recurrences by cuDNN's RNN API: one layer, one direction, the standard algorithm, which takes any
 * size and may be recorded. cuDNN says where each matrix lies among the weights, and how large its
 * workspace and reserve are; what is in the reserve it alone knows. All sequences have every step,
 * so that they lie packed, and the lengths that cuDNN wants are the host's (from version 8.9.1 on
 * it needs no copy of them on the card). */
#include <limits.h>
#include <stdlib.h>

#include "kernels/cuda/driver_cuda.h"

struct og_cuda_walk {
    const og__cudnn_library *cudnn;
    cudnnRNNDescriptor_t rnn;
    cudnnRNNDataDescriptor_t x, y;
    cudnnTensorDescriptor_t states;
    cudnnForwardMode_t mode;
    og_cuda_recurrence_sizes sizes;
};

#define CHECK(p, function, ...) \
    OG_TRY(og__cudnn_check((p)->cudnn, (p)->cudnn->function(__VA_ARGS__), #function, error))

static cudnnDataType_t type_of(og_dtype dtype)
{
    return dtype == OG_FLOAT16    ? CUDNN_DATA_HALF
           : dtype == OG_BFLOAT16 ? CUDNN_DATA_BFLOAT16
                                  : CUDNN_DATA_FLOAT;
}

/* The default is TF32 where the card has it. */
static cudnnMathType_t math_of(og_cuda_arithmetic arithmetic)
{
    return arithmetic == OG_CUDA_HALF    ? CUDNN_TENSOR_OP_MATH
           : arithmetic == OG_CUDA_FLOAT ? CUDNN_FMA_MATH
                                         : CUDNN_DEFAULT_MATH;
}

static const struct {
    cudnnRNNMode_t mode;
    int gates;
} cells[] = {[OG_CUDA_LSTM] = {CUDNN_LSTM, 4},
             [OG_CUDA_GRU] = {CUDNN_GRU, 3},
             [OG_CUDA_RNN_TANH] = {CUDNN_RNN_TANH, 1},
             [OG_CUDA_RNN_RELU] = {CUDNN_RNN_RELU, 1}};

/* ---- planning */

static og_status describe(og_cuda_walk *p, const og_cuda_recurrence *r, og_error *error)
{
    int T = (int)r->T, B = (int)r->B, I = (int)r->I, H = (int)r->H;
    const int dims[] = {1, B, H}, strides[] = {B * H, H, 1};
    cudnnDataType_t type = type_of(r->dtype);
    int *lengths = malloc((size_t)B * sizeof *lengths);
    og_status status = OG_OK;
    if (!lengths)
        return og_fail_memory(error, (size_t)B * sizeof *lengths, "a recurrence");
    for (int b = 0; b < B; b++)
        lengths[b] = T;
#define CHECK_CLEANUP(function, ...) \
    OG_TRY_CLEANUP(og__cudnn_check(p->cudnn, p->cudnn->function(__VA_ARGS__), #function, error))
    CHECK_CLEANUP(cudnnCreateRNNDescriptor, &p->rnn);
    CHECK_CLEANUP(cudnnSetRNNDescriptor_v8, p->rnn, CUDNN_RNN_ALGO_STANDARD, cells[r->cell].mode,
                  r->bias ? CUDNN_RNN_DOUBLE_BIAS : CUDNN_RNN_NO_BIAS, CUDNN_UNIDIRECTIONAL,
                  CUDNN_LINEAR_INPUT, type, CUDNN_DATA_FLOAT, math_of(r->arithmetic), I, H, H, 1,
                  NULL, CUDNN_RNN_PADDED_IO_DISABLED);
    CHECK_CLEANUP(cudnnCreateRNNDataDescriptor, &p->x);
    CHECK_CLEANUP(cudnnSetRNNDataDescriptor, p->x, type, CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED, T,
                  B, I, lengths, NULL);
    CHECK_CLEANUP(cudnnCreateRNNDataDescriptor, &p->y);
    CHECK_CLEANUP(cudnnSetRNNDataDescriptor, p->y, type, CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_PACKED, T,
                  B, H, lengths, NULL);
    CHECK_CLEANUP(cudnnCreateTensorDescriptor, &p->states);
    CHECK_CLEANUP(cudnnSetTensorNdDescriptor, p->states, type, 3, dims, strides);
#undef CHECK_CLEANUP
cleanup:
    free(lengths);
    return status;
}

/* cuDNN answers with addresses: of weights that would begin at some address, where nothing is. */
static og_status find_weights(og_cuda_walk *p, cudnnHandle_t handle, const og_cuda_recurrence *r,
                              og_error *error)
{
    og_cuda_recurrence_sizes *s = &p->sizes;
    char *base = (char *)(uintptr_t)(1 << 20);
    cudnnTensorDescriptor_t matrix = NULL, bias = NULL;
    og_status status = OG_OK;
    OG_TRY_CLEANUP(og__cudnn_check(p->cudnn, p->cudnn->cudnnCreateTensorDescriptor(&matrix),
                                   "cudnnCreateTensorDescriptor", error));
    OG_TRY_CLEANUP(og__cudnn_check(p->cudnn, p->cudnn->cudnnCreateTensorDescriptor(&bias),
                                   "cudnnCreateTensorDescriptor", error));
    s->matrices = 2 * cells[r->cell].gates;
    for (int k = 0; k < s->matrices; k++) {
        void *m = NULL, *b = NULL;
        OG_TRY_CLEANUP(
            og__cudnn_check(p->cudnn,
                            p->cudnn->cudnnGetRNNWeightParams(handle, p->rnn, 0, s->weights, base,
                                                              k, matrix, &m, bias, &b),
                            "cudnnGetRNNWeightParams", error));
        if (!m || !b == r->bias) {
            status = og_fail(error, OG_UNSUPPORTED, "cuDNN: no place for matrix %d or its bias", k);
            goto cleanup;
        }
        s->matrix[k] = (size_t)((char *)m - base);
        s->bias[k] = b ? (size_t)((char *)b - base) : 0;
    }
cleanup:
    if (matrix)
        p->cudnn->cudnnDestroyTensorDescriptor(matrix);
    if (bias)
        p->cudnn->cudnnDestroyTensorDescriptor(bias);
    return status;
}

og_status og__cudnn_rnn_plan(og_cuda_card *card, const og_cuda_recurrence *r, og_cuda_walk **plan,
                             og_cuda_recurrence_sizes *sizes, og_error *error)
{
    const og__cudnn_library *cudnn;
    og_status status = OG_OK;
    OG_TRY(og__cudnn_enter(card, &cudnn, error));
    if (r->T > INT_MAX || r->I > INT_MAX || r->B > INT_MAX / r->H)
        return og_fail(error, OG_UNSUPPORTED, "cuDNN: sizes of 32 bits and more");
    og_cuda_walk *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a recurrence");
    p->cudnn = cudnn;
    p->mode = r->training ? CUDNN_FWD_MODE_TRAINING : CUDNN_FWD_MODE_INFERENCE;
    OG_TRY_CLEANUP(describe(p, r, error));
    OG_TRY_CLEANUP(og__cudnn_check(
        cudnn, cudnn->cudnnGetRNNWeightSpaceSize(card->cudnn, p->rnn, &p->sizes.weights),
        "cudnnGetRNNWeightSpaceSize", error));
    OG_TRY_CLEANUP(
        og__cudnn_check(cudnn,
                        cudnn->cudnnGetRNNTempSpaceSizes(card->cudnn, p->rnn, p->mode, p->x,
                                                         &p->sizes.workspace, &p->sizes.reserve),
                        "cudnnGetRNNTempSpaceSizes", error));
    OG_TRY_CLEANUP(find_weights(p, card->cudnn, r, error));
    if (!r->training)
        p->sizes.reserve = 0;
    *sizes = p->sizes;
    *plan = p;
    return OG_OK;
cleanup:
    og__cudnn_rnn_free(card, p);
    return status;
}

/* ---- runs */

static og_status enough(const og_cuda_walk *p, const og_cuda_recurrence_operands *o,
                        og_error *error)
{
    if (o->workspace_bytes >= p->sizes.workspace && o->reserve_bytes >= p->sizes.reserve)
        return OG_OK;
    return og_fail(
        error, OG_INTERNAL,
        "a recurrence: %zu bytes of workspace and %zu of reserve, %zu and %zu are needed",
        o->workspace_bytes, o->reserve_bytes, p->sizes.workspace, p->sizes.reserve);
}

og_status og__cudnn_rnn_run(og_cuda_card *card, og_cuda_walk *p,
                            const og_cuda_recurrence_operands *o, og_error *error)
{
    OG_TRY(
        og__cuda_check(card, card->cuda->cuCtxSetCurrent(card->context), "cuCtxSetCurrent", error));
    OG_TRY(enough(p, o, error));
    CHECK(p, cudnnRNNForward, card->cudnn, p->rnn, p->mode, NULL, p->x, o->x, p->y, o->y, p->states,
          o->h0, o->h, p->states, o->c0, o->c, p->sizes.weights, o->weights, p->sizes.workspace,
          o->workspace, p->sizes.reserve, o->reserve);
    return OG_OK;
}

/* First what flows back to x, which turns the gates in the reserve into their gradients, then that
 * of the weights. */
og_status og__cudnn_rnn_back(og_cuda_card *card, og_cuda_walk *p,
                             const og_cuda_recurrence_operands *o, og_error *error)
{
    OG_TRY(
        og__cuda_check(card, card->cuda->cuCtxSetCurrent(card->context), "cuCtxSetCurrent", error));
    OG_TRY(enough(p, o, error));
    CHECK(p, cudnnRNNBackwardData_v8, card->cudnn, p->rnn, NULL, p->y, o->y, o->dy, p->x, o->dx,
          p->states, o->h0, o->dh, o->dh0, p->states, o->c0, o->dc, o->dc0, p->sizes.weights,
          o->weights, p->sizes.workspace, o->workspace, p->sizes.reserve, o->reserve);
    CHECK(p, cudnnRNNBackwardWeights_v8, card->cudnn, p->rnn, CUDNN_WGRAD_MODE_ADD, NULL, p->x,
          o->x, p->states, o->h0, p->y, o->y, p->sizes.weights, o->dweights, p->sizes.workspace,
          o->workspace, p->sizes.reserve, o->reserve);
    return OG_OK;
}

void og__cudnn_rnn_free(og_cuda_card *card, og_cuda_walk *p)
{
    (void)card;
    if (p && p->states)
        p->cudnn->cudnnDestroyTensorDescriptor(p->states);
    if (p && p->y)
        p->cudnn->cudnnDestroyRNNDataDescriptor(p->y);
    if (p && p->x)
        p->cudnn->cudnnDestroyRNNDataDescriptor(p->x);
    if (p && p->rnn)
        p->cudnn->cudnnDestroyRNNDescriptor(p->rnn);
    free(p);
}
