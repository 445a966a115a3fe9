#define _GNU_SOURCE /* sched_getaffinity */
#include "tools/ongrad/feed.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/checked.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/shapes.h"

enum { MOST_WORKERS = 256 };
/* Below this a batch is gathered faster than a thread is woken. */
static const size_t small_batch = 1 << 20;

static void store(void *at, size_t i, og_dtype dtype, double value)
{
    switch (dtype) {
    case OG_FLOAT:
        ((float *)at)[i] = (float)value;
        break;
    case OG_DOUBLE:
        ((double *)at)[i] = value;
        break;
    case OG_INT8:
        ((int8_t *)at)[i] = (int8_t)value;
        break;
    case OG_INT16:
        ((int16_t *)at)[i] = (int16_t)value;
        break;
    case OG_INT32:
        ((int32_t *)at)[i] = (int32_t)value;
        break;
    case OG_INT64:
        ((int64_t *)at)[i] = (int64_t)value;
        break;
    case OG_UINT8:
        ((uint8_t *)at)[i] = (uint8_t)value;
        break;
    case OG_UINT16:
        ((uint16_t *)at)[i] = (uint16_t)value;
        break;
    case OG_UINT32:
        ((uint32_t *)at)[i] = (uint32_t)value;
        break;
    case OG_UINT64:
        ((uint64_t *)at)[i] = (uint64_t)value;
        break;
    case OG_BOOL:
        ((uint8_t *)at)[i] = value != 0;
        break;
    default:
        break;
    }
}

/* Can every `store` of this value be read back: whole and in range for an integer type. */
static bool holds(og_dtype dtype, double value)
{
    if (dtype == OG_FLOAT || dtype == OG_DOUBLE || dtype == OG_BOOL)
        return true;
    if (dtype < OG_UINT8 || dtype > OG_UINT64 || dtype == OG_STRING || dtype == OG_FLOAT16)
        return false;
    int bits = og_dtype_bits(dtype);
    bool is_signed =
        dtype == OG_INT8 || dtype == OG_INT16 || dtype == OG_INT32 || dtype == OG_INT64;
    double half = (double)((uint64_t)1 << (bits - 1));
    double low = is_signed ? -half : 0, above = is_signed ? half : 2 * half;
    return value == rint(value) && value >= low && value < above;
}

void *og__constant_new(const og_tensor_info *info, double value)
{
    int64_t n = og__shape_elements(info);
    size_t bytes;
    if (n < 0 || !holds(info->dtype, value) ||
        !og_mul_size((size_t)n, (size_t)og_dtype_bits(info->dtype) / 8, &bytes))
        return NULL;
    void *buffer = calloc(1, bytes ? bytes : 1);
    for (int64_t i = 0; buffer && value != 0 && i < n; i++)
        store(buffer, (size_t)i, info->dtype, value);
    return buffer;
}

static int workers_asked(const og__arguments *a)
{
    int64_t n = og__argument_int(a, "num_workers");
    return n > MOST_WORKERS ? MOST_WORKERS + 1 : (int)n;
}

og__feed_options og__feed_options_of(const og__arguments *a, const og_transforms *transforms,
                                     bool training)
{
    return (og__feed_options){
        .shuffle = training && og__argument_flag(a, "shuffle"),
        .drop_last = training && og__argument_flag(a, "drop_last"),
        .check_finite = og__argument_flag(a, "check_finite"),
        .seed = training ? (uint64_t)og__argument_int(a, "seed") : 0,
        .workers = og__argument_is_set(a, "num_workers") ? workers_asked(a) : -1,
        .augment = training,
        .strict = og__argument_flag(a, "strict_data"),
        .transforms = *transforms,
    };
}

/* None for small batches that need no decoding; else at most half of the cores, at most 4. */
static int choose_workers(size_t batch_bytes, bool decodes)
{
    cpu_set_t cores;
    CPU_ZERO(&cores);
    int n = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
    if ((batch_bytes < small_batch && !decodes) || n < 2)
        return 0;
    return n / 2 < 4 ? n / 2 : 4;
}

/* A mask gets its source here, where it is known how long it is. */
static int open_mask(og__feed *feed, const og__bindings *b, int i, const og_tensor_info *info,
                     og_field *field)
{
    const og__binding *masked = &b->inputs[b->inputs[i].masked];
    og_error error = {0};
    feed->masks[i] =
        og_source_mask(masked->source, info->rank > 1 ? info->dims[info->rank - 1] : 1, &error);
    field->source = feed->masks[i];
    return feed->masks[i] ? OG__EXIT_DONE : og__say_failure(b->command, &error);
}

/* Labels of a single class a sample become probabilities where samples are mixed. */
static bool becomes_probabilities(const og__binding *target, const og_tensor_info *info)
{
    int64_t dims[OG_MAX_RANK];
    return info->dtype == OG_FLOAT && info->rank == 2 && og_source_array(target->source) &&
           og_source_dims(target->source, dims) == 1 && !og_source_holds_floats(target->source);
}

static int bind_fields(og__feed *feed, const og__bindings *b, const og_tensor_info *inputs,
                       const og_tensor_info *targets, const og__feed_options *options,
                       og_field *fields, int *n)
{
    for (int i = 0; i < b->n_inputs; i++) {
        const og__binding *source = &b->inputs[i];
        feed->field_of_input[i] = -1;
        if (og__binding_reads(source)) {
            feed->field_of_input[i] = *n;
            fields[*n] = og__binding_field(source, &inputs[i], b->samples);
            fields[*n].check_finite = options->check_finite;
            if (source->mask)
                OG__TRY(open_mask(feed, b, i, &inputs[i], &fields[*n]));
            ++*n;
            continue;
        }
        feed->constants[i] = og__constant_new(&inputs[i], source->value);
        if (!feed->constants[i])
            return og__say_error(b->command, OG__EXIT_USAGE, "--%s %s=const:%g: not a value of %s",
                                 b->data_option, source->name, source->value,
                                 og_dtype_name(inputs[i].dtype));
    }
    for (int t = 0; t < b->n_targets; t++) {
        fields[*n] = og__binding_field(&b->targets[t], &targets[t], b->samples);
        fields[*n].check_finite = options->check_finite;
        if (becomes_probabilities(&b->targets[t], &targets[t]))
            fields[*n].classes = targets[t].dims[1];
        ++*n;
    }
    return OG__EXIT_DONE;
}

int og__feed_open(og__feed *feed, const og__bindings *b, const og_tensor_info *inputs,
                  const og_tensor_info *targets, int64_t batch_size,
                  const og__feed_options *options)
{
    size_t n_inputs = (size_t)b->n_inputs, n_targets = (size_t)b->n_targets;
    *feed = (og__feed){.command = b->command, .batch_size = batch_size};
    feed->field_of_input = calloc(n_inputs + 1, sizeof *feed->field_of_input);
    feed->constants = calloc(n_inputs + 1, sizeof *feed->constants);
    feed->masks = calloc(n_inputs + 1, sizeof *feed->masks);
    feed->inputs = calloc(n_inputs + 1, sizeof *feed->inputs);
    feed->targets = calloc(n_targets + 1, sizeof *feed->targets);
    og_field *fields = calloc(n_inputs + n_targets + 1, sizeof *fields);
    if (!feed->field_of_input || !feed->constants || !feed->masks || !feed->inputs ||
        !feed->targets || !fields) {
        free(fields);
        return og__say_error(b->command, OG__EXIT_FAILED, "out of memory for the data");
    }
    feed->n_inputs = b->n_inputs;
    feed->n_targets = b->n_targets;
    int n = 0, status = bind_fields(feed, b, inputs, targets, options, fields, &n);
    og_error error = {0};
    if (status == OG__EXIT_DONE) {
        og_dataset_options set = {.shuffle = options->shuffle,
                                  .drop_last = options->drop_last,
                                  .seed = options->seed,
                                  .augment = options->augment,
                                  .leave_out = !options->augment,
                                  .strict = options->strict,
                                  .transforms = &options->transforms};
        feed->set = og_dataset_new(fields, n, &set, &error);
        if (!feed->set)
            status = og__say_failure(b->command, &error);
    }
    free(fields);
    OG__TRY(status);
    feed->batches = og_dataset_batches(feed->set, batch_size);
    if (feed->batches == 0)
        return og__say_error(b->command, OG__EXIT_USAGE,
                             "%lld samples make no whole batch of %lld; leave out --drop_last",
                             (long long)og_dataset_samples(feed->set), (long long)batch_size);
    size_t bytes = 0;
    bool decodes = false;
    for (int i = 0; i < b->n_inputs; i++)
        decodes |= b->inputs[i].source && !og_source_array(b->inputs[i].source);
    for (int f = 0; f < n; f++)
        bytes += og_dataset_sample_bytes(feed->set, f) * (size_t)batch_size;
    if (options->workers > MOST_WORKERS)
        return og__say_error(b->command, OG__EXIT_USAGE, "--num_workers: expected at most %d",
                             MOST_WORKERS);
    feed->workers = options->workers >= 0 ? options->workers : choose_workers(bytes, decodes);
    feed->loader = og_loader_new(feed->set, batch_size, feed->workers, 0, &error);
    return feed->loader ? OG__EXIT_DONE : og__say_failure(b->command, &error);
}

void og__feed_close(og__feed *feed)
{
    og_loader_free(feed->loader);
    og_dataset_free(feed->set);
    for (int i = 0; i < feed->n_inputs; i++) {
        free(feed->constants[i]);
        og_source_free(feed->masks[i]);
    }
    free(feed->masks);
    free(feed->field_of_input);
    free(feed->constants);
    free(feed->inputs);
    free(feed->targets);
    *feed = (og__feed){0};
}

int og__feed_next(og__feed *feed, int64_t epoch, int64_t index)
{
    og_batch batch;
    og_error error = {0};
    if (og_loader_next(feed->loader, epoch, index, &batch, &error) != OG_OK)
        return og__say_failure(feed->command, &error);
    int field = 0;
    for (int i = 0; i < feed->n_inputs; i++) {
        bool file = feed->field_of_input[i] >= 0;
        feed->inputs[i] = file ? batch.buffers[feed->field_of_input[i]] : feed->constants[i];
        field += file;
    }
    for (int t = 0; t < feed->n_targets; t++)
        feed->targets[t] = batch.buffers[field + t];
    feed->samples = batch.samples;
    feed->wait += batch.wait;
    return OG__EXIT_DONE;
}

void og__feed_waits(const og__feed *feed, double *disk, double *decode)
{
    double all;
    og_dataset_times(feed->set, disk, decode);
    all = *disk + *decode;
    *disk = all > 0 ? feed->wait * *disk / all : 0;
    *decode = all > 0 ? feed->wait - *disk : 0;
}

int64_t og__feed_say_unreadable(const og__feed *feed, const char *what)
{
    char *list = NULL;
    int64_t n = feed->set ? og_dataset_unreadable(feed->set, &list) : 0;
    if (n)
        og__say_warning(feed->command, "%lld sample%s could not be read, %s:\n%s", (long long)n,
                        n == 1 ? "" : "s", what, list ? list : "");
    free(list);
    return n;
}
