/* The names of a model's classes, kept in its metadata as one line each. */
#ifndef OG_COMMAND_CLASS_NAMES_H
#define OG_COMMAND_CLASS_NAMES_H

#include "runtime/base/text.h"

typedef struct og__class_names {
    char *text; /* which the names lie in */
    const char **names;
    int n; /* 0: the model says nothing of them */
} og__class_names;

/* false: out of memory. og__class_names_free in any case. */
bool og__class_names_read(const og_model *model, og__class_names *classes);
void og__class_names_free(og__class_names *classes);
/* n: number of `names`. false: out of memory, or the model's error. */
bool og__class_names_keep(og_model *model, const char *const *names, int n);

#endif
