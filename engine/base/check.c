/*
 * check.c: how a broken invariant ends the process.
 *
 * The message leaves in one write(2), so that lines of two threads that fail together do not mix,
 * and it is put together by hand in a buffer on the stack: the heap or stdio may be what broke.
 * Nothing is flushed or unwound; abort() leaves a core of the state as it was.
 */
#include "check.h"

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define MESSAGE_BYTES 512

/* Append what fits; one byte is left for the newline. The new length. */
static size_t append(char *line, size_t at, const char *text)
{
	while (*text != '\0' && at < MESSAGE_BYTES - 1)
		line[at++] = *text++;
	return at;
}

static size_t append_number(char *line, size_t at, int number)
{
	char digits[16];
	size_t first = sizeof(digits) - 1;
	unsigned int rest = number < 0 ? 0u : (unsigned int)number;

	digits[first] = '\0';
	do {
		digits[--first] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest != 0);
	return append(line, at, digits + first);
}

_Noreturn void wf_check_failed(const char *file, int line, const char *text)
{
	char message[MESSAGE_BYTES];
	size_t at = 0;

	at = append(message, at, "weft: ");
	at = append(message, at, file);
	at = append(message, at, ":");
	at = append_number(message, at, line);
	at = append(message, at, ": check failed: ");
	at = append(message, at, text);
	message[at++] = '\n';
	/* A full or closed stderr must not stop the abort, so the result does not matter. */
	if (write(STDERR_FILENO, message, at) < 0)
		abort();
	abort();
}
