/*
 * service.h: the service thread: timers, what comes from outside, the search for deadlocks. A part
 * of runtime.h, which includes it.
 */
#ifndef WF_SERVICE_H
#define WF_SERVICE_H

int wf_service_start(weft *rt);
void wf_service_stop(weft *rt);
void wf_service_ring(weft *rt, uint32_t flags); /* async-signal-safe */
int wf_timer_reserve(weft *rt);                 /* 0, -ENOMEM: one that is to come cannot fail */
void wf_timer_unreserve(weft *rt);
int wf_timer_add(struct wf_wait *wait);     /* 0, -ENOMEM */
void wf_timer_remove(struct wf_wait *wait); /* no-op when it has fired */
/* A reserved one, of a task; it takes over a count of the cell. */
void wf_timer_add_task(weft *rt, struct wf_timer *timer, uint32_t cell);
/* True: it had not fired, and its count of the cell is the caller's. */
bool wf_timer_remove_task(weft *rt, struct wf_timer *timer);
void wf_timers_fire(weft *rt, int64_t now);
bool wf_deadlock_search(weft *rt); /* false: disturbed, look again later */
/*
 * scarce.c, for the search, which has the locks of all stacks: what waits for resources, and who
 * holds some, as long as nothing is given or taken; NULL: no memory. `hopeful` is read meanwhile.
 */
struct wf_scarce;
struct wf_scarce *wf_scarce_begin(weft *rt, const uint8_t *hopeful, uint32_t fibers);
void wf_scarce_end(struct wf_scarce *s);
/* Whether a queued task does not wait for resources of which too little can ever come back. */
bool wf_scarce_hopeful(const struct wf_scarce *s, uint32_t cell);
/* The name of one that is so, borrowed until the runtime is closed; NULL: none. */
const char *wf_scarce_of(const struct wf_scarce *s);
bool wf_covered(weft *rt, struct wf_cell *cell, const uint8_t *hopeful, uint32_t fibers);

#endif /* WF_SERVICE_H */
