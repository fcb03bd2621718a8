/*
 * cgroup.c: how many CPUs, and how much more memory, the control groups of this process grant.
 *
 * A limit may stand at any level of the tree, and the tightest one counts, so the path is walked
 * from the process's own group up to the root of what is mounted here. Both versions of the
 * interface are read, since machines mount both: v2 "cpu.max" holds "quota period" or "max
 * period", v1 has a file for each, with -1 for none. Of memory each level has a limit and what is
 * used of it by all below; of files in the page cache those that are not being used count as free,
 * and half of those that are: a program that reads or writes more than its group may hold fills the
 * whole group with them, and would otherwise be told that there is nothing left.
 *
 * The path in /proc/self/cgroup is relative to the hierarchy's root, while a container may have
 * only a part of the hierarchy mounted; the mount's own root is taken off its front. A path outside
 * that part (it then begins with "/..", or does not match) is read as the mount point itself, the
 * nearest group that can be seen.
 */
#include "topology_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES  4096
#define DEPTH_MAX   64
#define VALUE_BYTES 64
#define NO_LIMIT    UINT64_MAX

struct hierarchy {
	bool v2;
	const char *controller;
	char path[PATH_BYTES];  /* of the process's group, as /proc/self/cgroup has it */
	char mount[PATH_BYTES]; /* where it is mounted */
	char root[PATH_BYTES];  /* which part of it is mounted there */
};

/* Whether `word` is an item of a comma-separated list. */
static bool list_has(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = list; at != NULL; at = strchr(at, ',')) {
		if (*at == ',')
			at++;
		if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0'))
			return true;
	}
	return false;
}

static bool copy_path(char to[PATH_BYTES], const char *from)
{
	size_t length = strlen(from);

	if (length >= PATH_BYTES)
		return false;
	memcpy(to, from, length + 1);
	return true;
}

/* Lines are "id:controllers:path"; v2's is "0::path". */
static bool find_path(struct hierarchy *h, const char *root)
{
	struct wf_lines lines;
	bool found = false;
	char *line;

	if (wf_lines_open(&lines, root, "/proc/self/cgroup") < 0)
		return false;
	while (!found && (line = wf_lines_next(&lines)) != NULL) {
		char *controllers = strchr(line, ':');
		char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;

		if (path == NULL)
			continue;
		*controllers++ = '\0';
		*path++ = '\0';
		if (h->v2 ? strcmp(line, "0") == 0 && *controllers == '\0'
		          : list_has(controllers, h->controller))
			found = copy_path(h->path, path);
	}
	wf_lines_close(&lines);
	return found;
}

/* Paths in mountinfo have blanks and backslashes as \ooo. In place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0'; to++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
		    from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
			*to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + from[3] - '0');
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/*
 * A line is "id parent major:minor root mountpoint options [more ...] - type source options".
 * False: not the hierarchy looked for.
 */
static bool parse_mount(struct hierarchy *h, char *line)
{
	enum { ROOT = 3, MOUNT = 4, BEFORE = 6 };
	char *field[BEFORE], *after[3], *save = NULL;
	char *tail = strstr(line, " - ");

	if (tail == NULL)
		return false;
	*tail = '\0';
	for (int i = 0; i < BEFORE; i++) {
		field[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
		if (field[i] == NULL)
			return false;
	}
	for (int i = 0; i < 3; i++) {
		after[i] = strtok_r(i == 0 ? tail + 3 : NULL, " ", &save);
		if (after[i] == NULL)
			return false;
	}
	if (strcmp(after[0], h->v2 ? "cgroup2" : "cgroup") != 0)
		return false;
	if (!h->v2 && !list_has(after[2], h->controller))
		return false;
	unescape(field[ROOT]);
	unescape(field[MOUNT]);
	return copy_path(h->root, field[ROOT]) && copy_path(h->mount, field[MOUNT]);
}

static bool find_mount(struct hierarchy *h, const char *root)
{
	struct wf_lines lines;
	bool found = false;
	char *line;

	if (wf_lines_open(&lines, root, "/proc/self/mountinfo") < 0)
		return false;
	while (!found && (line = wf_lines_next(&lines)) != NULL)
		found = parse_mount(h, line);
	wf_lines_close(&lines);
	return found;
}

/* The group's path below the mount point: "" or "/a/b". */
static const char *path_below(const struct hierarchy *h)
{
	size_t length = strlen(h->root);
	const char *below = h->path;

	if (strcmp(h->root, "/") != 0) {
		if (strncmp(h->path, h->root, length) != 0)
			return "";
		below = h->path + length;
		if (*below != '\0' && *below != '/')
			return "";
	}
	if (strncmp(below, "/..", 3) == 0 || strcmp(below, "/") == 0)
		return "";
	return below;
}

/* quota / period in whole CPUs, rounded up; 0: none. */
static uint32_t whole_cpus(long long quota, long long period)
{
	long long cpus;

	if (quota <= 0 || period <= 0)
		return 0;
	cpus = quota / period + (quota % period != 0);
	return cpus < WF_CPUS_MAX ? (uint32_t)cpus : WF_CPUS_MAX;
}

static uint64_t group_quota(const struct hierarchy *h, const char *root, const char *group)
{
	char path[PATH_BYTES + 32], text[VALUE_BYTES];
	long long quota, period = 0;
	uint32_t cpus;
	char *end;

	snprintf(path, sizeof(path), "%s/%s", group, h->v2 ? "cpu.max" : "cpu.cfs_quota_us");
	if (wf_text_read(root, path, text, sizeof(text)) < 0)
		return NO_LIMIT;
	/* "max" is no number: 0, none. */
	quota = strtoll(text, &end, 10);
	if (h->v2) {
		period = strtoll(end, NULL, 10);
	} else {
		snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", group);
		if (wf_text_read(root, path, text, sizeof(text)) >= 0)
			period = strtoll(text, NULL, 10);
	}
	cpus = whole_cpus(quota, period);
	WF_CHECK(cpus <= WF_CPUS_MAX);
	return cpus != 0 ? cpus : NO_LIMIT;
}

/* A file that holds one number; "max" and what is not there: NO_LIMIT. */
static uint64_t read_number(const char *root, const char *group, const char *name)
{
	char path[PATH_BYTES + 32], text[VALUE_BYTES];

	snprintf(path, sizeof(path), "%s/%s", group, name);
	if (wf_text_read(root, path, text, sizeof(text)) < 0 || text[0] < '0' || text[0] > '9')
		return NO_LIMIT;
	return strtoull(text, NULL, 10);
}

/* The value of a line "name value"; 0 when there is none. */
static uint64_t read_item(const char *root, const char *group, const char *file, const char *name)
{
	char path[PATH_BYTES + 32], *line;
	size_t length = strlen(name);
	struct wf_lines lines;
	uint64_t value = 0;

	WF_CHECK(length != 0 && name[length - 1] != ' ');
	snprintf(path, sizeof(path), "%s/%s", group, file);
	if (wf_lines_open(&lines, root, path) < 0)
		return 0;
	while (value == 0 && (line = wf_lines_next(&lines)) != NULL) {
		if (strncmp(line, name, length) == 0 && line[length] == ' ')
			value = strtoull(line + length, NULL, 10);
	}
	wf_lines_close(&lines);
	return value;
}

static uint64_t group_memory(const struct hierarchy *h, const char *root, const char *group)
{
	const char *limit_name = h->v2 ? "memory.max" : "memory.limit_in_bytes";
	uint64_t limit = read_number(root, group, limit_name), used, cached, active;

	/* v1 says "none" by a limit of nearly 2^63. */
	if (limit >= (uint64_t)1 << 62)
		return NO_LIMIT;
	used = read_number(root, group, h->v2 ? "memory.current" : "memory.usage_in_bytes");
	if (used == NO_LIMIT)
		return limit;
	cached = read_item(root, group, "memory.stat",
	                   h->v2 ? "inactive_file" : "total_inactive_file");
	active = read_item(root, group, "memory.stat", h->v2 ? "active_file" : "total_active_file");
	WF_CHECK(cached <= UINT64_MAX / 2 && active <= UINT64_MAX / 2);
	cached += active / 2;
	used -= cached < used ? cached : used;
	WF_CHECK(used != NO_LIMIT && limit != NO_LIMIT);
	return used < limit ? limit - used : 0;
}

typedef uint64_t group_fn(const struct hierarchy *h, const char *root, const char *group);

/* The least of what the groups from the process's own up to the mount point say. */
static uint64_t hierarchy_least(bool v2, const char *controller, const char *root, group_fn *read)
{
	struct hierarchy h = { .v2 = v2, .controller = controller };
	char group[PATH_BYTES];
	uint64_t least = NO_LIMIT;
	size_t mount_length;
	int length;

	if (!find_path(&h, root) || !find_mount(&h, root))
		return NO_LIMIT;
	mount_length = strcmp(h.mount, "/") == 0 ? 0 : strlen(h.mount);
	length = snprintf(group, sizeof(group), "%.*s%s", (int)mount_length, h.mount,
	                  path_below(&h));
	if (length < 0 || (size_t)length >= sizeof(group))
		return NO_LIMIT;
	WF_CHECK(mount_length <= (size_t)length);
	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		uint64_t value = read(&h, root, group);
		char *slash;

		if (value < least)
			least = value;
		slash = strrchr(group, '/');
		if (slash == NULL || (size_t)(slash - group) < mount_length)
			break;
		*slash = '\0';
	}
	return least;
}

static uint64_t least_of_both(const char *controller, const char *root, group_fn *read)
{
	uint64_t first = hierarchy_least(true, controller, root, read);
	uint64_t second = hierarchy_least(false, controller, root, read);

	WF_CHECK(root != NULL);
	return first < second ? first : second;
}

uint32_t wf_cgroup_quota(const char *root)
{
	uint64_t quota = least_of_both("cpu", root, group_quota);

	WF_CHECK(quota == NO_LIMIT || quota <= WF_CPUS_MAX);
	return quota == NO_LIMIT ? 0 : (uint32_t)quota;
}

uint64_t wf_cgroup_memory(const char *root)
{
	return least_of_both("memory", root, group_memory);
}

uint64_t wf_memory_left_at(const char *root, const char **why)
{
	uint64_t group = wf_cgroup_memory(root), ram;

	WF_CHECK(root != NULL);
	/* In kB. What the kernel thinks can be had without swapping. */
	ram = read_item(root, "/proc", "meminfo", "MemAvailable:");
	if (ram == 0)
		ram = read_item(root, "/proc", "meminfo", "MemTotal:");
	/* A limit that is reached is known: 0 would say that nothing is. */
	if (group == 0)
		group = 1;
	/* Not to be had: the groups alone, if they say anything. */
	if (ram == 0 && group == NO_LIMIT)
		group = 0;
	ram = ram != 0 ? ram * 1024 : NO_LIMIT;
	if (why != NULL)
		*why = group < ram ? "limit of the control group" : "available memory";
	return group < ram ? group : ram;
}

uint64_t wf_memory_left(const char **why)
{
	return wf_memory_left_at("", why);
}
