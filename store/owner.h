/*
 * owner.h: who made a file: a process of one boot. And file names that say so, and that keep any
 * text as a name.
 */
#ifndef WF_STORE_OWNER_H
#define WF_STORE_OWNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wf_owner {
	uint32_t pid;
	uint64_t start; /* in ticks since boot; 0: not known */
	uint64_t boot;  /* of the boot's id; 0: not known */
};

/* This process. What /proc does not tell stays 0. */
void wf_owner_self(struct wf_owner *owner);
/* False only when it is certain that the process has ended. A zombie has. */
bool wf_owner_alive(const struct wf_owner *owner);

/*
 * The file name of a name: letters, digits, "_-.+=@,:" and bytes above 127 as they are, the rest,
 * and a dot in front, as %XX. So no name is a path, is hidden, or is another's.
 * Errors: -EINVAL empty, -ENAMETOOLONG more than `max` bytes.
 */
int wf_name_encode(char *out, size_t max, const char *name);
/* Back. False: `file` is not what wf_name_encode() makes. `out` has room for as many bytes. */
bool wf_name_decode(char *out, const char *file);

/* Room for every private name. */
#define WF_ATTEMPT_BYTES 256u

/*
 * A private name: "." name.epoch.attempt.serial.pid.start.boot "~", numbers in hex. No two of a
 * running machine are equal.
 * Errors: as wf_name_encode(), with WF_DATASET_NAME_MAX.
 */
int wf_attempt_name(
	char out[static WF_ATTEMPT_BYTES], const char *name, uint64_t epoch, uint32_t attempt);
/* Whether `file` is such a name, and whose. */
bool wf_attempt_parse(const char *file, struct wf_owner *owner);

#endif /* WF_STORE_OWNER_H */
