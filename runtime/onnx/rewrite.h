/* The original ModelProto with new content, as a list of pieces of it and of what is new; see
 * rewrite.c. */
#ifndef OG_ONNX_REWRITE_H
#define OG_ONNX_REWRITE_H

#include "runtime/onnx/loader.h"
#include "runtime/onnx/wire.h"

/* Tensor data bound for PATH.data. */
typedef struct og__chunk {
    const void *data;
    uint64_t size, offset;
} og__chunk;

typedef struct og__rewrite {
    const og_onnx *onnx;
    og_arena *arena; /* of the pieces */
    const og_onnx_weight *weights;
    int n_weights;
    const og_metadata *metadata;
    int n_metadata;
    const char *location; /* external data goes to this file name; NULL: everything is inlined */
    bool training;        /* what is training mode only stays */
    og_error *error;

    og__out out; /* the result */
    og__chunk *chunks;
    int n_chunks;
    uint64_t data_size; /* of the external file */

    size_t cap_chunks;
    const uint8_t *walked; /* the model's bytes before this one have been given back */
    og__names weight_index, metadata_index;
    og__names read; /* names that some node reads or that are outputs; filled when first needed */
} og__rewrite;

og_status og__rewrite_run(og__rewrite *r);

#endif
