/* Looking rows up in the tables that CMake lists. */
#include <string.h>

#include "runtime/base/text.h"
#include "runtime/graph/op.h"

static bool is_onnx_domain(const char *domain)
{
    return !domain || !*domain || strcmp(domain, "ai.onnx") == 0;
}

static bool same_domain(const char *a, const char *b)
{
    return is_onnx_domain(a) ? is_onnx_domain(b) : !is_onnx_domain(b) && strcmp(a, b) == 0;
}

const og_op *og_op_find(const char *domain, const char *name)
{
    for (const og_op_table *t = og_op_tables; t->family; t++)
        for (const og_op *op = t->ops; op->name; op++)
            if (strcmp(op->name, name) == 0 && same_domain(op->domain, domain))
                return op;
    return NULL;
}

const char *og_op_nearest(const char *name)
{
    const char *best = NULL;
    int best_distance = 1 + (int)strlen(name) / 4;
    for (const og_op_table *t = og_op_tables; t->family; t++)
        for (const og_op *op = t->ops; op->name; op++) {
            int d =
                is_onnx_domain(op->domain) ? og_edit_distance(op->name, name) : best_distance + 1;
            if (d <= best_distance && (!best || d < best_distance)) {
                best = op->name;
                best_distance = d;
            }
        }
    return best;
}
