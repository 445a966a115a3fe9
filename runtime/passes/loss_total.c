/* One loss or several in a step: total = Σᵢ wᵢ meanᵢ,  meanᵢ = Σ lossᵢ / Σ weightᵢ over the
 * effective batch.
 *
 * Gradients of micro-batches are added up before all weights of the effective batch are known.
 *
 * One loss: micro seeds with w / nominal, update multiplies by nominal / Σ weight. Exact, whatever
 * the weights are.
 *
 * Several: their sums of weight can differ, and one factor at the end cannot serve them all. Micro
 * divides each loss by its own weight in that micro-batch and counts samples instead: seed
 * wᵢ · samples / nominal / weightᵢ, correction nominal / Σ samples. For losses whose weight goes
 * with the number of samples (all but those with ignored labels or class weights) that is exact
 * again; without accumulation it is exact for all. With accumulation, a loss with ignored labels or
 * class weights contributes its gradient as the mean over micro-batches of their means, as PyTorch
 * does where each micro-batch calls backward(); exactness there would take a second set of gradient
 * sums. Values reported are exact in any case: every loss has its own two sums. */
#include <string.h>

#include "runtime/graph/build.h"
#include "runtime/passes/passes.h"

#define LOSS_SUM "loss_sum"
#define WEIGHT_SUM "weight_sum"

static og_val as_double(og_val x)
{
    return DType(x) == OG_DOUBLE ? x : Cast(x, OG_DOUBLE);
}

/* a / b, `otherwise` where b is 0 */
static og_val quotient(og_val a, og_val b, double otherwise)
{
    og_val none = Equal(b, Zero(b));
    return Where(none, Scalar(a, otherwise), Div(a, Where(none, One(b), b)));
}

og_seed og_total_seed(const og_total *total, const og_loss_value *values, int64_t samples)
{
    if (!values[0].sum.g)
        return (og_seed){OG_NONE, OG_NONE};
    if (total->n == 1)
        return (og_seed){values[0].sum,
                         Scalar(values[0].sum, total->losses[0].weight / total->nominal)};
    og_val y = OG_NONE;
    for (int i = 0; i < total->n; i++) {
        og_val sum = values[i].sum, weight = values[i].weight;
        if (!sum.g)
            return (og_seed){OG_NONE, OG_NONE};
        double share = total->losses[i].weight * (double)samples / total->nominal;
        og_val factor = og_value_of(weight)->kind == OG_VALUE_CONST
                            ? Scalar(sum, share / og_value_double(og_value_of(weight), 0))
                            : quotient(Scalar(sum, share), weight, 0);
        og_val term = Mul(sum, factor);
        if (Has(y) && DType(term) != DType(y))
            term = Cast(term, DType(y));
        y = Has(y) ? Add(y, term) : term;
    }
    return (og_seed){y, One(y)};
}

/* ---- the sums: float64 scalars that live across micro-batches */

static og_val sum_state(og_graph *g, og_storages *storages, const char *kind, const og_total *total,
                        int i)
{
    og_type type = og_type_make(OG_DOUBLE, 0, NULL);
    const char *name =
        total->n == 1 ? kind : og_arena_printf(g->arena, "%s.%s", kind, total->losses[i].label);
    if (!name) {
        og_fail_memory(&g->error, 64, "the sums of the losses");
        return OG_NONE;
    }
    return og_storage_state(g, storages, OG_STORAGE_SCALAR, name, &type, NULL, 0);
}

static og_val sample_state(og_graph *g, og_storages *storages)
{
    og_type type = og_type_make(OG_DOUBLE, 0, NULL);
    return og_storage_state(g, storages, OG_STORAGE_SCALAR, WEIGHT_SUM, &type, NULL, 0);
}

bool og_total_is_sum(const og_storage *storage)
{
    return storage->kind == OG_STORAGE_SCALAR &&
           (strncmp(storage->name, LOSS_SUM, strlen(LOSS_SUM)) == 0 ||
            strncmp(storage->name, WEIGHT_SUM, strlen(WEIGHT_SUM)) == 0);
}

void og_total_accumulate(og_graph *g, og_storages *storages, const og_total *total,
                         const og_loss_value *values, int64_t samples)
{
    for (int i = 0; i < total->n; i++) {
        og_val loss = sum_state(g, storages, LOSS_SUM, total, i),
               weight = sum_state(g, storages, WEIGHT_SUM, total, i);
        og_graph_set_state(g, loss, Add(loss, as_double(values[i].sum)));
        og_graph_set_state(g, weight, Add(weight, as_double(values[i].weight)));
    }
    if (total->n > 1) {
        og_val count = sample_state(g, storages);
        og_graph_set_state(g, count, Add(count, Scalar(count, (double)samples)));
    }
}

og_total_result og_total_finish(og_graph *g, og_storages *storages, const og_total *total,
                                og_val *means)
{
    og_val sum = OG_NONE, weight = OG_NONE;
    for (int i = 0; i < total->n && g->error.status == OG_OK; i++) {
        og_val loss = sum_state(g, storages, LOSS_SUM, total, i);
        weight = sum_state(g, storages, WEIGHT_SUM, total, i);
        means[i] = Div(loss, weight);
        og_val mean = total->n == 1 ? means[i] : quotient(loss, weight, 0);
        og_val term =
            total->losses[i].weight == 1 ? mean : Mul(mean, Scalar(mean, total->losses[i].weight));
        sum = Has(sum) ? Add(sum, term) : term;
        og_graph_set_state(g, loss, Zero(loss));
        og_graph_set_state(g, weight, Zero(weight));
    }
    if (total->n > 1) {
        weight = sample_state(g, storages);
        og_graph_set_state(g, weight, Zero(weight));
    }
    return (og_total_result){sum, Div(Scalar(weight, total->nominal), weight)};
}
