/*
 * files.c: reads and writes of files as references. Each is a task of its own whose body hands the
 * transfer to the store's I/O and sleeps until it is done.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "runtime.h"
#include "wf_io.h"
#include "wf_store.h"

struct transfer {
	int fd;
	bool direct;
	uint64_t offset, size;
};

/* On the body's stack. */
struct io_wait {
	struct wf_io_request request;
	struct wf_wait wait;
	struct wf_wait_node node;
};

static void request_done(struct wf_io_request *request)
{
	struct io_wait *io = wf_container_of(request, struct io_wait, request);

	wf_wait_fire_from_outside(&io->wait, &io->node);
}

/* A cancelled task cannot sleep any more, but it need not hold its worker either. */
static WF_SUSPENDS void let_others(void)
{
	if (wf_can_suspend(wf_self()))
		wf_suspend_yield();
	else
		sched_yield();
}

/*
 * Do a transfer while this task sleeps: 0 or a negated errno; -EINTR: the task was cancelled and
 * nothing is under way any more.
 */
static WF_SUSPENDS int transfer(weft *rt, struct io_wait *io)
{
	struct wf_store *store = wf_runtime_store(rt);
	struct wf_io *backend = store ? wf_store_io(store) : NULL;
	struct wf_local *self = wf_self();

	if (!backend)
		return -EIO;
	if (wf_self_cancelled(self))
		return -EINTR;
	wf_wait_init(&io->wait, self, 1, WEFT_FOREVER);
	io->wait.external = true;
	io->node = (struct wf_wait_node){ .waiter.fire = wf_wait_fire, .wait = &io->wait };
	io->request.done = request_done;
	wf_outside_begin(rt);
	wf_io_submit(backend, &io->request);
	int rc = wf_wait_sleep(&io->wait);

	wf_outside_end(rt);

	if (rc)
		wf_io_cancel(backend, &io->request);
	/* acquire [F3]: done's last touch. After a cancel this waits for the blocks in flight. */
	while (!wf_load_acquire(&io->node.fired))
		let_others();
	return rc ? rc : io->request.status;
}

static int read_body(weft_task *self)
{
	const struct transfer *t = weft_task_arg(self, NULL);
	struct io_wait io = { .request = { .op = WF_IO_READ,
		                           .fd = t->fd,
		                           .direct = t->direct,
		                           .size = t->size,
		                           .offset = t->offset } };
	int rc = weft_task_output(self, 0, t->size, &io.request.data);

	if (!rc && t->size)
		rc = transfer(self->rt, &io);
	if (rc == WEFT_ESTOREFULL || rc == -EINTR)
		return rc;
	if (rc)
		return weft_fail(self, rc, "read of %llu bytes at %llu: %s",
		                 (unsigned long long)t->size, (unsigned long long)t->offset,
		                 strerror(-rc));
	if (io.request.moved == t->size)
		return 0;
	/* The file ends early: what there is in a room of its own. */
	void *read = wf_malloc(io.request.moved + 1);

	if (!read)
		return weft_fail(self, -ENOMEM, "no memory");
	memcpy(read, io.request.data, io.request.moved);
	rc = weft_return(self, read, io.request.moved);
	wf_free(read);
	return rc;
}

static int write_body(weft_task *self)
{
	const struct transfer *t = weft_task_arg(self, NULL);
	struct weft_view view;
	int rc = weft_input(self, 0, &view);

	if (rc)
		return rc;
	struct io_wait io = { .request = { .op = WF_IO_WRITE,
		                           .fd = t->fd,
		                           .direct = t->direct,
		                           .data = (void *)(uintptr_t)view.data,
		                           .size = view.size,
		                           .offset = t->offset } };

	if (view.size)
		rc = transfer(self->rt, &io);
	if (rc == -EINTR)
		return rc;
	if (rc)
		return weft_fail(self, rc, "write of %llu bytes at %llu: %s",
		                 (unsigned long long)view.size, (unsigned long long)t->offset,
		                 strerror(-rc));
	uint64_t written = view.size;

	return weft_return(self, &written, sizeof(written));
}

static int submit(weft *rt, weft_task_fn *fn, const char *name, const struct transfer *t,
                  const weft_ref *input, const struct weft_task_options *opts, weft_ref *out)
{
	struct weft_task_options named = { .struct_size = sizeof(named), .base = opts };
	struct weft_call call = { .fn = fn, .arg = t, .arg_size = sizeof(*t), .opts = &named };

	if (!out || (opts && (opts->arg_drop || opts->n_outputs)))
		return -EINVAL;
	if (!opts || !opts->name)
		named.name = name;
	call.inputs = input;
	call.n_inputs = input ? 1 : 0;
	return weft_submit_call(rt, &call, out);
}

static int prepare(weft *rt, int fd, uint64_t offset, uint64_t size, struct transfer *t)
{
	int flags = rt ? fcntl(fd, F_GETFL) : -1;

	if (flags < 0 || offset > INT64_MAX || size > INT64_MAX - offset)
		return -EINVAL;
	*t = (struct transfer){
		.fd = fd, .direct = flags & O_DIRECT, .offset = offset, .size = size
	};
	return 0;
}

int weft_read(weft *rt, int fd, uint64_t offset, size_t size, const struct weft_task_options *opts,
              weft_ref *out)
{
	struct transfer t;
	int rc = prepare(rt, fd, offset, size, &t);

	return rc ? rc : submit(rt, read_body, "weft_read", &t, NULL, opts, out);
}

int weft_write(weft *rt, int fd, uint64_t offset, weft_ref data,
               const struct weft_task_options *opts, weft_ref *out)
{
	struct transfer t;
	int rc = prepare(rt, fd, offset, 0, &t);

	return rc ? rc : submit(rt, write_body, "weft_write", &t, &data, opts, out);
}
