/*
 * caf.cpp: CAF, the C++ Actor Framework, 0.17: event-based actors, the stealing scheduler. It has
 * no bounds: what a row floods with lies in mailboxes. `threads` scheduler threads; the calling
 * thread waits.
 */
#include "engine.h"
#include "problem.h"

#include <memory>
#include <vector>

#include <caf/all.hpp>

namespace {

using caf::actor;
using caf::behavior;
using self_type = caf::event_based_actor;

using go_atom = caf::atom_constant<caf::atom("go")>;
using end_atom = caf::atom_constant<caf::atom("end")>;
using ask_atom = caf::atom_constant<caf::atom("ask")>;
using meet_atom = caf::atom_constant<caf::atom("meet")>;
using change_atom = caf::atom_constant<caf::atom("change")>;
using ping_atom = caf::atom_constant<caf::atom("ping")>;
using pong_atom = caf::atom_constant<caf::atom("pong")>;

struct bench_gate gate;
uint64_t answer;

void done(uint64_t value)
{
	answer = value;
	bench_gate_open(&gate);
}

actor sender_of(self_type *self)
{
	return caf::actor_cast<actor>(self->current_sender());
}

/* Run `fn` once per repetition: it fills `all` with actors, starts them, and says when that was. */
template <typename F>
int in_system(const struct bench_run *run, uint64_t n, uint64_t messages, F fn)
{
	caf::actor_system_config config;
	config.set("scheduler.max-threads", static_cast<size_t>(run->threads));
	caf::actor_system system{ config };
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		std::vector<actor> all;
		gate = {};
		const int64_t start = fn(system, all);
		bench_gate_wait(&gate);
		const double ns = static_cast<double>(bench_now_ns() - start);
		/* Those that know each other forget, or they would keep each other. */
		for (const actor &one : all) {
			caf::anon_send(one, caf::close_atom::value);
			caf::anon_send_exit(one, caf::exit_reason::user_shutdown);
		}
		all.clear();
		system.await_all_actors_done();
		bench_emit(run, rep, "", ns / static_cast<double>(n * messages), n, answer);
	}
	return 0;
}

template <typename... Ts> int64_t start_with(const actor &first, Ts... message)
{
	const int64_t start = bench_now_ns();
	caf::anon_send(first, message...);
	return start;
}

/* ---- Ping-pong, thread ring ---- */

behavior passer(self_type *self, uint64_t n)
{
	auto next = std::make_shared<actor>();
	return {
		[=](uint64_t left) {
			if (left == 0)
				done(n);
			else
				self->send(*next, left - 1);
		},
		[=](const actor &a) { *next = a; },
		[=](caf::close_atom) { *next = nullptr; },
	};
}

int pass_round(const struct bench_run *run, uint64_t n, size_t actors)
{
	return in_system(run, n, 1, [=](caf::actor_system &system, std::vector<actor> &all) {
		for (size_t i = 0; i < actors; i++)
			all.push_back(system.spawn(passer, n));
		for (size_t i = 0; i < actors; i++)
			caf::anon_send(all[i], all[(i + 1) % actors]);
		return start_with(all[0], n - 1);
	});
}

int row_pingpong(const struct bench_run *run)
{
	return pass_round(run, bench_pick(2000000, 2000), 2);
}

int row_ring(const struct bench_run *run)
{
	return pass_round(run, bench_pick(4000000, 2000), 100);
}

/* ---- Floods ---- */

behavior counter(self_type *, uint64_t ends)
{
	auto count = std::make_shared<uint64_t>(0);
	auto ended = std::make_shared<uint64_t>(0);
	return {
		[=](go_atom) { ++*count; },
		[=](end_atom) {
			if (++*ended == ends)
				done(*count);
		},
		[](caf::close_atom) {},
	};
}

behavior source(self_type *self, const actor &target, uint64_t n)
{
	return {
		[=](go_atom) {
			for (uint64_t i = 0; i < n; i++)
				self->send(target, go_atom::value);
			self->send(target, end_atom::value);
		},
		[](caf::close_atom) {},
	};
}

int flood(const struct bench_run *run, uint64_t sources)
{
	const uint64_t n = bench_pick(4000000, 4000);
	return in_system(run, n, 1, [=](caf::actor_system &system, std::vector<actor> &all) {
		const actor target = system.spawn(counter, sources);
		for (uint64_t i = 0; i < sources; i++)
			all.push_back(system.spawn(source, target, n / sources));
		const int64_t start = bench_now_ns();
		for (const actor &one : all)
			caf::anon_send(one, go_atom::value);
		all.push_back(target);
		return start;
	});
}

int row_counting(const struct bench_run *run)
{
	return flood(run, 1);
}

int row_n1(const struct bench_run *run)
{
	return flood(run, 8);
}

constexpr uint64_t FORKS = 60;

behavior flood_all(self_type *self, const std::vector<actor> &targets, uint64_t n)
{
	return {
		[=](go_atom) {
			for (uint64_t i = 0; i < n; i++)
				for (const actor &one : targets)
					self->send(one, go_atom::value);
			for (const actor &one : targets)
				self->send(one, end_atom::value);
		},
		[](caf::close_atom) {},
	};
}

/* Tells how many messages it had, and then `sum` how many all had. */
behavior fork(self_type *self, const actor &sum)
{
	auto count = std::make_shared<uint64_t>(0);
	return {
		[=](go_atom) { ++*count; },
		[=](end_atom) { self->send(sum, *count); },
		[](caf::close_atom) {},
	};
}

behavior adder(self_type *, uint64_t parts)
{
	auto sum = std::make_shared<uint64_t>(0);
	auto heard = std::make_shared<uint64_t>(0);
	return {
		[=](uint64_t part) {
			*sum += part;
			if (++*heard == parts)
				done(*sum);
		},
		[](caf::close_atom) {},
	};
}

int row_fjthrput(const struct bench_run *run)
{
	const uint64_t n = bench_pick(6000000, 6000);
	return in_system(run, n, 1, [=](caf::actor_system &system, std::vector<actor> &all) {
		const actor sum = system.spawn(adder, FORKS);
		for (uint64_t i = 0; i < FORKS; i++)
			all.push_back(system.spawn(fork, sum));
		const actor root = system.spawn(flood_all, all, n / FORKS);
		all.push_back(sum);
		all.push_back(root);
		return start_with(root, go_atom::value);
	});
}

/* ---- Creation ---- */

struct bench_counter created;

behavior newborn(self_type *self, uint64_t n)
{
	return {
		[=](go_atom) {
			if (bench_counter_add(&created) + 1 == n)
				done(n);
			self->quit();
		},
	};
}

behavior maker(self_type *self, uint64_t n)
{
	return {
		[=](go_atom) {
			for (uint64_t i = 0; i < n; i++)
				self->send(self->spawn(newborn, n), go_atom::value);
		},
		[](caf::close_atom) {},
	};
}

int row_fjcreate(const struct bench_run *run)
{
	const uint64_t n = bench_pick(400000, 2000);
	return in_system(run, n, 1, [=](caf::actor_system &system, std::vector<actor> &all) {
		created = {};
		all.push_back(system.spawn(maker, n));
		return start_with(all[0], go_atom::value);
	});
}

/* ---- Big ---- */

constexpr uint64_t BIG = 120;

struct pinger {
	std::vector<actor> all;
	uint64_t left = 0, random = 0, pings = 0;

	void ping(self_type *self, const actor &sum)
	{
		if (left == 0) {
			self->send(sum, end_atom::value);
			return;
		}
		left--;
		random = bench_mix(random);
		self->send(all[random % BIG], ping_atom::value);
	}
};

behavior big(self_type *self, const actor &sum)
{
	auto p = std::make_shared<pinger>();
	return {
		[=](ping_atom) {
			p->pings++;
			self->send(sender_of(self), pong_atom::value);
		},
		[=](pong_atom) { p->ping(self, sum); },
		[=](uint64_t seed, uint64_t each) {
			p->random = seed;
			p->left = each;
			p->ping(self, sum);
		},
		[=](const std::vector<actor> &all) { p->all = all; },
		[=](ask_atom) { self->send(sum, p->pings); },
		[=](caf::close_atom) { p->all.clear(); },
	};
}

/* When all have ended, asks them for what they had. */
behavior big_sum(self_type *self, uint64_t parts)
{
	auto all = std::make_shared<std::vector<actor>>();
	auto ended = std::make_shared<uint64_t>(0);
	auto heard = std::make_shared<uint64_t>(0);
	auto sum = std::make_shared<uint64_t>(0);
	return {
		[=](end_atom) {
			all->push_back(sender_of(self));
			if (++*ended < parts)
				return;
			for (const actor &one : *all)
				self->send(one, ask_atom::value);
			all->clear();
		},
		[=](uint64_t part) {
			*sum += part;
			if (++*heard == parts)
				done(*sum);
		},
		[](caf::close_atom) {},
	};
}

int row_big(const struct bench_run *run)
{
	const uint64_t n = bench_pick(BIG * 20000, BIG * 20);
	return in_system(run, n, 2, [=](caf::actor_system &system, std::vector<actor> &all) {
		const actor sum = system.spawn(big_sum, BIG);
		for (uint64_t i = 0; i < BIG; i++)
			all.push_back(system.spawn(big, sum));
		for (const actor &one : all)
			caf::anon_send(one, all);
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < BIG; i++)
			caf::anon_send(all[i], i, n / BIG);
		all.push_back(sum);
		return start;
	});
}

/* ---- Calls with results ---- */

behavior asked(self_type *)
{
	auto count = std::make_shared<uint64_t>(0);
	return {
		[=](ask_atom) { return ++*count; },
		[](caf::close_atom) {},
	};
}

/* `burst` requests in flight; the next ones go when all of them were answered. */
behavior asker(self_type *self, const actor &target, uint64_t n, uint64_t burst)
{
	auto left = std::make_shared<uint64_t>(0);
	auto sent = std::make_shared<uint64_t>(0);
	return {
		[=](go_atom) {
			*left = burst;
			for (uint64_t i = 0; i < burst; i++)
				self->request(target, caf::infinite, ask_atom::value)
					.then([=](uint64_t value) {
						if (--*left)
							return;
						*sent += burst;
						if (*sent >= n)
							done(value);
						else
							self->send(self, go_atom::value);
					});
		},
		[](caf::close_atom) {},
	};
}

int ask(const struct bench_run *run, uint64_t burst)
{
	const uint64_t n = bench_pick(1000000, 1000);
	return in_system(run, n, 1, [=](caf::actor_system &system, std::vector<actor> &all) {
		all.push_back(system.spawn(asked));
		all.push_back(system.spawn(asker, all[0], n, burst));
		return start_with(all[1], go_atom::value);
	});
}

int row_ask(const struct bench_run *run)
{
	return ask(run, 1);
}

int row_askburst(const struct bench_run *run)
{
	return ask(run, 1000);
}

/* ---- Chameneos ---- */

constexpr uint64_t CHAMENEOS = 100;

uint64_t complement(uint64_t a, uint64_t b)
{
	return a == b ? a : 3 - a - b;
}

struct mall_state {
	actor waiting;
	uint64_t colour = 0, left = 0, gone = 0, meetings = 0;
};

behavior mall(self_type *self, uint64_t n)
{
	auto m = std::make_shared<mall_state>();
	m->left = n;
	return {
		[=](meet_atom, uint64_t colour) {
			if (m->left == 0) {
				self->send(sender_of(self), end_atom::value);
			} else if (!m->waiting) {
				m->waiting = sender_of(self);
			} else {
				m->left--;
				self->send(m->waiting, meet_atom::value, sender_of(self), colour);
				m->waiting = nullptr;
			}
		},
		[=](uint64_t met) {
			m->meetings += met;
			if (++m->gone == CHAMENEOS)
				done(m->meetings / 2);
		},
		[](caf::close_atom) {},
	};
}

behavior chameneo(self_type *self, const actor &place, uint64_t colour)
{
	auto now = std::make_shared<uint64_t>(colour);
	auto met = std::make_shared<uint64_t>(0);
	auto come = [=] { self->send(place, meet_atom::value, *now); };
	return {
		[=](go_atom) { come(); },
		[=](meet_atom, const actor &other, uint64_t its) {
			*now = complement(*now, its);
			++*met;
			self->send(other, change_atom::value, *now);
			come();
		},
		[=](change_atom, uint64_t to) {
			*now = to;
			++*met;
			come();
		},
		[=](end_atom) { self->send(place, *met); },
		[](caf::close_atom) {},
	};
}

int row_chameneos(const struct bench_run *run)
{
	const uint64_t n = bench_pick(500000, 500);
	return in_system(run, n, 4, [=](caf::actor_system &system, std::vector<actor> &all) {
		const actor place = system.spawn(mall, n);
		for (uint64_t i = 0; i < CHAMENEOS; i++)
			all.push_back(system.spawn(chameneo, place, i % 3));
		const int64_t start = bench_now_ns();
		for (const actor &one : all)
			caf::anon_send(one, go_atom::value);
		all.push_back(place);
		return start;
	});
}

/* ---- Concurrent dictionary ---- */

constexpr uint64_t READERS = 20, DICTIONARY = 512;

uint64_t value_of(uint64_t key)
{
	return bench_mix(key % DICTIONARY) | 1;
}

behavior dictionary(self_type *self)
{
	auto values = std::make_shared<std::vector<uint64_t>>(DICTIONARY);
	return {
		[=](uint64_t key, uint64_t value) {
			if (value)
				(*values)[key % DICTIONARY] = value;
			self->send(sender_of(self), key, (*values)[key % DICTIONARY]);
		},
		[](caf::close_atom) {},
	};
}

behavior reader(self_type *self, const actor &asked_one, const actor &sum, uint64_t seed,
                uint64_t each)
{
	auto random = std::make_shared<uint64_t>(seed);
	auto left = std::make_shared<uint64_t>(each);
	auto good = std::make_shared<uint64_t>(0);
	auto next = [=] {
		if ((*left)-- == 0) {
			self->send(sum, *good);
			return;
		}
		*random = bench_mix(*random);
		const uint64_t key = *random >> 40;
		self->send(asked_one, key, *random % 10 ? uint64_t{ 0 } : value_of(key));
	};
	return {
		[=](go_atom) { next(); },
		[=](uint64_t key, uint64_t value) {
			*good += !value || value == value_of(key);
			next();
		},
		[](caf::close_atom) {},
	};
}

int row_concdict(const struct bench_run *run)
{
	const uint64_t n = bench_pick(READERS * 50000, READERS * 50);
	return in_system(run, n, 2, [=](caf::actor_system &system, std::vector<actor> &all) {
		const actor sum = system.spawn(adder, READERS);
		const actor book = system.spawn(dictionary);
		for (uint64_t i = 0; i < READERS; i++)
			all.push_back(system.spawn(reader, book, sum, i, n / READERS));
		const int64_t start = bench_now_ns();
		for (const actor &one : all)
			caf::anon_send(one, go_atom::value);
		all.push_back(sum);
		all.push_back(book);
		return start;
	});
}

/* ---- Bank transaction: what comes meanwhile is kept back by await() ---- */

constexpr uint64_t ACCOUNTS = 1000, BANK_OPEN = 512;

behavior account(self_type *self)
{
	auto balance = std::make_shared<uint64_t>(0);
	return {
		[=](uint64_t amount) { return *balance += amount; },
		[=](const actor &other, uint64_t amount) {
			*balance -= amount;
			const actor teller = sender_of(self);
			self->request(other, caf::infinite, amount).await([=](uint64_t) {
				self->send(teller, end_atom::value);
			});
		},
		[=](ask_atom) { self->send(sender_of(self), *balance); },
		[](caf::close_atom) {},
	};
}

struct teller_state {
	std::vector<actor> accounts;
	uint64_t left = 0, out = 0, done = 0, random = 0, heard = 0, sum = 0;

	void send(self_type *self)
	{
		random = bench_mix(random);
		const uint64_t from = (random >> 32) % (ACCOUNTS / 10 * 8);
		const uint64_t to = from + 1 + (random & UINT32_MAX) % (ACCOUNTS - 1 - from);
		left--;
		out++;
		self->send(accounts[from], accounts[to], random >> 54);
	}
};

behavior teller(self_type *self, const std::vector<actor> &accounts, uint64_t n)
{
	auto t = std::make_shared<teller_state>();
	t->accounts = accounts;
	t->left = n;
	return {
		[=](go_atom) {
			for (uint64_t i = 0; i < BANK_OPEN && t->left; i++)
				t->send(self);
		},
		[=](end_atom) {
			t->out--;
			t->done++;
			if (t->left)
				t->send(self);
			else if (!t->out)
				done(t->done);
		},
		[](caf::close_atom) {},
	};
}

int row_bank(const struct bench_run *run)
{
	const uint64_t n = bench_pick(400000, 1000);
	return in_system(run, n, 4, [=](caf::actor_system &system, std::vector<actor> &all) {
		for (uint64_t i = 0; i < ACCOUNTS; i++)
			all.push_back(system.spawn(account));
		all.push_back(system.spawn(teller, all, n));
		return start_with(all.back(), go_atom::value);
	});
}

const struct bench_engine_row engine_rows[] = {
	{ "actor_pingpong", row_pingpong }, { "actor_ring", row_ring },
	{ "actor_counting", row_counting }, { "actor_n1", row_n1 },
	{ "actor_fjthrput", row_fjthrput }, { "actor_fjcreate", row_fjcreate },
	{ "actor_big", row_big }, { "actor_ask", row_ask }, { "actor_askburst", row_askburst },
	{ "actor_chameneos", row_chameneos }, { "actor_concdict", row_concdict },
	{ "actor_bank", row_bank },
};

} /* namespace */

int main(int argc, char **argv)
{
	return bench_engine_main(argc, argv, engine_rows,
	                         sizeof engine_rows / sizeof *engine_rows);
}
