/*
 * Goal: wherever values are, whoever wants them where, however short of room devices are, and
 * however calls and devices fail and tasks are cancelled meanwhile: no value is ever wrong, every
 * task ends, an error has a reason, and nothing is left in the end, on a device or in the store.
 * Method: threads keep rows of words that tasks make on devices and on the host, add up on devices,
 * look at on the host, get and let go, in random order; what each row must be is known. Devices
 * hold a part of them. 1, 2 and 8 workers; without failures, with some, with the loss of a device.
 */
#include "../support/gpu_values.h"
#include "stress.h"

#define THREADS 2
#define ROWS    12
#define WORDS   4096u
#define BYTES   (WORDS * 4u)

enum trouble { NONE, SOME, LOSS };

struct row {
	weft_ref ref; /* 0 bits: none */
	uint32_t base, step;
};

struct field {
	struct gpu_test t;
	enum trouble trouble;
	uint32_t n;
};

struct share {
	struct field *field;
	uint32_t thread;
	uint64_t random;
	struct row rows[ROWS];
};

static void check_error(struct field *f, weft_ref ref, int rc)
{
	const struct weft_error *error = NULL;

	if (f->trouble == NONE)
		fprintf(stderr, "weft_get() gave %d\n", rc);
	if (f->trouble == NONE && !weft_ref_error(f->t.rt, ref, &error))
		for (; error; error = error->cause)
			fprintf(stderr, "%d %d %s %s\n", error->status, error->code, error->task,
			        error->text);
	API_CHECK(f->trouble != NONE);
	if (weft_ref_error(f->t.rt, ref, &error)) {
		API_CHECK(rc == -EIO || rc == -ENOMEM);
		return;
	}
	while (error->cause)
		error = error->cause;
	/* A body may fail with the code that a lost device gave it, while its own device lives. */
	API_CHECK(error->status == -ECANCELED || error->code == -EIO || error->code == -ENOMEM ||
	          (f->trouble == LOSS && error->code == WEFT_EDEVICE));
}

static void check(struct field *f, const struct row *row)
{
	struct weft_view view;
	const int rc = weft_get(f->t.rt, row->ref, WEFT_FOREVER, &view);

	if (rc) {
		check_error(f, row->ref, rc);
		return;
	}
	API_CHECK(values_are(&view, WORDS, row->base, row->step));
	API_CHECK(weft_view_end(f->t.rt, row->ref) == 0);
}

static void let_go(struct field *f, struct row *row)
{
	if (row->ref.bits)
		api_release(f->t.rt, row->ref);
	row->ref.bits = 0;
}

/* The place of a row that is to come; never that of `a` or `b`. */
static struct row *place_for(struct share *s, const struct row *a, const struct row *b)
{
	struct row *row;

	do {
		row = &s->rows[api_below(&s->random, ROWS)];
	} while (row == a || row == b);
	if (row->ref.bits && api_below(&s->random, 3) == 0)
		check(s->field, row);
	let_go(s->field, row);
	return row;
}

static struct row *some_row(struct share *s)
{
	struct row *row = &s->rows[api_below(&s->random, ROWS)];

	return row->ref.bits ? row : NULL;
}

static void make(struct share *s, const struct weft_task_options *o)
{
	struct row *row = place_for(s, NULL, NULL);

	row->base = (uint32_t)api_random(&s->random);
	row->step = 1;
	if (api_below(&s->random, 3) == 0)
		row->ref = values_put(s->field->t.rt, WORDS, row->base);
	else
		row->ref = api_submit(
			s->field->t.rt,
			WEFT_TASK(values_make, VALUES_PLAN(WORDS, row->base), .opts = o));
}

static void add(struct share *s, const struct weft_task_options *o)
{
	const struct row *a = some_row(s), *b = some_row(s);

	if (!a || !b)
		return;
	struct row *row = place_for(s, a, b);

	row->base = a->base + b->base + 5;
	row->step = a->step + b->step;
	row->ref = api_submit(s->field->t.rt,
	                      WEFT_TASK(values_add, VALUES_PLAN(WORDS, 5),
	                                WEFT_INPUTS(a->ref, b->ref), .opts = o));
	if (s->field->trouble == SOME && api_below(&s->random, 16) == 0)
		API_CHECK(weft_cancel(s->field->t.rt, row->ref) == 0);
}

static void look(struct share *s)
{
	const struct row *row = some_row(s);

	if (!row || row->step != 1)
		return;
	weft_release(s->field->t.rt,
	             api_submit(s->field->t.rt,
	                        WEFT_TASK(values_look, VALUES_PLAN(WORDS, row->base),
	                                  WEFT_INPUTS(row->ref))));
}

static void get_all(struct share *s)
{
	weft_ref refs[ROWS];
	struct weft_view views[ROWS];
	uint32_t n = 0, failed = 0;

	for (uint32_t i = 0; i < ROWS; i++) {
		if (s->rows[i].ref.bits)
			refs[n++] = s->rows[i].ref;
	}
	if (weft_get_many(s->field->t.rt, refs, n, WEFT_FOREVER, views, &failed)) {
		API_CHECK(s->field->trouble != NONE);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		API_CHECK(views[i].size == BYTES && weft_view_end(s->field->t.rt, refs[i]) == 0);
}

static void trouble(struct share *s, uint32_t i)
{
	struct field *f = s->field;

	if (s->thread || f->trouble == NONE)
		return;
	if (f->trouble == LOSS && i == f->n / 2)
		wf_sim_fault(f->t.sim, WF_SIM_FAULT_WORK, 1, -EIO);
	if (f->trouble == SOME && api_below(&s->random, 16) == 0)
		wf_sim_fault(f->t.sim, WF_SIM_FAULT_CALL, 1 + api_below(&s->random, 20),
		             api_below(&s->random, 2) ? -EIO : -ENOMEM);
}

static void *work(void *arg)
{
	struct share *s = arg;
	static const struct weft_task_options part = { .struct_size = sizeof part,
		                                       .gpus = 0.5,
		                                       .gpu_mem = 3 * BYTES };
	static const struct weft_task_options whole = { .struct_size = sizeof whole, .gpus = 1 };

	for (uint32_t i = 0; i < s->field->n; i++) {
		const struct weft_task_options *o = api_below(&s->random, 4) ? &part : &whole;
		const struct row *row;

		trouble(s, i);
		switch (api_below(&s->random, 8)) {
		case 0:
		case 1:
			make(s, o);
			break;
		case 2:
			look(s);
			break;
		case 3:
			row = some_row(s);
			if (row)
				check(s->field, row);
			break;
		case 4:
			if (api_below(&s->random, 8) == 0)
				get_all(s);
			break;
		default:
			add(s, o);
		}
	}
	for (uint32_t i = 0; i < ROWS; i++) {
		if (s->rows[i].ref.bits)
			check(s->field, &s->rows[i]);
		let_go(s->field, &s->rows[i]);
	}
	return NULL;
}

static void run(uint32_t workers, uint32_t n, enum trouble trouble)
{
	struct weft_options o = { .struct_size = sizeof o, .store_bytes = 8u << 20 };
	struct weft_cuda_options how = { .struct_size = sizeof how,
		                         .staging_bytes = 3 * BYTES,
		                         /* The other way up as well. */
		                         .pin_bytes = workers == 2 ? 4u << 20 : 0 };
	struct field field = {
		.t = gpu_open_with("sim:devices=2,memory=96K,threads=2", workers, &o, &how),
		.trouble = trouble,
		.n = n,
	};
	struct share shares[THREADS];
	pthread_t threads[THREADS];

	memset(shares, 0, sizeof shares);
	for (uint32_t i = 0; i < THREADS; i++) {
		shares[i].field = &field;
		shares[i].thread = i;
		shares[i].random = test_seed() * 41 + workers * 4 + i;
		threads[i] = api_thread(work, &shares[i]);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		api_join(threads[i]);
	wf_sim_fault(field.t.sim, WF_SIM_FAULT_CALL, 0, 0);
	/* Room was short, and values have moved in every way. */
	if (trouble == NONE)
		API_CHECK(gpu_info(&field.t, 0).evicted && gpu_info(&field.t, 0).dropped &&
		          gpu_info(&field.t, 0).uploads && gpu_info(&field.t, 0).downloads);
	API_CHECK((trouble == LOSS) == (gpu_info(&field.t, 0).lost || gpu_info(&field.t, 1).lost));
	values_close(&field.t);
}

int main(void)
{
	static const uint32_t workers[] = { 1, 2, 8 };

	for (uint32_t i = 0; i < 3; i++) {
		for (int trouble = NONE; trouble <= LOSS; trouble++)
			run(workers[i], STRESS_SCALE(3000), (enum trouble)trouble);
	}
	return 0;
}
