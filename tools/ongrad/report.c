#include "tools/ongrad/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/alternatives.h"
#include "tools/ongrad/builtin.h"
#include "tools/ongrad/host_calls.h"
#include "tools/ongrad/preprocess.h"
#include "tools/ongrad/say.h"

/* ---- memory */

/* Under 20 of 24 GB there is room for more. */
bool og__has_room(const og_memory_report *m)
{
    return (double)m->peak < 20.0 / 24 * (double)m->budget;
}

void og__add_split(const og_memory_report *m, og_text *out)
{
    if (m->pieces > 1)
        og_text_printf(out,
                       "split into %d micro-batches of at most %" PRId64
                       " samples, whose gradients are summed\n",
                       m->pieces, m->micro_batch);
}

/* ---- start */

static void add_source(og_text *out, const og__binding *b)
{
    if (b->mask) {
        og_text_printf(out, "%s = mask of lengths", b->name);
        return;
    }
    if (!b->source) {
        og_text_printf(out, "%s = %g", b->name, b->value);
        return;
    }
    og_tensor_info info = {0};
    int classes;
    info.rank = og_source_dims(b->source, info.dims);
    og_text_printf(out, "%s: %s ", b->name, b->path);
    og__shape_text(out, &info);
    if (og_source_is_pictures(b->source))
        og_text_printf(out, " %s", b->raw ? "pictures of labels" : "pictures");
    else
        og_text_printf(out, " %s", og_dtype_name(og_source_dtype(b->source)));
    if (og_source_has_lengths(b->source))
        og_text_add(out, ", lengths differ: cropped or padded");
    (void)og_source_classes(b->source, &classes);
    if (classes)
        og_text_printf(out, ", %d classes", classes);
    if (b->scaled || b->scaled_as_trained)
        og_text_printf(out, " x %g %+g%s", b->scale, b->shift,
                       b->scaled_as_trained ? " (as the model was trained)" : "");
    if (*og_source_note(b->source))
        og_text_printf(out, " (%s)", og_source_note(b->source));
}

static void tell_data(og_text *out, const char *label, const og__bindings *b)
{
    for (int i = 0; i < b->n_inputs + b->n_targets; i++) {
        og_text text = {0};
        bool target = i >= b->n_inputs;
        add_source(&text, target ? &b->targets[i - b->n_inputs] : &b->inputs[i]);
        og__line(out, i == 0 ? label : "", "%s%s", target ? "target " : "", text.s ? text.s : "");
        og_text_free(&text);
    }
    if (b->pairing.left_out)
        og__line(out, "", "%" PRId64 " pairs; left out for want of a part: %" PRId64 "%s",
                 b->pairing.samples, b->pairing.left_out, b->pairing.list ? b->pairing.list : "");
}

void og__report_stored_values(og_text *out, const og__bindings *b, const og_tensor_info *inputs)
{
    for (int i = 0; i < b->n_inputs; i++) {
        const og__binding *source = &b->inputs[i];
        bool is_float = inputs[i].dtype == OG_FLOAT || inputs[i].dtype == OG_DOUBLE ||
                        inputs[i].dtype == OG_FLOAT16 || inputs[i].dtype == OG_BFLOAT16;
        if (source->scaled_as_trained && strcmp(b->command, "train") != 0)
            og__line(out, "", "%s: x %g %+g (as the model was trained)", source->name,
                     source->scale, source->shift);
        else if (source->source && !source->scaled && !source->scaled_as_trained && is_float &&
                 !og_source_is_pictures(source->source) &&
                 og_source_dtype(source->source) == OG_UINT8)
            og__line(out, "", "%s: values as stored, 0…255; --data %s=%s,scale=255 divides them",
                     source->name, source->name, source->path);
    }
}

static int64_t elements_of(const og_parameter_info *p)
{
    int64_t n = 1;
    for (int d = 0; d < p->rank; d++)
        n *= p->dims[d];
    return n;
}

static bool is_fixed(const og_parameter_info *p)
{
    return !p->trained && !p->buffer;
}

/* Tensors that are not trained, by reason. */
static void tell_fixed(og_text *out, const og__run *run, int n)
{
    for (int i = 0; i < n; i++) {
        og_parameter_info p, q;
        int same = 0;
        int64_t elements = 0;
        bool told = false;
        if (og_model_parameter(run->model, i, &p) != OG_OK || !is_fixed(&p))
            continue;
        for (int k = 0; k < n; k++) {
            if (og_model_parameter(run->model, k, &q) != OG_OK || !is_fixed(&q) ||
                strcmp(p.reason, q.reason) != 0)
                continue;
            told |= k < i;
            same++;
            elements += elements_of(&q);
        }
        if (!told)
            og__line(out, "", "fixed: %d tensor%s, %" PRId64 " elements: %s%s%s", same,
                     same > 1 ? "s" : "", elements, p.reason, same > 1 ? ", the first is " : ": ",
                     p.name);
    }
}

static void tell_parameters(og_text *out, const og__run *run)
{
    int n = og_model_parameter_count(run->model, run->options), trained = 0, buffers = 0;
    int scaled = 0, plain = 0;
    int64_t elements = 0;
    for (int i = 0; i < n; i++) {
        og_parameter_info p;
        if (og_model_parameter(run->model, i, &p) != OG_OK)
            continue;
        trained += p.trained;
        buffers += p.buffer;
        elements += p.trained ? elements_of(&p) : 0;
        scaled += p.trained && p.lr_scale != 1;
        plain += p.trained && p.no_decay;
    }
    og_text text = {0};
    og_text_printf(&text, "%d tensors, %" PRId64 " parameters", trained, elements);
    if (buffers)
        og_text_printf(&text, "; %d running statistics", buffers);
    if (scaled)
        og_text_printf(&text, "; %d with a learning rate of their own", scaled);
    if (plain)
        og_text_printf(&text, "; %d without weight decay", plain);
    og__line(out, "trained", "%s", text.s ? text.s : "");
    og_text_free(&text);
    tell_fixed(out, run, n);
}

static const char *option_or(const og_options *options, const char *name, const char *otherwise)
{
    const char *value = og_options_get(options, name);
    return value ? value : otherwise;
}

static void tell_memory(og_text *out, const og__run *run, const og__feed *feed)
{
    og_memory_report m;
    char total[32], available[32], budget[32], peak[32];
    og_session_memory(run->session, &m);
    const char *device = og_context_device(run->context);
    og__line(out, "memory", "Detected %s memory: %s (%s available); budget %s (memory_fraction %s)",
             strcmp(device, "cpu") == 0 ? "CPU" : device, og_format_bytes(total, m.total),
             og_format_bytes(available, m.available), og_format_bytes(budget, m.budget),
             option_or(run->options, "memory_fraction", "0.9"));
    if (m.refused)
        og__line(out, "",
                 "the system refused %s; planned again for what it leaves (--memory_fraction 0.8 "
                 "asks for less from the start)",
                 og_format_bytes(available, m.refused));
    og_format_bytes(peak, m.peak);
    uint64_t twice = m.peak + m.activations; /* what is no activation stays */
    if (!og__has_room(&m) || twice > m.budget)
        og__line(out, "", "predicted peak %s: near the limit, keep this batch size", peak);
    else if (run->data.samples >= 2 * run->batch_size)
        og__line(out, "",
                 "predicted peak %s: fits with room, --batch_size %" PRId64 " would take about %s",
                 peak, 2 * run->batch_size, og_format_bytes(budget, twice));
    else
        og__line(out, "", "predicted peak %s", peak);
    og__line(out, "", "beside it: batches of data %s, all else of the process %s",
             og_format_bytes(budget, og_loader_bytes(feed->loader)),
             og_format_bytes(available, m.program));
    if (m.more_time > 0.0101)
        og__line(out, "", "computing activations again is predicted to add %.0f %% to a step",
                 100 * m.more_time);
}

/* alone: --use_scheduler without more, whose warm-up is 5 % of the steps. */
static void add_warmup(const og_options *o, bool alone, og_text *text)
{
    double steps = strtod(option_or(o, "warmup_steps", "0"), NULL),
           ratio = strtod(option_or(o, "warmup_ratio", "0"), NULL);
    if (og_options_is_set(o, "warmup_steps"))
        ratio = 0;
    else if (alone && !og_options_is_set(o, "warmup_ratio"))
        ratio = 0.05;
    if (steps > 0)
        og_text_printf(text, " after %.0f steps of warm-up", steps);
    else if (ratio > 0)
        og_text_printf(text, " after a warm-up of %g %% of the steps", 100 * ratio);
}

static void tell_optimizer(og_text *out, const og__run *run)
{
    const og_options *o = run->options;
    const char *scheduler = og_options_get(o, "scheduler"),
               *uses = option_or(o, "use_scheduler", "off");
    bool cosine =
        !strcmp(uses, "on") || !strcmp(uses, "true") || !strcmp(uses, "1") || !strcmp(uses, "yes");
    double norm = strtod(option_or(o, "max_norm", "0"), NULL);
    og_text text = {0};
    if (run->trains_itself) {
        og__say("  %-11s the model's own algorithm (TrainingInfoProto)", "optimizer");
        return;
    }
    og_text_printf(&text, "%s, lr %s", option_or(o, "optimizer", "?"), option_or(o, "lr", "?"));
    og_text_printf(&text, ", schedule %s", scheduler ? scheduler : cosine ? "cosine" : "constant");
    add_warmup(o, cosine && !scheduler, &text);
    if (norm > 0)
        og_text_printf(&text, ", gradients clipped at norm %g", norm);
    else
        og_text_add(&text, ", no clipping");
    og__line(out, "optimizer", "%s", text.s ? text.s : "");
    og_text_free(&text);
    if (og_options_is_set(o, "ema"))
        og__line(out, "ema", "decay %s%s: averages of the weights are what is validated and saved",
                 og_options_get(o, "ema"),
                 og__argument_flag(run->arguments, "ema_warmup") ? ", with warm-up" : "");
}

/* What mixed precision saves of memory; nothing where it does not. */
static void add_saving(const og__run *run, og_text *text)
{
    og_memory_report m;
    char saved[32];
    og__alternative whole =
        og__alternative_of(run, (og__trial){.batch = run->batch_size, .amp = "off"});
    og_session_memory(run->session, &m);
    if (whole.known && m.pieces == 1 && whole.peak > m.peak)
        og_text_printf(text, "; saves about %s", og_format_bytes(saved, whole.peak - m.peak));
}

static bool uses_tf32(const og__run *run)
{
    const char *allow = option_or(run->options, "allow_tf32", "off");
    return !strncmp(og_context_device(run->context), "cuda", 4) && strcmp(allow, "off") != 0 &&
           strcmp(allow, "false") != 0 && strcmp(allow, "0") != 0 && strcmp(allow, "no") != 0;
}

/* What the device leaves to the host; nothing where it leaves nothing. */
static void tell_host_calls(og_text *out, const og__run *run)
{
    og__host_calls calls;
    og_text text = {0};
    if (og__host_calls_read(&calls, run) == OG__EXIT_DONE)
        og__host_calls_line(&calls, &text);
    if (text.length)
        og__line(out, "host", "%s", text.s);
    og_text_free(&text);
}

static void tell_precision(og_text *out, const og__run *run)
{
    og_dtype half = og_session_half(run->session);
    double scale = og_session_loss_scale(run->session);
    og_text text = {0};
    if (half == OG_UNDEFINED)
        og_text_printf(&text, "mixed precision off (float32%s)",
                       uses_tf32(run) ? ", products in TF32: --no_allow_tf32 turns that off" : "");
    else
        og_text_printf(&text,
                       "mixed precision %s: products and convolutions in %s, the rest, weights "
                       "included, in float32; saved in float32",
                       half == OG_FLOAT16 ? "fp16" : "bf16", og_dtype_name(half));
    if (scale != 1)
        og_text_printf(&text, "; loss scale %g", scale);
    if (half != OG_UNDEFINED)
        add_saving(run, &text);
    og__line(out, "precision", "%s", text.s ? text.s : "");
    og_text_free(&text);
}

/* ", trains focal/gamma": the trained tensors of a loss model. */
static void add_trained(const og__run *run, const og_loss_info *loss, og_text *text)
{
    enum { MOST_NAMES = 6 };
    int n = og_model_parameter_count(run->model, run->options), found = 0;
    for (int i = 0; i < n; i++) {
        og_parameter_info p;
        if (og_model_parameter(run->model, i, &p) != OG_OK || !og__is_of_loss(&p, loss))
            continue;
        if (found++ < MOST_NAMES)
            og_text_printf(text, "%s%s", found == 1 ? ", trains " : ", ", p.name);
    }
    if (found > MOST_NAMES)
        og_text_printf(text, " and %d more", found - MOST_NAMES);
}

/* "cross_entropy of output logits", and what else is particular to it. */
static void tell_loss(og_text *out, const og__run *run)
{
    for (int i = 0; i < run->losses.n; i++) {
        const og_loss_info *loss = &run->losses.items[i];
        og_tensor_info output;
        og_text text = {0};
        og_text_printf(&text, "%s%s", loss->is_model ? "model " : "", loss->loss);
        if (loss->output >= 0 && og_model_output(run->model, loss->output, &output) == OG_OK)
            og_text_printf(&text, " of output %s", output.name);
        if (run->losses.n_targets > 1 && loss->target >= 0)
            og_text_printf(&text, " and target %s", run->losses.targets[loss->target]);
        if (loss->weight != 1)
            og_text_printf(&text, ", weight %g", loss->weight);
        if (loss->is_model)
            add_trained(run, loss, &text);
        og__line(out, i == 0 ? "loss" : "", "%s", text.s ? text.s : "");
        og_text_free(&text);
    }
}

static void tell_split(og_text *out, const og__run *run)
{
    og_memory_report m;
    og_text text = {0};
    og_session_memory(run->session, &m);
    og__add_split(&m, &text);
    if (text.length)
        og__line(out, "", "%.*s", (int)text.length - 1, text.s);
    og_text_free(&text);
}

/* Lines of text, the first behind a heading. */
static void tell_lines(og_text *out, const char *heading, const char *lines)
{
    for (bool first = true; *lines; first = false) {
        int n = (int)strcspn(lines, "\n");
        og__line(out, first ? heading : "", "%.*s", n, lines);
        lines += n + (lines[n] == '\n');
    }
}

void og__report_changes(og_text *out, const og__run *run)
{
    tell_lines(out, "changed", og_model_changes(run->model));
}

void og__report_export(og_text *out, const og__run *run)
{
    tell_lines(out, "export", og_model_export_notes(run->model));
}

void og__report_found(og_text *out, const og__arguments *a)
{
    tell_lines(out, "found", a->found.s ? a->found.s : "");
}

void og__report_start(og_text *out, const og__report *r)
{
    const og__run *run = r->run;
    const og__arguments *a = run->arguments;
    og_model_info model;
    og_model_describe(run->model, &model);
    og_text_printf(out, "ongrad %s: training %s (opset %d%s%s, %d nodes)\n", og_version(),
                   run->model_name, model.opset, model.producer && *model.producer ? ", from " : "",
                   model.producer ? model.producer : "", model.nodes);
    og__report_export(out, run);
    og__report_changes(out, run);
    tell_parameters(out, run);
    og__report_found(out, a);
    tell_data(out, "data", &run->data);
    og__report_stored_values(out, &run->data, run->inputs);
    og__preprocess_say(out, run, "pictures");
    if (r->validation)
        tell_data(out, "validation", r->validation);
    tell_loss(out, run);
    tell_optimizer(out, run);
    og__line(out, "batch",
             "batch_size=%" PRId64 ", accumulation=%" PRId64 ", effective batch=%" PRId64,
             run->batch_size, r->accumulation, run->batch_size * r->accumulation);
    tell_split(out, run);
    tell_precision(out, run);
    tell_memory(out, run, r->feed);
    tell_host_calls(out, run);
    og__line(out, "run",
             "%" PRId64 " steps%s, %" PRId64 " epoch%s of %" PRId64
             " samples, shuffle %s, %d loader thread%s",
             r->steps, r->by_steps ? " (--steps)" : "", r->epochs, r->epochs == 1 ? "" : "s",
             run->data.samples, og__argument_flag(a, "shuffle") ? "on" : "off", r->feed->workers,
             r->feed->workers == 1 ? "" : "s");
    og__line(out, "output", "%s", r->output);
}

/* ---- next */

static void end_line(og__next *next)
{
    if (next->line.s)
        og_text_printf(&next->lines, "  %s\n", next->line.s);
    og_text_free(&next->line);
}

void og__next_line(og__next *next, const char *command, const char *model)
{
    end_line(next);
    og_text_printf(&next->line, "ongrad %s", command);
    /* A path that starts with a dash would read as an option. */
    if (model && model[0] == '-') {
        og_text path = {0};
        og_text_printf(&path, "./%s", model);
        og__paste_word(&next->line, path.s ? path.s : model);
        og_text_free(&path);
    } else if (model) {
        og__paste_word(&next->line, model);
    }
}

void og__next_model(og__next *next, const char *command, const og__run *run)
{
    const og__arguments *a = run->arguments;
    og__next_line(next, command, a->model);
    for (int i = 0; !a->model && i < a->n_rows; i++)
        if (og__is_model_option(a->rows[i].info.name))
            og__next_option(next, a, a->rows[i].info.name, a->rows[i].info.name);
}

void og__next_add(og__next *next, const char *word)
{
    og__paste_word(&next->line, word);
}

bool og__next_option(og__next *next, const og__arguments *a, const char *from, const char *as)
{
    const char *value;
    int k = 0;
    for (; (value = og__argument_at(a, from, k)); k++) {
        og_text option = {0};
        og_text_printf(&option, "--%s", as);
        og__paste_word(&next->line, option.s ? option.s : "");
        og__paste_word(&next->line, value);
        og_text_free(&option);
    }
    return k > 0;
}

void og__next_loss(og__next *next, const og__arguments *a)
{
    og__next_option(next, a, "loss", "loss");
    og__next_loss_options(next, a);
}

void og__next_loss_options(og__next *next, const og__arguments *a)
{
    static const char *const names[] = {"label_smoothing", "ignore_index", "class_weights"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        og__next_option(next, a, names[i], names[i]);
}

void og__next_say(og__next *next, bool quiet)
{
    end_line(next);
    if (!quiet && next->lines.s)
        og__say("Next:\n%.*s", (int)next->lines.length - 1, next->lines.s);
    og_text_free(&next->lines);
}
