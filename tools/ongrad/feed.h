/* Batches for a session: a data set, its loader, and the constants beside it. */
#ifndef OG_COMMAND_FEED_H
#define OG_COMMAND_FEED_H

#include "runtime/data/loader.h"
#include "runtime/data/transforms.h"
#include "tools/ongrad/bindings.h"

typedef struct og__feed_options {
    bool shuffle, drop_last, check_finite;
    uint64_t seed;
    int workers; /* -1: chosen by the size of a batch */
    bool augment, strict;
    og_transforms transforms;
} og__feed_options;

typedef struct og__feed {
    const char *command;
    og_dataset *set;
    og_loader *loader;
    int n_inputs, n_targets, workers;
    int *field_of_input;         /* -1: a constant */
    void **constants;            /* one an input; NULL where it reads a file */
    og_source **masks;           /* one an input; NULL where it is none */
    int64_t batch_size, batches; /* batches: of an epoch */
    /* The batch that og__feed_next got: one pointer an input and a target. */
    const void **inputs, **targets;
    int64_t samples;
    double wait; /* seconds, since og__feed_open */
} og__feed;

/* Shapes and types as the session has them. An exit status; og__feed_close in any case. */
int og__feed_open(og__feed *feed, const og__bindings *bindings, const og_tensor_info *inputs,
                  const og_tensor_info *targets, int64_t batch_size,
                  const og__feed_options *options);
void og__feed_close(og__feed *feed);
/* Batch `index` of `epoch`. */
int og__feed_next(og__feed *feed, int64_t epoch, int64_t index);
/* Seconds of `wait` that went to reading files and to decoding them, by what the loader's threads
 * spent on each. */
void og__feed_waits(const og__feed *feed, double *disk, double *decode);
/* A warning that lists what could not be read; nothing where all could. Returns how many. */
int64_t og__feed_say_unreadable(const og__feed *feed, const char *what);
/* The options that the command line gives: order is kept unless `training`. */
og__feed_options og__feed_options_of(const og__arguments *a, const og_transforms *transforms,
                                     bool training);

/* A buffer of info's shape holding `value` everywhere; NULL: out of memory, or a type without
 * numbers. */
void *og__constant_new(const og_tensor_info *info, double value);

#endif
