#include "tools/ongrad/alternatives.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/ongrad/say.h"

/* Options of the run that a trial changes, and what they were. */
typedef struct change {
    const char *name, *value;
    const char *otherwise; /* what to set it to afterwards where it was not set */
    char *before;
} change;

enum { CHANGES = 7 };
static const char unlimited[] = "1000000TB";

static bool apply(const og__run *run, change *changes, int n)
{
    bool good = true;
    for (int i = 0; i < n && good; i++) {
        const char *now = og_options_get(run->options, changes[i].name);
        changes[i].before = now ? strdup(now) : NULL;
        good = (!now || changes[i].before) &&
               og_options_set(run->options, changes[i].name, changes[i].value) == OG_OK;
    }
    return good;
}

/* What was not set before has a value now that changes nothing (for device_memory: but that nothing
 * can be trained). */
static void undo(const og__run *run, change *changes, int n)
{
    for (int i = 0; i < n; i++) {
        if (changes[i].before || changes[i].otherwise)
            (void)og_options_set(run->options, changes[i].name,
                                 changes[i].before ? changes[i].before : changes[i].otherwise);
        free(changes[i].before);
        changes[i].before = NULL;
    }
}

/* The largest shapes of the run with another batch; NULL: og__run_failed says why. */
static og_session *session_at(const og__run *run, int64_t batch)
{
    size_t n = (size_t)run->n_inputs, t = (size_t)run->n_targets;
    og_tensor_info *infos = malloc((n + t + 1) * sizeof *infos);
    if (!infos)
        return NULL;
    memcpy(infos, run->inputs, n * sizeof *infos);
    if (t > 0)
        memcpy(infos + n, run->targets, t * sizeof *infos);
    for (size_t i = 0; i < n + t; i++)
        if (infos[i].rank > 0 && infos[i].dims[0] == run->batch_size)
            infos[i].dims[0] = batch;
    og_session *session = og_session_new(run->model, run->options, infos, (int)n,
                                         run->targets ? infos + n : NULL, (int)t);
    free(infos);
    return session;
}

/* Where nothing is given: the memory of this device, which only keeps the session from taking it;
 * without a loss there are plans of prediction alone. Nothing is timed for what may never run. */
static og_status try(const og__run *run, const og__trial *trial, const char *memory,
                     og_memory_report *m)
{
    const change wanted[] = {{.name = "amp", .value = trial->amp},
                             {.name = "memory_fraction", .value = trial->memory_fraction},
                             {.name = "recompute", .value = trial->recompute},
                             {.name = "memory_budget", .value = memory}};
    change changes[CHANGES] = {{.name = "split_batch", .value = "off"},
                               {.name = "tune", .value = "off"}};
    int n = 2;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (wanted[i].value)
            changes[n++] = wanted[i];
    const char *device = og_options_get(run->options, "device_memory");
    if (memory || !device)
        changes[n++] = (change){
            .name = "device_memory", .value = memory ? memory : "auto", .otherwise = "auto"};
    og_session *session = apply(run, changes, n) ? session_at(run, trial->batch) : NULL;
    og_status status = session ? OG_OK : og_error_status(run->context);
    undo(run, changes, n);
    if (session)
        og_session_memory(session, m);
    og_session_free(session);
    return status == OG_OK && !session ? OG_OUT_OF_MEMORY : status;
}

og__alternative og__alternative_of(const og__run *run, og__trial trial)
{
    og__alternative a = {.batch = trial.batch};
    if (trial.batch < 1)
        return a;
    og_status status = try(run, &trial, NULL, &a.memory);
    a.fits = status == OG_OK;
    if (status == OG_OUT_OF_MEMORY)
        status = try(run, &trial, unlimited, &a.memory);
    a.known = status == OG_OK;
    a.peak = a.memory.peak;
    a.seconds = a.memory.seconds / (double)trial.batch;
    return a;
}

og_dtype og__faster_half(const og_context *context)
{
    enum { MOST_DEVICES = 64 };
    og_device_info infos[MOST_DEVICES];
    int n = og_devices(infos, MOST_DEVICES);
    for (int i = 0; i < n && i < MOST_DEVICES; i++)
        if (!strcmp(infos[i].device, og_context_device(context)))
            return infos[i].half;
    return OG_UNDEFINED;
}

const char *og__other_precision(const og__run *run)
{
    const char *amp = og_options_get(run->options, "amp");
    if (amp && strcmp(amp, "off") != 0)
        return NULL;
    return og__faster_half(run->context) == OG_FLOAT16 ? "fp16" : "bf16";
}

static void say_remedy(const og__alternative *a, double seconds, const char *flags)
{
    char peak[32];
    og__say("    %-52s predicted peak %s, %.2f x the time of a sample", flags,
            og_format_bytes(peak, a->peak), seconds > 0 ? a->seconds / seconds : 1);
}

void og__say_remedies(const og__run *run)
{
    const char *steps = og_options_get(run->options, "gradient_accumulation_steps");
    int64_t accumulation = steps ? strtoll(steps, NULL, 10) : 1, batch = run->batch_size;
    bool training = run->losses.n > 0 && strcmp(run->command, "eval") != 0, said = false;
    int status = og_error_status(run->context);
    og__alternative whole = og__alternative_of(run, (og__trial){.batch = batch});
    og__alternative smaller = {0};
    char flags[128];
    if (status != OG_OUT_OF_MEMORY || !whole.known)
        return;
    for (int64_t b = batch > 64 ? 64 : batch / 2; b >= 1 && !smaller.fits; b /= 2) {
        smaller = og__alternative_of(run, (og__trial){.batch = b});
        if (!smaller.known)
            return;
    }
    if (smaller.fits) {
        said = true;
        og__say("This fits:");
        snprintf(flags, sizeof flags, "--batch_size %" PRId64, smaller.batch);
        say_remedy(&smaller, whole.seconds, flags);
    }
    for (int64_t k = 2; smaller.fits && training && k <= batch; k *= 2) {
        if (batch % k)
            break;
        og__alternative part = batch / k == smaller.batch
                                   ? smaller
                                   : og__alternative_of(run, (og__trial){.batch = batch / k});
        if (!part.fits)
            continue;
        snprintf(flags, sizeof flags,
                 "--batch_size %" PRId64 " --gradient_accumulation_steps %" PRId64, part.batch,
                 accumulation * k);
        say_remedy(&part, whole.seconds, flags);
        break;
    }
    const char *amp = training ? og__other_precision(run) : NULL;
    og__alternative half = amp ? og__alternative_of(run, (og__trial){.batch = batch, .amp = amp})
                               : (og__alternative){0};
    if (half.fits) {
        snprintf(flags, sizeof flags, "--amp %s", amp);
        if (!said)
            og__say("This fits:");
        say_remedy(&half, whole.seconds, flags);
        said = true;
    }
    og__alternative more =
        og__alternative_of(run, (og__trial){.batch = batch, .memory_fraction = "1"});
    if (more.fits) {
        if (!said)
            og__say("This fits:");
        say_remedy(&more, whole.seconds, "--memory_fraction 1");
    }
}
