/* ongrad predict: the outputs for a data set, each a .npy, or one as a table. All of an output is
 * held in memory until it is written. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/base/checked.h"
#include "tools/ongrad/prediction_table.h"
#include "tools/ongrad/preprocess.h"
#include "tools/ongrad/report.h"
#include "tools/ongrad/say.h"

typedef struct prediction {
    og_tensor_info info; /* dims[0]: all samples */
    size_t sample_bytes;
    char *data, *path;
    void *batch; /* room for one batch */
} prediction;

/* A file's name from an output's: what a path would read as folders, or the shell as something
 * else, becomes `_`. */
static char *path_of(const char *folder, const char *output)
{
    og_text path = {0};
    og_text_printf(&path, "%s/", folder);
    for (const char *c = output; *c; c++) {
        bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                     (*c >= '0' && *c <= '9') || *c == '-' || *c == '_' ||
                     (*c == '.' && c != output);
        og_text_addn(&path, plain ? c : "_", 1);
    }
    og_text_add(&path, ".npy");
    if (path.failed)
        og_text_free(&path);
    return path.s;
}

static bool ends_in(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);
    return n > m && !strcmp(path + n - m, ending);
}

/* Where outputs go: one file, or a folder of them. */
static int choose_paths(const og__run *run, prediction *p, int n)
{
    const char *given = og__argument(run->arguments, "output");
    const char *path = given ? given : n == 1 ? "predictions.npy" : "predictions";
    struct stat info;
    bool is_folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    if ((ends_in(path, ".npy") || ends_in(path, ".csv")) && !is_folder) {
        if (n > 1)
            return og__say_error(
                run->command, OG__EXIT_USAGE,
                "--output %s is one file, but the model has %d outputs; name a folder", path, n);
        if (ends_in(path, ".csv") && p[0].info.rank > 2)
            return og__say_error(run->command, OG__EXIT_USAGE,
                                 "--output %s: a table has rows and columns, but output \"%s\" has "
                                 "%d axes; name a .npy file",
                                 path, p[0].info.name, p[0].info.rank);
        p[0].path = strdup(path);
        return p[0].path ? og__run_check_writable(run, "--output", path)
                         : og__say_error(run->command, OG__EXIT_FAILED, "out of memory");
    }
    if (!is_folder && mkdir(path, 0777) != 0)
        return og__say_error(run->command, OG__EXIT_FAILED, "cannot make the folder %s: %s", path,
                             strerror(errno));
    for (int i = 0; i < n; i++) {
        p[i].path = path_of(path, p[i].info.name);
        if (!p[i].path)
            return og__say_error(run->command, OG__EXIT_FAILED, "out of memory");
        for (int k = 0; k < i; k++)
            if (!strcmp(p[k].path, p[i].path))
                return og__say_error(run->command, OG__EXIT_FAILED,
                                     "outputs \"%s\" and \"%s\" would both be written to %s",
                                     p[k].info.name, p[i].info.name, p[i].path);
        OG__TRY(og__run_check_writable(run, "--output", p[i].path));
    }
    return OG__EXIT_DONE;
}

static int allocate(const og__run *run, prediction *p, int index)
{
    OG__TRY(og__run_output(run, index, &p->info));
    if (p->info.rank < 1 || p->info.dims[0] != run->batch_size)
        return og__say_error(
            run->command, OG__EXIT_FAILED,
            "output \"%s\" has no axis of samples: it cannot be put together from batches",
            p->info.name);
    p->info.dims[0] = 1;
    int64_t elements = og__shape_elements(&p->info);
    p->info.dims[0] = run->data.samples;
    size_t element = (size_t)og_dtype_bits(p->info.dtype) / 8, all, batch;
    if (elements < 0 || element == 0 || !og_mul_size((size_t)elements, element, &p->sample_bytes) ||
        !og_mul_size(p->sample_bytes, (size_t)run->data.samples, &all) ||
        !og_mul_size(p->sample_bytes, (size_t)run->batch_size, &batch))
        return og__say_error(run->command, OG__EXIT_FAILED, "output \"%s\" cannot be stored",
                             p->info.name);
    p->data = malloc(all ? all : 1);
    p->batch = malloc(batch ? batch : 1);
    if (!p->data || !p->batch)
        return og__say_error(run->command, OG__EXIT_FAILED,
                             "out of memory: %zu bytes for output \"%s\"", all, p->info.name);
    return OG__EXIT_DONE;
}

static int run_batches(og__run *run, og__feed *feed, prediction *p, int n, void **buffers)
{
    for (int i = 0; i < n; i++)
        buffers[i] = p[i].batch;
    int64_t done = 0;
    for (int64_t index = 0; index < feed->batches; index++) {
        OG__TRY(og__feed_next(feed, 0, index));
        if (feed->samples == 0)
            continue;
        if (og_session_predict(run->session, feed->inputs, feed->samples, buffers) != OG_OK)
            return og__run_failed(run);
        for (int i = 0; i < n; i++)
            memcpy(p[i].data + (size_t)done * p[i].sample_bytes, p[i].batch,
                   (size_t)feed->samples * p[i].sample_bytes);
        done += feed->samples;
    }
    for (int i = 0; i < n; i++)
        p[i].info.dims[0] = done;
    if (done == 0)
        return og__say_error(run->command, OG__EXIT_FAILED, "no sample could be read");
    return OG__EXIT_DONE;
}

/* The names of the samples that have a row, in *names, which the caller frees; NULL where samples
 * have no names. */
static int name_rows(const og__run *run, const og__feed *feed, const char ***names)
{
    const og_pairing *pairs = &run->data.pairing;
    int64_t n = 0;
    *names = NULL;
    if (!pairs->names)
        return OG__EXIT_DONE;
    const char **rows = malloc(((size_t)pairs->samples + 1) * sizeof *rows);
    if (!rows)
        return og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the names");
    for (int64_t i = 0; i < pairs->samples; i++)
        if (!og_dataset_is_unreadable(feed->set, i))
            rows[n++] = pairs->names[i];
    *names = rows;
    return OG__EXIT_DONE;
}

static int write_output(const og__run *run, const prediction *p, const char *const *names,
                        const og__class_names *classes)
{
    og_error error = {0};
    if (ends_in(p->path, ".csv")) {
        og_text table = {0};
        og__prediction_table(&p->info, p->data, names, classes, &table);
        int status = table.failed ? og__say_error(run->command, OG__EXIT_FAILED,
                                                  "out of memory for %s", p->path)
                                  : og__write_file(run->command, &table, p->path);
        og_text_free(&table);
        OG__TRY(status);
    } else if (og_npy_write(p->path, p->info.dtype, p->info.rank, p->info.dims, p->data, &error) !=
               OG_OK) {
        return og__say_failure(run->command, &error);
    }
    og_text shape = {0};
    og__shape_text(&shape, &p->info);
    if (!run->quiet)
        og__say("%s: output %s %s %s", p->path, p->info.name, shape.s ? shape.s : "",
                og_dtype_name(p->info.dtype));
    og_text_free(&shape);
    return OG__EXIT_DONE;
}

/* A name a line, to PATH.ENDING instead of PATH.npy. */
static int write_lines(const og__run *run, const char *npy, const char *ending,
                       const char *const *names, int64_t n, const char *what)
{
    og_text lines = {0}, path = {0};
    for (int64_t i = 0; i < n; i++)
        og_text_printf(&lines, "%s\n", names[i]);
    og_text_printf(&path, "%.*s.%s", (int)(strrchr(npy, '.') - npy), npy, ending);
    int status = path.s && !lines.failed
                     ? og__write_file(run->command, &lines, path.s)
                     : og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the names");
    if (status == OG__EXIT_DONE && !run->quiet)
        og__say("%s: the %s", path.s, what);
    og_text_free(&lines);
    og_text_free(&path);
    return status;
}

/* Beside .npy: which row is which sample, where samples have names, and which column is which
 * class, where the model names them. */
static int write_all(const og__run *run, const prediction *p, int n, const char *const *names,
                     const og__class_names *classes)
{
    for (int i = 0; i < n; i++)
        OG__TRY(write_output(run, &p[i], names, classes));
    if (n == 0 || ends_in(p[0].path, ".csv"))
        return OG__EXIT_DONE;
    if (names)
        OG__TRY(write_lines(run, p[0].path, "names.txt", names, p[0].info.dims[0],
                            "samples' names, a line a row"));
    for (int i = 0; i < n; i++)
        if (og__has_classes(&p[i].info, classes))
            OG__TRY(write_lines(run, p[i].path, "classes.txt", classes->names, classes->n,
                                "classes' names, a line a column"));
    return OG__EXIT_DONE;
}

static int write_predictions(const og__run *run, const og__feed *feed, const prediction *p, int n)
{
    const char **names;
    og__class_names classes;
    int status = name_rows(run, feed, &names);
    if (!og__class_names_read(run->model, &classes) && status == OG__EXIT_DONE)
        status = og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the classes");
    if (status == OG__EXIT_DONE)
        status = write_all(run, p, n, names, &classes);
    og__class_names_free(&classes);
    free(names);
    return status;
}

static int predict(og__run *run, og__feed *feed, prediction *p, int n, void **buffers)
{
    OG__TRY(og__run_without_loss(run));
    OG__TRY(og__run_bind_data(run, false, NULL));
    OG__TRY(og__run_start(run));
    og__feed_options options = og__feed_options_of(run->arguments, &run->transforms, false);
    OG__TRY(og__feed_open(feed, &run->data, run->inputs, run->targets, run->batch_size, &options));
    for (int i = 0; i < n; i++)
        OG__TRY(allocate(run, &p[i], i));
    OG__TRY(choose_paths(run, p, n));
    if (!run->quiet) {
        og__report_stored_values(NULL, &run->data, run->inputs);
        og__preprocess_say(NULL, run, "pictures");
    }
    OG__TRY(run_batches(run, feed, p, n, buffers));
    og__feed_say_unreadable(feed, "and have no row");
    OG__TRY(write_predictions(run, feed, p, n));
    og__next next = {0};
    og__next_line(&next, "inspect", run->arguments->model);
    og__next_say(&next, run->quiet);
    return OG__EXIT_DONE;
}

int og__command_predict(const og__arguments *a)
{
    og__run run;
    og__feed feed = {0};
    int status = og__run_open(&run, a),
        n = status == OG__EXIT_DONE ? og_model_output_count(run.model) : 0;
    prediction *p = calloc((size_t)n + 1, sizeof *p);
    void **buffers = calloc((size_t)n + 1, sizeof *buffers);
    if (status == OG__EXIT_DONE)
        status = p && buffers
                     ? predict(&run, &feed, p, n, buffers)
                     : og__say_error(run.command, OG__EXIT_FAILED, "out of memory for the outputs");
    for (int i = 0; p && i < n; i++) {
        free(p[i].data);
        free(p[i].batch);
        free(p[i].path);
    }
    free(p);
    free(buffers);
    og__feed_close(&feed);
    og__run_close(&run);
    return status;
}
