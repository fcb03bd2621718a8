/*
 * Goal: the CPU quota of every layout of control groups is found: v2, v1, both, nested groups with
 * the tightest anywhere on the path, containers that see a part of the hierarchy, and nonsense.
 * Method: a fake root directory with the files of /proc and /sys of each layout.
 */
#include "fake_root.h"
#include "test.h"
#include "topology_internal.h"

#define MOUNT_V2 "31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
#define MOUNT_V1 \
	"33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup " \
	"rw,cpu,cpuacct\n"
#define OTHERS \
	"1 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n" \
	"32 31 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"

static void fake_v2(const char *path, const char *mounts)
{
	char line[256];

	snprintf(line, sizeof(line), "0::%s\n", path);
	fake_file("/proc/self/cgroup", line);
	fake_file("/proc/self/mountinfo", mounts);
}

Test(cgroup, nothing_to_read_is_no_quota, .init = fake_open, .fini = fake_close)
{
	cr_assert_eq(wf_cgroup_quota(fake_root), 0);
	cr_assert_eq(wf_cgroup_quota("/nonexistent"), 0);
}

Test(cgroup, v2_quota_is_rounded_up, .init = fake_open, .fini = fake_close)
{
	static const struct {
		const char *text;
		uint32_t cpus;
	} rows[] = {
		{ "max 100000\n", 0 },
		{ "50000 100000\n", 1 },
		{ "100000 100000\n", 1 },
		{ "100001 100000\n", 2 },
		{ "250000 100000\n", 3 },
		{ "400000 100000\n", 4 },
		{ "1000 1000000\n", 1 },
		{ "900000000000 100000\n", WF_CPUS_MAX },
		{ "9223372036854775807 1\n", WF_CPUS_MAX },
		{ "", 0 },
		{ "-5 100000\n", 0 },
		{ "100000 0\n", 0 },
		{ "100000\n", 0 },
		{ "zebra\n", 0 },
		{ "0 100000\n", 0 },
	};

	fake_v2("/job", OTHERS MOUNT_V2);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fake_file("/sys/fs/cgroup/job/cpu.max", rows[i].text);
		cr_assert_eq(wf_cgroup_quota(fake_root), rows[i].cpus, "row %zu", i);
	}
}

Test(cgroup, v2_the_tightest_level_counts, .init = fake_open, .fini = fake_close)
{
	fake_v2("/a/b/c", OTHERS MOUNT_V2);
	fake_file("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
	fake_file("/sys/fs/cgroup/a/b/cpu.max", "600000 100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 6);
	fake_file("/sys/fs/cgroup/a/cpu.max", "150000 50000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 3);
	fake_file("/sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 3);
	/* The mount point itself is the last level. */
	fake_file("/sys/fs/cgroup/cpu.max", "200000 100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 2);
	/* What lies above it is no group. */
	fake_file("/sys/fs/cpu.max", "100000 100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 2);
}

Test(cgroup, v2_the_root_group_is_read, .init = fake_open, .fini = fake_close)
{
	fake_v2("/", OTHERS MOUNT_V2);
	fake_file("/sys/fs/cgroup/cpu.max", "500000 100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 5);
}

Test(cgroup, v1_quota_and_period_are_read, .init = fake_open, .fini = fake_close)
{
	fake_file("/proc/self/cgroup", "11:memory:/elsewhere\n4:cpuset:/x\n3:cpu,cpuacct:/a/b\n");
	fake_file("/proc/self/mountinfo", OTHERS MOUNT_V1);
	fake_file("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n");
	fake_file("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 0);
	fake_file("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "350000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 4);
	fake_file("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "100000\n");
	/* A quota without its period says nothing. */
	cr_assert_eq(wf_cgroup_quota(fake_root), 4);
	fake_file("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "200000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 1);
}

Test(cgroup, of_both_versions_the_tighter_counts, .init = fake_open, .fini = fake_close)
{
	fake_file("/proc/self/cgroup", "3:cpu,cpuacct:/a\n0::/b\n");
	fake_file("/proc/self/mountinfo",
	          OTHERS MOUNT_V1 "40 31 0:41 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
	fake_file("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "300000\n");
	fake_file("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 3);
	fake_file("/sys/fs/cgroup/unified/b/cpu.max", "700000 100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 3);
	fake_file("/sys/fs/cgroup/unified/b/cpu.max", "200000 100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 2);
}

/* A container without a namespace of its own has its group's directory mounted as if the root. */
Test(cgroup, the_root_of_the_mount_is_taken_off_the_path, .init = fake_open, .fini = fake_close)
{
	fake_v2("/docker/abc/inner",
	        "31 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n");
	fake_file("/sys/fs/cgroup/inner/cpu.max", "400000 100000\n");
	fake_file("/sys/fs/cgroup/cpu.max", "max 100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 4);
	fake_v2("/docker/abc", "31 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n");
	fake_file("/sys/fs/cgroup/cpu.max", "300000 100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 3);
}

Test(cgroup, a_path_outside_the_mount_is_the_mount_point, .init = fake_open, .fini = fake_close)
{
	fake_file("/sys/fs/cgroup/cpu.max", "700000 100000\n");
	fake_v2("/../sibling", MOUNT_V2);
	cr_assert_eq(wf_cgroup_quota(fake_root), 7);
	fake_v2("/other", "31 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 7);
	/* A longer name is no child. */
	fake_v2("/docker/abcdef",
	        "31 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 7);
}

Test(cgroup, escapes_in_the_mount_point_are_undone, .init = fake_open, .fini = fake_close)
{
	fake_v2("/job", "31 23 0:26 / /my\\040groups\\134x rw - cgroup2 cgroup2 rw\n");
	fake_file("/my groups\\x/job/cpu.max", "800000 100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 8);
}

Test(cgroup, lines_too_long_or_malformed_are_passed_over, .init = fake_open, .fini = fake_close)
{
	static char mounts[20000];
	size_t length;

	/* One line longer than two buffers, whose tail looks like a mount of its own. */
	memset(mounts, 'x', 9000);
	length = 9000;
	length += (size_t)sprintf(mounts + length, " 23 0:26 / /wrong rw - cgroup2 cgroup2 rw\n");
	length += (size_t)sprintf(mounts + length, "no separator here\n1 2 3 - \n\n - - -\n");
	sprintf(mounts + length, "%s", MOUNT_V2);
	fake_v2("/job", mounts);
	fake_file("/wrong/job/cpu.max", "100000 100000\n");
	fake_file("/sys/fs/cgroup/job/cpu.max", "900000 100000\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 9);
	fake_file("/proc/self/cgroup", "garbage\n::\n0:\n");
	cr_assert_eq(wf_cgroup_quota(fake_root), 0);
}

Test(cgroup, a_file_that_cannot_be_opened_is_no_quota, .init = fake_open, .fini = fake_close)
{
	uint64_t points;

	fake_v2("/job", MOUNT_V2);
	fake_file("/sys/fs/cgroup/job/cpu.max", "300000 100000\n");
	wf_fault_arm(WF_FAULT_FILE, UINT64_MAX);
	cr_assert_eq(wf_cgroup_quota(fake_root), 3);
	points = wf_fault_count();
	cr_assert_geq(points, 4);
	for (uint64_t nth = 1; nth <= points; nth++) {
		uint32_t quota;

		wf_fault_arm(WF_FAULT_FILE, nth);
		quota = wf_cgroup_quota(fake_root);
		cr_assert(wf_fault_fired());
		/* Only the first three files of v2 matter to this tree. */
		cr_assert_eq(quota, nth <= 3 ? 0 : 3);
	}
	wf_fault_arm(-1, 0);
}

/* ---- Memory --------------------------------------------------------------------------------- */

#define MOUNT_V1_MEMORY "34 31 0:31 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n"

Test(cgroup, no_memory_limit_is_the_machines_memory, .init = fake_open, .fini = fake_close)
{
	const char *why = NULL;

	cr_assert_eq(wf_cgroup_memory(fake_root), UINT64_MAX);
	cr_assert_eq(wf_memory_left_at(fake_root, &why), 0);
	fake_file("/proc/meminfo", "MemTotal:       24684000 kB\nMemFree:  1 kB\n");
	cr_assert_eq(wf_memory_left_at(fake_root, &why), 24684000ull * 1024);
	fake_file("/proc/meminfo",
	          "MemTotal:       24684000 kB\nMemFree:  1 kB\n"
	          "MemAvailable:   20000000 kB\n");
	cr_assert_eq(wf_memory_left_at(fake_root, &why), 20000000ull * 1024);
	cr_assert_str_eq(why, "available memory");
	cr_assert_eq(wf_memory_left_at(fake_root, NULL), 20000000ull * 1024);
}

Test(cgroup, v2_memory_left_is_the_least_of_all_levels, .init = fake_open, .fini = fake_close)
{
	const char *why;

	fake_file("/proc/meminfo", "MemAvailable:   20000000 kB\n");
	fake_v2("/a/b", OTHERS MOUNT_V2);
	fake_file("/sys/fs/cgroup/a/b/memory.max", "max\n");
	fake_file("/sys/fs/cgroup/a/b/memory.current", "5000\n");
	cr_assert_eq(wf_cgroup_memory(fake_root), UINT64_MAX);
	fake_file("/sys/fs/cgroup/a/memory.max", "1000000\n");
	cr_assert_eq(wf_cgroup_memory(fake_root), 1000000);
	fake_file("/sys/fs/cgroup/a/memory.current", "400000\n");
	cr_assert_eq(wf_cgroup_memory(fake_root), 600000);
	cr_assert_eq(wf_memory_left_at(fake_root, &why), 600000);
	fake_file("/proc/meminfo", "nonsense\n");
	cr_assert_eq(wf_memory_left_at(fake_root, &why), 600000);
	cr_assert_str_eq(why, "limit of the control group");
	/* What the page cache could give back counts as free. */
	fake_file("/sys/fs/cgroup/a/memory.stat",
	          "anon 1\nfile 300000\ninactive_file_x 7\n"
	          "inactive_file 90000\nactive_file 20000\n");
	cr_assert_eq(wf_cgroup_memory(fake_root), 700000);
	fake_file("/sys/fs/cgroup/a/b/memory.max", "600000\n");
	cr_assert_eq(wf_cgroup_memory(fake_root), 595000);
	/* Nothing left is not the same as nothing known. */
	fake_file("/sys/fs/cgroup/a/b/memory.current", "600000\n");
	cr_assert_eq(wf_cgroup_memory(fake_root), 0);
	cr_assert_eq(wf_memory_left_at(fake_root, &why), 1);
	/* Over the limit, for a moment. */
	fake_file("/sys/fs/cgroup/a/b/memory.current", "700000\n");
	cr_assert_eq(wf_cgroup_memory(fake_root), 0);
}

Test(cgroup, v1_memory_left_is_found, .init = fake_open, .fini = fake_close)
{
	fake_file("/proc/self/cgroup", "11:memory:/job\n3:cpu,cpuacct:/a/b\n");
	fake_file("/proc/self/mountinfo", OTHERS MOUNT_V1 MOUNT_V1_MEMORY);
	fake_file("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
	fake_file("/sys/fs/cgroup/memory/job/memory.usage_in_bytes", "300\n");
	cr_assert_eq(wf_cgroup_memory(fake_root), UINT64_MAX);
	fake_file("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1000\n");
	fake_file("/sys/fs/cgroup/memory/job/memory.stat",
	          "cache 1\ninactive_file 5\nactive_file 6\n"
	          "total_inactive_file 80\ntotal_active_file 40\n");
	cr_assert_eq(wf_cgroup_memory(fake_root), 800);
	fake_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "zebra\n");
	cr_assert_eq(wf_cgroup_memory(fake_root), 800);
}
