/*
 * Goal: a failed check says where and what in one line on stderr and aborts, however long the text
 * and even when stderr is gone; a true one says nothing.
 * Method: a child process with a pipe for its stderr.
 */
#include <fcntl.h>
#include <sys/wait.h>

#include "base.h"
#include "test.h"

/* What the child wrote and how it ended. */
static int die_of(const char *file, int line, const char *text, char *said, size_t size)
{
	int ends[2], status = 0;
	size_t length = 0;
	ssize_t got;
	pid_t child;

	cr_assert_eq(pipe(ends), 0);
	child = fork();
	cr_assert_geq(child, 0);
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		wf_check_failed(file, line, text);
	}
	close(ends[1]);
	while ((got = read(ends[0], said + length, size - 1 - length)) > 0)
		length += (size_t)got;
	said[length] = '\0';
	close(ends[0]);
	cr_assert_eq(waitpid(child, &status, 0), child);
	return status;
}

/* An emulator that runs the child may add a line of its own. */
static void cut_to_first_line(char *said)
{
	char *newline = strchr(said, '\n');

	cr_assert_not_null(newline);
	newline[1] = '\0';
}

Test(check, the_message_has_file_line_and_text)
{
	char said[1024];
	int status = die_of("some/file.c", 1203, "a != b", said, sizeof(said));

	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	cut_to_first_line(said);
	cr_assert_str_eq(said, "weft: some/file.c:1203: check failed: a != b\n");
}

Test(check, a_long_text_is_cut_and_still_one_line)
{
	char text[2000], said[4000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	die_of("f.c", 0, text, said, sizeof(said));
	cut_to_first_line(said);
	cr_assert_eq(strlen(said), 512);
	cr_assert_eq(strchr(said, '\n'), said + 511);
	cr_assert_eq(strncmp(said, "weft: f.c:0: check failed: xxx", 30), 0);
}

Test(check, a_closed_stderr_does_not_save_it, .signal = SIGABRT)
{
	close(STDERR_FILENO);
	wf_check_failed("f.c", 1, "x");
}

Test(check, a_true_condition_passes)
{
	int evaluated = 0;

	WF_CHECK(++evaluated == 1);
	cr_assert_eq(evaluated, 1);
}

Test(check, a_false_condition_dies, .signal = SIGABRT)
{
	volatile int zero = 0;

	WF_CHECK(zero != 0);
}
