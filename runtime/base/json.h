/* Writing JSON into an og_text. Values are added in order; commas are put in by the writer. Numbers
 * that are not finite become null. Reading JSON is not needed anywhere in the library
 * (tools/ongrad/json_read.h). */
#ifndef OG_BASE_JSON_H
#define OG_BASE_JSON_H

#include "runtime/base/text.h"

typedef struct og_json {
    og_text *out;
    uint64_t has_value; /* bit d: the container at depth d holds a value already */
    int depth;
} og_json;

void og_json_open(og_json *json, const char *key,
                  char bracket);                 /* '{' or '['; key NULL inside an array */
void og_json_close(og_json *json, char bracket); /* '}' or ']' */
void og_json_string(og_json *json, const char *key, const char *value);
void og_json_int(og_json *json, const char *key, int64_t value);
void og_json_double(og_json *json, const char *key, double value);
void og_json_bool(og_json *json, const char *key, bool value);
void og_json_null(og_json *json, const char *key);

#endif
