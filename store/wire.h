/*
 * wire.h: the messages between a store and the processes attached to it. One function writes them
 * and one reads them, for both ends.
 *
 * A message is one packet of a SOCK_SEQPACKET socket: it comes whole or not at all, and says its
 * own length, so that a part of one is never taken for one. Numbers are in the machine's order:
 * both ends are on one machine. Nothing in a message is an address.
 */
#ifndef WF_STORE_WIRE_H
#define WF_STORE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WF_WIRE_MAGIC     0x77656674u
#define WF_WIRE_VERSION   1u
#define WF_WIRE_HEAD      16u /* bytes in front of every message */
#define WF_WIRE_NAME_MAX  255u
#define WF_WIRE_META_MAX  (64u << 10)
#define WF_WIRE_DATA_MAX  1024u /* of a value that does not lie in the store */
#define WF_WIRE_TEXT_MAX  1023u
#define WF_WIRE_PINS_MAX  256u /* in one message */
#define WF_WIRE_NODES_MAX 64u
#define WF_WIRE_BYTES_MAX (WF_WIRE_META_MAX + 4096u)
#define WF_WIRE_INLINE    UINT64_MAX /* as an offset: the bytes are in the message */

enum wf_wire_kind {
	/* To the store. */
	WF_WIRE_HELLO = 1, /* the first: code is the version */
	WF_WIRE_GET,       /* by id, or by name */
	WF_WIRE_RELEASE,   /* pins; not answered */
	WF_WIRE_CANCEL, /* the request of this serial: its answer comes now; not answered itself */
	WF_WIRE_CREATE, /* `size` bytes of the file that comes along */
	WF_WIRE_REMOVE, /* by id: what this client has created */
	/* From the store. */
	WF_WIRE_WELCOME = 16, /* with a read-only file for each node */
	WF_WIRE_VALUE,
	WF_WIRE_CREATED,
	WF_WIRE_ANSWER, /* no value: a status and why */
};

#define WF_WIRE_WAIT      1u /* flag of GET, CREATE: until it is there, or has room */
#define WF_WIRE_CREATE_OK 1u /* flag of WELCOME: creating is allowed */

struct wf_wire {
	uint16_t kind, flags;
	uint64_t serial; /* of the request; not 0, but in what answers no request */
	uint64_t id;     /* GET, REMOVE, VALUE, CREATED */
	uint64_t size;   /* VALUE, CREATE */
	uint64_t offset; /* VALUE: in the mapping, or WF_WIRE_INLINE */
	uint64_t pin;    /* VALUE: what RELEASE gives back; 0: nothing */
	uint32_t tag;
	int32_t status, code; /* ANSWER; HELLO: code */
	const char *name;     /* GET, CREATE; ANSWER: the text; not terminated */
	const void *meta;     /* VALUE, CREATE */
	const void *data;     /* VALUE in the message; RELEASE: the pins, see wf_wire_pin() */
	uint32_t name_bytes, meta_bytes, data_bytes;
	/* WELCOME: what to map, and the limits. */
	uint32_t node_count, pid, requests_max, pins_max;
	uint64_t map_bytes, node_bytes;
	uint64_t node_offset[WF_WIRE_NODES_MAX];
};

/*
 * Write a message: its length; 0: it has something that no message may have, or has no room.
 * `bytes` and what the message points to must not overlap.
 */
size_t wf_wire_write(const struct wf_wire *wire, void *bytes, size_t room);
/*
 * Read a message; what it points to is in `bytes`. False: it is none, `*wire` is undefined. What
 * is read is written back by wf_wire_write() as the same bytes.
 */
bool wf_wire_read(const void *bytes, size_t size, struct wf_wire *wire);
/* Pin `i` of a RELEASE, i < data_bytes / 8. */
uint64_t wf_wire_pin(const struct wf_wire *wire, uint32_t i);

#endif /* WF_STORE_WIRE_H */
