/*
 * attach_items.c: names, and the values behind them.
 *
 * An item is in the tables until it is unexported, and in memory until the last request that looks
 * into it has been answered; then its owner gets its count back. So an object behind an item that
 * somebody uses is not deleted, and whoever pins it needs no further care.
 *
 * Shared: everything here is under the attachment's lock.
 */
#include <errno.h>
#include <string.h>

#include "attach.h"

static struct wf_item **name_bucket(struct wf_attach *attach, const char *name)
{
	uint32_t hash = 2166136261u;

	for (const char *at = name; *at != '\0'; at++)
		hash = (hash ^ (unsigned char)*at) * 16777619u;
	return &attach->by_name[(hash ^ hash >> 15) % WF_ATTACH_BUCKETS];
}

static struct wf_item **id_bucket(struct wf_attach *attach, uint64_t id)
{
	return &attach->by_id[id % WF_ATTACH_BUCKETS];
}

struct wf_item *wf_item_by_name(struct wf_attach *attach, const char *name)
{
	struct wf_item *item = *name_bucket(attach, name);

	WF_CHECK(name[0] != '\0');
	while (item != NULL && strcmp(item->name, name) != 0)
		item = item->next_name;
	return item;
}

struct wf_item *wf_item_by_id(struct wf_attach *attach, uint64_t id)
{
	struct wf_item *item = *id_bucket(attach, id);

	while (item != NULL && item->id != id)
		item = item->next_id;
	return item;
}

int wf_item_create(struct wf_attach *attach, const char *name, uint64_t owner, struct wf_item **out)
{
	struct wf_item **bucket, *item;

	if (name[0] != '\0' && wf_item_by_name(attach, name) != NULL)
		return -EEXIST;
	if (attach->item_count >= attach->options.names_max)
		return -ENFILE;
	item = wf_calloc(1, sizeof(*item) + strlen(name) + 1);
	if (item == NULL)
		return -ENOMEM;
	WF_CHECK(strlen(name) <= WF_ATTACH_NAME_MAX);
	strcpy(item->name, name);
	item->id = ++attach->serial;
	item->owner = owner;
	item->users = 1;
	item->listed = true;
	if (name[0] != '\0') {
		bucket = name_bucket(attach, name);
		item->next_name = *bucket;
		*bucket = item;
	}
	bucket = id_bucket(attach, item->id);
	item->next_id = *bucket;
	*bucket = item;
	attach->item_count++;
	*out = item;
	return 0;
}

void wf_item_unuse(struct wf_attach *attach, struct wf_item *item)
{
	WF_CHECK(item->users > 0);
	if (--item->users > 0)
		return;
	WF_CHECK(!item->listed);
	WF_CHECK(item->waiters == NULL);
	attach->options.drop(attach->options.arg, item->owner, item->state == WF_ITEM_WANTED);
	wf_free(item->bytes);
	wf_free(item);
}

void wf_item_unlist(struct wf_attach *attach, struct wf_item *item)
{
	struct wf_item **at;

	WF_CHECK(item->listed);
	WF_CHECK(attach->item_count > 0);
	if (item->name[0] != '\0') {
		for (at = name_bucket(attach, item->name); *at != item;)
			at = &(*at)->next_name;
		*at = item->next_name;
	}
	for (at = id_bucket(attach, item->id); *at != item;)
		at = &(*at)->next_id;
	*at = item->next_id;
	attach->item_count--;
	attach->created -= item->created;
	item->listed = false;
	/* Whoever waits for it may wait for the name again; for a number there is no more. */
	while (item->waiters != NULL) {
		struct wf_attach_request *request = item->waiters;

		item->waiters = request->next;
		request->item = NULL;
		if (request->name[0] != '\0')
			request->phase = WF_REQUEST_NAME;
		else
			wf_request_end(request, -ENOENT, 0, "it is exported no more");
		wf_item_unuse(attach, item);
	}
	wf_item_unuse(attach, item);
}

/* Requests that wait for a name which nobody had: there are few of them. */
static void serve_name(struct wf_attach *attach, struct wf_item *item)
{
	for (struct wf_client *client = attach->clients; client != NULL; client = client->next) {
		for (uint32_t i = 0; i < WF_ATTACH_REQUESTS; i++) {
			struct wf_attach_request *request = &client->requests[i];

			if (request->phase == WF_REQUEST_NAME &&
			    strcmp(request->name, item->name) == 0)
				wf_request_go_on(request, item);
		}
	}
}

void wf_item_serve(struct wf_attach *attach, struct wf_item *item)
{
	struct wf_attach_request *request = item->waiters;

	item->waiters = NULL;
	while (request != NULL) {
		struct wf_attach_request *next = request->next;

		WF_CHECK(item->users > 0);
		WF_CHECK(request->phase == WF_REQUEST_ITEM);
		WF_CHECK(request->item == item);
		request->item = NULL;
		wf_request_go_on(request, item);
		wf_item_unuse(attach, item);
		request = next;
	}
	if (item->name[0] != '\0')
		serve_name(attach, item);
	wf_attach_wake(attach);
}

/* ---- What the owner does --------------------------------------------------------------------- */

/* 0, or -ENOMEM and it is a failure of that kind. */
static int set_value(struct wf_item *item, const struct wf_attach_value *value)
{
	const char *text = value->text != NULL ? value->text : "";
	const void *from = value->status < 0 ? text : value->data;
	size_t size = value->status < 0 ? strlen(text) : value->size;

	WF_CHECK(item->state == WF_ITEM_PENDING);
	WF_CHECK(value->status <= 0);
	if (value->status == 0 && value->object != NULL) {
		item->object = value->object;
		item->state = WF_ITEM_OBJECT;
		return 0;
	}
	WF_CHECK(value->status < 0 || size <= WF_WIRE_DATA_MAX);
	item->status = value->status;
	item->code = value->code;
	item->state = value->status < 0 ? WF_ITEM_FAILED : WF_ITEM_BYTES;
	item->bytes = wf_malloc(size + 1);
	if (item->bytes == NULL) {
		if (value->status == 0)
			item->status = -ENOMEM;
		item->state = WF_ITEM_FAILED;
		return -ENOMEM;
	}
	memcpy(item->bytes, from != NULL ? from : "", size);
	((char *)item->bytes)[size] = '\0';
	item->size = size;
	return 0;
}

static bool name_is_good(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length <= WF_ATTACH_NAME_MAX;
}

int wf_attach_export(struct wf_attach *attach, const char *name, uint64_t owner,
                     const struct wf_attach_value *value, uint64_t *id)
{
	struct wf_item *item;
	int rc;

	if (name != NULL && !name_is_good(name))
		return -EINVAL;
	pthread_mutex_lock(&attach->lock);
	rc = wf_item_create(attach, name != NULL ? name : "", owner, &item);
	if (rc == 0) {
		*id = item->id;
		item->state = WF_ITEM_PENDING;
		if (value != NULL)
			(void)set_value(item, value);
		wf_item_serve(attach, item);
	}
	pthread_mutex_unlock(&attach->lock);
	return rc;
}

bool wf_attach_is_pending(struct wf_attach *attach, uint64_t id)
{
	struct wf_item *item;
	bool pending;

	pthread_mutex_lock(&attach->lock);
	item = wf_item_by_id(attach, id);
	pending = item != NULL && item->state == WF_ITEM_PENDING;
	pthread_mutex_unlock(&attach->lock);
	return pending;
}

int wf_attach_ready(struct wf_attach *attach, uint64_t id, const struct wf_attach_value *value)
{
	struct wf_item *item;
	int rc = -ENOENT;

	pthread_mutex_lock(&attach->lock);
	item = wf_item_by_id(attach, id);
	if (item != NULL && item->state == WF_ITEM_PENDING) {
		rc = set_value(item, value);
		wf_item_serve(attach, item);
	}
	pthread_mutex_unlock(&attach->lock);
	return rc;
}

int wf_attach_import(struct wf_attach *attach, const char *name, uint64_t wanted, uint64_t *owner)
{
	struct wf_item *item;
	int rc = 1;

	if (!name_is_good(name))
		return -EINVAL;
	pthread_mutex_lock(&attach->lock);
	item = wf_item_by_name(attach, name);
	if (item != NULL) {
		attach->options.keep(attach->options.arg, item->owner);
		*owner = item->owner;
	} else {
		rc = wf_item_create(attach, name, wanted, &item);
		if (rc == 0) {
			item->state = WF_ITEM_WANTED;
			wf_item_serve(attach, item);
		}
	}
	pthread_mutex_unlock(&attach->lock);
	return rc;
}

int wf_attach_unexport(struct wf_attach *attach, const char *name, uint64_t id, uint64_t *owner,
                       uint64_t *was)
{
	struct wf_item *item = NULL;

	pthread_mutex_lock(&attach->lock);
	if (name == NULL)
		item = wf_item_by_id(attach, id);
	else if (name_is_good(name))
		item = wf_item_by_name(attach, name);
	if (item != NULL) {
		WF_CHECK(item->listed);
		*owner = item->owner;
		*was = item->id;
		wf_item_unlist(attach, item);
		wf_attach_wake(attach);
	}
	pthread_mutex_unlock(&attach->lock);
	return item != NULL ? 0 : -ENOENT;
}
