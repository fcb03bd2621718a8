/*
 * attach_request.c: what a client asks for, and the ledger of what it has pinned.
 *
 * A request is one of a fixed number of places of its client, so that no message makes the store
 * allocate but for metadata that it carries. It is answered exactly once; on the way it waits for a
 * name, for a value, for the store, or for the bytes of a creation.
 *
 * The store's own process never maps a file of a client's: a creation is fetched by pread(), which
 * cannot end in a signal whatever the client does to the file meanwhile. That it is sealed against
 * shrinking is asked for all the same, as that also tells a memory file from one on a disk or a
 * network, for which the thread would wait.
 *
 * Shared: all under the attachment's lock, but `copied` and what it stands for: the attachment's
 * thread alone.
 *
 * Invariants: client->pinned = bytes of all its pins; attach->pinned = sum over clients.
 * attach->created = bytes of listed items that clients made + of requests TICKET and COPY for them.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attach.h"

#define PINS_FIRST 16u

/* ---- Requests -------------------------------------------------------------------------------- */

void wf_request_free(struct wf_attach_request *request)
{
	struct wf_attach *attach = request->client->attach;

	WF_CHECK(request->phase != WF_REQUEST_FREE);
	if (request->item != NULL)
		wf_item_unuse(attach, request->item);
	if (request->fd >= 0)
		close(request->fd);
	wf_free(request->meta);
	request->item = NULL;
	request->meta = NULL;
	request->fd = -1;
	request->phase = WF_REQUEST_FREE;
}

/* The answer is known; `text` may be NULL. */
void wf_request_end(struct wf_attach_request *request, int status, int code, const char *text)
{
	struct wf_client *client = request->client;

	WF_CHECK(status <= 0);
	request->status = status;
	request->code = code;
	if (status < 0 && text != request->full.text)
		snprintf(request->full.text, sizeof(request->full.text), "%s",
		         text != NULL ? text : strerror(-status));
	request->phase = WF_REQUEST_ANSWER;
	request->next = NULL;
	if (client->answers == NULL)
		client->answers = request;
	else
		client->answers_last->next = request;
	client->answers_last = request;
}

__attribute__((format(printf, 3, 4))) static void end_because(struct wf_attach_request *request,
                                                              int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(request->full.text, sizeof(request->full.text), format, args);
	va_end(args);
	wf_request_end(request, status, status, request->full.text);
}

/* The store has no room, or no bytes. */
static void end_of_store(struct wf_attach_request *request, int rc)
{
	const struct wf_attach_options *o = &request->client->attach->options;
	const struct wf_store_loss *loss;

	WF_CHECK(rc < 0);
	if (rc == -ENOSPC) {
		wf_request_end(request, o->full_status, rc, request->full.text);
	} else if (rc == -EMSGSIZE) {
		end_because(request, o->full_status, "%" PRIu64 " bytes can never fit the store",
		            request->size);
	} else if (rc == -EIO && (loss = wf_object_loss(request->object)) != NULL) {
		wf_request_end(request, loss->code == -EBADMSG ? o->corrupt_status : o->lost_status,
		               loss->code, loss->text);
	} else {
		wf_request_end(request, rc, rc, NULL);
	}
}

/* ---- The ledger ------------------------------------------------------------------------------ */

static bool ledger_grow(struct wf_client *client)
{
	uint32_t room = client->pin_room == 0 ? PINS_FIRST : client->pin_room * 2;
	struct wf_pin *pins = wf_malloc(room * sizeof(pins[0]));

	WF_CHECK(client->pin_free == WF_PIN_NONE);
	WF_CHECK(room > client->pin_room);
	if (pins == NULL)
		return false;
	if (client->pin_room > 0)
		memcpy(pins, client->pins, client->pin_room * sizeof(pins[0]));
	for (uint32_t i = room; i-- > client->pin_room;) {
		pins[i] = (struct wf_pin){ .generation = 1, .next = client->pin_free };
		client->pin_free = i;
	}
	wf_free(client->pins);
	client->pins = pins;
	client->pin_room = room;
	return true;
}

/* Why the client may not pin `size` bytes more: it was told. */
static bool refuse_pin(struct wf_attach_request *request, uint64_t size)
{
	struct wf_client *client = request->client;
	struct wf_attach *attach = client->attach;

	WF_CHECK(client->pinned <= attach->pinned);
	if (client->pin_count >= attach->options.pins_max) {
		end_because(request, -EMFILE, "the client holds %" PRIu32 " values, its limit",
		            client->pin_count);
		return true;
	}
	if (size > attach->options.pinned_max ||
	    attach->pinned > attach->options.pinned_max - size) {
		end_because(request, -EDQUOT,
		            "%" PRIu64 " bytes more than the %" PRIu64
		            " that attached processes hold pass their limit of %" PRIu64,
		            size, attach->pinned, attach->options.pinned_max);
		return true;
	}
	if (client->pin_free == WF_PIN_NONE && !ledger_grow(client)) {
		wf_request_end(request, -ENOMEM, -ENOMEM, NULL);
		return true;
	}
	return false;
}

/* The request has a pin of its object, which goes into the ledger. */
static void grant(struct wf_attach_request *request)
{
	struct wf_client *client = request->client;
	uint32_t index = client->pin_free;
	struct wf_pin *pin = &client->pins[index];

	WF_CHECK(index < client->pin_room);
	WF_CHECK(pin->object == NULL);
	client->pin_free = pin->next;
	client->pin_count++;
	client->pinned += request->object->size;
	client->attach->pinned += request->object->size;
	pin->object = request->object;
	request->pin = (index + 1) | (uint64_t)pin->generation << 32;
	wf_request_end(request, 0, 0, NULL);
}

static void unpin(struct wf_client *client, struct wf_pin *pin)
{
	struct wf_attach *attach = client->attach;
	struct wf_object *object = pin->object;

	WF_CHECK(client->pin_count > 0);
	WF_CHECK(client->pinned >= object->size);
	client->pin_count--;
	client->pinned -= object->size;
	attach->pinned -= object->size;
	pin->object = NULL;
	pin->generation = pin->generation + 1 != 0 ? pin->generation + 1 : 1;
	pin->next = client->pin_free;
	client->pin_free = (uint32_t)(pin - client->pins);
	WF_CHECK(wf_object_unpin(attach->store, NULL, object, WF_OBJECT_PIN) == 0);
}

bool wf_ledger_release(struct wf_client *client, uint64_t id)
{
	uint32_t index = (uint32_t)id - 1;

	if (index >= client->pin_room || client->pins[index].object == NULL ||
	    client->pins[index].generation != id >> 32)
		return false;
	unpin(client, &client->pins[index]);
	return true;
}

void wf_ledger_clear(struct wf_client *client)
{
	for (uint32_t i = 0; i < client->pin_room; i++) {
		if (client->pins[i].object != NULL)
			unpin(client, &client->pins[i]);
	}
	WF_CHECK(client->pinned == 0);
	WF_CHECK(client->pin_count == 0);
}

/* ---- Getting --------------------------------------------------------------------------------- */

static void ticket_done(struct wf_store_ticket *ticket)
{
	struct wf_attach_request *request =
		wf_container_of(ticket, struct wf_attach_request, ticket);
	struct wf_attach *attach = request->client->attach;
	/* relaxed: only to have something to compare with. */
	uintptr_t top = wf_load_relaxed(&attach->done);

	if (request->kind == WF_WIRE_CREATE && ticket->status == 0)
		attach->options.room(attach->options.arg, true);
	/* relaxed: made visible by [A1], before anybody can think that all is done. */
	wf_add_relaxed(&attach->ringing, 1);
	do {
		request->next = (struct wf_attach_request *)top;
		/* release [A1]: the ticket's outcome, to the thread's take. */
	} while (!wf_cas_release(&attach->done, &top, (uintptr_t)request));
	wf_attach_wake(attach);
	/* release [A3]: the last touch of the attachment. */
	wf_add_release(&attach->ringing, (uint32_t)-1);
}

static void send_ticket(struct wf_attach_request *request)
{
	struct wf_attach *attach = request->client->attach;

	request->ticket = (struct wf_store_ticket){ .done = ticket_done, .full = &request->full };
	if (request->kind == WF_WIRE_GET) {
		request->ticket.objects = &request->object;
		request->ticket.count = 1;
		request->ticket.unit = WF_OBJECT_PIN;
	} else {
		request->ticket.size = request->size;
	}
	request->phase = WF_REQUEST_TICKET;
	WF_CHECK(request->kind != WF_WIRE_REMOVE);
	attach->tickets++;
	wf_store_wait(attach->store, &request->ticket);
}

static void pin_item(struct wf_attach_request *request)
{
	struct wf_store *store = request->client->attach->store;
	int rc;

	request->object = request->item->object;
	request->size = request->object->size;
	if (refuse_pin(request, request->size))
		return;
	rc = wf_object_pin(store, request->object, WF_OBJECT_PIN);
	if (rc == 0) {
		grant(request);
	} else if (rc == -EAGAIN && request->wait) {
		send_ticket(request);
	} else if (rc == -EAGAIN) {
		wf_store_prefetch(store, request->object);
		wf_request_end(request, -ETIMEDOUT, 0, "it is spilled, and on its way back");
	} else {
		end_of_store(request, rc);
	}
}

void wf_request_go_on(struct wf_attach_request *request, struct wf_item *item)
{
	WF_CHECK(request->item == NULL);
	request->item = item;
	request->id = item->id;
	item->users++;
	switch (item->state) {
	case WF_ITEM_PENDING:
	case WF_ITEM_WANTED:
		if (!request->wait) {
			wf_request_end(request, -ETIMEDOUT, 0, "it is not ready");
			break;
		}
		request->phase = WF_REQUEST_ITEM;
		request->next = item->waiters;
		item->waiters = request;
		break;
	case WF_ITEM_OBJECT:
		pin_item(request);
		break;
	case WF_ITEM_BYTES:
		wf_request_end(request, 0, 0, NULL);
		break;
	case WF_ITEM_FAILED:
		wf_request_end(request, item->status, item->code, item->bytes);
		break;
	}
}

static void start_get(struct wf_attach_request *request, const struct wf_wire *wire)
{
	struct wf_client *client = request->client;
	struct wf_item *item;

	WF_CHECK(request->kind == WF_WIRE_GET);
	client->gets++;
	if (wire->id != 0)
		item = wf_item_by_id(client->attach, wire->id);
	else
		item = wf_item_by_name(client->attach, request->name);
	if (item != NULL)
		wf_request_go_on(request, item);
	else if (wire->id != 0)
		end_because(request, -ENOENT, "nothing is exported as #%" PRIu64, wire->id);
	else if (!request->wait)
		end_because(request, -ENOENT, "nothing is exported as \"%s\"", request->name);
	else
		request->phase = WF_REQUEST_NAME;
}

/* ---- Creating -------------------------------------------------------------------------------- */

static void created_give_back(struct wf_attach_request *request)
{
	struct wf_attach *attach = request->client->attach;

	WF_CHECK(attach->created >= request->size);
	attach->created -= request->size;
}

/* NULL, or what is wrong with the file that came along. */
static const char *look_at_file(const struct wf_attach_request *request)
{
	struct stat st;
	int seals;

	if (request->fd < 0)
		return "no file came along";
	seals = fcntl(request->fd, F_GET_SEALS);
	if (seals < 0 || (seals & F_SEAL_SHRINK) == 0)
		return "the file is no memory file sealed against shrinking";
	if (fstat(request->fd, &st) != 0 || st.st_size < 0 || (uint64_t)st.st_size < request->size)
		return "the file is shorter than the value";
	return NULL;
}

/* Whether somebody else has the name, or there is no room for one more. */
static int look_at_name(struct wf_attach_request *request, struct wf_item **wanted)
{
	struct wf_attach *attach = request->client->attach;

	*wanted = NULL;
	if (request->name[0] != '\0')
		*wanted = wf_item_by_name(attach, request->name);
	if (*wanted != NULL)
		return (*wanted)->state == WF_ITEM_WANTED ? 0 : -EEXIST;
	return attach->item_count < attach->options.names_max ? 0 : -ENFILE;
}

static void end_of_name(struct wf_attach_request *request, int rc)
{
	if (rc == -EEXIST)
		end_because(request, rc, "\"%s\" is exported already", request->name);
	else
		end_because(request, rc, "%" PRIu32 " values are exported, the limit",
		            request->client->attach->options.names_max);
}

static void start_create(struct wf_attach_request *request, const struct wf_wire *wire)
{
	struct wf_attach *attach = request->client->attach;
	const char *wrong = look_at_file(request);
	struct wf_item *wanted;
	int rc = look_at_name(request, &wanted);

	WF_CHECK(request->kind == WF_WIRE_CREATE);
	request->client->creates++;
	if (!attach->options.create) {
		wf_request_end(request, -EPERM, -EPERM, "attached processes may not create");
	} else if (wrong != NULL) {
		wf_request_end(request, -EINVAL, -EINVAL, wrong);
	} else if (rc < 0) {
		end_of_name(request, rc);
	} else if (request->size > attach->options.created_max ||
	           attach->created > attach->options.created_max - request->size) {
		end_because(request, -EDQUOT,
		            "%" PRIu64 " bytes more than the %" PRIu64
		            " that attached processes have created pass their limit of %" PRIu64,
		            request->size, attach->created, attach->options.created_max);
	} else if (wire->meta_bytes > 0 && (request->meta = wf_malloc(wire->meta_bytes)) == NULL) {
		wf_request_end(request, -ENOMEM, -ENOMEM, NULL);
	} else {
		if (wire->meta_bytes > 0)
			memcpy(request->meta, wire->meta, wire->meta_bytes);
		request->meta_bytes = wire->meta_bytes;
		attach->created += request->size;
		attach->options.room(attach->options.arg, true);
		rc = wf_store_create(attach->store, NULL, request->size, &request->object);
		if (rc != 0)
			attach->options.room(attach->options.arg, false);
		if (rc == 0) {
			request->phase = WF_REQUEST_COPY;
		} else if (rc == -EAGAIN && request->wait) {
			send_ticket(request);
		} else {
			created_give_back(request);
			end_of_store(request, rc == -EAGAIN ? -ETIMEDOUT : rc);
		}
	}
}

int wf_request_copy(struct wf_attach_request *request)
{
	struct wf_attach *attach = request->client->attach;
	char *to = wf_object_writable(attach->store, request->object);
	uint64_t left = request->size - request->copied;
	ssize_t got;

	WF_CHECK(request->phase == WF_REQUEST_COPY);
	WF_CHECK(request->copied <= request->size);
	if (left == 0)
		return 1;
	got = pread(request->fd, to + request->copied,
	            left < WF_ATTACH_COPY ? (size_t)left : (size_t)WF_ATTACH_COPY,
	            (off_t)request->copied);
	if (got < 0)
		return errno == EINTR ? 0 : -errno;
	if (got == 0)
		return -EINVAL;
	request->copied += (uint64_t)got;
	WF_CHECK(request->copied <= request->size);
	return request->copied == request->size;
}

static void discard(struct wf_attach_request *request)
{
	struct wf_attach *attach = request->client->attach;

	wf_object_delete(attach->store, NULL, request->object);
	attach->options.room(attach->options.arg, false);
	created_give_back(request);
}

/* Its object is sealed and has an owner: give it its name. 0 or -errno, then the owner is gone. */
static int list_created(struct wf_attach_request *request, struct wf_item *item, uint64_t owner)
{
	struct wf_attach *attach = request->client->attach;
	int rc = 0;

	if (item == NULL)
		rc = wf_item_create(attach, request->name, owner, &item);
	if (rc < 0) {
		attach->options.drop(attach->options.arg, owner, false);
		return rc;
	}
	WF_CHECK(item->listed);
	WF_CHECK(item->created == 0);
	item->owner = owner;
	item->object = request->object;
	item->state = WF_ITEM_OBJECT;
	item->creator = request->client->id;
	item->created = request->size;
	request->id = item->id;
	wf_item_serve(attach, item);
	return 0;
}

void wf_request_copied(struct wf_attach_request *request, int status)
{
	struct wf_attach *attach = request->client->attach;
	const struct wf_attach_options *o = &attach->options;
	struct wf_item *wanted = NULL;
	uint64_t owner = 0;
	int rc = status;

	WF_CHECK(request->phase == WF_REQUEST_COPY);
	if (rc >= 0)
		rc = look_at_name(request, &wanted);
	if (rc == -EEXIST || rc == -ENFILE) {
		discard(request);
		end_of_name(request, rc);
		return;
	}
	request->object->tag = request->tag;
	if (rc == 0 && request->meta_bytes > 0)
		rc = o->set_meta(o->arg, request->object, request->meta, request->meta_bytes);
	if (rc == 0) {
		WF_CHECK(wf_object_seal(attach->store, request->object, 0, 0) == 0);
		rc = o->adopt(o->arg, request->object, wanted != NULL ? wanted->owner : 0, &owner);
	}
	if (rc < 0) {
		discard(request);
		wf_request_end(request, rc, rc, NULL);
		return;
	}
	o->room(o->arg, false);
	rc = list_created(request, wanted, owner);
	if (rc < 0)
		created_give_back(request);
	wf_request_end(request, rc, rc, NULL);
}

/* ---- The rest of a request's ways ------------------------------------------------------------ */

void wf_request_done(struct wf_attach_request *request)
{
	struct wf_client *client = request->client;
	struct wf_attach *attach = client->attach;
	int rc = request->ticket.status;

	WF_CHECK(request->phase == WF_REQUEST_TICKET);
	WF_CHECK(attach->tickets > 0);
	attach->tickets--;
	if (request->kind == WF_WIRE_CREATE) {
		if (rc == 0)
			request->object = request->ticket.object;
		request->phase = WF_REQUEST_COPY;
		if (rc == 0 && client->fd >= 0)
			return;
		if (rc == 0)
			discard(request);
		else
			created_give_back(request);
	} else if (rc == 0 && (client->fd < 0 || refuse_pin(request, request->size))) {
		WF_CHECK(wf_object_unpin(attach->store, NULL, request->object, WF_OBJECT_PIN) == 0);
	}
	if (client->fd < 0)
		wf_request_free(request);
	else if (rc < 0)
		end_of_store(request, rc);
	else if (request->phase == WF_REQUEST_TICKET)
		grant(request);
}

static void leave_waiters(struct wf_attach_request *request)
{
	struct wf_attach_request **at = &request->item->waiters;

	while (*at != request)
		at = &(*at)->next;
	*at = request->next;
}

/* Stop what it does. False: it cannot be stopped any more, its end is near. */
bool wf_request_stop(struct wf_attach_request *request)
{
	struct wf_attach *attach = request->client->attach;

	switch (request->phase) {
	case WF_REQUEST_ITEM:
		leave_waiters(request);
		return true;
	case WF_REQUEST_TICKET:
		if (!wf_store_cancel(attach->store, &request->ticket))
			return false;
		attach->tickets--;
		if (request->kind == WF_WIRE_CREATE)
			created_give_back(request);
		return true;
	case WF_REQUEST_COPY:
		discard(request);
		return true;
	default:
		return request->phase == WF_REQUEST_NAME;
	}
}

void wf_request_cancel(struct wf_client *client, uint64_t serial)
{
	for (uint32_t i = 0; i < WF_ATTACH_REQUESTS; i++) {
		struct wf_attach_request *request = &client->requests[i];
		bool unnamed = request->phase == WF_REQUEST_NAME;

		/* What is being fetched needs only a moment more. */
		if (request->phase == WF_REQUEST_FREE || request->phase == WF_REQUEST_ANSWER ||
		    request->phase == WF_REQUEST_COPY || request->serial != serial ||
		    !wf_request_stop(request))
			continue;
		if (unnamed)
			end_because(request, -ENOENT, "nothing is exported as \"%s\"",
			            request->name);
		else
			wf_request_end(request, -ETIMEDOUT, 0, "it did not come in time");
	}
}

static void start_remove(struct wf_attach_request *request, uint64_t id)
{
	struct wf_client *client = request->client;
	struct wf_item *item = wf_item_by_id(client->attach, id);

	WF_CHECK(request->kind == WF_WIRE_REMOVE);
	if (item == NULL) {
		end_because(request, -ENOENT, "nothing is exported as #%" PRIu64, id);
	} else if (item->creator != client->id) {
		end_because(request, -EPERM, "#%" PRIu64 " was made by somebody else", id);
	} else {
		wf_item_unlist(client->attach, item);
		wf_request_end(request, 0, 0, NULL);
	}
}

bool wf_request_start(struct wf_client *client, const struct wf_wire *wire, int fd)
{
	struct wf_attach_request *request = NULL;

	for (uint32_t i = 0; request == NULL && i < WF_ATTACH_REQUESTS; i++) {
		if (client->requests[i].phase == WF_REQUEST_FREE)
			request = &client->requests[i];
	}
	if (request == NULL)
		return false;
	WF_CHECK(request->item == NULL);
	WF_CHECK(request->meta == NULL);
	request->kind = wire->kind;
	request->phase = WF_REQUEST_NAME;
	request->serial = wire->serial;
	request->wait = (wire->flags & WF_WIRE_WAIT) != 0;
	request->fd = fd;
	request->tag = wire->tag;
	request->size = wire->size;
	request->copied = request->id = request->pin = 0;
	request->object = NULL;
	request->meta_bytes = 0;
	WF_CHECK(wire->name_bytes <= WF_ATTACH_NAME_MAX);
	if (wire->name_bytes > 0)
		memcpy(request->name, wire->name, wire->name_bytes);
	request->name[wire->name_bytes] = '\0';
	if (wire->kind == WF_WIRE_GET)
		start_get(request, wire);
	else if (wire->kind == WF_WIRE_CREATE)
		start_create(request, wire);
	else
		start_remove(request, wire->id);
	return true;
}
