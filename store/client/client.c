/*
 * client.c: the doors of libweft-client.
 *
 * What is held stands in a table with a generation for each place, so that a view given back twice,
 * also by a copy, is told from a good one and never frees anything twice. The store has its own
 * ledger and believes none of this.
 */
#include "weft_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "link.h"
#include "weft.h"

#define NS_PER_MS     1000000
#define CONNECT_AGAIN (2 * NS_PER_MS) /* between tries, while nobody listens */
#define HELD_FIRST    16u
#define HELD_NONE     UINT32_MAX
#define COPY_NS       10 /* a byte: 100 MB/s, far below what a store does */

/* ---- Errors ---------------------------------------------------------------------------------- */

/* The table of weft.h, of which nothing else is used here. */
static const struct {
	int status;
	const char *text;
} weft_texts[] = {
#define ENTRY(name, value, text) { value, text },
	WEFT_STATUS_LIST(ENTRY)
#undef ENTRY
};

const char *weft_client_strerror(int status)
{
	const char *text = NULL;

	for (size_t i = 0; i < sizeof(weft_texts) / sizeof(weft_texts[0]); i++) {
		if (weft_texts[i].status == status)
			return weft_texts[i].text;
	}
	if (status <= 0 && status > -4096)
		text = strerrordesc_np(-status);
	return text != NULL ? text : "unknown status";
}

static int fail(struct weft_client_error *error, int status, int code, const char *text,
                size_t bytes)
{
	WF_CHECK(status < 0);
	WF_CHECK(text != NULL || bytes == 0);
	if (error != NULL) {
		if (bytes >= sizeof(error->text))
			bytes = sizeof(error->text) - 1;
		error->status = status;
		error->code = code;
		memcpy(error->text, text, bytes);
		error->text[bytes] = '\0';
	}
	return status;
}

static int fail_plain(struct weft_client_error *error, int status)
{
	const char *text = weft_client_strerror(status);

	return fail(error, status, status, text, strlen(text));
}

/* What the store said. */
static int fail_answer(struct weft_client_error *error, const struct wf_wire *answer)
{
	WF_CHECK(answer->name_bytes <= WF_WIRE_TEXT_MAX);
	WF_CHECK(answer->status <= 0);
	if (answer->kind != WF_WIRE_ANSWER || answer->status == 0)
		return fail_plain(error, -EPROTO);
	if (answer->name_bytes == 0)
		return fail_plain(error, answer->status);
	return fail(error, answer->status, answer->code, answer->name, answer->name_bytes);
}

int64_t weft_client_after_ms(int64_t ms)
{
	int64_t now = wf_link_now();

	if (ms > (INT64_MAX - now) / NS_PER_MS)
		return INT64_MAX;
	return now + ms * NS_PER_MS;
}

/* ---- Attaching ------------------------------------------------------------------------------- */

static int connect_once(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc;

	WF_CHECK(address->sun_path[0] != '\0');
	if (fd < 0)
		return -errno;
	WF_POINT();
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0) {
		WF_POINT();
		return fd;
	}
	rc = -errno;
	WF_CHECK(rc < 0);
	close(fd);
	return rc;
}

/* A connected socket: waits for somebody to listen. */
static int connect_by(const char *path, int64_t until)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct timespec pause = { .tv_nsec = CONNECT_AGAIN };

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	WF_CHECK(address.sun_path[0] == path[0]);
	for (;;) {
		int fd = connect_once(&address);

		/* EAGAIN: many connect at once. */
		if ((fd != -ENOENT && fd != -ECONNREFUSED && fd != -EAGAIN && fd != -EINTR) ||
		    wf_link_now() >= until)
			return fd;
		nanosleep(&pause, NULL);
	}
}

/* The answer to hello, with the files: how many, or -errno. */
static int receive_welcome(struct weft_client *c, int64_t until, struct wf_wire *wire, int *fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WF_WIRE_NODES_MAX * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = c->in, .iov_len = WF_WIRE_BYTES_MAX };
	struct msghdr msg = { .msg_iov = &iov,
		              .msg_iovlen = 1,
		              .msg_control = control.bytes,
		              .msg_controllen = sizeof(control.bytes) };
	int count = 0;
	ssize_t got = -1;

	WF_CHECK(c->fd >= 0);
	/* A refusal may lie behind the reset that the store's early close has caused: once more. */
	for (int i = 0; got < 0 && i < 2; i++) {
		int rc = wf_link_poll(c->fd, POLLIN, until);

		if (rc != 0)
			return rc;
		got = recvmsg(c->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (got < 0 && errno != ECONNRESET)
			return -errno;
	}
	for (struct cmsghdr *head = got > 0 ? CMSG_FIRSTHDR(&msg) : NULL; head != NULL;
	     head = CMSG_NXTHDR(&msg, head)) {
		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		count = (int)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		WF_CHECK(count >= 0 && count <= (int)WF_WIRE_NODES_MAX);
		memcpy(fds, CMSG_DATA(head), (size_t)count * sizeof(int));
	}
	bool read = got > 0 && wf_wire_read(c->in, (size_t)got, wire);
	/* Files that this process has no descriptors for are left out. */
	bool cut = read && (msg.msg_flags & MSG_CTRUNC) != 0;

	if (read && !cut)
		return count;
	for (int i = 0; i < count; i++)
		close(fds[i]);
	return cut ? -EMFILE : got > 0 ? -EPROTO : -EPIPE;
}

/* One reservation, and every node's file in its place. */
static int map_store(struct weft_client *c, const struct wf_wire *wire, const int *fds)
{
	void *map = mmap(NULL, wire->map_bytes, PROT_NONE,
	                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	WF_CHECK(c->map == NULL);
	WF_CHECK(wire->node_count > 0 && wire->node_count <= WF_WIRE_NODES_MAX);
	if (map == MAP_FAILED)
		return -errno;
	c->map = map;
	c->map_bytes = wire->map_bytes;
	for (uint32_t i = 0; i < wire->node_count; i++) {
		WF_CHECK(wire->node_offset[i] + wire->node_bytes <= c->map_bytes);
		void *p = mmap(c->map + wire->node_offset[i], wire->node_bytes, PROT_READ,
		               MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fds[i], 0);

		if (p == MAP_FAILED)
			return -errno;
		(void)madvise(p, wire->node_bytes, MADV_DONTDUMP);
	}
	c->calls_max =
		wire->requests_max < WF_LINK_CALLS_MAX ? wire->requests_max : WF_LINK_CALLS_MAX;
	WF_CHECK(c->calls_max > 0);
	c->pins_max = wire->pins_max;
	c->store_pid = (int32_t)wire->pid;
	c->creates = (wire->flags & WF_WIRE_CREATE_OK) != 0;
	return 0;
}

static int hello(struct weft_client *c, int64_t until, struct weft_client_error *error)
{
	struct wf_wire wire = { .kind = WF_WIRE_HELLO,
		                .serial = ++c->serial,
		                .code = (int)WF_WIRE_VERSION };
	int fds[WF_WIRE_NODES_MAX], count, rc;
	size_t size = wf_wire_write(&wire, c->out, WF_WIRE_BYTES_MAX);

	memset(fds, -1, sizeof(fds));
	WF_CHECK(size > 0);
	/* When that fails, what there is to read says why. */
	(void)send(c->fd, c->out, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	WF_POINT();
	count = receive_welcome(c, until, &wire, fds);
	WF_POINT();
	if (count < 0)
		return fail_plain(error, count);
	WF_CHECK(count <= (int)WF_WIRE_NODES_MAX);
	if (wire.kind != WF_WIRE_WELCOME)
		rc = fail_answer(error, &wire);
	else if ((uint32_t)count != wire.node_count)
		rc = fail_plain(error, -EPROTO);
	else if ((rc = map_store(c, &wire, fds)) != 0)
		fail_plain(error, rc);
	for (int i = 0; i < count; i++)
		close(fds[i]);
	WF_POINT();
	return rc;
}

static void client_free(struct weft_client *c)
{
	/* Nobody is inside, and nobody may come. */
	WF_CHECK(!c->reading);
	WF_CHECK(c->calls == NULL);
	while (c->buffers != NULL) {
		struct wf_buffer *buffer = c->buffers;

		c->buffers = buffer->next;
		munmap(buffer->data, buffer->size > 0 ? buffer->size : 1);
		close(buffer->fd);
		free(buffer);
	}
	for (uint32_t i = 0; i < c->held_room; i++) {
		if (c->held[i].used)
			free(c->held[i].block);
	}
	if (c->fd >= 0)
		close(c->fd);
	if (c->map != NULL)
		munmap(c->map, c->map_bytes);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->changed);
	free(c->held);
	free(c->unsent);
	free(c->in);
	free(c->out);
	free(c);
}

static struct weft_client *client_make(void)
{
	struct weft_client *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;

	if (c == NULL)
		return NULL;
	WF_CHECK(pthread_condattr_init(&attr) == 0);
	WF_CHECK(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
	WF_CHECK(pthread_cond_init(&c->changed, &attr) == 0);
	pthread_condattr_destroy(&attr);
	WF_CHECK(pthread_mutex_init(&c->lock, NULL) == 0);
	c->fd = -1;
	c->process = getpid();
	c->held_free = HELD_NONE;
	c->in = malloc(WF_WIRE_BYTES_MAX);
	c->out = malloc(WF_WIRE_BYTES_MAX);
	if (c->in == NULL || c->out == NULL) {
		client_free(c);
		return NULL;
	}
	return c;
}

int weft_client_connect(const char *path, int64_t until, weft_client **out,
                        struct weft_client_error *error)
{
	int64_t least = wf_link_now() + WF_LINK_GRACE_NS;
	const int buffer = 256 << 10;
	struct weft_client *c;
	int rc;

	if (path == NULL || path[0] == '\0' || out == NULL)
		return fail_plain(error, -EINVAL);
	c = client_make();
	if (c == NULL)
		return fail_plain(error, -ENOMEM);
	rc = connect_by(path, until);
	if (rc >= 0) {
		c->fd = rc;
		(void)setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
		rc = hello(c, until > least ? until : least, error);
	} else {
		fail_plain(error, rc);
	}
	if (rc != 0) {
		client_free(c);
		return rc;
	}
	WF_CHECK(c->map != NULL);
	WF_CHECK(c->calls_max > 0);
	*out = c;
	return 0;
}

void weft_client_close(weft_client *client)
{
	if (client == NULL)
		return;
	WF_POINT();
	/* The last look: what has come too late is taken back. */
	if (client->process == getpid()) {
		pthread_mutex_lock(&client->lock);
		wf_link_look(client);
		pthread_mutex_unlock(&client->lock);
	}
	client_free(client);
	WF_POINT();
}

/* ---- What is held ---------------------------------------------------------------------------- */

/* Room for one more, with the lock held: 0 or -ENOMEM. */
static int held_reserve(struct weft_client *c)
{
	WF_CHECK(c->held_count + c->held_reserved <= c->held_room);
	if (c->held_count + c->held_reserved == c->held_room) {
		uint32_t room = c->held_room == 0 ? HELD_FIRST : c->held_room * 2;
		struct wf_held *held;
		uint64_t *unsent =
			realloc(c->unsent, (room + WF_LINK_CALLS_MAX) * sizeof(unsent[0]));

		if (unsent == NULL)
			return -ENOMEM;
		c->unsent = unsent;
		c->unsent_room = room + WF_LINK_CALLS_MAX;
		held = realloc(c->held, room * sizeof(held[0]));
		if (held == NULL)
			return -ENOMEM;
		for (uint32_t i = room; i-- > c->held_room;) {
			held[i] = (struct wf_held){ .generation = 1, .next = c->held_free };
			c->held_free = i;
		}
		WF_CHECK(room > c->held_room);
		c->held = held;
		c->held_room = room;
	}
	c->held_reserved++;
	return 0;
}

static uint64_t held_add(struct weft_client *c, uint64_t pin, void *block)
{
	uint32_t index = c->held_free;
	struct wf_held *held = &c->held[index];

	WF_CHECK(index < c->held_room);
	WF_CHECK(!held->used);
	c->held_free = held->next;
	c->held_count++;
	held->used = true;
	held->pin = pin;
	held->block = block;
	return (index + 1) | (uint64_t)held->generation << 32;
}

int weft_client_release(weft_client *client, struct weft_client_view *view)
{
	uint64_t handle = view != NULL ? view->private_[0] : 0;
	uint32_t index = (uint32_t)handle - 1;
	struct wf_held *held;
	int rc = -EINVAL;

	if (client == NULL || handle == 0)
		return -EINVAL;
	if (client->process != getpid())
		return -ECHILD;
	pthread_mutex_lock(&client->lock);
	held = index < client->held_room ? &client->held[index] : NULL;
	if (held != NULL && held->used && held->generation == handle >> 32) {
		if (held->pin != 0) {
			WF_CHECK(client->unsent_count < client->unsent_room);
			client->unsent[client->unsent_count++] = held->pin;
		}
		free(held->block);
		held->block = NULL;
		held->used = false;
		held->generation = held->generation + 1 != 0 ? held->generation + 1 : 1;
		held->next = client->held_free;
		client->held_free = index;
		WF_CHECK(client->held_count > 0);
		client->held_count--;
		wf_link_flush(client);
		rc = 0;
	}
	pthread_mutex_unlock(&client->lock);
	if (rc == 0)
		memset(view, 0, sizeof(*view));
	return rc;
}

/* ---- Looking at values ----------------------------------------------------------------------- */

static bool value_is_ours(const struct weft_client *c, const struct wf_wire *value)
{
	return value->kind == WF_WIRE_VALUE &&
		(value->offset == WF_WIRE_INLINE ||
	         (value->offset <= c->map_bytes && value->size <= c->map_bytes - value->offset));
}

static int get(weft_client *c, struct wf_wire *request, int64_t until,
               struct weft_client_view *view, struct weft_client_error *error)
{
	struct wf_call call;
	const struct wf_wire *value = &call.answer;
	bool is_ours;
	int rc;

	if (c->process != getpid())
		return fail_plain(error, -ECHILD);
	pthread_mutex_lock(&c->lock);
	rc = held_reserve(c);
	pthread_mutex_unlock(&c->lock);
	if (rc != 0)
		return fail_plain(error, rc);
	request->flags = until > wf_link_now() ? WF_WIRE_WAIT : 0;
	rc = wf_link_call(c, request, -1, until, 0, &call);
	is_ours = rc == 0 && value_is_ours(c, value);
	pthread_mutex_lock(&c->lock);
	WF_CHECK(c->held_reserved > 0);
	WF_CHECK(c->held_count < c->held_room);
	c->held_reserved--;
	if (is_ours)
		*view = (struct weft_client_view){ .size = value->size,
			                           .meta = value->meta,
			                           .meta_size = value->meta_bytes,
			                           .id = value->id,
			                           .tag = value->tag,
			                           .private_[0] =
			                                   held_add(c, value->pin, call.block) };
	pthread_mutex_unlock(&c->lock);
	if (!is_ours) {
		rc = rc != 0 ? fail_plain(error, rc) : fail_answer(error, value);
		free(call.block);
		return rc;
	}
	WF_CHECK(view->size == value->size);
	/* Without a block the message had no bytes: what it points to is not there any more. */
	if (call.block == NULL)
		view->meta = NULL;
	if (value->offset != WF_WIRE_INLINE)
		view->data = c->map + value->offset;
	else
		view->data = value->data_bytes > 0 ? value->data : "";
	return 0;
}

int weft_client_get(weft_client *client, const char *name, int64_t until,
                    struct weft_client_view *view, struct weft_client_error *error)
{
	struct wf_wire request = { .kind = WF_WIRE_GET, .name = name };
	size_t length = name != NULL ? strlen(name) : 0;

	if (client == NULL || view == NULL || length == 0 || length > WF_WIRE_NAME_MAX)
		return fail_plain(error, -EINVAL);
	request.name_bytes = (uint32_t)length;
	return get(client, &request, until, view, error);
}

int weft_client_get_id(weft_client *client, uint64_t id, int64_t until,
                       struct weft_client_view *view, struct weft_client_error *error)
{
	struct wf_wire request = { .kind = WF_WIRE_GET, .id = id };

	if (client == NULL || view == NULL || id == 0)
		return fail_plain(error, -EINVAL);
	return get(client, &request, until, view, error);
}

/* ---- Handing objects over -------------------------------------------------------------------- */

static int make_file(size_t size)
{
	struct rlimit limit;
	int fd, rc;

	/* A file that becomes longer than the limit ends in a signal. */
	if (size > INT64_MAX || (getrlimit(RLIMIT_FSIZE, &limit) == 0 && size > limit.rlim_cur))
		return -EFBIG;
	fd = memfd_create("weft-client", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) == 0)
		return fd;
	rc = -errno;
	WF_CHECK(rc < 0);
	close(fd);
	return rc;
}

int weft_client_create(weft_client *client, size_t size, struct weft_client_buffer *buffer)
{
	struct wf_buffer *b;
	int fd;

	if (client == NULL || buffer == NULL)
		return -EINVAL;
	if (client->process != getpid())
		return -ECHILD;
	b = calloc(1, sizeof(*b));
	fd = b != NULL ? make_file(size) : -ENOMEM;
	if (fd >= 0) {
		b->data =
			mmap(NULL, size > 0 ? size : 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (b->data == MAP_FAILED) {
			close(fd);
			fd = -ENOMEM;
		}
	}
	if (fd < 0) {
		free(b);
		return fd;
	}
	WF_CHECK(b->data != NULL);
	WF_CHECK(b->next == NULL);
	b->fd = fd;
	b->size = size;
	pthread_mutex_lock(&client->lock);
	b->number = ++client->serial;
	b->next = client->buffers;
	client->buffers = b;
	pthread_mutex_unlock(&client->lock);
	*buffer = (struct weft_client_buffer){ .data = b->data,
		                               .size = size,
		                               .private_[0] = b->number };
	WF_POINT();
	return 0;
}

/* Take the buffer off the list, so that nobody else has it: NULL, it is not there. */
static struct wf_buffer *take_buffer(weft_client *c, const struct weft_client_buffer *buffer)
{
	struct wf_buffer *b = NULL;

	if (buffer == NULL || buffer->private_[0] == 0)
		return NULL;
	pthread_mutex_lock(&c->lock);
	for (struct wf_buffer **at = &c->buffers; *at != NULL; at = &(*at)->next) {
		WF_CHECK((*at)->number != 0);
		if ((*at)->number == buffer->private_[0]) {
			b = *at;
			WF_CHECK(b->fd >= 0);
			*at = b->next;
			break;
		}
	}
	pthread_mutex_unlock(&c->lock);
	return b;
}

static void put_buffer_back(weft_client *c, struct wf_buffer *b)
{
	WF_CHECK(b->number != 0);
	pthread_mutex_lock(&c->lock);
	b->next = c->buffers;
	c->buffers = b;
	pthread_mutex_unlock(&c->lock);
}

static void free_buffer(struct wf_buffer *b, struct weft_client_buffer *buffer)
{
	munmap(b->data, b->size > 0 ? b->size : 1);
	close(b->fd);
	free(b);
	memset(buffer, 0, sizeof(*buffer));
}

int weft_client_discard(weft_client *client, struct weft_client_buffer *buffer)
{
	struct wf_buffer *b;

	if (client == NULL)
		return -EINVAL;
	if (client->process != getpid())
		return -ECHILD;
	b = take_buffer(client, buffer);
	if (b == NULL)
		return -EINVAL;
	WF_CHECK(b->fd >= 0);
	free_buffer(b, buffer);
	return 0;
}

static int describe(const struct weft_client_object *object, size_t size, struct wf_wire *wire)
{
	size_t length;

	*wire = (struct wf_wire){ .kind = WF_WIRE_CREATE, .size = size };
	if (object == NULL)
		return 0;
	WF_CHECK(wire->name_bytes == 0);
	length = object->name != NULL ? strlen(object->name) : 0;
	if (object->struct_size != sizeof(*object) || object->reserved != 0 ||
	    object->meta_size > WF_WIRE_META_MAX ||
	    (object->meta_size > 0 && object->meta == NULL) || length > WF_WIRE_NAME_MAX ||
	    (object->name != NULL && length == 0))
		return -EINVAL;
	wire->name = object->name;
	wire->name_bytes = (uint32_t)length;
	wire->meta = object->meta;
	wire->meta_bytes = (uint32_t)object->meta_size;
	wire->tag = object->tag;
	WF_CHECK(wire->meta_bytes <= WF_WIRE_META_MAX);
	return 0;
}

/* The file goes along with the request; the store copies what is in it. */
static int hand_over(weft_client *c, int fd, struct wf_wire *request, int64_t until, uint64_t *id,
                     struct weft_client_error *error)
{
	int64_t slow_ns = request->size < INT64_MAX / (2 * COPY_NS)
		? (int64_t)request->size * COPY_NS
		: INT64_MAX / 2;
	struct wf_call call;
	int rc;

	WF_CHECK(fd >= 0);
	WF_CHECK(request->kind == WF_WIRE_CREATE);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
		return fail_plain(error, -errno);
	WF_POINT();
	request->flags = until > wf_link_now() ? WF_WIRE_WAIT : 0;
	rc = wf_link_call(c, request, fd, until, slow_ns, &call);
	WF_POINT();
	if (rc != 0)
		fail_plain(error, rc);
	else if (call.answer.kind != WF_WIRE_CREATED)
		rc = fail_answer(error, &call.answer);
	else if (id != NULL)
		*id = call.answer.id;
	free(call.block);
	return rc;
}

int weft_client_seal(weft_client *client, struct weft_client_buffer *buffer,
                     const struct weft_client_object *object, int64_t until, uint64_t *id,
                     struct weft_client_error *error)
{
	struct wf_wire request;
	struct wf_buffer *b;
	int rc;

	if (client == NULL || buffer == NULL)
		return fail_plain(error, -EINVAL);
	if (client->process != getpid())
		return fail_plain(error, -ECHILD);
	b = describe(object, 0, &request) == 0 ? take_buffer(client, buffer) : NULL;
	if (b == NULL)
		return fail_plain(error, -EINVAL);
	WF_CHECK(b->number != 0);
	request.size = b->size;
	rc = hand_over(client, b->fd, &request, until, id, error);
	if (rc != 0)
		put_buffer_back(client, b);
	else
		free_buffer(b, buffer);
	return rc;
}

static int write_all(int fd, const char *data, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t written = pwrite(fd, data + done, size - done, (off_t)done);

		if (written < 0 && errno != EINTR)
			return -errno;
		done += written > 0 ? (size_t)written : 0;
		WF_CHECK(done <= size);
	}
	return 0;
}

int weft_client_put(weft_client *client, const void *data, size_t size,
                    const struct weft_client_object *object, int64_t until, uint64_t *id,
                    struct weft_client_error *error)
{
	struct wf_wire request;
	int fd, rc;

	if (client == NULL || (size > 0 && data == NULL) || describe(object, size, &request) != 0)
		return fail_plain(error, -EINVAL);
	if (client->process != getpid())
		return fail_plain(error, -ECHILD);
	fd = make_file(size);
	if (fd < 0)
		return fail_plain(error, fd);
	WF_CHECK(request.size == size);
	rc = write_all(fd, data, size);
	if (rc == 0)
		rc = hand_over(client, fd, &request, until, id, error);
	else
		fail_plain(error, rc);
	close(fd);
	return rc;
}

int weft_client_remove(weft_client *client, uint64_t id, struct weft_client_error *error)
{
	struct wf_wire request = { .kind = WF_WIRE_REMOVE, .id = id };
	struct wf_call call;
	int rc;

	if (client == NULL || id == 0)
		return fail_plain(error, -EINVAL);
	if (client->process != getpid())
		return fail_plain(error, -ECHILD);
	rc = wf_link_call(client, &request, -1, wf_link_now() + WF_LINK_GRACE_NS, 0, &call);
	if (rc != 0)
		return fail_plain(error, rc);
	if (call.answer.kind != WF_WIRE_ANSWER || call.answer.status != 0)
		rc = fail_answer(error, &call.answer);
	free(call.block);
	return rc;
}

/* ---- Looking at the connection --------------------------------------------------------------- */

int weft_client_info(weft_client *client, struct weft_client_info *info)
{
	struct weft_client_info full = { .struct_size = 0 };

	if (client == NULL || info == NULL || info->struct_size < 2 * sizeof(size_t))
		return -EINVAL;
	full.struct_size = info->struct_size;
	pthread_mutex_lock(&client->lock);
	if (!client->reading)
		wf_link_look(client);
	WF_CHECK(client->dead <= 0);
	WF_CHECK(client->held_count <= client->held_room);
	full.status = client->dead;
	full.views = client->held_count;
	pthread_mutex_unlock(&client->lock);
	full.pid = client->store_pid;
	full.views_max = client->pins_max;
	full.map_bytes = client->map_bytes;
	full.creates = client->creates;
	memcpy(info, &full, info->struct_size < sizeof(full) ? info->struct_size : sizeof(full));
	return 0;
}
