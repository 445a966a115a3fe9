#include "tools/ongrad/host_calls.h"

#include "tools/ongrad/say.h"
#include "tools/ongrad/table.h"

int og__host_calls_read(og__host_calls *h, const og__run *run)
{
    og_memory_report m;
    og_session_memory(run->session, &m);
    *h = (og__host_calls){.staging = m.staging};
    h->n = og_session_host_call_count(run->session);
    if (h->n < 0)
        return og__run_failed(run);
    for (int i = 0; i < h->n; i++) {
        og_host_call c;
        if (og_session_host_call(run->session, i, &c) != OG_OK)
            return og__run_failed(run);
        h->calls_of[c.in_update]++;
        h->to_host[c.in_update] += c.to_host;
        h->from_host[c.in_update] += c.from_host;
        if (i < OG__HOST_CALLS)
            h->calls[h->n_listed++] = c;
    }
    return OG__EXIT_DONE;
}

void og__host_calls_text(const og__host_calls *h, og_text *out)
{
    static const char *const headings[] = {"op", "node", "once", ">to the host", ">back"};
    og__table table;
    char size[32];
    if (h->n == 0)
        return;
    og_text_printf(out, "\n%d kernel call%s on the host, through %s of pinned memory\n", h->n,
                   h->n == 1 ? " runs" : "s run", og_format_bytes(size, h->staging));
    og__table_start(&table, 5, headings);
    for (int i = 0; i < h->n_listed; i++) {
        const og_host_call *c = &h->calls[i];
        og__table_cell(&table, "%s", c->op);
        og__table_cell(&table, "%s", c->node);
        og__table_cell(&table, "%s", c->in_update ? "an update" : "a micro-batch");
        og__table_cell(&table, "%s", og_format_bytes(size, c->to_host));
        og__table_cell(&table, "%s", og_format_bytes(size, c->from_host));
    }
    og__table_finish(&table, out, 0);
    if (h->n > h->n_listed)
        og_text_printf(out, "… and %d that copy less\n", h->n - h->n_listed);
}

void og__host_calls_json(const og__host_calls *h, const og__run *run, og_json *j)
{
    if (h->n == 0)
        return;
    og_json_int(j, "staging_bytes", (int64_t)h->staging);
    og_json_open(j, "host_calls", '[');
    for (int i = 0; i < h->n; i++) {
        og_host_call c;
        if (og_session_host_call(run->session, i, &c) != OG_OK)
            break;
        og_json_open(j, NULL, '{');
        og_json_string(j, "op", c.op);
        og_json_string(j, "node", c.node);
        og_json_int(j, "call", c.order);
        og_json_string(j, "once", c.in_update ? "update" : "micro-batch");
        og_json_int(j, "bytes_to_host", (int64_t)c.to_host);
        og_json_int(j, "bytes_from_host", (int64_t)c.from_host);
        og_json_close(j, '}');
    }
    og_json_close(j, ']');
}

void og__host_calls_line(const og__host_calls *h, og_text *out)
{
    static const char *const once[] = {"a micro-batch", "an update"};
    char to[32], from[32];
    for (int k = 0; k < 2; k++)
        if (h->calls_of[k])
            og_text_printf(out, "%s%d kernel call%s %s run%s on the host: %s to it, %s back",
                           out->length ? "; " : "", h->calls_of[k], h->calls_of[k] == 1 ? "" : "s",
                           once[k], h->calls_of[k] == 1 ? "s" : "",
                           og_format_bytes(to, h->to_host[k]),
                           og_format_bytes(from, h->from_host[k]));
    if (h->n)
        og_text_add(out, " (ongrad plan lists them)");
}
