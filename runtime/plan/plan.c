/* Making a plan: which values share memory, when each lives, and the calls that use them (plan.h).
 */
#include "runtime/plan/plan.h"

#include "runtime/base/checked.h"
#include "runtime/passes/rewrite.h"

typedef struct planner {
    og_plan *plan;
    og_graph *g;
    const og_storages *storages;
    const og_device *device;
    og_error *error;
    bool keep;
    bool *steady;   /* by value: what it is a view of stays the same until weights change */
    int *step_of;   /* by node: its step, -1: a view */
    int *last_read; /* by root value: the last step that reads it or a view of it; n_steps for
                       outputs */
    int *defined;   /* by value: the step that writes it; -1 before the first */
} planner;

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

static int root_of(const planner *p, int value)
{
    return p->plan->layouts.places[value].root;
}

/* ---- steps and lifetimes */

static void add_step(planner *p, int node)
{
    og_plan *plan = p->plan;
    p->step_of[node] = plan->n_steps;
    plan->steps[plan->n_steps++] =
        (og_step){.kernel = plan->layouts.kernels[node], .node = node, .packs = -1};
}

static bool make_steps(planner *p)
{
    og_graph *g = p->g;
    og_plan *plan = p->plan;
    size_t values = (size_t)g->n_values + 1;
    plan->steps = og_arena_array(plan->arena, 2 * ((size_t)g->n_nodes + (size_t)g->n_states) + 1,
                                 sizeof(og_step));
    bool *once = og_arena_array(plan->arena, (size_t)g->n_nodes + 1, sizeof(bool));
    p->steady = og_arena_array(plan->arena, values, sizeof(bool));
    p->step_of = og_arena_array(plan->arena, (size_t)g->n_nodes + 1, sizeof(int));
    p->last_read = og_arena_array(plan->arena, values, sizeof(int));
    p->defined = og_arena_array(plan->arena, values, sizeof(int));
    bool *live = og_graph_live(g);
    if (!plan->steps || !once || !p->steady || !p->step_of || !p->last_read || !p->defined ||
        !live || (p->keep && !og__find_once(g, &plan->layouts, p->storages, live, once, p->steady)))
        return false;
    plan->n_steps = plan->n_once = 0;
    for (int i = 0; i < g->n_nodes; i++)
        if (once[i])
            add_step(p, i);
    plan->n_once = plan->n_steps;
    for (int i = 0; i < g->n_nodes; i++) {
        if (!once[i])
            p->step_of[i] = -1;
        if (live[i] && plan->layouts.kernels[i] && !once[i])
            add_step(p, i);
    }
    for (int v = 0; v < g->n_values; v++)
        p->last_read[v] = p->defined[v] = -1;
    for (int i = 0; i < g->n_nodes; i++) {
        const og_node *n = g->nodes[i];
        if (p->step_of[i] < 0)
            continue;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] >= 0 && p->last_read[root_of(p, n->in[k])] < p->step_of[i])
                p->last_read[root_of(p, n->in[k])] = p->step_of[i];
        for (int k = 0; k < n->n_out; k++)
            p->defined[n->out[k]] = p->step_of[i];
    }
    for (int i = 0; i < g->n_outputs; i++)
        p->last_read[root_of(p, g->outputs[i].value)] = plan->n_steps;
    for (int i = 0; i < g->n_states; i++)
        if (g->states[i].out >= 0)
            p->last_read[g->states[i].out] = plan->n_steps;
    return true;
}

/* Do two values of one type lie alike, element for element? Axes of one element do not count. */
static bool lie_alike(const planner *p, int a, int b)
{
    const og_layout *x = &p->plan->layouts.places[a].layout,
                    *y = &p->plan->layouts.places[b].layout;
    const og_type *type = &p->g->values[a]->type;
    bool alike = og_type_equal(type, &p->g->values[b]->type) && x->offset == y->offset;
    for (int d = 0; alike && d < type->rank; d++)
        alike = type->dims[d] == 1 || x->strides[d] == y->strides[d];
    return alike;
}

/* May the step's kernel write output `out` over input root `in`? */
static bool in_place(const planner *p, int step, int in, int out)
{
    const og_step *s = &p->plan->steps[step];
    const og_node *n = p->g->nodes[s->node];
    const og_value *a = p->g->values[in], *b = p->g->values[out];
    if (!(s->kernel->flags & OG_KERNEL_INPLACE) || a->type.dtype != b->type.dtype ||
        og_type_elements(&a->type) != og_type_elements(&b->type) || p->last_read[in] != step)
        return false;
    for (int k = 0; k < n->n_in;
         k++) /* whatever view of `in` it reads must be all of it, element for element */
        if (n->in[k] >= 0 && root_of(p, n->in[k]) == in && !lie_alike(p, n->in[k], out))
            return false;
    return true;
}

/* Can the new value of a state be written straight into its storage? */
static bool commits_directly(const planner *p, const og_state *s)
{
    int step = p->defined[s->out];
    if (root_of(p, s->out) != s->out || step < 0)
        return false;
    for (int i = 0; i < p->g->n_outputs;
         i++) /* an output is read by the caller; keep it apart from the state */
        if (root_of(p, p->g->outputs[i].value) == s->in)
            return false;
    return p->last_read[s->in] < step ||
           (p->last_read[s->in] == step && in_place(p, step, s->in, s->out));
}

/* States whose new value is made while the old one is still needed get it by a copy at the end. */
static bool add_commit_copies(planner *p)
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
    return make_steps(p);
}

/* ---- buffers */

static int add_buffer(og_plan *plan, og_buffer b)
{
    plan->buffers[plan->n_buffers] = b;
    return plan->n_buffers++;
}

static int add_kept(og_plan *plan, int value)
{
    size_t bytes = (size_t)og_type_bytes(&plan->graph->values[value]->type);
    return add_buffer(plan, (og_buffer){.bytes = bytes,
                                        .first = -1,
                                        .last = plan->n_steps,
                                        .offset = og__keep(plan, bytes),
                                        .storage = OG_KEPT,
                                        .value = value});
}

static bool make_buffers(planner *p)
{
    og_graph *g = p->g;
    og_plan *plan = p->plan;
    size_t values = (size_t)g->n_values + 1;
    plan->buffers = og_arena_array(plan->arena, values + (size_t)plan->n_steps, sizeof(og_buffer));
    plan->buffer_of = og_arena_array(plan->arena, values, sizeof(int));
    if (!plan->buffers || !plan->buffer_of)
        return false;
    for (int v = 0; v < g->n_values; v++)
        plan->buffer_of[v] = -1;
    for (int i = 0; i < g->n_states; i++) {
        const og_state *s = &g->states[i];
        int b =
            add_buffer(plan, (og_buffer){.bytes = (size_t)og_type_bytes(&g->values[s->in]->type),
                                         .first = -1,
                                         .last = plan->n_steps,
                                         .storage = s->storage,
                                         .value = s->in,
                                         .offset = p->storages->items[s->storage].offset});
        plan->buffer_of[s->in] = b;
        if (s->out >= 0)
            plan->buffer_of[s->out] = b;
    }
    for (int i = 0; i < plan->n_steps; i++) {
        const og_node *n = g->nodes[plan->steps[i].node];
        for (int k = 0; k < n->n_out; k++) {
            int y = n->out[k];
            if (plan->buffer_of[y] >= 0)
                continue;
            if (i < plan->n_once && p->last_read[y] >= plan->n_once) {
                plan->buffer_of[y] = add_kept(plan, y);
                continue;
            }
            int last = p->last_read[y] > i ? p->last_read[y] : i;
            for (int j = 0; j < n->n_in && plan->buffer_of[y] < 0; j++) {
                int x = n->in[j] < 0 ? -1 : root_of(p, n->in[j]);
                int b = x < 0 ? -1 : plan->buffer_of[x];
                /* the buffer's `last` still ends here only if no other output took it over already
                 */
                if (b < 0 || g->values[x]->kind != OG_VALUE_NODE || plan->buffers[b].storage >= 0 ||
                    plan->buffers[b].last != i || !in_place(p, i, x, y))
                    continue;
                plan->buffer_of[y] = b;
                plan->buffers[b].last =
                    last > i ? last : i + 1; /* + 1: taken, even if never read */
                if (plan->buffers[b].last > plan->n_steps)
                    plan->buffers[b].last = plan->n_steps;
            }
            if (plan->buffer_of[y] < 0)
                plan->buffer_of[y] = add_buffer(
                    plan, (og_buffer){.bytes = (size_t)og_type_bytes(&g->values[y]->type),
                                      .first = i,
                                      .last = last,
                                      .storage = -1,
                                      .value = y});
        }
    }
    return true;
}

/* ---- calls */

static og_tensor make_tensor(const planner *p, int value)
{
    const og_value *v = p->g->values[value];
    const og_place *place = &p->plan->layouts.places[value];
    const og_value *root = p->g->values[place->root];
    og_tensor t = og_tensor_dense(&v->type, NULL);
    for (int i = 0; i < v->type.rank; i++)
        t.strides[i] = place->layout.strides[i];
    if (root->kind == OG_VALUE_CONST)
        t.data =
            (char *)(uintptr_t)root->data + place->layout.offset * og_dtype_bits(v->type.dtype) / 8;
    return t;
}

static uint32_t steady_inputs(const planner *p, const og_node *n)
{
    uint32_t steady = 0;
    for (int k = 0; k < n->n_in && k < OG_MOST_STEADY; k++)
        if (n->in[k] >= 0 && p->steady[root_of(p, n->in[k])])
            steady |= (uint32_t)1 << k;
    return steady;
}

static bool make_calls(planner *p)
{
    og_plan *plan = p->plan;
    for (int i = 0; i < plan->n_steps; i++) {
        og_step *s = &plan->steps[i];
        const og_node *n = p->g->nodes[s->node];
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
            char text[256];
            og_error_prefix(p->error, "%s", og_node_text(text, n));
            return false;
        }
        s->prepared = true;
        if (s->call.packed_bytes)
            og__add_pack(plan, i);
        if (s->call.workspace_bytes)
            add_buffer(plan, (og_buffer){.bytes = s->call.workspace_bytes,
                                         .first = i,
                                         .last = i,
                                         .storage = -1,
                                         .value = -1});
    }
    return true;
}

static bool collect_patches(planner *p)
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
                if (v < 0 || root_of(p, v) != g->inputs[input])
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

og_plan *og_plan_new(og_graph *g, og_arena *arena, const og_storages *storages,
                     const og_device *device, bool keep, og_error *error)
{
    og_plan *plan = og_arena_alloc(arena, sizeof(*plan));
    if (!plan) {
        og_fail_memory(error, sizeof(*plan), "a plan");
        og_arena_free(arena);
        return NULL;
    }
    plan->arena = arena;
    planner p = {
        .plan = plan, .storages = storages, .device = device, .keep = keep, .error = error};
    p.g = plan->graph = og_pass_layout(g, device, &plan->layouts);
    if (p.g && p.g->error.status != OG_OK)
        og_error_move(error, &p.g->error);
    else if (!p.g || !make_steps(&p) || !add_commit_copies(&p) || !make_buffers(&p) ||
             !make_calls(&p) || !collect_patches(&p))
        og_fail_memory(error, og_arena_bytes(arena),
                       "a plan"); /* keeps a more precise error that is already set */
    if (error->status == OG_OK) {
        plan->activation_bytes =
            og__place_buffers(plan->buffers, plan->n_buffers, plan->n_steps, arena, error);
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
    if (b >= 0)
        t->data = buffer_address(plan, &plan->buffers[b]) +
                  place->layout.offset * og_dtype_bits(t->type.dtype) / 8;
}

void og_plan_bind(og_plan *plan, void *state_base, void *activation_base)
{
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
    for (int i = 0; i < plan->n_steps; i++)
        if (plan->steps[i].prepared && plan->steps[i].kernel->release)
            plan->steps[i].kernel->release(&plan->steps[i].call);
    og_arena_free(plan->arena);
}
