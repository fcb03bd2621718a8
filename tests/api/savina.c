/*
 * savina: benchmarks of Savina (Imam and Sarkar, AGERE! 2014, doi:10.1145/2687357.2687368), small,
 * as tests of correctness.
 *
 * Goal: programs of actors as they are written elsewhere compute what they should. Method: each
 * ends with an answer that is known beforehand, or with a sum that must come out even; messages are
 * calls without a result, and whoever ends a program sets an event.
 */
#include "savina.h"

/* ---- Ping-pong, thread ring ------------------------------------------------------------------ */

static int hop(weft_task *self)
{
	const struct message m = *(const struct message *)weft_task_arg(self, NULL);
	struct state *s = weft_actor_state(self);
	const int32_t me = m.kind;

	s->a++;
	if (!m.value) {
		finish(now->rt, me);
		return 0;
	}
	const int32_t next = (me + 1) % now->n;
	const struct message on = { .kind = next, .value = m.value - 1 };

	tell(now->rt, now->actors[next], hop, &on, sizeof on);
	return 0;
}

static void ring_of(int n, int32_t hops)
{
	struct program p = begin(&plain, n);
	const struct message first = { .kind = 0, .value = hops };

	now = &p;
	tell(p.rt, p.actors[0], hop, &first, sizeof first);
	cr_assert_eq(answer(&p), hops % n);
	cr_assert_eq(sum_of_a(&p), hops + 1);
	end(&p);
}

Test(savina, ping_pong)
{
	ring_of(2, (int32_t)api_scaled(20001));
}

Test(savina, thread_ring)
{
	ring_of(100, (int32_t)api_scaled(20003));
}

/* ---- Counting, fork-join throughput ---------------------------------------------------------- */

Test(savina, counting)
{
	struct program p = begin(&plain, 1);
	const int64_t n = api_scaled(30000);

	for (int64_t i = 0; i < n; i++)
		tell(p.rt, p.actors[0], increment, NULL, 0);
	cr_assert_eq(sum_of_a(&p), n);
	api_release(p.rt, done);
	end(&p);
}

Test(savina, fork_join_throughput)
{
	struct program p = begin(&plain, 60);
	const int64_t n = api_scaled(1000);

	for (int64_t i = 0; i < n; i++)
		for (int k = 0; k < p.n; k++)
			tell(p.rt, p.actors[k], increment, NULL, 0);
	for (int k = 0; k < p.n; k++)
		cr_assert_eq(api_take_i64(p.rt, act_call(p.rt, p.actors[k], report_a, NULL, 0)), n);
	api_release(p.rt, done);
	end(&p);
}

/* ---- Chameneos: actor 0 is the mall ---------------------------------------------------------- */

static int32_t meetings;

static int chameneo_meets(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message *m = weft_task_arg(self, NULL);

	s->a++;
	/* The colour that neither has, or the common one. */
	s->b = s->b == m->value ? s->b : 3 - s->b - m->value;
	return 0;
}

/* Mall: pairs whoever comes; each pair is told of the other. */
static int chameneo_comes(weft_task *self);

static int chameneo_goes_in(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message me = { .from = weft_actor_self(self), .value = (int32_t)s->b };

	tell(now->rt, now->actors[0], chameneo_comes, &me, sizeof me);
	return 0;
}

static int chameneo_comes(weft_task *self)
{
	struct state *mall = weft_actor_state(self);
	const struct message m = *(const struct message *)weft_task_arg(self, NULL);

	if (mall->c == meetings)
		return 0;
	if (!mall->next.bits) {
		mall->next = m.from;
		mall->b = m.value;
		return 0;
	}
	const weft_actor other = mall->next;
	const struct message to_first = { .value = m.value },
			     to_second = { .value = (int32_t)mall->b };

	mall->next = (weft_actor){ 0 };
	tell(now->rt, other, chameneo_meets, &to_first, sizeof to_first);
	tell(now->rt, m.from, chameneo_meets, &to_second, sizeof to_second);
	if (++mall->c == meetings) {
		finish(now->rt, mall->c);
		return 0;
	}
	tell(now->rt, other, chameneo_goes_in, NULL, 0);
	tell(now->rt, m.from, chameneo_goes_in, NULL, 0);
	return 0;
}

Test(savina, chameneos)
{
	struct program p = begin(&plain, 21);

	now = &p;
	meetings = (int32_t)api_scaled(5000);
	for (int i = 1; i < p.n; i++)
		tell(p.rt, p.actors[i], chameneo_goes_in, NULL, 0);
	cr_assert_eq(answer(&p), meetings);
	/* Each meeting has two. */
	cr_assert_eq(sum_of_a(&p), 2 * (int64_t)meetings);
	end(&p);
}

/* ---- Bank: transfers between accounts leave the sum as it was -------------------------------- */

static int credit(weft_task *self)
{
	struct state *s = weft_actor_state(self);

	s->a += *(const int64_t *)weft_task_arg(self, NULL);
	return weft_return(self, &s->a, sizeof s->a);
}

/* From a lower account to a higher one, which is waited for: no ring of waits. */
static int debit(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message m = *(const struct message *)weft_task_arg(self, NULL);
	const int64_t amount = m.value;

	s->a -= amount;
	api_take_i64(now->rt, act_call(now->rt, m.from, credit, &amount, sizeof amount));
	return weft_return(self, &s->a, sizeof s->a);
}

Test(savina, bank_transaction)
{
	struct program p = begin(&plain, 50);
	const uint32_t n = api_scaled(3000);
	weft_ref *refs = calloc(n, sizeof *refs);
	uint64_t random = test_seed();

	now = &p;
	API_CHECK(refs != NULL);
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t source = api_below(&random, 25);
		const uint32_t destination = source + 1 + api_below(&random, 24);
		const struct message m = { .from = p.actors[destination],
			                   .value = (int32_t)api_below(&random, 100) };

		if (weft_actor_call(p.rt, p.actors[source], debit, &m, sizeof m, &refs[i]))
			refs[i] = WEFT_NONE; /* too many are pending there: no transfer */
	}
	for (uint32_t i = 0; i < n; i++)
		if (refs[i].bits)
			api_take_i64(p.rt, refs[i]);
	cr_assert_eq(sum_of_a(&p), 0);
	free(refs);
	api_release(p.rt, done);
	end(&p);
}

/* ---- Dining philosophers: actor 0 is the table ----------------------------------------------- */

static int32_t meals;

static int philosopher_eats(weft_task *self);

static int table_returns(weft_task *self)
{
	struct state *table = weft_actor_state(self);
	const struct message *m = weft_task_arg(self, NULL);

	API_CHECK(table->slot[m->value] && table->slot[(m->value + 1) % 5]);
	table->slot[m->value] = table->slot[(m->value + 1) % 5] = 0;
	return 0;
}

static int table_asked(weft_task *self)
{
	struct state *table = weft_actor_state(self);
	const struct message *m = weft_task_arg(self, NULL);
	const int32_t left = m->value, right = (m->value + 1) % 5;
	const struct message reply = { .kind = !table->slot[left] && !table->slot[right],
		                       .value = m->value };

	if (reply.kind) {
		table->slot[left] = table->slot[right] = 1;
		table->a++;
	}
	tell(now->rt, m->from, philosopher_eats, &reply, sizeof reply);
	return 0;
}

/* Forks or not: eat and give them back, and ask again until there were enough meals. */
static int philosopher_eats(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message m = *(const struct message *)weft_task_arg(self, NULL);
	const struct message next = { .from = weft_actor_self(self), .value = m.value };

	if (m.kind == 1) {
		s->b++;
		tell(now->rt, now->actors[0], table_returns, &next, sizeof next);
	}
	if (s->b == meals) {
		finish_one(now->rt, s->b);
		return 0;
	}
	tell(now->rt, now->actors[0], table_asked, &next, sizeof next);
	return 0;
}

Test(savina, dining_philosophers)
{
	struct program p = begin(&plain, 6);

	now = &p;
	meals = (int32_t)api_scaled(500);
	expect_ends(5);
	for (int32_t i = 0; i < 5; i++) {
		const struct message first = { .kind = 2, .value = i };

		tell(p.rt, p.actors[i + 1], philosopher_eats, &first, sizeof first);
	}
	cr_assert_eq(answer(&p), meals);
	cr_assert_eq(sum_of_a(&p), 5 * (int64_t)meals);
	end(&p);
}

/* ---- Sieve: each actor holds one prime, and passes on what it does not divide ---------------- */

static int sieve(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const int64_t n = *(const int64_t *)weft_task_arg(self, NULL);

	if (n < 0) { /* the end, which counts the primes on its way */
		const int64_t on = n - (s->a ? 1 : 0);

		if (!s->next.bits) {
			finish(weft_task_runtime(self), -on - 1);
			return 0;
		}
		tell(weft_task_runtime(self), s->next, sieve, &on, sizeof on);
		act_release(weft_task_runtime(self), s->next);
		return 0;
	}
	if (!s->a) {
		s->a = n;
		return 0;
	}
	if (n % s->a == 0)
		return 0;
	if (!s->next.bits)
		s->next = act_create(weft_task_runtime(self), &plain, NULL, NULL);
	tell(weft_task_runtime(self), s->next, sieve, &n, sizeof n);
	return 0;
}

Test(savina, sieve_of_eratosthenes)
{
	struct program p = begin(&plain, 1);
	const int64_t last = -1;

	for (int64_t n = 2; n < 1000; n++)
		tell(p.rt, p.actors[0], sieve, &n, sizeof n);
	tell(p.rt, p.actors[0], sieve, &last, sizeof last);
	cr_assert_eq(answer(&p), 168);
	end(&p);
}

/* ---- N queens: a master and workers that solve what has few rows left ------------------------ */

#define QUEENS 8

struct board {
	int8_t row, column[QUEENS];
};

static bool safe(const struct board *b, int column)
{
	for (int r = 0; r < b->row; r++) {
		const int d = column - b->column[r];

		if (!d || d == b->row - r || d == r - b->row)
			return false;
	}
	return true;
}

static int64_t solve(struct board *b)
{
	int64_t n = 0;

	if (b->row == QUEENS)
		return 1;
	for (int c = 0; c < QUEENS; c++) {
		if (!safe(b, c))
			continue;
		b->column[b->row++] = (int8_t)c;
		n += solve(b);
		b->row--;
	}
	return n;
}

static int queens_done(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message *m = weft_task_arg(self, NULL);

	/* Work that is out, and solutions. */
	s->b += m->kind;
	s->a += m->value;
	if (!s->b)
		finish(now->rt, s->a);
	return 0;
}

static int queens_work(weft_task *self)
{
	struct board b = *(const struct board *)weft_task_arg(self, NULL);
	struct message result = { .kind = -1, .value = 0 };

	for (int c = 0; b.row < 3 && c < QUEENS; c++)
		result.kind += safe(&b, c);
	if (b.row >= 3)
		result.value = (int32_t)solve(&b);
	/* Told before the parts can be, so that nothing comes out even too early. */
	tell(now->rt, now->actors[0], queens_done, &result, sizeof result);
	for (int c = 0; b.row < 3 && c < QUEENS; c++) {
		struct board next = b;

		if (!safe(&b, c))
			continue;
		next.column[next.row++] = (int8_t)c;
		tell(now->rt, now->actors[1 + c % (now->n - 1)], queens_work, &next, sizeof next);
	}
	return 0;
}

Test(savina, n_queens)
{
	struct program p = begin(&plain, 5);
	const struct message one = { .kind = 1 };
	const struct board empty = { 0 };

	now = &p;
	tell(p.rt, p.actors[0], queens_done, &one, sizeof one);
	tell(p.rt, p.actors[1], queens_work, &empty, sizeof empty);
	cr_assert_eq(answer(&p), 92);
	end(&p);
}

/* ---- Concurrent dictionary: actor 0 holds it ------------------------------------------------- */

static int32_t requests;

static int dictionary_reply(weft_task *self);

static int dictionary_asked(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message *m = weft_task_arg(self, NULL);
	const int32_t key = m->value % 8;

	s->a++;
	if (m->kind)
		s->slot[key] = m->value;
	const struct message reply = { .kind = m->value, .value = (int32_t)s->slot[key] };

	tell(now->rt, m->from, dictionary_reply, &reply, sizeof reply);
	return 0;
}

/* A tenth of the requests writes; what comes back is a value that was written for the key. */
static int dictionary_reply(weft_task *self)
{
	struct state *s = weft_actor_state(self);
	const struct message m = *(const struct message *)weft_task_arg(self, NULL);

	API_CHECK(!m.value || m.value % 8 == m.kind % 8);
	if (++s->b > requests) {
		finish_one(now->rt, s->b);
		return 0;
	}
	const struct message next = { .from = weft_actor_self(self),
		                      .kind = s->b % 10 == 0,
		                      .value = m.kind + 1 };

	tell(now->rt, now->actors[0], dictionary_asked, &next, sizeof next);
	return 0;
}

Test(savina, concurrent_dictionary)
{
	struct program p = begin(&plain, 11);

	now = &p;
	requests = (int32_t)api_scaled(1000);
	expect_ends(10);
	for (int i = 1; i < p.n; i++) {
		const struct message first = { .value = 0, .kind = i };

		tell(p.rt, p.actors[i], dictionary_reply, &first, sizeof first);
	}
	cr_assert_eq(answer(&p), requests + 1);
	cr_assert_eq(sum_of_a(&p), 10 * (int64_t)requests);
	end(&p);
}

/* ---- Producers and consumers: actor 0 is the buffer ------------------------------------------ */

static int buffer_put(weft_task *self)
{
	struct state *s = weft_actor_state(self);

	s->b += *(const int64_t *)weft_task_arg(self, NULL);
	return increment(self);
}

static int produce(weft_task *self)
{
	const int64_t n = *(const int64_t *)weft_task_arg(self, NULL);

	for (int64_t i = 1; i <= n; i++)
		tell(now->rt, now->actors[0], buffer_put, &i, sizeof i);
	return 0;
}

static int report_b(weft_task *self)
{
	return weft_return(self, &((struct state *)weft_actor_state(self))->b, sizeof(int64_t));
}

Test(savina, producers_and_a_consumer)
{
	struct program p = begin(&plain, 9);
	const int64_t n = api_scaled(3000);
	weft_ref refs[8];

	now = &p;
	for (int i = 0; i < 8; i++)
		refs[i] = act_call(p.rt, p.actors[i + 1], produce, &n, sizeof n);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(api_end(p.rt, refs[i]), 0);
	cr_assert_eq(api_take_i64(p.rt, act_call(p.rt, p.actors[0], report_b, NULL, 0)),
	             8 * n * (n + 1) / 2);
	api_release(p.rt, done);
	end(&p);
}
