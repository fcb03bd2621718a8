/*
 * Unit tests of engine/fiber/overflow.c: how a process dies of a stack overflow, and that every
 * other fault goes where it went before.
 *
 * Goal: an overflow ends in one line that names the task and in death by a signal; the handlers of
 * the embedder see what they saw before. Method: each scenario runs in a forked child whose
 * standard error is a pipe; the parent reads it to the end and looks at the wait status. A handler
 * that was reached says so in text: valgrind gives a child that faulted an exit status of its own.
 */
#include "fiber.h"
#include "stacks.h"
#include "test.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_BYTES 65536u
#define LINE \
	"weft: stack overflow in task deep-task (stack of 65536 bytes; " \
	"raise weft_options.stack_bytes)\n"

static struct wf_context here;

/* ---- What a child does ------------------------------------------------------------------- */

struct ending {
	int status;
	char text[8192];
};

static struct ending run_child(void (*scenario)(void *), void *arg)
{
	static struct ending ending;
	size_t length = 0;
	ssize_t got;
	int ends[2];
	pid_t child;

	memset(&ending, 0, sizeof(ending));
	fflush(stderr);
	cr_assert_eq(pipe(ends), 0);
	child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		struct rlimit none = { 0, 0 };

		(void)setrlimit(RLIMIT_CORE, &none);
		(void)dup2(ends[1], STDERR_FILENO);
		(void)close(ends[0]);
		(void)close(ends[1]);
		scenario(arg);
		_Exit(0);
	}
	(void)close(ends[1]);
	/* What does not fit is read all the same: the child must not block on the pipe. */
	while ((got = read(ends[0], ending.text + length, sizeof(ending.text) - 1 - length)) > 0)
		if (length + (size_t)got < sizeof(ending.text) - 1024)
			length += (size_t)got;
	ending.text[length] = '\0';
	(void)close(ends[0]);
	cr_assert_eq(waitpid(child, &ending.status, 0), child);
	return ending;
}

static bool died_of(const struct ending *ending, int signal_number)
{
	return WIFSIGNALED(ending->status) && WTERMSIG(ending->status) == signal_number;
}

static const char *describe(void)
{
	return "deep-task";
}

static const char *describe_nothing(void)
{
	return NULL;
}

static const char *describe_at_length(void)
{
	static char name[2000];

	memset(name, 'n', sizeof(name) - 1);
	return name;
}

static void must(bool good)
{
	if (!good)
		_Exit(99);
}

static struct wf_stacks *pool_of(enum wf_guard guard, wf_overflow_describe_fn *fn)
{
	struct wf_stacks *stacks;

	must(wf_stacks_create(&stacks, STACK_BYTES, 64, guard) == 0);
	must(wf_overflow_install(stacks, fn) == 0);
	must(wf_overflow_thread_init() == 0);
	return stacks;
}

static WF_NOINLINE int sink(int depth)
{
	char block[256];

	__asm__ volatile("" : : "r"(block) : "memory");
	if (depth > 0)
		depth += sink(depth + 1);
	__asm__ volatile("" : : "r"(block) : "memory");
	return depth;
}

static void sink_in_fiber(struct wf_fiber *fiber, void *arg)
{
	(void)sink(1);
	wf_context_leave(&fiber->ctx, &here, arg);
}

static void enter(struct wf_stacks *stacks, wf_fiber_fn *fn)
{
	struct wf_stack_cache cache = { 0 };
	struct wf_fiber *fiber = NULL;

	/* Not the first one: the address must be found in the middle of the range. */
	for (int i = 0; i < 7; i++)
		fiber = wf_fiber_get(stacks, &cache);
	must(fiber != NULL);
	wf_fiber_prepare(fiber, fn);
	(void)wf_context_switch(&here, &fiber->ctx, NULL);
}

/* ---- Overflows --------------------------------------------------------------------------- */

struct overflow {
	enum wf_guard guard;
	wf_overflow_describe_fn *describe;
};

static void overflow(void *arg)
{
	const struct overflow *overflow = arg;

	enter(pool_of(overflow->guard, overflow->describe), sink_in_fiber);
}

static bool kind_works(enum wf_guard guard)
{
	struct wf_stacks *stacks = NULL;

	if (wf_stacks_create(&stacks, STACK_BYTES, 64, guard) != 0)
		return false;
	wf_stacks_destroy(stacks);
	return true;
}

static void check_overflow(enum wf_guard guard)
{
	struct overflow what = { guard, describe };
	struct ending ending = run_child(overflow, &what);

	cr_assert(died_of(&ending, SIGSEGV) || died_of(&ending, SIGBUS), "status %x: %s",
	          (unsigned)ending.status, ending.text);
	cr_assert_not_null(strstr(ending.text, LINE), "said: %s", ending.text);
}

Test(fiber_overflow, dies_by_signal_and_names_the_task_with_madvise_guards)
{
	if (!kind_works(WF_GUARD_MADVISE))
		test_skip("the kernel has no guard regions");
	check_overflow(WF_GUARD_MADVISE);
}

Test(fiber_overflow, dies_by_signal_and_names_the_task_with_mprotect_guards)
{
	check_overflow(WF_GUARD_MPROTECT);
}

Test(fiber_overflow, a_task_without_a_name_is_unknown)
{
	static wf_overflow_describe_fn *const functions[] = { NULL, describe_nothing };

	for (int i = 0; i < 2; i++) {
		struct overflow what = { WF_GUARD_AUTO, functions[i] };
		struct ending ending = run_child(overflow, &what);

		cr_assert(died_of(&ending, SIGSEGV) || died_of(&ending, SIGBUS));
		cr_assert_not_null(strstr(ending.text, "in task (unknown) (stack of 65536 bytes"));
	}
}

Test(fiber_overflow, an_endless_name_is_cut)
{
	struct overflow what = { WF_GUARD_AUTO, describe_at_length };
	struct ending ending = run_child(overflow, &what);
	char *name = strstr(ending.text, "in task nnn");

	cr_assert(died_of(&ending, SIGSEGV) || died_of(&ending, SIGBUS));
	cr_assert_not_null(name);
	cr_assert_eq(strspn(name + 8, "n"), 256u);
	cr_assert_not_null(strstr(name, "n (stack of 65536 bytes; raise"));
}

/* ---- Canaries ---------------------------------------------------------------------------- */

static void do_nothing(struct wf_fiber *fiber, void *arg)
{
	wf_context_leave(&fiber->ctx, &here, arg);
}

static void break_canary(struct wf_fiber *fiber)
{
	volatile uint64_t *low = (volatile uint64_t *)fiber->lo;

	low[5] = 0;
}

static void break_canary_before_put(void *arg)
{
	struct wf_stacks *stacks = pool_of(WF_GUARD_CANARY, describe);
	struct wf_stack_cache cache = { 0 };
	struct wf_fiber *fiber = wf_fiber_get(stacks, &cache);

	(void)arg;
	must(fiber != NULL);
	wf_fiber_prepare(fiber, do_nothing);
	(void)wf_context_switch(&here, &fiber->ctx, NULL);
	break_canary(fiber);
	wf_fiber_put(stacks, &cache, fiber);
}

Test(fiber_overflow, a_broken_canary_dies_at_put)
{
	struct ending ending = run_child(break_canary_before_put, NULL);

	cr_assert(died_of(&ending, SIGABRT), "status %x: %s", (unsigned)ending.status, ending.text);
	cr_assert_not_null(strstr(ending.text, LINE), "said: %s", ending.text);
}

static void break_canary_and_switch(struct wf_fiber *fiber, void *arg)
{
	break_canary(fiber);
	(void)wf_context_switch(&fiber->ctx, &here, arg);
}

static void break_canary_and_leave(struct wf_fiber *fiber, void *arg)
{
	break_canary(fiber);
	wf_context_leave(&fiber->ctx, &here, arg);
}

static void enter_canary_pool(void *arg)
{
	bool leave = arg != NULL;

	enter(pool_of(WF_GUARD_CANARY, describe),
	      leave ? break_canary_and_leave : break_canary_and_switch);
}

Test(fiber_overflow, a_broken_canary_dies_at_the_switch_in_debug_builds)
{
	if (!WF_CONTEXT_CHECKED)
		test_skip("release builds check at put only");
	for (int i = 0; i < 2; i++) {
		struct ending ending = run_child(enter_canary_pool, i ? &ending : NULL);

		cr_assert(died_of(&ending, SIGABRT), "status %x: %s", (unsigned)ending.status,
		          ending.text);
		cr_assert_not_null(strstr(ending.text, LINE), "said: %s", ending.text);
	}
}

/* ---- Other faults ------------------------------------------------------------------------ */

static char *forbidden(void)
{
	char *page = mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(page != MAP_FAILED);
	return page;
}

static char *volatile forbidden_page;

WF_NOT_INSTRUMENTED
static void touch_forbidden(void)
{
	*(volatile char *)forbidden_page = 1;
}

static void say(const char *text)
{
	must(write(STDERR_FILENO, text, strlen(text)) > 0);
}

static void user_action(int signal_number, siginfo_t *info, void *machine)
{
	must(signal_number == SIGSEGV);
	must(machine != NULL);
	must((char *)info->si_addr == forbidden_page);
	say("user's action");
	_Exit(0);
}

static void user_handler(int signal_number)
{
	sigset_t mask;

	must(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0);
	must(signal_number == SIGSEGV);
	say("user's handler");
	if (sigismember(&mask, SIGSEGV) == 1)
		say(", SEGV blocked");
	if (sigismember(&mask, SIGUSR1) == 1)
		say(", USR1 blocked");
	_Exit(0);
}

static void user_handler_that_returns(int signal_number)
{
	(void)signal_number;
	say("H");
}

static void install_user(int signal_number, void (*handler)(int), int flags, int mask_too)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = handler;
	action.sa_flags = flags;
	sigemptyset(&action.sa_mask);
	if (mask_too)
		sigaddset(&action.sa_mask, mask_too);
	must(sigaction(signal_number, &action, NULL) == 0);
}

static void fault_in_fiber(struct wf_fiber *fiber, void *arg)
{
	touch_forbidden();
	wf_context_leave(&fiber->ctx, &here, arg);
}

static void chained_to_action(void *arg)
{
	struct sigaction action;

	(void)arg;
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = user_action;
	action.sa_flags = SA_SIGINFO;
	sigemptyset(&action.sa_mask);
	must(sigaction(SIGSEGV, &action, NULL) == 0);
	forbidden_page = forbidden();
	enter(pool_of(WF_GUARD_AUTO, describe), fault_in_fiber);
}

Test(fiber_overflow, another_fault_reaches_the_users_action_with_its_address)
{
	struct ending ending = run_child(chained_to_action, NULL);

	cr_assert(WIFEXITED(ending.status));
	cr_assert_not_null(strstr(ending.text, "user's action"), "status %x: %s",
	                   (unsigned)ending.status, ending.text);
	cr_assert_null(strstr(ending.text, "stack overflow"));
}

static void overflow_with_handler(void *arg)
{
	install_user(SIGSEGV, user_handler_that_returns, 0, 0);
	overflow(arg);
}

Test(fiber_overflow, the_users_handler_does_not_see_an_overflow)
{
	struct overflow what = { WF_GUARD_AUTO, describe };
	struct ending ending = run_child(overflow_with_handler, &what);

	cr_assert(died_of(&ending, SIGSEGV), "status %x: %s", (unsigned)ending.status, ending.text);
	cr_assert_null(strchr(ending.text, 'H'));
}

/* A page of the stack itself, made unreadable by the program. */
static void fault_beside_the_guard(void *arg)
{
	struct wf_stack_cache cache = { 0 };
	struct wf_stacks *stacks;
	struct wf_fiber *fiber;

	(void)arg;
	install_user(SIGSEGV, user_handler, 0, 0);
	stacks = pool_of(WF_GUARD_AUTO, describe);
	fiber = wf_fiber_get(stacks, &cache);
	must(fiber != NULL && mprotect(fiber->lo, 4096, PROT_NONE) == 0);
	forbidden_page = fiber->lo;
	touch_forbidden();
}

Test(fiber_overflow, a_fault_inside_a_stack_is_no_overflow)
{
	struct ending ending = run_child(fault_beside_the_guard, NULL);

	cr_assert_not_null(strstr(ending.text, "user's handler"), "status %x: %s",
	                   (unsigned)ending.status, ending.text);
	cr_assert_null(strstr(ending.text, "stack overflow"));
}

static void chained_to_handler(void *arg)
{
	install_user(SIGSEGV, user_handler, *(int *)arg, SIGUSR1);
	forbidden_page = forbidden();
	enter(pool_of(WF_GUARD_AUTO, describe), fault_in_fiber);
}

Test(fiber_overflow, the_users_mask_and_nodefer_are_honoured)
{
	static int flags[] = { 0, SA_NODEFER };

	for (int i = 0; i < 2; i++) {
		struct ending ending = run_child(chained_to_handler, &flags[i]);

		cr_assert(WIFEXITED(ending.status));
		cr_assert_not_null(strstr(ending.text, "user's handler"), "status %x: %s",
		                   (unsigned)ending.status, ending.text);
		cr_assert_not_null(strstr(ending.text, "USR1 blocked"));
		cr_assert_eq(strstr(ending.text, "SEGV blocked") == NULL, flags[i] != 0);
	}
}

static void chained_to_default(void *arg)
{
	int signal_number = *(int *)arg;

	install_user(signal_number, SIG_DFL, 0, 0);
	(void)pool_of(WF_GUARD_AUTO, describe);
	forbidden_page = forbidden();
	if (signal_number == SIGSEGV)
		touch_forbidden();
	(void)raise(signal_number);
}

Test(fiber_overflow, without_a_users_handler_a_fault_kills_as_usual)
{
	static int signals[] = { SIGSEGV, SIGBUS };

	for (int i = 0; i < 2; i++) {
		struct ending ending = run_child(chained_to_default, &signals[i]);

		cr_assert(died_of(&ending, signals[i]), "status %x: %s", (unsigned)ending.status,
		          ending.text);
		cr_assert_null(strstr(ending.text, "stack overflow"));
	}
}

static void ignored(void *arg)
{
	install_user(SIGSEGV, SIG_IGN, 0, 0);
	(void)pool_of(WF_GUARD_AUTO, describe);
	must(raise(SIGSEGV) == 0);
	say("alive");
	forbidden_page = forbidden();
	if (arg)
		touch_forbidden();
}

Test(fiber_overflow, an_ignored_signal_is_ignored_and_an_ignored_fault_kills)
{
	struct ending ending = run_child(ignored, NULL);

	cr_assert(WIFEXITED(ending.status));
	cr_assert_not_null(strstr(ending.text, "alive"));
	ending = run_child(ignored, &ending);
	cr_assert(died_of(&ending, SIGSEGV));
	cr_assert_not_null(strstr(ending.text, "alive"));
}

static void one_shot(void *arg)
{
	(void)arg;
	install_user(SIGSEGV, user_handler_that_returns, (int)SA_RESETHAND, 0);
	(void)pool_of(WF_GUARD_AUTO, describe);
	(void)raise(SIGSEGV);
	(void)raise(SIGSEGV);
}

static size_t count_of(const char *text, char what)
{
	size_t count = 0;

	for (; *text; text++)
		count += *text == what;
	return count;
}

Test(fiber_overflow, a_one_shot_handler_runs_once)
{
	struct ending ending = run_child(one_shot, NULL);

	cr_assert(died_of(&ending, SIGSEGV));
	cr_assert_eq(count_of(ending.text, 'H'), 1u);
}

/* ---- Installing -------------------------------------------------------------------------- */

static void restored(void *arg)
{
	struct wf_stacks *one, *two;

	(void)arg;
	install_user(SIGSEGV, user_handler, 0, 0);
	one = pool_of(WF_GUARD_AUTO, describe);
	two = pool_of(WF_GUARD_AUTO, describe);
	for (int i = 0; i < 2; i++) {
		struct sigaction now;

		/* Ours stays until the last pool has gone. */
		must(sigaction(SIGSEGV, NULL, &now) == 0 && now.sa_handler != user_handler);
		wf_overflow_uninstall(i ? two : one);
		wf_overflow_uninstall(i ? two : one);
	}
	wf_overflow_uninstall(NULL);
	wf_stacks_destroy(one);
	wf_stacks_destroy(two);
	wf_overflow_thread_fini();
	wf_overflow_thread_fini();
	forbidden_page = forbidden();
	touch_forbidden();
}

Test(fiber_overflow, the_last_pool_restores_the_users_handler)
{
	struct ending ending = run_child(restored, NULL);

	cr_assert(WIFEXITED(ending.status));
	cr_assert_not_null(strstr(ending.text, "user's handler"), "status %x: %s",
	                   (unsigned)ending.status, ending.text);
}

static struct sigaction covered_action;

static void covering_handler(int signal_number, siginfo_t *info, void *machine)
{
	say("H");
	covered_action.sa_sigaction(signal_number, info, machine);
}

/* Somebody installs over ours and keeps a pointer to it: ours must never chain to itself. */
static void covered(void *arg)
{
	struct wf_stacks *stacks;
	struct sigaction action;

	install_user(SIGSEGV, SIG_DFL, 0, 0);
	stacks = pool_of(WF_GUARD_AUTO, describe);
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = covering_handler;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigemptyset(&action.sa_mask);
	must(sigaction(SIGSEGV, &action, &covered_action) == 0);
	wf_overflow_uninstall(stacks);
	must(sigaction(SIGSEGV, NULL, &action) == 0 && action.sa_sigaction == covering_handler);
	must(wf_overflow_install(stacks, describe) == 0);
	must(sigaction(SIGSEGV, NULL, &action) == 0 && action.sa_sigaction == covering_handler);
	if (arg)
		enter(stacks, sink_in_fiber);
	forbidden_page = forbidden();
	touch_forbidden();
}

Test(fiber_overflow, a_handler_installed_over_ours_stays_and_makes_no_loop)
{
	struct ending ending = run_child(covered, NULL);

	cr_assert(died_of(&ending, SIGSEGV), "status %x: %s", (unsigned)ending.status, ending.text);
	cr_assert_eq(count_of(ending.text, 'H'), 1u);
	ending = run_child(covered, &ending);
	cr_assert(died_of(&ending, SIGSEGV));
	cr_assert_not_null(strstr(ending.text, LINE), "said: %s", ending.text);
}

/* The program threw ours away while no pool was there: the next pool brings it back. */
static void thrown_away(void *arg)
{
	struct wf_stacks *stacks = pool_of(WF_GUARD_AUTO, describe);

	(void)arg;
	install_user(SIGSEGV, SIG_DFL, 0, 0);
	install_user(SIGBUS, SIG_DFL, 0, 0);
	wf_overflow_uninstall(stacks);
	must(wf_overflow_install(stacks, describe) == 0);
	enter(stacks, sink_in_fiber);
}

Test(fiber_overflow, a_handler_that_was_thrown_away_is_installed_again)
{
	struct ending ending = run_child(thrown_away, NULL);

	cr_assert(died_of(&ending, SIGSEGV) || died_of(&ending, SIGBUS));
	cr_assert_not_null(strstr(ending.text, LINE), "said: %s", ending.text);
}

Test(fiber_overflow, too_many_pools_are_refused)
{
	static struct wf_stacks *pools[WF_OVERFLOW_POOLS_MAX + 1];

	for (uint32_t i = 0; i <= WF_OVERFLOW_POOLS_MAX; i++) {
		int expected = i < WF_OVERFLOW_POOLS_MAX ? 0 : -EAGAIN;

		cr_assert_eq(wf_stacks_create(&pools[i], STACK_BYTES, 1, WF_GUARD_CANARY), 0);
		cr_assert_eq(wf_overflow_install(pools[i], describe), expected);
	}
	wf_overflow_uninstall(pools[100]);
	cr_assert_eq(wf_overflow_install(pools[WF_OVERFLOW_POOLS_MAX], describe), 0);
	for (uint32_t i = 0; i <= WF_OVERFLOW_POOLS_MAX; i++) {
		wf_overflow_uninstall(pools[i]);
		wf_stacks_destroy(pools[i]);
	}
}

/* ---- Alternate stacks -------------------------------------------------------------------- */

static void alternate_stacks(void *arg)
{
	static char own[65536];
	stack_t stack = { .ss_flags = SS_DISABLE }, now;

	(void)arg;
	must(sigaltstack(&stack, NULL) == 0);
	must(wf_overflow_thread_init() == 0);
	must(wf_overflow_thread_init() == 0);
	must(sigaltstack(NULL, &stack) == 0);
	must(stack.ss_flags == 0 && stack.ss_size >= 65536);
	wf_overflow_thread_fini();
	must(sigaltstack(NULL, &now) == 0 && now.ss_sp == stack.ss_sp);
	wf_overflow_thread_fini();
	must(sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE));
	/* One that is there is kept, before and after. */
	stack.ss_sp = own;
	stack.ss_size = sizeof(own);
	stack.ss_flags = 0;
	must(sigaltstack(&stack, NULL) == 0);
	must(wf_overflow_thread_init() == 0);
	must(sigaltstack(NULL, &now) == 0 && now.ss_sp == (void *)own);
	wf_overflow_thread_fini();
	must(sigaltstack(NULL, &now) == 0 && now.ss_sp == (void *)own);
	/* And one that replaced ours is not taken away. */
	stack.ss_flags = SS_DISABLE;
	must(sigaltstack(&stack, NULL) == 0);
	must(wf_overflow_thread_init() == 0);
	stack.ss_flags = 0;
	must(sigaltstack(&stack, NULL) == 0);
	wf_overflow_thread_fini();
	must(sigaltstack(NULL, &now) == 0 && now.ss_sp == (void *)own);
}

Test(fiber_overflow, alternate_stacks_are_counted_and_others_are_kept)
{
	struct ending ending = run_child(alternate_stacks, NULL);

	cr_assert(WIFEXITED(ending.status) && WEXITSTATUS(ending.status) == 0, "status %x: %s",
	          (unsigned)ending.status, ending.text);
}
