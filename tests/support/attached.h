/*
 * attached.h: what the tests of attached processes share: a folder with a socket, a runtime that
 * listens on it, values with patterned bytes, waiting for what other threads do.
 */
#ifndef WEFT_TEST_ATTACH_H
#define WEFT_TEST_ATTACH_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../engine/include/weft_attach.h"
#include "../../engine/include/weft_store.h"
#include "../../store/client/include/weft_client.h"
#include "api.h"

#define ATTACH_MIB ((size_t)1 << 20)

struct attach_place {
	char dir[64], path[96];
};

static inline void attach_place_make(struct attach_place *place)
{
	strcpy(place->dir, "/tmp/weft-attach-XXXXXX");
	API_CHECK(mkdtemp(place->dir) != NULL);
	snprintf(place->path, sizeof(place->path), "%s/socket", place->dir);
}

/* The folder must be empty but for what the test names. */
static inline void attach_place_remove(const struct attach_place *place)
{
	API_CHECK(rmdir(place->dir) == 0);
}

static inline weft *attach_open(uint32_t workers, size_t store_bytes, const char *spill_dirs)
{
	weft *rt = NULL;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = workers, .store_bytes = store_bytes,
	                                 .spill_dirs = spill_dirs)) == 0);
	return rt;
}

/* Options with a runtime that listens. */
static inline weft *attach_listen(const struct attach_place *place,
                                  struct weft_attach_options options)
{
	weft *rt = attach_open(1, 16 * ATTACH_MIB, "");

	options.struct_size = sizeof(options);
	API_CHECK(weft_attach_listen(rt, place->path, &options) == 0);
	return rt;
}

static inline weft_client *attach_connect(const struct attach_place *place)
{
	struct weft_client_error error = { .status = 0 };
	weft_client *client = NULL;
	int rc = weft_client_connect(place->path, WEFT_CLIENT_POLL, &client, &error);

	if (rc != 0)
		fprintf(stderr, "connect: %d %s\n", rc, error.text);
	API_CHECK(rc == 0);
	API_CHECK(client != NULL);
	return client;
}

/* Patterned bytes by words, since every access costs under a sanitizer. */
static inline void attach_fill(void *at, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i += sizeof(seed)) {
		uint64_t word = (i + seed * 77 + 1) * 0x9e3779b97f4a7c15u;

		memcpy((char *)at + i, &word, size - i < sizeof(word) ? size - i : sizeof(word));
	}
}

static inline bool attach_filled(const void *at, size_t size, uint64_t seed)
{
	for (size_t i = 0; i < size; i += sizeof(seed)) {
		uint64_t word = (i + seed * 77 + 1) * 0x9e3779b97f4a7c15u;

		if (memcmp((const char *)at + i, &word,
		           size - i < sizeof(word) ? size - i : sizeof(word)) != 0)
			return false;
	}
	return true;
}

static inline weft_ref attach_value(weft *rt, size_t size, uint64_t seed)
{
	unsigned char *bytes = malloc(size + 1);
	weft_ref ref;

	API_CHECK(bytes != NULL);
	attach_fill(bytes, size, seed);
	API_CHECK(weft_put(rt, bytes, size, &ref) == 0);
	free(bytes);
	return ref;
}

static inline struct weft_store_stats attach_stats(weft *rt)
{
	struct weft_store_stats stats = { .struct_size = sizeof(stats) };

	API_CHECK(weft_store_stats(rt, &stats) == 0);
	return stats;
}

static inline int attach_sum_client(void *arg, const struct weft_attach_client *client)
{
	struct weft_attach_client *sum = arg;

	sum->id++;
	sum->pid = client->pid;
	sum->uid = client->uid;
	sum->pins += client->pins;
	sum->requests += client->requests;
	sum->pinned_bytes += client->pinned_bytes;
	sum->gets += client->gets;
	sum->creates += client->creates;
	return 0;
}

/* All clients in one: `id` counts them. */
static inline struct weft_attach_client attach_clients(weft *rt)
{
	struct weft_attach_client sum = { .id = 0 };

	API_CHECK(weft_attach_clients(rt, attach_sum_client, &sum) == 0);
	return sum;
}

/* Until so many are attached, hold so many values and wait for so many: all of it at once. */
static inline void attach_await(weft *rt, uint64_t clients, uint32_t pins, uint32_t requests)
{
	const int64_t start = api_now();

	for (;;) {
		struct weft_attach_client sum = attach_clients(rt);

		if (sum.id == clients && sum.pins == pins && sum.requests == requests)
			return;
		api_polling(start, "the attached processes are as expected");
	}
}

/* Until the store has no object and no byte in use: what a leaked pin would prevent. */
static inline void attach_await_empty(weft *rt)
{
	const int64_t start = api_now();

	for (;;) {
		struct weft_store_stats stats = attach_stats(rt);

		if (stats.objects == 0 && stats.used == 0 && stats.pinned == 0)
			return;
		api_polling(start, "the store is empty");
	}
}

#endif /* WEFT_TEST_ATTACH_H */
