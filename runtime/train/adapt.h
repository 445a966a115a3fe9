/* What fine-tuning does to a model before sessions are made of it; shared by its files. Each step
 * changes the model's bytes (og_onnx_edited) and says in a line what it did. */
#ifndef OG_TRAIN_ADAPT_H
#define OG_TRAIN_ADAPT_H

#include "runtime/train/initial.h"
#include "runtime/train/train.h"

/* The model with the changes, in place of what it was. Tensors lie in the model's arena or in a
 * source. */
og_status og__model_edit(og_model *m, const og_onnx_edit *edit);
/* A line of og_model_changes. */
void og__model_changed(og_model *m, const char *format, ...) OG_PRINTF(2, 3);
/* An initializer of the model with new elements, drawn; in *tensor. */
og_status og__draw_tensor(og_model *m, const char *name, const og_type *type, og__init init,
                          int64_t seed, int stream, int64_t number, og_onnx_tensor *tensor);
/* The constant that value `id` is, or that a Transpose of two axes makes it of; -1: neither.
 * *swapped: the latter. */
int og__weight_of(const og_graph *g, int id, bool *swapped);
/* The weight of rank 2 that a Gemm or MatMul reads as its second operand, or a convolution; -1: the
 * node is none of these, or reads none. *rows: its first axis is the layer's outputs, as in
 * PyTorch.
 */
int og__layer_weight(const og_graph *g, const og_node *n, bool *rows);
/* The float initializer that --OPTION GLOB names nearest, for "matches none … did you mean". */
og_status og__no_match(const og_graph *g, const char *option, const char *glob, og_error *error);

/* The steps, in the order in which they are made. */
og_status og__recreate_head(og_model *m, const og_options *options); /* head.c */
og_status og__load_weights(og_model *m, const og_options *options);  /* init_from.c */
og_status og__draw_again(og_model *m, const og_options *options);    /* reinit.c */
og_status og__add_adapters(og_model *m, const og_options *options);  /* lora.c */

#endif
