/* Options as a model or a checkpoint stores them: "name=value" lines, the values in plain ASCII
 * with %XX for all else. */
#ifndef OG_COMMAND_STORED_H
#define OG_COMMAND_STORED_H

#include "runtime/base/text.h"

void og__add_escaped(og_text *text, const char *value);
void og__unescape(char *text); /* in place */

void og__stored_add(og_text *text, const char *name, const char *value);
/* The next line of *at, which moves behind it; the text is taken apart. false: there is none. */
bool og__stored_next(char **at, char **name, char **value);

#endif
