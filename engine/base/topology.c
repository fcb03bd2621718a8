/*
 * topology.c: the CPUs of this process, read once.
 *
 * The affinity of the calling thread says which CPUs there are (offline ones and those outside the
 * cpuset are not in it), /sys says on which node each is, the control groups say how many may be
 * busy at once. A quota does not name CPUs: `cpu_count` is cut to it, but all allowed CPUs stay in
 * the list, so that threads bound to a node can use the whole node. Under a quota the node that the
 * process runs on comes first: counting from node 0 would put every small container of a big
 * machine on the same node.
 *
 * Shared: `cache`, written under `lock` by the first reader, published by [T1], read by all.
 */
#include "topology_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What sched_getaffinity() is asked for; kernels are built for up to 8192 CPUs. */
#define MASK_CPUS  8192
#define MASK_BITS  (8 * sizeof(unsigned long))
#define MASK_WORDS (MASK_CPUS / MASK_BITS)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct wf_topology cache;
static struct wf_a32 cache_valid;

static uint16_t node_of_cpu(const struct wf_topology *topo, int os_index)
{
	for (uint32_t i = 0; i < topo->allowed_count; i++) {
		if ((int)topo->cpus[i].os_index == os_index)
			return topo->cpus[i].node;
	}
	return WF_NODE_NONE;
}

/* The nodes in the order they get: `first`, if there is one, then upwards. How many. */
static uint32_t number_nodes(struct wf_topology *topo, uint16_t first, uint16_t ids[WF_NODES_MAX])
{
	uint32_t count = 0;
	int low = -1;

	if (first != WF_NODE_NONE)
		ids[count++] = first;
	while (count < WF_NODES_MAX) {
		int next = INT32_MAX;

		for (uint32_t i = 0; i < topo->allowed_count; i++) {
			int node = topo->cpus[i].node;

			if (node > low && node < next && node != first)
				next = node;
		}
		if (next == INT32_MAX)
			return count;
		ids[count++] = (uint16_t)next;
		low = next;
	}
	return count;
}

void wf_topology_group(struct wf_topology *topo, int first_cpu, uint16_t ids[WF_NODES_MAX])
{
	struct wf_cpu sorted[WF_CPUS_MAX];
	uint32_t count = 0;

	WF_CHECK(topo->allowed_count > 0 && topo->allowed_count <= WF_CPUS_MAX);
	topo->node_count = number_nodes(topo, node_of_cpu(topo, first_cpu), ids);
	memcpy(topo->node_id, ids, topo->node_count * sizeof(ids[0]));
	for (uint32_t node = 0; node < topo->node_count; node++) {
		for (uint32_t i = 0; i < topo->allowed_count; i++) {
			if (topo->cpus[i].node != ids[node])
				continue;
			WF_DEBUG(count < topo->allowed_count);
			sorted[count].os_index = topo->cpus[i].os_index;
			sorted[count++].node = (uint16_t)node;
		}
	}
	if (count < topo->allowed_count) {
		topo->note = "more NUMA nodes than supported: the CPUs of the rest are not used";
		topo->allowed_count = count;
	}
	WF_CHECK(count > 0 && count <= topo->allowed_count);
	memcpy(topo->cpus, sorted, count * sizeof(sorted[0]));
	for (uint32_t i = 0; i < topo->node_count; i++) {
		for (uint32_t j = 0; j < topo->node_count; j++)
			topo->distance[i][j] = i == j ? WF_DISTANCE_SELF : WF_DISTANCE_FAR;
	}
}

void wf_topology_cut(struct wf_topology *topo, uint32_t quota)
{
	WF_CHECK(topo->allowed_count > 0);
	topo->quota_cpus = quota;
	topo->cpu_count = topo->allowed_count;
	if (quota != 0 && quota < topo->cpu_count)
		topo->cpu_count = quota;
	/* Nodes are numbered in the order of the list. */
	topo->node_count = topo->cpus[topo->cpu_count - 1].node + 1u;
}

/* False: not another machine, or one that cannot be read. */
static bool read_given_machine(struct wf_topology *topo)
{
	const char *file = getenv("HWLOC_XMLFILE");
	const char *text = getenv("HWLOC_SYNTHETIC");
	bool given;

	if (file != NULL && *file == '\0')
		file = NULL;
	if (text != NULL && *text == '\0')
		text = NULL;
	if (file == NULL && text == NULL)
		return false;
	/*
	 * A file wins over a description, as in hwloc. Simple descriptions need no hwloc, which
	 * takes milliseconds to load its parts.
	 */
	given = file == NULL && wf_topology_synthetic(topo, text);
	given = given || wf_topology_hwloc(topo, file, text);
	if (!given) {
		topo->note = file != NULL
			? "HWLOC_XMLFILE cannot be read here: using the real machine"
			: "HWLOC_SYNTHETIC is not understood: using the real machine";
		return false;
	}
	topo->source = file != NULL ? "hwloc" : "synthetic";
	topo->bindable = false;
	wf_topology_cut(topo, 0);
	return true;
}

static void read_affinity(struct wf_topology *topo)
{
	unsigned long mask[MASK_WORDS] = { 0 };

	topo->allowed_count = 0;
	if (wf_fault(WF_FAULT_FILE) ||
	    sched_getaffinity(0, sizeof(mask), (cpu_set_t *)(void *)mask) != 0) {
		topo->note = "the CPU affinity cannot be read: using CPU 0";
		memset(mask, 0, sizeof(mask));
		mask[0] = 1;
		topo->bindable = false;
	}
	for (uint32_t cpu = 0; cpu < MASK_CPUS; cpu++) {
		if ((mask[cpu / MASK_BITS] >> (cpu % MASK_BITS) & 1) == 0)
			continue;
		if (topo->allowed_count == WF_CPUS_MAX) {
			topo->note = "more CPUs than supported: the rest is not used";
			break;
		}
		topo->cpus[topo->allowed_count].os_index = (uint16_t)cpu;
		topo->cpus[topo->allowed_count++].node = 0;
	}
	WF_CHECK(topo->allowed_count > 0);
}

void wf_topology_read(struct wf_topology *topo, const char *root)
{
	uint32_t quota;

	WF_CHECK(root != NULL);
	memset(topo, 0, sizeof(*topo));
	if (read_given_machine(topo))
		return;
	topo->source = "sysfs";
	topo->bindable = true;
	read_affinity(topo);
	quota = wf_cgroup_quota(root);
	wf_sysfs_nodes(topo, root, quota != 0 && quota < topo->allowed_count ? sched_getcpu() : -1);
	wf_topology_cut(topo, quota);
	WF_CHECK(topo->cpu_count > 0 && topo->cpu_count <= topo->allowed_count);
	WF_CHECK(topo->node_count > 0 && topo->node_count <= WF_NODES_MAX);
}

uint32_t wf_topology_pci_find(const struct wf_topology *topo, const char *root, const char *bus)
{
	const char *file = getenv("HWLOC_XMLFILE");
	int id = -1;

	WF_CHECK(root != NULL && topo->node_count <= WF_NODES_MAX);
	/* It becomes part of a path. */
	if (*bus == '\0' || bus[strspn(bus, "0123456789abcdef:.")] != '\0')
		return WF_NODE_UNKNOWN;
	/* A machine that was given is another one: only its own description knows. */
	if (strcmp(topo->source, "hwloc") == 0)
		id = file != NULL ? wf_hwloc_pci_node(file, bus) : -1;
	else if (strcmp(topo->source, "sysfs") == 0)
		id = wf_sysfs_pci_node(root, bus);
	for (uint32_t i = 0; id >= 0 && i < topo->node_count; i++) {
		if (topo->node_id[i] == id)
			return i;
	}
	return WF_NODE_UNKNOWN;
}

uint32_t wf_topology_pci_node(const struct wf_topology *topo, const char *bus)
{
	WF_CHECK(topo != NULL && bus != NULL);
	return wf_topology_pci_find(topo, "", bus);
}

const struct wf_topology *wf_topology(void)
{
	/* acquire [T2]: the content written before the release [T1]. */
	if (WF_LIKELY(wf_load_acquire(&cache_valid) != 0))
		return &cache;
	pthread_mutex_lock(&lock);
	/* relaxed: written under the lock that is held. */
	if (wf_load_relaxed(&cache_valid) == 0) {
		wf_topology_read(&cache, "");
		/* release [T1]: the content, to the acquire [T2]. */
		wf_store_release(&cache_valid, 1);
	}
	pthread_mutex_unlock(&lock);
	return &cache;
}

void wf_topology_reload(void)
{
	pthread_mutex_lock(&lock);
	wf_topology_read(&cache, "");
	/* release [T1]: as in wf_topology(). */
	wf_store_release(&cache_valid, 1);
	pthread_mutex_unlock(&lock);
}

static void mask_set(unsigned long mask[MASK_WORDS], uint16_t os_index)
{
	WF_CHECK(os_index < MASK_CPUS);
	mask[os_index / MASK_BITS] |= 1ul << (os_index % MASK_BITS);
}

static int bind_mask(const unsigned long mask[MASK_WORDS])
{
	if (sched_setaffinity(0, MASK_WORDS * sizeof(mask[0]),
	                      (const cpu_set_t *)(const void *)mask) != 0)
		return -errno;
	return 0;
}

int wf_bind_cpu(const struct wf_topology *topo, uint32_t cpu)
{
	unsigned long mask[MASK_WORDS] = { 0 };

	if (cpu >= topo->allowed_count)
		return -EINVAL;
	if (!topo->bindable)
		return -ENOTSUP;
	mask_set(mask, topo->cpus[cpu].os_index);
	return bind_mask(mask);
}

int wf_bind_node(const struct wf_topology *topo, uint32_t node)
{
	unsigned long mask[MASK_WORDS] = { 0 };

	if (node >= topo->node_count)
		return -EINVAL;
	if (!topo->bindable)
		return -ENOTSUP;
	for (uint32_t i = 0; i < topo->allowed_count; i++) {
		if (topo->cpus[i].node == node)
			mask_set(mask, topo->cpus[i].os_index);
	}
	return bind_mask(mask);
}
