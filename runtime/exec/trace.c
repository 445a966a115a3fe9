/* A profile's traced steps in Chrome's trace event format (the "JSON Object Format": complete
 * events, ph "X", ts and dur in microseconds), which chrome://tracing and Perfetto open. */
#include <stdio.h>

#include "runtime/base/json.h"
#include "runtime/exec/profile.h"

static void begin_event(og_json *j, const char *name, const char *category, const og__event *e)
{
    og_json_open(j, NULL, '{');
    og_json_string(j, "name", name);
    og_json_string(j, "cat", category);
    og_json_string(j, "ph", "X");
    og_json_double(j, "ts", 1e6 * e->start);
    og_json_double(j, "dur", 1e6 * e->seconds);
    og_json_int(j, "pid", 1);
    og_json_int(j, "tid", 1);
}

static void add_call(og_json *j, const og__event *e)
{
    const og_step *step = &e->plan->steps[e->index];
    const char *op = step->call.node->op->name, *node = og__call_node(step);
    double flops = og__call_flops(e->plan, step), bytes = og__call_bytes(step);
    og_text name = {0}, shapes = {0};
    og_text_printf(&name, "%s%s%s", op, *node ? " " : "", node);
    og__call_shapes(&shapes, step);
    begin_event(j, name.s ? name.s : op, og__call_role(step), e);
    og_json_open(j, "args", '{');
    og_json_string(j, "op", op);
    og_json_string(j, "kernel", step->kernel->name);
    og_json_string(j, "role", og__call_role(step));
    og_json_string(j, "node", node);
    og_json_string(j, "dims", shapes.s ? shapes.s : "");
    og_json_double(j, "flops", flops);
    og_json_double(j, "bytes", bytes);
    if (e->seconds > 0) {
        og_json_double(j, "flops_per_s", flops / e->seconds);
        og_json_double(j, "bytes_per_s", bytes / e->seconds);
    }
    og_json_close(j, '}');
    og_json_close(j, '}');
    og_text_free(&name);
    og_text_free(&shapes);
}

static void add_enclosing(og_json *j, const og__event *e)
{
    char name[32] = "step";
    if (!e->plan)
        snprintf(name, sizeof name, "step %lld", (long long)e->index);
    begin_event(j, e->plan ? e->plan->graph->name : name, e->plan ? "plan" : "step", e);
    og_json_close(j, '}');
}

/* What viewers call the one process and its one thread. */
static void add_label(og_json *j, const char *what, const char *name)
{
    og_json_open(j, NULL, '{');
    og_json_string(j, "name", what);
    og_json_string(j, "ph", "M");
    og_json_int(j, "pid", 1);
    og_json_int(j, "tid", 1);
    og_json_open(j, "args", '{');
    og_json_string(j, "name", name);
    og_json_close(j, '}');
    og_json_close(j, '}');
}

void og_profile_trace(const og_profile *p, og_text *out)
{
    og_json j = {.out = out};
    og_json_open(&j, NULL, '{');
    og_json_string(&j, "displayTimeUnit", "ms");
    og_json_open(&j, "traceEvents", '[');
    add_label(&j, "process_name", "ongrad");
    add_label(&j, "thread_name", "kernel calls");
    for (size_t i = 0; i < p->n_events; i++) {
        og_text_add(out, "\n");
        if (p->events[i].plan && p->events[i].index >= 0)
            add_call(&j, &p->events[i]);
        else
            add_enclosing(&j, &p->events[i]);
    }
    og_json_close(&j, ']');
    og_json_close(&j, '}');
    og_text_add(out, "\n");
}
