/* The tensors of a model's file by name: statistics of each, and the difference of two. */
#ifndef OG_COMMAND_WEIGHTS_H
#define OG_COMMAND_WEIGHTS_H

#include "runtime/base/json.h"
#include "tools/ongrad/run.h"

typedef struct og__weight {
    og_tensor_info info;
    const void *data;
    int64_t n; /* elements */
} og__weight;

typedef struct og__weights {
    og__weight *items; /* sorted by name */
    int n;
} og__weights;

/* The model stays open as long as they are read. false: the context's error, or no memory. */
bool og__weights_read(og__weights *weights, og_model *model);
void og__weights_free(og__weights *weights);

typedef struct og__statistics {
    bool known;              /* is it a type of numbers that are read here? */
    double mean, std;        /* of finite elements; NaN: there are none */
    double least, most;      /* too */
    int64_t zeros, infinite; /* infinite: and NaN */
} og__statistics;
og__statistics og__weight_statistics(const og__weight *weight);

typedef struct og__change {
    int64_t equal;   /* elements; two NaN are equal */
    double most;     /* max |b - a|; infinite where one is not finite and the other differs */
    double relative; /* ‖b - a‖ / ‖a‖ */
    bool known;      /* else most and relative are not */
} og__change;
/* Of two of the same type and shape. */
og__change og__weight_change(const og__weight *a, const og__weight *b);

/* `ongrad inspect --weights`: a table, or JSON. An exit status. */
int og__weights_print(const og__run *run, bool json);

#endif
