/*
 * Faults in engine/fiber: each allocation, mapping and file that the room asks for fails in turn.
 *
 * Goal: a refusal gives the documented error or a documented lesser service (fewer stacks, another
 * guard, a canary), outputs are untouched, nothing leaks, and the next attempt succeeds. Method:
 * one scenario through the whole door, run again and again with the n-th fault point failing,
 * until n is beyond the last; what is mapped must be the same after each.
 */
#include "fiber.h"
#include "stacks.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void must(bool good, const char *what, int line)
{
	if (good)
		return;
	fprintf(stderr, "failed at line %d: %s\n", line, what);
	_Exit(1);
}
#define MUST(x)     must((x), #x, __LINE__)

#define STACK_BYTES 65536u
#define MAX         200u

static struct wf_context here;

static void work(struct wf_fiber *fiber, void *arg)
{
	wf_context_leave(&fiber->ctx, &here, (char *)arg + 1);
}

static const char *describe(void)
{
	return "fault test";
}

/* From the list of mappings, which an emulator shows of the program alone. */
static uint64_t mapped_bytes(void)
{
	unsigned long long low, high;
	uint64_t total = 0;
	char line[512];
	FILE *file = fopen("/proc/self/maps", "r");

	MUST(file != NULL);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%llx-%llx", &low, &high) == 2)
			total += high - low;
	(void)fclose(file);
	MUST(total > 0);
	return total;
}

/* What a runtime does with the room. 0, or the refusal. */
static int scenario(enum wf_guard guard)
{
	struct wf_stacks *const poison = (struct wf_stacks *)&here;
	struct wf_stacks *stacks = poison;
	struct wf_stack_cache cache = { 0 };
	char byte = 0;
	int rc = wf_stacks_create(&stacks, STACK_BYTES, MAX, guard);

	if (rc) {
		MUST(stacks == poison);
		return rc;
	}
	MUST(wf_stacks_max(stacks) == MAX || wf_stacks_max(stacks) == MAX / 2);
	MUST(wf_overflow_install(stacks, describe) == 0);
	rc = wf_overflow_thread_init();
	for (uint32_t i = 0; !rc && i < 20; i++) {
		struct wf_fiber *fiber = wf_fiber_get(stacks, &cache);

		MUST(fiber != NULL);
		MUST(!fiber->ctx.canary || wf_canary_intact(fiber->ctx.canary));
		wf_fiber_prepare(fiber, work);
		MUST(wf_context_switch(&here, &fiber->ctx, &byte) == &byte + 1);
	}
	for (uint32_t i = 0; i < wf_stacks_index_end(stacks); i++)
		wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, i));
	MUST(wf_stacks_unguarded(stacks) <= 1);
	wf_stack_cache_flush(stacks, &cache);
	wf_stacks_trim(stacks);
	if (!rc)
		wf_overflow_thread_fini();
	wf_overflow_uninstall(stacks);
	wf_stacks_destroy(stacks);
	return rc;
}

static void run_kind(enum wf_guard guard)
{
	uint64_t before, point, refused = 0;
	stack_t none = { .ss_flags = SS_DISABLE };

	/* A sanitizer gives each thread an alternate stack; without one, ours is made here. */
	MUST(sigaltstack(&none, NULL) == 0);
	if (scenario(guard) == -ENOTSUP) {
		printf("kind %d: not on this kernel\n", (int)guard);
		return;
	}
	before = mapped_bytes();
	for (point = 1;; point++) {
		int rc;

		wf_store_relaxed(&wf_guard_budget, 0);
		wf_fault_arm(-1, point);
		rc = scenario(guard);
		if (!wf_fault_fired())
			break;
		wf_fault_arm(-1, 0);
		/* A forced guard whose trial fails is not available. */
		MUST(rc == 0 || rc == -ENOMEM || (rc == -ENOTSUP && guard != WF_GUARD_AUTO));
		refused += rc != 0;
		MUST(scenario(guard) == 0);
		/* Sanitizers map shadow and tables as they like. */
		if (!WF_ASAN && !WF_TSAN)
			MUST(mapped_bytes() == before);
	}
	wf_fault_arm(-1, 0);
	printf("kind %d: %llu points, %llu refused\n", (int)guard, (unsigned long long)point - 1,
	       (unsigned long long)refused);
	/* At least: the pool, its two mappings, the alternate stack; the pool's is a refusal. */
	MUST(point > 4 && refused >= 2);
}

int main(void)
{
	run_kind(WF_GUARD_AUTO);
	run_kind(WF_GUARD_MADVISE);
	run_kind(WF_GUARD_MPROTECT);
	run_kind(WF_GUARD_CANARY);
	return 0;
}
