/*
 * weft_arrow.h: objects of the store as Arrow arrays, by the Arrow C Data Interface.
 *
 * The interface is an ABI, two structs of plain pointers with a release callback each
 * (https://arrow.apache.org/docs/format/CDataInterface.html), so nothing of Arrow is linked. An
 * imported array is one sealed object that describes itself: it can be spilled, passed between
 * tasks and read by attached processes like any other; an export looks into it without a copy.
 */
#ifndef WEFT_ARROW_H
#define WEFT_ARROW_H

#include "weft.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE

#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE           2
#define ARROW_FLAG_MAP_KEYS_SORTED    4

struct ArrowSchema {
	const char *format;
	const char *name;
	const char *metadata;
	int64_t flags;
	int64_t n_children;
	struct ArrowSchema **children;
	struct ArrowSchema *dictionary;
	void (*release)(struct ArrowSchema *);
	void *private_data;
};

struct ArrowArray {
	int64_t length;
	int64_t null_count;
	int64_t offset;
	int64_t n_buffers;
	int64_t n_children;
	const void **buffers;
	struct ArrowArray **children;
	struct ArrowArray *dictionary;
	void (*release)(struct ArrowArray *);
	void *private_data;
};

#endif /* ARROW_C_DATA_INTERFACE */

/* Type tag of objects that hold an Arrow array. */
#define WEFT_ARROW_TAG 0x57524141u /* "AARW" */

/*
 * Copy an array of any type, children and dictionaries included, into one object.
 *
 * Owned:    `*out` is the caller's. `schema` and `array` are consumed on success: both are
 *           released, their `release` is NULL. On failure they are still the caller's.
 * Context:  any thread, any task. May suspend while the store is full.
 * Errors:   -EINVAL a released struct, or schema and array do not match; -ENOTSUP a format this
 *           version does not know; -EMSGSIZE deeper than 64 levels or more than 65,535 nodes;
 *           otherwise as weft_create(). `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_arrow_import(weft *rt, struct ArrowSchema *schema,
                                           struct ArrowArray *array, weft_ref *out);
/*
 * Look at such an object as an Arrow array, without a copy.
 *
 * Owned:    `*schema` and `*array` are the caller's, who calls their release callbacks, from any
 *           thread, before weft_close(); children may be moved out and released by themselves.
 *           Each keeps the ref and a view of the object until then, so the caller may release its
 *           own count of `ref` at once.
 * Context:  any thread, any task. May suspend: waits for the ref, and for a spilled object.
 * Errors:   -EINVAL the value is no Arrow object, or is damaged; otherwise as weft_get().
 *           Both structs untouched.
 */
WEFT_API WEFT_NODISC int weft_arrow_export(weft *rt, weft_ref ref, struct ArrowSchema *schema,
                                           struct ArrowArray *array);

#ifdef __cplusplus
}
#endif
#endif /* WEFT_ARROW_H */
