/* The test harness: a program is functions, a table of them, and TEST_MAIN.
 *
 *     TEST(adds)
 *     {
 *         CHECK_INT(1 + 1, 2);
 *     }
 *
 *     static const og_test tests[] = {TEST_ROW(adds)};
 *     TEST_MAIN(tests)
 *
 * The program runs all tests, or those named as arguments; `--list` prints the names. A failed
 * check is counted and printed with its place and both values, and the test goes on; REQUIRE leaves
 * the test. Exit status: 0 all passed, 1 something failed, 2 an argument names no test, 77
 * everything that ran was skipped. */
#ifndef OG_TESTS_TEST_H
#define OG_TESTS_TEST_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct og_test {
    const char *name;
    void (*run)(void);
} og_test;

static int test_failures;            /* of the running test */
static const char *test_skip_reason; /* of the running test; NULL: not skipped */
static const char *test_case = "";   /* what the running loop is at: printed with failures */

#define TEST(name) static void name(void)
/* clang-format off */
#define TEST_ROW(name) {#name, name}
/* clang-format on */
/* Leave the test; it counts as skipped. */
#define SKIP(reason)                 \
    do {                             \
        test_skip_reason = (reason); \
        return;                      \
    } while (0)
/* Say what the following checks are about, for tests that loop over cases; "" at their end. */
#define TEST_CASE(text) (test_case = (text))

#define CHECK(condition) test_check((condition), __FILE__, __LINE__, #condition)
#define REQUIRE(condition)                                            \
    do {                                                              \
        if (!test_check((condition), __FILE__, __LINE__, #condition)) \
            return;                                                   \
    } while (0)
#define CHECK_INT(value, expected) \
    test_check_int((long long)(value), (long long)(expected), __FILE__, __LINE__, #value)
/* |value - expected| ≤ tolerance × max(1, |expected|); equal infinities and two NaNs are close. */
#define CHECK_CLOSE(value, expected, tolerance) \
    test_check_close((value), (expected), (tolerance), __FILE__, __LINE__, #value)
/* `text` contains `part`. */
#define CHECK_TEXT(text, part) test_check_text((text), (part), __FILE__, __LINE__, #text)
#define CHECK_STR(value, expected) test_check_str((value), (expected), __FILE__, __LINE__, #value)

__attribute__((unused)) static void test_failed(const char *file, int line)
{
    test_failures++;
    printf("    %s:%d: ", file, line);
    if (*test_case)
        printf("[%s] ", test_case);
}

__attribute__((unused)) static bool test_check(bool ok, const char *file, int line,
                                               const char *what)
{
    if (!ok) {
        test_failed(file, line);
        printf("%s is false\n", what);
    }
    return ok;
}

__attribute__((unused)) static bool test_check_int(long long value, long long expected,
                                                   const char *file, int line, const char *what)
{
    if (value == expected)
        return true;
    test_failed(file, line);
    printf("%s is %lld, expected %lld\n", what, value, expected);
    return false;
}

__attribute__((unused)) static bool test_check_close(double value, double expected,
                                                     double tolerance, const char *file, int line,
                                                     const char *what)
{
    bool same = value == expected || (isnan(value) && isnan(expected));
    if (same || fabs(value - expected) <= tolerance * fmax(1, fabs(expected)))
        return true;
    test_failed(file, line);
    printf("%s is %.17g, expected %.17g (differs by %.3g, tolerance %.3g)\n", what, value, expected,
           fabs(value - expected), tolerance);
    return false;
}

__attribute__((unused)) static bool test_check_text(const char *text, const char *part,
                                                    const char *file, int line, const char *what)
{
    if (text && strstr(text, part))
        return true;
    test_failed(file, line);
    printf("%s is \"%s\", expected it to contain \"%s\"\n", what, text ? text : "(null)", part);
    return false;
}

__attribute__((unused)) static bool test_check_str(const char *value, const char *expected,
                                                   const char *file, int line, const char *what)
{
    if (value && !strcmp(value, expected))
        return true;
    test_failed(file, line);
    printf("%s is \"%s\", expected \"%s\"\n", what, value ? value : "(null)", expected);
    return false;
}

static int test_main(const og_test *tests, int n, int argc, char **argv)
{
    int ran = 0, failed = 0, skipped = 0;
    if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (int i = 0; i < n; i++)
            puts(tests[i].name);
        return 0;
    }
    for (int a = 1; a < argc; a++) {
        bool known = false;
        for (int i = 0; i < n; i++)
            known |= !strcmp(argv[a], tests[i].name);
        if (!known) {
            fprintf(stderr, "no test \"%s\"; --list prints the names\n", argv[a]);
            return 2;
        }
    }
    for (int i = 0; i < n; i++) {
        bool wanted = argc < 2;
        for (int a = 1; a < argc; a++)
            wanted |= !strcmp(argv[a], tests[i].name);
        if (!wanted)
            continue;
        test_failures = 0;
        test_skip_reason = NULL;
        test_case = "";
        tests[i].run();
        fflush(stdout);
        ran++;
        failed += test_failures > 0;
        skipped += test_failures == 0 && test_skip_reason;
        if (test_failures)
            printf("FAIL %s: %d checks failed\n", tests[i].name, test_failures);
        else if (test_skip_reason)
            printf("skip %s: %s\n", tests[i].name, test_skip_reason);
        else
            printf("ok   %s\n", tests[i].name);
        fflush(stdout);
    }
    printf("%d passed, %d failed, %d skipped\n", ran - failed - skipped, failed, skipped);
    return failed ? 1 : ran && ran == skipped ? 77 : 0;
}

#define TEST_MAIN(tests)                                                              \
    int main(int argc, char **argv)                                                   \
    {                                                                                 \
        return test_main(tests, (int)(sizeof(tests) / sizeof(*(tests))), argc, argv); \
    }

#endif
