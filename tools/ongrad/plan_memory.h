/* What fills the memory that a session planned: over time, and by tensor where it is fullest. */
#ifndef OG_COMMAND_PLAN_MEMORY_H
#define OG_COMMAND_PLAN_MEMORY_H

#include "runtime/base/json.h"
#include "tools/ongrad/run.h"

enum { OG__LARGEST = 10 }; /* tensors that are listed */

typedef struct og__memory_use {
    const uint64_t *curve; /* bytes of activations alive, by kernel call */
    int n, micro;          /* calls; those of a micro-batch, the update's follow */
    int peak;              /* the call where most is alive */
    uint64_t states;       /* bytes alive all the time */
    int n_tensors;         /* alive at the peak */
    og_tensor_use tensors[OG__LARGEST];
    int n_largest; /* of them here */
} og__memory_use;

/* An exit status. The session keeps what is read. */
int og__memory_use_read(og__memory_use *use, const og__run *run);
/* A chart of the bytes alive over time, and the largest tensors at the peak. */
void og__memory_use_text(const og__memory_use *use, og_text *out);
/* The same as keys "over_time" and "largest". */
void og__memory_use_json(const og__memory_use *use, og_json *json);
/* Of these "largest" alone, and "peak_call". */
void og__memory_largest_json(const og__memory_use *use, og_json *json);
/* The chart as a file. An exit status. */
int og__memory_use_svg(const og__memory_use *use, const og__run *run, const char *path);

#endif
