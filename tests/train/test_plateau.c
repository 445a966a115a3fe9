/* reduce_lr_on_plateau against PyTorch's ReduceLROnPlateau (tests/fixtures/make_schedules.py). */
#include <stdio.h>
#include <string.h>

#include "runtime/ongrad.h"
#include "tests/test.h"

TEST(as_pytorch)
{
    static const char *const options[][2] = {{"lr", "0.01"},
                                             {"scheduler", "reduce_lr_on_plateau"},
                                             {"plateau_factor", "0.3"},
                                             {"plateau_patience", "2"},
                                             {"plateau_threshold", "1e-2"},
                                             {"plateau_cooldown", "3"},
                                             {"min_lr", "2e-4"}};
    og_context *context = og_context_new(NULL);
    og_options *o = og_options_new(context);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        CHECK_INT(og_options_set(o, options[i][0], options[i][1]), OG_OK);
    CHECK(og_schedule_is_plateau(o));
    FILE *file = fopen(OG_TEST_SOURCE_DIR "/../fixtures/schedules/plateau.txt", "r");
    REQUIRE(file != NULL);
    char mode[8], last[8] = "";
    double value, lr;
    og_plateau plateau = og_plateau_start();
    int lines = 0;
    while (fscanf(file, "%7s %lf %lf", mode, &value, &lr) == 3) {
        if (strcmp(mode, last) != 0)
            plateau = og_plateau_start();
        memcpy(last, mode, sizeof last);
        TEST_CASE(mode);
        lines++;
        og_plateau_step(o, &plateau, value, strcmp(mode, "max") == 0);
        CHECK_CLOSE(og_schedule_lr(o, lines, 100) * plateau.factor, lr, 1e-15);
    }
    CHECK_INT(lines, 119);
    fclose(file);
    og_options_free(o);
    og_context_free(context);
}

static const og_test tests[] = {
    TEST_ROW(as_pytorch),
};
TEST_MAIN(tests)
