#include "tools/ongrad/reference.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/data/data.h"
#include "tools/ongrad/say.h"

enum { NORM, SUM, DISTANCE, ROUNDING, FIGURES }; /* columns of a tensor's member */

/* ---- members */

/* FILE:MEMBER, opened; NULL where it is missing or has not this type and shape, which *status says
 * where `required`. rank 1 and 2: dims[0] is `rows` if that is not 0. */
static og_array *open_member(const char *command, const char *path, const char *member,
                             og_dtype dtype, int rank, int64_t rows, bool required, int *status)
{
    og_text name = {0};
    og_error error = {0};
    og_text_printf(&name, "%s:%s", path, member);
    og_array *array = name.s ? og_array_open(name.s, &error) : NULL;
    bool fits = array && og_array_dtype(array) == dtype && og_array_rank(array) == rank &&
                (!rows || og_array_dims(array)[0] == rows) &&
                (rank < 2 || og_array_dims(array)[1] == FIGURES);
    if (!fits && array)
        *status = og__say_error(command, OG__EXIT_FAILED,
                                "%s: member \"%s\" has not the type or shape of a reference; "
                                "tools/export_torch.py --reference makes them",
                                path, member);
    else if (!fits && required)
        *status =
            og__say_error(command, OG__EXIT_FAILED, "option reference: %s", og_error_text(&error));
    og_text_free(&name);
    og_error_clear(&error);
    if (fits)
        return array;
    og_array_free(array);
    return NULL;
}

/* ---- options */

static int add_line(og__arguments *a, const char *path, char *line)
{
    char where[512];
    og_text value = {0};
    char *equals = strchr(line, '='), *at;
    if (!equals)
        return *line ? og__say_error(a->command->name, OG__EXIT_FAILED,
                                     "%s: \"%s\" in its options is not name=value", path, line)
                     : OG__EXIT_DONE;
    *equals++ = 0;
    at = strstr(equals, "@:");
    if (at)
        og_text_printf(&value, "%.*s%s%s", (int)(at - equals), equals, path, at + 1);
    else
        og_text_add(&value, equals);
    snprintf(where, sizeof where, "%s: ", path);
    int status = value.failed ? og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory")
                              : og__arguments_add_from_file(a, where, line, value.s ? value.s : "");
    og_text_free(&value);
    return status;
}

int og__reference_options(og__arguments *a, const char *path)
{
    int status = OG__EXIT_DONE;
    og_array *options =
        open_member(a->command->name, path, "options", OG_UINT8, 1, 0, true, &status);
    if (!options)
        return status;
    size_t n = (size_t)og_array_dims(options)[0];
    char *text = malloc(n + 1);
    if (text) {
        memcpy(text, og_array_data(options), n);
        text[n] = 0;
    } else {
        status = og__say_error(a->command->name, OG__EXIT_FAILED, "out of memory");
    }
    for (char *rest = text, *line; status == OG__EXIT_DONE && (line = strsep(&rest, "\n"));)
        status = add_line(a, path, line);
    free(text);
    og_array_free(options);
    return status;
}

/* ---- comparing */

typedef struct tensor {
    og_parameter_info info;
    og_array *there;
    size_t elements, bytes;
    void *now;
    double *start;
} tensor;

typedef struct replaying {
    og__reference *result;
    const og__run *run;
    const char *path;
    og_array *loss, *loss32, *norm, *norm32;
    tensor *tensors;
    int n;
} replaying;

static double element(const og_array *array, int64_t i)
{
    return ((const double *)og_array_data(array))[i];
}

/* |here − there| ≤ max(1e-4 scale, 4 × what rounding does) */
static bool is_same(double here, double there, double rounding, double scale)
{
    double tolerance = 4 * rounding > 1e-4 * scale ? 4 * rounding : 1e-4 * scale;
    return fabs(here - there) <= tolerance + 1e-9;
}

static double value_at(const tensor *t, size_t i)
{
    return t->info.dtype == OG_DOUBLE ? ((const double *)t->now)[i]
                                      : (double)((const float *)t->now)[i];
}

static int measure(const replaying *r, tensor *t, bool first, double figures[FIGURES])
{
    if (og_session_get_parameter(r->run->session, t->info.name, t->now, t->bytes) != OG_OK)
        return og__run_failed(r->run);
    double squares = 0, sum = 0, moved = 0;
    for (size_t i = 0; i < t->elements; i++) {
        double x = value_at(t, i);
        if (first)
            t->start[i] = x;
        squares += x * x;
        sum += x;
        moved += (x - t->start[i]) * (x - t->start[i]);
    }
    figures[NORM] = sqrt(squares);
    figures[SUM] = sum;
    figures[DISTANCE] = sqrt(moved);
    return OG__EXIT_DONE;
}

/* All tensors after `step` steps: the first that differs is named. */
static int compare_tensors(replaying *r, int64_t step, og_text *text)
{
    static const char *const names[] = {"norm", "sum", "distance from the start"};
    int differ = 0;
    for (int i = 0; i < r->n; i++) {
        tensor *t = &r->tensors[i];
        double here[FIGURES];
        OG__TRY(measure(r, t, step == 0, here));
        const double *there = (const double *)og_array_data(t->there) + step * FIGURES;
        for (int k = 0; k < ROUNDING; k++) {
            /* A sum is as small as it happens to be, and rounding adds up in it; a distance is only
             * as exact as what moved. */
            double scale = k == SUM        ? there[NORM]
                           : k == DISTANCE ? there[k] + 1e-3 * there[NORM]
                                           : there[k];
            double more = k == SUM ? sqrt((double)t->elements) : 1;
            if (is_same(here[k], there[k], more * there[ROUNDING], scale))
                continue;
            if (differ++ == 0)
                og_text_printf(text, "%stensor %s differs first: %s %.8g here, %.8g there",
                               text->length ? "; " : "", t->info.name, names[k], here[k], there[k]);
            break;
        }
    }
    if (differ > 1)
        og_text_printf(text, ", and %d more of %d", differ - 1, r->n);
    return OG__EXIT_DONE;
}

static void compare(const char *what, double here, const og_array *wide, const og_array *narrow,
                    int64_t step, og_text *text)
{
    double there = element(wide, step);
    if (!is_same(here, there, fabs(there - element(narrow, step)), fabs(there)))
        og_text_printf(text, "%s%s %.8g here, %.8g there", text->length ? "; " : "", what, here,
                       there);
}

static int replay(replaying *r, const void *const *inputs, const void *const *targets,
                  int64_t samples)
{
    og_session *s = r->run->session;
    og_text *text = &r->result->difference;
    const char *lr = og_options_get(r->run->options, "lr");
    OG__TRY(compare_tensors(r, 0, text));
    if (text->length) {
        r->result->same = -1; /* it begins with other weights */
        return OG__EXIT_DONE;
    }
    og_session_set_lr(s, lr ? strtod(lr, NULL) : 0);
    for (int64_t t = 0; t < r->result->steps && !text->length; t++) {
        og_step_result result;
        if (og_session_train_step(s, inputs, targets, samples, &result) != OG_OK)
            return og__run_failed(r->run);
        if (!result.updated && og_session_report(s, &result) != OG_OK)
            return og__run_failed(r->run);
        compare("loss", result.loss, r->loss, r->loss32, t, text);
        compare("gradient norm", result.grad_norm, r->norm, r->norm32, t, text);
        OG__TRY(compare_tensors(r, t + 1, text));
        r->result->same += !text->length;
    }
    return text->failed ? og__say_error(r->run->command, OG__EXIT_FAILED, "out of memory")
                        : OG__EXIT_DONE;
}

/* The trained tensors and running statistics that the file has, too. */
static int open_tensors(replaying *r)
{
    int n = og_model_parameter_count(r->run->model, r->run->options), status = OG__EXIT_DONE;
    if (n < 0)
        return og__run_failed(r->run);
    r->tensors = calloc((size_t)n + 1, sizeof *r->tensors);
    if (!r->tensors)
        return og__say_error(r->run->command, OG__EXIT_FAILED, "out of memory");
    for (int i = 0; i < n && status == OG__EXIT_DONE; i++) {
        tensor *t = &r->tensors[r->n];
        if (og_model_parameter(r->run->model, i, &t->info) != OG_OK)
            return og__run_failed(r->run);
        if (!(t->info.trained || t->info.buffer) || t->info.loss_model)
            continue;
        og_text name = {0};
        og_text_printf(&name, "parameter.%s", t->info.name);
        t->there = name.s ? open_member(r->run->command, r->path, name.s, OG_DOUBLE, 2,
                                        r->result->steps + 1, false, &status)
                          : NULL;
        og_text_free(&name);
        r->n += t->there != NULL;
        r->result->absent += !t->there;
        if (!t->there)
            continue;
        t->elements = 1;
        for (int k = 0; k < t->info.rank; k++)
            t->elements *= (size_t)t->info.dims[k];
        t->bytes = t->elements * (size_t)og_dtype_bits(t->info.dtype) / 8;
        t->now = malloc(t->bytes + 1);
        t->start = malloc(sizeof(double) * t->elements + 1);
        if (!t->now || !t->start)
            return og__say_error(r->run->command, OG__EXIT_FAILED, "out of memory");
    }
    r->result->compared = r->n;
    return status;
}

static int open_curves(replaying *r)
{
    const struct {
        const char *member;
        og_array **array;
    } curves[] = {{"loss", &r->loss},
                  {"loss32", &r->loss32},
                  {"grad_norm", &r->norm},
                  {"grad_norm32", &r->norm32}};
    int status = OG__EXIT_DONE;
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
        *curves[i].array = open_member(r->run->command, r->path, curves[i].member, OG_DOUBLE, 1,
                                       r->result->steps, true, &status);
        if (!*curves[i].array)
            return status;
        r->result->steps = og_array_dims(*curves[i].array)[0];
    }
    return status;
}

int og__reference_replay(og__reference *result, const og__run *run, const char *path,
                         const void *const *inputs, const void *const *targets, int64_t samples)
{
    *result = (og__reference){0};
    replaying r = {.result = result, .run = run, .path = path};
    int status = open_curves(&r);
    if (status == OG__EXIT_DONE)
        status = open_tensors(&r);
    if (status == OG__EXIT_DONE)
        status = replay(&r, inputs, targets, samples);
    for (int i = 0; i < r.n; i++) {
        og_array_free(r.tensors[i].there);
        free(r.tensors[i].now);
        free(r.tensors[i].start);
    }
    free(r.tensors);
    og_array_free(r.loss);
    og_array_free(r.loss32);
    og_array_free(r.norm);
    og_array_free(r.norm32);
    return status;
}
