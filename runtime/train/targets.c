/* The targets of a session: which of the caller's is which, their types, and what every loss needs
 * of what it reads. */
#include <string.h>

#include "runtime/train/train.h"

static const char *loss_text(const og_session *s, int i)
{
    const char *path = s->losses.sources[i].path;
    return path ? path : s->losses.items[i].label;
}

/* ---- which is which */

static og_status unknown_target(og_session *s, const char *name)
{
    og_text names = {0};
    for (int t = 0; t < s->losses.n_targets; t++)
        og_text_printf(&names, "%s\"%s\"", t ? ", " : "", s->losses.targets[t]);
    og_fail(&s->context->error, OG_INVALID_ARGUMENT,
            "no loss reads a target \"%s\"; the targets are %s", name, names.s ? names.s : "none");
    og_text_free(&names);
    return s->context->error.status;
}

/* s->target_place: by the caller's order. One target may be called as one likes; several go by
 * name, or by place where none has a name. */
static og_status place_targets(og_session *s, const og_tensor_info *targets, int n)
{
    og_error *error = &s->context->error;
    const og__losses *l = &s->losses;
    s->target_place = og_arena_array(s->arena, (size_t)n + 1, sizeof(int));
    bool *given = og_arena_array(s->arena, (size_t)l->n_targets + 1, sizeof(bool));
    if (!s->target_place || !given)
        return og_fail_memory(error, sizeof(int), "the targets");
    if (n > l->n_targets && l->n_targets < 2)
        return og_fail(error, OG_INVALID_ARGUMENT, "the losses take %d targets, %d were declared",
                       l->n_targets, n);
    for (int i = 0; i < n; i++) {
        int place = l->n_targets == 1 || !targets[i].name ? i : -1;
        for (int t = 0; place < 0 && t < l->n_targets; t++)
            if (strcmp(l->targets[t], targets[i].name) == 0)
                place = t;
        if (place < 0 || place >= l->n_targets)
            return unknown_target(s, targets[i].name ? targets[i].name : "");
        if (given[place])
            return og_fail(error, OG_INVALID_ARGUMENT, "target \"%s\" was declared twice",
                           l->targets[place]);
        given[place] = true;
        s->target_place[i] = place;
    }
    for (int t = 0; t < l->n_targets; t++)
        if (!given[t])
            return og_fail(error, OG_INVALID_ARGUMENT,
                           "the losses take %d targets, %d were declared: \"%s\" is missing",
                           l->n_targets, n, l->targets[t]);
    return OG_OK;
}

/* ---- what losses by name want */

static og_status check_class_weights(og_session *s, int i)
{
    const og_loss *l = &s->losses.items[i];
    const og_type *y = &s->outputs[s->losses.sources[i].output];
    int64_t classes = y->rank > 1 ? y->dims[1] : 0;
    if (l->n_class_weights && l->n_class_weights != classes &&
        l->n_class_weights != y->dims[y->rank - 1])
        return og_fail(
            &s->context->error, OG_INVALID_ARGUMENT,
            "option class_weights has %d numbers, output \"%s\" %lld classes%s", l->n_class_weights,
            s->model->graph->outputs[s->losses.sources[i].output].name, (long long)classes,
            s->losses.n > 1 ? "; key class_weights=W:W:... is for one loss" : "");
    return OG_OK;
}

/* given: the caller's type of the target, NULL if none was declared. */
static og_status fit_named(og_session *s, int i, const og_type *given, const char **decided_by)
{
    og_error *error = &s->context->error;
    const og_loss *l = &s->losses.items[i];
    const og__loss_source *source = &s->losses.sources[i];
    const og_type *y = &s->outputs[source->output];
    if (!og_dtype_is_float(y->dtype))
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "the loss reads output \"%s\", which is %s, not floating point",
                       s->model->graph->outputs[source->output].name, og_dtype_name(y->dtype));
    if (source->target < 0)
        return OG_OK;
    og_type *target = &s->targets[source->target], wanted;
    bool decided = decided_by[source->target] != NULL;
    if (og_loss_target_type(l, y, decided ? target : given, &wanted, error) != OG_OK) {
        if (decided)
            og_error_prefix(error, "target \"%s\", which %s reads, too",
                            s->losses.targets[source->target], decided_by[source->target]);
        return error->status;
    }
    if (!decided) {
        *target = wanted;
        decided_by[source->target] = loss_text(s, i);
    } else if (wanted.dtype != target->dtype) {
        char a[160], b[160];
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "target \"%s\": %s wants it as %s, %s as %s; give each a target of its own "
                       "with key target=NAME",
                       s->losses.targets[source->target], decided_by[source->target],
                       og_type_text(a, NULL, target), loss_text(s, i),
                       og_type_text(b, NULL, &wanted));
    }
    return check_class_weights(s, i);
}

/* ---- what loss models want */

/* The type of a target that a loss model alone reads: its own declaration, with the data's dims. */
static og_status declare_target(og_session *s, const og__loss_source *source, const og_value *input,
                                const og_type *given, og_type *target)
{
    og_error *error = &s->context->error;
    if (input->type.dtype == OG_UNDEFINED)
        return og_fail(error, OG_INVALID_ARGUMENT, "%s: input \"%s\" has no element type",
                       source->path, input->name);
    if (given) {
        *target = *given;
        target->dtype = input->type.dtype;
        return OG_OK;
    }
    *target = input->type;
    if (target->rank > 0 && target->dims[0] < 0)
        target->dims[0] = s->batch;
    if (!og_type_is_static(target))
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "%s: the shape of target \"%s\" is not known; give its data with --target",
                       source->path, input->name);
    return OG_OK;
}

/* An input of a loss model against what it reads: element type, rank, dims that are numbers. */
static og_status check_input(og_session *s, const og__loss_source *source, const og_value *input,
                             const char *what, const char *name, const og_type *type)
{
    const og_type *want = &input->type;
    bool fits = want->dtype == type->dtype && (want->rank < 0 || want->rank == type->rank);
    for (int k = 0; fits && k < want->rank; k++)
        fits = want->dims[k] < 0 || want->dims[k] == type->dims[k];
    char a[160], b[160];
    return fits ? OG_OK
                : og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                          "%s: its input \"%s\" is %s, the %s \"%s\" is %s", source->path,
                          input->name, og_type_text(a, og_onnx_graph(source->onnx), want), what,
                          name, og_type_text(b, NULL, type));
}

static og_status fit_model(og_session *s, int i, const og_type *given, const char **decided_by)
{
    const og__loss_source *source = &s->losses.sources[i];
    const og_graph *g = og_onnx_graph(source->onnx);
    for (int k = 0; k < g->n_inputs; k++) {
        const og_value *input = g->values[g->inputs[k]];
        int index = source->reads[k].index;
        switch (source->reads[k].kind) {
        case OG__READS_INPUT:
            OG_TRY(check_input(s, source, input, "model's input", input->name, &s->inputs[index]));
            break;
        case OG__READS_OUTPUT:
            OG_TRY(
                check_input(s, source, input, "model's output", input->name, &s->outputs[index]));
            break;
        case OG__READS_TARGET:
            if (!decided_by[index])
                OG_TRY(declare_target(s, source, input, given ? &given[index] : NULL,
                                      &s->targets[index]));
            decided_by[index] = source->path;
            OG_TRY(check_input(s, source, input, "target", s->losses.targets[index],
                               &s->targets[index]));
            break;
        }
    }
    return OG_OK;
}

og_status og__session_bind_targets(og_session *s, const og_tensor_info *targets, int n)
{
    og_error *error = &s->context->error;
    size_t room = (size_t)s->losses.n_targets + 1;
    s->targets = og_arena_array(s->arena, room, sizeof(og_type));
    const char **decided_by = og_arena_array(s->arena, room, sizeof(char *));
    og_type *given = targets ? og_arena_array(s->arena, room, sizeof(og_type)) : NULL;
    if (!s->targets || !decided_by || (targets && !given))
        return og_fail_memory(error, sizeof(og_type), "the targets");
    og_tensor_info *usual = NULL;
    if (!targets) { /* the usual ones, in the losses' order */
        n = s->losses.n_targets;
        usual = og_arena_array(s->arena, room, sizeof(*usual));
        if (!usual)
            return og_fail_memory(error, sizeof(*usual), "the targets");
    }
    OG_TRY(place_targets(s, targets ? targets : usual, n));
    for (int i = 0; targets && i < n; i++)
        given[s->target_place[i]] =
            og_type_make(targets[i].dtype, targets[i].rank, targets[i].dims);
    for (int i = 0; i < s->losses.n; i++) {
        int target = s->losses.sources[i].target;
        if (!s->losses.sources[i].path)
            OG_TRY(fit_named(s, i, given && target >= 0 ? &given[target] : NULL, decided_by));
    }
    for (int i = 0; i < s->losses.n; i++)
        if (s->losses.sources[i].path)
            OG_TRY(fit_model(s, i, given, decided_by));
    return OG_OK;
}

const void *og__target_data(const og_session *s, const void *const *targets, int index)
{
    for (int k = 0; k < s->losses.n_targets; k++)
        if (s->target_place[k] == index)
            return targets[k];
    return NULL;
}
