/* LSTM, GRU and RNN of the card against the processor's: with and without all that may be there,
 * both ways, in float32 and with half operands; walks that keep nothing by cuDNN, too. */
#include "tests/cuda/recurrent.h"

/* The walk back, by what the walk left. */
static void compare_back(og_device *d, const unit *u, const char *op, og_dtype dtype, int which,
                         sizes s, const kernel_call *walk, uint64_t *seed)
{
    int kept, own;
    kernel_call c = back_of(u, op, dtype, which, s, walk, seed, &kept, &own);
    same_on_card(d, &c, "steps", s.H % 2 != 0, 0, close_of(dtype));
    for (int k = kept; k < own; k++)
        free(c.x[k].data);
    free_outputs(&c);
}

static void compare_unit(og_device *d, const unit *u, og_dtype dtype, int which, sizes s)
{
    char text[160], op[64], back[80];
    uint64_t seed = (uint64_t)(which + 100 * s.H);
    snprintf(op, sizeof op, "ai.ongrad::%s%sDirection", dtype == OG_FLOAT ? "" : "Wide", u->name);
    snprintf(back, sizeof back, "%sGrad", op);
    snprintf(text, sizeof text, "%s, %s, %s,%s%s%s%s T %d B %d I %d H %d", op,
             u->activation ? u->activation : "-", og_dtype_name(dtype), which & BIAS ? " bias" : "",
             which & LENS ? " lens" : "", which & STATES ? " states" : "",
             which & REVERSE ? " reverse" : "", (int)s.T, (int)s.B, (int)s.I, (int)s.H);
    TEST_CASE(text);
    kernel_call c = walk_of(u, op, dtype, which, s, &seed);
    outputs_of(u, s, AND_SAVED, &c);
    d->options.deterministic = true; /* else cuDNN has those that keep nothing */
    if (same_on_card(d, &c, "steps", s.H % 2 != 0, 0, close_of(dtype)))
        compare_back(d, u, back, dtype, which, s, &c, &seed);
    for (int how = JUST_Y; how < AND_SAVED; how++) {
        kernel_call alone = c; /* nothing is kept */
        outputs_of(u, s, how, &alone);
        d->options.deterministic = true;
        same_on_card(d, &alone, "steps", 0, 0, close_of(dtype));
        d->options.deterministic = false;
        same_on_card(d, &alone, which & LENS ? "steps" : "cuDNN", s.H % 2 != 0, 0, close_of(dtype));
        free_outputs(&alone);
    }
    test_free_tensors(&c);
}

TEST(all_that_may_be_there)
{
    og_device *d = open_device(1);
    d->options.allow_tf32 = false;
    for (int u = 0; u < UNITS; u++)
        for (int which = 0; which < ALL; which++)
            compare_unit(d, &units[u], OG_FLOAT, which, (sizes){5, 3, 4, 7});
    close_device(d);
}

TEST(sizes_of_models)
{
    static const sizes all[] = {{1, 1, 1, 1}, {3, 1, 2, 130}, {2, 33, 5, 8}, {4, 9, 3, 64}};
    og_device *d = open_device(2);
    d->options.allow_tf32 = false;
    for (int u = 0; u < UNITS; u++)
        for (int i = 0; i < 4; i++)
            compare_unit(d, &units[u], OG_FLOAT, BIAS | STATES, all[i]);
    close_device(d);
}

TEST(half_operands)
{
    static const int choices[] = {0, BIAS | STATES, BIAS | LENS | STATES | REVERSE};
    og_device *d = open_device(3);
    for (int u = 0; u < UNITS; u++)
        for (int i = 0; i < 3; i++) {
            compare_unit(d, &units[u], OG_FLOAT16, choices[i], (sizes){4, 3, 5, 8});
            compare_unit(d, &units[u], OG_BFLOAT16, choices[i], (sizes){4, 3, 5, 7});
        }
    close_device(d);
}

/* What comes out shows it, and whoever waits hears the processor's words of the first one. */
TEST(a_length_that_is_none)
{
    const sizes s = {3, 3, 2, 4};
    og_device *d = open_device(4);
    d->options.allow_tf32 = false;
    for (int u = 0; u < UNITS; u++) {
        char op[64], text[128];
        uint64_t seed = 5;
        snprintf(op, sizeof op, "ai.ongrad::%sDirection", units[u].name);
        TEST_CASE(op);
        kernel_call c = walk_of(&units[u], op, OG_FLOAT, LENS, s, &seed);
        outputs_of(&units[u], s, JUST_Y, &c);
        ((int32_t *)c.x[4].data)[1] = ((int32_t *)c.x[4].data)[2] = 3;
        test_run(&c);
        ((int32_t *)c.x[4].data)[1] = -1;
        ((int32_t *)c.x[4].data)[2] = 4;
        for (int64_t i = 0; i < og__elements(&c.y[0]); i++)
            if (i / s.H % s.B != 0)
                ((float *)c.y[0].data)[i] = NAN;
        snprintf(text, sizeof text,
                 "%sDirection \"n\": sequence_lens [1] is -1, expected 0 to 3 (steps)",
                 units[u].name);
        run_on_card(d, &c, "steps", 0, 0, close_float, text);
        test_free_tensors(&c);
    }
    close_device(d);
}

static const og_test tests[] = {TEST_ROW(all_that_may_be_there), TEST_ROW(sizes_of_models),
                                TEST_ROW(half_operands), TEST_ROW(a_length_that_is_none)};
TEST_MAIN(tests)
