/* What a session with the option "profile" measured. */
#include "runtime/train/train.h"

static og_status need_profile(const og_session *s)
{
    og__context_begin(s->context);
    if (!s->profile)
        return og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                       "nothing was measured: set the option profile to on");
    return OG_OK;
}

int og_session_profile(og_session *s, og_profile_by by, og_profile_summary *summary)
{
    *summary = (og_profile_summary){0};
    s->n_profile_rows = 0;
    if (need_profile(s) != OG_OK)
        return -1;
    int n = og_profile_report(s->profile, by, summary, &s->context->error);
    s->n_profile_rows = n < 0 ? 0 : n;
    return n;
}

og_status og_session_profile_row(const og_session *s, int index, og_profile_row *row)
{
    OG_TRY(need_profile(s));
    if (index < 0 || index >= s->n_profile_rows)
        return og_fail(&s->context->error, OG_INVALID_ARGUMENT,
                       "row %d of the profile does not exist; the last og_session_profile found %d",
                       index, s->n_profile_rows);
    *row = og_profile_rows(s->profile)[index];
    return OG_OK;
}

og_status og_session_profile_trace(og_session *s, og_write_fn *write, void *user)
{
    OG_TRY(need_profile(s));
    og_text text = {0};
    og_profile_trace(s->profile, &text);
    bool whole = !text.failed, written = whole && write(user, text.s, text.length);
    og_text_free(&text);
    if (!whole)
        return og_fail_memory(&s->context->error, text.length, "a trace");
    return written ? OG_OK
                   : og_fail(&s->context->error, OG_IO_ERROR, "the trace could not be written");
}
