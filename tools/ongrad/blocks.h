/* Charts and bars of block characters; where the locale is not UTF-8, of ASCII. */
#ifndef OG_COMMAND_BLOCKS_H
#define OG_COMMAND_BLOCKS_H

#include "runtime/base/text.h"

/* Does the environment say so? LC_ALL, else LC_CTYPE, else LANG. */
bool og__is_utf8(void);
/* A cell that is filled from below: 0 empty, 1 full. */
const char *og__block(double filled);
/* The parts of a bar; the lines at a chart's left and bottom. */
const char *og__bar_cell(bool full);
const char *og__axis_left(void), *og__axis_corner(void), *og__axis_bottom(void),
    *og__axis_tick(void);

#endif
