/* Making a plan: which values share memory, when each lives, and the calls that use them (plan.h).
 */
#include "runtime/base/checked.h"
#include "runtime/plan/planner.h"

size_t og_storages_place(og_storages *s)
{
    size_t at = 0;
    for (int i = 0; i < s->n; i++) {
        if (s->items[i].slab >= 0)
            continue;
        s->items[i].offset = at;
        at += og_align_up((size_t)og_type_bytes(&s->items[i].type), OG_ALIGNMENT);
    }
    for (int i = 0; i < s->n; i++)
        if (s->items[i].slab >= 0)
            s->items[i].offset = s->items[s->items[i].slab].offset + s->items[i].within;
    return at;
}

/* ---- steps and lifetimes */

/* Can the new value of a state be written straight into its storage? */
static bool commits_directly(const og__planner *p, const og_state *s)
{
    int step = p->defined[s->out];
    if (og__root_of(p, s->out) != s->out || step < 0)
        return false;
    for (int i = 0; i < p->g->n_outputs;
         i++) /* an output is read by the caller; keep it apart from the state */
        if (og__root_of(p, p->g->outputs[i].value) == s->in)
            return false;
    return p->last_read[s->in] < step ||
           (p->last_read[s->in] == step && og__in_place(p, step, s->in, s->out));
}

/* States whose new value is made while the old one is still needed get it by a copy at the end. */
static bool add_commit_copies(og__planner *p)
{
    og_graph *g = p->g;
    og_layouts *l = &p->plan->layouts;
    int n_states = g->n_states, extra = 0;
    for (int i = 0; i < n_states; i++)
        extra += g->states[i].out >= 0 && !commits_directly(p, &g->states[i]);
    if (!extra)
        return true;
    size_t values = (size_t)(g->n_values + extra) + 1, nodes = (size_t)(g->n_nodes + extra) + 1;
    og_place *places = og_arena_array(p->plan->arena, values, sizeof(og_place));
    const og_kernel **kernels = og_arena_array(p->plan->arena, nodes, sizeof(*kernels));
    if (!places || !kernels)
        return false;
    for (int i = 0; i < g->n_values; i++)
        places[i] = l->places[i];
    for (int i = 0; i < g->n_nodes; i++)
        kernels[i] = l->kernels[i];
    l->places = places;
    l->kernels = kernels;
    for (int i = 0; i < n_states; i++) {
        og_state *s = &g->states[i];
        if (s->out < 0 || commits_directly(p, s))
            continue;
        const og_type *type = &g->values[s->out]->type;
        og_node *n = og_graph_add_typed_node(g, og_op_find(OG_DOMAIN, "Copy"), "", &s->out, 1, type,
                                             1, NULL, 0);
        if (!n)
            return false;
        og_call call = {.node = n,
                        .device = p->device,
                        .nx = 1,
                        .ny = 1,
                        .x = (og_tensor[]){og_tensor_dense(type, NULL)},
                        .y = (og_tensor[]){og_tensor_dense(type, NULL)}};
        kernels[n->id] = og_device_kernel(p->device, &call, false);
        places[n->out[0]] = (og_place){.root = n->out[0]};
        og_strides_dense(type, places[n->out[0]].layout.strides);
        s->out = n->out[0];
    }
    return og__plan_steps(p);
}

/* ---- calls */

static og_tensor make_tensor(const og__planner *p, int value)
{
    const og_value *v = p->g->values[value];
    const og_place *place = &p->plan->layouts.places[value];
    const og_value *root = p->g->values[place->root];
    og_tensor t = og_tensor_dense(&v->type, NULL);
    for (int i = 0; i < v->type.rank; i++)
        t.strides[i] = place->layout.strides[i];
    t.offset = og_layout_misaligned(&place->layout, v->type.dtype);
    if (root->kind == OG_VALUE_CONST)
        t.data =
            (char *)(uintptr_t)root->data + place->layout.offset * og_dtype_bits(v->type.dtype) / 8;
    return t;
}

static uint32_t steady_inputs(const og__planner *p, const og_node *n)
{
    uint32_t steady = 0;
    for (int k = 0; k < n->n_in && k < OG_MOST_STEADY; k++)
        if (n->in[k] >= 0 && p->steady[og__root_of(p, n->in[k])])
            steady |= (uint32_t)1 << k;
    return steady;
}

static bool make_calls(og__planner *p)
{
    og_plan *plan = p->plan;
    for (int i = 0; i < plan->n_steps; i++) {
        og_step *s = &plan->steps[i];
        const og_node *n = p->g->nodes[p->node_at[i]];
        *s = (og_step){.kernel = plan->layouts.kernels[n->id], .node = n->id, .packs = -1};
        og_tensor *x = og_arena_array(plan->arena, (size_t)n->n_in + 1, sizeof(og_tensor));
        og_tensor *y = og_arena_array(plan->arena, (size_t)n->n_out + 1, sizeof(og_tensor));
        if (!x || !y)
            return false;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] >= 0)
                x[k] = make_tensor(p, n->in[k]);
        for (int k = 0; k < n->n_out; k++)
            y[k] = make_tensor(p, n->out[k]);
        s->call = (og_call){
            .node = n, .device = p->device, .nx = n->n_in, .ny = n->n_out, .x = x, .y = y};
        if (p->keep && s->kernel->pack && i >= plan->n_once)
            s->call.steady = steady_inputs(p, n);
        if (s->kernel->prepare && s->kernel->prepare(&s->call, p->error) != OG_OK) {
            og_node_prefix(p->error, n);
            return false;
        }
        s->prepared = true;
        p->workspace[n->id] = s->call.workspace_bytes;
    }
    return true;
}

/* The calls in the order that was chosen since they were made, then what packs for them. */
static bool sort_calls(og__planner *p)
{
    og_plan *plan = p->plan;
    og_step *steps = og_arena_array(plan->arena, 2 * (size_t)plan->n_steps + 1, sizeof(og_step));
    if (!steps)
        return false;
    for (int i = 0; i < plan->n_steps; i++)
        steps[p->step_of[plan->steps[i].node]] = plan->steps[i];
    plan->steps = steps;
    for (int i = 0; i < plan->n_steps; i++)
        if (steps[i].call.packed_bytes)
            og__add_pack(plan, i);
    return true;
}

static bool collect_patches(og__planner *p)
{
    og_plan *plan = p->plan;
    og_graph *g = p->g;
    plan->patches = og_arena_array(plan->arena, (size_t)g->n_inputs + 1, sizeof(og_patch *));
    plan->n_patches = og_arena_array(plan->arena, (size_t)g->n_inputs + 1, sizeof(int));
    if (!plan->patches || !plan->n_patches)
        return false;
    for (int input = 0; input < g->n_inputs; input++) {
        size_t capacity = 0;
        for (int i = 0; i < plan->n_steps; i++) {
            og_step *s = &plan->steps[i];
            for (int k = 0; k < s->call.nx; k++) {
                int v = s->call.node->in[k];
                if (v < 0 || og__root_of(p, v) != g->inputs[input])
                    continue;
                og_patch *grown =
                    og_arena_grow(plan->arena, plan->patches[input], (size_t)plan->n_patches[input],
                                  &capacity, sizeof(og_patch));
                if (!grown)
                    return false;
                plan->patches[input] = grown;
                int64_t offset = plan->layouts.places[v].layout.offset *
                                 og_dtype_bits(g->values[v]->type.dtype) / 8;
                grown[plan->n_patches[input]++] = (og_patch){&s->call.x[k], offset};
            }
        }
    }
    return true;
}

og_plan *og_plan_new(og_graph *g, og_arena *arena, const og_storages *storages, size_t room,
                     og_device *device, bool keep, og_error *error)
{
    og_plan *plan = og_arena_alloc(arena, sizeof(*plan));
    if (!plan) {
        og_fail_memory(error, sizeof(*plan), "a plan");
        og_arena_free(arena);
        return NULL;
    }
    plan->arena = arena;
    plan->device = device;
    og__planner p = {
        .plan = plan, .storages = storages, .device = device, .keep = keep, .error = error};
    p.g = plan->graph = og_pass_layout(g, device, &plan->layouts);
    if (p.g && p.g->error.status != OG_OK)
        og_error_move(error, &p.g->error);
    else if (!p.g || !og_pass_bits(&plan->layouts, device) || !og__plan_steps(&p) ||
             !add_commit_copies(&p) || !make_calls(&p) || !og__plan_order(&p) || !sort_calls(&p) ||
             !collect_patches(&p) || !og__find_constants(plan))
        og_fail_memory(error, og_arena_bytes(arena),
                       "a plan"); /* keeps a more precise error that is already set */
    if (error->status == OG_OK) {
        plan->activation_bytes =
            og__place_buffers(plan->buffers, plan->n_buffers, plan->n_steps, room, arena, error);
        plan->lower_bound = og__live_bytes(plan->buffers, plan->n_buffers, plan->n_steps, arena);
    }
    if (error->status != OG_OK) {
        og_plan_free(plan);
        return NULL;
    }
    return plan;
}

/* ---- use */

static char *buffer_address(const og_plan *plan, const og_buffer *b)
{
    if (b->storage == OG_KEPT)
        return plan->state_base + plan->kept_offset + b->offset;
    return (b->storage >= 0 ? plan->state_base : plan->activation_base) + b->offset;
}

static void bind_tensor(og_plan *plan, int value, og_tensor *t)
{
    const og_place *place = &plan->layouts.places[value];
    int b = plan->buffer_of[place->root];
    int constant = plan->constant_of ? plan->constant_of[place->root] : -1;
    if (b >= 0 || constant >= 0)
        t->data =
            (b >= 0 ? buffer_address(plan, &plan->buffers[b]) : plan->constants[constant].at) +
            place->layout.offset * og_dtype_bits(t->type.dtype) / 8;
}

/* Calls were recorded with the addresses they had. */
static void forget_recordings(og_plan *plan)
{
    for (int i = 0; i < 2; i++) {
        if (plan->recordings[i])
            plan->device->remote->forget(plan->device, plan->recordings[i]);
        plan->recordings[i] = NULL;
    }
    plan->runs = 0;
}

void og_plan_bind(og_plan *plan, void *state_base, void *activation_base)
{
    forget_recordings(plan);
    plan->state_base = state_base;
    plan->activation_base = activation_base;
    int workspace = plan->n_buffers;
    for (int i = plan->n_steps - 1; i >= 0;
         i--) { /* workspaces are the last buffers, in the order of steps */
        og_step *s = &plan->steps[i];
        for (int k = 0; k < s->call.nx; k++)
            if (s->call.node->in[k] >= 0)
                bind_tensor(plan, s->call.node->in[k], &s->call.x[k]);
        for (int k = 0; k < s->call.ny; k++)
            bind_tensor(plan, s->call.node->out[k], &s->call.y[k]);
        if (s->call.workspace_bytes)
            s->call.workspace = buffer_address(plan, &plan->buffers[--workspace]);
        if (s->call.packed_bytes)
            s->call.packed = plan->state_base + plan->kept_offset + s->packed_at;
    }
    for (int i = plan->n_steps; i < plan->n_steps + plan->n_packs; i++)
        plan->steps[i].call = plan->steps[plan->steps[i].packs].call;
}

void og_plan_set_input(og_plan *plan, int input, const void *data)
{
    forget_recordings(plan);
    for (int i = 0; i < plan->n_patches[input]; i++)
        plan->patches[input][i].tensor->data =
            (char *)(uintptr_t)data + plan->patches[input][i].offset;
}

const void *og_plan_output(const og_plan *plan, int output)
{
    int value = plan->graph->outputs[output].value;
    const og_place *place = &plan->layouts.places[value];
    const og_buffer *b = &plan->buffers[plan->buffer_of[place->root]];
    return buffer_address(plan, b) +
           place->layout.offset * og_dtype_bits(plan->graph->values[value]->type.dtype) / 8;
}

void og_plan_free(og_plan *plan)
{
    if (!plan)
        return;
    forget_recordings(plan);
    for (int i = 0; i < plan->n_steps; i++)
        if (plan->steps[i].prepared && plan->steps[i].kernel->release)
            plan->steps[i].kernel->release(&plan->steps[i].call);
    og_arena_free(plan->arena);
}
