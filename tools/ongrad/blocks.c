#include "tools/ongrad/blocks.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool og__is_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        const char *dot = value ? strrchr(value, '.') : NULL;
        if (value && *value)
            return dot && (!strncasecmp(dot, ".utf-8", 6) || !strncasecmp(dot, ".utf8", 5));
    }
    return false;
}

const char *og__block(double filled)
{
    static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const plain[] = {" ", " ", ".", ".", ".", ":", ":", ":", "#"};
    int eighths = (int)(filled * 8 + 0.5);
    eighths = eighths < 0 ? 0 : eighths > 8 ? 8 : eighths;
    return og__is_utf8() ? blocks[eighths] : plain[eighths];
}

const char *og__bar_cell(bool full)
{
    return og__is_utf8() ? full ? "█" : "░" : full ? "#" : ".";
}

const char *og__axis_left(void)
{
    return og__is_utf8() ? "│" : "|";
}

const char *og__axis_corner(void)
{
    return og__is_utf8() ? "└" : "+";
}

const char *og__axis_bottom(void)
{
    return og__is_utf8() ? "─" : "-";
}

const char *og__axis_tick(void)
{
    return og__is_utf8() ? "┴" : "+";
}
