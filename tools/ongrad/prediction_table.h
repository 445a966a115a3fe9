/* Predictions as CSV: a row a sample, with its name, the most likely class where classes have
 * names, and the output's elements. */
#ifndef OG_COMMAND_PREDICTION_TABLE_H
#define OG_COMMAND_PREDICTION_TABLE_H

#include "tools/ongrad/class_names.h"

/* Are there as many classes as the output [samples, classes] has columns? */
bool og__has_classes(const og_tensor_info *info, const og__class_names *classes);
/* info: [samples] or [samples, columns] of `data`; a table has no other shapes. names: of the
 * samples; NULL: they are numbered. */
void og__prediction_table(const og_tensor_info *info, const void *data, const char *const *names,
                          const og__class_names *classes, og_text *out);

#endif
