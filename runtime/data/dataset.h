/* The inside of a data set: what the checks of its fields (fields.c) find out, and what gathering
 * (dataset.c) uses. */
#ifndef OG_DATA_DATASET_H
#define OG_DATA_DATASET_H

#include <pthread.h>

#include "runtime/data/deliver.h"

typedef struct og__field {
    char *name;
    const og_array *array;   /* not owned; NULL: source */
    const og_source *source; /* not owned */
    const int64_t *rows;     /* NULL: sample i is row i */
    const char *elements;    /* of the array */
    og__conversion conversion;
    bool check_finite;
    int rank; /* as delivered; dims[0]: all samples */
    int64_t dims[OG_MAX_RANK];
    size_t count;               /* elements of one sample, as the file holds it */
    size_t in_bytes, out_bytes; /* of one sample */
    og__layout layout;          /* of pictures */
    double rate;
    bool raw;
    int64_t classes;
} og__field;

/* All that can be said of a field before samples are read; findings are added to the report.
 * Fills all but the name. */
void og__field_check(const og_field *from, const og_transforms *transforms, og__field *to,
                     og_error *report);
const og__field *og__dataset_field(const og_dataset *set, int f);
const og_transforms *og__dataset_transforms(const og_dataset *set);
/* The samples a field has. */
int64_t og__field_samples(const og_field *field);

#endif
