/* What a call of LSTMDirection, GRUDirection, RNNDirection, of a Wide one or of one of their
 * gradients computes, and where it has its tensors. */
#include "kernels/cpu/recurrent.h"

og__recurrence og__recurrence_of(const og_call *call, bool back)
{
    const char *name = call->node->op->name;
    bool wide = strncmp(name, "Wide", 4) == 0;
    bool relu = strcmp(og_attr_string(call->node, "activation", "Tanh"), "Relu") == 0;
    const og_type *steps = &call->x[back ? 1 : OG__WALK_X].type; /* [T, B, …] */
    const og_type *r = &call->x[back ? 0 : OG__WALK_R].type;     /* [gates H, H] */
    og__recurrence s = {.dtype = wide ? OG_FLOAT : r->dtype,
                        .half = wide ? r->dtype : OG_UNDEFINED,
                        .T = steps->dims[0],
                        .B = steps->dims[1],
                        .I = back ? 0 : steps->dims[2],
                        .H = r->dims[1],
                        .reverse = og_attr_int(call->node, "reverse", 0) != 0,
                        .gates_out = -1,
                        .cells_out = -1};
    s.gates = s.H > 0 ? r->dims[0] / s.H : 0;
    name += wide ? 4 : 0;
    s.unit = *name == 'L'   ? OG__UNIT_LSTM
             : *name == 'G' ? OG__UNIT_GRU
             : relu         ? OG__UNIT_RELU
                            : OG__UNIT_TANH;
    if (s.unit == OG__UNIT_LSTM || s.unit == OG__UNIT_GRU)
        s.gates_out = s.unit == OG__UNIT_LSTM ? 3 : 2;
    if (s.unit == OG__UNIT_LSTM)
        s.cells_out = 4;
    return s;
}

og__back_places og__back_places_of(og__unit unit)
{
    switch (unit) {
    case OG__UNIT_LSTM:
        return (og__back_places){1, 2, -1, 3, 4, 5, 6, -1, 7, 0, 1, 2};
    case OG__UNIT_GRU:
        return (og__back_places){1, -1, 2, 3, 4, -1, 5, 6, -1, 1, 2, -1};
    default:
        return (og__back_places){-1, -1, 1, 2, 3, -1, 4, -1, -1, 0, 1, -1};
    }
}

int64_t og__recurrence_time(const og__recurrence *r, int64_t k)
{
    return r->reverse ? r->T - 1 - k : k;
}

og_status og__bad_length(const og_call *call, og_error *error, int64_t k, int64_t length, int64_t T)
{
    return og__call_fail(call, error, OG_INVALID_DATA,
                         "sequence_lens [%lld] is %lld, expected 0 to %lld (steps)", (long long)k,
                         (long long)length, (long long)T);
}
