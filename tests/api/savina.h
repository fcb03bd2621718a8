/*
 * savina.h: what the programs of Savina share: a runtime with actors, and the event of their end.
 */
#ifndef WEFT_TEST_SAVINA_H
#define WEFT_TEST_SAVINA_H

#include "actors.h"

static weft_ref done;

static inline void tell(weft *rt, weft_actor to, weft_task_fn *fn, const void *arg, size_t size)
{
	int rc;

	while ((rc = weft_actor_call(rt, to, fn, arg, size, NULL)) == WEFT_ECALLS)
		API_CHECK(weft_actor_wait_room(rt, to, WEFT_FOREVER) == 0);
	API_CHECK(rc == 0);
}

static inline void finish(weft *rt, int64_t answer)
{
	API_CHECK(weft_event_set(rt, done, &answer, sizeof answer) == 0);
}

/* Of programs with many ends: the last one is the end. */
static struct api_count ends;
static uint64_t ends_wanted;

static inline void finish_one(weft *rt, int64_t answer)
{
	if (api_add(&ends, 1) == ends_wanted)
		finish(rt, answer);
}

static inline void expect_ends(uint64_t n)
{
	api_set(&ends, 0);
	ends_wanted = n;
}

struct program {
	weft *rt;
	weft_actor *actors;
	int n;
};

/* A runtime with `n` actors of a class, and the event of the end. */
static inline struct program begin(const struct weft_actor_class *class_, int n)
{
	struct program p = { .rt = api_open(2), .actors = calloc((size_t)n, sizeof(weft_actor)) };

	API_CHECK(p.actors != NULL);
	done = api_event(p.rt);
	for (p.n = 0; p.n < n; p.n++)
		p.actors[p.n] = act_create(p.rt, class_, NULL, NULL);
	return p;
}

static inline int64_t answer(struct program *p)
{
	return api_take_i64(p->rt, done);
}

static inline void end(struct program *p)
{
	for (int i = 0; i < p->n; i++)
		act_release(p->rt, p->actors[i]);
	api_close(p->rt);
	free(p->actors);
}

/* States and messages of all programs. */
struct state {
	int64_t a, b, c;
	int64_t slot[8];
	weft_actor next;
};

struct message {
	weft_actor from;
	int32_t kind;
	int32_t value;
};

static const struct weft_actor_class plain =
	WEFT_ACTOR_CLASS(.name = "savina", .state_bytes = sizeof(struct state));

static struct program *now; /* of the bodies that look actors up */

static inline int report_a(weft_task *self)
{
	return weft_return(self, &((struct state *)weft_actor_state(self))->a, sizeof(int64_t));
}

static inline int64_t sum_of_a(struct program *p)
{
	int64_t sum = 0;

	for (int i = 0; i < p->n; i++)
		sum += api_take_i64(p->rt, act_call(p->rt, p->actors[i], report_a, NULL, 0));
	return sum;
}

static inline int increment(weft_task *self)
{
	++((struct state *)weft_actor_state(self))->a;
	return 0;
}

#endif /* WEFT_TEST_SAVINA_H */
