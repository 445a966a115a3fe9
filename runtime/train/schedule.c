/* Learning-rate schedules. Names, options and values are PyTorch's (torch.optim.lr_scheduler) and
 * Transformers' (transformers.optimization): tests/train/test_schedules.py compares every step.
 *
 * A schedule is a factor f(s, n) of the learning rate, for step s of n after w warm-up steps, which
 * rise linearly from 0; PyTorch's schedulers, which have no warm-up, begin after it (SequentialLR).
 * In onecycle the rise is a part of the schedule, and warm-up says how long it takes. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/train/train.h"

#define USE_SCHEDULER_WARMUP 0.05 /* of all steps: --use_scheduler alone */
#define WSD_DECAY 0.1             /* of all steps: warmup_stable_decay without decay_steps */

/* Where in the run a step is. */
typedef struct place {
    const og_options *options;
    double lr;
    int64_t step, total, warmup; /* step: of the whole run */
    double since, rest;          /* steps since warm-up; all after it, at least 1 */
} place;

typedef struct schedule {
    const char *name;
    double (*factor)(const place *p);
    bool own_warmup; /* the factor is of all steps, warm-up included */
} schedule;

static double float_or(const og_options *o, const char *name, double otherwise)
{
    return og_options_is_set(o, name) ? og__option_float(o, name) : otherwise;
}

/* ---- factors */

static double constant(const place *p)
{
    (void)p;
    return 1;
}

static double linear(const place *p)
{
    return fmax(0, (p->rest - p->since) / p->rest);
}

/* ½ (1 + cos 2π c s/n), c: waves */
static double wave(double progress, double cycles)
{
    return 0.5 * (1 + cos(M_PI * 2 * cycles * progress));
}

static double cosine(const place *p)
{
    return fmax(0, wave(p->since / p->rest, float_or(p->options, "num_cycles", 0.5)));
}

static double cosine_with_restarts(const place *p)
{
    double progress = p->since / p->rest;
    double cycles = float_or(p->options, "num_cycles", 1);
    return progress >= 1 ? 0 : fmax(0, wave(fmod(cycles * progress, 1), 0.5));
}

/* What min_lr and min_lr_rate say, as a share of the learning rate. */
static double least(const place *p)
{
    return og_options_is_set(p->options, "min_lr_rate")
               ? og__option_float(p->options, "min_lr_rate")
               : og__option_float(p->options, "min_lr") / p->lr;
}

static double cosine_with_min_lr(const place *p)
{
    double low = least(p);
    double f = wave(p->since / p->rest, float_or(p->options, "num_cycles", 0.5));
    return fmax(0, f * (1 - low) + low);
}

static double polynomial(const place *p)
{
    double end = og__option_float(p->options, "lr_end"), left = 1 - p->since / p->rest;
    if (left <= 0)
        return end / p->lr;
    return ((p->lr - end) * pow(left, og__option_float(p->options, "power")) + end) / p->lr;
}

/* 1 / √((s + shift) / timescale), of all steps */
static double inverse_sqrt(const place *p)
{
    double scale = p->warmup ? (double)p->warmup : 10000;
    if (og_options_is_set(p->options, "timescale"))
        scale = (double)og__option_int(p->options, "timescale");
    return 1 / sqrt(((double)p->step + scale - (double)p->warmup) / scale);
}

static double decay_of(const char *type, double progress, double cycles)
{
    if (strcmp(type, "linear") == 0)
        return 1 - progress;
    return strcmp(type, "1-sqrt") == 0 ? 1 - sqrt(progress) : wave(progress, cycles);
}

static double warmup_stable_decay(const place *p)
{
    const og_options *o = p->options;
    double low = least(p), decay = ceil(WSD_DECAY * (double)p->total), f = 1;
    if (og_options_is_set(o, "decay_steps"))
        decay = (double)og__option_int(o, "decay_steps");
    double stable = (double)(p->total - p->warmup) - decay;
    if (p->step < p->warmup)
        f = (double)p->step / (double)p->warmup;
    else if (p->since < stable)
        return 1;
    else if (p->since < stable + decay)
        f = decay_of(og_options_get(o, "decay_type"), (p->since - stable) / fmax(1, decay),
                     float_or(o, "num_cycles", 0.5));
    else
        return low;
    return fmax(0, f * (1 - low) + low);
}

static double step(const place *p)
{
    double size = (double)og__option_int(p->options, "step_size");
    return pow(og__option_float(p->options, "gamma"), floor(p->since / size));
}

/* The k-th of "30,80"; false past the end. *text moves on. */
static bool next_milestone(const char **text, int64_t *milestone)
{
    char *end;
    if (!**text)
        return false;
    errno = 0;
    *milestone = strtoll(*text, &end, 10);
    if (end == *text || (*end && *end != ',') || (*end == ',' && !end[1]) || errno)
        return false;
    *text = end + (*end == ',');
    return true;
}

static double multistep(const place *p)
{
    const char *text = og_options_get(p->options, "milestones");
    double f = 1, gamma = og__option_float(p->options, "gamma");
    for (int64_t at; text && next_milestone(&text, &at);)
        if (p->since >= (double)at)
            f *= gamma;
    return f;
}

static double exponential(const place *p)
{
    return pow(og__option_float(p->options, "gamma"), p->since);
}

/* From lr / div_factor up to lr until step pct_start · n − 1, then down to lr / (div_factor ·
 * final_div_factor) at the last. */
static double onecycle(const place *p)
{
    const og_options *o = p->options;
    double first = 1 / og__option_float(o, "div_factor");
    double last = first / og__option_float(o, "final_div_factor");
    double top = og__option_float(o, "pct_start") * (double)p->total - 1;
    double end = (double)p->total - 1, from = first, to = 1, share;
    if (p->warmup)
        top = (double)p->warmup;
    if ((double)p->step <= top) {
        share = top > 0 ? (double)p->step / top : 1;
    } else {
        share = end > top ? fmin(1, ((double)p->step - top) / (end - top)) : 1;
        from = 1;
        to = last;
    }
    if (strcmp(og_options_get(o, "anneal_strategy"), "linear") == 0)
        return from + (to - from) * share;
    return to + (from - to) / 2 * (1 + cos(M_PI * share));
}

static const schedule schedules[] = {
    {"constant", constant, false},
    {"constant_with_warmup", constant, false},
    {"linear", linear, false},
    {"cosine", cosine, false},
    {"cosine_with_restarts", cosine_with_restarts, false},
    {"cosine_with_min_lr", cosine_with_min_lr, false},
    {"polynomial", polynomial, false},
    {"inverse_sqrt", inverse_sqrt, false},
    {"warmup_stable_decay", warmup_stable_decay, true},
    {"step", step, false},
    {"multistep", multistep, false},
    {"exponential", exponential, false},
    {"onecycle", onecycle, true},
    {"reduce_lr_on_plateau", constant, false}, /* and og_plateau_step */
};

static const schedule *find(const char *name)
{
    for (size_t i = 0; i < sizeof schedules / sizeof *schedules; i++)
        if (strcmp(name, schedules[i].name) == 0)
            return &schedules[i];
    return NULL;
}

/* ---- options */

static const char *name_of(const og_options *o)
{
    const char *name = og_options_get(o, "scheduler");
    return name ? name : og__option_flag(o, "use_scheduler") ? "cosine" : "constant";
}

static int64_t warmup_of(const og_options *o, int64_t total)
{
    double ratio = og__option_float(o, "warmup_ratio");
    if (og_options_is_set(o, "warmup_steps"))
        return og__option_int(o, "warmup_steps");
    if (!og_options_is_set(o, "warmup_ratio") && !og_options_get(o, "scheduler") &&
        og__option_flag(o, "use_scheduler"))
        ratio = USE_SCHEDULER_WARMUP;
    return (int64_t)ceil(ratio * (double)total);
}

static og_status invalid(const og_options *o, og_error *error, const char *option,
                         const char *wanted)
{
    const char *value = og_options_is_set(o, option) ? og_options_get(o, option) : NULL;
    char nearest[OG_NEAREST];
    return value
               ? og_fail(error, OG_INVALID_ARGUMENT, "option %s is \"%s\", expected %s%s", option,
                         value, wanted, og_did_you_mean(nearest, value, wanted))
               : og_fail(error, OG_INVALID_ARGUMENT, "option %s is missing: scheduler %s needs %s",
                         option, name_of(o), wanted);
}

static og_status check_milestones(const og_options *o, og_error *error)
{
    static const char wanted[] = "optimizer steps that rise, such as 300,800";
    const char *text = og_options_get(o, "milestones");
    int64_t at, last = 0;
    if (!text)
        return invalid(o, error, "milestones", wanted);
    for (; *text; last = at)
        if (!next_milestone(&text, &at) || at <= last)
            return invalid(o, error, "milestones", wanted);
    return OG_OK;
}

/* Numbers with a range, whatever the schedule. */
static og_status check_ranges(const og_options *o, og_error *error)
{
    static const struct {
        const char *option;
        double low, high;
        bool above; /* low itself is none */
        const char *wanted;
    } ranges[] = {
        {"warmup_steps", 0, HUGE_VAL, false, "a number that is not negative"},
        {"warmup_ratio", 0, 1, false, "a number from 0 to 1"},
        {"num_cycles", 0, HUGE_VAL, true, "a number above 0"},
        {"min_lr", 0, HUGE_VAL, false, "a number that is not negative"},
        {"min_lr_rate", 0, 1, false, "a number from 0 to 1"},
        {"lr_end", 0, HUGE_VAL, false, "a number that is not negative"},
        {"power", 0, HUGE_VAL, true, "a number above 0"},
        {"timescale", 1, HUGE_VAL, false, "at least 1 step"},
        {"decay_steps", 0, HUGE_VAL, false, "a number that is not negative"},
        {"step_size", 1, HUGE_VAL, false, "at least 1 step"},
        {"gamma", 0, HUGE_VAL, true, "a number above 0"},
        {"pct_start", 0, 1, false, "a number from 0 to 1"},
        {"div_factor", 0, HUGE_VAL, true, "a number above 0"},
        {"final_div_factor", 0, HUGE_VAL, true, "a number above 0"},
        {"plateau_factor", 0, 0.999999999, true, "a number between 0 and 1"},
        {"plateau_patience", 0, HUGE_VAL, false, "a number that is not negative"},
        {"plateau_threshold", 0, HUGE_VAL, false, "a number that is not negative"},
        {"plateau_cooldown", 0, HUGE_VAL, false, "a number that is not negative"},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        double value = og__option_float(o, ranges[i].option);
        if (og_options_get(o, ranges[i].option) &&
            !(value <= ranges[i].high &&
              (ranges[i].above ? value > ranges[i].low : value >= ranges[i].low)))
            return invalid(o, error, ranges[i].option, ranges[i].wanted);
    }
    return OG_OK;
}

static bool is_one_of(const char *text, const char *a, const char *b, const char *c)
{
    return strcmp(text, a) == 0 || strcmp(text, b) == 0 || strcmp(text, c) == 0;
}

og_status og__schedule_check(const og_options *o, og_error *error)
{
    const char *name = name_of(o);
    bool low = og_options_is_set(o, "min_lr"), rate = og_options_is_set(o, "min_lr_rate");
    if (!find(name))
        return invalid(o, error, "scheduler",
                       "constant, linear, cosine, cosine_with_restarts, cosine_with_min_lr, "
                       "polynomial, inverse_sqrt, warmup_stable_decay, step, multistep, "
                       "exponential, onecycle or reduce_lr_on_plateau");
    OG_TRY(check_ranges(o, error));
    if (og_options_is_set(o, "warmup_steps") && og_options_is_set(o, "warmup_ratio"))
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "warmup_steps and warmup_ratio say the same thing; give one of them");
    if (low && rate)
        return og_fail(error, OG_INVALID_ARGUMENT,
                       "min_lr and min_lr_rate say the same thing; give one of them");
    if (strcmp(name, "cosine_with_min_lr") == 0 && !low && !rate)
        return invalid(o, error, "min_lr_rate", "a share of lr (or min_lr a learning rate)");
    if (strcmp(name, "polynomial") == 0 &&
        og__option_float(o, "lr_end") >= og__option_float(o, "lr"))
        return invalid(o, error, "lr_end", "a number below lr");
    if (strcmp(name, "step") == 0 && !og_options_get(o, "step_size"))
        return invalid(o, error, "step_size", "a number of optimizer steps");
    if (strcmp(name, "multistep") == 0 || og_options_is_set(o, "milestones"))
        OG_TRY(check_milestones(o, error));
    if (!is_one_of(og_options_get(o, "decay_type"), "linear", "cosine", "1-sqrt"))
        return invalid(o, error, "decay_type", "linear, cosine or 1-sqrt");
    if (!is_one_of(og_options_get(o, "anneal_strategy"), "linear", "cos", "cosine"))
        return invalid(o, error, "anneal_strategy", "cos or linear");
    return OG_OK;
}

/* ---- the learning rate */

double og_schedule_lr(const og_options *options, int64_t at, int64_t total)
{
    const schedule *s = find(name_of(options));
    place p = {.options = options,
               .lr = og__option_float(options, "lr"),
               .step = at,
               .total = total,
               .warmup = warmup_of(options, total)};
    p.since = (double)(at - p.warmup);
    p.rest = fmax(1, (double)(total - p.warmup));
    if (!s || p.lr == 0)
        return p.lr;
    if (at < p.warmup && !s->own_warmup)
        return p.lr * (double)at / (double)p.warmup;
    return p.lr * s->factor(&p);
}

bool og_schedule_is_plateau(const og_options *options)
{
    return strcmp(name_of(options), "reduce_lr_on_plateau") == 0;
}

og_plateau og_plateau_start(void)
{
    return (og_plateau){.factor = 1, .best = NAN};
}

/* torch.optim.lr_scheduler.ReduceLROnPlateau.step, threshold_mode rel: better is
 * x < best (1 − threshold), where larger is better x > best (1 + threshold). */
void og_plateau_step(const og_options *o, og_plateau *p, double x, bool larger)
{
    double threshold = og__option_float(o, "plateau_threshold"), lr = og__option_float(o, "lr");
    bool better = isnan(p->best) ? !isnan(x)
                  : larger       ? x > p->best * (1 + threshold)
                                 : x < p->best * (1 - threshold);
    if (better)
        p->best = x;
    p->bad = better ? 0 : p->bad + 1;
    if (p->cooldown > 0) {
        p->cooldown--;
        p->bad = 0;
    }
    if (p->bad <= og__option_int(o, "plateau_patience"))
        return;
    double old = lr * p->factor, low = og__option_float(o, "min_lr");
    if (og_options_is_set(o, "min_lr_rate"))
        low = lr * og__option_float(o, "min_lr_rate");
    double reduced = fmax(old * og__option_float(o, "plateau_factor"), low);
    if (old - reduced > 1e-8) /* its eps */
        p->factor = reduced / lr;
    p->cooldown = og__option_int(o, "plateau_cooldown");
    p->bad = 0;
}
