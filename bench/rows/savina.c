/*
 * savina.c: rows of actors with more to them, by Savina's names; see actors.c.
 */
#include "actors.h"

/* ---- Chameneos: a hundred creatures meet in a mall, two at a time -------------------------- */

#define CHAMENEOS 100

struct creature {
	weft_actor who;
	uint64_t colour; /* to the mall that closes: how often it has met */
};

struct mall_state {
	struct creature waiting;
	uint64_t left, gone, meetings;
};
struct chameneo_state {
	uint64_t colour, met;
};
static const struct weft_actor_class mall_class =
	WEFT_ACTOR_CLASS(.name = "mall", .state_bytes = sizeof(struct mall_state));
static const struct weft_actor_class chameneo_class =
	WEFT_ACTOR_CLASS(.name = "chameneo", .state_bytes = sizeof(struct chameneo_state));
static weft_actor mall, chameneos[CHAMENEOS];

/* The same, or the third one. */
static uint64_t complement(uint64_t a, uint64_t b)
{
	return a == b ? a : 3 - a - b;
}

static int mall_counts(weft_task *self)
{
	struct mall_state *m = weft_actor_state(self);

	m->meetings += *(const uint64_t *)bench_arg(self);
	if (++m->gone == CHAMENEOS)
		bench_actors_done(weft_task_runtime(self), m->meetings / 2);
	return 0;
}

static int chameneo_leaves(weft_task *self)
{
	const struct chameneo_state *c = weft_actor_state(self);

	bench_tell(weft_task_runtime(self), mall, mall_counts, &c->met, sizeof c->met);
	return 0;
}

static int mall_meets(weft_task *self);

static int chameneo_comes(weft_task *self)
{
	const struct chameneo_state *c = weft_actor_state(self);
	const struct creature me = { weft_actor_self(self), c->colour };

	bench_tell(weft_task_runtime(self), mall, mall_meets, &me, sizeof me);
	return 0;
}

static int chameneo_changes(weft_task *self)
{
	struct chameneo_state *c = weft_actor_state(self);

	c->colour = *(const uint64_t *)bench_arg(self);
	c->met++;
	return chameneo_comes(self);
}

/* The first to come hears of the second, and tells it what becomes of both. */
static int chameneo_meets(weft_task *self)
{
	struct chameneo_state *c = weft_actor_state(self);
	const struct creature other = *(const struct creature *)bench_arg(self);

	c->colour = complement(c->colour, other.colour);
	c->met++;
	bench_tell(weft_task_runtime(self), other.who, chameneo_changes, &c->colour,
	           sizeof c->colour);
	return chameneo_comes(self);
}

static int mall_meets(weft_task *self)
{
	struct mall_state *m = weft_actor_state(self);
	const struct creature comer = *(const struct creature *)bench_arg(self);
	weft *rt = weft_task_runtime(self);

	if (!m->left) {
		bench_tell(rt, comer.who, chameneo_leaves, NULL, 0);
	} else if (!m->waiting.who.bits) {
		m->waiting = comer;
	} else {
		m->left--;
		bench_tell(rt, m->waiting.who, chameneo_meets, &comer, sizeof comer);
		m->waiting.who.bits = 0;
	}
	return 0;
}

static int mall_opens(weft_task *self)
{
	struct mall_state *m = weft_actor_state(self);

	m->left = *(const uint64_t *)bench_arg(self);
	return 0;
}

static int chameneo_begins(weft_task *self)
{
	struct chameneo_state *c = weft_actor_state(self);

	c->colour = *(const uint64_t *)bench_arg(self) % 3;
	return chameneo_comes(self);
}

static int chameneos_root(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	bench_tell(rt, mall, mall_opens, bench_arg(self), sizeof(uint64_t));
	for (uint64_t i = 0; i < CHAMENEOS; i++)
		bench_tell(rt, chameneos[i], chameneo_begins, &i, sizeof i);
	return 0;
}

static void chameneos_prepare(weft *rt, uint64_t n)
{
	(void)n;
	mall = bench_actor(rt, &mall_class);
	for (int i = 0; i < CHAMENEOS; i++)
		chameneos[i] = bench_actor(rt, &chameneo_class);
}

static uint64_t chameneos_finish(weft *rt, uint64_t n, uint64_t value)
{
	(void)n;
	bench_must(weft_actor_release(rt, mall), "weft_actor_release");
	for (int i = 0; i < CHAMENEOS; i++)
		bench_must(weft_actor_release(rt, chameneos[i]), "weft_actor_release");
	return value;
}

int row_actor_chameneos(const struct bench_run *run)
{
	return bench_actors_run(run,
	                        &(struct bench_plan){ bench_pick(500000, 500), chameneos_root,
	                                              chameneos_prepare, chameneos_finish, 4 });
}

/* ---- Concurrent dictionary: twenty workers, a tenth of their requests writes --------------- */

#define READERS    20
#define DICTIONARY 512

struct entry {
	uint64_t key, value; /* the upper half of the key: which worker asks */
};
struct dictionary_state {
	uint64_t value[DICTIONARY];
};
struct reader_state {
	uint64_t left, random, good;
};
static const struct weft_actor_class dictionary_class =
	WEFT_ACTOR_CLASS(.name = "dictionary", .state_bytes = sizeof(struct dictionary_state));
static const struct weft_actor_class reader_class =
	WEFT_ACTOR_CLASS(.name = "reader", .state_bytes = sizeof(struct reader_state));
static weft_actor dictionary, readers[READERS];
static struct bench_counter readers_ended, answers_good;
static uint64_t reader_each;

static int reader_hears(weft_task *self);

static int dictionary_looks(weft_task *self)
{
	struct dictionary_state *d = weft_actor_state(self);
	const struct entry *e = bench_arg(self);
	const uint64_t key = e->key & UINT32_MAX;

	if (e->value)
		d->value[key % DICTIONARY] = e->value;
	const struct entry answer = { e->key, d->value[key % DICTIONARY] };

	bench_tell(weft_task_runtime(self), readers[e->key >> 32], reader_hears, &answer,
	           sizeof answer);
	return 0;
}

static uint64_t value_of(uint64_t key)
{
	return bench_mix(key % DICTIONARY) | 1;
}

static int reader_asks(weft_task *self, uint64_t me)
{
	struct reader_state *r = weft_actor_state(self);

	if (!r->left--) {
		for (uint64_t i = 0; i < r->good; i++)
			bench_counter_add(&answers_good);
		if (bench_counter_add(&readers_ended) + 1 == READERS)
			bench_actors_done(weft_task_runtime(self), 0);
		return 0;
	}
	r->random = bench_mix(r->random);
	const uint64_t key = r->random >> 40;
	const struct entry ask = { me << 32 | key, r->random % 10 ? 0 : value_of(key) };

	bench_tell(weft_task_runtime(self), dictionary, dictionary_looks, &ask, sizeof ask);
	return 0;
}

static int reader_hears(weft_task *self)
{
	struct reader_state *r = weft_actor_state(self);
	const struct entry e = *(const struct entry *)bench_arg(self);

	r->good += !e.value || e.value == value_of(e.key & UINT32_MAX);
	return reader_asks(self, e.key >> 32);
}

static int reader_begins(weft_task *self)
{
	struct reader_state *r = weft_actor_state(self);

	r->random = *(const uint64_t *)bench_arg(self);
	r->left = reader_each;
	return reader_asks(self, r->random);
}

static int concdict_root(weft_task *self)
{
	for (uint64_t i = 0; i < READERS; i++)
		bench_tell(weft_task_runtime(self), readers[i], reader_begins, &i, sizeof i);
	return 0;
}

static void concdict_prepare(weft *rt, uint64_t n)
{
	reader_each = n / READERS;
	readers_ended.value = answers_good.value = 0;
	dictionary = bench_actor(rt, &dictionary_class);
	for (int i = 0; i < READERS; i++)
		readers[i] = bench_actor(rt, &reader_class);
}

static uint64_t concdict_finish(weft *rt, uint64_t n, uint64_t value)
{
	(void)n;
	bench_must(weft_actor_release(rt, dictionary), "weft_actor_release");
	for (int i = 0; i < READERS; i++)
		bench_must(weft_actor_release(rt, readers[i]), "weft_actor_release");
	return value + bench_counter_read(&answers_good);
}

int row_actor_concdict(const struct bench_run *run)
{
	return bench_actors_run(run,
	                        &(struct bench_plan){ bench_pick(READERS * 50000, READERS * 50),
	                                              concdict_root, concdict_prepare,
	                                              concdict_finish, 2 });
}

/* ---- Bank transaction: an account waits for the other one's answer --------------------------- */

#define ACCOUNTS  1000
#define BANK_OPEN 512 /* transactions at once */

struct transfer {
	uint32_t from, to;
	uint64_t amount;
};
struct teller_state {
	uint64_t left, out, done, random;
};
static const struct weft_actor_class teller_class =
	WEFT_ACTOR_CLASS(.name = "teller", .state_bytes = sizeof(struct teller_state));
static const struct weft_actor_class account_class =
	WEFT_ACTOR_CLASS(.name = "account", .state_bytes = sizeof(uint64_t));
static weft_actor teller, accounts[ACCOUNTS];

static int account_takes(weft_task *self)
{
	uint64_t *balance = weft_actor_state(self);

	*balance += *(const uint64_t *)bench_arg(self);
	return weft_return(self, balance, sizeof *balance);
}

static int teller_hears(weft_task *self);

/* Nothing else is done to this account meanwhile; the other one has a greater number. */
static int account_gives(weft_task *self)
{
	uint64_t *balance = weft_actor_state(self);
	const struct transfer t = *(const struct transfer *)bench_arg(self);
	weft *rt = weft_task_runtime(self);
	uint64_t other = 0;
	weft_ref ref;

	*balance -= t.amount;
	bench_must(weft_actor_call(rt, accounts[t.to], account_takes, &t.amount, sizeof t.amount,
	                           &ref),
	           "weft_actor_call");
	bench_must(weft_take(rt, ref, &other, sizeof other), "weft_take");
	bench_tell(rt, teller, teller_hears, NULL, 0);
	return 0;
}

static void teller_sends(weft *rt, struct teller_state *s)
{
	s->random = bench_mix(s->random);
	const uint64_t from = (s->random >> 32) % (ACCOUNTS / 10 * 8);
	const uint64_t to = from + 1 + (s->random & UINT32_MAX) % (ACCOUNTS - 1 - from);
	const struct transfer t = { (uint32_t)from, (uint32_t)to, s->random >> 54 };

	s->left--;
	s->out++;
	bench_tell(rt, accounts[from], account_gives, &t, sizeof t);
}

static int teller_hears(weft_task *self)
{
	struct teller_state *s = weft_actor_state(self);
	weft *rt = weft_task_runtime(self);

	s->out--;
	s->done++;
	if (s->left)
		teller_sends(rt, s);
	else if (!s->out)
		bench_actors_done(rt, s->done);
	return 0;
}

static int teller_begins(weft_task *self)
{
	struct teller_state *s = weft_actor_state(self);

	s->left = *(const uint64_t *)bench_arg(self);
	for (int i = 0; i < BANK_OPEN && s->left; i++)
		teller_sends(weft_task_runtime(self), s);
	return 0;
}

static int bank_root(weft_task *self)
{
	bench_tell(weft_task_runtime(self), teller, teller_begins, bench_arg(self),
	           sizeof(uint64_t));
	return 0;
}

static void bank_prepare(weft *rt, uint64_t n)
{
	(void)n;
	teller = bench_actor(rt, &teller_class);
	for (int i = 0; i < ACCOUNTS; i++)
		accounts[i] = bench_actor(rt, &account_class);
}

/* No money was made or lost: the balances sum up to nothing. */
static uint64_t bank_finish(weft *rt, uint64_t n, uint64_t value)
{
	uint64_t sum = 0;

	(void)n;
	for (int i = 0; i < ACCOUNTS; i++) {
		uint64_t one = 0;
		weft_ref ref;

		bench_must(weft_actor_call(rt, accounts[i], bench_actor_count, NULL, 0, &ref),
		           "weft_actor_call");
		bench_must(weft_take(rt, ref, &one, sizeof one), "weft_take");
		bench_must(weft_actor_release(rt, accounts[i]), "weft_actor_release");
		sum += one;
	}
	bench_must(weft_actor_release(rt, teller), "weft_actor_release");
	return sum ? 0 : value;
}

static int bank_run(const struct bench_run *run, uint64_t transfers)
{
	return bench_actors_run(run,
	                        &(struct bench_plan){ bench_pick(transfers, 1000), bank_root,
	                                              bank_prepare, bank_finish, 4 });
}

int row_actor_bank(const struct bench_run *run)
{
	return bank_run(run, 400000);
}

int row_actor_bank_50k(const struct bench_run *run)
{
	return bank_run(run, 50000);
}

int row_actor_bank_1m(const struct bench_run *run)
{
	return bank_run(run, 1000000);
}
