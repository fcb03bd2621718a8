/*
 * Goal: code that uses the CUDA runtime, and cuBLAS where there is one, works in a task's grant: it
 * finds the granted device current, its work in the granted stream is the task's, memory of either
 * side is good for the other, and no error state is left behind.
 * Method: a plain program that is linked by the C compiler with the runtime's static library; each
 * body does its work by the runtime and by weft in turns, and every byte is checked. Without a card
 * it says so and exits 77: that it could be built is all that is known then.
 */
#include <ctype.h>

#include <cuda_runtime_api.h>
#ifdef HAVE_CUBLAS
#include <cublas_v2.h>
#endif

#include "../../engine/include/weft_cuda.h"
#include "../../examples/cudart/scale.h"
#include "api.h"

#define N                (1u << 20)
#define BYTES            (N * sizeof(float))

#define CUDA_CHECK(call) API_CHECK((call) == cudaSuccess)

/* The runtime's current device is the one that was granted. */
static void check_device(weft_task *self)
{
	struct weft_cuda_grant grant = { .struct_size = sizeof grant };
	struct weft_cuda_info info = { .struct_size = sizeof info };
	char pci[32] = "";
	int device = -1;

	API_CHECK(weft_cuda_grant(self, 0, &grant) == 0);
	API_CHECK(weft_cuda_info(weft_task_runtime(self), grant.device, &info) == 0);
	CUDA_CHECK(cudaGetDevice(&device));
	CUDA_CHECK(cudaDeviceGetPCIBusId(pci, sizeof pci, device));
	for (char *c = pci; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	API_CHECK(strcmp(pci, info.pci) == 0);
}

/* Memory of weft, filled by the runtime, scaled by a kernel, brought down by weft. */
static int by_turns(weft_task *self)
{
	float *host = api_arg_pointer(self);
	const cudaStream_t stream = weft_cuda_stream(self);
	uint64_t at = 0;
	int rc = weft_cuda_alloc(self, BYTES, &at);

	if (rc)
		return rc;
	check_device(self);
	CUDA_CHECK(cudaMemsetAsync((void *)(uintptr_t)at, 0, BYTES, stream));
	API_CHECK(scale_launch(stream, (float *)(uintptr_t)at, N, 2) == 0);
	CUDA_CHECK(cudaMemcpyAsync(host, (void *)(uintptr_t)at, BYTES, cudaMemcpyDeviceToHost,
	                           stream));
	API_CHECK(scale_launch(stream, (float *)(uintptr_t)at, N, 1) == 0);
	rc = weft_cuda_copy_out(self, host + N, at, BYTES);
	CUDA_CHECK(cudaGetLastError());
	return rc;
}

/* Memory of the runtime, stream-ordered, copied by weft. */
static int runtime_memory(weft_task *self)
{
	float *host = api_arg_pointer(self);
	const cudaStream_t stream = weft_cuda_stream(self);
	void *memory = NULL;
	int rc;

	CUDA_CHECK(cudaMallocAsync(&memory, BYTES, stream));
	rc = weft_cuda_copy_in(self, (uint64_t)(uintptr_t)memory, host, BYTES);
	API_CHECK(scale_launch(stream, memory, N, 3) == 0);
	if (!rc)
		rc = weft_cuda_copy_out(self, host, (uint64_t)(uintptr_t)memory, BYTES);
	CUDA_CHECK(cudaFreeAsync(memory, stream));
	return rc;
}

#ifdef HAVE_CUBLAS
/* host[i] of the second half += 2 * host[i] of the first. */
static int blas(weft_task *self)
{
	float *host = api_arg_pointer(self);
	const float two = 2;
	cublasHandle_t handle = NULL;
	uint64_t x = 0, y = 0;
	int rc = weft_cuda_alloc(self, BYTES, &x);

	if (!rc)
		rc = weft_cuda_alloc(self, BYTES, &y);
	if (!rc)
		rc = weft_cuda_copy_in(self, x, host, BYTES);
	if (!rc)
		rc = weft_cuda_copy_in(self, y, host + N, BYTES);
	if (rc)
		return rc;
	API_CHECK(cublasCreate(&handle) == CUBLAS_STATUS_SUCCESS);
	API_CHECK(cublasSetStream(handle, weft_cuda_stream(self)) == CUBLAS_STATUS_SUCCESS);
	API_CHECK(cublasSaxpy(handle, (int)N, &two, (const float *)(uintptr_t)x, 1,
	                      (float *)(uintptr_t)y, 1) == CUBLAS_STATUS_SUCCESS);
	rc = weft_cuda_copy_out(self, host + N, y, BYTES);
	API_CHECK(cublasDestroy(handle) == CUBLAS_STATUS_SUCCESS);
	return rc;
}
#endif

static void run(weft *rt, weft_task_fn *fn, float *host)
{
	API_CHECK(api_end(rt,
	                  api_submit(rt,
	                             WEFT_TASK(fn, API_POINTER(host),
	                                       .opts = WEFT_TASK_OPTIONS(.gpus = 0.5,
	                                                                 .gpu_mem = 4 * BYTES)))) ==
	          0);
}

static void everything(weft *rt)
{
	void *memory = NULL;

	API_CHECK(weft_cuda_host_alloc(rt, 2 * BYTES, &memory) == 0);
	float *host = memory;

	run(rt, by_turns, host);
	for (uint32_t i = 0; i < N; i++)
		API_CHECK(host[i] == (float)i && host[N + i] == 2 * (float)i);
	run(rt, runtime_memory, host);
	for (uint32_t i = 0; i < N; i++)
		API_CHECK(host[i] == 3 * (float)i + (float)i);
#ifdef HAVE_CUBLAS
	run(rt, blas, host);
	for (uint32_t i = 0; i < N; i++)
		API_CHECK(host[N + i] == 10 * (float)i);
	printf("the CUDA runtime and cuBLAS work in the granted stream\n");
#else
	printf("the CUDA runtime works in the granted stream\n");
#endif
	weft_cuda_host_free(rt, memory);
}

int main(void)
{
	const struct weft_cuda_options how = { .struct_size = sizeof how, .backend = "cuda" };
	weft_cuda *cuda = NULL;
	weft *rt = NULL;

	unsetenv("WEFT_GPU");
	if (weft_cuda_open(&cuda, &how)) {
		int count = 0;

		/* The runtime links, starts, and finds nothing either. */
		API_CHECK(cudaGetDeviceCount(&count) != cudaSuccess || !count);
		printf("no card was found: nothing was checked on one\n");
		return 77;
	}
	API_CHECK(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .devices = cuda)) == 0);
	everything(rt);
	api_close(rt);
	API_CHECK(weft_cuda_close(cuda) == 0);
	return 0;
}
