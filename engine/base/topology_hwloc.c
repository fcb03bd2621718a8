/*
 * topology_hwloc.c: another machine from hwloc, by its synthetic language or an XML file.
 *
 * Only for these: the real machine is read from /sys, which takes less than a tenth of the time of
 * hwloc's discovery, and simple descriptions by synthetic.c. No kind of object is filtered out:
 * hwloc ties PUs to nodes through the groups and packages around them, and without these every PU
 * is near every node.
 */
#include "topology_internal.h"

#include <string.h>

#ifndef WF_HAVE_HWLOC
#define WF_HAVE_HWLOC 0
#endif

#if WF_HAVE_HWLOC
#include <hwloc.h>
#include <hwloc/distances.h>

/* The row of the node in the matrix; its count of objects when it is not in it. */
static unsigned int row_of(const struct hwloc_distances_s *matrix, uint16_t logical_index)
{
	unsigned int row = 0;

	while (row < matrix->nbobjs && matrix->objs[row]->logical_index != logical_index)
		row++;
	return row;
}

static void read_distances(struct wf_topology *topo, hwloc_topology_t machine,
                           const uint16_t ids[WF_NODES_MAX])
{
	struct hwloc_distances_s *matrix;
	unsigned int count = 1;

	if (hwloc_distances_get_by_type(machine, HWLOC_OBJ_NUMANODE, &count, &matrix,
	                                HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
	    count == 0)
		return;
	for (uint32_t i = 0; i < topo->node_count; i++) {
		unsigned int from = row_of(matrix, ids[i]);

		for (uint32_t j = 0; j < topo->node_count; j++) {
			unsigned int to = row_of(matrix, ids[j]);
			uint64_t value;

			if (i == j || from == matrix->nbobjs || to == matrix->nbobjs)
				continue;
			value = matrix->values[from * matrix->nbobjs + to];
			if (value > WF_DISTANCE_SELF)
				topo->distance[i][j] = (uint8_t)(value < 255 ? value : 255);
		}
	}
	hwloc_distances_release(machine, matrix);
}

/* The node's logical index, its place among all nodes. */
static uint16_t node_of(hwloc_topology_t machine, hwloc_obj_t pu)
{
	hwloc_obj_t node = NULL;

	while ((node = hwloc_get_next_obj_by_type(machine, HWLOC_OBJ_NUMANODE, node)) != NULL) {
		if (hwloc_bitmap_isset(pu->nodeset, node->os_index))
			return (uint16_t)node->logical_index;
	}
	return 0;
}

static bool convert(struct wf_topology *topo, hwloc_topology_t machine)
{
	uint16_t ids[WF_NODES_MAX];
	hwloc_obj_t pu = NULL;

	topo->allowed_count = 0;
	while (topo->allowed_count < WF_CPUS_MAX &&
	       (pu = hwloc_get_next_obj_by_type(machine, HWLOC_OBJ_PU, pu)) != NULL) {
		struct wf_cpu *cpu = &topo->cpus[topo->allowed_count++];

		cpu->os_index = (uint16_t)pu->os_index;
		cpu->node = node_of(machine, pu);
	}
	if (topo->allowed_count == 0)
		return false;
	wf_topology_group(topo, -1, ids);
	read_distances(topo, machine, ids);
	return true;
}

bool wf_topology_hwloc(struct wf_topology *topo, const char *file, const char *text)
{
	hwloc_topology_t machine;
	bool given = false;

	WF_CHECK(file != NULL || text != NULL);
	if (wf_fault(WF_FAULT_FILE) || hwloc_topology_init(&machine) != 0)
		return false;
	/*
	 * Set by hand, although hwloc reads the same variables: left to itself it falls back to
	 * the real machine without a word when they are malformed.
	 */
	given = file != NULL ? hwloc_topology_set_xml(machine, file) == 0
			     : hwloc_topology_set_synthetic(machine, text) == 0;
	given = given && hwloc_topology_load(machine) == 0 && convert(topo, machine);
	hwloc_topology_destroy(machine);
	return given;
}

int wf_hwloc_pci_node(const char *file, const char *bus)
{
	hwloc_topology_t machine;
	hwloc_obj_t device = NULL, node = NULL, found = NULL;
	unsigned int count = 0;

	WF_CHECK(file != NULL && bus != NULL);
	if (wf_fault(WF_FAULT_FILE) || hwloc_topology_init(&machine) != 0)
		return -1;
	/* Devices are left out unless they are asked for. */
	if (hwloc_topology_set_xml(machine, file) == 0 &&
	    hwloc_topology_set_io_types_filter(machine, HWLOC_TYPE_FILTER_KEEP_ALL) == 0 &&
	    hwloc_topology_load(machine) == 0)
		device = hwloc_get_pcidev_by_busidstring(machine, bus);
	if (device != NULL)
		device = hwloc_get_non_io_ancestor_obj(machine, device);
	while (device != NULL &&
	       (node = hwloc_get_next_obj_by_type(machine, HWLOC_OBJ_NUMANODE, node)) != NULL) {
		if (!hwloc_bitmap_isset(device->nodeset, node->os_index))
			continue;
		found = node;
		count++;
	}
	int id = count == 1 ? (int)found->logical_index : -1;

	hwloc_topology_destroy(machine);
	return id;
}

#else

int wf_hwloc_pci_node(const char *file, const char *bus)
{
	WF_CHECK(file != NULL && bus != NULL);
	return -1;
}

bool wf_topology_hwloc(struct wf_topology *topo, const char *file, const char *text)
{
	(void)topo;
	WF_CHECK(file != NULL || text != NULL);
	return false;
}

#endif
