/* Fusions by cuDNN's graph API: a description becomes descriptors one for one, cuDNN's heuristic
 * says which engines could compute it, best first, and the first that becomes a plan within the
 * limits is taken. Engines whose kernels cuDNN compiles take a second or two to become one: their
 * workspace is known before, and they are compiled when first run, before anything is recorded,
 * since plans are made for batches that never run. Otherwise a run only binds addresses. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/driver_cuda.h"

#if CUDNN_VERSION < 90200 /* a cuDNN of before then does not know it, and says so */
#define CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE ((cudnnBackendAttributeName_t)303)
#endif

/* Descriptors of a plan: of each tensor, of each operation and its parameters, of each engine, and
 * few others. */
enum {
    CANDIDATES = 24, /* engines of one heuristic: each costs it some milliseconds … */
    FEW = 5,         /* … so that these do where few are turned down */
    MODES = 2,
    DESCRIPTORS = OG_CUDA_TENSORS + 2 * OG_CUDA_OPERATIONS + MODES * (CANDIDATES + 1) + 8,
    NOTES = 32
};

/* Whom plans are made for: a card by its handle, or a described device. */
typedef struct target {
    cudnnHandle_t handle;
    cudnnBackendDescriptor_t device;
} target;

struct og_cuda_fused {
    const og__cudnn_library *cudnn;
    target target;
    int n; /* cuDNN does not say what it copies: all live as long as the plan */
    cudnnBackendDescriptor_t all[DESCRIPTORS], tensors[OG_CUDA_TENSORS];
    cudnnBackendDescriptor_t engines[MODES * CANDIDATES]; /* best first */
    bool float32, deterministic; /* neither TF32; nor other bits the next time */
    cudnnBackendDescriptor_t graph;
    int mode, n_engines, engine;   /* `engine`: the one that is taken */
    cudnnBackendDescriptor_t plan; /* NULL: not compiled yet */
    size_t workspace;
    int n_uids;
    int64_t uids[OG_CUDA_TENSORS];
    float constants[OG_CUDA_TENSORS];
    bool is_constant[OG_CUDA_TENSORS];
};

og_status og__cudnn_check(const og__cudnn_library *cudnn, cudnnStatus_t status, const char *what,
                          og_error *error)
{
    char text[512] = "";
    if (status == CUDNN_STATUS_SUCCESS)
        return OG_OK;
    cudnn->cudnnGetLastErrorString(text, sizeof text);
    return og_fail(error,
                   status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ? OG_OUT_OF_MEMORY
                                                                                : OG_UNSUPPORTED,
                   "cuDNN: %s: %s%s%s", what, cudnn->cudnnGetErrorString(status),
                   text[0] ? ": " : "", text);
}
#define CHECK(p, function, ...) \
    OG_TRY(og__cudnn_check((p)->cudnn, (p)->cudnn->function(__VA_ARGS__), #function, error))

/* ---- descriptors */

static og_status make(og_cuda_fused *p, cudnnBackendDescriptorType_t type,
                      cudnnBackendDescriptor_t *d, og_error *error)
{
    CHECK(p, cudnnBackendCreateDescriptor, type, d);
    p->all[p->n++] = *d;
    return OG_OK;
}

static og_status set(og_cuda_fused *p, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                     cudnnBackendAttributeType_t type, int64_t n, const void *values,
                     og_error *error)
{
    CHECK(p, cudnnBackendSetAttribute, d, name, type, n, values);
    return OG_OK;
}
#define SET(d, name, type, n, values) \
    OG_TRY(set(p, d, CUDNN_ATTR_##name, CUDNN_TYPE_##type, n, values, error))
#define FINALIZE(d, what) \
    OG_TRY(og__cudnn_check(p->cudnn, p->cudnn->cudnnBackendFinalize(d), what, error))

static cudnnDataType_t type_of(og_dtype dtype)
{
    return dtype == OG_FLOAT16    ? CUDNN_DATA_HALF
           : dtype == OG_BFLOAT16 ? CUDNN_DATA_BFLOAT16
           : dtype == OG_INT32    ? CUDNN_DATA_INT32
           : dtype == OG_INT8     ? CUDNN_DATA_INT8
           : dtype == OG_BOOL     ? CUDNN_DATA_BOOLEAN
                                  : CUDNN_DATA_FLOAT;
}

static og_status add_tensor(og_cuda_fused *p, const og_cuda_tensor *t, int64_t uid, og_error *error)
{
    cudnnBackendDescriptor_t d;
    cudnnDataType_t type = type_of(t->dtype);
    int64_t alignment = t->place == OG_CUDA_CONSTANT ? (int64_t)sizeof(float) : 16;
    cudnnBackendTensorReordering_t blocks = CUDNN_TENSOR_REORDERING_F16x16;
    bool is_virtual = t->place == OG_CUDA_VIRTUAL, by_value = t->place == OG_CUDA_CONSTANT;
    OG_TRY(make(p, CUDNN_BACKEND_TENSOR_DESCRIPTOR, &d, error));
    SET(d, TENSOR_DATA_TYPE, DATA_TYPE, 1, &type);
    SET(d, TENSOR_DIMENSIONS, INT64, t->rank, t->dims);
    SET(d, TENSOR_STRIDES, INT64, t->rank, t->strides);
    SET(d, TENSOR_UNIQUE_ID, INT64, 1, &uid);
    SET(d, TENSOR_BYTE_ALIGNMENT, INT64, 1, &alignment);
    if (is_virtual)
        SET(d, TENSOR_IS_VIRTUAL, BOOLEAN, 1, &is_virtual);
    if (by_value)
        SET(d, TENSOR_IS_BY_VALUE, BOOLEAN, 1, &by_value);
    if (t->blocked)
        SET(d, TENSOR_REORDERING_MODE, TENSOR_REORDERING_MODE, 1, &blocks);
    FINALIZE(d, "a tensor");
    p->tensors[uid] = d;
    p->constants[uid] = t->value;
    p->is_constant[uid] = by_value;
    if (!is_virtual)
        p->uids[p->n_uids++] = uid;
    return OG_OK;
}

/* ---- operations: the descriptor, and the attributes that take its operands */

typedef struct operation_row {
    cudnnBackendDescriptorType_t type;
    const char *name;
    cudnnBackendAttributeName_t in[OG_CUDA_OPERANDS], out[OG_CUDA_OPERANDS]; /* 0: none */
    cudnnBackendAttributeName_t parameters, alpha, beta;
} operation_row;

#define ATTR(name) CUDNN_ATTR_OPERATION_##name
static const operation_row rows[] = {
    [OG_CUDA_CONV] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                      "a convolution",
                      {ATTR(CONVOLUTION_FORWARD_X), ATTR(CONVOLUTION_FORWARD_W)},
                      {ATTR(CONVOLUTION_FORWARD_Y)},
                      ATTR(CONVOLUTION_FORWARD_CONV_DESC),
                      ATTR(CONVOLUTION_FORWARD_ALPHA),
                      ATTR(CONVOLUTION_FORWARD_BETA)},
    [OG_CUDA_CONV_GRAD_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                                "a convolution's data gradient",
                                {ATTR(CONVOLUTION_BWD_DATA_DY), ATTR(CONVOLUTION_BWD_DATA_W)},
                                {ATTR(CONVOLUTION_BWD_DATA_DX)},
                                ATTR(CONVOLUTION_BWD_DATA_CONV_DESC),
                                ATTR(CONVOLUTION_BWD_DATA_ALPHA),
                                ATTR(CONVOLUTION_BWD_DATA_BETA)},
    [OG_CUDA_CONV_GRAD_WEIGHTS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                                   "a convolution's weight gradient",
                                   {ATTR(CONVOLUTION_BWD_FILTER_X),
                                    ATTR(CONVOLUTION_BWD_FILTER_DY)},
                                   {ATTR(CONVOLUTION_BWD_FILTER_DW)},
                                   ATTR(CONVOLUTION_BWD_FILTER_CONV_DESC),
                                   ATTR(CONVOLUTION_BWD_FILTER_ALPHA),
                                   ATTR(CONVOLUTION_BWD_FILTER_BETA)},
    [OG_CUDA_MATMUL] = {CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
                        "a product",
                        {ATTR(MATMUL_ADESC), ATTR(MATMUL_BDESC)},
                        {ATTR(MATMUL_CDESC)},
                        ATTR(MATMUL_DESC)},
    [OG_CUDA_POINTWISE] = {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                           "a pointwise operation",
                           {ATTR(POINTWISE_XDESC), ATTR(POINTWISE_BDESC), ATTR(POINTWISE_TDESC)},
                           {ATTR(POINTWISE_YDESC)},
                           ATTR(POINTWISE_PW_DESCRIPTOR)},
    [OG_CUDA_REDUCTION] = {CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
                           "a reduction",
                           {ATTR(REDUCTION_XDESC)},
                           {ATTR(REDUCTION_YDESC)},
                           ATTR(REDUCTION_DESC)},
    [OG_CUDA_RESHAPE] = {CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR,
                         "a reshape",
                         {ATTR(RESHAPE_XDESC)},
                         {ATTR(RESHAPE_YDESC)}},
    [OG_CUDA_NORM] = {CUDNN_BACKEND_OPERATION_NORM_FORWARD_DESCRIPTOR,
                      "a normalization",
                      {ATTR(NORM_FWD_XDESC), ATTR(NORM_FWD_SCALE_DESC), ATTR(NORM_FWD_BIAS_DESC),
                       ATTR(NORM_FWD_EPSILON_DESC)},
                      {ATTR(NORM_FWD_YDESC), ATTR(NORM_FWD_MEAN_DESC),
                       ATTR(NORM_FWD_INV_VARIANCE_DESC)}},
    [OG_CUDA_NORM_GRAD] = {CUDNN_BACKEND_OPERATION_NORM_BACKWARD_DESCRIPTOR,
                           "a normalization's gradient",
                           {ATTR(NORM_BWD_DYDESC), ATTR(NORM_BWD_XDESC), ATTR(NORM_BWD_SCALE_DESC),
                            ATTR(NORM_BWD_MEAN_DESC), ATTR(NORM_BWD_INV_VARIANCE_DESC)},
                           {ATTR(NORM_BWD_DXDESC), ATTR(NORM_BWD_DSCALE_DESC),
                            ATTR(NORM_BWD_DBIAS_DESC)}},
    [OG_CUDA_POOL] = {CUDNN_BACKEND_OPERATION_RESAMPLE_FWD_DESCRIPTOR,
                      "a pooling",
                      {ATTR(RESAMPLE_FWD_XDESC)},
                      {ATTR(RESAMPLE_FWD_YDESC), ATTR(RESAMPLE_FWD_IDXDESC)},
                      ATTR(RESAMPLE_FWD_DESC)},
    [OG_CUDA_POOL_GRAD] = {CUDNN_BACKEND_OPERATION_RESAMPLE_BWD_DESCRIPTOR,
                           "a pooling's gradient",
                           {ATTR(RESAMPLE_BWD_DYDESC), ATTR(RESAMPLE_BWD_IDXDESC)},
                           {ATTR(RESAMPLE_BWD_DXDESC)},
                           ATTR(RESAMPLE_BWD_DESC)},
};

static const cudnnPointwiseMode_t pointwise_modes[OG_CUDA_MODES] = {
    [OG_CUDA_IDENTITY] = CUDNN_POINTWISE_IDENTITY,
    [OG_CUDA_ADD] = CUDNN_POINTWISE_ADD,
    [OG_CUDA_SUB] = CUDNN_POINTWISE_SUB,
    [OG_CUDA_MUL] = CUDNN_POINTWISE_MUL,
    [OG_CUDA_DIV] = CUDNN_POINTWISE_DIV,
    [OG_CUDA_MAX] = CUDNN_POINTWISE_MAX,
    [OG_CUDA_EXP] = CUDNN_POINTWISE_EXP,
    [OG_CUDA_LOG] = CUDNN_POINTWISE_LOG,
    [OG_CUDA_RELU_FORWARD] = CUDNN_POINTWISE_RELU_FWD,
    [OG_CUDA_INDEX] = CUDNN_POINTWISE_GEN_INDEX,
    [OG_CUDA_GREATER_EQUAL] = CUDNN_POINTWISE_CMP_GE,
    [OG_CUDA_SELECT] = CUDNN_POINTWISE_BINARY_SELECT,
};

static og_status convolution(og_cuda_fused *p, const og_cuda_operation *o, int rank,
                             cudnnBackendDescriptor_t *d, og_error *error)
{
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t spatial = rank - 2;
    OG_TRY(make(p, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, d, error));
    SET(*d, CONVOLUTION_COMP_TYPE, DATA_TYPE, 1, &type);
    SET(*d, CONVOLUTION_CONV_MODE, CONVOLUTION_MODE, 1, &mode);
    SET(*d, CONVOLUTION_SPATIAL_DIMS, INT64, 1, &spatial);
    SET(*d, CONVOLUTION_PRE_PADDINGS, INT64, spatial, o->begins);
    SET(*d, CONVOLUTION_POST_PADDINGS, INT64, spatial, o->ends);
    SET(*d, CONVOLUTION_FILTER_STRIDES, INT64, spatial, o->steps);
    SET(*d, CONVOLUTION_DILATIONS, INT64, spatial, o->dilations);
    return OG_OK;
}

static og_status pointwise(og_cuda_fused *p, const og_cuda_operation *o,
                           cudnnBackendDescriptor_t *d, og_error *error)
{
    cudnnPointwiseMode_t mode = pointwise_modes[o->mode];
    cudnnDataType_t type = o->mode == OG_CUDA_INDEX           ? CUDNN_DATA_INT32
                           : o->mode == OG_CUDA_GREATER_EQUAL ? CUDNN_DATA_BOOLEAN
                                                              : CUDNN_DATA_FLOAT;
    int64_t axis = o->axis;
    OG_TRY(make(p, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, d, error));
    SET(*d, POINTWISE_MODE, POINTWISE_MODE, 1, &mode);
    SET(*d, POINTWISE_MATH_PREC, DATA_TYPE, 1, &type);
    if (o->mode == OG_CUDA_INDEX)
        SET(*d, POINTWISE_AXIS, INT64, 1, &axis);
    return OG_OK;
}

static og_status reduction(og_cuda_fused *p, const og_cuda_operation *o,
                           cudnnBackendDescriptor_t *d, og_error *error)
{
    cudnnReduceTensorOp_t mode =
        o->mode == OG_CUDA_MAXIMUM ? CUDNN_REDUCE_TENSOR_MAX : CUDNN_REDUCE_TENSOR_ADD;
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    OG_TRY(make(p, CUDNN_BACKEND_REDUCTION_DESCRIPTOR, d, error));
    SET(*d, REDUCTION_OPERATOR, REDUCTION_OPERATOR_TYPE, 1, &mode);
    SET(*d, REDUCTION_COMP_TYPE, DATA_TYPE, 1, &type);
    return OG_OK;
}

static og_status product(og_cuda_fused *p, cudnnBackendDescriptor_t *d, og_error *error)
{
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    OG_TRY(make(p, CUDNN_BACKEND_MATMUL_DESCRIPTOR, d, error));
    SET(*d, MATMUL_COMP_TYPE, DATA_TYPE, 1, &type);
    return OG_OK;
}

static og_status pooling(og_cuda_fused *p, const og_cuda_operation *o, int rank,
                         cudnnBackendDescriptor_t *d, og_error *error)
{
    bool most = o->mode == OG_CUDA_MAXIMUM;
    cudnnResampleMode_t mode = most ? CUDNN_RESAMPLE_MAXPOOL
                               : o->mode == OG_CUDA_AVERAGE
                                   ? CUDNN_RESAMPLE_AVGPOOL_EXCLUDE_PADDING
                                   : CUDNN_RESAMPLE_AVGPOOL_INCLUDE_PADDING;
    cudnnPaddingMode_t padding = most ? CUDNN_NEG_INF_PAD : CUDNN_ZERO_PAD;
    cudnnNanPropagation_t nan = CUDNN_PROPAGATE_NAN;
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    int64_t spatial = rank - 2;
    OG_TRY(make(p, CUDNN_BACKEND_RESAMPLE_DESCRIPTOR, d, error));
    SET(*d, RESAMPLE_MODE, RESAMPLE_MODE, 1, &mode);
    SET(*d, RESAMPLE_COMP_TYPE, DATA_TYPE, 1, &type);
    SET(*d, RESAMPLE_NAN_PROPAGATION, NAN_PROPOGATION, 1, &nan);
    SET(*d, RESAMPLE_PADDING_MODE, PADDING_MODE, 1, &padding);
    SET(*d, RESAMPLE_SPATIAL_DIMS, INT64, 1, &spatial);
    SET(*d, RESAMPLE_WINDOW_DIMS, INT64, spatial, o->window);
    SET(*d, RESAMPLE_PRE_PADDINGS, INT64, spatial, o->begins);
    SET(*d, RESAMPLE_POST_PADDINGS, INT64, spatial, o->ends);
    SET(*d, RESAMPLE_STRIDES, INT64, spatial, o->steps);
    return OG_OK;
}

static og_status add_operation(og_cuda_fused *p, const og_cuda_fusion *f,
                               const og_cuda_operation *o, cudnnBackendDescriptor_t *d,
                               og_error *error)
{
    const operation_row *row = &rows[o->kind];
    const float one = 1, zero = 0;
    cudnnBackendDescriptor_t parameters = NULL;
    switch (o->kind) {
    case OG_CUDA_CONV:
    case OG_CUDA_CONV_GRAD_DATA:
    case OG_CUDA_CONV_GRAD_WEIGHTS:
        OG_TRY(convolution(p, o, f->tensors[o->in[0]].rank, &parameters, error));
        break;
    case OG_CUDA_MATMUL:
        OG_TRY(product(p, &parameters, error));
        break;
    case OG_CUDA_POINTWISE:
        OG_TRY(pointwise(p, o, &parameters, error));
        break;
    case OG_CUDA_REDUCTION:
        OG_TRY(reduction(p, o, &parameters, error));
        break;
    case OG_CUDA_POOL:
    case OG_CUDA_POOL_GRAD:
        OG_TRY(pooling(p, o, f->tensors[o->in[0]].rank, &parameters, error));
        break;
    default:
        break;
    }
    OG_TRY(make(p, row->type, d, error));
    if (parameters) {
        FINALIZE(parameters, row->name);
        OG_TRY(set(p, *d, row->parameters, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &parameters, error));
    }
    for (int i = 0; i < OG_CUDA_OPERANDS; i++) {
        if (o->in[i])
            OG_TRY(set(p, *d, row->in[i], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &p->tensors[o->in[i]],
                       error));
        if (o->out[i])
            OG_TRY(set(p, *d, row->out[i], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &p->tensors[o->out[i]],
                       error));
    }
    if (row->alpha) {
        OG_TRY(set(p, *d, row->alpha, CUDNN_TYPE_FLOAT, 1, &one, error));
        OG_TRY(set(p, *d, row->beta, CUDNN_TYPE_FLOAT, 1, &zero, error));
    }
    cudnnBackendNormMode_t mode = CUDNN_BATCH_NORM;
    cudnnBackendNormFwdPhase_t phase = CUDNN_NORM_FWD_TRAINING;
    if (o->kind == OG_CUDA_NORM) {
        SET(*d, OPERATION_NORM_FWD_MODE, NORM_MODE, 1, &mode);
        SET(*d, OPERATION_NORM_FWD_PHASE, NORM_FWD_PHASE, 1, &phase);
    }
    if (o->kind == OG_CUDA_NORM_GRAD)
        SET(*d, OPERATION_NORM_BWD_MODE, NORM_MODE, 1, &mode);
    FINALIZE(*d, row->name);
    return OG_OK;
}

/* ---- choosing an engine */

/* A list of notes of the engine behind a configuration: how many, -1 on failure. */
static int notes_of(const og_cuda_fused *p, cudnnBackendDescriptor_t config,
                    cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, void *notes)
{
    cudnnBackendDescriptor_t engine = NULL;
    int64_t n = 0, count = 0;
    if (p->cudnn->cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) !=
        CUDNN_STATUS_SUCCESS)
        return -1;
    bool ok = p->cudnn->cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
                                                 &engine) == CUDNN_STATUS_SUCCESS &&
              p->cudnn->cudnnBackendGetAttribute(engine, name, type, NOTES, &n, notes) ==
                  CUDNN_STATUS_SUCCESS;
    p->cudnn->cudnnBackendDestroyDescriptor(engine);
    return ok ? (int)n : -1;
}

/* What an engine's notes say of its numbers, against what is asked for. */
static bool engine_goes(const og_cuda_fused *p, cudnnBackendDescriptor_t config)
{
    cudnnBackendNumericalNote_t notes[NOTES];
    int n = notes_of(p, config, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, notes);
    for (int i = 0; i < n; i++) {
        bool tf32 = notes[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && p->float32,
             less = notes[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
                    notes[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION,
             varies = notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC && p->deterministic;
        if (tf32 || less || varies)
            return false;
    }
    return n >= 0;
}

/* Does cuDNN compile the engine's kernel? */
static bool engine_compiles(const og_cuda_fused *p, cudnnBackendDescriptor_t config)
{
    cudnnBackendBehaviorNote_t notes[NOTES];
    int n = notes_of(p, config, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, notes);
    for (int i = 0; i < n; i++)
        if (notes[i] == CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION)
            return true;
    return false;
}

/* Adds the engines that one heuristic proposes, those that go. */
static og_status ask_heuristic(og_cuda_fused *p, cudnnBackendHeurMode_t mode, og_error *error)
{
    cudnnBackendDescriptor_t heuristic, configs[CANDIDATES];
    int64_t n = 0;
    int most = p->float32 || p->deterministic ? CANDIDATES : FEW;
    OG_TRY(make(p, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristic, error));
    SET(heuristic, ENGINEHEUR_OPERATION_GRAPH, BACKEND_DESCRIPTOR, 1, &p->graph);
    SET(heuristic, ENGINEHEUR_MODE, HEUR_MODE, 1, &mode);
#if CUDNN_VERSION >= 90800
    if (p->target.device)
        SET(heuristic, ENGINEHEUR_DEVICEPROP, BACKEND_DESCRIPTOR, 1, &p->target.device);
#endif
    FINALIZE(heuristic, "the heuristic");
    for (int i = 0; i < most; i++)
        OG_TRY(make(p, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configs[i], error));
    CHECK(p, cudnnBackendGetAttribute, heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
          CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &n, configs);
    for (int i = 0; i < n && i < most; i++)
        if (engine_goes(p, configs[i]))
            p->engines[p->n_engines++] = configs[i];
    return OG_OK;
}

static og_status finalize_plan(og_cuda_fused *p, cudnnBackendDescriptor_t config,
                               cudnnBackendDescriptor_t plan, int64_t *workspace, og_error *error)
{
    int64_t count = 0;
    if (p->target.handle)
        SET(plan, EXECUTION_PLAN_HANDLE, HANDLE, 1, &p->target.handle);
#if CUDNN_VERSION >= 90800
    if (p->target.device)
        SET(plan, EXECUTION_PLAN_DEVICEPROP, BACKEND_DESCRIPTOR, 1, &p->target.device);
#endif
    SET(plan, EXECUTION_PLAN_ENGINE_CONFIG, BACKEND_DESCRIPTOR, 1, &config);
    FINALIZE(plan, "a plan");
    CHECK(p, cudnnBackendGetAttribute, plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
          CUDNN_TYPE_INT64, 1, &count, workspace);
    return OG_OK;
}

/* Is there an engine p->engine? Asks the next heuristic where those of the last are used up. */
static bool has_engine(og_cuda_fused *p, og_error *error)
{
    static const cudnnBackendHeurMode_t modes[MODES] = {CUDNN_HEUR_MODE_A,
                                                        CUDNN_HEUR_MODE_FALLBACK};
    while (p->engine == p->n_engines && p->mode < MODES) {
        og_error_clear(error);
        (void)ask_heuristic(p, modes[p->mode++], error);
    }
    return p->engine < p->n_engines;
}

/* Takes the first engine from p->engine on whose plan needs a workspace within the limit; where
 * `compile` is not set, one that is to be compiled by what it says of itself. */
static og_status take_engine(og_cuda_fused *p, size_t limit, bool compile, og_error *error)
{
    for (; has_engine(p, error); p->engine++) {
        cudnnBackendDescriptor_t config = p->engines[p->engine], plan = NULL;
        int64_t bytes = 0, count = 0;
        og_error_clear(error);
        if (!compile && engine_compiles(p, config) &&
            p->cudnn->cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_WORKSPACE_SIZE,
                                               CUDNN_TYPE_INT64, 1, &count,
                                               &bytes) == CUDNN_STATUS_SUCCESS) {
            if ((size_t)bytes > limit)
                continue;
            p->workspace = (size_t)bytes;
            return OG_OK;
        }
        CHECK(p, cudnnBackendCreateDescriptor, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan);
        if (finalize_plan(p, config, plan, &bytes, error) == OG_OK && (size_t)bytes <= limit) {
            p->all[p->n++] = p->plan = plan;
            p->workspace = (size_t)bytes;
            return OG_OK;
        }
        p->cudnn->cudnnBackendDestroyDescriptor(plan);
    }
    return og_fail(error, OG_UNSUPPORTED, "cuDNN has no engine for it within the limits");
}

static og_status build(og_cuda_fused *p, const og_cuda_fusion *f, og_error *error)
{
    cudnnBackendDescriptor_t operations[OG_CUDA_OPERATIONS];
    p->float32 = f->arithmetic == OG_CUDA_FLOAT;
    p->deterministic = f->deterministic;
    for (int i = 1; i < f->n_tensors; i++)
        OG_TRY(add_tensor(p, &f->tensors[i], i, error));
    for (int i = 0; i < f->n_operations; i++)
        OG_TRY(add_operation(p, f, &f->operations[i], &operations[i], error));
    OG_TRY(make(p, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &p->graph, error));
    if (p->target.handle)
        SET(p->graph, OPERATIONGRAPH_HANDLE, HANDLE, 1, &p->target.handle);
    SET(p->graph, OPERATIONGRAPH_OPS, BACKEND_DESCRIPTOR, f->n_operations, operations);
    FINALIZE(p->graph, "the graph");
    return take_engine(p, f->workspace_limit, false, error);
}

static og_status plan_for(const og__cudnn_library *cudnn, const target *to, const og_cuda_fusion *f,
                          og_cuda_fused **made, size_t *workspace, og_error *error)
{
    og_cuda_fused *p = calloc(1, sizeof *p);
    if (!p)
        return og_fail_memory(error, sizeof *p, "a fusion");
    p->cudnn = cudnn;
    p->target = *to;
    og_status status = build(p, f, error);
    *workspace = p->workspace;
    if (status == OG_OK)
        *made = p;
    else
        og__cudnn_free(NULL, p);
    return status;
}

/* ---- the table's members */

og_status og__cudnn_enter(og_cuda_card *card, const og__cudnn_library **library, og_error *error)
{
    const char *why = "";
    const og__cudnn_library *cudnn = og__open_cudnn(&why);
    if (!cudnn)
        return og_fail(error, OG_UNSUPPORTED, "%s", why);
    OG_TRY(
        og__cuda_check(card, card->cuda->cuCtxSetCurrent(card->context), "cuCtxSetCurrent", error));
    if (!card->cudnn) {
        OG_TRY(og__cudnn_check(cudnn, cudnn->cudnnCreate(&card->cudnn), "cudnnCreate", error));
        OG_TRY(og__cudnn_check(cudnn,
                               cudnn->cudnnSetStream(card->cudnn, card->streams[OG_CUDA_COMPUTE]),
                               "cudnnSetStream", error));
    }
    *library = cudnn;
    return OG_OK;
}

og_status og__cudnn_plan(og_cuda_card *card, const og_cuda_fusion *fusion, og_cuda_fused **plan,
                         size_t *workspace, og_error *error)
{
    const og__cudnn_library *cudnn;
    OG_TRY(og__cudnn_enter(card, &cudnn, error));
    return plan_for(cudnn, &(target){.handle = card->cudnn}, fusion, plan, workspace, error);
}

og_status og__cudnn_compile(og_cuda_fused *p, og_error *error)
{
    return p->plan ? OG_OK : take_engine(p, p->workspace, true, error);
}

og_status og__cudnn_run(og_cuda_card *card, og_cuda_fused *p, void *const *memory, void *workspace,
                        size_t workspace_bytes, og_error *error)
{
    void *addresses[OG_CUDA_TENSORS];
    cudnnBackendDescriptor_t pack;
    (void)workspace_bytes;
    OG_TRY(
        og__cuda_check(card, card->cuda->cuCtxSetCurrent(card->context), "cuCtxSetCurrent", error));
    OG_TRY(og__cudnn_compile(p, error));
    for (int i = 0; i < p->n_uids; i++)
        addresses[i] = p->is_constant[p->uids[i]] ? &p->constants[p->uids[i]] : memory[p->uids[i]];
    CHECK(p, cudnnBackendCreateDescriptor, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    const struct {
        cudnnBackendAttributeName_t name;
        cudnnBackendAttributeType_t type;
        int64_t n;
        const void *values;
    } attributes[] = {
        {CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, p->n_uids, p->uids},
        {CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, p->n_uids, addresses},
        {CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace}};
    og_status status = OG_OK;
    for (int i = 0; i < 3 && status == OG_OK; i++)
        status = set(p, pack, attributes[i].name, attributes[i].type, attributes[i].n,
                     attributes[i].values, error);
    if (status == OG_OK)
        status = og__cudnn_check(p->cudnn, p->cudnn->cudnnBackendFinalize(pack),
                                 "a run's addresses", error);
    if (status == OG_OK)
        status =
            og__cudnn_check(p->cudnn, p->cudnn->cudnnBackendExecute(card->cudnn, p->plan, pack),
                            "cudnnBackendExecute", error);
    p->cudnn->cudnnBackendDestroyDescriptor(pack);
    return status;
}

void og__cudnn_free(og_cuda_card *card, og_cuda_fused *p)
{
    (void)card;
    for (int i = p ? p->n : 0; i-- > 0;)
        p->cudnn->cudnnBackendDestroyDescriptor(p->all[i]);
    free(p);
}

void og__cudnn_close(og_cuda_card *card)
{
    const char *why = "";
    if (card->cudnn)
        og__open_cudnn(&why)->cudnnDestroy(card->cudnn);
}

/* ---- without a card */

og_status og__cudnn_plan_without(const char *device, const og_cuda_fusion *fusion,
                                 og_cuda_fused **plan, size_t *workspace, og_error *error)
{
#if CUDNN_VERSION >= 90800
    const char *why = "";
    const og__cudnn_library *cudnn = og__open_cudnn(&why);
    cudnnBackendDescriptor_t d = NULL;
    if (!cudnn)
        return og_fail(error, OG_UNSUPPORTED, "%s", why);
    OG_TRY(og__cudnn_check(
        cudnn, cudnn->cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &d),
        "a device", error));
    og_status status = og__cudnn_check(
        cudnn,
        cudnn->cudnnBackendSetAttribute(d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION,
                                        CUDNN_TYPE_CHAR, (int64_t)strlen(device), device),
        "a device's description", error);
    if (status == OG_OK)
        status =
            og__cudnn_check(cudnn, cudnn->cudnnBackendFinalize(d), "a device's description", error);
    if (status == OG_OK)
        status = plan_for(cudnn, &(target){.device = d}, fusion, plan, workspace, error);
    if (status == OG_OK)
        (*plan)->all[(*plan)->n++] = d;
    else
        cudnn->cudnnBackendDestroyDescriptor(d);
    return status;
#else
    (void)device, (void)fusion, (void)plan, (void)workspace;
    return og_fail(error, OG_UNSUPPORTED, "cuDNN plans without a device from version 9.8 on");
#endif
}
