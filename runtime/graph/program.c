/* Facts about the scalar instructions, from scalar.def. */
#include "runtime/graph/program.h"

typedef struct fact {
    const char *name;
    int arity;
    bool ints;
} fact;

static const fact facts[OG_SCALAR_COUNT] = {
    [OG_SCALAR_NONE] = {"", 0, false},
#define X(name, arity, ints, expression) [OG_SCALAR_##name] = {#name, arity, ints},
#include "runtime/graph/scalar.def"
#undef X
};

const char *og_scalar_name(og_scalar s)
{
    return s < OG_SCALAR_COUNT ? facts[s].name : "";
}

int og_scalar_arity(og_scalar s)
{
    return s < OG_SCALAR_COUNT ? facts[s].arity : 0;
}

const char *og_fold_name(og_fold fold)
{
    static const char *const names[OG_FOLD_COUNT] = {
        [OG_FOLD_NONE] = "",     [OG_FOLD_SUM] = "Sum",
        [OG_FOLD_MEAN] = "Mean", [OG_FOLD_SUM_SQUARE] = "SumSquare",
        [OG_FOLD_PROD] = "Prod", [OG_FOLD_MAX] = "Max",
        [OG_FOLD_MIN] = "Min"};
    return fold < OG_FOLD_COUNT ? names[fold] : "";
}

bool og_scalar_has_int(og_scalar s)
{
    return s < OG_SCALAR_COUNT && facts[s].ints;
}

int og_own_inputs(const og_node *n)
{
    return n->program ? n->n_in - (n->program->n_in - 1) : n->n_in;
}
