/* How weights begin. Element i of a weight is a function of (seed, stream, number of the weight, i)
 * alone, by the generator of runtime/base/random.h, so that a seed gives the same weights on any
 * number of threads. */
#ifndef OG_TRAIN_INITIAL_H
#define OG_TRAIN_INITIAL_H

#include "runtime/graph/graph.h"

typedef enum og__init_kind {
    OG__INIT_CONSTANT, /* a everywhere */
    OG__INIT_UNIFORM,  /* from -a to a */
    OG__INIT_NORMAL    /* mean 0, standard deviation a */
} og__init_kind;

typedef struct og__init {
    og__init_kind kind;
    double a;
} og__init;

static inline og__init og__constant(double value)
{
    return (og__init){OG__INIT_CONSTANT, value};
}
static inline og__init og__uniform(double bound)
{
    return (og__init){OG__INIT_UNIFORM, bound};
}
static inline og__init og__normal(double deviation)
{
    return (og__init){OG__INIT_NORMAL, deviation};
}

/* Streams: draws that must not repeat each other. */
enum { OG__DRAW_MODEL, OG__DRAW_AGAIN, OG__DRAW_ADAPTER };

/* w: all elements of a float32 or float64 tensor */
void og__init_draw(og__init init, int64_t seed, int stream, int64_t number, const og_type *type,
                   int threads, void *w);

/* What PyTorch's module begins with that reads value `id` of a loaded graph as its parameter:
 * linear layers and convolutions uniform in ±1/√fan_in, weight and bias (nn.Linear, nn.Conv2d:
 * reset_parameters); norms scale 1, shift 0, running statistics 0 and 1; embeddings normal;
 * recurrent layers uniform in ±1/√hidden; PReLU 0.25. false: no node that reads it is known to be
 * one of these; *reader is one that does, NULL where none does. */
bool og__initial_of(const og_graph *g, int id, og__init *init, const og_node **reader);

#endif
