/*
 * Goal: whatever fails while a runtime opens, weft_open() answers -ENOMEM or -EAGAIN, writes
 * nothing and leaves nothing behind; where there is another way it opens all the same and works.
 * Method: the sweep over every resource point; descriptors, threads and mappings counted.
 */
#include "api_fault.h"

static struct fault_census before;
static uint32_t refused;

static void open_once(uint64_t nth)
{
	weft *const poison = (void *)(uintptr_t)API_POISON, *rt = poison;

	wf_fault_arm(-1, nth);
	const int status = weft_open(&rt, WEFT_OPTIONS(.workers = 2));
	const bool fired = wf_fault_fired();

	wf_fault_arm(-1, 0);
	API_CHECK(status == 0 || status == -ENOMEM || status == -EAGAIN);
	if (status < 0) {
		API_CHECK(fired);
		API_CHECK(rt == poison);
		refused++;
	} else {
		const int64_t value = 3;

		API_CHECK(api_take_i64(
				  rt, api_spawn(rt, api_body_identity, &value, sizeof value)) == 3);
		api_await_no_tasks(rt);
		api_close(rt);
	}
	fault_census_check(&before);
}

int main(void)
{
	api_close(api_open(2)); /* fills what is cached per process */
	api_close(api_open(2));
	before = fault_census();
	const uint64_t points = fault_sweep(open_once);

	printf("%llu points, %u refusals\n", (unsigned long long)points, refused);
	API_CHECK(points > 0);
	API_CHECK(refused > 0);
	api_close(api_open(2));
	return 0;
}
