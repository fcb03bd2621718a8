/*
 * fuzz/record.c: any bytes as the header of a record. What is believed must write back to the same
 * bytes, and what is refused must leave the result alone.
 */
#include <stdlib.h>
#include <string.h>

#include "record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wf_record record, before;
	unsigned char back[WF_RECORD_HEADER];
	const char *reason;

	memset(&record, 0x77, sizeof(record));
	memcpy(&before, &record, sizeof(record));
	reason = wf_record_parse(data, size, &record);
	if (reason != NULL) {
		if (memcmp(&before, &record, sizeof(record)) != 0 || reason[0] == 0)
			abort();
		return 0;
	}
	if (size < WF_RECORD_HEADER || record.size > WF_RECORD_SIZE_MAX)
		abort();
	wf_record_write(back, &record);
	if (memcmp(back, data, sizeof(back)) != 0)
		abort();
	return 0;
}
