/* The shapes a session is made with: the model's own, with the batch, --dim and the data's dims put
 * in. */
#ifndef OG_COMMAND_SHAPES_H
#define OG_COMMAND_SHAPES_H

#include "runtime/base/text.h"
#include "runtime/data/transforms.h"
#include "tools/ongrad/bindings.h"

/* Inputs for `batch` samples, one info a model input. bindings NULL: no data, and every input has a
 * batch axis. A symbol that nothing binds takes `fallback`; 0: an error that asks for --dim. Names
 * in the infos are the model's. transforms: of pictures; NULL: none are read. */
int og__shapes_of_inputs(const og__arguments *a, og_model *model, const og__bindings *bindings,
                         const og_transforms *transforms, int64_t batch, int64_t fallback,
                         og_tensor_info *inputs);
/* Targets as their files have them, or as transforms make them, `batch` samples each. */
int og__shapes_of_targets(const og__bindings *bindings, const og_transforms *transforms,
                          const og_tensor_info *inputs, int64_t batch, og_tensor_info *targets);
/* "[32, 3, 224, 224]"; symbols by name, "?" where there is none. */
void og__shape_text(og_text *out, const og_tensor_info *info);
/* Elements; -1 where a dim is not a number or they overflow. */
int64_t og__shape_elements(const og_tensor_info *info);

#endif
