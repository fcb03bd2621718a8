/*
 * Goal: whatever goes wrong while values are made, spilled, restored and used, by the public door:
 * a call answers what its promise lists; a value has the bytes that were made or is known to be
 * lost, lost only where the fault can lose it, with the file, the place and the reason said, and
 * with what depends on it alone; nothing hangs, and nothing is left.
 * Method: one program in a store of 1 MiB, once for every resource that can be refused, and for
 * every transfer and call on files: every effect at every point, once and from then on, on both
 * back ends. Afterwards, without the fault, every value is compared with its model.
 */
#include "../../store/include/wf_io.h"
#include "api_fault.h"

#define KIB     ((size_t)1 << 10)
#define LARGE   12u
#define SMALL   24u
#define VALUES  (LARGE + SMALL)
#define DERIVED 3u
#define FOREVER UINT64_MAX

static char now[160] = "begin";
static char dir[] = "/var/tmp/weft-fault-objects-XXXXXX";
static struct api_count losses_logged;
static bool lasting; /* what goes wrong goes on */

#define REQUIRE(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #x, now); \
			abort(); \
		} \
	} while (0)

struct outcome {
	uint32_t refused; /* calls */
	uint32_t lost;    /* values */
	uint32_t failed;  /* derived values */
	bool opened;
};

struct program {
	weft *rt;
	weft_ref refs[VALUES], derived[DERIVED];
	bool made[VALUES], submitted[DERIVED];
};

static size_t size_of(uint32_t i)
{
	return i < LARGE ? 140 * KIB + i : 450 + i * 300;
}

static void fill(void *at, size_t size, uint64_t key)
{
	unsigned char *bytes = at;

	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(key * 31 + i + (i >> 8));
}

static bool filled(const void *at, size_t size, uint64_t key)
{
	const unsigned char *bytes = at;

	for (size_t i = 0; i < size; i++) {
		if (bytes[i] != (unsigned char)(key * 31 + i + (i >> 8)))
			return false;
	}
	return true;
}

static void log_line(void *arg, const struct weft_log_record *record)
{
	(void)arg;
	if (strstr(record->text, "object lost")) {
		REQUIRE(record->level == WEFT_LOG_ERROR);
		api_add(&losses_logged, 1);
	}
}

/* Reads two values and makes one as large as both. */
static int body_joins(weft_task *self)
{
	struct weft_view a, b;
	void *data;
	int rc = weft_input(self, 0, &a);

	if (!rc)
		rc = weft_input(self, 1, &b);
	if (!rc)
		rc = weft_task_output(self, 0, a.size + b.size, &data);
	if (rc)
		return rc;
	memcpy(data, a.data, a.size);
	memcpy((char *)data + a.size, b.data, b.size);
	return 0;
}

static bool is_loss(int64_t rc)
{
	return rc == WEFT_ELOST || rc == WEFT_ECORRUPT;
}

static bool is_refusal(int64_t rc)
{
	return rc == -ENOMEM || rc == -EAGAIN || rc == WEFT_ESTOREFULL;
}

static void make_values(struct program *p, struct outcome *out)
{
	for (uint32_t i = 0; i < VALUES; i++) {
		size_t size = size_of(i);
		int rc;

		if (i % 3 == 0) {
			struct weft_buffer buffer;

			rc = weft_create(p->rt, size, NULL, &buffer);
			if (!rc) {
				fill(buffer.data, size, i);
				rc = weft_seal(p->rt, &buffer, &p->refs[i]);
				if (rc)
					REQUIRE(weft_discard(p->rt, &buffer) == 0 || rc == -ENOMEM);
			}
		} else {
			unsigned char *large = malloc(size);

			REQUIRE(large != NULL);
			fill(large, size, i);
			rc = weft_put(p->rt, large, size, &p->refs[i]);
			free(large);
		}
		REQUIRE(rc == 0 || is_refusal(rc));
		p->made[i] = rc == 0;
		out->refused += rc != 0;
	}
}

static void derive(struct program *p, struct outcome *out)
{
	for (uint32_t i = 0; i < DERIVED; i++) {
		weft_ref inputs[2] = { p->refs[i], p->refs[LARGE - 1 - i] };

		if (!p->made[i] || !p->made[LARGE - 1 - i])
			continue;
		int rc = weft_submit(p->rt, WEFT_TASK(body_joins, .inputs = inputs, .n_inputs = 2),
		                     &p->derived[i]);

		REQUIRE(rc == 0 || is_refusal(rc));
		p->submitted[i] = rc == 0;
		out->refused += rc != 0;
	}
}

/* What is lost says where and why. */
static void check_reason(weft *rt, weft_ref ref, int rc)
{
	const struct weft_error *error = NULL;

	REQUIRE(weft_ref_error(rt, ref, &error) == 0);
	REQUIRE(error != NULL && error->status == rc && error->text[0] != 0);
	if (strcmp(error->text, "no memory to say why"))
		REQUIRE(strstr(error->text, dir) != NULL);
}

/* 0: it is there and right; or what the get has answered. */
static int look_at(struct program *p, uint32_t i)
{
	struct weft_view view;
	int rc = weft_get(p->rt, p->refs[i], WEFT_FOREVER, &view);

	if (rc)
		return rc;
	REQUIRE(view.size == size_of(i) && filled(view.data, view.size, i));
	REQUIRE(weft_view_end(p->rt, p->refs[i]) == 0);
	return 0;
}

static void look_at_all(struct program *p, struct outcome *out, bool armed)
{
	out->lost = 0;
	for (uint32_t i = 0; i < VALUES; i++) {
		const int64_t start = api_now();
		int rc = p->made[i] ? look_at(p, i) : 0;

		/* A disk that was full once is tried again; one that broke for good is not. */
		while (!armed && !lasting && is_refusal(rc)) {
			api_polling(start, "it can be had again");
			rc = look_at(p, i);
		}
		REQUIRE(rc == 0 || is_loss(rc) || is_refusal(rc));
		if (is_loss(rc))
			check_reason(p->rt, p->refs[i], rc);
		out->lost += is_loss(rc);
		out->refused += is_refusal(rc);
	}
}

static void look_at_derived(struct program *p, struct outcome *out, bool armed)
{
	for (uint32_t i = 0; i < DERIVED; i++) {
		size_t a = size_of(i), b = size_of(LARGE - 1 - i);
		struct weft_view view;

		if (!p->submitted[i])
			continue;
		int rc = weft_get(p->rt, p->derived[i], WEFT_FOREVER, &view);

		if (!rc) {
			REQUIRE(view.size == a + b && filled(view.data, a, i));
			REQUIRE(filled((const char *)view.data + a, b, LARGE - 1 - i));
			REQUIRE(weft_view_end(p->rt, p->derived[i]) == 0);
			continue;
		}
		/* A body's own word for what it was refused is kept by its ref. */
		REQUIRE(is_loss(rc) || rc == WEFT_EDEP || rc == WEFT_ETASK || is_refusal(rc));
		REQUIRE(rc != -EAGAIN || armed);
		out->failed++;
	}
}

static void all_gone(struct program *p)
{
	struct weft_store_stats stats = { .struct_size = sizeof(stats) };
	const int64_t start = api_now();

	for (uint32_t i = 0; i < VALUES; i++) {
		if (p->made[i])
			api_release(p->rt, p->refs[i]);
	}
	for (uint32_t i = 0; i < DERIVED; i++) {
		if (p->submitted[i])
			api_release(p->rt, p->derived[i]);
	}
	api_await_no_tasks(p->rt);
	for (;;) {
		REQUIRE(weft_store_stats(p->rt, &stats) == 0);
		if (!stats.objects && !stats.used)
			break;
		api_polling(start, "all objects are gone");
	}
	REQUIRE(stats.spilled == 0);
}

/* From open to close. */
static struct outcome scenario(const char *backend)
{
	struct program *p = calloc(1, sizeof(*p));
	struct weft_store_stats stats = { .struct_size = sizeof(stats) };
	struct outcome out = { 0 };

	REQUIRE(p != NULL);
	int rc = weft_open(&p->rt,
	                   WEFT_OPTIONS(.workers = 1, .store_bytes = 1024 * KIB, .spill_dirs = dir,
	                                .spill_bytes = 6144 * KIB, .log = log_line));

	if (rc) {
		REQUIRE(is_refusal(rc));
		free(p);
		return out;
	}
	out.opened = true;
	make_values(p, &out);
	derive(p, &out);
	look_at_all(p, &out, true);
	look_at_derived(p, &out, true);
	wf_fault_arm(-1, 0);
	wf_io_fault_arm(NULL);
	/* Nothing is refused any more, and what is not lost now never is. */
	look_at_all(p, &out, false);
	REQUIRE(weft_store_stats(p->rt, &stats) == 0);
	REQUIRE(stats.losses >= out.lost);
	REQUIRE(stats.io[0] == 0 || strcmp(stats.io, backend) == 0);
	all_gone(p);
	api_close(p->rt);
	free(p);
	return out;
}

/* ---- Transfers and calls on files ------------------------------------------------------------ */

struct effect {
	const char *name;
	uint32_t kinds;
	enum wf_io_fault_effect effect;
	int error;
	bool loses;         /* may lose values */
	bool costs_nothing; /* once: nobody sees it */
	bool always;        /* also from a point on */
};

#define READS  WF_IO_FAULT_READ
#define WRITES WF_IO_FAULT_WRITE
#define ERROR  WF_IO_EFFECT_ERROR

static const struct effect effects[] = {
	{ "reads fail", READS, ERROR, EIO, .loses = true, .always = true },
	{ "writes fail", WRITES, ERROR, EIO, .always = true },
	{ "the disk is full", WRITES | WF_IO_FAULT_FALLOCATE, ERROR, ENOSPC, .always = true },
	{ "the quota is used up", WF_IO_FAULT_FALLOCATE, ERROR, EDQUOT, .always = true },
	{ "no files are made", WF_IO_FAULT_OPEN, ERROR, EACCES, .always = true },
	{ "no memory to read", READS, ERROR, ENOMEM, .always = false },
	{ "interrupted", READS | WRITES, ERROR, EINTR, .costs_nothing = true },
	{ "come again", READS | WRITES, ERROR, EAGAIN, .costs_nothing = true },
	{ "half", READS | WRITES, WF_IO_EFFECT_SHORT, .costs_nothing = true },
	{ "a bit turns in writing", WRITES, WF_IO_EFFECT_FLIP, .loses = true, .always = true },
	{ "a bit turns in reading", READS, WF_IO_EFFECT_FLIP, .loses = true, .always = true },
	{ "writes lie", WRITES, WF_IO_EFFECT_LIE, .loses = true, .always = true },
	{ "reads lie", READS, WF_IO_EFFECT_LIE, .loses = true, .always = true },
};

static uint64_t one_point(const char *backend, const struct effect *e, uint64_t nth, uint64_t count)
{
	struct wf_io_fault fault = {
		.kinds = e->kinds, .effect = e->effect, .error = e->error, .nth = nth
	};
	struct outcome out;

	fault.count = count;
	lasting = count == FOREVER;
	snprintf(now, sizeof(now), "%s, %s, n %llu%s", backend, e->name, (unsigned long long)nth,
	         count == FOREVER ? " and all after" : "");
	api_set(&losses_logged, 0);
	wf_io_fault_arm(&fault);
	out = scenario(backend);
	REQUIRE(out.opened);
	REQUIRE(e->loses || (out.lost == 0 && api_read(&losses_logged) == 0));
	REQUIRE(api_read(&losses_logged) >= out.lost);
	/* What happens once and can be tried again costs nobody anything. */
	if (count == 1 && e->costs_nothing)
		REQUIRE(out.refused == 0 && out.failed == 0);
	return wf_io_fault_fired();
}

static void every_point(const char *backend, const struct effect *e)
{
	const bool is_long = test_is_long();
	const uint64_t last = is_long ? UINT64_MAX : 4;
	uint64_t nth, fired = 0;

	/* Each, or three of the first. */
	for (nth = 1; nth <= last && one_point(backend, e, nth, 1) > 0; nth += is_long ? 1 : nth)
		fired++;
	REQUIRE(fired > 0);
	for (nth = 1; nth <= last && e->always && one_point(backend, e, nth, FOREVER) > 0;
	     nth += is_long ? 1 : last)
		REQUIRE(nth < 10000);
}

static void transfers(const char *backend)
{
	REQUIRE(setenv("WEFT_IO", backend, 1) == 0);
	for (size_t i = 0; i < sizeof(effects) / sizeof(effects[0]); i++) {
		/* Where all is slow, half of them on each back end. */
		if (!(WF_TSAN || WF_ASAN) || test_is_long() || i % 2 == (backend[0] == 'u'))
			every_point(backend, &effects[i]);
	}
	printf("%s: all effects\n", backend);
}

/* ---- Resources ------------------------------------------------------------------------------- */

static const char *sweep_backend;

static void refuse_one(uint64_t nth)
{
	struct outcome out;

	snprintf(now, sizeof(now), "%s, resource %llu", sweep_backend, (unsigned long long)nth);
	api_set(&losses_logged, 0);
	wf_fault_arm(-1, nth);
	out = scenario(sweep_backend);
	REQUIRE(out.lost == 0 && api_read(&losses_logged) == 0);
	if (!wf_fault_fired())
		REQUIRE(out.refused == 0 && out.failed == 0);
}

static void resources(const char *backend)
{
	sweep_backend = backend;
	REQUIRE(setenv("WEFT_IO", backend, 1) == 0);
	const uint64_t stride = test_is_long() ? 1 : WF_TSAN || WF_ASAN ? 37 : 11;
	unsigned points = 0;

	lasting = false;
	/* Threads beside it make the number of points vary. */
	for (uint64_t nth = 1, missed = 0; missed < 3; nth += stride) {
		refuse_one(nth);
		missed = wf_fault_fired() ? 0 : missed + 1;
		points += missed == 0;
	}
	printf("%s: %u resources\n", backend, points);
	REQUIRE(points > 3);
}

int main(void)
{
	static const char *const backends[] = { "uring", "threads" };

	REQUIRE(mkdtemp(dir) != NULL);
	REQUIRE(setenv("WEFT_IO", "threads", 1) == 0);
	scenario("threads");
	const struct fault_census before = fault_census();

	for (int b = 0; b < 2; b++) {
		struct wf_io_options probe = { .backend = backends[b] };
		struct wf_io *io;

		if (wf_io_open(&io, &probe) != 0) {
			REQUIRE(b == 0);
			printf("no %s here\n", backends[b]);
			continue;
		}
		wf_io_close(io);
		transfers(backends[b]);
		if (b == 1 || test_is_long())
			resources(backends[b]);
	}
	fault_census_check(&before);
	REQUIRE(fault_entries(dir) == 2 && rmdir(dir) == 0);
	return 0;
}
