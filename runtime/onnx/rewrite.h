/* The original ModelProto with new content, as a list of pieces of it and of what is new; see
 * rewrite.c. */
#ifndef OG_ONNX_REWRITE_H
#define OG_ONNX_REWRITE_H

#include "runtime/onnx/checkpoint.h"
#include "runtime/onnx/file.h"
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
    const og_onnx_state *states; /* a checkpoint's, which it writes itself */
    int n_states;
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
/* Elements as fields of a TensorProto: as raw_data, or as a reference to the external file, which
 * grows by them. */
og_status og__rewrite_put_data(og__rewrite *r, og__out *out, const og_const *c);

/* save.c: everything in r->out, or in r->chunks, to `write`; reads of mapped files are given back.
 */
bool og__rewrite_write(const og__rewrite *r, og_onnx_write_fn *write, void *user);
bool og__rewrite_write_chunks(const og__rewrite *r, og_onnx_write_fn *write, void *user);

/* What begins the keys of a checkpoint's metadata, and the name of its algorithm. */
#define OG__CHECKPOINT "ai.ongrad.checkpoint."
#define OG__ALGORITHM "ai.ongrad.algorithm"

#endif
