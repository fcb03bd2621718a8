/*
 * actors.h: classes, bodies and short forms that the tests of actors share.
 */
#ifndef WEFT_TEST_ACTORS_H
#define WEFT_TEST_ACTORS_H

#include "api.h"
#include "test.h"

/* Counts what happened to all actors of a test. */
struct act_log {
	struct api_count inits, finis, drops, inside, most, calls;
};

struct act_state {
	struct act_log *log;
	int64_t n, begun;
};

/* Class and state of most tests: init takes the log. */
static inline int act_init(weft_task *self)
{
	size_t size = 0;
	struct act_log *const *log = weft_task_arg(self, &size);
	struct act_state *state = weft_actor_state(self);

	API_CHECK(state && state->n == 0 && !state->log);
	if (size) {
		state->log = *log;
		api_add(&state->log->inits, 1);
	}
	return 0;
}

static inline int act_fini(weft_task *self)
{
	struct act_state *state = weft_actor_state(self);

	API_CHECK(state != NULL);
	if (state->log)
		api_add(&state->log->finis, 1);
	return 0;
}

static inline void act_drop(void *memory, size_t size)
{
	struct act_state *state = memory;

	API_CHECK(size == sizeof *state);
	if (state->log)
		api_add(&state->log->drops, 1);
}

#define ACT_CLASS_INIT(init_, ...) \
	WEFT_ACTOR_CLASS(.name = "act", .id = 7, .state_bytes = sizeof(struct act_state), \
	                 .init = (init_), .fini = act_fini, .drop = act_drop, __VA_ARGS__)
#define ACT_CLASS(...) ACT_CLASS_INIT(act_init, __VA_ARGS__)

static inline weft_actor act_create(weft *rt, const struct weft_actor_class *class_,
                                    const struct weft_actor_options *opts, struct act_log *log)
{
	weft_actor actor = { API_POISON };

	API_CHECK(weft_actor_create(rt, class_, opts,
	                            log ? &(struct weft_call){ API_POINTER(log) } : NULL,
	                            &actor) == 0);
	API_CHECK(actor.bits && actor.bits != API_POISON);
	return actor;
}

static inline weft_ref act_call(weft *rt, weft_actor actor, weft_task_fn *fn, const void *arg,
                                size_t size)
{
	weft_ref ref = WEFT_NONE;

	API_CHECK(weft_actor_call(rt, actor, fn, arg, size, &ref) == 0);
	API_CHECK(ref.bits != 0);
	return ref;
}

/* Adds its int64_t to the state and returns the sum. */
static inline int act_add(weft_task *self)
{
	struct act_state *state = weft_actor_state(self);

	state->n += *(const int64_t *)weft_task_arg(self, NULL);
	return weft_return(self, &state->n, sizeof state->n);
}

static inline int64_t act_value(weft *rt, weft_actor actor)
{
	return api_take_i64(rt, act_call(rt, actor, act_add, &(int64_t){ 0 }, 8));
}

static inline int act_phase(weft *rt, weft_actor actor)
{
	struct weft_actor_info info = { .struct_size = sizeof info };

	API_CHECK(weft_actor_info(rt, actor, &info) == 0);
	return info.phase;
}

static inline void act_await_phase(weft *rt, weft_actor actor, int phase)
{
	const int64_t start = api_now();

	while (act_phase(rt, actor) != phase)
		api_polling(start, "an actor's phase");
}

static inline void act_await_dead(weft *rt, weft_actor actor)
{
	weft_ref died = WEFT_NONE;
	struct weft_view view;

	API_CHECK(weft_actor_died(rt, actor, &died) == 0);
	const int rc = weft_get(rt, died, WEFT_FOREVER, &view);

	API_CHECK(rc == 0 || rc == WEFT_EACTOR);
	api_release(rt, died);
}

static inline void act_release(weft *rt, weft_actor actor)
{
	API_CHECK(weft_actor_release(rt, actor) == 0);
}

#endif /* WEFT_TEST_ACTORS_H */
