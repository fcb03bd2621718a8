/*
 * The CUDA runtime and weft in one program: tasks are granted a share of a device, take memory and
 * copy by weft, and launch a kernel of their own .cu file in the stream that they were granted. The
 * runtime finds the device's primary context, which weft has made current.
 *
 * Exit: 0 every number is right; 77 there is no device to run on; 1 something is wrong.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <weft.h>
#include <weft_cuda.h>

#include "scale.h"

#define N     100000u
#define TASKS 8u

struct job {
	float *data; /* pinned */
	float factor;
};

/* Up, a kernel, down; it returns when that is submitted, and ends when it is done. */
static int scale_task(weft_task *self)
{
	const struct job *job = weft_task_arg(self, NULL);
	uint64_t at = 0;
	int rc = weft_cuda_alloc(self, N * sizeof(float), &at);

	if (!rc)
		rc = weft_cuda_copy_in(self, at, job->data, N * sizeof(float));
	if (!rc && scale_launch(weft_cuda_stream(self), (float *)(uintptr_t)at, N, job->factor))
		rc = weft_fail(self, -EIO, "the kernel was not launched");
	return rc ? rc : weft_cuda_copy_out(self, job->data, at, N * sizeof(float));
}

static int is_right(const struct job *job)
{
	for (size_t i = 0; i < N; i++) {
		if (job->data[i] != job->factor * (float)(i % 100) + (float)i)
			return 0;
	}
	return 1;
}

static int run(weft *rt)
{
	static const struct weft_task_options quarter = { .struct_size = sizeof quarter,
		                                          .gpus = 0.25,
		                                          .gpu_mem = 1 << 20 };
	struct job jobs[TASKS];
	weft_ref refs[TASKS];
	int bad = 0;

	for (uint32_t k = 0; k < TASKS; k++) {
		void *memory = NULL;

		if (weft_cuda_host_alloc(rt, N * sizeof(float), &memory))
			return 1;
		jobs[k] = (struct job){ .data = memory, .factor = (float)k };
		for (size_t i = 0; i < N; i++)
			jobs[k].data[i] = (float)(i % 100);
		if (weft_submit(rt, WEFT_TASK(scale_task, WEFT_ARG(jobs[k]), .opts = &quarter),
		                &refs[k]))
			return 1;
	}
	for (uint32_t k = 0; k < TASKS; k++) {
		bad += weft_get(rt, refs[k], WEFT_FOREVER, NULL) || !is_right(&jobs[k]);
		weft_release(rt, refs[k]);
		weft_cuda_host_free(rt, jobs[k].data);
	}
	printf("%u tasks on a device, %d wrong\n", TASKS, bad);
	return bad != 0;
}

int main(void)
{
	/* The kernel has no twin, so simulated devices will not do. */
	static const struct weft_cuda_options how = { .struct_size = sizeof how,
		                                      .backend = "cuda" };
	weft_cuda *cuda = NULL;
	weft *rt = NULL;

	unsetenv("WEFT_GPU");
	if (weft_cuda_open(&cuda, &how)) {
		printf("no card was found: nothing to run on\n");
		return 77;
	}
	if (weft_open(&rt, WEFT_OPTIONS(.devices = cuda)))
		return 1;
	int rc = run(rt);

	return weft_close(rt, WEFT_FOREVER) || weft_cuda_close(cuda) ? 1 : rc;
}
