/* The update graph (optimizer.h). Formulas as PyTorch's torch.optim and clip_grad_norm_ define
 * them, in the vocabulary of their documentation: g gradient, lr learning rate, wd weight decay. */
#include "runtime/passes/optimizer.h"

#include <string.h>

#include "runtime/graph/build.h"

typedef struct update {
    og_graph *g;
    og_storages *storages;
    const og_optimizer *o;
    og_val lr;     /* float64 scalar */
    og_val t;      /* float64 scalar: the number of this step, from 1 */
    og_val finite; /* bool scalar */
} update;

typedef og_val rule(update *u, og_val w, og_val g);

static og_val moment(update *u, const char *name, og_val w)
{
    return og_storage_derived(u->g, u->storages, OG_STORAGE_MOMENT, og_value_of(w)->storage, name);
}

/* The state's new value, kept old when the step is skipped. */
static void commit(update *u, og_val state, og_val value)
{
    og_graph_set_state(u->g, state, Where(u->finite, value, state));
}

static og_val scalar_as(og_val x, og_val like)
{
    return DType(x) == DType(like) ? x : Cast(x, DType(like));
}

/* sgd: b = μ b + g, step = g + μ b if nesterov, else b;  w' = w − lr step */
static og_val sgd(update *u, og_val w, og_val g)
{
    double mu = u->o->momentum;
    if (u->o->weight_decay != 0)
        g = Add(g, Mul(Scalar(w, u->o->weight_decay), w));
    og_val step = g;
    if (mu != 0) {
        og_val b = moment(u, "momentum", w), b1 = Add(Mul(Scalar(w, mu), b), g);
        commit(u, b, b1);
        step = u->o->nesterov ? Add(g, Mul(Scalar(w, mu), b1)) : b1;
    }
    return Sub(w, Mul(scalar_as(u->lr, w), step));
}

/* m = β₁ m + (1 − β₁) g;  v = β₂ v + (1 − β₂) g²
 * w' = decayed − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
 * (Kingma and Ba, arXiv 1412.6980, algorithm 1) */
static og_val adam_step(update *u, og_val w, og_val decayed, og_val g)
{
    double b1 = u->o->beta1, b2 = u->o->beta2;
    og_val m = moment(u, "exp_avg", w), v = moment(u, "exp_avg_sq", w);
    og_val m1 = Add(Mul(Scalar(w, b1), m), Mul(Scalar(w, 1 - b1), g));
    og_val v1 = Add(Mul(Scalar(w, b2), v), Mul(Scalar(w, 1 - b2), Mul(g, g)));
    commit(u, m, m1);
    commit(u, v, v1);
    og_val t = u->t, c1 = Sub(One(t), Pow(Scalar(t, b1), t)),
           c2 = Sub(One(t), Pow(Scalar(t, b2), t));
    og_val rate = scalar_as(Div(u->lr, c1), w), root = scalar_as(Reciprocal(Sqrt(c2)), w);
    og_val denominator = Add(Mul(Sqrt(v1), root), Scalar(w, u->o->eps));
    return Sub(decayed, Mul(rate, Div(m1, denominator)));
}

/* adam: weight decay is added to the gradient. */
static og_val adam(update *u, og_val w, og_val g)
{
    if (u->o->weight_decay != 0)
        g = Add(g, Mul(Scalar(w, u->o->weight_decay), w));
    return adam_step(u, w, w, g);
}

/* adamw: w ← w (1 − lr wd) first      (Loshchilov and Hutter, arXiv 1711.05101) */
static og_val adamw(update *u, og_val w, og_val g)
{
    og_val lr = u->lr, decayed = w;
    if (u->o->weight_decay != 0)
        decayed = Mul(w, scalar_as(Sub(One(lr), Mul(lr, Scalar(lr, u->o->weight_decay))), w));
    return adam_step(u, w, decayed, g);
}

static const struct {
    const char *name;
    rule *step;
} rules[] = {{"sgd", sgd}, {"adam", adam}, {"adamw", adamw}};
const char *const og_optimizer_names = "adam, adamw, sgd";

static rule *find_rule(const char *name)
{
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (strcmp(rules[i].name, name) == 0)
            return rules[i].step;
    return NULL;
}

bool og_optimizer_exists(const char *name)
{
    return find_rule(name) != NULL;
}

static og_val scalar_state(update *u, const char *name, og_dtype dtype)
{
    og_type type = og_type_make(dtype, 0, NULL);
    return og_storage_state(u->g, u->storages, OG_STORAGE_SCALAR, name, &type, NULL, 0);
}

/* Running statistics: running ← staged if the step counts; staged ← running again if not. */
static void commit_statistics(update *u)
{
    int n = u->storages->n;
    for (int i = 0; i < n; i++) {
        og_storage s = u->storages->items[i];
        if (s.kind != OG_STORAGE_STAGED)
            continue;
        og_val staged = og_storage_state(u->g, u->storages, s.kind, s.name, &s.type, NULL, 0);
        const og_storage *buffer = &u->storages->items[s.of];
        og_val running =
            og_storage_state(u->g, u->storages, buffer->kind, buffer->name, &s.type, NULL, 0);
        og_val kept = Where(u->finite, staged, running);
        og_graph_set_state(u->g, running, kept);
        og_graph_set_state(u->g, staged, kept);
    }
}

og_graph *og_build_update(const og_optimizer *optimizer, og_storages *storages, double nominal,
                          og_arena *arena)
{
    og_graph *g = og_graph_new_in(arena);
    if (!g)
        return NULL;
    g->name = "update";
    og_graph_set_origin(g, &(og_origin){.role = OG_ROLE_UPDATE, .node = "", .op = ""});
    update u = {.g = g, .storages = storages, .o = optimizer};
    og_type scalar = og_type_make(OG_DOUBLE, 0, NULL);
    u.lr = og_graph_add_input(g, "lr", &scalar);
    og_val step = scalar_state(&u, "step", OG_DOUBLE);
    u.t = Add(step, One(step));
    og_val loss_sum = scalar_state(&u, OG_STATE_LOSS, OG_DOUBLE),
           weight = scalar_state(&u, OG_STATE_WEIGHT, OG_DOUBLE);

    /* norm² = Σ g²; a value that is not finite anywhere makes the sum not finite */
    int n = storages->n;
    og_val squares = OG_NONE;
    for (int i = 0; i < n; i++) {
        og_storage s = storages->items[i];
        if (s.kind != OG_STORAGE_GRADIENT)
            continue;
        og_val sum = og_storage_state(g, storages, s.kind, s.name, &s.type, NULL, 0);
        og_val square = scalar_as(Reduce("ReduceSumSquare", sum, 0, NULL, false), u.lr);
        squares = squares.g ? Add(squares, square) : square;
    }
    if (!squares.g) {
        og_fail(&g->error, OG_INVALID_ARGUMENT, "no trained parameter influences the loss");
        return g;
    }
    og_val correction = Div(Scalar(weight, nominal), weight);
    og_val norm = Mul(Sqrt(squares), correction), factor = correction;
    if (optimizer->max_norm > 0) { /* clip_grad_norm_: min(1, max_norm / (norm + 1e-6)) */
        og_val clip = Div(Scalar(norm, optimizer->max_norm), Add(norm, Scalar(norm, 1e-6)));
        factor = Mul(correction, Min(clip, One(clip)));
    }
    u.finite = IsFinite(Add(norm, loss_sum));

    rule *step_rule = find_rule(optimizer->name);
    for (int i = 0; i < n && g->error.status == OG_OK; i++) {
        og_storage s = storages->items[i];
        if (s.kind != OG_STORAGE_GRADIENT)
            continue;
        const char *name = storages->items[s.of].name;
        og_val w = og_storage_state(g, storages, OG_STORAGE_PARAMETER, name, &s.type, NULL, 0);
        og_val sum = og_storage_state(g, storages, s.kind, s.name, &s.type, NULL, 0);
        og_val grad = Mul(sum, scalar_as(factor, sum));
        commit(&u, w, step_rule(&u, w, grad));
        og_graph_set_state(g, sum, og_full(g, &s.type, 0));
    }
    commit_statistics(&u);
    commit(&u, step, u.t);
    og_graph_set_state(g, loss_sum, Zero(loss_sum));
    og_graph_set_state(g, weight, Zero(weight));
    og_graph_add_output(g, "loss", Div(loss_sum, weight));
    og_graph_add_output(g, "grad_norm", norm);
    og_graph_add_output(g, "finite", u.finite);
    return g;
}
