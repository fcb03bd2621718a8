/*
 * open.c: which devices a program gets: the option, or the environment's WEFT_GPU.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "wf_cuda.h"

#define AHEAD_DEFAULT 1024u
#define AHEAD_MAX     65536u
#define SLOTS         4u /* WF_GPU_SLOTS */
#define STAGING       ((uint64_t)8 << 20)
#define STAGING_LEAST ((uint64_t)16 << 10)
#define STAGING_MOST  ((uint64_t)1 << 30)

/* Copy a versioned struct: shorter ones are zero-extended, unknown tails must be zero. */
static int read_options(struct weft_cuda_options *o, const struct weft_cuda_options *from)
{
	size_t size = from ? from->struct_size : 0;

	WF_DEBUG(o != from);

	memset(o, 0, sizeof(*o));
	if (!from)
		return 0;
	if (size < sizeof(size) || size > 4096)
		return -EINVAL;
	for (size_t i = sizeof(*o); i < size; i++) {
		if (((const unsigned char *)from)[i])
			return -EINVAL;
	}
	memcpy(o, from, size < sizeof(*o) ? size : sizeof(*o));
	for (size_t i = 0; i < sizeof(o->reserved) / sizeof(o->reserved[0]); i++) {
		if (o->reserved[i])
			return -EINVAL;
	}
	if (o->reserved0 || o->ahead_max > AHEAD_MAX || o->hang_ns < 0 ||
	    (o->staging_bytes && o->staging_bytes < STAGING_LEAST) ||
	    o->staging_bytes > STAGING_MOST)
		return -EINVAL;
	return 0;
}

/* The rest of "name" or "name:rest"; NULL: another name. */
static const char *rest_of(const char *text, const char *name)
{
	size_t length = strlen(name);

	if (strncmp(text, name, length) != 0 || (text[length] && text[length] != ':'))
		return NULL;
	return text + length + (text[length] == ':');
}

static int open_backend(weft_cuda *cuda, const char *text)
{
	const char *rest;
	int rc;

	WF_CHECK(!cuda->ops && !cuda->backend);

	if (!text) {
		cuda->ops = wf_device_cuda();
		rc = cuda->ops->open(NULL, &cuda->backend);
		if (rc != -ENODEV)
			return rc;
		text = "none";
	}
	if ((rest = rest_of(text, "cuda")))
		cuda->ops = wf_device_cuda();
	else if ((rest = rest_of(text, "sim")))
		cuda->ops = wf_device_sim();
	else if (!strcmp(text, "none"))
		cuda->ops = wf_device_null();
	else
		return -EINVAL;
	WF_CHECK(!wf_device_ops_check(cuda->ops));
	return cuda->ops->open(rest, &cuda->backend);
}

int weft_cuda_open(weft_cuda **out, const struct weft_cuda_options *opts)
{
	const char *forced = getenv("WEFT_GPU");
	struct weft_cuda_options o;
	int rc = out ? read_options(&o, opts) : -EINVAL;
	weft_cuda *cuda = rc ? NULL : wf_calloc(1, sizeof(*cuda));

	if (!cuda)
		return rc ? rc : -ENOMEM;
	rc = open_backend(cuda, forced && *forced ? forced : o.backend);
	if (!rc)
		rc = cuda->ops->device_count(cuda->backend, &cuda->count);
	if (rc) {
		if (cuda->backend)
			cuda->ops->close(cuda->backend);
		wf_free(cuda);
		return rc;
	}
	WF_CHECK(cuda->count <= WEFT_GPUS_MAX);
	WF_DEBUG(cuda->backend && o.hang_ns >= 0);
	cuda->ahead_max = o.ahead_max ? o.ahead_max : AHEAD_DEFAULT;
	cuda->hang_ns = o.hang_ns;
	cuda->pin_bytes = o.pin_bytes;
	cuda->slot_bytes = (o.staging_bytes ? o.staging_bytes : STAGING) / SLOTS;
	for (uint32_t i = 0; i < WEFT_GPUS_MAX; i++)
		pthread_mutex_init(&cuda->bell[i].mutex, NULL);
	*out = cuda;
	return 0;
}

int weft_cuda_close(weft_cuda *cuda)
{
	if (!cuda)
		return 0;
	/* acquire [D1]: what the runtime that had them did is over. */
	if (wf_load_acquire(&cuda->used))
		return -EBUSY;
	cuda->ops->close(cuda->backend);
	for (uint32_t i = 0; i < WEFT_GPUS_MAX; i++)
		pthread_mutex_destroy(&cuda->bell[i].mutex);
	wf_free(cuda);
	return 0;
}

int weft_cuda_count(const weft_cuda *cuda)
{
	return cuda ? (int)cuda->count : -EINVAL;
}
