/* A source: samples by number, each with a shape and, where files name it, a key. It may be one
 * file of arrays, or a folder with one file a sample. Folders are listed when a source is opened;
 * what the files hold is read sample by sample. */
#ifndef OG_DATA_SOURCE_H
#define OG_DATA_SOURCE_H

#include "runtime/data/data.h"

typedef struct og_source og_source;

/* What keys behind a path say (PATH,frames=16). Zero: not said. */
typedef struct og_source_options {
    int64_t frames;      /* of a clip; 0: images */
    double rate;         /* frames a second; 0: spread evenly over the whole clip */
    int64_t seq_len;     /* a file of tokens is cut into sequences of so many */
    int64_t shift;       /* tokens left out at its beginning: 1 for next-token targets */
    og_dtype dtype;      /* of a file of bare numbers (.bin) */
    const char *key;     /* CSV: the column of keys */
    const char *columns; /* CSV: the columns read, joined by + */
    bool clips;          /* an innermost folder of images is one sample: its frames in order */
} og_source_options;

/* The format is found from the content of a file, and from the names in a folder. NULL on error. */
og_source *og_source_open(const char *path, const og_source_options *options, og_error *error);
void og_source_free(og_source *source);

int64_t og_source_samples(const og_source *source);
/* uint8 for pictures. */
og_dtype og_source_dtype(const og_source *source);
/* The rank, and dims with the samples in dims[0]. Where the first axis of samples differs in
 * length, dims[1] is the longest. Pictures have rank 1: their size is what they are asked for. */
int og_source_dims(const og_source *source, int64_t dims[OG_MAX_RANK]);
/* Relative path without extension, or what a key column says; NULL: samples go by their order. */
const char *og_source_key(const og_source *source, int64_t index);
/* Names of the classes that its labels count from 0; *n is 0 where it holds none. */
const char *const *og_source_classes(const og_source *source, int *n);
/* The columns that are read of a CSV file, joined by +; NULL: it is none, or + is in a name. */
const char *og_source_columns(const og_source *source);
/* The elements, where all lie in memory; else NULL: read sample by sample. */
const og_array *og_source_array(const og_source *source);
bool og_source_holds_floats(const og_source *source);
bool og_source_is_pictures(const og_source *source);
/* Do samples differ in the length of their first axis? */
bool og_source_has_lengths(const og_source *source);
/* What it holds in 64 bits; of large arrays and many files a part is looked into. The same wherever
 * and however often it is copied. */
uint64_t og_source_fingerprint(const og_source *source);
const char *og_source_kind(const og_source *source); /* "array", "CSV", "folder of .npy" … */
/* What was passed over when it was opened ("3 other files"), "" if nothing. */
const char *og_source_note(const og_source *source);

/* Labels from the first folder of each key: classes are the folders' names in order. NULL on
 * error; NULL without one where the keys have no such folders, or all the same. */
og_source *og_source_of_folders(const og_source *source, og_error *error);
/* The same labels counted by these class names instead, those of a model trained before. A name
 * that is not among them is an error. */
og_status og_source_set_classes(og_source *source, const char *const *classes, int n,
                                og_error *error);
/* From here on a clip with fewer frames than are asked for, or that ends before the last of them at
 * its rate, is followed by zeros; before, frames are taken twice. Nothing for other sources. */
void og_source_pad(og_source *source);
/* float32 [steps] a sample: 1 where `of` has an element of its first axis, or a clip that pads a
 * frame, 0 where it is padded. `of` is not owned. NULL on error. */
og_source *og_source_mask(const og_source *of, int64_t steps, og_error *error);

/* A folder of images of one source that goes by the name of a sample of another becomes one
 * sample, a clip. */
og_status og_sources_merge_folders(og_source *const *sources, int n, og_error *error);

/* ---- pairing */

typedef struct og_pair_options {
    const char *by; /* an extended regular expression: what it captures of a key (or matches) is
                       the name of the sample; NULL: the whole key */
    bool strict;    /* a sample without partner is an error */
} og_pair_options;

typedef struct og_pairing {
    int64_t samples;
    int64_t **rows;   /* one a source: sample → its number there */
    char **names;     /* of the samples; NULL: they have none */
    int64_t left_out; /* names that some source lacks */
    char *list;       /* them, a line each, the first ones; NULL: none */
} og_pairing;

/* Sources with keys are matched by them; one without goes in the order of the first that has keys,
 * or of all. og_pairing_free in any case. `names`: of the inputs and targets, for messages. */
og_status og_pair(const og_source *const *sources, const char *const *names, int n,
                  const og_pair_options *options, og_pairing *pairing, og_error *error);
void og_pairing_free(og_pairing *pairing);

/* Which samples validate: true in validates[0 … samples - 1] for a share of them, chosen by seed
 * and name (by number where there are no names). group: an extended regular expression as above;
 * samples that it gives one name stay together. NULL: none. */
og_status og_split(const og_pairing *pairing, double share, uint64_t seed, const char *group,
                   bool *validates, og_error *error);

#endif
