#include "tools/ongrad/plan_memory.h"

#include "tools/ongrad/blocks.h"
#include "tools/ongrad/say.h"
#include "tools/ongrad/table.h"

enum { COLUMNS = 64, ROWS = 8, SVG_WIDTH = 900, SVG_HEIGHT = 320, SVG_LEFT = 80, SVG_TOP = 24 };

int og__memory_use_read(og__memory_use *use, const og__run *run)
{
    og_memory_report m;
    og_session_memory(run->session, &m);
    *use = (og__memory_use){.micro = m.micro_steps, .states = m.peak - m.activations};
    use->n = og_session_memory_curve(run->session, &use->curve);
    use->n_tensors = use->n < 0 ? -1 : og_session_peak_tensor_count(run->session);
    if (use->n_tensors < 0)
        return og__run_failed(run);
    for (int i = 1; i < use->n; i++)
        if (use->curve[i] > use->curve[use->peak])
            use->peak = i;
    for (int i = 0; i < use->n_tensors && i < OG__LARGEST; i++)
        if (og_session_peak_tensor(run->session, i, &use->tensors[use->n_largest++]) != OG_OK)
            return og__run_failed(run);
    return OG__EXIT_DONE;
}

/* ---- text */

/* The most alive during the calls that column `c` of the chart stands for. */
static uint64_t column_bytes(const og__memory_use *use, int columns, int c)
{
    uint64_t most = 0;
    int from = (int)((int64_t)c * use->n / columns),
        to = (int)((int64_t)(c + 1) * use->n / columns);
    for (int i = from; i < to || i == from; i++)
        most = use->curve[i] > most ? use->curve[i] : most;
    return most;
}

static void add_chart(const og__memory_use *use, og_text *out)
{
    uint64_t top = use->curve[use->peak] ? use->curve[use->peak] : 1;
    int columns = use->n < COLUMNS ? use->n : COLUMNS, update = columns;
    char size[32];
    for (int c = columns - 1; c >= 0 && (int64_t)c * use->n / columns >= use->micro; c--)
        update = c;
    og_text_printf(out, "\nactivations alive at each of %d kernel calls; the most at call %d\n",
                   use->n, use->peak);
    for (int r = ROWS - 1; r >= 0; r--) {
        bool labelled = r == ROWS - 1 || r == ROWS / 2 - 1;
        uint64_t label = top * (uint64_t)(r + 1) / ROWS;
        og_text_printf(out, "%10s %s", labelled ? og_format_bytes(size, label) : "",
                       og__axis_left());
        for (int c = 0; c < columns; c++) {
            double height = (double)column_bytes(use, columns, c) / (double)top * ROWS - r;
            og_text_add(out, og__block(height));
        }
        og_text_add(out, "\n");
    }
    og_text_printf(out, "%10s %s", "", og__axis_corner());
    for (int c = 0; c < columns; c++)
        og_text_add(out, c == update && c > 0 ? og__axis_tick() : og__axis_bottom());
    og_text_printf(out, "\n%11s %-*s%s\n", "", update, update > 11 ? "micro-batch" : "",
                   use->n > use->micro ? "update" : "");
}

void og__memory_use_text(const og__memory_use *use, og_text *out)
{
    static const char *const headings[] = {">size", "type", "made by", "kept for"};
    og__table table;
    char size[32];
    if (use->n < 1)
        return;
    add_chart(use, out);
    if (!use->n_largest)
        return;
    og_text_printf(out, "\nthe largest of %d tensors alive then\n", use->n_tensors);
    og__table_start(&table, 4, headings);
    for (int i = 0; i < use->n_largest; i++) {
        const og_tensor_use *t = &use->tensors[i];
        og__table_cell(&table, "%s", og_format_bytes(size, t->bytes));
        og__table_cell(&table, "%s", t->type);
        og__table_cell(&table, "%s", t->made_by);
        og__table_cell(&table, "%s", *t->kept_by ? t->kept_by : "-");
    }
    og__table_finish(&table, out, 0);
}

/* ---- JSON */

void og__memory_use_json(const og__memory_use *use, og_json *j)
{
    og_json_open(j, "over_time", '[');
    for (int i = 0; i < use->n; i++)
        og_json_int(j, NULL, (int64_t)use->curve[i]);
    og_json_close(j, ']');
    og__memory_largest_json(use, j);
}

void og__memory_largest_json(const og__memory_use *use, og_json *j)
{
    og_json_int(j, "peak_call", use->peak);
    og_json_open(j, "largest", '[');
    for (int i = 0; i < use->n_largest; i++) {
        const og_tensor_use *t = &use->tensors[i];
        og_json_open(j, NULL, '{');
        og_json_int(j, "bytes", (int64_t)t->bytes);
        og_json_string(j, "type", t->type);
        og_json_string(j, "made_by", t->made_by);
        og_json_string(j, "kept_by", t->kept_by);
        og_json_int(j, "first_call", t->first);
        og_json_int(j, "last_call", t->last);
        og_json_close(j, '}');
    }
    og_json_close(j, ']');
}

/* ---- SVG: states at the bottom, what is alive above them */

static void draw(const og__memory_use *use, og_text *out)
{
    uint64_t top = use->states + (use->n ? use->curve[use->peak] : 0);
    double scale = SVG_HEIGHT / (double)(top ? top : 1),
           step = SVG_WIDTH / (double)(use->n + !use->n);
    double floor = SVG_TOP + SVG_HEIGHT, base = floor - scale * (double)use->states;
    char size[32];
    og_text_printf(out,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
                   "font-family=\"sans-serif\" font-size=\"13\">\n"
                   "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
                   "<rect x=\"%d\" y=\"%.2f\" width=\"%d\" height=\"%.2f\" fill=\"#9db4c8\"/>\n"
                   "<path fill=\"#3b78a8\" d=\"M%d %.2f",
                   SVG_LEFT + SVG_WIDTH + 16, SVG_TOP + SVG_HEIGHT + 32, SVG_LEFT, base, SVG_WIDTH,
                   floor - base, SVG_LEFT, base);
    for (int i = 0; i < use->n; i++)
        og_text_printf(out, "V%.2fh%.4f", base - scale * (double)use->curve[i], step);
    og_text_printf(out, "V%.2fZ\"/>\n", base);
    og_text_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", SVG_LEFT - 6,
                   SVG_TOP + 10, og_format_bytes(size, top));
    og_text_printf(out, "<text x=\"%d\" y=\"%.2f\" text-anchor=\"end\">%s</text>\n", SVG_LEFT - 6,
                   base + 4, og_format_bytes(size, use->states));
    if (use->n > use->micro)
        og_text_printf(out,
                       "<path stroke=\"#444\" stroke-dasharray=\"4 3\" d=\"M%.2f %dV%.2f\"/>\n",
                       SVG_LEFT + step * use->micro, SVG_TOP, floor);
    og_text_printf(out,
                   "<text x=\"%d\" y=\"%.2f\">%d kernel calls of a micro-batch, %d of an update; "
                   "below: parameters and other state</text>\n</svg>\n",
                   SVG_LEFT, floor + 20, use->micro, use->n - use->micro);
}

int og__memory_use_svg(const og__memory_use *use, const og__run *run, const char *path)
{
    og_text out = {0};
    OG__TRY(og__run_check_writable(run, "--svg", path));
    draw(use, &out);
    int status = out.failed
                     ? og__say_error(run->command, OG__EXIT_FAILED, "out of memory for the drawing")
                     : og__write_file(run->command, &out, path);
    og_text_free(&out);
    return status;
}
