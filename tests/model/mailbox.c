/*
 * mailbox.c: an actor's word and queues under every schedule of a few posts, turns and a kill.
 *
 * Goal: every call is run once or refused once, none is lost; calls of one poster run in their
 * order; never more turns than the limit, none before the actor is open, none after it is closed;
 * something queued is never left without a turn. Method: two posters, a worker that runs every
 * scheduled turn, a thread that opens or kills at any moment; an exclusive and a concurrent actor.
 */
#include <string.h>

#include "explore.h"
#include "mailbox.h"

#define POSTERS 2u
#define POSTS   2u
#define FETCH   2u

struct entry {
	struct wf_mail mail;
	uint32_t poster, seq;
	uint32_t ran, refused;
};

static struct wf_mailbox box;
static struct entry entries[POSTERS][POSTS];
static uint32_t last_seq[POSTERS];
static struct wf_a32 scheduled, posted, inside;
static bool exclusive;
static uint32_t posts; /* of each poster */

static void reset(uint32_t word, uint16_t limit, bool one, uint32_t each)
{
	posts = each;
	memset(&box, 0, sizeof box);
	memset(entries, 0, sizeof entries);
	memset(last_seq, 0, sizeof last_seq);
	box.group.limit = limit;
	exclusive = one;
	wf_init(&box.word, word);
	wf_init(&scheduled, 0);
	wf_init(&posted, 0);
	wf_init(&inside, 0);
}

static void one_setup(void)
{
	reset(WF_BOX_USED | WF_BOX_OPEN, 1, true, POSTS);
}

static void kill_setup(void)
{
	reset(WF_BOX_USED | WF_BOX_OPEN, 1, true, 1);
}

static void shut_setup(void)
{
	reset(WF_BOX_USED, 1, true, 1);
}

static void two_setup(void)
{
	reset(WF_BOX_USED | WF_BOX_OPEN, 2, false, 1);
}

static void post_all(uint32_t poster)
{
	for (uint32_t i = 0; i < posts; i++) {
		struct entry *entry = &entries[poster][i];

		entry->poster = poster;
		entry->seq = i + 1;
		uint32_t word = wf_box_lock(&box);
		enum wf_post how = wf_box_post(&box, word, &box.group, &entry->mail, exclusive);

		wf_box_unlock(&box, word);
		if (how == WF_POST_TURN)
			wf_add_release(&scheduled, 1);
		if (how == WF_POST_CLOSED)
			entry->refused++;
	}
	wf_add_release(&posted, 1);
}

static void run(struct wf_mail *chain)
{
	for (uint32_t guard = 0; chain; guard++) {
		struct entry *entry = wf_container_of(chain, struct entry, mail);

		EXPLORE_CHECK(guard < POSTERS * POSTS);
		chain = chain->next;
		entry->ran++;
		if (exclusive) {
			EXPLORE_CHECK(entry->seq == last_seq[entry->poster] + 1);
			last_seq[entry->poster] = entry->seq;
		}
	}
}

static void refuse(struct wf_mail *chain)
{
	for (uint32_t guard = 0; chain; guard++) {
		EXPLORE_CHECK(guard < POSTERS * POSTS);
		wf_container_of(chain, struct entry, mail)->refused++;
		chain = chain->next;
	}
}

/* One turn, as in turn.c: what was handed, then what is queued, then leave. */
static void turn(void)
{
	struct wf_mail *chain = NULL;
	uint32_t word;

	EXPLORE_CHECK(wf_add_acquire(&inside, 1) < box.group.limit);
	if (exclusive) {
		chain = box.handed;
		box.handed = NULL;
	} else {
		word = wf_box_lock(&box);
		EXPLORE_CHECK(box.group.tokens > 0);
		box.group.tokens--;
		wf_box_unlock(&box, word);
	}
	for (;;) {
		word = wf_box_lock(&box);
		if (word & WF_BOX_KILL) {
			refuse(chain);
			chain = NULL;
		}
		if (!chain && word & WF_BOX_OPEN)
			chain = wf_call_group_fetch(&box.group, FETCH);
		if (!chain) {
			wf_add_release(&inside, (uint32_t)-1);
			wf_call_group_leave(&box.group);
			wf_box_unlock(&box, word);
			return;
		}
		EXPLORE_CHECK(word & WF_BOX_OPEN);
		wf_box_unlock(&box, word);
		run(chain);
		chain = NULL;
	}
}

/* Until all is posted and no turn is due. */
static void work(void)
{
	for (;;) {
		uint32_t all = wf_load_acquire(&posted);
		uint32_t due = wf_load_acquire(&scheduled);

		if (due) {
			wf_add_acquire(&scheduled, (uint32_t)-1);
			turn();
		} else if (all == POSTERS) {
			return;
		} else {
			explore_yield();
		}
	}
}

static void kill(void)
{
	uint32_t word = wf_box_lock(&box);
	struct wf_mail *chain = wf_call_group_fetch(&box.group, UINT32_MAX);

	wf_box_unlock(&box, (word | WF_BOX_KILL) & ~WF_BOX_OPEN);
	refuse(chain);
}

/* As the init's turn does: open, and a turn for what has come before. */
static void open(void)
{
	uint32_t word = wf_box_lock(&box);

	EXPLORE_CHECK(!box.group.active && !box.handed);
	bool any = box.group.head != NULL;

	if (any)
		box.group.active++;
	wf_box_unlock(&box, word | WF_BOX_OPEN);
	if (any)
		wf_add_release(&scheduled, 1);
}

static void kill_thread(uint32_t i)
{
	if (i == 0) {
		post_all(0);
	} else if (i == 1) {
		work();
	} else if (explore_choose(2)) {
		post_all(1);
		kill();
	} else {
		kill();
		post_all(1);
	}
}

static void plain_thread(uint32_t i)
{
	if (i < POSTERS)
		post_all(i);
	else
		work();
}

/* Poster 1 opens after its own posts, at any moment of the other's. */
static void open_thread(uint32_t i)
{
	if (i == 0)
		post_all(0);
	else if (i == 1)
		work();
	else {
		open();
		post_all(1);
	}
}

static void check(uint32_t refused_most)
{
	uint32_t refused = 0;

	/* The worker stops when all is posted: what was scheduled just then is run here. */
	while (wf_load_acquire(&scheduled)) {
		wf_add_acquire(&scheduled, (uint32_t)-1);
		turn();
	}
	for (uint32_t p = 0; p < POSTERS; p++) {
		for (uint32_t i = 0; i < posts; i++) {
			EXPLORE_CHECK(entries[p][i].ran + entries[p][i].refused == 1);
			refused += entries[p][i].refused;
		}
	}
	EXPLORE_CHECK(refused <= refused_most);
	EXPLORE_CHECK(!box.group.active && !box.group.tokens && !box.group.queued);
	EXPLORE_CHECK(!box.group.head && !box.group.tail && !box.handed);
	EXPLORE_CHECK(!(wf_box_word(&box) & WF_BOX_LOCK));
}

static void check_all_ran(void)
{
	check(0);
}

static void check_killed(void)
{
	check(POSTERS * POSTS);
	EXPLORE_CHECK(wf_box_word(&box) & WF_BOX_KILL);
}

static const struct explore scenarios[] = {
	{ "one", 3, one_setup, plain_thread, check_all_ran },
	{ "two", 3, two_setup, plain_thread, check_all_ran },
	{ "open", 3, shut_setup, open_thread, check_all_ran },
	{ "kill", 3, kill_setup, kill_thread, check_killed },
};

int main(int argc, char **argv)
{
	return explore_main(scenarios, sizeof scenarios / sizeof scenarios[0], argc, argv);
}
