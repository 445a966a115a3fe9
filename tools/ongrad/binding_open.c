/* From bindings to sources: folders listed, files opened, samples paired. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/as_trained.h"
#include "tools/ongrad/class_names.h"
#include "tools/ongrad/say.h"

enum { MOST_SOURCES = 64 };

/* ---- opening */

static int rank_of_input(const og__bindings *b, int i)
{
    og_tensor_info info;
    return i < b->n_inputs && og_model_input(b->model, i, &info) == OG_OK ? info.rank : 0;
}

/* The errors of all are added to one report. */
static void open_all(og__bindings *b, og_error *report)
{
    for (int i = 0; i < b->n_inputs + b->n_targets; i++) {
        og__binding *s = og__binding_at(b, i);
        const char *option = i < b->n_inputs ? b->data_option : b->target_option;
        og_error error = {0};
        int64_t dims[OG_MAX_RANK];
        if (!s->path)
            continue;
        s->keyed_rate = s->options.rate > 0;
        s->options.clips = rank_of_input(b, i) == 5;
        if (!og__as_trained_options(b, i))
            og_fail_memory(&error, 0, s->name);
        else
            s->source = og_source_open(s->path, &s->options, &error);
        if (s->source)
            og__as_trained_scale(b, i);
        if (!s->source)
            og_fail_also(report, error.status, "--%s: %s%s%s", option, og_error_text(&error),
                         s->columns_as_trained ? "; the model was trained on columns=" : "",
                         s->columns_as_trained ? s->columns : "");
        else if (og_source_dims(s->source, dims) == 0)
            og_fail_also(report, OG_INVALID_DATA, "--%s: %s holds one number, not samples", option,
                         s->path);
        else if ((s->options.frames || s->keyed_rate) && !og_source_is_pictures(s->source))
            og_fail_also(report, OG_INVALID_ARGUMENT,
                         "--%s: keys frames and rate are for videos and folders of images, and %s "
                         "is none",
                         option, s->path);
        og_error_clear(&error);
    }
}

static int merge_folders(og__bindings *b)
{
    og_source *sources[MOST_SOURCES];
    int n = 0;
    og_error error = {0};
    for (int i = 0; i < b->n_inputs + b->n_targets && n < MOST_SOURCES; i++)
        if (og__binding_at(b, i)->source)
            sources[n++] = og__binding_at(b, i)->source;
    return og_sources_merge_folders(sources, n, &error) == OG_OK
               ? OG__EXIT_DONE
               : og__say_failure(b->command, &error);
}

/* ---- targets that are folders */

/* Labels by folder where one class a sample is compared; a picture's values where each of its
 * pixels has a class. */
static int read_labels(og__bindings *b, int t)
{
    og__binding *s = &b->targets[t];
    const og_loss_info *loss = og__losses_of_target(b->losses, t);
    og_tensor_info output;
    og_error error = {0};
    bool pictures = s->source && og_source_is_pictures(s->source);
    if (!s->source || !loss || !loss->classes || !og_source_key(s->source, 0) ||
        (!pictures && !og_source_holds_floats(s->source)))
        return OG__EXIT_DONE;
    int rank = og_model_output(b->model, loss->output, &output) == OG_OK ? output.rank : -1;
    og_source *labels = rank > 2 ? NULL : og_source_of_folders(s->source, &error);
    if (!labels && error.status != OG_OK)
        return og__say_failure(b->command, &error);
    if (!labels && pictures && rank != 2) { /* not known: no folders of classes, so maps */
        s->raw = true;
        return OG__EXIT_DONE;
    }
    if (!labels && !pictures)
        return OG__EXIT_DONE;
    if (!labels)
        return og__say_error(b->command, OG__EXIT_FAILED,
                             "--%s %s: for %s the folder needs a sub-folder for each class, at "
                             "least two",
                             b->target_option, s->path, loss->loss);
    og_source_free(s->source);
    s->source = labels;
    return OG__EXIT_DONE;
}

/* Labels counted by the classes of training where this validates, or by those in the model's
 * metadata where it is not trained. */
static int match_classes(og__bindings *b, int t)
{
    og_source *s = b->targets[t].source;
    int n = 0, n_own;
    const char *const *classes = NULL;
    og_error error = {0};
    (void)og_source_classes(s, &n_own);
    if (!n_own)
        return OG__EXIT_DONE;
    og__class_names trained = {0};
    if (b->base)
        classes = og_source_classes(b->base->targets[t].source, &n);
    else if (!strcmp(b->command, "train"))
        return OG__EXIT_DONE;
    if (!classes && !og__class_names_read(b->model, &trained))
        og_fail_memory(&error, 0, "classes");
    if (!classes) {
        classes = trained.names;
        n = trained.n;
    }
    og_status status =
        n && error.status == OG_OK ? og_source_set_classes(s, classes, n, &error) : error.status;
    og__class_names_free(&trained);
    og_error_prefix(&error, "--%s %s", b->target_option, b->targets[t].path);
    return status == OG_OK ? OG__EXIT_DONE : og__say_failure(b->command, &error);
}

/* ---- masks */

static int find_masked(og__bindings *b, int i)
{
    og__binding *s = &b->inputs[i];
    s->masked = -1;
    for (int k = 0; s->mask && k < b->n_inputs; k++) {
        const og__binding *other = &b->inputs[k];
        bool fits = other->source && !og_source_array(other->source) &&
                    (!og_source_is_pictures(other->source) || rank_of_input(b, k) == 5);
        if (fits && (s->mask_of ? og__same_name(s->mask_of, other->name)
                                : s->masked < 0 || og_source_has_lengths(other->source)))
            s->masked = k;
    }
    if (s->mask && s->masked < 0)
        return og__say_error(b->command, OG__EXIT_USAGE,
                             "--%s %s=mask%s%s: a mask is of an input that reads a folder of .npy "
                             "files, or clips",
                             b->data_option, s->name, s->mask_of ? ":" : "",
                             s->mask_of ? s->mask_of : "");
    if (s->mask)
        og_source_pad(b->inputs[s->masked].source);
    return OG__EXIT_DONE;
}

/* ---- pairing */

static int pair_all(og__bindings *b, const og__arguments *a)
{
    const og_source *sources[MOST_SOURCES];
    const char *names[MOST_SOURCES];
    int which[MOST_SOURCES], n = 0;
    og_error error = {0};
    for (int i = 0; i < b->n_inputs + b->n_targets; i++) {
        const og__binding *s = og__binding_at(b, i);
        if (!s->source || n == MOST_SOURCES)
            continue;
        which[n] = i;
        names[n] = i < b->n_inputs ? s->name : "target";
        sources[n++] = s->source;
    }
    if (n == 0)
        return og__say_error(b->command, OG__EXIT_USAGE,
                             "no input reads a file: how many samples are there?");
    og_pair_options options = {og__argument(a, "pair_by"), og__argument_flag(a, "strict_data")};
    if (og_pair(sources, names, n, &options, &b->pairing, &error) != OG_OK)
        return og__say_failure(b->command, &error);
    b->samples = b->pairing.samples;
    for (int k = 0; k < n && b->pairing.rows; k++)
        og__binding_at(b, which[k])->rows = b->pairing.rows[k];
    for (int i = 0; i < b->n_inputs; i++)
        if (b->inputs[i].mask)
            b->inputs[i].rows = b->inputs[b->inputs[i].masked].rows;
    return OG__EXIT_DONE;
}

int og__bindings_open_sources(og__bindings *b, const og__arguments *a)
{
    og_error report = {0};
    open_all(b, &report);
    if (report.status != OG_OK)
        return og__say_failure(b->command, &report);
    OG__TRY(merge_folders(b));
    for (int t = 0; t < b->n_targets; t++)
        OG__TRY(read_labels(b, t));
    for (int t = 0; t < b->n_targets; t++)
        OG__TRY(match_classes(b, t));
    for (int i = 0; i < b->n_inputs; i++)
        OG__TRY(find_masked(b, i));
    return pair_all(b, a);
}

/* ---- splitting */

static char *copy_text(const char *text)
{
    return text ? strdup(text) : NULL;
}

static og__binding borrow(const og__binding *from)
{
    og__binding to = *from;
    to.name = copy_text(from->name);
    to.path = copy_text(from->path);
    to.mask_of = copy_text(from->mask_of);
    to.key = to.columns = NULL;
    to.shares = true;
    to.rows = NULL;
    return to;
}

static og__binding *borrow_all(const og__binding *from, int n)
{
    og__binding *to = calloc((size_t)n + 1, sizeof *to);
    for (int i = 0; to && i < n; i++)
        to[i] = borrow(&from[i]);
    return to;
}

/* Row lists of the samples with validates[i] == want, one a binding that reads. `base`: the rows
 * of all samples. */
static bool take_part(og__bindings *b, const og__bindings *base, const bool *validates, bool want)
{
    b->n_rows = b->n_inputs + b->n_targets;
    b->rows = calloc((size_t)b->n_rows + 1, sizeof *b->rows);
    int64_t n = 0;
    for (int i = 0; b->rows && i < b->n_rows; i++) {
        const int64_t *rows = og__binding_at(base, i)->rows;
        if (!og__binding_reads(og__binding_at(base, i)))
            continue;
        b->rows[i] = malloc(((size_t)base->samples + 1) * sizeof **b->rows);
        if (!b->rows[i])
            return false;
        n = 0;
        for (int64_t k = 0; k < base->samples; k++)
            if (validates[k] == want)
                b->rows[i][n++] = rows ? rows[k] : k;
    }
    for (int i = 0; b->rows && i < b->n_rows; i++)
        og__binding_at(b, i)->rows = b->rows[i];
    b->samples = n;
    return b->rows != NULL;
}

int og__bindings_split(og__bindings *all, og__bindings *part, const og__arguments *a)
{
    double share = strtod(og__argument(a, "val_split"), NULL);
    og_error error = {0};
    if (share <= 0 || share >= 1)
        return og__say_error(all->command, OG__EXIT_USAGE,
                             "--val_split is %g, expected a share of the samples above 0 and below "
                             "1",
                             share);
    bool *validates = calloc((size_t)all->samples + 1, sizeof *validates);
    og_pairing pairing = all->pairing;
    pairing.samples = all->samples;
    int status = OG__EXIT_DONE;
    if (!validates)
        return og__say_error(all->command, OG__EXIT_FAILED, "out of memory for --val_split");
    if (og_split(&pairing, share, (uint64_t)og__argument_int(a, "seed"),
                 og__argument(a, "val_group"), validates, &error) != OG_OK)
        status = og__say_failure(all->command, &error);
    if (status == OG__EXIT_DONE) {
        *part = (og__bindings){.command = all->command,
                               .model = all->model,
                               .losses = all->losses,
                               .data_option = all->data_option,
                               .target_option = all->target_option,
                               .n_inputs = all->n_inputs,
                               .n_targets = all->n_targets,
                               .inputs = borrow_all(all->inputs, all->n_inputs),
                               .targets = borrow_all(all->targets, all->n_targets)};
        if (!part->inputs || !part->targets || !take_part(part, all, validates, true) ||
            !take_part(all, all, validates, false))
            status = og__say_error(all->command, OG__EXIT_FAILED, "out of memory for --val_split");
    }
    free(validates);
    return status;
}
