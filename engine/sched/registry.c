/*
 * registry.c: the open runtimes of this process: weft_current(), fork, stale pointers.
 */
#include <errno.h>

#include "runtime.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static weft *newest;
static uint32_t next_id = 1;
static bool fork_guarded;

/* In a fork child no worker exists: every runtime refuses, with a clear error. */
static void in_child(void)
{
	for (weft *rt = newest; rt; rt = rt->next_open)
		/* relaxed: a fork child has one thread. */
		wf_store_relaxed(&rt->gate, WF_GATE_FORKED);
}

static void before_fork(void)
{
	pthread_mutex_lock(&mutex);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&mutex);
}

static void after_fork_child(void)
{
	in_child();
	pthread_mutex_unlock(&mutex);
}

static void guard_fork(void)
{
	fork_guarded = !pthread_atfork(before_fork, after_fork, after_fork_child);
}

void wf_registry_lock(void)
{
	pthread_mutex_lock(&mutex);
}

void wf_registry_unlock(void)
{
	pthread_mutex_unlock(&mutex);
}

bool wf_registry_has(weft *rt, uint32_t id)
{
	for (weft *at = newest; at; at = at->next_open) {
		if (at == rt && at->id == id)
			return true;
	}
	return false;
}

int wf_registry_add(weft *rt)
{
	pthread_once(&once, guard_fork);
	if (!fork_guarded)
		return -ENOMEM;
	pthread_mutex_lock(&mutex);
	rt->id = next_id++;
	/* 1 .. 63: a handle's bits are never 0, and neighbours in time differ. */
	rt->salt = (rt->id % 63 + 1) << WF_SALT_SHIFT;
	rt->next_open = newest;
	newest = rt;
	pthread_mutex_unlock(&mutex);
	return 0;
}

void wf_registry_remove(weft *rt)
{
	pthread_mutex_lock(&mutex);
	for (weft **at = &newest; *at; at = &(*at)->next_open) {
		if (*at == rt) {
			*at = rt->next_open;
			wf_locals_detach(rt);
			break;
		}
	}
	pthread_mutex_unlock(&mutex);
}

weft *weft_current(void)
{
	struct wf_local *self = wf_self();

	if (self && self->current)
		return self->rt;
	pthread_mutex_lock(&mutex);
	weft *rt = newest;

	pthread_mutex_unlock(&mutex);
	return rt;
}
