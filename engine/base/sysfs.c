/*
 * sysfs.c: reading the kernel's small text files, and NUMA nodes from /sys.
 *
 * Nothing here fails: a file that is missing, unreadable or nonsense leaves the flat answer (one
 * node, equal distances), since containers hide what they like. All sizes are bounded and on the
 * stack; the heap is not used.
 */
#include "topology_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define LIST_BYTES 4096
/* Numbers in kernel lists; far above any CPU or node, and sums of them do not wrap. */
#define LIST_MAX   (1u << 20)

static int open_read(const char *root, const char *path)
{
	char full[PATH_BYTES];
	int length = snprintf(full, sizeof(full), "%s%s", root, path);
	int fd;

	if (length < 0 || (size_t)length >= sizeof(full))
		return -ENAMETOOLONG;
	if (wf_fault(WF_FAULT_FILE))
		return -EMFILE;
	fd = open(full, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd : -errno;
}

static ssize_t read_some(int fd, char *to, size_t size)
{
	ssize_t got;

	do {
		got = read(fd, to, size);
	} while (got < 0 && errno == EINTR);
	return got;
}

int wf_text_read(const char *root, const char *path, char *text, size_t size)
{
	size_t length = 0;
	ssize_t got = 0;
	int error = 0;
	int fd;

	WF_CHECK(size > 1);
	fd = open_read(root, path);
	if (fd < 0)
		return fd;
	while (length < size - 1) {
		got = read_some(fd, text + length, size - 1 - length);
		if (got <= 0)
			break;
		length += (size_t)got;
	}
	/* Full, and the file goes on: half a list would be a wrong list. */
	if (length == size - 1) {
		char more;

		got = read_some(fd, &more, 1);
		if (got > 0)
			error = -EFBIG;
	}
	if (got < 0)
		error = -errno;
	close(fd);
	if (error != 0)
		return error;
	text[length] = '\0';
	return (int)length;
}

int wf_lines_open(struct wf_lines *lines, const char *root, const char *path)
{
	lines->begin = lines->end = 0;
	lines->fd = open_read(root, path);
	return lines->fd < 0 ? lines->fd : 0;
}

void wf_lines_close(struct wf_lines *lines)
{
	if (lines->fd >= 0)
		close(lines->fd);
	lines->fd = -1;
}

/* Move what is left to the front and read more. False: nothing more came, or no room. */
static bool lines_fill(struct wf_lines *lines)
{
	ssize_t got;

	memmove(lines->buffer, lines->buffer + lines->begin, lines->end - lines->begin);
	lines->end -= lines->begin;
	lines->begin = 0;
	if (lines->end == sizeof(lines->buffer) - 1)
		return false;
	got = read_some(lines->fd, lines->buffer + lines->end,
	                sizeof(lines->buffer) - 1 - lines->end);
	if (got <= 0)
		return false;
	lines->end += (size_t)got;
	return true;
}

char *wf_lines_next(struct wf_lines *lines)
{
	bool cut = false;

	WF_CHECK(lines->fd >= 0);
	for (;;) {
		char *line = lines->buffer + lines->begin;
		char *newline = memchr(line, '\n', lines->end - lines->begin);

		if (newline != NULL) {
			*newline = '\0';
			lines->begin = (size_t)(newline - lines->buffer) + 1;
			if (!cut)
				return line;
			/* That was the tail of a line that did not fit: nobody wants it. */
			cut = false;
			continue;
		}
		if (lines_fill(lines))
			continue;
		if (lines->end < sizeof(lines->buffer) - 1) {
			/* The end of the file: a last line without a newline, or nothing. */
			lines->buffer[lines->end] = '\0';
			lines->begin = lines->end;
			return lines->end > 0 && !cut ? lines->buffer : NULL;
		}
		/* A line longer than the buffer is left out whole. */
		cut = true;
		lines->begin = lines->end;
	}
}

bool wf_list_next(const char **list, uint32_t *first, uint32_t *last)
{
	const char *at = *list;
	unsigned long low, high;
	char *end;

	while (*at == ',' || *at == ' ' || *at == '\n')
		at++;
	if (*at < '0' || *at > '9')
		return false;
	low = high = strtoul(at, &end, 10);
	if (*end == '-') {
		at = end + 1;
		if (*at < '0' || *at > '9')
			return false;
		high = strtoul(at, &end, 10);
	}
	if (low > high || high > LIST_MAX)
		return false;
	*list = end;
	*first = (uint32_t)low;
	*last = (uint32_t)high;
	return true;
}

/* Every CPU of ours that the list of this node names is on it. */
static void assign_node(struct wf_topology *topo, const char *root, uint32_t id)
{
	char path[64], text[LIST_BYTES];
	const char *list = text;
	uint32_t first, last;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/cpulist", id);
	if (wf_text_read(root, path, text, sizeof(text)) < 0)
		return;
	while (wf_list_next(&list, &first, &last)) {
		for (uint32_t i = 0; i < topo->allowed_count; i++) {
			uint32_t cpu = topo->cpus[i].os_index;

			if (cpu >= first && cpu <= last)
				topo->cpus[i].node = (uint16_t)id;
		}
	}
}

int wf_sysfs_pci_node(const char *root, const char *bus)
{
	char path[96], text[32];
	char *end;

	WF_CHECK(bus != NULL);
	int length = snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/numa_node", bus);

	if (length < 0 || (size_t)length >= sizeof(path) ||
	    wf_text_read(root, path, text, sizeof(text)) < 0)
		return -1;
	/* The kernel writes -1 where the firmware does not say. */
	long id = strtol(text, &end, 10);

	return end == text || id < 0 || id >= UINT16_MAX ? -1 : (int)id;
}

/* Where `id` stands in the list of nodes: a line of distances has them in that order. */
static bool position_in(const char *list, uint32_t id, uint32_t *position)
{
	uint32_t first, last, before = 0;

	while (wf_list_next(&list, &first, &last)) {
		if (id >= first && id <= last) {
			*position = before + id - first;
			return true;
		}
		before += last - first + 1;
	}
	return false;
}

static void read_distances(struct wf_topology *topo, const char *root, const char *online,
                           const uint16_t ids[WF_NODES_MAX], uint32_t node)
{
	char path[64], text[LIST_BYTES];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/distance", ids[node]);
	if (wf_text_read(root, path, text, sizeof(text)) < 0)
		return;
	for (uint32_t other = 0; other < topo->node_count; other++) {
		const char *list = text;
		uint32_t position, value, same;
		bool there = position_in(online, ids[other], &position);

		for (uint32_t i = 0; there && i <= position; i++)
			there = wf_list_next(&list, &value, &same);
		/* The firmware's tables are known to lie; self stays 10 and nothing is nearer. */
		if (there && other != node && value > WF_DISTANCE_SELF)
			topo->distance[node][other] = (uint8_t)(value < 255 ? value : 255);
	}
}

void wf_sysfs_nodes(struct wf_topology *topo, const char *root, int first_cpu)
{
	uint16_t ids[WF_NODES_MAX];
	char online[LIST_BYTES];
	const char *list = online;
	uint32_t first, last;

	for (uint32_t i = 0; i < topo->allowed_count; i++)
		topo->cpus[i].node = 0;
	if (wf_text_read(root, "/sys/devices/system/node/online", online, sizeof(online)) < 0)
		online[0] = '\0';
	while (wf_list_next(&list, &first, &last)) {
		for (uint32_t id = first; id <= last && id < UINT16_MAX; id++)
			assign_node(topo, root, id);
	}
	wf_topology_group(topo, first_cpu, ids);
	for (uint32_t node = 0; topo->node_count > 1 && node < topo->node_count; node++)
		read_distances(topo, root, online, ids, node);
}
