/*
 * order.h: the order of a deterministic runtime, see WEFT_OPEN_DETERMINISTIC. A part of runtime.h,
 * which includes it.
 */
#ifndef WF_ORDER_H
#define WF_ORDER_H

struct wf_order_list {
	void **at;
	uint32_t count, room;
};

struct wf_order {
	struct wf_random random;
	struct wf_order_list ready[WF_PRIORITIES];
	void *yielded;          /* lets one other thing run before it; NULL: none */
	uint64_t items;         /* taken */
	uint64_t hash;          /* of them and of the times, in their order */
	uint32_t patience;      /* looks in vain while something is outside */
	bool stuck;             /* nothing in the runtime will go on by itself */
	struct wf_a32 kept;     /* items in the lists, and the one that has yielded */
	struct wf_a32 outside;  /* waits that other threads will end: transfers, room */
};

int wf_order_create(weft *rt); /* when the options ask for it; 0, -ENOMEM */
void wf_order_destroy(weft *rt);
/* In place of wf_next_item(), which it is there. NULL: stop, or stuck. */
void *wf_order_next(struct wf_worker *worker);
/* A body gives way: its stack comes after at least one other thing. */
void wf_order_yield(struct wf_local *self, struct wf_fiber *fiber);
/* One of `n`. */
uint32_t wf_order_below(struct wf_order *order, uint32_t n);
/* As local->stack_floor: whether a get may run its task in place is for the seed to say. */
char *wf_order_floor(struct wf_local *self);
/* How many ready things it keeps; of one priority. */
uint32_t wf_order_count(const struct wf_order *order);
/* In place of wf_ticks(): an item counts as a certain time. */
uint64_t wf_order_ticks(const weft *rt);

/* Around a wait that a thread outside the runtime's own order ends. */
static inline void wf_outside_begin(weft *rt)
{
	if (rt->order)
		/* relaxed, both: the one thread that runs tasks looks, and looks again. */
		wf_add_relaxed(&rt->order->outside, 1);
}

static inline void wf_outside_end(weft *rt)
{
	if (rt->order)
		wf_add_relaxed(&rt->order->outside, (uint32_t)-1); /* relaxed: as above. */
}

/* ---- worker.c, for order.c ------------------------------------------------------------------ */

void *wf_pop_own(struct wf_worker *worker);
void *wf_take_shared(struct wf_worker *worker);
/* Of a helper's own deque: forks of the bodies that it runs. What else is there is for others. */
void *wf_pop_only(struct wf_worker *worker);
bool wf_must_stop(struct wf_worker *worker);
void wf_sleep_begin(struct wf_worker *worker);
void wf_sleep_end(struct wf_worker *worker);
int64_t wf_timer_next(weft *rt); /* when the earliest is due; WF_FOREVER: there is none */

#endif /* WF_ORDER_H */
