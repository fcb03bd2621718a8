/*
 * topology_internal.h: the parts topology.c is put together from, as its tests see them.
 *
 * `root` is put in front of every path that is read ("" on a real machine), so that a test can
 * give a machine as a directory.
 */
#ifndef WF_BASE_TOPOLOGY_INTERNAL_H
#define WF_BASE_TOPOLOGY_INTERNAL_H

#include "base.h"

#define WF_DISTANCE_SELF 10
#define WF_DISTANCE_FAR  20
#define WF_NODE_NONE     UINT16_MAX

/* ---- Reading text (sysfs.c) -------------------------------------------------------------- */

/* A whole small file as a string. Its length, or a negated errno; -EFBIG when it does not fit. */
int wf_text_read(const char *root, const char *path, char *text, size_t size);

#define WF_LINE_BYTES 4096
/* Lines of a file of any length; one that does not fit is cut. */
struct wf_lines {
	int fd;
	size_t begin, end;
	char buffer[WF_LINE_BYTES];
};
int wf_lines_open(struct wf_lines *lines, const char *root, const char *path);
/* The next line without its newline, valid until the next call; NULL at the end. */
char *wf_lines_next(struct wf_lines *lines);
void wf_lines_close(struct wf_lines *lines);

/* One range of a kernel list such as "0-3,8,10-11\n"; false at the end or where it is malformed. */
bool wf_list_next(const char **list, uint32_t *first, uint32_t *last);

/* ---- Sources ----------------------------------------------------------------------------- */

/*
 * The sources fill topo->cpus (allowed_count of them, `node` as the source numbers its nodes) and
 * then call this: it sorts the CPUs by node, renumbers the nodes that have CPUs from 0 and makes
 * the distances 10 and 20. ids[] are the source's own numbers of the nodes. The node of
 * `first_cpu`, if that is one of them, comes first. (topology.c)
 */
void wf_topology_group(struct wf_topology *topo, int first_cpu, uint16_t ids[WF_NODES_MAX]);
/* Use no more than `quota` CPUs of those allowed; 0: all. (topology.c) */
void wf_topology_cut(struct wf_topology *topo, uint32_t quota);
/*
 * Nodes and distances of CPUs whose os_index is set; node 0 where there is nothing to read.
 * (sysfs.c)
 */
void wf_sysfs_nodes(struct wf_topology *topo, const char *root, int first_cpu);
/* The node of a device on the PCI bus, by the source's own number; -1: not known. (sysfs.c) */
int wf_sysfs_pci_node(const char *root, const char *bus);
/* The same from hwloc's XML: -1 also without hwloc, or when it is near all. (topology_hwloc.c) */
int wf_hwloc_pci_node(const char *file, const char *bus);
/* wf_topology_pci_node() under another root. (topology.c) */
uint32_t wf_topology_pci_find(const struct wf_topology *topo, const char *root, const char *bus);
/* The CPU quota in whole CPUs, rounded up; 0: none, or nothing to read. (cgroup.c) */
uint32_t wf_cgroup_quota(const char *root);
/* Bytes that the groups' limits leave; UINT64_MAX: no limits. (cgroup.c) */
uint64_t wf_cgroup_memory(const char *root);
uint64_t wf_memory_left_at(const char *root, const char **why);
/* A machine from a simple description such as "node:8 core:4 pu:2". (synthetic.c) */
bool wf_topology_synthetic(struct wf_topology *topo, const char *text);
/* A machine from hwloc: `file` its XML, or else `text` its description. False without hwloc. */
bool wf_topology_hwloc(struct wf_topology *topo, const char *file, const char *text);
/* All of it, uncached: environment, affinity of the calling thread, quota. (topology.c) */
void wf_topology_read(struct wf_topology *topo, const char *root);

#endif /* WF_BASE_TOPOLOGY_INTERNAL_H */
