/*
 * cgroup.c: how many CPUs the control groups of this process grant.
 *
 * A quota may stand at any level of the tree, and the tightest one counts, so the path is walked
 * from the process's own group up to the root of what is mounted here. Both versions of the
 * interface are read, since machines mount both: v2 "cpu.max" holds "quota period" or "max
 * period", v1 has a file for each, with -1 for none.
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

struct hierarchy {
	bool v2;
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
		          : list_has(controllers, "cpu"))
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
	if (!h->v2 && !list_has(after[2], "cpu"))
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

static uint32_t group_quota(const struct hierarchy *h, const char *root, const char *group)
{
	char path[PATH_BYTES + 32], text[VALUE_BYTES];
	long long quota, period = 0;
	char *end;

	snprintf(path, sizeof(path), "%s/%s", group, h->v2 ? "cpu.max" : "cpu.cfs_quota_us");
	if (wf_text_read(root, path, text, sizeof(text)) < 0)
		return 0;
	/* "max" is no number: 0, none. */
	quota = strtoll(text, &end, 10);
	if (h->v2) {
		period = strtoll(end, NULL, 10);
	} else {
		snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", group);
		if (wf_text_read(root, path, text, sizeof(text)) >= 0)
			period = strtoll(text, NULL, 10);
	}
	return whole_cpus(quota, period);
}

static uint32_t tightest(uint32_t a, uint32_t b)
{
	if (a == 0 || b == 0)
		return a + b;
	return a < b ? a : b;
}

static uint32_t hierarchy_quota(bool v2, const char *root)
{
	struct hierarchy h = { .v2 = v2 };
	char group[PATH_BYTES];
	uint32_t quota = 0;
	size_t mount_length;
	int length;

	if (!find_path(&h, root) || !find_mount(&h, root))
		return 0;
	mount_length = strcmp(h.mount, "/") == 0 ? 0 : strlen(h.mount);
	length = snprintf(group, sizeof(group), "%.*s%s", (int)mount_length, h.mount,
	                  path_below(&h));
	if (length < 0 || (size_t)length >= sizeof(group))
		return 0;
	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		char *slash;

		quota = tightest(quota, group_quota(&h, root, group));
		slash = strrchr(group, '/');
		if (slash == NULL || (size_t)(slash - group) < mount_length)
			break;
		*slash = '\0';
	}
	return quota;
}

uint32_t wf_cgroup_quota(const char *root)
{
	uint32_t quota;

	WF_CHECK(root != NULL);
	quota = hierarchy_quota(true, root);
	quota = tightest(quota, hierarchy_quota(false, root));
	WF_CHECK(quota <= WF_CPUS_MAX);
	return quota;
}
