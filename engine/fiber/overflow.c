/*
 * overflow.c: dying well. A fault inside a guard region ends the process with one line that names
 * the task; every other fault goes to whom it went before.
 *
 * The handler runs on the alternate stack of the thread (there is no room on the one that
 * overflowed). It writes the line, puts the default action back and returns: the instruction
 * faults again and the process dies of the signal at the place that overflowed, which is what a
 * core dump then shows.
 *
 * Shared: `slots`, type-stable and never freed, so that a handler may look at them at any time,
 *   also while a pool goes. Each is a sequence lock: `version` is odd while the slot is empty or
 *   being written, and a reader that sees it changed disregards what it read. A fault inside a
 *   guard cannot be missed by that: the pool of a fiber that runs stays. Written under
 *   `install_lock`; `handled_*` too, while no handler is installed that reads them.
 * Invariants: installed_count = slots in use; while it is positive our handler is installed, or
 *   somebody installed one over it later.
 * Progress: the handler is wait-free; install and uninstall block on each other.
 */
#include "stacks.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME_BYTES_MAX  256u
/* What the handler and those it chains to may use, besides what the kernel stores there. */
#define ALT_STACK_BYTES 65536u

struct wf_overflow_slot {
	struct wf_a32 version;
	struct wf_aptr base;
	struct wf_a64 range_bytes;
	struct wf_a64 stride_bytes;
	struct wf_a64 guard_bytes;
	struct wf_aptr describe;
};

struct hit {
	size_t stack_bytes;
	wf_overflow_describe_fn *describe;
};

static struct wf_overflow_slot slots[WF_OVERFLOW_POOLS_MAX];
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t installed_count;
static struct handled {
	int signal_number;
	bool installed;
	struct sigaction previous;
} handled_segv = { .signal_number = SIGSEGV }, handled_bus = { .signal_number = SIGBUS };

/* ---- The line ---------------------------------------------------------------------------- */

static size_t append(char *text, size_t at, const char *what, size_t most)
{
	while (*what && most-- > 0)
		text[at++] = *what++;
	return at;
}

static size_t append_number(char *text, size_t at, size_t number)
{
	char digits[24];
	size_t i = sizeof(digits) - 1;

	digits[i] = '\0';
	do {
		digits[--i] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	return append(text, at, digits + i, sizeof(digits));
}

/* Async-signal-safe. */
static void write_line(size_t stack_bytes, wf_overflow_describe_fn *describe)
{
	char text[NAME_BYTES_MAX + 128];
	const char *name = describe ? describe() : NULL;
	size_t at = 0;

	at = append(text, at, "weft: stack overflow in task ", SIZE_MAX);
	at = append(text, at, name ? name : "(unknown)", NAME_BYTES_MAX);
	at = append(text, at, " (stack of ", SIZE_MAX);
	at = append_number(text, at, stack_bytes);
	at = append(text, at, " bytes; raise weft_options.stack_bytes)\n", SIZE_MAX);
	/* Nothing is left to be done when standard error is closed. */
	if (write(STDERR_FILENO, text, at) < 0)
		return;
}

_Noreturn void wf_overflow_die(const struct wf_stacks *stacks)
{
	write_line(stacks->stack_bytes, stacks->describe);
	abort();
}

/* ---- The handler ------------------------------------------------------------------------- */

static bool slot_hit(const struct wf_overflow_slot *slot, uintptr_t at, struct hit *hit)
{
	/* acquire [O1]: the fields as published by the release [O2]. */
	uint32_t version = wf_load_acquire(&slot->version);
	uintptr_t base;
	uint64_t range_bytes, stride_bytes, guard_bytes;

	if (version & 1)
		return false;
	/*
	 * acquire [O3], each: were one of them written by a later install, then so is visible the
	 * odd version that this install stored before, by its release [O4].
	 */
	base = wf_load_acquire(&slot->base);
	range_bytes = wf_load_acquire(&slot->range_bytes);
	stride_bytes = wf_load_acquire(&slot->stride_bytes);
	guard_bytes = wf_load_acquire(&slot->guard_bytes);
	hit->describe = (wf_overflow_describe_fn *)wf_load_acquire(&slot->describe);
	hit->stack_bytes = (size_t)(stride_bytes - guard_bytes);
	/* relaxed: ordered behind the loads [O3]. */
	if (wf_load_relaxed(&slot->version) != version)
		return false;
	return at >= base && at - base < range_bytes && (at - base) % stride_bytes < guard_bytes;
}

static void default_action(int signal_number)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = SIG_DFL;
	sigemptyset(&action.sa_mask);
	(void)sigaction(signal_number, &action, NULL);
}

/* What the kernel would have done without us; but on the alternate stack, whatever they asked. */
static void chain(int signal_number, siginfo_t *info, void *machine)
{
	struct sigaction *previous =
		signal_number == SIGSEGV ? &handled_segv.previous : &handled_bus.previous;
	void (*handler)(int) = previous->sa_handler;
	void (*action)(int, siginfo_t *, void *) = previous->sa_sigaction;
	sigset_t mask = previous->sa_mask;
	bool sent = info->si_code <= 0; /* by kill(2) and the like: nothing will fault again */

	if (!(previous->sa_flags & SA_SIGINFO) && (handler == SIG_DFL || handler == SIG_IGN)) {
		if (sent && handler == SIG_IGN)
			return;
		/* A fault that is ignored kills all the same. */
		default_action(signal_number);
		if (sent)
			(void)raise(signal_number);
		return;
	}
	if (previous->sa_flags & SA_RESETHAND)
		previous->sa_handler = SIG_DFL;
	/* The signal itself is blocked while our handler runs. */
	(void)pthread_sigmask(SIG_BLOCK, &mask, NULL);
	if (previous->sa_flags & SA_NODEFER) {
		sigemptyset(&mask);
		sigaddset(&mask, signal_number);
		(void)pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
	}
	if (previous->sa_flags & SA_SIGINFO)
		action(signal_number, info, machine);
	else
		handler(signal_number);
}

static void on_fault(int signal_number, siginfo_t *info, void *machine)
{
	int saved_errno = errno;
	struct hit hit;

	/* A signal that was sent carries no address. */
	for (uint32_t i = 0; info->si_code > 0 && i < WF_OVERFLOW_POOLS_MAX; i++) {
		if (!slot_hit(&slots[i], (uintptr_t)info->si_addr, &hit))
			continue;
		write_line(hit.stack_bytes, hit.describe);
		default_action(signal_number);
		errno = saved_errno;
		return;
	}
	chain(signal_number, info, machine);
	errno = saved_errno;
}

/* ---- Installing -------------------------------------------------------------------------- */

/* Whether the action of the signal is ours, or somebody's who may pass on to us. */
static bool still_reached(const struct sigaction *now)
{
	return (now->sa_flags & SA_SIGINFO) ||
		(now->sa_handler != SIG_DFL && now->sa_handler != SIG_IGN);
}

/*
 * Caller holds install_lock. A handler that was installed over ours may chain to it for ever, so
 * ours then stays behind it, also while no pool is there; installed once more it would become its
 * own predecessor.
 */
static void install_handler(struct handled *handled)
{
	struct sigaction ours, now;

	WF_CHECK(sigaction(handled->signal_number, NULL, &now) == 0);
	if (handled->installed && still_reached(&now))
		return;
	/* First what was, then ours: the handler may run at once, and reads it. */
	handled->previous = now;
	memset(&ours, 0, sizeof(ours));
	ours.sa_sigaction = on_fault;
	ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigemptyset(&ours.sa_mask);
	WF_CHECK(sigaction(handled->signal_number, &ours, NULL) == 0);
	handled->installed = true;
}

/* Caller holds install_lock. */
static void uninstall_handler(struct handled *handled)
{
	struct sigaction now;

	WF_CHECK(handled->installed);
	WF_CHECK(sigaction(handled->signal_number, NULL, &now) == 0);
	if (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_fault)
		return;
	WF_CHECK(sigaction(handled->signal_number, &handled->previous, NULL) == 0);
	handled->installed = false;
}

static void fill_slot(struct wf_overflow_slot *slot, const struct wf_stacks *stacks)
{
	/* relaxed: slots are written under install_lock only. */
	uint32_t version = wf_load_relaxed(&slot->version);

	/* release [O4], each: the odd version stored before, by this or by clear_slot(). */
	wf_store_release(&slot->base, (uintptr_t)stacks->base);
	wf_store_release(&slot->range_bytes, stacks->range_bytes);
	wf_store_release(&slot->stride_bytes, stacks->stride_bytes);
	wf_store_release(&slot->guard_bytes, stacks->guard_bytes);
	wf_store_release(&slot->describe, (uintptr_t)stacks->describe);
	/* release [O2]: the fields, to the acquire [O1]. */
	wf_store_release(&slot->version, version + 1);
}

static struct wf_overflow_slot *free_slot(void)
{
	static bool initialised;

	if (!initialised) {
		/* Odd: empty. Zeroed memory would be a published pool of no bytes. */
		for (uint32_t i = 0; i < WF_OVERFLOW_POOLS_MAX; i++)
			wf_init(&slots[i].version, 1);
		initialised = true;
	}
	for (uint32_t i = 0; i < WF_OVERFLOW_POOLS_MAX; i++)
		/* relaxed: written under install_lock only. */
		if (wf_load_relaxed(&slots[i].version) & 1)
			return &slots[i];
	return NULL;
}

int wf_overflow_install(struct wf_stacks *stacks, wf_overflow_describe_fn *describe)
{
	struct wf_overflow_slot *slot;

	WF_CHECK(stacks != NULL);
	WF_CHECK(stacks->slot == NULL);
	WF_CHECK(pthread_mutex_lock(&install_lock) == 0);
	slot = free_slot();
	if (slot) {
		stacks->describe = describe;
		stacks->slot = slot;
		fill_slot(slot, stacks);
		if (installed_count++ == 0) {
			install_handler(&handled_segv);
			install_handler(&handled_bus);
		}
	}
	WF_CHECK(pthread_mutex_unlock(&install_lock) == 0);
	return slot ? 0 : -EAGAIN;
}

void wf_overflow_uninstall(struct wf_stacks *stacks)
{
	if (!stacks || !stacks->slot)
		return;
	WF_CHECK(pthread_mutex_lock(&install_lock) == 0);
	WF_CHECK(installed_count > 0);
	if (--installed_count == 0) {
		uninstall_handler(&handled_segv);
		uninstall_handler(&handled_bus);
	}
	/* relaxed: a reader that still sees it even finds the old fields or, by [O4], this. */
	wf_store_relaxed(&stacks->slot->version, wf_load_relaxed(&stacks->slot->version) + 1);
	stacks->slot = NULL;
	stacks->describe = NULL;
	WF_CHECK(pthread_mutex_unlock(&install_lock) == 0);
}

/* ---- Alternate stacks -------------------------------------------------------------------- */

/* A thread's own, used outside of fibers only: no address of it lives across a switch. */
static _Thread_local char *alt_stack;
static _Thread_local size_t alt_stack_bytes;
static _Thread_local uint32_t alt_stack_users;

int wf_overflow_thread_init(void)
{
	/* The kernel's frame alone may be larger than the old constant, with wide vectors. */
	long kernel_bytes = sysconf(_SC_MINSIGSTKSZ);
	stack_t now;

	if (alt_stack_users++ > 0)
		return 0;
	WF_CHECK(sigaltstack(NULL, &now) == 0);
	if (!(now.ss_flags & SS_DISABLE))
		return 0;
	alt_stack_bytes = ALT_STACK_BYTES + (kernel_bytes > 0 ? (size_t)kernel_bytes : 0);
	alt_stack = wf_map(alt_stack_bytes, PROT_READ | PROT_WRITE);
	if (!alt_stack) {
		alt_stack_users = 0;
		return -ENOMEM;
	}
	now.ss_sp = alt_stack;
	now.ss_size = alt_stack_bytes;
	now.ss_flags = 0;
	WF_CHECK(sigaltstack(&now, NULL) == 0);
	return 0;
}

void wf_overflow_thread_fini(void)
{
	stack_t now;

	WF_CHECK(alt_stack_users > 0);
	if (--alt_stack_users > 0 || !alt_stack)
		return;
	WF_CHECK(sigaltstack(NULL, &now) == 0);
	/* Somebody may have put theirs in place of ours. */
	if (now.ss_sp == alt_stack) {
		now.ss_flags = SS_DISABLE;
		WF_CHECK(sigaltstack(&now, NULL) == 0);
	}
	wf_unmap(alt_stack, alt_stack_bytes);
	alt_stack = NULL;
}
