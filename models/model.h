/* What a built-in model is: a row of a table, and a function that builds its graph.
 *
 *     const og_builtin og_models_mlp[] = {{{"mlp", "…", options}, build}, {{0}}};
 *
 * A file of models/ that ends with such a table is registered by its presence, as files of ops/
 * are. A build function writes inputs, weights, nodes and outputs of an og__building with the
 * graph builder (runtime/graph/build.h) and the layers of layers.h. Weights only say how they
 * begin; their elements are drawn after the graph is built without an error (weights.c).
 *
 * Batch. Types need numbers, so graphs are built with a stand-in for the batch that no option can
 * reach; at the end each dim that is a multiple of it becomes a symbol. Build functions reshape
 * with -1 for the batch, and never write it down as a number. */
#ifndef OG_MODELS_MODEL_H
#define OG_MODELS_MODEL_H

#include "runtime/graph/build.h"
#include "runtime/train/initial.h"
#include "runtime/train/train.h"

/* ---- rows */

typedef struct og__building og__building;

typedef struct og_builtin {
    og_model_type type;
    void (*build)(og__building *b);
} og_builtin;

typedef struct og_builtin_table {
    const char *file;       /* its stem */
    const og_builtin *rows; /* ends with a NULL name */
} og_builtin_table;
extern const og_builtin_table og_builtin_tables[]; /* made by CMake; ends with a NULL file */

/* ---- weights */

typedef struct og__weight {
    int value; /* its id */
    og__init init;
} og__weight;

/* ---- a model being built */

enum { OG__BATCH = 16777259 }; /* the stand-in: a prime, larger than any option's value */

struct og__building {
    og_graph *g; /* takes the first error of all calls */
    const og_model_type *type;
    const og_options *options; /* NULL: defaults */
    const char *scope;         /* of names: "" or "layers.0." */
    og__weight *weights;
    int n_weights;
    size_t weights_capacity;
    og_val ratio, training; /* of Dropout: one ratio a model; absent before the first */
};

/* Options: what was set, else the type's default. A value out of range is an error of the graph;
 * `least` is returned then. */
int64_t og__model_int(og__building *b, const char *name, int64_t least, int64_t most);
double og__model_float(og__building *b, const char *name, double least, double below);
bool og__model_flag(og__building *b, const char *name);
const char *og__model_text(og__building *b, const char *name); /* NULL: not set, and no default */
/* A list "512,512" of whole numbers from 1 on: how many; 0 on error. */
enum { OG__MOST_SIZES = 32, OG__MOST_SIZE = 1 << 24, OG__MOST_LAYERS = 1024 };
int og__model_sizes(og__building *b, const char *name, int64_t sizes[OG__MOST_SIZES]);
/* Sets the graph's error, OG_INVALID_ARGUMENT. */
void og__model_fail(og__building *b, const char *format, ...) OG_PRINTF(2, 3);
bool og__model_failed(const og__building *b);

/* Names made between enter and leave begin with the scope's. */
typedef struct og__scope {
    const char *outer;
    int first_node;
} og__scope;
og__scope og__enter(og__building *b, const char *format, ...) OG_PRINTF(2, 3);
void og__leave(og__building *b, og__scope scope);

/* [batch, dims…]; rank counts the batch. */
og_val og__model_input(og__building *b, const char *name, og_dtype dtype, int rank,
                       const int64_t *dims);
void og__model_output(og__building *b, const char *name, og_val value);
/* float32, named in the scope. */
og_val og__model_weight(og__building *b, const char *name, int rank, const int64_t *dims,
                        og__init init);

/* weights.c: elements of every weight, a function of seed, its number and theirs. */
og_status og__weights_draw(og__building *b, int64_t seed, og_device *device);
/* What draws them again, given to the model that was made of them; user NULL: out of memory. */
og_onnx_maker og__weights_maker(const og__weight *weights, int n, og_graph *g, int64_t seed,
                                int threads);

#endif
