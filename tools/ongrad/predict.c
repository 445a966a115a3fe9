/* ongrad predict: the outputs for a data set, each a .npy. All of an output is held in memory until
 * it is written. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/base/checked.h"
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

static bool ends_in_npy(const char *path)
{
    size_t n = strlen(path);
    return n > 4 && !strcmp(path + n - 4, ".npy");
}

/* Where outputs go: one file, or a folder of them. */
static int choose_paths(const og__run *run, prediction *p, int n)
{
    const char *given = og__argument(run->arguments, "output");
    const char *path = given ? given : n == 1 ? "predictions.npy" : "predictions";
    struct stat info;
    bool is_folder = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    if (ends_in_npy(path) && !is_folder) {
        if (n > 1)
            return og__say_error(
                run->command, OG__EXIT_USAGE,
                "--output %s is one file, but the model has %d outputs; name a folder", path, n);
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

static int write_all(const og__run *run, const prediction *p, int n)
{
    for (int i = 0; i < n; i++) {
        og_error error = {0};
        if (og_npy_write(p[i].path, p[i].info.dtype, p[i].info.rank, p[i].info.dims, p[i].data,
                         &error) != OG_OK)
            return og__say_failure(run->command, &error);
        og_text shape = {0};
        og__shape_text(&shape, &p[i].info);
        if (!run->quiet)
            og__say("%s: output %s %s %s", p[i].path, p[i].info.name, shape.s ? shape.s : "",
                    og_dtype_name(p[i].info.dtype));
        og_text_free(&shape);
    }
    return OG__EXIT_DONE;
}

/* Which row is which sample: names beside the outputs, a line each; nothing where samples have no
 * names. */
static int write_names(const og__run *run, const og__feed *feed, const prediction *p)
{
    const og_pairing *pairs = &run->data.pairing;
    og_text names = {0}, path = {0};
    const char *dot = strrchr(p[0].path, '.');
    if (!pairs->names)
        return OG__EXIT_DONE;
    for (int64_t i = 0; i < pairs->samples; i++)
        if (!og_dataset_is_unreadable(feed->set, i))
            og_text_printf(&names, "%s\n", pairs->names[i]);
    og_text_printf(&path, "%.*s.names.txt", (int)(dot - p[0].path), p[0].path);
    int status = path.s && !names.failed
                     ? og__write_file(run->command, &names, path.s)
                     : og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the names");
    if (status == OG__EXIT_DONE && !run->quiet)
        og__say("%s: the samples' names, a line a row", path.s);
    og_text_free(&names);
    og_text_free(&path);
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
        og__report_stored_values(&run->data, run->inputs);
        og__preprocess_say(run, "pictures");
    }
    OG__TRY(run_batches(run, feed, p, n, buffers));
    og__feed_say_unreadable(feed, "and have no row");
    OG__TRY(write_all(run, p, n));
    OG__TRY(write_names(run, feed, p));
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
