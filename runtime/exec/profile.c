/* Timing a plan's kernel calls (profile.h). */
#include "runtime/exec/profile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/device/transfer.h"

enum { WARMUP_STEPS = 3, TRACED_STEPS = 3 };

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Since the profile was made. */
static double now(const og_profile *p)
{
    return seconds_now() - p->origin;
}

og_profile *og_profile_new(void)
{
    og_profile *p = calloc(1, sizeof(*p));
    if (p)
        p->origin = seconds_now();
    return p;
}

void og_profile_free(og_profile *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->n_timings; i++)
        free(p->timings[i].seconds);
    free(p->timings);
    free(p->events);
    og_arena_free(p->arena);
    free(p);
}

/* ---- steps */

static void reset_timing(og__timing *t)
{
    t->runs = t->renewals = 0;
    for (int i = 0; i < t->plan->n_steps + t->plan->n_packs; i++) {
        t->seconds[i] = 0;
        t->least[i] = INFINITY;
    }
}

/* A step begins after those that warm up: these are forgotten, so that a run that is no longer than
 * the warm-up still has something to tell. */
static void end_warmup(og_profile *p)
{
    for (int i = 0; i < p->n_timings; i++)
        reset_timing(&p->timings[i]);
    p->n_events = 0;
    p->seconds = 0;
    p->measured = 0;
    p->warm = true;
}

void og_profile_enter(og_profile *p)
{
    if (!p)
        return;
    if (!p->in_step && p->steps == WARMUP_STEPS)
        end_warmup(p);
    p->entered = now(p);
    if (!p->in_step)
        p->step_start = p->entered;
    p->in_step = true;
}

static bool traces(const og_profile *p)
{
    return p->measured < TRACED_STEPS;
}

/* Room for it was made by the step's runs. */
static void add_event(og_profile *p, const og_plan *plan, int64_t index, double start, double end)
{
    if (p->n_events < p->events_capacity)
        p->events[p->n_events++] = (og__event){plan, index, start, end - start};
}

void og_profile_leave(og_profile *p, bool ends)
{
    if (!p)
        return;
    double end = now(p);
    p->seconds += end - p->entered;
    if (!ends)
        return;
    p->steps++;
    if (traces(p))
        add_event(p, NULL, p->steps, p->step_start, end);
    p->measured++;
    p->in_step = false;
}

/* ---- runs */

static og__timing *timing_of(og_profile *p, const og_plan *plan, og_error *error)
{
    for (int i = 0; i < p->n_timings; i++)
        if (p->timings[i].plan == plan)
            return &p->timings[i];
    size_t n = (size_t)plan->n_steps + (size_t)plan->n_packs;
    og__timing *grown = realloc(p->timings, sizeof(*grown) * (size_t)(p->n_timings + 1));
    if (grown)
        p->timings = grown;
    double *times = grown ? malloc(sizeof(double) * (2 * n + 1)) : NULL;
    if (!times) {
        og_fail_memory(error, sizeof(double) * 2 * n, "a profile");
        return NULL;
    }
    og__timing *t = &p->timings[p->n_timings++];
    *t = (og__timing){.plan = plan, .seconds = times, .least = times + n};
    reset_timing(t);
    return t;
}

/* Room for a run of the plan: its calls, itself, and its step. */
static bool reserve_events(og_profile *p, const og_plan *plan)
{
    size_t wanted = p->n_events + (size_t)plan->n_steps + (size_t)plan->n_packs + 2;
    if (wanted <= p->events_capacity)
        return true;
    wanted *= 2;
    og__event *grown = realloc(p->events, sizeof(*grown) * wanted);
    if (!grown)
        return false;
    p->events = grown;
    p->events_capacity = wanted;
    return true;
}

int64_t og__step_runs(const og__timing *t, int step)
{
    return og_plan_runs_once(t->plan, step) ? t->renewals : t->runs;
}

og_status og_plan_run_profiled(og_plan *plan, og_profile *p, const atomic_bool *cancel,
                               og_error *error)
{
    og__timing *t = timing_of(p, plan, error);
    if (!t)
        return error->status;
    bool trace = traces(p);
    if (trace && !reserve_events(p, plan))
        return og_fail_memory(error, sizeof(og__event) * (size_t)plan->n_steps, "a trace");
    OG_TRY(og_device_finish(plan->device, error));
    double begin = now(p), start = begin;
    for (int i = og_plan_first(plan); i >= 0; i = og_plan_next(plan, i)) {
        OG_TRY(og__run_step(&plan->steps[i], cancel, error));
        OG_TRY(og_device_finish(plan->device, error));
        double end = now(p), seconds = end - start;
        t->seconds[i] += seconds;
        t->least[i] = fmin(t->least[i], seconds);
        if (trace)
            add_event(p, plan, i, start, end);
        start = end;
    }
    t->runs++;
    t->renewals += !plan->fresh;
    plan->fresh = true;
    if (trace)
        add_event(p, plan, -1, begin, start);
    return OG_OK;
}
