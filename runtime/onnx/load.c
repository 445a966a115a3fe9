/* Loading: bytes → scan → protobuf-c → graph. Here: the model's frame (versions, inputs,
 * initializers, outputs, metadata) and the life of og_onnx. */
#include <stdlib.h>
#include <string.h>

#include "runtime/onnx/loader.h"

enum { MAX_SYMBOLS = 1 << 14 }; /* they are searched one by one */

/* Unpacked, shallow models need a few times their size; the rest is for copies of unaligned
 * external data. */
static const uint64_t budget_base = UINT64_C(2) << 30;
static const uint64_t budget_factor = 8;

bool og__loader_memory(og__loader *l)
{
    uint64_t used = og_arena_bytes(l->arena);
    if (l->g->error.status == OG_OUT_OF_MEMORY)
        og_error_move(l->report.error, &l->g->error);
    else if (used > l->budget + og__external_bytes(l->onnx->external) * 2)
        og_fail_also(l->report.error, OG_OUT_OF_MEMORY,
                     "the model needs %llu MB of memory, far more than one of its size should",
                     (unsigned long long)(used >> 20));
    else
        return !l->fatal;
    l->fatal = true;
    return false;
}

/* ---- the frame */

static void check_versions(og__loader *l, const og__model_view *m)
{
    if (m->ir_version < OG__IR_OLDEST)
        og__report_add(&l->report, OG_UNSUPPORTED,
                       "IR version %lld is not supported, at least %d is needed",
                       (long long)m->ir_version, OG__IR_OLDEST);
    for (int i = 0; i < m->n_opsets; i++) {
        if (*m->opsets[i].domain)
            continue;
        int64_t version = m->opsets[i].version;
        if (version < OG__OPSET_OLDEST || version > OG__OPSET_NEWEST)
            og__report_add(
                &l->report, OG_UNSUPPORTED,
                "opset %lld is not supported, %d to %d are; convert the model, or export it again",
                (long long)version, OG__OPSET_OLDEST, OG__OPSET_NEWEST);
        else
            l->onnx->opset = (int)version;
        for (int k = 0; k < i; k++)
            if (!*m->opsets[k].domain && m->opsets[k].version != version)
                og__report_add(&l->report, OG_INVALID_MODEL,
                               "opset %lld and opset %lld of domain ai.onnx are both imported",
                               (long long)m->opsets[k].version, (long long)version);
    }
}

void og__initializers_load(og__loader *l, og__scope *scope, const og__graph_view *g,
                           og_const *consts, og__names *index)
{
    for (int i = 0; i < g->n_initializers && og__loader_memory(l) && consts; i++) {
        og__tensor_view t;
        og_const *c = &consts[i];
        og_error error = {0};
        int known, id = OG__POISONED;
        og__tensor_read(g->initializers[i], &t);
        if (!*t.name)
            og_fail(&error, OG_INVALID_MODEL, "initializer %d has no name", i);
        else if (og__names_get(&scope->values, t.name, &known))
            og_fail(&error, OG_INVALID_MODEL, "initializer \"%.200s\" is given twice", t.name);
        else if (og__tensor_load(l->arena, l->onnx->external, g->initializers[i], index != NULL, c,
                                 &error) != OG_OK)
            og_error_prefix(&error, "initializer \"%.200s\"", t.name);
        else
            id = og_graph_add_const(l->g, t.name, &c->type, c->data).id;
        og__report_move(&l->report, &error);
        if (!og__names_set(&scope->values, t.name, id) ||
            (index && !og__names_set(index, t.name, i)))
            og__loader_memory(l);
    }
    if (g->n_sparse)
        og__report_add(&l->report, OG_UNSUPPORTED,
                       "the model has %d sparse initializers, only dense ones are supported",
                       g->n_sparse);
}

/* Which initializers the exporter's optimizer computed, and from what. */
static void load_folds(og__loader *l, const og__scope *scope, const og__graph_view *g)
{
    for (int i = 0; i < g->n_values && og__loader_memory(l); i++) {
        og__value_view v;
        int id;
        og__value_read(g->values[i], &v);
        if (og__names_get(&scope->values, v.name, &id) && id >= 0)
            l->g->values[id]->folded_from =
                og__value_metadata(l->arena, g->values[i], "pkg.onnxscript.optimizer.folded_from");
    }
}

/* Dim `axis` of input `v` as a number or symbol. */
static int64_t read_dim(og__loader *l, const og__value_view *v, int axis)
{
    og__dim d = og__value_dim(v, axis);
    if (d.value >= 0)
        return d.value;
    if (*d.symbol)
        return og_graph_symbol(l->g, d.symbol);
    const char *name = og_arena_printf(l->arena, "%s_dim%d", v->name, axis);
    return og_graph_symbol(l->g, name ? name : "");
}

static og_status input_type(og__loader *l, const og__value_view *v, og_type *type, og_error *error)
{
    if (!v->has_type)
        return og_fail(error, OG_INVALID_MODEL, "has no type");
    if (!v->is_tensor)
        return og_fail(error, OG_UNSUPPORTED, "is no dense tensor");
    if (v->dtype <= OG_UNDEFINED || v->dtype >= OG_DTYPE_COUNT)
        return og_fail(error, OG_UNSUPPORTED, "has element type %d, known are 1 (float32) to %d",
                       v->dtype, OG_DTYPE_COUNT - 1);
    if (v->rank > OG_MAX_RANK)
        return og_fail(error, OG_UNSUPPORTED, "has %d dims, at most %d are supported", v->rank,
                       OG_MAX_RANK);
    if (l->g->n_symbols > MAX_SYMBOLS)
        return og_fail(error, OG_UNSUPPORTED, "brings the symbolic dims to more than %d",
                       MAX_SYMBOLS);
    *type = (og_type){.dtype = (og_dtype)v->dtype, .rank = v->has_shape ? v->rank : -1};
    for (int i = 0; i < type->rank; i++)
        type->dims[i] = read_dim(l, v, i);
    if (og_type_is_static(type) && og_type_elements(type) < 0)
        return og_fail(error, OG_INVALID_MODEL, "has dims that multiply to more than 2⁶³");
    return OG_OK;
}

/* Inputs that are initializers too (all of them had to be, up to IR 3) are not inputs. */
static void load_inputs(og__loader *l, og__scope *scope, const og__graph_view *g)
{
    og__names seen = og__names_in(l->arena);
    for (int i = 0; i < g->n_inputs && og__loader_memory(l); i++) {
        og__value_view v;
        og_type type;
        og_error error = {0};
        int known, id = OG__POISONED;
        og__value_read(g->inputs[i], &v);
        if (!*v.name)
            og__report_add(&l->report, OG_INVALID_MODEL, "input %d has no name", i);
        else if (og__names_get(&seen, v.name, &known))
            og__report_add(&l->report, OG_INVALID_MODEL, "input \"%.200s\" is given twice", v.name);
        og__names_set(&seen, v.name, i);
        if (!*v.name || og__names_get(&scope->values, v.name, &known))
            continue;
        if (input_type(l, &v, &type, &error) == OG_OK)
            id = og_graph_add_input(l->g, v.name, &type).id;
        og_error_prefix(&error, "input \"%.200s\"", v.name);
        og__report_move(&l->report, &error);
        og__names_set(&scope->values, v.name, id);
    }
}

static void load_outputs(og__loader *l, const og__scope *scope, const og__graph_view *g)
{
    og__names seen = og__names_in(l->arena);
    for (int i = 0; i < g->n_outputs && !l->fatal; i++) {
        og__value_view v;
        int id;
        og__value_read(g->outputs[i], &v);
        if (og__names_get(&seen, v.name, &id))
            og__report_add(&l->report, OG_INVALID_MODEL, "output \"%.200s\" is given twice",
                           v.name);
        else if (!*v.name || !og__names_get(&scope->values, v.name, &id) || id <= OG__PRODUCED)
            og__report_add(&l->report, OG_INVALID_MODEL, "nothing makes output %d, \"%.200s\"", i,
                           v.name);
        else if (id >= 0)
            og_graph_add_output(l->g, v.name, og_val_of(l->g, id));
        og__names_set(&seen, v.name, i);
    }
    if (g->n_outputs == 0)
        og__report_add(&l->report, OG_INVALID_MODEL, "the graph has no outputs");
}

static void load_metadata(og__loader *l, const og_metadata *list, int n)
{
    for (int i = 0; i < n; i++)
        og_graph_add_metadata(l->g, list[i].key, list[i].value);
}

static og_status load_model(og__loader *l)
{
    og__model_view m;
    og__graph_view g;
    const og__model_proto *proto = og__proto_unpack(l->arena, l->onnx->bytes, l->onnx->size);
    if (!proto || !og__model_read(l->arena, proto, &m))
        return og_fail(
            l->report.error, OG_INVALID_MODEL,
            "not a valid ONNX file: a field of another type than the schema's (or out of memory)");
    if (!m.graph)
        return og_fail(l->report.error, OG_INVALID_MODEL,
                       "not a valid ONNX file: it holds no graph");
    if (!og__graph_read(l->arena, m.graph, &g))
        return og_fail(l->report.error, OG_INVALID_MODEL,
                       "not a valid ONNX file: malformed metadata of its graph");
    l->onnx->ir_version = m.ir_version;
    l->onnx->producer = m.producer;
    l->g->name = g.name;
    check_versions(l, &m);
    if (l->report.problems)
        return og__report_finish(&l->report);
    og__functions_index(l, &m);
    load_metadata(l, m.metadata, m.n_metadata);
    load_metadata(l, g.metadata, g.n_metadata);
    og__scope scope = {
        .prefix = "", .n_opsets = m.n_opsets, .opsets = m.opsets, .values = og__names_in(l->arena)};
    l->onnx->initializers = og_arena_array(l->arena, (size_t)g.n_initializers, sizeof(og_const));
    l->onnx->n_initializers = l->onnx->initializers ? g.n_initializers : 0;
    l->onnx->initializer_index = og__names_in(l->arena);
    og__initializers_load(l, &scope, &g, l->onnx->initializers, &l->onnx->initializer_index);
    load_folds(l, &scope, &g);
    og__restore_parameters(l, &scope, &g);
    og__restore_ties(l, &scope, &g);
    og__restore_names(l, &scope, &g);
    load_inputs(l, &scope, &g);
    og__nodes_load(l, &scope, g.nodes, g.n_nodes);
    load_outputs(l, &scope, &g);
    og_error_move(l->report.error, &l->g->error);
    l->g->origin = NULL;
    return og__report_finish(&l->report);
}

/* ---- og_onnx */

og_onnx *og__onnx_new(og_error *error)
{
    og_onnx *onnx = calloc(1, sizeof(*onnx));
    if (onnx && (onnx->arena = og_arena_new()) && (onnx->graph = og_graph_new_in(onnx->arena)))
        return onnx;
    og_onnx_free(onnx);
    og_fail_memory(error, sizeof(*onnx), "a model");
    return NULL;
}

static og_status load(og_onnx *onnx, og_error *error)
{
    static const char lfs[] = "version https://git-lfs.github.com/";
    if (!onnx->external)
        return og_fail_memory(error, 0, "external data");
    if (!onnx->bytes || onnx->size == 0)
        return og_fail(error, OG_INVALID_MODEL, "the file is empty");
    if (onnx->size > sizeof(lfs) && memcmp(onnx->bytes, lfs, sizeof(lfs) - 1) == 0)
        return og_fail(error, OG_INVALID_MODEL,
                       "a Git LFS pointer, not the model; hint: git lfs pull");
    OG_TRY(og_onnx_scan(onnx->bytes, onnx->size, error));
    onnx->producer = "";
    onnx->graph->defer = true;
    og__loader l = {
        .onnx = onnx,
        .arena = onnx->arena,
        .g = onnx->graph,
        .report = {.error = error,
                   .arena = onnx->arena,
                   .unknown_index = og__names_in(onnx->arena)},
        .function_index = og__names_in(onnx->arena),
        .used = og__names_in(onnx->arena),
        .budget = budget_base + budget_factor * onnx->size,
    };
    og_status status = load_model(&l);
    onnx->graph->defer = false;
    return status;
}

og_onnx *og_onnx_load(const char *path, og_error *error)
{
    og_onnx *onnx = og__onnx_new(error);
    if (!onnx)
        return NULL;
    og_error own = {0}; /* so that failures of this load are seen whatever `error` holds */
    og_status status = og__file_map(path, "model", INT32_MAX, &onnx->file, &own);
    if (status == OG_OK) {
        onnx->bytes = onnx->file.data ? onnx->file.data : (const uint8_t *)"";
        onnx->size = onnx->file.size;
        onnx->external = og__external_new(path, NULL);
        status = load(onnx, &own);
        if (status != OG_OK)
            og_error_prefix(&own, "%s", path);
    }
    if (status == OG_OK) {
        og_onnx_forget(onnx, onnx->file.data, onnx->file.size);
        return onnx;
    }
    og_onnx_free(onnx);
    og_error_move(error, &own);
    return NULL;
}

og_onnx *og_onnx_load_memory(const void *bytes, size_t size, const char *folder, og_error *error)
{
    og_onnx *onnx = og__onnx_new(error);
    if (!onnx)
        return NULL;
    og_error own = {0};
    og_status status = OG_OK;
    if (size > INT32_MAX)
        status = og_onnx_scan(bytes, size, &own);
    else if (!(onnx->bytes = og_arena_copy(onnx->arena, bytes, size)))
        status = og_fail_memory(&own, size, "a model");
    onnx->size = size;
    if (status == OG_OK) {
        onnx->external = og__external_new(NULL, folder);
        status = load(onnx, &own);
    }
    if (status == OG_OK)
        return onnx;
    og_onnx_free(onnx);
    og_error_move(error, &own);
    return NULL;
}

og_onnx *og_onnx_from_graph(og_graph *g, og_error *error)
{
    og_onnx *onnx = og__onnx_new(error);
    if (!onnx) {
        og_graph_free(g);
        return NULL;
    }
    og_error own = {0};
    onnx->made_of = g;
    onnx->external = og__external_new(NULL, NULL);
    og_status status = onnx->external ? og__graph_bytes(g, onnx->external, onnx->arena,
                                                        &onnx->bytes, &onnx->size, &own)
                                      : OG_OK; /* load says what is missing */
    if (status == OG_OK)
        status = load(onnx, &own);
    if (status == OG_OK)
        return onnx;
    og_onnx_free(onnx);
    og_error_move(error, &own);
    return NULL;
}

/* A model that shares base's external data, its bytes still to be made: made_of ends that. */
static og_onnx *make_beside(const og_onnx *base, og_error *error)
{
    og_onnx *onnx = og__onnx_new(error);
    if (onnx)
        onnx->external = base->external;
    return onnx;
}

/* A model whose bytes were made of `base`'s, where `status` says that they were; it owns base then.
 */
static og_onnx *made_of(og_onnx *onnx, og_onnx *base, og_status status, og_error *own,
                        og_error *error)
{
    if (status == OG_OK)
        status = load(onnx, own);
    if (status == OG_OK) {
        onnx->base = base;
        return onnx;
    }
    onnx->external = NULL;
    og_onnx_free(onnx);
    og_error_move(error, own);
    return NULL;
}

og_onnx *og_onnx_edited(og_onnx *base, const og_onnx_edit *edit, og_error *error)
{
    og_error own = {0};
    og_onnx *onnx = make_beside(base, error);
    if (!onnx)
        return NULL;
    og_status status = og__edit_bytes(base, edit, onnx->arena, &onnx->bytes, &onnx->size, &own);
    return made_of(onnx, base, status, &own, error);
}

og_onnx *og_onnx_formed(og_onnx *base, const og_onnx_form *form, og_error *error)
{
    og_error own = {0};
    og_onnx *onnx = make_beside(base, error);
    if (!onnx)
        return NULL;
    og_status status = og__form_bytes(base, form, onnx->arena, &onnx->bytes, &onnx->size, &own);
    return made_of(onnx, base, status, &own, error);
}

og_onnx *og_onnx_at_opset(og_onnx *base, int opset, og_error *error)
{
    og_error own = {0};
    og_onnx *onnx = make_beside(base, error);
    if (!onnx)
        return NULL;
    og_status status = og__opset_bytes(base, opset, onnx->arena, &onnx->bytes, &onnx->size, &own);
    return made_of(onnx, base, status, &own, error);
}

og_onnx *og_onnx_with_algorithm(og_onnx *base, og_onnx_training *training, og_error *error)
{
    og_error own = {0};
    og_onnx *onnx = make_beside(base, error);
    if (!onnx)
        return NULL;
    og_status status =
        og__joined_bytes(base, training, onnx->arena, &onnx->bytes, &onnx->size, &own);
    return made_of(onnx, base, status, &own, error);
}

og_onnx_repair og_onnx_repaired(const og_onnx *onnx, og_repair what)
{
    while (onnx->base)
        onnx = onnx->base;
    return onnx->repairs[what];
}

og_onnx *og_onnx_base(const og_onnx *onnx)
{
    return onnx->base;
}

void og_onnx_free(og_onnx *onnx)
{
    if (!onnx)
        return;
    og_graph_free(onnx->graph);
    og_graph_free(onnx->made_of);
    if (onnx->maker.free)
        onnx->maker.free(onnx->maker.user);
    if (onnx->base)
        og_onnx_free(onnx->base);
    else
        og__external_free(onnx->external);
    og__file_unmap(&onnx->file);
    og_arena_free(onnx->arena);
    free(onnx);
}

void og_onnx_forget(const og_onnx *onnx, const void *data, size_t bytes)
{
    for (const og_onnx *o = onnx; o; o = o->base)
        og__file_forget(&o->file, data, bytes);
    og__external_forget(onnx->external, data, bytes);
}

void og_onnx_set_maker(og_onnx *onnx, og_onnx_maker maker)
{
    onnx->maker = maker;
}

void og_onnx_release(const og_onnx *onnx, const void *data, size_t bytes, bool for_good)
{
    for (const og_onnx *o = onnx; o; o = o->base)
        if (o->maker.release)
            o->maker.release(o->maker.user, data, bytes, for_good);
}

void og_onnx_recall(const og_onnx *onnx)
{
    for (const og_onnx *o = onnx; o; o = o->base)
        if (o->maker.recall)
            o->maker.recall(o->maker.user);
}

const og_graph *og_onnx_graph(const og_onnx *onnx)
{
    return onnx->graph;
}

int64_t og_onnx_ir_version(const og_onnx *onnx)
{
    return onnx->ir_version;
}

int og_onnx_opset(const og_onnx *onnx)
{
    return onnx->opset;
}

const char *og_onnx_producer(const og_onnx *onnx)
{
    return onnx->producer;
}
