/*
 * fake_driver.h: what a test does to the pretended driver of fake_driver.c, found by dlsym().
 */
#ifndef WEFT_TEST_FAKE_DRIVER_H
#define WEFT_TEST_FAKE_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

struct fake_counts {
	uint64_t calls, failed;
	uint64_t misuses;  /* no or another context current, flags that are wrong */
	uint64_t accesses; /* that pools were opened to other devices */
	uint64_t retained; /* contexts, in all */
	/* What was made and not given back. */
	int64_t contexts, streams, events, pools, memory, pinned, registered, modules, graphs;
};

/*
 * The entry `name` answers `code` once, `after` calls from now (0: the next); -100: it is not there
 * at all. NULL: none.
 */
typedef void fake_fail_fn(const char *name, int code, int after);
void fake_fail(const char *name, int code, int after);
/* Not once, but so many times more. */
typedef void fake_fail_more_fn(int times);
void fake_fail_more(int times);
/* So many queries of events find them pending. */
typedef void fake_event_queries_fn(int n);
void fake_event_queries(int n);
/* Everything as in the beginning. */
typedef void fake_reset_fn(void);
void fake_reset(void);
typedef struct fake_counts fake_counts_fn(void);
struct fake_counts fake_counts(void);
/* The device whose context is current here; -1: none, -2: captures are not minded here. */
typedef int fake_current_fn(void);
int fake_current(void);
/* As if somebody recorded a stream in the mode that other threads must mind. */
typedef void fake_capture_fn(bool on);
void fake_capture(bool on);
/* The next host function is called by fake_ring() only; false: there was none. */
typedef void fake_hold_doorbells_fn(void);
void fake_hold_doorbells(void);
typedef bool fake_ring_fn(void);
bool fake_ring(void);
/* As if users' code had made another context current; -1 none. */
typedef void fake_set_current_fn(int device);
void fake_set_current(int device);

#endif /* WEFT_TEST_FAKE_DRIVER_H */
