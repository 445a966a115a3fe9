/* TensorBoard's event files: records of TFRecord (length, masked CRC32C of the length, bytes,
 * masked CRC32C of the bytes), each a message Event of tensorflow/core/util/event.proto. */
#include "tools/ongrad/tensorboard.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/ongrad/progress.h"
#include "tools/ongrad/say.h"

/* Numbers of the fields. */
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5 };
enum { EVENT_SESSION_LOG = 7, SESSION_LOG_STATUS = 1, SESSION_START = 1 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2 };
/* Wire types. */
enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

/* ---- messages */

static void add_varint(og_text *out, uint64_t value)
{
    for (; value > 127; value >>= 7)
        og_text_addn(out, &(char){(char)(0x80 | (value & 0x7f))}, 1);
    og_text_addn(out, &(char){(char)value}, 1);
}

static void add_tag(og_text *out, uint32_t field, int type)
{
    add_varint(out, field << 3 | (uint32_t)type);
}

static void add_bytes(og_text *out, uint32_t field, const char *bytes, size_t size)
{
    add_tag(out, field, BYTES);
    add_varint(out, size);
    og_text_addn(out, bytes, size);
}

static void add_scalar(og__events *e, const char *group, const char *name, double value)
{
    og_text message = {0}, tag = {0};
    float single = (float)value;
    og_text_printf(&tag, "%s/%s", group, name);
    add_bytes(&message, VALUE_TAG, tag.s ? tag.s : "", tag.length);
    add_tag(&message, VALUE_SIMPLE, FIXED32);
    og_text_addn(&message, (const char *)&single, sizeof single);
    add_bytes(&e->values, SUMMARY_VALUE, message.s ? message.s : "", message.length);
    e->values.failed |= message.failed || tag.failed;
    og_text_free(&message);
    og_text_free(&tag);
}

/* ---- records */

/* The polynomial 0x1EDC6F41, reflected. */
static void make_table(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78 : c >> 1;
        table[i] = c;
    }
}

static uint32_t masked_crc(const og__events *e, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    uint32_t c = 0xffffffff;
    for (size_t i = 0; i < size; i++)
        c = e->crc[(c ^ p[i]) & 0xff] ^ c >> 8;
    c ^= 0xffffffff;
    return (c >> 15 | c << 17) + 0xa282ead8;
}

/* The first failure is told, training goes on. */
static void fail(og__events *e)
{
    if (!e->failed)
        og__say_warning(e->command, "--tensorboard: cannot write %s: %s",
                        e->path.s ? e->path.s : "", strerror(errno));
    e->failed = true;
}

static void write_record(og__events *e, const og_text *event)
{
    uint64_t length = event->length;
    uint32_t of_length = masked_crc(e, &length, sizeof length),
             of_bytes = masked_crc(e, event->s, event->length);
    bool ok = !event->failed && fwrite(&length, sizeof length, 1, e->file) == 1 &&
              fwrite(&of_length, sizeof of_length, 1, e->file) == 1 &&
              fwrite(event->s, event->length, 1, e->file) == 1 &&
              fwrite(&of_bytes, sizeof of_bytes, 1, e->file) == 1;
    if (!ok)
        fail(e);
}

/* An event at a step, with one field that holds bytes. */
static void write_event(og__events *e, int64_t step, uint32_t field, const char *bytes, size_t size)
{
    struct timespec now;
    og_text event = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    add_tag(&event, EVENT_WALL_TIME, FIXED64);
    og_text_addn(&event, (const char *)&seconds, sizeof seconds);
    if (step) {
        add_tag(&event, EVENT_STEP, VARINT);
        add_varint(&event, (uint64_t)step);
    }
    add_bytes(&event, field, bytes, size);
    write_record(e, &event);
    og_text_free(&event);
}

/* ---- the file */

/* The folder with those above it. */
static bool make_folder(const char *path)
{
    char *part = strdup(path);
    bool ok = part != NULL;
    for (char *slash = part; ok && slash;) {
        slash = strchr(slash + 1, '/');
        if (slash)
            *slash = '\0';
        ok = mkdir(part, 0777) == 0 || errno == EEXIST;
        if (slash)
            *slash = '/';
    }
    free(part);
    return ok;
}

int og__events_open(og__events *e, const char *command, const char *folder, int64_t after)
{
    static const char version[] = "brain.Event:2",
                      started[] = {SESSION_LOG_STATUS << 3 | VARINT, SESSION_START};
    *e = (og__events){.command = command, .flushed = og__seconds()};
    if (!folder)
        return OG__EXIT_DONE;
    make_table(e->crc);
    if (make_folder(folder)) {
        /* Files are read in the order of their names: ten digits of seconds first. */
        og_text_printf(&e->path, "%s/events.out.tfevents.%010lld.%ld.ongrad", folder,
                       (long long)time(NULL), (long)getpid());
        e->file = e->path.failed ? NULL : fopen(e->path.s, "wbe");
    }
    if (!e->file)
        return og__say_error(command, OG__EXIT_FAILED, "--tensorboard: cannot write to %s: %s",
                             folder, strerror(errno));
    write_event(e, 0, EVENT_FILE_VERSION, version, sizeof version - 1);
    if (after > 0)
        write_event(e, after + 1, EVENT_SESSION_LOG, started, sizeof started);
    return OG__EXIT_DONE;
}

static void see_metric(void *user, const char *name, double value)
{
    add_scalar(user, "val", name, value);
}

void og__events_step(og__events *e, const og__log_step *s)
{
    const og__log_losses *l = &s->losses;
    if (!e->file || e->failed)
        return;
    add_scalar(e, "train", "loss", s->loss);
    for (int i = 0; l->means && l->losses->n > 1 && i < l->losses->n; i++) {
        og_text name = {0};
        og_text_printf(&name, "loss.%s", l->losses->items[i].name);
        add_scalar(e, "train", name.s ? name.s : "loss", l->means[i]);
        og_text_free(&name);
    }
    add_scalar(e, "train", "lr", s->lr);
    add_scalar(e, "train", "grad_norm", s->grad_norm);
    add_scalar(e, "train", "loss_scale", s->loss_scale);
    add_scalar(e, "train", "samples_per_s", s->samples_per_s);
    if (s->memory_bytes)
        add_scalar(e, "train", "memory_bytes", (double)s->memory_bytes);
    if (s->validation)
        og__metrics_each(s->validation, see_metric, e);
    e->values.failed ? fail(e)
                     : write_event(e, s->step, EVENT_SUMMARY, e->values.s, e->values.length);
    og_text_free(&e->values);
    double now = og__seconds();
    if ((s->validation || now - e->flushed >= 1) && fflush(e->file) != 0)
        fail(e);
    if (s->validation || now - e->flushed >= 1)
        e->flushed = now;
}

int og__events_close(og__events *e)
{
    if (e->file && fclose(e->file) != 0)
        fail(e);
    e->file = NULL;
    og_text_free(&e->path);
    return e->failed ? OG__EXIT_FAILED : OG__EXIT_DONE;
}
