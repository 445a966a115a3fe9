/* What a session knows: types of targets and outputs, its memory, its plans and graphs. */
#include <string.h>

#include "runtime/graph/print.h"
#include "runtime/train/train.h"

static void info_from_type(const char *name, const og_type *t, og_tensor_info *info)
{
    *info = (og_tensor_info){.name = name, .dtype = t->dtype, .rank = t->rank};
    memcpy(info->dims, t->dims, sizeof(info->dims));
}

og_status og_session_target(const og_session *s, int index, og_tensor_info *info)
{
    if (index < 0 || index >= s->losses.n_targets) {
        og__context_begin(s->context);
        return og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                       "target %d does not exist; there are %d", index, s->losses.n_targets);
    }
    int place = s->target_place[index];
    info_from_type(s->losses.targets[place], &s->targets[place], info);
    return OG_OK;
}

og_status og_session_output(const og_session *s, int index, og_tensor_info *info)
{
    if (index < 0 || index >= s->n_outputs) {
        og__context_begin(s->context);
        return og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                       "output %d does not exist; there are %d", index, s->n_outputs);
    }
    info_from_type(s->model->graph->outputs[index].name, &s->outputs[index], info);
    return OG_OK;
}

void og_session_memory(const og_session *s, og_memory_report *report)
{
    const og_device *d = s->context->device;
    *report = s->memory;
    report->staging = d->remote && d->remote->staging ? d->remote->staging(d) : 0;
}

og_status og_session_print_plan(og_session *s, const char *which, og_write_fn *write, void *user)
{
    og_error *error = &s->context->error;
    og__context_begin(s->context);
    const og_plan *plan = strcmp(which, "update") == 0 ? s->update
                          : s->n_plans                 ? s->plans[0].plan
                                                       : NULL;
    if (!plan)
        return og_fail(error, OG_INVALID_ARGUMENT, "this session has no plan \"%s\"", which);
    og_text text = {0};
    for (int i = 0; i < plan->n_steps + plan->n_packs; i++) {
        const og_step *step = &plan->steps[i];
        int b = plan->buffer_of[step->call.node->out[0]];
        size_t at = b < 0 ? 0 : plan->buffers[b].offset;
        og_text_printf(&text, "%4d  %-8s %10zu %10zu  %s", i, step->kernel->name,
                       step->packs < 0 ? at : step->packed_at, step->call.workspace_bytes,
                       step->packs < 0 ? "" : "packed for ");
        og_node_print(&text, plan->graph, step->call.node);
        og_text_add(&text, "\n");
    }
    bool stopped = text.failed || !write(user, text.s ? text.s : "", text.length);
    og_text_free(&text);
    return stopped ? og_fail(error, OG_IO_ERROR, "the plan could not be written") : OG_OK;
}

og_status og_session_save_graph(og_session *s, const char *which, const char *path)
{
    og_error *error = &s->context->error;
    og__context_begin(s->context);
    og_arena *arena = og_arena_new();
    og_graph *g = NULL;
    if (!arena)
        return og_fail_memory(error, 64, "a graph");
    if (strcmp(which, "micro") == 0 && s->losses.n > 0)
        g = og__build_micro(s, s->micro, arena);
    else if (strcmp(which, "update") == 0 && s->losses.n > 0) {
        og_storages apart = og_storages_apart(&s->storages, arena);
        g = apart.items ? og__build_update_graph(s, &apart, arena) : NULL;
    } else if (strcmp(which, "forward") == 0)
        g = og__build_forward(s, s->batch, s->losses.n > 0, arena);
    else
        og_fail(error, OG_INVALID_ARGUMENT,
                "there is no graph \"%s\"; there are micro, update (with a loss) and forward",
                which);
    if (g)
        g = og_pass_simplify(g);
    if (g && g->error.status == OG_OK)
        g = og_pass_standardize(g);
    if (g && g->error.status == OG_OK)
        og_onnx_save_graph(g, path, error);
    else if (g)
        og_error_move(error, &g->error);
    else if (error->status == OG_OK)
        og_fail_memory(error, sizeof(og_graph), "a graph");
    og_arena_free(arena);
    return error->status;
}
