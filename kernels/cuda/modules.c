/* Kernels loaded from images and compiled from text, each once for a device. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/internal.h"
#include "runtime/base/text.h"

struct og__cuda_text {
    og__cuda_text *next;
    char *text;
    og_cuda_module *module;
};

typedef struct og__cuda_loaded {
    struct og__cuda_loaded *next;
    const og_cuda_image *image;
    og_cuda_module *module;
} og__cuda_loaded;

/* The dialect and the integer arithmetic, as text (made by CMake from the headers). */
extern const char og__cuda_text_kernel[], og__cuda_text_arithmetic[];

og_status og__cuda_function(og__cuda *cuda, const og_cuda_image *image, const char *name,
                            size_t shared, og_cuda_function **function, og_error *error)
{
    og__cuda_loaded *l = cuda->loaded;
    while (l && l->image != image)
        l = l->next;
    if (!l) {
        l = calloc(1, sizeof *l);
        if (!l)
            return og_fail_memory(error, sizeof *l, "a module of kernels");
        og_status status = cuda->driver->load(cuda->card, image, &l->module, error);
        if (status != OG_OK) {
            free(l);
            return status;
        }
        l->image = image;
        l->next = cuda->loaded;
        cuda->loaded = l;
    }
    return cuda->driver->function(cuda->card, l->module, name, shared, function, error);
}

og_status og__cuda_compiled(og__cuda *cuda, const char *title, const char *text, const char *name,
                            og_cuda_function **function, og_error *error)
{
    og__cuda_text *t = cuda->texts;
    while (t && strcmp(t->text, text) != 0)
        t = t->next;
    if (!t) {
        og_text source = {0};
        og_text_add(&source, og__cuda_text_kernel);
        og_text_add(&source, og__cuda_text_arithmetic);
        og_text_add(&source, text);
        t = calloc(1, sizeof *t);
        char *copy = strdup(text);
        og_status status =
            source.failed || !t || !copy
                ? og_fail_memory(error, source.length, "a kernel's source")
                : cuda->driver->compile(cuda->card, title, source.s, &t->module, error);
        og_text_free(&source);
        if (status != OG_OK) {
            free(copy);
            free(t);
            return status;
        }
        t->text = copy;
        t->next = cuda->texts;
        cuda->texts = t;
    }
    return cuda->driver->function(cuda->card, t->module, name, 0, function, error);
}

void og__cuda_modules_free(og__cuda *cuda)
{
    for (og__cuda_text *t = cuda->texts, *next; t; t = next) {
        next = t->next;
        free(t->text);
        free(t);
    }
    for (og__cuda_loaded *l = cuda->loaded, *next; l; l = next) {
        next = l->next;
        free(l);
    }
    cuda->texts = NULL;
    cuda->loaded = NULL;
}
