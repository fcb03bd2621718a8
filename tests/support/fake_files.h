/*
 * fake_files.h: memory and spill files for tests of the object layer, in the place of the real
 * ones (mem.h, spill.h, wf_io.h): one mapping with a first-fit list, and records in the heap that
 * one thread writes and reads, when the test lets it.
 */
#ifndef WEFT_TEST_FAKE_FILES_H
#define WEFT_TEST_FAKE_FILES_H

#include <stdbool.h>
#include <stdint.h>

/* Before a store is opened: everything works, nothing is held. */
void fake_reset(void);

/* Transfers stay in flight until they are let go; one: only the oldest. */
void fake_hold(bool hold);
void fake_let_one_go(void);
/* Wait until `count` transfers (batches, reads) are held. */
void fake_await_held(uint32_t count);
uint32_t fake_held(void);

/* From the nth item from now (1 ..) on, `count` of them end with `status`; nth 0: none. */
void fake_fail_writes(uint64_t nth, uint64_t count, int status);
void fake_fail_reads(uint64_t nth, uint64_t count, int status);
void fake_disk_bytes(uint64_t bytes); /* a write beyond ends with -ENOSPC */
void fake_refuse_open(bool refuse);   /* of the files */
void fake_refuse_memory(bool refuse);
void fake_small_memory(bool small);     /* whether it says that it is in small pages */
bool fake_small_pages(void);            /* what the I/O was told last */
void fake_memory_bytes(uint64_t bytes); /* of stores opened from now on; 0: what they ask */

uint64_t fake_writes(void); /* items since fake_reset() */
uint64_t fake_batches(void);
uint64_t fake_reads(void);
uint64_t fake_records(void);       /* there now */
uint64_t fake_memory_blocks(void); /* there now */
/* Whether the item with this id was the nth written (0 ..); UINT64_MAX: it was not. */
uint64_t fake_written_as(uint64_t id);

#endif /* WEFT_TEST_FAKE_FILES_H */
