/* What a checkpoint's file looks like at its end, for those who write and read it. */
#ifndef OG_ONNX_CHECKPOINT_FILE_H
#define OG_ONNX_CHECKPOINT_FILE_H

#include "runtime/base/checksum.h"
#include "runtime/onnx/file.h"

/* "0123456789abcdef-0000000000001000": the checksum and the number of bytes it is of. */
enum { OG__CHECKSUM_TEXT = 33, OG__CHECKPOINT_TAIL = 68 };
void og__checksum_text(char text[OG__CHECKSUM_TEXT + 1], const og_checksum *sum);
/* The metadata entry that ends the file. */
void og__checkpoint_tail(uint8_t tail[OG__CHECKPOINT_TAIL], const og_checksum *sum);
/* The value of a metadata key, "" where there is none or it does not fit. The file may be anything.
 */
void og__checkpoint_find(const og__file *file, const char *key, char *value, size_t size);

#endif
