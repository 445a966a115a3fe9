/* Checkpoints of a session: its states by names that do not depend on how they lie in memory, and
 * the step as one graph at accumulation 1.
 *
 * Names of states are those of og_storages_apart, so that a session with other slabs, or none,
 * finds them. A slab's moment is read and written tensor by tensor. Half copies are saved for the
 * algorithm alone: they follow from their parameters. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/device/transfer.h"
#include "runtime/onnx/checkpoint.h"
#include "runtime/train/train.h"

struct og_checkpoint {
    og_context *context;
    og_onnx_saved *saved;
};

/* ---- states */

/* The session's states in a table of its own, with a graph of the step on it. */
typedef struct listing {
    og_session twin; /* the session at accumulation 1, with that table */
    og_arena *arena;
    og_graph *algorithm; /* NULL: it cannot be written */
    const char *why;
    const char **names; /* by storage of the table: the initializer's; NULL: not saved */
    bool *of_model;     /* by storage: it is one of the model's own */
    void **at;          /* by storage: where it lies in the session; NULL: nowhere */
    int n;
} listing;

static int find_storage(const og_storages *s, og_storage_kind kind, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (s->items[i].kind == kind && strcmp(s->items[i].name, name) == 0)
            return i;
    return -1;
}

/* Of a state that lies in a slab of its kind, "NAME.suffix" in "SLAB.suffix". */
static void *in_slab(const og_session *s, const og_storages *apart, const og_storage *item)
{
    if (item->of < 0)
        return NULL;
    const og_storage *parent = &apart->items[item->of];
    int owner = find_storage(&s->storages, parent->kind, parent->name);
    int slab = owner < 0 ? -1 : s->storages.items[owner].slab;
    const char *suffix = item->name + strlen(parent->name);
    for (int i = 0; slab >= 0 && i < s->storages.n; i++) {
        const og_storage *st = &s->storages.items[i];
        size_t n = strlen(s->storages.items[slab].name);
        if (st->kind == item->kind && st->of == slab && st->type.dtype == item->type.dtype &&
            strncmp(st->name, s->storages.items[slab].name, n) == 0 &&
            strcmp(st->name + n, suffix) == 0)
            return (char *)og__state_at(s, i) + s->storages.items[owner].within;
    }
    return NULL;
}

static void *find_data(const og_session *s, const og_storages *apart, int index)
{
    const og_storage *item = &apart->items[index];
    int same = find_storage(&s->storages, item->kind, item->name);
    return same >= 0 ? og__state_at(s, same) : in_slab(s, apart, item);
}

/* Adapters are added again when the run goes on: the file has the model without them. */
static const og_onnx *model_of(const og_session *s)
{
    return og__trains_itself(s->model) ? s->model->own_base
           : s->model->n_adapters      ? s->model->unadapted
                                       : s->model->onnx;
}

static bool is_initializer(const og_onnx *onnx, const char *name)
{
    const og_graph *g = og_onnx_graph(onnx);
    for (int i = 0; i < g->n_values; i++)
        if (g->values[i]->kind == OG_VALUE_CONST && strcmp(g->values[i]->name, name) == 0)
            return true;
    return false;
}

/* The model's initializer that the storage is; NULL: none of the model's. */
static const char *model_name(const og_session *s, const og_storage *item)
{
    if (item->kind != OG_STORAGE_PARAMETER && item->kind != OG_STORAGE_BUFFER)
        return NULL;
    for (int i = 0; i < s->params.n; i++) {
        const og_param *p = &s->params.items[i];
        if (p->part == 0 && s->storage_of[p->value] >= 0 && strcmp(p->name, item->name) == 0)
            return s->model->n_adapters && !is_initializer(model_of(s), p->name) ? NULL : p->name;
    }
    return NULL;
}

static og_status name_state(listing *l, const og_session *s, int i)
{
    static const char *const kinds[] = {
        [OG_STORAGE_PARAMETER] = "parameter", [OG_STORAGE_BUFFER] = "statistic",
        [OG_STORAGE_STAGED] = "staged",       [OG_STORAGE_GRADIENT] = "gradient",
        [OG_STORAGE_MOMENT] = "moment",       [OG_STORAGE_AVERAGE] = "average",
        [OG_STORAGE_HALF] = "half",           [OG_STORAGE_SCALAR] = "scalar"};
    const og_storage *item = &l->twin.storages.items[i];
    l->at[i] = find_data(s, &l->twin.storages, i);
    l->names[i] = model_name(s, item);
    l->of_model[i] = l->names[i] != NULL;
    if (l->names[i] || item->kind == OG_STORAGE_KEPT || !l->at[i])
        return OG_OK;
    l->names[i] = og_arena_printf(l->arena, "ai.ongrad/%s/%s", kinds[item->kind], item->name);
    return l->names[i] ? OG_OK
                       : og_fail_memory(&s->context->error, strlen(item->name), "a checkpoint");
}

/* The step in standard ops; NULL where there are none for it, and l->why. */
static og_graph *build_step(listing *l, og_session *s)
{
    og_error *error = &s->context->error;
    og_graph *g = og__build_micro(&l->twin, s->batch, l->arena);
    og_graph *update = g ? og__build_update_graph(&l->twin, &l->twin.storages, l->arena) : NULL;
    g = update ? og_pass_follow(g, update) : NULL;
    g = g && g->error.status == OG_OK ? og_pass_simplify(g) : g;
    g = g && g->error.status == OG_OK ? og_pass_standardize(g) : g;
    if (g && g->error.status != OG_OK)
        og_error_move(error, &g->error);
    if (g && error->status == OG_OK)
        return g;
    l->why = og_arena_strdup(l->arena, og_error_text(error));
    return NULL;
}

/* Also where the step cannot be built at once: then its states are listed all the same. */
static og_status list_states(listing *l, og_session *s, bool with_step)
{
    og_error *error = &s->context->error;
    *l = (listing){.arena = og_arena_new()};
    if (!l->arena)
        return og_fail_memory(error, 64, "a checkpoint");
    l->twin = *s;
    l->twin.storages = og_storages_apart(&s->storages, l->arena);
    l->twin.optimizer.accumulation = 1;
    l->twin.total.nominal = 0;
    if (!l->twin.storages.items)
        return og_fail_memory(error, sizeof(og_storage), "a checkpoint");
    if (with_step && s->losses.n)
        l->algorithm = build_step(l, s);
    og_error_clear(error);
    if (!l->algorithm && s->losses.n) { /* for the states that update has */
        l->twin.total.nominal = s->total.nominal;
        og_graph *update = og__build_update_graph(&l->twin, &l->twin.storages, l->arena);
        if (!update)
            return error->status;
    }
    l->n = l->twin.storages.n;
    size_t n = (size_t)l->n + 1;
    l->names = og_arena_array(l->arena, n, sizeof(*l->names));
    l->of_model = og_arena_array(l->arena, n, sizeof(*l->of_model));
    l->at = og_arena_array(l->arena, n, sizeof(*l->at));
    if (!l->names || !l->of_model || !l->at)
        return og_fail_memory(error, n * sizeof(void *), "a checkpoint");
    for (int i = 0; i < l->n; i++)
        OG_TRY(name_state(l, s, i));
    return OG_OK;
}

/* ---- saving */

static bool read_state(void *user, void *to, const void *from, size_t bytes)
{
    og_session *s = user;
    return og_device_download(s->context->device, to, from, bytes, &s->context->error) == OG_OK;
}

static bool is_position(const og_storage *item)
{
    return item->kind == OG_STORAGE_SCALAR && strcmp(item->name, OG_STATE_POSITION) == 0;
}

/* Is the storage one that holds something of micro-batches whose update is still to come? They have
 * names of their own, since the algorithm, at accumulation 1, begins with none. */
static bool is_pending(const og_storage *item)
{
    return item->kind == OG_STORAGE_GRADIENT || og_total_is_sum(item);
}

static const char *pending_name(const listing *l, const og_storage *item)
{
    return og_arena_printf(l->arena, "ai.ongrad/pending/%s", item->name);
}

/* The initializers of both graphs; position: what a micro-batch reads of where it is. */
static og_status fill(listing *l, og_session *s, og_onnx_checkpoint *c, const int64_t *position)
{
    og_onnx_weight *weights = og_arena_array(l->arena, (size_t)l->n + 1, sizeof(*weights));
    og_onnx_state *states = og_arena_array(l->arena, (size_t)l->n + 1, sizeof(*states));
    og_onnx_read_fn *read = s->context->device->remote ? read_state : NULL;
    static const double none = 0;
    if (!weights || !states)
        return og_fail_memory(&s->context->error, sizeof(*states), "a checkpoint");
    for (int i = 0; i < l->n; i++) {
        const og_storage *item = &l->twin.storages.items[i];
        if (!l->names[i])
            continue;
        if (l->of_model[i]) {
            weights[c->n_weights++] =
                (og_onnx_weight){.name = l->names[i], .data = l->at[i], .read = read, .user = s};
            continue;
        }
        if ((item->kind == OG_STORAGE_GRADIENT && !s->pending) || og_is_accumulating(item)) {
            l->names[i] = NULL; /* nothing is in it, and the step makes it anew; or counters say */
            continue;
        }
        if (s->pending && is_pending(item)) {
            const char *name = pending_name(l, item);
            if (!name)
                return og_fail_memory(&s->context->error, 64, "a checkpoint");
            states[c->n_states++] = (og_onnx_state){
                .name = name, .type = item->type, .data = l->at[i], .read = read, .user = s};
            if (item->kind == OG_STORAGE_GRADIENT)
                continue;
        }
        const void *here = is_position(item)                ? (const void *)position
                           : s->pending && is_pending(item) ? &none
                                                            : NULL;
        states[c->n_states++] = (og_onnx_state){
            .name = l->names[i],
            .type = item->type,
            .data = here ? here : l->at[i],
            .read = here ? NULL : read,
            .user = s,
            .resets = !item->initial &&
                      (item->kind == OG_STORAGE_MOMENT || item->kind == OG_STORAGE_SCALAR) &&
                      (item->type.dtype == OG_FLOAT || item->type.dtype == OG_DOUBLE),
            .fill = item->fill};
    }
    c->weights = weights;
    c->states = states;
    return OG_OK;
}

/* The algorithm reads sums of its own, not those that wait here: with accumulation 1 there are
 * none. */
static void leave_sums(const listing *l, const char **names)
{
    for (int i = 0; i < l->n; i++)
        names[i] = l->twin.storages.items[i].kind == OG_STORAGE_GRADIENT ? NULL : l->names[i];
}

static og_status save(og_session *s, listing *l, const char *path, int keep, const og_note *notes,
                      int n_notes)
{
    og_error *error = &s->context->error;
    const int64_t position[3] = {og__option_int(s->options, "seed"), s->step, 0};
    og_onnx_checkpoint c = {.keep = keep};
    OG_TRY(list_states(l, s, true));
    c.algorithm = l->algorithm;
    c.why = l->why;
    OG_TRY(fill(l, s, &c, position));
    const char **names = og_arena_array(l->arena, (size_t)l->n + 1, sizeof(*names));
    og_metadata *metadata = og_arena_array(l->arena, (size_t)n_notes + 2, sizeof(*metadata));
    const char *place = og_arena_printf(l->arena, "%lld %d %d %lld %d %d %d", (long long)s->step,
                                        s->pending, s->calls, (long long)s->pending_samples,
                                        s->skipped, s->accumulation, s->attempt.pieces);
    if (!names || !metadata || !place)
        return og_fail_memory(error, sizeof(*metadata), "a checkpoint");
    leave_sums(l, names);
    c.names = names;
    const char *fresh = "";
    for (int i = 0; i < s->model->n_fresh && fresh; i++)
        fresh = og_arena_printf(l->arena, "%s%s\n", fresh, s->model->fresh[i]);
    if (!fresh)
        return og_fail_memory(error, 64, "a checkpoint");
    metadata[c.n_metadata++] = (og_metadata){"session", place};
    metadata[c.n_metadata++] = (og_metadata){"fresh", fresh};
    for (int i = 0; i < n_notes; i++)
        metadata[c.n_metadata++] = (og_metadata){notes[i].key, notes[i].value};
    c.metadata = metadata;
    return og_onnx_save_checkpoint(model_of(s), path, &c, OG__EXTERNAL_ABOVE, error);
}

og_status og_session_checkpoint(og_session *s, const char *path, int keep, const og_note *notes,
                                int n_notes)
{
    listing l = {0};
    OG_TRY(og__session_begin(s, 1));
    OG_TRY(og__use_weights(s));
    OG_TRY(og_device_finish(s->context->device, &s->context->error));
    og_status status = save(s, &l, path, keep, notes, n_notes);
    og_arena_free(l.arena);
    return status;
}

/* ---- restoring */

og_checkpoint *og_checkpoint_open(og_context *context, const char *path)
{
    og__context_begin(context);
    og_checkpoint *c = calloc(1, sizeof(*c));
    if (!c) {
        og_fail_memory(&context->error, sizeof(*c), "a checkpoint");
        return NULL;
    }
    *c = (og_checkpoint){context, og_onnx_open_checkpoint(path, &context->error)};
    if (c->saved)
        return c;
    free(c);
    return NULL;
}

void og_checkpoint_free(og_checkpoint *c)
{
    if (c)
        og_onnx_close_checkpoint(c->saved);
    free(c);
}

const char *og_checkpoint_note(const og_checkpoint *c, const char *key)
{
    return og_onnx_saved_metadata(c->saved, key);
}

char *og_checkpoint_older_path(const char *path, int k)
{
    return og_checkpoint_older(path, k);
}

void og_checkpoint_clean_path(const char *path)
{
    og_checkpoint_clean(path);
}

og_status og_model_restore(og_model *m, const og_checkpoint *c)
{
    enum { ROOM = sizeof m->fresh / sizeof *m->fresh };
    const char *fresh = og_onnx_saved_metadata(c->saved, "fresh");
    og__context_begin(m->context);
    m->n_fresh = 0;
    for (size_t n; fresh && *fresh && m->n_fresh < ROOM; fresh += n + (fresh[n] == '\n')) {
        n = strcspn(fresh, "\n");
        m->fresh[m->n_fresh] = og_arena_strndup(m->arena, fresh, n);
        if (!m->fresh[m->n_fresh++])
            return og_fail_memory(&m->context->error, n, "a model");
    }
    return OG_OK;
}

/* Where the session was: its counters. */
static og_status restore_place(og_session *s, const og_checkpoint *c, og_restored *restored)
{
    const char *text = og_onnx_saved_metadata(c->saved, "session");
    long long step, samples;
    int pending, calls, skipped, accumulation, pieces;
    if (!text || sscanf(text, "%lld %d %d %lld %d %d %d", &step, &pending, &calls, &samples,
                        &skipped, &accumulation, &pieces) != 7)
        return og_fail(&s->context->error, OG_INVALID_MODEL,
                       "the checkpoint does not say where in the run it was made");
    bool same = accumulation == s->accumulation && pieces == s->attempt.pieces;
    s->step = s->reported = step;
    s->pending = same ? pending : 0;
    s->calls = same ? calls : 0;
    s->pending_samples = same ? samples : 0;
    s->skipped = skipped;
    *restored = (og_restored){.step = step, .calls = s->calls, .dropped = pending && !same};
    return OG_OK;
}

static og_status restore_state(og_session *s, const listing *l, const og_checkpoint *c, int i,
                               og_restored *restored)
{
    const og_storage *item = &l->twin.storages.items[i];
    if (!l->names[i] || l->of_model[i] || item->kind == OG_STORAGE_HALF || is_position(item) ||
        og_is_accumulating(item))
        return OG_OK;
    if (is_pending(item) && !s->pending)
        return OG_OK;
    const char *name = is_pending(item) ? pending_name(l, item) : l->names[i];
    if (!name)
        return og_fail_memory(&s->context->error, 64, "a checkpoint");
    const void *data = og_onnx_saved_state(c->saved, name, &item->type);
    bool staged = item->kind == OG_STORAGE_STAGED;
    if (!data) {
        restored->missing += !staged;
        return OG_OK;
    }
    if (staged && restored->dropped)
        return OG_OK; /* they begin with the running ones */
    restored->states++;
    return og_device_upload(s->context->device, l->at[i], data, (size_t)og_type_bytes(&item->type),
                            &s->context->error);
}

/* Sums that wait are continued, others begun anew. */
static og_status restore_accumulating(og_session *s)
{
    const float accumulating = s->pending > 0;
    og_status status = OG_OK;
    for (int i = 0; i < s->storages.n && status == OG_OK; i++)
        if (og_is_accumulating(&s->storages.items[i]))
            status = og_device_upload(s->context->device, og__state_at(s, i), &accumulating,
                                      sizeof accumulating, &s->context->error);
    return status;
}

og_status og_session_restore(og_session *s, const og_checkpoint *c, og_restored *restored)
{
    listing l = {0};
    OG_TRY(og__session_begin(s, 1));
    og_status status = restore_place(s, c, restored);
    if (status == OG_OK)
        status = list_states(&l, s, false);
    for (int i = 0; status == OG_OK && i < l.n; i++)
        status = restore_state(s, &l, c, i, restored);
    og_arena_free(l.arena);
    if (status == OG_OK)
        status = restore_accumulating(s);
    if (status != OG_OK)
        return status;
    og__weights_changed(s);
    return og__renew_half_copies(s, -1);
}

/* ---- the weights of one, for use */

static const void *find_weight(og_session *s, const og_checkpoint *c, const og_storage *item,
                               bool average)
{
    og_text name = {0};
    og_text_printf(&name, average ? "ai.ongrad/average/%s.ema" : "ai.ongrad/parameter/%s",
                   item->name);
    const void *data = name.failed ? NULL : og_onnx_saved_state(c->saved, name.s, &item->type);
    if (name.failed)
        og_fail_memory(&s->context->error, strlen(item->name), "a checkpoint");
    og_text_free(&name);
    return data;
}

og_status og_session_restore_weights(og_session *s, const og_checkpoint *c, bool averages)
{
    OG_TRY(og__session_begin(s, 1));
    int found = 0;
    for (int i = 0; i < s->storages.n; i++) {
        const og_storage *item = &s->storages.items[i];
        if (item->kind != OG_STORAGE_PARAMETER)
            continue;
        const void *data = averages ? find_weight(s, c, item, true) : NULL;
        found += data != NULL;
        if (!data)
            data = find_weight(s, c, item, false);
        if (s->context->error.status != OG_OK)
            return s->context->error.status;
        if (data)
            OG_TRY(
                og_session_set_parameter(s, item->name, data, (size_t)og_type_bytes(&item->type)));
    }
    if (averages && !found)
        return og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                       "the checkpoint has no averages: its run was without option ema");
    return OG_OK;
}
