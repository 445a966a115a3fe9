/* A line chart as inline SVG: round ticks, a legend, a band from the least to the most of what a
 * point stands for. Colors are the page's (page_style.c), so it is readable on light and dark. */
#ifndef OG_COMMAND_CHART_H
#define OG_COMMAND_CHART_H

#include "runtime/base/text.h"
#include "tools/ongrad/record.h"

enum { OG__MOST_CURVES = 8, OG__MOST_LEVELS = 2 };

typedef enum og__unit { OG__NUMBER, OG__BYTES } og__unit;

typedef struct og__curve {
    const char *name;
    const og__series *series;
} og__curve;

/* A horizontal line. */
typedef struct og__level {
    const char *name;
    double value;
} og__level;

typedef struct og__chart {
    const char *title, *note; /* note NULL: none */
    og__unit unit;
    bool from_zero;  /* the axis begins at 0 */
    bool may_be_log; /* a logarithmic axis where values differ by more than a hundred times */
    double last_step;
    og__curve curves[OG__MOST_CURVES];
    int n;
    og__level levels[OG__MOST_LEVELS];
    int n_levels;
} og__chart;

/* Nothing where there is no curve. */
void og__chart_add(const og__chart *chart, og_text *out);

/* Text of a page: what HTML would read as markup is escaped, in attributes, too. */
void og__html_text(og_text *out, const char *text);

#endif
