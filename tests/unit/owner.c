/*
 * Goal: a file name tells its owner, and only of an owner that is certainly gone is it said so;
 * any text makes a file name of its own.
 * Method: this process, children that have ended or are zombies, and made-up owners.
 */
#include <errno.h>
#include <sys/wait.h>

#include "base.h"
#include "owner.h"
#include "seed.h"
#include "test.h"
#include "wf_dataset.h"

Test(owner, this_process_is_alive)
{
	struct wf_owner self;

	wf_owner_self(&self);
	cr_assert_eq(self.pid, (uint32_t)getpid());
	cr_assert_neq(self.start, 0);
	cr_assert_neq(self.boot, 0);
	cr_assert(wf_owner_alive(&self));
}

Test(owner, a_recycled_number_and_another_boot_are_not)
{
	struct wf_owner self, other;

	wf_owner_self(&self);
	other = self;
	other.start++;
	cr_assert_not(wf_owner_alive(&other), "the number, taken by another process");
	other = self;
	other.boot++;
	cr_assert_not(wf_owner_alive(&other), "the number, before the machine started");
	other = self;
	other.pid = 0;
	cr_assert_not(wf_owner_alive(&other));
	other.pid = UINT32_MAX;
	cr_assert_not(wf_owner_alive(&other));
}

Test(owner, what_is_not_known_counts_for_alive)
{
	struct wf_owner self;

	wf_owner_self(&self);
	self.start = 0;
	cr_assert(wf_owner_alive(&self));
	self.boot = 0;
	cr_assert(wf_owner_alive(&self));
	/* /proc cannot be read: boot unknown, then the process's line unknown too. */
	wf_owner_self(&self);
	wf_fault_arm(WF_FAULT_FILE, 1);
	cr_assert(wf_owner_alive(&self));
	wf_fault_arm(WF_FAULT_FILE, 2);
	cr_assert(wf_owner_alive(&self));
	wf_fault_arm(WF_FAULT_FILE, 1);
	wf_owner_self(&self);
	wf_fault_arm(WF_FAULT_FILE, 0);
	cr_assert(self.boot == 0 && wf_owner_alive(&self));
}

Test(owner, the_dead_and_zombies_are_not_alive)
{
	struct wf_owner child = { 0 };
	int pipes[2];
	pid_t pid;

	cr_assert_eq(pipe(pipes), 0);
	pid = fork();
	if (pid == 0) {
		wf_owner_self(&child);
		_exit(write(pipes[1], &child, sizeof(child)) == sizeof(child) ? 0 : 1);
	}
	cr_assert_eq(read(pipes[0], &child, sizeof(child)), (ssize_t)sizeof(child));
	cr_assert_eq(child.pid, (uint32_t)pid);
	siginfo_t info;
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	cr_assert_not(wf_owner_alive(&child), "ended, and not waited for");
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_assert_not(wf_owner_alive(&child), "gone");
	close(pipes[0]);
	close(pipes[1]);
}

static void check_name(const char *name, const char *want)
{
	char file[WF_DATASET_NAME_MAX + 1], back[WF_DATASET_NAME_MAX + 1];

	cr_assert_eq(wf_name_encode(file, WF_DATASET_NAME_MAX, name), 0);
	cr_assert_str_eq(file, want);
	cr_assert(wf_name_decode(back, file));
	cr_assert_str_eq(back, name);
}

Test(owner, any_text_makes_a_name_and_comes_back)
{
	char file[WF_DATASET_NAME_MAX + 1];

	check_name("plain-name_1.2+x=y@z,a:b", "plain-name_1.2+x=y@z,a:b");
	check_name("a/b", "a%2Fb");
	check_name(".", "%2E");
	check_name("..", "%2E.");
	check_name(".hidden", "%2Ehidden");
	check_name("50%", "50%25");
	check_name("a b~\n\x7f", "a%20b%7E%0A%7F");
	check_name("gr\xc3\xb6\xc3\x9f"
	           "e",
	           "gr\xc3\xb6\xc3\x9f"
	           "e");
	cr_assert_eq(wf_name_encode(file, 10, ""), -EINVAL);
	cr_assert_eq(wf_name_encode(file, 3, "abcd"), -ENAMETOOLONG);
	cr_assert_eq(wf_name_encode(file, 3, "a/"), -ENAMETOOLONG);
	cr_assert_eq(wf_name_encode(file, 3, "/"), 0);
}

Test(owner, names_of_others_are_not_decoded)
{
	static const char *const others[] = { "",     ".a",   "a b",  "a%2",  "a%", "a%zz",
		                              "a%2f", "a%41", "a%00", "a%2E", "a~" };
	char back[64];

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		cr_assert_not(wf_name_decode(back, others[i]), "%s", others[i]);
}

Test(owner, a_private_name_tells_its_owner)
{
	char a[WF_ATTEMPT_BYTES], b[WF_ATTEMPT_BYTES], name[WF_DATASET_NAME_MAX + 2];
	struct wf_owner self, found;

	wf_owner_self(&self);
	cr_assert_eq(wf_attempt_name(a, "key.1.2/x", 7, 3), 0);
	cr_assert_eq(wf_attempt_name(b, "key.1.2/x", 7, 3), 0);
	cr_assert_str_neq(a, b, "two of one process are apart");
	cr_assert_eq(strncmp(a, ".key.1.2%2Fx.7.3.", 17), 0);
	cr_assert(wf_attempt_parse(a, &found));
	cr_assert(found.pid == self.pid && found.start == self.start && found.boot == self.boot);
	memset(name, 'n', sizeof(name));
	name[WF_DATASET_NAME_MAX] = '\0';
	cr_assert_eq(wf_attempt_name(a, name, UINT64_MAX, UINT32_MAX), 0, "the longest fits");
	cr_assert_leq(strlen(a), 255);
	cr_assert(wf_attempt_parse(a, &found));
	name[WF_DATASET_NAME_MAX] = 'n';
	name[WF_DATASET_NAME_MAX + 1] = '\0';
	cr_assert_eq(wf_attempt_name(a, name, 0, 0), -ENAMETOOLONG);
	cr_assert_eq(wf_attempt_name(a, "", 0, 0), -EINVAL);
}

Test(owner, names_of_others_tell_no_owner)
{
	static const char *const others[] = {
		"",
		".",
		"~",
		".~",
		".......~",
		".1.2.3.4.5.6~",
		".a.1.2.3.4.5.6",
		"a.1.2.3.4.5.6~",
		".a.1.2.3.4.5.x~",
		".a.1.2.3.4..6~",
		".a.1.2.3.4.5.6.~",
		".a.1.2.3.100000000.5.6~",
		".a.1.2.3.4.5.10000000000000000~",
		".a.1.2.3.4.5.-6~",
		".a.1.2.3.4.5.F~",
		".a.2.3.4.5.6~",
		"name.weft",
		".weft-attempt",
	};
	struct wf_owner owner;
	struct wf_random random;
	char text[48];

	cr_assert(wf_attempt_parse(".a.1.2.3.4.5.6~", &owner));
	cr_assert(owner.pid == 4 && owner.start == 5 && owner.boot == 6);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		cr_assert_not(wf_attempt_parse(others[i], &owner), "%s", others[i]);
	wf_random_init(&random, test_seed());
	for (int i = 0; i < 100000; i++) {
		uint32_t size = wf_random_below(&random, sizeof(text) - 1);

		for (uint32_t at = 0; at < size; at++)
			text[at] = ".~0af%-x"[wf_random_below(&random, 8)];
		text[size] = '\0';
		if (wf_attempt_parse(text, &owner))
			cr_assert(text[0] == '.' && text[size - 1] == '~');
		(void)wf_name_decode(text, text);
	}
}
