/*
 * mpsc.c: the intrusive list, one operation at a time.
 *
 * Goal: order, the "was empty" answer, and reuse of nodes. Method: direct calls from one thread.
 */
#include "test.h"

#include "mpsc.h"

Test(mpsc, everything_comes_at_once_oldest_first)
{
	struct wf_mpsc q;
	struct wf_mpsc_node nodes[5];
	wf_mpsc_init(&q);
	cr_assert(wf_mpsc_is_empty(&q));
	cr_assert_null(wf_mpsc_take_all(&q));
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 5; i++)
			cr_assert_eq(wf_mpsc_push_mt(&q, &nodes[i]), i == 0);
		cr_assert_not(wf_mpsc_is_empty(&q));
		struct wf_mpsc_node *node = wf_mpsc_take_all(&q);
		for (int i = 0; i < 5; i++, node = wf_mpsc_next(node))
			cr_assert_eq(node, &nodes[i]);
		cr_assert_null(node);
		cr_assert(wf_mpsc_is_empty(&q));
		cr_assert_null(wf_mpsc_take_all(&q));
	}
}
