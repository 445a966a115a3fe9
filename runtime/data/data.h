/* Data files: arrays that are read sample by sample, the first axis being samples. A library of its
 * own (libongrad-data): it sees runtime/base and nothing else of the runtime. */
#ifndef OG_DATA_DATA_H
#define OG_DATA_DATA_H

#include "runtime/base/status.h"

/* One array: .npy (mapped), a member of .npz (FILE.npz:NAME, or its only member), IDX or IDX.gz. */
typedef struct og_array og_array;

/* NULL on error. The format is found from the content, not from the name. */
og_array *og_array_open(const char *path, og_error *error);
void og_array_free(og_array *array);
og_dtype og_array_dtype(const og_array *array);
int og_array_rank(const og_array *array);
/* rank entries; dims[0] is the number of samples (1 for a scalar file of rank 0). */
const int64_t *og_array_dims(const og_array *array);
/* Row-major elements in the machine's byte order; valid until og_array_free. */
const void *og_array_data(const og_array *array);

/* Write a .npy file (version 1.0, C order), through a temporary file and a rename. */
og_status og_npy_write(const char *path, og_dtype dtype, int rank, const int64_t *dims,
                       const void *data, og_error *error);

/* ---- a data set: named fields bound to arrays, gathered into batches */

typedef struct og_dataset og_dataset;

/* How a field's elements arrive at the model. */
typedef struct og_field {
    const char *name;      /* the graph's input or the target */
    const og_array *array; /* not owned; dims[0] samples; NULL: read from source */
    og_dtype dtype;        /* what the model takes: elements are converted */
    int rank; /* what the model takes, sample axis included; a missing or extra axis of 1 is added
                 or removed ([N,28,28] for [N,1,28,28], [N,1] for [N]) */
    int64_t dims[OG_MAX_RANK]; /* dims[0] ignored; -1 = any one axis */
    double scale, shift;       /* x' = x × scale + shift after conversion; 1, 0 = unchanged */
    bool check_finite;         /* a NaN or infinity in the array is an error that names its index */
    const char *path;          /* the array's file, for messages; NULL: not known */

    const struct og_source *source; /* instead of array: read sample by sample; not owned */
    const int64_t *rows; /* sample i of the data set is sample rows[i] there; NULL: sample i. Not
                            owned */
    int64_t n_rows;
    int64_t frames;  /* of clips; 0: dims say it */
    double rate;     /* frames a second; 0: spread over the clip */
    bool raw;        /* pictures whose gray or palette values are class labels */
    int64_t classes; /* labels are delivered as probabilities of so many classes; 0: as they are */
} og_field;

typedef struct og_dataset_options {
    bool shuffle, drop_last;
    uint64_t seed;
    bool augment;   /* what is random in transforms happens */
    bool leave_out; /* a sample that cannot be read makes its batch shorter; else the next one of
                       the epoch stands in for it */
    bool strict;    /* a sample that cannot be read is an error */
    const struct og_transforms *transforms; /* of pictures; NULL: scaled to 0 … 1; copied */
} og_dataset_options;

/* All problems of the fields (lengths that differ, shapes, dtypes that lose information: float
 * targets for class labels, NaN) are reported in one error. Strings are copied. */
og_dataset *og_dataset_new(const og_field *fields, int n_fields, const og_dataset_options *options,
                           og_error *error);
void og_dataset_free(og_dataset *set);
int64_t og_dataset_samples(const og_dataset *set);
int og_dataset_fields(const og_dataset *set);
/* The sample at a place of an epoch's order. */
int64_t og_dataset_sample(const og_dataset *set, int64_t epoch, int64_t position);
/* Batches an epoch has at this size (drop_last respected). */
int64_t og_dataset_batches(const og_dataset *set, int64_t batch_size);
/* The rank and shape field f is delivered in, -1 in og_field.dims resolved; dims[0] is the number
 * of samples. */
int og_dataset_dims(const og_dataset *set, int f, int64_t dims[OG_MAX_RANK]);
/* Bytes of one sample of field f as delivered. */
size_t og_dataset_sample_bytes(const og_dataset *set, int f);
/* Gather batch `index` of `epoch` into the caller's buffers (one a field, batch_size samples each,
 * row-major); *samples is the number delivered (short for a last batch). A pure function of (seed,
 * epoch, index): any order of calls, any thread. */
og_status og_dataset_batch(const og_dataset *set, int64_t epoch, int64_t index, int64_t batch_size,
                           void *const *buffers, int64_t *samples, og_error *error);

/* Samples that could not be read so far: how many different ones, and a line each for the first of
 * them ("    FILE: reason"), malloc'd; NULL where there are none. */
int64_t og_dataset_unreadable(const og_dataset *set, char **list);
bool og_dataset_is_unreadable(const og_dataset *set, int64_t sample);
/* Seconds that all threads together spent on reading files, and on decoding them. */
void og_dataset_times(const og_dataset *set, double *disk, double *decode);

#endif
