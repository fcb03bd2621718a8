/*
 * switch_ucontext.c: the switch where nobody wrote one in assembler, by ucontext(3). Also built on
 * request (-Dfiber=ucontext), so that the portable twin runs the same tests.
 *
 * A suspended flow is a pointer to a `struct box`: of a running flow it lies in the frame that
 * called the switch, of a made one at the top of its stack. Two system calls a switch: swapcontext
 * sets the signal mask, and to keep it the thread's, as the door promises, the mask of the moment
 * is written into the flow that is resumed.
 */
#include "stacks.h"

#include <signal.h>
#include <ucontext.h>

struct box {
	ucontext_t uc;
	void *arg;
	wf_context_entry_fn *entry;
	struct wf_fiber *fiber;
	wf_fiber_fn *fn;
};

void *wf_context_swap(struct wf_context *from, const struct wf_context *to, void *arg)
{
	struct box own;
	struct box *next = to->sp;

	WF_CHECK(next != NULL);
	next->arg = arg;
	WF_CHECK(pthread_sigmask(SIG_SETMASK, NULL, &next->uc.uc_sigmask) == 0);
	from->sp = &own;
	WF_CHECK(swapcontext(&own.uc, &next->uc) == 0);
	return own.arg;
}

/* makecontext() passes ints, so the pointer comes in halves. */
static void begin(unsigned int high, unsigned int low)
{
	struct box *box = (struct box *)(((uintptr_t)high << 16 << 16) | (uintptr_t)low);

	box->entry(box->fiber, box->arg, box->fn);
	__builtin_trap(); /* a fiber's function returned */
}

void *wf_context_make(char *top, wf_context_entry_fn *entry, struct wf_fiber *fiber,
                      wf_fiber_fn *fn)
{
	uintptr_t address = ((uintptr_t)top - sizeof(struct box)) & ~(uintptr_t)63;
	struct box *box = (struct box *)address;

	WF_CHECK(getcontext(&box->uc) == 0);
	box->uc.uc_stack.ss_sp = fiber->lo;
	box->uc.uc_stack.ss_size = (size_t)((char *)box - fiber->lo);
	box->uc.uc_link = NULL;
	box->arg = NULL;
	box->entry = entry;
	box->fiber = fiber;
	box->fn = fn;
	makecontext(&box->uc, (void (*)(void))begin, 2, (unsigned int)((uint64_t)address >> 32),
	            (unsigned int)address);
	return box;
}
