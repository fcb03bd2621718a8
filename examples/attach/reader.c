/*
 * reader.c: a process that looks at another one's results, with libweft-client alone.
 *
 *	attach_reader SOCKET
 *
 * Attaches, waits for the table, sums it in place, hands the sum over as "answer". Prints how long
 * attaching took, which does not depend on how large the store is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <weft_client.h>

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void check(const char *what, int status, const struct weft_client_error *error)
{
	if (status < 0) {
		fprintf(stderr, "reader: %s: %s\n", what, error->text);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct weft_client_object answer = { .struct_size = sizeof answer, .name = "answer" };
	struct weft_client_info info = { .struct_size = sizeof info };
	struct weft_client_error error;
	struct weft_client_view table;
	weft_client *client;
	uint64_t sum = 0;
	int64_t best = INT64_MAX;

	if (argc != 2) {
		fprintf(stderr, "usage: attach_reader SOCKET\n");
		return 2;
	}
	/* Some times over, since the first one pays for a cold process. */
	for (int i = 0; i < 20; i++) {
		const int64_t start = now_ns();

		check("connect",
		      weft_client_connect(argv[1], weft_client_after_ms(10000), &client, &error),
		      &error);
		if (now_ns() - start < best)
			best = now_ns() - start;
		if (i < 19)
			weft_client_close(client);
	}
	weft_client_info(client, &info);
	printf("reader: attached to %.1f GiB of addresses in %.0f us\n",
	       (double)info.map_bytes / (1 << 30), (double)best / 1000);
	check("get", weft_client_get(client, "table", WEFT_CLIENT_FOREVER, &table, &error), &error);
	for (size_t i = 0; i < table.size / sizeof(uint64_t); i++)
		sum += ((const uint64_t *)table.data)[i];
	weft_client_release(client, &table);
	check("put",
	      weft_client_put(client, &sum, sizeof sum, &answer, WEFT_CLIENT_FOREVER, NULL, &error),
	      &error);
	weft_client_close(client);
	return 0;
}
