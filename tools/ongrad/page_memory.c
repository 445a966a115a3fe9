/* Memory in use while the run went on, against what was planned; and the plan of one step. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tools/ongrad/page.h"

static og__json_value plan_of(const og__page *page)
{
    return og__json_at(page->run, "plan");
}

double og__page_planned(const og__page *page)
{
    og__json_value plan = plan_of(page);
    double peak = og__page_number(plan, "predicted_peak_bytes");
    return peak > 0
               ? peak + og__page_number(plan, "data_bytes") + og__page_number(plan, "program_bytes")
               : 0;
}

static void add_use(const og__page *page)
{
    og__chart chart = {.title = "Memory in use",
                       .unit = OG__BYTES,
                       .from_zero = true,
                       .last_step = (double)page->record->last_step};
    const og__series *used = og__record_series(page->record, "memory_bytes");
    double planned = og__page_planned(page),
           budget = og__page_number(plan_of(page), "budget_bytes");
    if (!used)
        return;
    chart.curves[chart.n++] = (og__curve){"in use", used};
    if (planned > 0)
        chart.levels[chart.n_levels++] = (og__level){"planned", planned};
    if (budget > 0 && budget < 2 * fmax(planned, used->most))
        chart.levels[chart.n_levels++] = (og__level){"budget", budget};
    og__chart_add(&chart, page->out);
}

/* States at the bottom, what is alive at each kernel call above them. */
static void add_step(const og__page *page)
{
    enum { WIDTH = 520, HEIGHT = 262, LEFT = 62, RIGHT = 508, TOP = 12, BOTTOM = 218 };
    og__json_value plan = plan_of(page), curve = og__json_at(plan, "over_time");
    double states = og__page_number(plan, "state_bytes"), top = 0;
    double calls = og__page_number(plan, "calls"), micro = og__page_number(plan, "micro_calls");
    int n = og__json_count(curve);
    char size[32];
    for (int i = 0; i < n; i++)
        top = fmax(top, og__json_number(og__json_item(curve, i)));
    if (n < 2 || !(top + states > 0))
        return;
    double scale = (BOTTOM - TOP - 16) / (states + top), width = (double)(RIGHT - LEFT) / n,
           base = BOTTOM - scale * states;
    og_text_printf(page->out,
                   "<figure>\n<figcaption><b>Plan of one step</b> <span class=\"key\"><i "
                   "class=\"k0\"></i>activations</span> <span class=\"key\"><i class=\"k1\"></i>"
                   "parameters and other state</span></figcaption>\n"
                   "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Plan of one step\">\n",
                   WIDTH, HEIGHT);
    og_text_printf(page->out,
                   "<path class=\"area f1\" d=\"M%d %.1fH%dV%dH%dZ\"/>\n"
                   "<path class=\"area f0\" d=\"M%d %.1f",
                   LEFT, base, RIGHT, BOTTOM, LEFT, LEFT, base);
    for (int i = 0; i < n; i++)
        og_text_printf(page->out, "V%.1fH%.1f",
                       base - scale * fmax(og__json_number(og__json_item(curve, i)), 0),
                       LEFT + width * (i + 1));
    og_text_printf(page->out, "V%.1fZ\"/>\n", base);
    if (micro > 0 && micro < calls) {
        double at = LEFT + (RIGHT - LEFT) * micro / calls;
        og_text_printf(page->out,
                       "<path class=\"level\" d=\"M%.1f %dV%d\"/><text class=\"label\" x=\"%.1f\" "
                       "y=\"%d\" text-anchor=\"end\">update</text>\n",
                       at, TOP, BOTTOM, at > RIGHT - 56 ? at - 5 : at + 52, TOP + 10);
    }
    og_text_printf(page->out, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, BOTTOM,
                   RIGHT);
    og_text_printf(page->out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", LEFT - 7,
                   TOP + 21, og_format_bytes(size, (uint64_t)(states + top)));
    og_text_printf(page->out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT - 7,
                   base < TOP + 40 ? TOP + 40 : base + 4, og_format_bytes(size, (uint64_t)states));
    og_text_printf(page->out,
                   "<text x=\"%d\" y=\"%d\">1</text><text x=\"%d\" y=\"%d\" "
                   "text-anchor=\"end\">%.0f</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">"
                   "kernel call</text>\n</svg>\n</figure>\n",
                   LEFT, BOTTOM + 20, RIGHT, BOTTOM + 20, calls, RIGHT, BOTTOM + 39);
}

static void add_bytes(const og__page *page, og__json_value of, const char *key, const char *label)
{
    char size[32];
    double bytes = og__page_number(of, key);
    if (bytes > 0)
        og__page_row(page, label, og_format_bytes(size, (uint64_t)bytes));
}

static void add_numbers(const og__page *page)
{
    static const char *const parts[][2] = {{"parameter_bytes", "parameters"},
                                           {"gradient_bytes", "gradients"},
                                           {"optimizer_bytes", "optimizer's state"},
                                           {"activation_bytes", "activations and workspaces"},
                                           {"predicted_peak_bytes", "predicted peak"},
                                           {"data_bytes", "batches of data beside it"},
                                           {"program_bytes", "all else of the process"},
                                           {"budget_bytes", "budget"},
                                           {"total_bytes", "memory of the device"}};
    og_text_add(page->out, "<figure><figcaption><b>Planned</b></figcaption><table>\n");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        add_bytes(page, plan_of(page), parts[i][0], parts[i][1]);
    og_text_add(page->out, "</table></figure>\n");
}

static void add_largest(const og__page *page)
{
    og__json_value all = og__json_at(plan_of(page), "largest");
    int n = og__json_count(all);
    char size[32];
    if (!n)
        return;
    og_text_add(page->out,
                "<figure class=\"wide\"><figcaption><b>The largest tensors where memory is "
                "fullest</b></figcaption>\n<div class=\"scroll\"><table>\n<tr><th "
                "class=\"number\">size</th>"
                "<th>type</th><th>made by</th><th>kept for</th></tr>\n");
    for (int i = 0; i < n; i++) {
        static const char *const keys[] = {"type", "made_by", "kept_by"};
        og__json_value t = og__json_item(all, i);
        og_text_printf(page->out, "<tr><td class=\"number\">%s</td>",
                       og_format_bytes(size, (uint64_t)fmax(og__page_number(t, "bytes"), 0)));
        for (int k = 0; k < 3; k++) {
            og_text_add(page->out, "<td>");
            og__html_text(page->out, og__json_text(og__json_at(t, keys[k])));
            og_text_add(page->out, "</td>");
        }
        og_text_add(page->out, "</tr>\n");
    }
    og_text_add(page->out, "</table></div></figure>\n");
}

void og__page_memory(const og__page *page)
{
    og__page_begin(page, "memory", "Memory");
    og_text_add(page->out, "<div class=\"charts\">\n");
    add_use(page);
    if (page->run.node) {
        add_step(page);
        add_numbers(page);
        add_largest(page);
    } else {
        og_text_add(page->out, "<p class=\"note\">The log does not say what was planned.</p>\n");
    }
    og_text_add(page->out, "</div>\n");
    og__page_end(page);
}
