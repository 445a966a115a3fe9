/* What `ongrad train --log` left of a run, read for `ongrad report`: curves, thinned as they are
 * read, so that ten million steps take no more room than a thousand; and what the run was. */
#ifndef OG_COMMAND_RECORD_H
#define OG_COMMAND_RECORD_H

#include "tools/ongrad/json_read.h"

enum { OG__POINTS = 480, OG__MOST_SERIES = 100 };

/* Values of neighbouring steps. */
typedef struct og__point {
    int64_t n; /* 0: none; the rest is nothing then */
    double steps, sum, least, most;
} og__point;

typedef struct og__series {
    char *name; /* "loss"; "losses/box" of an object */
    og__point points[OG__POINTS];
    double last, least, most; /* of all that are finite; NaN: none */
    int64_t not_finite;
} og__series;

typedef struct og__record {
    const char *command, *path;
    og__series *series;
    int n_series;
    int64_t stride; /* steps of a point */
    int64_t lines, last_step, skipped;
    int64_t bad, first_bad; /* lines that are no step; the number of the first, from 1 */
    bool cut;               /* the last line is not whole */
    bool has_run, has_final;
    yaml_document_t run, final;
    int64_t resumed[16]; /* after these steps it went on from a checkpoint */
    int n_resumed;
} og__record;

/* An exit status, and says what is wrong; og__record_free in any case. */
int og__record_read(og__record *record, const char *command, const char *path);
void og__record_free(og__record *record);

/* NULL: there is none, or nothing of it is finite. */
const og__series *og__record_series(const og__record *record, const char *name);
/* "run" of the log, and its last line; absent where it has none. */
og__json_value og__record_run(const og__record *record);
og__json_value og__record_final(const og__record *record);

#endif
