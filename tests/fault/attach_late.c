/*
 * Goal: what a store has made after its creator was told that time is over is taken back, also when
 * the store reads nothing at that moment, so that nothing can be sent to it, and when the client is
 * closed then; a call that waits for the place is not forgotten meanwhile.
 * Method: a store of a few lines that allows one call at a time, answers when it is told, and reads
 * nothing while the client fills the socket with views given back.
 */
#include <semaphore.h>

#include "api_fault.h"

#include "attach_raw.h"
#include "attached.h"
#include "client/link.h"

#define PAGE      ((uint64_t)4096)
#define VIEWS_MAX 4096u /* more than any socket takes */
#define LATE      77u

static struct attach_place place;
static int listener, files[2]; /* of the store: its memory, and what came along last */
static unsigned char message[WF_WIRE_BYTES_MAX];
static sem_t may_answer, answered, may_read;
static uint32_t released, removed;

static bool next(int fd, struct wf_wire *wire)
{
	return raw_receive(fd, message, sizeof(message), wire, &files[1]);
}

static void tell(int fd, const struct wf_wire *wire, bool with_memory)
{
	API_CHECK(raw_send(fd, wire, files, with_memory ? 1 : 0));
}

static void give_values(int fd, struct wf_wire *wire)
{
	uint64_t pin = 0;

	API_CHECK(next(fd, wire));
	while (wire->kind == WF_WIRE_GET) {
		struct wf_wire value = {
			.kind = WF_WIRE_VALUE, .serial = wire->serial, .id = 1, .pin = ++pin
		};

		tell(fd, &value, false);
		API_CHECK(next(fd, wire));
	}
}

/* One that comes, looks at values and hands something over, which it is told of when it may be. */
static int serve_late(void)
{
	struct wf_wire wire,
		welcome = { .kind = WF_WIRE_WELCOME,
		            .flags = WF_WIRE_CREATE_OK,
		            .serial = 1,
		            .node_count = 1,
		            .node_bytes = PAGE,
		            .map_bytes = PAGE,
		            .requests_max = 1,
		            .pins_max = VIEWS_MAX };
	int fd = accept(listener, NULL, NULL);

	API_CHECK(fd >= 0 && next(fd, &wire) && wire.kind == WF_WIRE_HELLO);
	tell(fd, &welcome, true);
	give_values(fd, &wire);
	API_CHECK(wire.kind == WF_WIRE_CREATE && files[1] >= 0);
	close(files[1]);
	sem_wait(&may_answer);
	wire = (struct wf_wire){ .kind = WF_WIRE_CREATED, .serial = wire.serial, .id = LATE };
	tell(fd, &wire, false);
	sem_post(&answered);
	return fd;
}

static void *store_main(void *arg)
{
	struct wf_wire wire;
	int fd = serve_late();

	sem_wait(&may_read);
	while (next(fd, &wire)) {
		struct wf_wire answer = { .kind = WF_WIRE_ANSWER, .serial = wire.serial };

		if (wire.kind == WF_WIRE_RELEASE) {
			released += wire.data_bytes / (uint32_t)sizeof(uint64_t);
			continue;
		}
		API_CHECK(wire.kind == WF_WIRE_REMOVE ? wire.id == LATE : removed == 1);
		removed += wire.kind == WF_WIRE_REMOVE;
		answer.status = wire.kind == WF_WIRE_REMOVE ? 0 : -ENOENT;
		tell(fd, &answer, false);
	}
	close(fd);
	/* The second goes without another call. */
	fd = serve_late();
	while (next(fd, &wire)) {
		API_CHECK(wire.kind == WF_WIRE_REMOVE && wire.id == LATE);
		removed++;
	}
	close(fd);
	return arg;
}

static void listen_there(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	attach_place_make(&place);
	strcpy(address.sun_path, place.path);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	API_CHECK(listener >= 0);
	API_CHECK(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	API_CHECK(listen(listener, 1) == 0);
	files[0] = memfd_create("late", MFD_CLOEXEC);
	API_CHECK(files[0] >= 0 && ftruncate(files[0], PAGE) == 0);
	API_CHECK(sem_init(&may_answer, 0, 0) == 0 && sem_init(&answered, 0, 0) == 0);
	API_CHECK(sem_init(&may_read, 0, 0) == 0);
}

int main(void)
{
	static struct weft_client_view views[VIEWS_MAX];
	struct weft_client_info info = { .struct_size = sizeof(info) };
	struct weft_client_view none;
	uint32_t given = 0;
	pthread_t store;
	weft_client *c;

	listen_there();
	store = api_thread(store_main, NULL);
	API_CHECK(weft_client_connect(place.path, weft_client_after_ms(60000), &c, NULL) == 0);
	for (uint32_t i = 0; i < VIEWS_MAX; i++)
		API_CHECK(weft_client_get(c, "value", INT64_MAX, &views[i], NULL) == 0);
	API_CHECK(weft_client_put(c, "late", 4, NULL, WEFT_CLIENT_POLL, NULL, NULL) == -ETIMEDOUT);
	while (c->unsent_count == 0) {
		API_CHECK(given < VIEWS_MAX);
		API_CHECK(weft_client_release(c, &views[given++]) == 0);
	}
	sem_post(&may_answer);
	sem_wait(&answered);
	API_CHECK(weft_client_info(c, &info) == 0 && info.status == 0);
	API_CHECK(c->call_count == 1);
	sem_post(&may_read);
	API_CHECK(weft_client_get(c, "other", INT64_MAX, &none, NULL) == -ENOENT);
	API_CHECK(c->call_count == 0 && c->unsent_count == 0);
	while (given < VIEWS_MAX)
		API_CHECK(weft_client_release(c, &views[given++]) == 0);
	weft_client_close(c);
	API_CHECK(weft_client_connect(place.path, weft_client_after_ms(60000), &c, NULL) == 0);
	API_CHECK(weft_client_put(c, "late", 4, NULL, WEFT_CLIENT_POLL, NULL, NULL) == -ETIMEDOUT);
	sem_post(&may_answer);
	sem_wait(&answered);
	weft_client_close(c);
	api_join(store);
	API_CHECK(removed == 2 && released > 0 && released <= VIEWS_MAX);
	close(listener);
	close(files[0]);
	API_CHECK(unlink(place.path) == 0);
	attach_place_remove(&place);
	return 0;
}
