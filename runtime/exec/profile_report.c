/* What a profile measured, as rows: calls of the same op, kernel and role together, or of the same
 * node, or one by one. */
#include <stdlib.h>
#include <string.h>

#include "runtime/exec/profile.h"
#include "runtime/graph/print.h"

/* ---- what a call is */

double og__call_flops(const og_plan *plan, const og_step *step)
{
    return step->packs >= 0 ? 0 : og_node_flops(plan->graph, step->call.node);
}

static double tensor_bytes(const og_tensor *t)
{
    int64_t bytes = t->type.dtype == OG_UNDEFINED ? 0 : og_type_bytes(&t->type);
    return bytes > 0 ? (double)bytes : 0;
}

double og__call_bytes(const og_step *step)
{
    const og_call *call = &step->call;
    double sum = 0;
    if (step->packs >= 0)
        return 2 * (double)call->packed_bytes;
    for (int i = 0; i < call->nx; i++)
        if (i >= 8 || !(call->node->op->type_only >> i & 1))
            sum += tensor_bytes(&call->x[i]);
    for (int i = 0; i < call->ny; i++)
        sum += tensor_bytes(&call->y[i]);
    return sum;
}

const char *og__call_role(const og_step *step)
{
    const og_origin *o = step->call.node->origin;
    return og_role_name(step->packs >= 0 ? OG_ROLE_WEIGHTS : o ? o->role : OG_ROLE_FORWARD);
}

const char *og__call_node(const og_step *step)
{
    const og_origin *o = step->call.node->origin;
    if (o && o->node && *o->node)
        return o->node;
    return o && o->op ? o->op : "";
}

static void add_types(og_text *out, const og_tensor *tensors, int n)
{
    char type[160];
    for (int i = 0; i < n; i++)
        og_text_printf(out, "%s%s", i ? ", " : "",
                       tensors[i].type.dtype == OG_UNDEFINED
                           ? "_"
                           : og_type_text(type, NULL, &tensors[i].type));
}

void og__call_shapes(og_text *out, const og_step *step)
{
    add_types(out, step->call.x, step->call.nx);
    og_text_add(out, " -> ");
    add_types(out, step->call.y, step->call.ny);
    if (step->call.node->program)
        og_program_print(out, step->call.node->program);
}

/* ---- rows */

static bool same_row(const og_profile_row *a, const og_profile_row *b)
{
    return strcmp(a->op, b->op) == 0 && strcmp(a->kernel, b->kernel) == 0 &&
           strcmp(a->role, b->role) == 0 && strcmp(a->node, b->node) == 0;
}

static int longest_first(const void *a, const void *b)
{
    double x = ((const og_profile_row *)a)->seconds, y = ((const og_profile_row *)b)->seconds;
    return (x < y) - (x > y);
}

static bool shapes_of(og_profile *p, const og_step *step, og_profile_row *row)
{
    og_text text = {0};
    og__call_shapes(&text, step);
    row->shapes = text.failed ? NULL : og_arena_strdup(p->arena, text.s);
    og_text_free(&text);
    return row->shapes != NULL;
}

/* Add call `i` of a plan to its row; *n is their number. */
static bool add_call(og_profile *p, const og__timing *t, int i, og_profile_by by, int *n)
{
    const og_step *step = &t->plan->steps[i];
    double runs = (double)og__step_runs(t, i);
    og_profile_row call = {.op = step->call.node->op->name,
                           .kernel = step->kernel->name,
                           .role = og__call_role(step),
                           .node = by == OG_PROFILE_BY_OP ? "" : og__call_node(step),
                           .shapes = "",
                           .calls = og__step_runs(t, i),
                           .seconds = t->seconds[i],
                           .least_seconds = runs > 0 ? t->least[i] * runs : 0,
                           .flops = runs * og__call_flops(t->plan, step),
                           .bytes = runs * og__call_bytes(step)};
    if (by == OG_PROFILE_BY_CALL && !shapes_of(p, step, &call))
        return false;
    for (int k = 0; k < *n && by != OG_PROFILE_BY_CALL; k++) {
        og_profile_row *row = &p->rows[k];
        if (!same_row(row, &call))
            continue;
        row->calls += call.calls;
        row->seconds += call.seconds;
        row->least_seconds += call.least_seconds;
        row->flops += call.flops;
        row->bytes += call.bytes;
        return true;
    }
    p->rows[(*n)++] = call;
    return true;
}

static og_profile_summary summarize(const og_profile *p, int n)
{
    og_profile_summary s = {
        .steps = p->measured, .warmup_steps = p->steps - p->measured, .seconds = p->seconds};
    for (int i = 0; i < n; i++) {
        s.kernel_seconds += p->rows[i].seconds;
        s.least_seconds += p->rows[i].least_seconds;
        s.calls += p->rows[i].calls;
        s.flops += p->rows[i].flops;
        s.bytes += p->rows[i].bytes;
    }
    return s;
}

int og_profile_report(og_profile *p, og_profile_by by, og_profile_summary *summary, og_error *error)
{
    size_t room = 1;
    int n = 0;
    for (int i = 0; i < p->n_timings; i++)
        room += (size_t)p->timings[i].plan->n_steps + (size_t)p->timings[i].plan->n_packs;
    og_arena_free(p->arena);
    p->arena = og_arena_new();
    p->rows = p->arena ? og_arena_array(p->arena, room, sizeof(og_profile_row)) : NULL;
    bool good = p->rows != NULL;
    for (int i = 0; good && i < p->n_timings; i++)
        for (int k = 0; good && k < p->timings[i].plan->n_steps + p->timings[i].plan->n_packs; k++)
            if (og__step_runs(&p->timings[i], k))
                good = add_call(p, &p->timings[i], k, by, &n);
    if (!good) {
        og_fail_memory(error, room * sizeof(og_profile_row), "a profile");
        return -1;
    }
    qsort(p->rows, (size_t)n, sizeof(og_profile_row), longest_first);
    *summary = summarize(p, n);
    return n;
}

const og_profile_row *og_profile_rows(const og_profile *p)
{
    return p->rows;
}
