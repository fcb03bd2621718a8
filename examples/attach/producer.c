/*
 * producer.c: results for other processes.
 *
 *	attach_producer READER [STORE_MIB]      default 256
 *
 * The runtime listens on a socket in a folder of its own and exports a table by name before the
 * task that makes it has run: whoever asks waits. It imports an answer that does not exist yet,
 * which is a ref like any other: a task takes it as its input. Then it starts READER, a program
 * that links libweft-client and nothing else of weft, and checks what comes back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft.h>
#include <weft_attach.h>

#define WORDS ((size_t)4 << 20)

static void check(const char *what, int64_t status)
{
	if (status < 0) {
		fprintf(stderr, "producer: %s: %s\n", what, weft_strerror((int)status));
		exit(1);
	}
}

static uint64_t word_at(uint64_t i)
{
	return i * 0x9e3779b97f4a7c15u >> 20;
}

/* Written where it stays: in the store's memory, which the reader maps. */
static int make_table(weft_task *self)
{
	void *room;
	const int status = weft_task_output(self, 0, WORDS * sizeof(uint64_t), &room);
	uint64_t *words = room;

	for (size_t i = 0; status >= 0 && i < WORDS; i++)
		words[i] = word_at(i);
	return status;
}

/* The answer of the other process is an input. */
static int compare(weft_task *self)
{
	struct weft_view view;
	uint64_t sum = 0, answer;
	const int status = weft_input(self, 0, &view);

	if (status < 0)
		return status;
	if (view.size != sizeof answer)
		return weft_fail(self, -1, "an answer of %zu bytes", view.size);
	memcpy(&answer, view.data, sizeof answer);
	for (size_t i = 0; i < WORDS; i++)
		sum += word_at(i);
	if (answer != sum)
		return weft_fail(self, -1, "%llu instead of %llu", (unsigned long long)answer,
		                 (unsigned long long)sum);
	return weft_return(self, &sum, sizeof sum);
}

static int run_reader(const char *reader, const char *path)
{
	int status = -1;
	const pid_t child = fork();

	if (child == 0) {
		execl(reader, reader, path, (char *)NULL);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
	const struct weft_attach_options options = { .struct_size = sizeof options,
		                                     .flags = WEFT_ATTACH_CREATE };
	const uint64_t store_mib = argc > 2 ? strtoull(argv[2], NULL, 10) : 256;
	char dir[] = "/tmp/weft-example-XXXXXX", path[64];
	weft_ref table, answer, verdict;
	uint64_t sum;
	weft *rt;

	if (argc < 2 || mkdtemp(dir) == NULL) {
		fprintf(stderr, "usage: attach_producer READER [STORE_MIB]\n");
		return 2;
	}
	snprintf(path, sizeof path, "%s/socket", dir);
	check("open", weft_open(&rt, WEFT_OPTIONS(.store_bytes = store_mib << 20)));
	check("listen", weft_attach_listen(rt, path, &options));
	check("submit", weft_spawn(rt, make_table, NULL, 0, &table));
	check("export", weft_attach_export(rt, "table", table, NULL));
	check("import", weft_attach_import(rt, "answer", &answer));
	check("submit", weft_submit(rt, WEFT_TASK(compare, WEFT_INPUTS(answer)), &verdict));
	/* The name holds the table as long as anybody may ask for it. */
	check("release", weft_release(rt, table));
	const int read = run_reader(argv[1], path);

	if (read == 0)
		check("compare", weft_take(rt, verdict, &sum, sizeof sum));
	/* Hangs up on whoever is attached, and removes the socket. */
	check("close", weft_close(rt, read == 0 ? WEFT_FOREVER : WEFT_POLL));
	rmdir(dir);
	if (read != 0) {
		fprintf(stderr, "producer: the reader ended with %d\n", read);
		return 1;
	}
	printf("producer: the sum of %zu words is %llu\n", WORDS, (unsigned long long)sum);
	return 0;
}
