/* Which products the card's library takes: asked when kernels say what they support, once for each
 * description. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/product_plan.h"
#include "kernels/cuda/tuning.h"

struct og__cuda_answer {
    og__cuda_answer *next;
    char *product; /* as a text, which has all of it */
    bool goes;
};

/* False if it says that it has no way; what else happens, that there is no library above all, is
 * found again, and said, when a product is planned. */
static bool ask(const og__cuda *cuda, const og_cuda_product *shape)
{
    og_error error = {0};
    og_cuda_way way;
    int n;
    og_status status = cuda->driver->product_ways(cuda->card, shape, &way, 1, &n, &error);
    og_error_clear(&error);
    return status != OG_UNSUPPORTED || !cuda->driver->product_library(cuda->card);
}

bool og__cuda_product_goes(const og_device *device, const og_cuda_product *shape)
{
    og__cuda *cuda = og__cuda_of(device);
    og_cuda_product asked = *shape;
    og_text text = {0};
    asked.alignment = shape->alignment ? shape->alignment : OG__PRODUCT_VECTOR;
    og__tuning_key(&text, &asked, asked.deterministic ? "deterministic" : "", 0);
    og__cuda_answer *known = text.failed ? NULL : cuda->answers;
    while (known && strcmp(known->product, text.s) != 0)
        known = known->next;
    bool goes = known ? known->goes : ask(cuda, &asked);
    og__cuda_answer *made = known || text.failed ? NULL : calloc(1, sizeof *made);
    if (made) {
        *made = (og__cuda_answer){cuda->answers, text.s, goes};
        cuda->answers = made;
    } else {
        og_text_free(&text);
    }
    return goes;
}

void og__cuda_answers_free(og__cuda *cuda)
{
    for (og__cuda_answer *a = cuda->answers, *next; a; a = next) {
        next = a->next;
        free(a->product);
        free(a);
    }
    cuda->answers = NULL;
}
