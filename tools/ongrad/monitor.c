/* --monitor, --patience, --eval_every: what validations decide. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tools/ongrad/loss_files.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/trainer.h"

int og__monitor_open(og__trainer *t)
{
    static const char *const wanting[] = {"monitor", "patience", "eval_every"};
    const og__arguments *a = t->run.arguments;
    const char *command = t->run.command, *every = og__argument(a, "eval_every");
    og__monitor *m = &t->monitor;
    *m = (og__monitor){.metric = og__argument(a, "monitor"), .best = NAN};
    if (strncmp(m->metric, "val_", 4) == 0)
        m->metric += 4;
    m->larger = og__metrics_larger(m->metric);
    m->patience = og__argument_int(a, "patience");
    for (size_t i = 0; !t->validates && i < sizeof wanting / sizeof *wanting; i++)
        if (og__argument_is_set(a, wanting[i]))
            return og__say_error(command, OG__EXIT_USAGE,
                                 "--%s needs data to validate on: add --val_data and --val_target",
                                 wanting[i]);
    if (!og__every_parse(every, &m->every, &m->amount) || m->every == OG__EVERY_SECONDS)
        return og__say_error(
            command, OG__EXIT_USAGE,
            "--eval_every is \"%s\", expected optimizer steps (500) or epochs (2ep)", every);
    return t->validates ? og__metrics_check(&t->metrics, command, "--monitor", m->metric)
                        : OG__EXIT_DONE;
}

bool og__monitor_is_due(const og__trainer *t, bool last)
{
    const og__monitor *m = &t->monitor;
    int64_t amount = (int64_t)m->amount;
    if (!t->validates)
        return false;
    if (t->begun >= t->steps)
        return true;
    return m->every == OG__EVERY_STEPS ? t->begun % amount == 0 : last && t->epoch % amount == 0;
}

int og__monitor_see(og__trainer *t)
{
    og__monitor *m = &t->monitor;
    double value = og__metrics_value(&t->metrics, m->metric);
    bool better = isnan(m->best) ? !isnan(value) : m->larger ? value > m->best : value < m->best;
    if (og_schedule_is_plateau(t->run.options))
        og_plateau_step(t->run.options, &t->plateau, value, m->larger);
    m->bad = better ? 0 : m->bad + 1;
    if (m->patience && m->bad >= m->patience) {
        m->ended = true;
        if (!t->run.quiet)
            og__say("stopping: val_%s was no better than %.6g, of step %" PRId64 ", in %" PRId64
                    " validations",
                    m->metric, m->best, m->best_step, m->bad);
    }
    if (!better || t->dry)
        return OG__EXIT_DONE;
    m->best = value;
    m->best_step = t->last.step;
    OG__TRY(og__keep_run(t));
    if (og_session_save(t->run.session, t->output) != OG_OK)
        return og__run_failed(&t->run);
    return og__loss_files_save(&t->run, t->output);
}
