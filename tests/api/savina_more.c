/*
 * savina_more: concurrent and parallel programs of Savina (see savina.c), small, as tests of
 * correctness: actors that make actors, pipelines, and actors that others wait in line for.
 *
 * Goal: programs of actors as they are written elsewhere compute what they should. Method: each
 * ends with an answer that is known beforehand.
 */
#include "savina.h"

/* ---- Fibonacci: each number asks two actors of its own --------------------------------------- */

/* Whoever waits for answers has a handle of itself: its parent has let it go. */
static int parent_tell(weft_task *self, weft_task_fn *fn, int32_t value)
{
	const struct state *s = weft_actor_state(self);
	const struct message up = { .value = value };

	if (s->next.bits)
		tell(now->rt, s->next, fn, &up, sizeof up);
	else
		finish(now->rt, value);
	return 0;
}

static void child_ask(weft_task *self, weft_task_fn *fn, int32_t kind, int32_t value)
{
	const struct message down = { .from = weft_actor_self(self), .kind = kind, .value = value };
	weft_actor child = act_create(now->rt, &plain, NULL, NULL);

	API_CHECK(weft_actor_retain(now->rt, down.from) == 0);
	tell(now->rt, child, fn, &down, sizeof down);
	act_release(now->rt, child);
}

static int fibonacci_answered(weft_task *self)
{
	struct state *s = weft_actor_state(self);

	s->a += ((const struct message *)weft_task_arg(self, NULL))->value;
	if (++s->b == 2)
		parent_tell(self, fibonacci_answered, (int32_t)s->a);
	act_release(now->rt, weft_actor_self(self));
	return 0;
}

static int fibonacci_asked(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message m = *(const struct message *)weft_task_arg(self, NULL);

	s->next = m.from;
	if (m.value < 2)
		return parent_tell(self, fibonacci_answered, 1);
	child_ask(self, fibonacci_asked, 0, m.value - 1);
	child_ask(self, fibonacci_asked, 0, m.value - 2);
	return 0;
}

Test(savina_more, fibonacci)
{
	struct program p = begin(&plain, 1);
	const struct message first = { .value = WF_TSAN ? 12 : 16 };

	now = &p;
	tell(p.rt, p.actors[0], fibonacci_asked, &first, sizeof first);
	cr_assert_eq(answer(&p), WF_TSAN ? 233 : 1597);
	end(&p);
}

/* ---- Quicksort: each part of the array is an actor's, and then its children's ---------------- */

#define SORTED 3000

static int32_t values[SORTED];

static void swap(int32_t *a, int32_t *b)
{
	const int32_t was = *a;

	*a = *b;
	*b = was;
}

static int quicksort_done(weft_task *self)
{
	struct state *s = weft_actor_state(self);

	if (++s->b == 2)
		parent_tell(self, quicksort_done, 1);
	act_release(now->rt, weft_actor_self(self));
	return 0;
}

/* kind: the first, value: behind the last. */
static int quicksort_asked(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message m = *(const struct message *)weft_task_arg(self, NULL);
	int32_t at = m.kind;

	s->next = m.from;
	if (m.value - m.kind < 2)
		return parent_tell(self, quicksort_done, 1);
	for (int32_t i = m.kind; i < m.value - 1; i++)
		if (values[i] < values[m.value - 1])
			swap(&values[i], &values[at++]);
	swap(&values[at], &values[m.value - 1]);
	child_ask(self, quicksort_asked, m.kind, at);
	child_ask(self, quicksort_asked, at + 1, m.value);
	return 0;
}

static int64_t values_fill(uint32_t n, uint32_t below)
{
	uint64_t random = test_seed();
	int64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += values[i] = (int32_t)api_below(&random, below);
	return sum;
}

Test(savina_more, quicksort)
{
	struct program p = begin(&plain, 1);
	const uint32_t n = WF_TSAN ? 200 : SORTED;
	const struct message all = { .kind = 0, .value = (int32_t)n };
	int64_t sum = values_fill(n, 1000000);

	now = &p;
	tell(p.rt, p.actors[0], quicksort_asked, &all, sizeof all);
	cr_assert_eq(answer(&p), 1);
	for (uint32_t i = 0; i < n; i++) {
		sum -= values[i];
		cr_assert(!i || values[i - 1] <= values[i]);
	}
	cr_assert_eq(sum, 0);
	end(&p);
}

/* ---- Radix sort: a pipeline with an actor for each bit --------------------------------------- */

#define BITS 10

static int32_t radix_count, held[BITS][SORTED];

/* Ascending, and as many as there were. */
static int radix_end(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message *m = weft_task_arg(self, NULL);

	API_CHECK(s->b <= m->value);
	s->b = m->value;
	s->c += m->value;
	if (++s->a == radix_count)
		finish(now->rt, s->c);
	return 0;
}

/* Passes on what has a zero, and then, when all have come, what has a one. */
static int radix_bit(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	struct message m = *(const struct message *)weft_task_arg(self, NULL);
	const int32_t bit = m.kind;
	weft_task_fn *next = bit + 1 == BITS ? radix_end : radix_bit;

	m.kind++;
	if (m.value & 1 << bit)
		held[bit][s->b++] = m.value;
	else
		tell(now->rt, now->actors[m.kind], next, &m, sizeof m);
	if (++s->a < radix_count)
		return 0;
	for (int64_t i = 0; i < s->b; i++) {
		m.value = held[bit][i];
		tell(now->rt, now->actors[m.kind], next, &m, sizeof m);
	}
	return 0;
}

Test(savina_more, radix_sort)
{
	struct program p = begin(&plain, BITS + 1);
	const int64_t sum = values_fill(SORTED, 1 << BITS);

	now = &p;
	radix_count = SORTED;
	for (int32_t i = 0; i < SORTED; i++) {
		const struct message m = { .value = values[i] };

		tell(p.rt, p.actors[0], radix_bit, &m, sizeof m);
	}
	cr_assert_eq(answer(&p), sum);
	end(&p);
}

/* ---- Logistic map series: workers that wait for another actor's answer inside a call --------- */

#define MAP_ONE (INT64_C(1) << 20)
#define SERIES  10

static int64_t map_next(int64_t rate, int64_t x)
{
	return rate * x / MAP_ONE * (MAP_ONE - x) / MAP_ONE;
}

static int map_compute(weft_task *self)
{
	const int64_t *in = weft_task_arg(self, NULL);
	const int64_t x = map_next(in[0], in[1]);

	return weft_return(self, &x, sizeof x);
}

static int map_step(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const int32_t me = *(const int32_t *)weft_task_arg(self, NULL);
	const int64_t in[2] = { MAP_ONE * 3 + MAP_ONE / 16 * me, s->a ? s->a : MAP_ONE / 3 };

	s->a = api_take_i64(
		now->rt, act_call(now->rt, now->actors[SERIES + me], map_compute, in, sizeof in));
	return 0;
}

Test(savina_more, logistic_map_series)
{
	struct program p = begin(&plain, 2 * SERIES);
	const uint32_t terms = api_scaled(500);
	int64_t sum = 0;

	now = &p;
	for (uint32_t i = 0; i < terms; i++)
		for (int32_t me = 0; me < SERIES; me++)
			tell(p.rt, p.actors[me], map_step, &me, sizeof me);
	for (int32_t me = 0; me < SERIES; me++) {
		int64_t x = MAP_ONE / 3;

		for (uint32_t i = 0; i < terms; i++)
			x = map_next(MAP_ONE * 3 + MAP_ONE / 16 * me, x);
		sum += x;
	}
	cr_assert_eq(sum_of_a(&p), sum);
	api_release(p.rt, done);
	end(&p);
}

/* ---- Sleeping barber: actor 0 is the waiting room, actor 1 the barber ------------------------ */

#define CHAIRS 3

static int32_t cuts;

static int barber_cuts(weft_task *self);
static int customer_told(weft_task *self);

static int room_enter(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message m = *(const struct message *)weft_task_arg(self, NULL);
	const struct message full = { .kind = 1, .value = m.value };

	API_CHECK(s->b <= CHAIRS);
	if (!s->c) { /* the barber sleeps: nobody waits */
		API_CHECK(s->b == 0);
		s->c = 1;
		tell(now->rt, now->actors[1], barber_cuts, &m, sizeof m);
	} else if (s->b == CHAIRS) {
		tell(now->rt, m.from, customer_told, &full, sizeof full);
	} else {
		s->slot[s->b++] = m.value;
	}
	return 0;
}

static int room_next(weft_task *self)
{
	struct state *s = weft_actor_state(self);

	API_CHECK(s->c == 1);
	if (!s->b) {
		s->c = 0;
		return 0;
	}
	const int32_t who = (int32_t)s->slot[0];
	const struct message next = { .from = now->actors[who], .value = who };

	memmove(&s->slot[0], &s->slot[1], (size_t)--s->b * sizeof s->slot[0]);
	tell(now->rt, now->actors[1], barber_cuts, &next, sizeof next);
	return 0;
}

static int barber_cuts(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message m = *(const struct message *)weft_task_arg(self, NULL);
	const struct message cut = { .kind = 2, .value = m.value };

	s->a++;
	tell(now->rt, m.from, customer_told, &cut, sizeof cut);
	tell(now->rt, now->actors[0], room_next, NULL, 0);
	return 0;
}

/* kind 0: come for the first time; 1: it was full; 2: done. */
static int customer_told(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message m = *(const struct message *)weft_task_arg(self, NULL);
	const struct message me = { .from = weft_actor_self(self), .value = m.value };

	if (m.kind == 2 && ++s->b == cuts) {
		finish_one(now->rt, s->b);
		return 0;
	}
	tell(now->rt, now->actors[0], room_enter, &me, sizeof me);
	return 0;
}

Test(savina_more, sleeping_barber)
{
	struct program p = begin(&plain, 12);

	now = &p;
	cuts = (int32_t)api_scaled(300);
	expect_ends(10);
	for (int32_t i = 2; i < p.n; i++) {
		const struct message first = { .value = i };

		tell(p.rt, p.actors[i], customer_told, &first, sizeof first);
	}
	cr_assert_eq(answer(&p), cuts);
	cr_assert_eq(sum_of_a(&p), 10 * (int64_t)cuts);
	end(&p);
}

/* ---- Cigarette smokers: actor 0 is the arbiter ----------------------------------------------- */

static int32_t rounds;

static int arbiter_next(weft_task *self);

static int smoker_smokes(weft_task *self)
{
	((struct state *)weft_actor_state(self))->a++;
	tell(now->rt, now->actors[0], arbiter_next, NULL, 0);
	return 0;
}

static int arbiter_next(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	uint64_t random = test_seed() + (uint64_t)s->b;

	if (s->b++ == rounds)
		finish(now->rt, s->b - 1);
	else
		tell(now->rt, now->actors[1 + api_below(&random, 20)], smoker_smokes, NULL, 0);
	return 0;
}

Test(savina_more, cigarette_smokers)
{
	struct program p = begin(&plain, 21);

	now = &p;
	rounds = (int32_t)api_scaled(3000);
	tell(p.rt, p.actors[0], arbiter_next, NULL, 0);
	cr_assert_eq(answer(&p), rounds);
	cr_assert_eq(sum_of_a(&p), rounds);
	end(&p);
}

/* ---- Concurrent sorted linked list: actor 0 has it ------------------------------------------- */

struct node {
	int32_t value;
	struct node *next;
};

static struct node *list; /* of actor 0 */
static int32_t requests;

enum { LIST_ADD, LIST_HAS, LIST_SIZE };

static int list_worker(weft_task *self);

static struct node **list_find(int32_t value)
{
	struct node **at = &list;

	while (*at && (*at)->value < value)
		at = &(*at)->next;
	return at;
}

static int list_asked(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message m = *(const struct message *)weft_task_arg(self, NULL);
	struct node **at = list_find(m.value);
	struct message reply = { .kind = m.kind, .value = m.value };

	if (m.kind == LIST_ADD) {
		struct node *node = malloc(sizeof *node);

		API_CHECK(node != NULL);
		*node = (struct node){ m.value, *at };
		*at = node;
		s->a++;
	} else if (m.kind == LIST_HAS) {
		API_CHECK(*at && (*at)->value == m.value);
	} else {
		reply.value = (int32_t)s->a;
	}
	tell(now->rt, m.from, list_worker, &reply, sizeof reply);
	return 0;
}

/* Adds a value, asks whether it is there, and how many there are, which are never fewer. */
static int list_worker(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message m = *(const struct message *)weft_task_arg(self, NULL);
	uint64_t random = (uint64_t)m.value + (uint64_t)s->c;
	struct message next = { .from = weft_actor_self(self), .value = m.value };

	if (m.kind == LIST_ADD) {
		next.kind = LIST_HAS;
	} else if (m.kind == LIST_HAS) {
		next.kind = LIST_SIZE;
	} else {
		API_CHECK(s->c == 0 || m.value > s->b);
		s->b = m.value;
		if (s->c++ == requests) {
			finish_one(now->rt, s->c);
			return 0;
		}
		next.kind = LIST_ADD;
		next.value = (int32_t)api_below(&random, 1000);
	}
	tell(now->rt, now->actors[0], list_asked, &next, sizeof next);
	return 0;
}

Test(savina_more, concurrent_sorted_linked_list)
{
	struct program p = begin(&plain, 11);
	int64_t n = 0;

	now = &p;
	requests = (int32_t)api_scaled(100);
	expect_ends(10);
	for (int i = 1; i < p.n; i++) {
		const struct message first = { .kind = LIST_SIZE };

		tell(p.rt, p.actors[i], list_worker, &first, sizeof first);
	}
	cr_assert_eq(answer(&p), requests + 1);
	cr_assert_eq(sum_of_a(&p), 10 * (int64_t)requests);
	while (list) {
		struct node *node = list;

		list = node->next;
		cr_assert(!list || node->value <= list->value);
		free(node);
		n++;
	}
	cr_assert_eq(n, 10 * (int64_t)requests);
	end(&p);
}
