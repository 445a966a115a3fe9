/* The header of a .safetensors file, tensor by tensor: names, types, shapes and places, of a file
 * that may lie. Nothing is allocated. */
#ifndef OG_BASE_SAFETENSORS_H
#define OG_BASE_SAFETENSORS_H

#include "runtime/base/status.h"

enum { OG_SAFETENSORS_NAME = 512 };

typedef struct og_safetensors {
    const uint8_t *elements; /* of all tensors, as the file has them */
    size_t room;             /* bytes there are of them */
    const char *at, *end;    /* of the header, not yet read */
} og_safetensors;

typedef struct og_safetensor {
    char name[OG_SAFETENSORS_NAME];
    char type[16];  /* as it is written: "F32" */
    og_dtype dtype; /* OG_UNDEFINED: a type that ongrad has not */
    int rank;       /* -1: more axes than ongrad has */
    int64_t dims[OG_MAX_RANK];
    uint64_t from, to; /* bytes of `elements` */
} og_safetensor;

/* May these bytes be such a file? */
bool og_is_safetensors(const uint8_t *file, size_t size);
/* The bytes outlive the reading. */
og_status og_safetensors_open(const uint8_t *file, size_t size, og_safetensors *list,
                              og_error *error);
/* The next tensor; *more false: there is none. */
og_status og_safetensors_next(og_safetensors *list, og_safetensor *tensor, bool *more,
                              og_error *error);
/* Where its elements lie, row-major and at any alignment. An error where its shape takes another
 * number of bytes, they are not in the file, or its type or rank is one that ongrad has not. */
og_status og_safetensor_place(const og_safetensors *list, const og_safetensor *tensor,
                              const uint8_t **elements, size_t *bytes, og_error *error);

#endif
