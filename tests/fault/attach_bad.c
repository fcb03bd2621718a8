/*
 * Goal: a client that breaks every rule (no hello, half and garbled messages, what only the store
 * says, files that nobody asked for or that are not what they should be, pins that it does not
 * have, floods, never reading) is refused or cut off, and harms nobody else: others are served, no
 * byte of the store changes hands, no descriptor and no pin is left.
 * Method: a socket without the library, beside a good client that must get its values meanwhile;
 * messages mutated by a seeded generator; the counters of the store and of the process.
 */
#include "api_fault.h"

#include "attach_raw.h"
#include "attached.h"

#define META 60000

static struct attach_place place;
static weft *rt;
static weft_client *good;
static unsigned char message[WF_WIRE_BYTES_MAX + 4096];

/* ---- A socket without manners --------------------------------------------------------------- */

static int raw_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, place.path);
	API_CHECK(fd >= 0);
	API_CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

/* Files that come along are closed. */
static bool raw_read(int fd, struct wf_wire *wire)
{
	return raw_receive(fd, message, sizeof(message), wire, NULL);
}

static void raw_is_cut_off(int fd)
{
	struct wf_wire wire;

	while (raw_read(fd, &wire))
		API_CHECK(wire.kind == WF_WIRE_ANSWER || wire.kind == WF_WIRE_VALUE ||
		          wire.kind == WF_WIRE_WELCOME);
	close(fd);
}

static int raw_attach(void)
{
	struct wf_wire wire = { .kind = WF_WIRE_HELLO, .serial = 1, .code = WF_WIRE_VERSION };
	int fd = raw_connect();

	API_CHECK(raw_send(fd, &wire, NULL, 0));
	API_CHECK(raw_read(fd, &wire));
	API_CHECK(wire.kind == WF_WIRE_WELCOME);
	return fd;
}

/* The others are as well as before. */
static void check_others(void)
{
	struct weft_client_view view;

	API_CHECK(weft_client_get(good, "value", weft_client_after_ms(60000), &view, NULL) == 0);
	API_CHECK(attach_filled(view.data, view.size, 7));
	API_CHECK(weft_client_release(good, &view) == 0);
	attach_await(rt, 1, 0, 0);
	API_CHECK(attach_stats(rt).objects == 2);
	API_CHECK(attach_stats(rt).creating == 0);
}

/* ---- Offences ------------------------------------------------------------------------------- */

static void says_nothing(void)
{
	int fd = raw_connect();

	attach_await(rt, 2, 0, 0);
	close(fd);
	check_others();
}

static void half_and_garbled(void)
{
	static const char noise[] = "GET / HTTP/1.1\r\n\r\n";
	struct wf_wire wire = {
		.kind = WF_WIRE_GET, .serial = 5, .name = "value", .name_bytes = 5
	};
	size_t size = wf_wire_write(&wire, message, sizeof(message));
	unsigned char half[64];
	int fd;

	API_CHECK(size > 0 && size <= sizeof(half));
	memcpy(half, message, size);
	for (size_t cut = 1; cut < size; cut++) {
		fd = raw_attach();
		API_CHECK(raw_bytes(fd, half, cut, NULL, 0));
		raw_is_cut_off(fd);
	}
	fd = raw_connect();
	API_CHECK(raw_bytes(fd, noise, sizeof(noise), NULL, 0));
	raw_is_cut_off(fd);
	/* A message of no bytes is no message. */
	fd = raw_attach();
	API_CHECK(raw_bytes(fd, noise, 0, NULL, 0));
	raw_is_cut_off(fd);
	/* Longer than any. */
	fd = raw_attach();
	memset(message, 0, sizeof(message));
	API_CHECK(raw_bytes(fd, message, sizeof(message), NULL, 0));
	raw_is_cut_off(fd);
	check_others();
}

static void out_of_turn(void)
{
	struct wf_wire hello = { .kind = WF_WIRE_HELLO, .serial = 1, .code = WF_WIRE_VERSION };
	struct wf_wire get = { .kind = WF_WIRE_GET, .serial = 5, .name = "value", .name_bytes = 5 };
	struct wf_wire created = { .kind = WF_WIRE_CREATED, .serial = 1, .id = 1 };
	struct wf_wire answer;
	int fd = raw_connect();

	API_CHECK(raw_send(fd, &get, NULL, 0));
	raw_is_cut_off(fd);
	fd = raw_attach();
	API_CHECK(raw_send(fd, &hello, NULL, 0));
	raw_is_cut_off(fd);
	fd = raw_attach();
	API_CHECK(raw_send(fd, &created, NULL, 0));
	raw_is_cut_off(fd);
	fd = raw_connect();
	hello.code = 999;
	API_CHECK(raw_send(fd, &hello, NULL, 0));
	API_CHECK(raw_read(fd, &answer));
	API_CHECK(answer.kind == WF_WIRE_ANSWER && answer.status == -EPROTONOSUPPORT);
	raw_is_cut_off(fd);
	check_others();
}

static void pins_of_nobody(void)
{
	struct wf_wire get = { .kind = WF_WIRE_GET, .serial = 5, .name = "value", .name_bytes = 5 };
	struct wf_wire value, release = { .kind = WF_WIRE_RELEASE, .data_bytes = 16 };
	uint64_t pins[2] = { 1, UINT64_MAX };
	int fd = raw_attach();

	release.data = pins;
	API_CHECK(raw_send(fd, &release, NULL, 0));
	raw_is_cut_off(fd);
	fd = raw_attach();
	API_CHECK(raw_send(fd, &get, NULL, 0));
	API_CHECK(raw_read(fd, &value));
	API_CHECK(value.kind == WF_WIRE_VALUE && value.pin != 0);
	attach_await(rt, 2, 1, 0);
	/* Given back twice: the second time it is nobody's. */
	pins[0] = pins[1] = value.pin;
	API_CHECK(raw_send(fd, &release, NULL, 0));
	raw_is_cut_off(fd);
	/* Cancelling what is not under way is nothing. */
	fd = raw_attach();
	API_CHECK(raw_send(fd, &(struct wf_wire){ .kind = WF_WIRE_CANCEL, .serial = 77 }, NULL, 0));
	API_CHECK(raw_send(fd, &get, NULL, 0));
	API_CHECK(raw_read(fd, &value));
	close(fd);
	check_others();
}

/* ---- Files ---------------------------------------------------------------------------------- */

static int memory_file(size_t size, unsigned seals, unsigned flags)
{
	int fd = memfd_create("bad", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0)
		return -1;
	API_CHECK(ftruncate(fd, (off_t)size) == 0);
	API_CHECK(seals == 0 || fcntl(fd, F_ADD_SEALS, seals) == 0);
	return fd;
}

static int create_status(int fd, const int *files, size_t count, uint64_t size)
{
	struct wf_wire create = { .kind = WF_WIRE_CREATE, .serial = 9, .size = size }, answer;

	API_CHECK(raw_send(fd, &create, files, count));
	API_CHECK(raw_read(fd, &answer));
	return answer.kind == WF_WIRE_CREATED ? 0 : answer.status;
}

static void wrong_files(void)
{
	struct wf_wire get = { .kind = WF_WIRE_GET, .serial = 5, .name = "value", .name_bytes = 5 };
	struct wf_wire create = { .kind = WF_WIRE_CREATE, .serial = 9, .size = 100 };
	int pipes[2], zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), fd = raw_attach();
	int plain = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), two[2];
	int unsealed = memory_file(4096, 0, 0), shorter = memory_file(99, F_SEAL_SHRINK, 0);
	int sealed = memory_file(4096, F_SEAL_SHRINK, 0);

	API_CHECK(pipe2(pipes, O_CLOEXEC) == 0);
	API_CHECK(create_status(fd, NULL, 0, 100) == -EINVAL);
	API_CHECK(create_status(fd, &pipes[0], 1, 100) == -EINVAL);
	API_CHECK(create_status(fd, &zero, 1, 100) == -EINVAL);
	API_CHECK(create_status(fd, &plain, 1, 100) == -EINVAL);
	API_CHECK(create_status(fd, &unsealed, 1, 100) == -EINVAL);
	API_CHECK(create_status(fd, &shorter, 1, 100) == -EINVAL);
	API_CHECK(create_status(fd, &sealed, 1, 4097) == -EINVAL);
	API_CHECK(create_status(fd, &sealed, 1, INT64_MAX) == -EINVAL);
	/* Files that nobody asked for, and more than one. */
	API_CHECK(raw_send(fd, &get, &sealed, 1));
	raw_is_cut_off(fd);
	fd = raw_attach();
	two[0] = two[1] = sealed;
	API_CHECK(raw_send(fd, &create, two, 2));
	raw_is_cut_off(fd);
	fd = raw_connect();
	API_CHECK(raw_send(fd, &create, &sealed, 1));
	raw_is_cut_off(fd);
	close(pipes[0]);
	close(pipes[1]);
	close(zero);
	close(plain);
	close(unsealed);
	close(shorter);
	close(sealed);
	check_others();
}

struct puncher {
	int file;
	struct wf_a32 stop;
};

static void *punch(void *arg)
{
	struct puncher *p = arg;

	/* relaxed: a request to end. */
	while (wf_load_relaxed(&p->stop) == 0) {
		API_CHECK(fallocate(p->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		                    ATTACH_MIB) == 0);
		API_CHECK(pwrite(p->file, "x", 1, 4096) == 1);
		sched_yield();
	}
	return NULL;
}

/* What is fetched while its sender tears it down is garbage, of the sender's own, and no signal. */
static void torn_while_it_is_fetched(void)
{
	int huge = memory_file(2 * ATTACH_MIB, F_SEAL_SHRINK, MFD_HUGETLB), fd = raw_attach();
	struct puncher puncher = { .file = memory_file(ATTACH_MIB, F_SEAL_SHRINK, 0) };
	pthread_t thread = api_thread(punch, &puncher);

	for (uint32_t i = 0; i < 20; i++) {
		struct wf_wire create = { .kind = WF_WIRE_CREATE, .serial = 9, .size = ATTACH_MIB };
		struct wf_wire answer;

		API_CHECK(raw_send(fd, &create, &puncher.file, 1));
		API_CHECK(raw_read(fd, &answer));
		API_CHECK(answer.kind == WF_WIRE_CREATED);
		create = (struct wf_wire){ .kind = WF_WIRE_REMOVE, .serial = 10, .id = answer.id };
		API_CHECK(raw_send(fd, &create, NULL, 0));
		API_CHECK(raw_read(fd, &answer));
	}
	/* relaxed: as above. */
	wf_store_relaxed(&puncher.stop, 1);
	api_join(thread);
	close(puncher.file);
	/* Huge pages that may not exist: whatever the answer is, it is one. */
	if (huge >= 0) {
		struct wf_wire create = { .kind = WF_WIRE_CREATE,
			                  .serial = 9,
			                  .size = 2 * ATTACH_MIB };
		struct wf_wire answer;

		API_CHECK(raw_send(fd, &create, &huge, 1));
		API_CHECK(raw_read(fd, &answer));
		if (answer.kind == WF_WIRE_CREATED)
			API_CHECK(weft_attach_unexport(rt, NULL, answer.id) == 0);
		close(huge);
	}
	close(fd);
	check_others();
}

/* ---- Floods --------------------------------------------------------------------------------- */

static void too_many_requests(void)
{
	struct wf_wire get = {
		.kind = WF_WIRE_GET, .flags = WF_WIRE_WAIT, .name = "never", .name_bytes = 5
	};
	int fd = raw_attach();

	for (uint64_t i = 1; i <= 16; i++) {
		get.serial = i;
		API_CHECK(raw_send(fd, &get, NULL, 0));
	}
	attach_await(rt, 2, 0, 16);
	get.serial++;
	API_CHECK(raw_send(fd, &get, NULL, 0));
	raw_is_cut_off(fd);
	check_others();
}

/* Answers of 60 KB that nobody takes: then nothing more is read, and others are served. */
static void never_reads(void)
{
	struct wf_wire get = { .kind = WF_WIRE_GET, .serial = 1, .name = "meta", .name_bytes = 4 };
	unsigned char bytes[64];
	size_t size = wf_wire_write(&get, bytes, sizeof(bytes));
	int fd = raw_attach();
	uint32_t sent = 0;

	API_CHECK(size > 0);
	while (send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		sent++;
	API_CHECK(errno == EAGAIN);
	API_CHECK(sent > 3);
	for (uint32_t i = 0; i < 20; i++) {
		struct weft_client_view view;

		API_CHECK(weft_client_get(good, "value", WEFT_CLIENT_FOREVER, &view, NULL) == 0);
		API_CHECK(weft_client_release(good, &view) == 0);
	}
	API_CHECK(attach_clients(rt).pins > 0);
	close(fd);
	check_others();
}

/* As fast as it goes, in all the connections that one process may have. */
static void floods(void)
{
	struct wf_wire get = { .kind = WF_WIRE_GET, .serial = 1, .id = 12345678 }, answer;
	int fds[10];

	for (uint32_t i = 0; i < 10; i++)
		fds[i] = raw_attach();
	for (uint32_t round = 0; round < api_scaled(200); round++) {
		struct weft_client_view view;

		for (uint32_t i = 0; i < 10; i++)
			API_CHECK(raw_send(fds[i], &get, NULL, 0));
		API_CHECK(weft_client_get(good, "value", WEFT_CLIENT_FOREVER, &view, NULL) == 0);
		API_CHECK(weft_client_release(good, &view) == 0);
		for (uint32_t i = 0; i < 10; i++) {
			API_CHECK(raw_read(fds[i], &answer));
			API_CHECK(answer.status == -ENOENT);
		}
	}
	for (uint32_t i = 0; i < 10; i++)
		close(fds[i]);
	check_others();
}

/* Messages that are nearly right. */
static void mutated(void)
{
	static const uint64_t pins[] = { (uint64_t)1 << 32 | 1 };
	static const struct wf_wire wires[] = {
		{ .kind = WF_WIRE_GET, .serial = 1, .name = "value", .name_bytes = 5 },
		{ .kind = WF_WIRE_GET, .serial = 2, .id = 3, .flags = WF_WIRE_WAIT },
		{ .kind = WF_WIRE_GET,
		  .serial = 3,
		  .flags = WF_WIRE_WAIT,
		  .name = "n",
		  .name_bytes = 1 },
		{ .kind = WF_WIRE_RELEASE, .data = pins, .data_bytes = 8 },
		{ .kind = WF_WIRE_CANCEL, .serial = 3 },
		{ .kind = WF_WIRE_CREATE, .serial = 4, .size = 64, .name = "m", .name_bytes = 1 },
		{ .kind = WF_WIRE_REMOVE, .serial = 5, .id = 4 },
		{ .kind = WF_WIRE_HELLO, .serial = 1, .code = WF_WIRE_VERSION },
	};
	uint32_t rounds = test_is_long() ? 200000 : api_scaled(2000);
	int sealed = memory_file(4096, F_SEAL_SHRINK, 0), fd = -1;
	uint64_t state = test_seed();

	for (uint32_t round = 0; round < rounds; round++) {
		const struct wf_wire *wire = &wires[api_below(&state, 8)];
		unsigned char bytes[256];
		size_t size = wf_wire_write(wire, bytes, sizeof(bytes));
		uint32_t length = (uint32_t)size;
		struct wf_wire ignored;

		if (fd < 0)
			fd = raw_attach();
		for (uint32_t i = api_below(&state, 3); i > 0; i--)
			bytes[api_below(&state, (uint32_t)size)] ^=
				(unsigned char)(1u << api_below(&state, 8));
		if (api_below(&state, 4) != 0)
			memcpy(bytes, &length, sizeof(length));
		/* An answer now and then, so that it does not stall; or the end. */
		while (fd >= 0 && recv(fd, message, 0, MSG_PEEK | MSG_DONTWAIT) >= 0) {
			if (!raw_read(fd, &ignored)) {
				close(fd);
				fd = -1;
			}
		}
		if (fd >= 0 &&
		    !raw_bytes(fd, bytes, size, &sealed, wire->kind == WF_WIRE_CREATE ? 1 : 0)) {
			close(fd);
			fd = -1;
		}
	}
	if (fd >= 0)
		close(fd);
	close(sealed);
	attach_await(rt, 1, 0, 0);
	(void)weft_attach_unexport(rt, "m", 0);
	for (uint64_t id = 1; id < 100 + 2 * (uint64_t)rounds; id++) {
		/* What was created under a name that nobody knows; not the two that are ours. */
		if (attach_stats(rt).objects == 2)
			break;
		if (id > 3)
			(void)weft_attach_unexport(rt, NULL, id);
	}
	check_others();
}

int main(void)
{
	static char meta[META];
	struct weft_object_options with_meta = { .struct_size = sizeof(with_meta),
		                                 .meta = meta,
		                                 .meta_size = META };
	struct fault_census before;
	struct weft_buffer buffer;
	weft_ref value, big;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ .flags = WEFT_ATTACH_CREATE });
	value = attach_value(rt, 10000, 7);
	API_CHECK(weft_create(rt, 600, &with_meta, &buffer) == 0);
	API_CHECK(weft_seal(rt, &buffer, &big) == 0);
	API_CHECK(weft_attach_export(rt, "value", value, NULL) == 0);
	API_CHECK(weft_attach_export(rt, "meta", big, NULL) == 0);
	good = attach_connect(&place);
	check_others();
	before = fault_census();
	says_nothing();
	half_and_garbled();
	out_of_turn();
	pins_of_nobody();
	wrong_files();
	torn_while_it_is_fetched();
	too_many_requests();
	never_reads();
	floods();
	mutated();
	fault_census_check(&before);
	weft_client_close(good);
	api_release(rt, value);
	api_release(rt, big);
	API_CHECK(weft_attach_stop(rt) == 0);
	attach_await_empty(rt);
	api_await_no_tasks(rt);
	api_close(rt);
	attach_place_remove(&place);
	return 0;
}
