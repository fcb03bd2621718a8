/*
 * test.h: one test source, two runners.
 *
 * Normally a test file is run by Criterion, which gives every Test() a process of its own. Two
 * builds cannot use it: ThreadSanitizer (Criterion's runner does not start under it) and
 * AddressSanitizer with leak checks (Criterion does not fail a test that leaks). There, and where
 * Criterion is not installed, WEFT_TEST_PLAIN maps the same words to the small main() below,
 * which runs the tests one after the other in this process. A failed check ends the program at
 * once: it may stand on a fiber or in another thread, so nothing can be unwound.
 *
 * Allowed in tests, and nothing else of Criterion:
 *
 *   Test(suite, name) { ... }         options .init, .fini, .signal (the signal it must die of)
 *   cr_assert(cond[, format, ...])    cr_assert_not, cr_assert_fail
 *   cr_assert_eq, _neq, _lt, _gt, _leq, _geq, _null, _not_null, _str_eq, _str_neq, _arr_eq
 *   test_skip(reason)                 from the body of Test() only; says why and returns
 *
 * The plain program takes an optional glob for "suite/name"; exit 0 passed, 1 failed, 77 all
 * skipped. Both runners end with a line `Tested: N | Passing: N | Failing: N` on stderr.
 */
#ifndef WEFT_TEST_H
#define WEFT_TEST_H

/* Builds for simulation shrink the engine's capacities, which some tests count on. */
#ifdef WF_SIM
#define TEST_SHRUNK 1
#else
#define TEST_SHRUNK 0
#endif

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef WEFT_TEST_PLAIN

#include <criterion/criterion.h>

/*
 * A test that hangs is ended and named. Criterion's own --timeout does not reach tests that say
 * nothing about it, so the limit stands in each test: far above what a slow test needs on a machine
 * that others use. The plain runner leaves this to the time limit of whoever started it.
 */
#undef Test
#define Test(suite_, name_, ...) \
	CR_EXPAND(CR_TEST_BASE(suite_, name_, .timeout = 600, ##__VA_ARGS__, .sentinel_ = 0))

#define test_skip(reason) \
	do { \
		cr_skip_test("%s", (reason)); \
		return; \
	} while (0)

#else /* WEFT_TEST_PLAIN */

#include <fnmatch.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__)
#define TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TEST_ASAN 1
#endif
#endif
#ifndef TEST_ASAN
#define TEST_ASAN 0
#endif

struct test_case {
	const char *suite;
	const char *name;
	void (*body)(void);
	void (*init)(void);
	void (*fini)(void);
	int signal;
	struct test_case *next;
};

/* Weak, so that a test program of several files still has one list and one main(). */
__attribute__((weak)) struct test_case *test_first;
__attribute__((weak)) struct test_case *test_last;
__attribute__((weak)) bool test_was_skipped;
__attribute__((weak)) unsigned test_ran_count;

static inline void test_register(struct test_case *test)
{
	if (test_last)
		test_last->next = test;
	else
		test_first = test;
	test_last = test;
}

__attribute__((format(printf, 4, 5), noreturn, unused, noinline))
static void test_failed(const char *file, int line, const char *what, const char *format, ...)
{
	__builtin_va_list args;

	fflush(stdout);
	fprintf(stderr, "%s:%d: assertion failed: %s", file, line, what);
	if (format[1]) {
		fputc(':', stderr);
		__builtin_va_start(args, format);
		vfprintf(stderr, format, args);
		__builtin_va_end(args);
	}
	fprintf(stderr, "\nTested: %u | Passing: %u | Failing: 1\n", test_ran_count + 1,
	        test_ran_count);
	fflush(stderr);
	_Exit(1);
}

#define Test(suite_, name_, ...) \
	static void test_##suite_##_##name_##_body(void); \
	static struct test_case test_##suite_##_##name_##_case = { .suite = #suite_, \
		.name = #name_, .body = test_##suite_##_##name_##_body, __VA_ARGS__ }; \
	__attribute__((constructor)) static void test_##suite_##_##name_##_add(void) \
	{ \
		test_register(&test_##suite_##_##name_##_case); \
	} \
	static void test_##suite_##_##name_##_body(void)

/* The blank in front lets a check be written with or without a message. */
#define TEST_CHECK(ok, what, ...) \
	do { \
		if (!(ok)) \
			test_failed(__FILE__, __LINE__, what, " " __VA_ARGS__); \
	} while (0)

#define cr_assert(cond, ...)        TEST_CHECK(cond, #cond, __VA_ARGS__)
#define cr_assert_not(cond, ...)    TEST_CHECK(!(cond), "not " #cond, __VA_ARGS__)
#define cr_assert_fail(...)         TEST_CHECK(0, "reached", __VA_ARGS__)
#define cr_assert_eq(a, b, ...)     TEST_CHECK((a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...)    TEST_CHECK((a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...)     TEST_CHECK((a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...)     TEST_CHECK((a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...)    TEST_CHECK((a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...)    TEST_CHECK((a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_null(a, ...)      TEST_CHECK((a) == NULL, #a " is NULL", __VA_ARGS__)
#define cr_assert_not_null(a, ...)  TEST_CHECK((a) != NULL, #a " is not NULL", __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) \
	TEST_CHECK(!strcmp((a), (b)), #a " is the text " #b, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) \
	TEST_CHECK(strcmp((a), (b)), #a " is not the text " #b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, size, ...) \
	TEST_CHECK(!memcmp((a), (b), (size)), #a " has the bytes of " #b, __VA_ARGS__)

#define test_skip(reason) \
	do { \
		fprintf(stderr, "skipped: %s\n", (reason)); \
		test_was_skipped = true; \
		return; \
	} while (0)

static inline void test_run_body(const struct test_case *test)
{
	if (test->init)
		test->init();
	test->body();
	if (test->fini)
		test->fini();
}

/*
 * A test that must die does so in a child. AddressSanitizer turns a fault into an exit status, so
 * there any unclean end counts.
 */
static inline void test_run_dying(const struct test_case *test)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		test_run_body(test);
		_Exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		test_failed(__FILE__, __LINE__, "fork and waitpid", " ");
	if (WIFSIGNALED(status) && WTERMSIG(status) == test->signal)
		return;
	if (TEST_ASAN && WIFEXITED(status) && WEXITSTATUS(status) != 0)
		return;
	test_failed(__FILE__, __LINE__, "dies of the expected signal", " %s/%s: wait status 0x%x",
	            test->suite, test->name, (unsigned)status);
}

__attribute__((weak)) int main(int argc, char **argv)
{
	unsigned skipped = 0;
	char full_name[512];

	for (const struct test_case *test = test_first; test; test = test->next) {
		snprintf(full_name, sizeof full_name, "%s/%s", test->suite, test->name);
		if (argc > 1 && fnmatch(argv[1], full_name, 0) != 0)
			continue;
		fprintf(stderr, "[ RUN  ] %s\n", full_name);
		test_was_skipped = false;
		if (test->signal)
			test_run_dying(test);
		else
			test_run_body(test);
		test_ran_count++;
		skipped += test_was_skipped;
	}
	fprintf(stderr, "Tested: %u | Passing: %u | Failing: 0\n", test_ran_count,
	        test_ran_count - skipped);
	if (test_ran_count == 0)
		return 1;
	return skipped == test_ran_count ? 77 : 0;
}

#endif /* WEFT_TEST_PLAIN */
#endif /* WEFT_TEST_H */
