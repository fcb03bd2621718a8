/*
 * Goal: the CPUs, nodes and distances of real, restricted and foreign machines are read right, and
 * whatever is missing or nonsense leaves a usable answer.
 * Method: fake /sys trees under a root of their own, the affinity of this thread, and the variables
 * that describe another machine; hwloc and the built-in reader are held against each other.
 */
#include <errno.h>
#include <sched.h>

#include "fake_root.h"
#include "test.h"
#include "topology_internal.h"

static struct wf_topology topo;
static cpu_set_t affinity;

static void open_plain(void)
{
	fake_open();
	unsetenv("HWLOC_SYNTHETIC");
	unsetenv("HWLOC_XMLFILE");
	memset(&topo, 0, sizeof(topo));
	cr_assert_eq(sched_getaffinity(0, sizeof(affinity), &affinity), 0);
}

static void close_plain(void)
{
	fake_close();
	unsetenv("HWLOC_SYNTHETIC");
	unsetenv("HWLOC_XMLFILE");
	wf_fault_arm(-1, 0);
	cr_assert_eq(sched_setaffinity(0, sizeof(affinity), &affinity), 0);
}

/* CPUs first, first + 1, ... of a fake machine. */
static void give_cpus(uint32_t first, uint32_t count)
{
	topo.allowed_count = count;
	for (uint32_t i = 0; i < count; i++)
		topo.cpus[i] = (struct wf_cpu){ .os_index = (uint16_t)(first + i), .node = 9 };
}

static void check_consistent(const struct wf_topology *t)
{
	cr_assert(t->cpu_count >= 1 && t->cpu_count <= t->allowed_count);
	cr_assert(t->allowed_count <= WF_CPUS_MAX);
	cr_assert(t->node_count >= 1 && t->node_count <= WF_NODES_MAX);
	for (uint32_t i = 1; i < t->allowed_count; i++)
		cr_assert_geq(t->cpus[i].node, t->cpus[i - 1].node, "sorted by node");
	for (uint32_t i = 0; i < t->cpu_count; i++)
		cr_assert_lt(t->cpus[i].node, t->node_count);
	for (uint32_t i = 0; i < t->allowed_count; i++) {
		for (uint32_t j = 0; j < i; j++)
			cr_assert_neq(t->cpus[i].os_index, t->cpus[j].os_index, "listed once");
	}
	for (uint32_t i = 0; i < t->node_count; i++) {
		for (uint32_t j = 0; j < t->node_count; j++)
			cr_assert(i == j ? t->distance[i][j] == 10 : t->distance[i][j] > 10);
	}
}

Test(topology, kernel_lists_are_read_range_by_range)
{
	const char *list = "0-3,8,10-11\n";
	uint32_t first, last;

	cr_assert(wf_list_next(&list, &first, &last) && first == 0 && last == 3);
	cr_assert(wf_list_next(&list, &first, &last) && first == 8 && last == 8);
	cr_assert(wf_list_next(&list, &first, &last) && first == 10 && last == 11);
	cr_assert_not(wf_list_next(&list, &first, &last));
}

Test(topology, malformed_lists_end)
{
	static const char *const texts[] = {
		"", "\n", "x", "-3", "5-", "5-x", "7-3", "99999999999"
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const char *list = texts[i];
		uint32_t first, last;

		cr_assert_not(wf_list_next(&list, &first, &last), "%s", texts[i]);
	}
}

Test(topology, a_text_that_does_not_fit_is_refused, .init = open_plain, .fini = close_plain)
{
	char text[8];

	fake_file("/seven", "1234567");
	fake_file("/eight", "12345678");
	cr_assert_eq(wf_text_read(fake_root, "/seven", text, sizeof(text)), 7);
	cr_assert_str_eq(text, "1234567");
	cr_assert_eq(wf_text_read(fake_root, "/eight", text, sizeof(text)), -EFBIG);
	cr_assert_eq(wf_text_read(fake_root, "/none", text, sizeof(text)), -ENOENT);
	cr_assert_eq(wf_text_read(fake_root, "/", text, sizeof(text)), -EISDIR);
}

Test(topology, lines_are_read_across_the_buffer, .init = open_plain, .fini = close_plain)
{
	static char text[3 * WF_LINE_BYTES];
	struct wf_lines lines;
	size_t length = 0;
	char *line;

	for (int i = 0; i < 1000; i++)
		length += (size_t)sprintf(text + length, "line %d\n", i);
	sprintf(text + length, "the last has no newline");
	fake_file("/lines", text);
	cr_assert_eq(wf_lines_open(&lines, fake_root, "/lines"), 0);
	for (int i = 0; i < 1000; i++) {
		char expected[32];

		sprintf(expected, "line %d", i);
		line = wf_lines_next(&lines);
		cr_assert(line != NULL && strcmp(line, expected) == 0);
	}
	line = wf_lines_next(&lines);
	cr_assert(line != NULL && strcmp(line, "the last has no newline") == 0);
	cr_assert_null(wf_lines_next(&lines));
	wf_lines_close(&lines);
	/* A line that does not fit is left out, also when it is the last. */
	memset(text, 'x', 2 * WF_LINE_BYTES + 9);
	strcpy(text + 2 * WF_LINE_BYTES, "\nshort\n");
	memset(text + 2 * WF_LINE_BYTES + 7, 'y', WF_LINE_BYTES - 8);
	text[sizeof(text) - 1] = '\0';
	fake_file("/lines", text);
	cr_assert_eq(wf_lines_open(&lines, fake_root, "/lines"), 0);
	cr_assert_str_eq(wf_lines_next(&lines), "short");
	line = wf_lines_next(&lines);
	cr_assert(line != NULL && strlen(line) == WF_LINE_BYTES - 8, "this one just fits");
	cr_assert_null(wf_lines_next(&lines));
	wf_lines_close(&lines);
	memset(text, 'z', sizeof(text) - 1);
	fake_file("/lines", text);
	cr_assert_eq(wf_lines_open(&lines, fake_root, "/lines"), 0);
	cr_assert_null(wf_lines_next(&lines));
	wf_lines_close(&lines);
	cr_assert_eq(wf_lines_open(&lines, fake_root, "/none"), -ENOENT);
	wf_lines_close(&lines);
}

/* Node 1 is offline, node 2 has memory only, CPUs alternate between 0 and 5. */
static void fake_nodes(void)
{
	fake_file("/sys/devices/system/node/online", "0,2,5-6\n");
	fake_file("/sys/devices/system/node/node0/cpulist", "0,2,4,6\n");
	fake_file("/sys/devices/system/node/node2/cpulist", "\n");
	fake_file("/sys/devices/system/node/node5/cpulist", "1,3,5,7\n");
	fake_file("/sys/devices/system/node/node6/cpulist", "8-9\n");
	fake_file("/sys/devices/system/node/node0/distance", "10 17 21 31\n");
	fake_file("/sys/devices/system/node/node5/distance", "22 19 10 32\n");
	fake_file("/sys/devices/system/node/node6/distance", "33 300 34 10\n");
}

Test(topology, nodes_and_distances_come_from_sysfs, .init = open_plain, .fini = close_plain)
{
	static const uint16_t order[] = { 0, 2, 4, 6, 1, 3, 5, 7, 8, 9 };

	fake_nodes();
	give_cpus(0, 10);
	wf_sysfs_nodes(&topo, fake_root, -1);
	wf_topology_cut(&topo, 0);
	check_consistent(&topo);
	cr_assert_eq(topo.node_count, 3);
	cr_assert_eq(topo.cpu_count, 10);
	for (int i = 0; i < 10; i++) {
		cr_assert_eq(topo.cpus[i].os_index, order[i]);
		cr_assert_eq(topo.cpus[i].node, i < 4 ? 0 : i < 8 ? 1 : 2);
	}
	cr_assert(topo.distance[0][1] == 21 && topo.distance[0][2] == 31);
	cr_assert(topo.distance[1][0] == 22 && topo.distance[1][2] == 32);
	cr_assert(topo.distance[2][0] == 33 && topo.distance[2][1] == 34);
}

Test(topology, nodes_without_our_cpus_do_not_count, .init = open_plain, .fini = close_plain)
{
	fake_nodes();
	give_cpus(8, 2);
	wf_sysfs_nodes(&topo, fake_root, -1);
	wf_topology_cut(&topo, 0);
	check_consistent(&topo);
	cr_assert_eq(topo.node_count, 1);
	cr_assert_eq(topo.cpus[0].os_index, 8);
}

Test(topology, under_a_quota_the_current_node_comes_first, .init = open_plain, .fini = close_plain)
{
	fake_nodes();
	give_cpus(0, 10);
	wf_sysfs_nodes(&topo, fake_root, 3);
	wf_topology_cut(&topo, 3);
	check_consistent(&topo);
	cr_assert_eq(topo.quota_cpus, 3);
	cr_assert_eq(topo.cpu_count, 3);
	cr_assert_eq(topo.allowed_count, 10);
	cr_assert_eq(topo.node_count, 1);
	cr_assert_eq(topo.cpus[0].os_index, 1);
	cr_assert_eq(topo.cpus[4].os_index, 0);
	/* Row and column of node 5, which is now number 0. */
	cr_assert(topo.distance[0][1] == 22 && topo.distance[1][0] == 21);
	wf_topology_cut(&topo, 5);
	cr_assert(topo.cpu_count == 5 && topo.node_count == 2);
	wf_topology_cut(&topo, 99);
	cr_assert(topo.cpu_count == 10 && topo.node_count == 3);
}

Test(topology, lying_tables_are_cut_to_sense, .init = open_plain, .fini = close_plain)
{
	fake_file("/sys/devices/system/node/online", "0-3\n");
	fake_file("/sys/devices/system/node/node0/cpulist", "0\n");
	fake_file("/sys/devices/system/node/node1/cpulist", "1\n");
	fake_file("/sys/devices/system/node/node2/cpulist", "2\n");
	fake_file("/sys/devices/system/node/node3/cpulist", "3\n");
	fake_file("/sys/devices/system/node/node0/distance", "99 10 0 4000\n");
	fake_file("/sys/devices/system/node/node1/distance", "17\n");
	fake_file("/sys/devices/system/node/node2/distance", "dog\n");
	give_cpus(0, 4);
	wf_sysfs_nodes(&topo, fake_root, -1);
	wf_topology_cut(&topo, 0);
	check_consistent(&topo);
	cr_assert(topo.distance[0][0] == 10 && topo.distance[0][1] == 20);
	cr_assert(topo.distance[0][2] == 20 && topo.distance[0][3] == 255);
	cr_assert(topo.distance[1][0] == 17 && topo.distance[1][2] == 20);
	cr_assert(topo.distance[2][0] == 20 && topo.distance[3][0] == 20);
}

Test(topology, without_sys_there_is_one_node, .init = open_plain, .fini = close_plain)
{
	wf_topology_read(&topo, fake_root);
	check_consistent(&topo);
	cr_assert_str_eq(topo.source, "sysfs");
	cr_assert(topo.bindable);
	cr_assert_eq(topo.node_count, 1);
	cr_assert_eq(topo.cpu_count, (uint32_t)CPU_COUNT(&affinity));
	cr_assert_eq(topo.quota_cpus, 0);
}

Test(topology, a_quota_of_half_a_cpu_is_one, .init = open_plain, .fini = close_plain)
{
	fake_file("/proc/self/cgroup", "0::/job\n");
	fake_file("/proc/self/mountinfo", "31 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
	fake_file("/sys/fs/cgroup/job/cpu.max", "50000 100000\n");
	wf_topology_read(&topo, fake_root);
	check_consistent(&topo);
	cr_assert_eq(topo.quota_cpus, 1);
	cr_assert_eq(topo.cpu_count, 1);
	cr_assert_eq(topo.allowed_count, (uint32_t)CPU_COUNT(&affinity));
}

Test(topology, an_affinity_of_one_cpu_is_one_cpu, .init = open_plain, .fini = close_plain)
{
	const struct wf_topology *t;
	cpu_set_t one;
	int cpu = 0;

	/* The last one allowed: the first is what a reader that ignores the mask would say. */
	for (int i = 0; i < CPU_SETSIZE; i++)
		cpu = CPU_ISSET(i, &affinity) ? i : cpu;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	wf_topology_reload();
	t = wf_topology();
	check_consistent(t);
	cr_assert_eq(t->allowed_count, 1);
	cr_assert_eq(t->cpu_count, 1);
	cr_assert_eq(t->cpus[0].os_index, cpu);
	sched_setaffinity(0, sizeof(affinity), &affinity);
	wf_topology_reload();
	cr_assert_eq(wf_topology()->allowed_count, (uint32_t)CPU_COUNT(&affinity));
}

Test(topology, the_real_machine_is_read_and_cached, .init = open_plain, .fini = close_plain)
{
	const struct wf_topology *t = wf_topology();

	check_consistent(t);
	cr_assert_eq(wf_topology(), t);
	cr_assert_str_eq(t->source, "sysfs");
	cr_assert_eq(t->allowed_count, (uint32_t)CPU_COUNT(&affinity));
	for (uint32_t i = 0; i < t->allowed_count; i++)
		cr_assert(CPU_ISSET(t->cpus[i].os_index, &affinity));
}

Test(topology, a_synthetic_machine_grants_its_own_cpus, .init = open_plain, .fini = close_plain)
{
	const struct wf_topology *t;

	setenv("HWLOC_SYNTHETIC", "node:8 core:4 pu:2", 1);
	wf_topology_reload();
	t = wf_topology();
	check_consistent(t);
	cr_assert_str_eq(t->source, "synthetic");
	cr_assert_null(t->note);
	cr_assert_not(t->bindable);
	cr_assert_eq(t->cpu_count, 64);
	cr_assert_eq(t->node_count, 8);
	cr_assert_eq(t->quota_cpus, 0);
	for (uint32_t i = 0; i < 64; i++)
		cr_assert_eq(t->cpus[i].node, i / 8);
	cr_assert_eq(wf_bind_cpu(t, 0), -ENOTSUP);
	cr_assert_eq(wf_bind_node(t, 0), -ENOTSUP);
	cr_assert_eq(wf_bind_cpu(t, 64), -EINVAL);
	cr_assert_eq(wf_bind_node(t, 8), -EINVAL);
	unsetenv("HWLOC_SYNTHETIC");
	wf_topology_reload();
	cr_assert(wf_topology()->bindable);
}

Test(topology, a_description_that_is_nonsense_falls_back, .init = open_plain, .fini = close_plain)
{
	setenv("HWLOC_SYNTHETIC", "zebra:3 pu:2", 1);
	wf_topology_read(&topo, fake_root);
	check_consistent(&topo);
	cr_assert_str_eq(topo.source, "sysfs");
	cr_assert_not_null(topo.note);
	cr_assert_eq(topo.cpu_count, (uint32_t)CPU_COUNT(&affinity));
	/* An empty variable is none. */
	setenv("HWLOC_SYNTHETIC", "", 1);
	setenv("HWLOC_XMLFILE", "", 1);
	wf_topology_read(&topo, fake_root);
	cr_assert_str_eq(topo.source, "sysfs");
	cr_assert_null(topo.note);
}

Test(topology, a_file_that_cannot_be_read_falls_back, .init = open_plain, .fini = close_plain)
{
	setenv("HWLOC_XMLFILE", "/nonexistent.xml", 1);
	wf_topology_read(&topo, fake_root);
	check_consistent(&topo);
	cr_assert_str_eq(topo.source, "sysfs");
	cr_assert_not_null(topo.note);
}

Test(topology, the_simple_reader_knows_its_language, .init = open_plain, .fini = close_plain)
{
	static const struct {
		const char *text;
		uint32_t cpus, nodes;
	} good[] = {
		{ "node:8 core:4 pu:2", 64, 8 },
		{ "numa:2 pu:3", 6, 2 },
		{ "pu:5", 5, 1 },
		{ "  pack:2 numanode:2 l2:2 core:2 pu:1 ", 16, 4 },
		{ "core:3 pu:2", 6, 1 },
		{ "node:1 pu:1", 1, 1 },
		{ "Package:2 NUMA:1 PU:2", 4, 2 },
		{ "node:64 core:8 pu:2", 1024, 64 },
	};
	static const char *const bad[] = {
		"",
		" ",
		"node:2",
		"node:0 pu:2",
		"pu:2 core:2",
		"node:2 node:2 pu:2",
		"pu:",
		"pu:-1",
		"pu:2x",
		":2",
		"pu",
		"zebra:2 pu:1",
		"pu:99999999999999999999",
		"node:60000 pu:60000",
		"node:2(memory=1) pu:2",
		"[numa] pu:2",
		"p:2",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		memset(&topo, 0, sizeof(topo));
		cr_assert(wf_topology_synthetic(&topo, good[i].text), "%s", good[i].text);
		wf_topology_cut(&topo, 0);
		check_consistent(&topo);
		cr_assert_eq(topo.cpu_count, good[i].cpus, "%s", good[i].text);
		cr_assert_eq(topo.node_count, good[i].nodes, "%s", good[i].text);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert_not(wf_topology_synthetic(&topo, bad[i]), "%s", bad[i]);
}

Test(topology, hwloc_and_the_simple_reader_agree, .init = open_plain, .fini = close_plain)
{
	static const char *const texts[] = {
		"node:8 core:4 pu:2",
		"numa:2 pu:3",
		"pu:5",
		"pack:2 numanode:2 l2:2 core:2 pu:1",
		"node:3 pack:2 core:2 pu:2",
		"node:1 pu:1",
	};

	if (!wf_topology_hwloc(&topo, NULL, "pu:1"))
		test_skip("built without hwloc");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		static struct wf_topology other;

		memset(&topo, 0, sizeof(topo));
		memset(&other, 0, sizeof(other));
		cr_assert(wf_topology_hwloc(&topo, NULL, texts[i]));
		cr_assert(wf_topology_synthetic(&other, texts[i]));
		cr_assert_eq(topo.allowed_count, other.allowed_count, "%s", texts[i]);
		cr_assert_eq(topo.node_count, other.node_count, "%s", texts[i]);
		cr_assert_arr_eq(topo.cpus, other.cpus, topo.allowed_count * sizeof(topo.cpus[0]));
		cr_assert_arr_eq(topo.distance, other.distance, sizeof(topo.distance));
	}
}

#define XML_PU(n, mask, node) \
	"<object type=\"PU\" os_index=\"" n "\" cpuset=\"" mask "\" complete_cpuset=\"" mask "\" " \
	"nodeset=\"" node "\" complete_nodeset=\"" node "\" gp_index=\"1" n "\"/>"
#define XML_GROUP(gp, mask, node, index, pus) \
	"<object type=\"Group\" cpuset=\"" mask "\" complete_cpuset=\"" mask "\" nodeset=\"" node \
	"\" complete_nodeset=\"" node "\" gp_index=\"2" gp "\" kind=\"1001\" subkind=\"0\">" \
	"<object type=\"NUMANode\" os_index=\"" index "\" cpuset=\"" mask \
	"\" complete_cpuset=\"" mask "\" nodeset=\"" node "\" complete_nodeset=\"" node \
	"\" gp_index=\"3" gp "\" local_memory=\"1024\"/>" pus "</object>"

/* Two nodes of two PUs, 31 apart. */
static const char machine_xml[] =
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
	"<topology version=\"2.0\"><object type=\"Machine\" os_index=\"0\" cpuset=\"0xf\" "
	"complete_cpuset=\"0xf\" allowed_cpuset=\"0xf\" nodeset=\"0x3\" complete_nodeset=\"0x3\" "
	"allowed_nodeset=\"0x3\" gp_index=\"1\">" XML_GROUP(
		"0", "0x3", "0x1", "0", XML_PU("0", "0x1", "0x1") XML_PU("1", "0x2", "0x1"))
		XML_GROUP("1", "0xc", "0x2", "1",
                          XML_PU("2", "0x4", "0x2")
                                  XML_PU("3", "0x8",
                                         "0x2")) "</object><distances2 type=\"NUMANode\" "
						 "nbobjs=\"2\" kind=\"6\" name=\"NUMALatency\" "
						 "indexing=\"os\"><indexes length=\"4\">0 1 "
						 "</indexes><u64values length=\"12\">10 31 31 10 "
						 "</u64values></distances2></topology>";

Test(topology, a_machine_from_a_file_has_its_distances, .init = open_plain, .fini = close_plain)
{
	char path[128];

	if (!wf_topology_hwloc(&topo, NULL, "pu:1"))
		test_skip("built without hwloc");
	fake_file("/machine.xml", machine_xml);
	snprintf(path, sizeof(path), "%s/machine.xml", fake_root);
	setenv("HWLOC_XMLFILE", path, 1);
	/* A file wins over a description. */
	setenv("HWLOC_SYNTHETIC", "pu:7", 1);
	wf_topology_read(&topo, fake_root);
	check_consistent(&topo);
	cr_assert_null(topo.note);
	cr_assert_str_eq(topo.source, "hwloc");
	cr_assert_not(topo.bindable);
	cr_assert(topo.cpu_count == 4 && topo.node_count == 2);
	cr_assert(topo.cpus[1].node == 0 && topo.cpus[2].node == 1);
	cr_assert(topo.distance[0][1] == 31 && topo.distance[1][0] == 31);
}

/* ---- Devices ------------------------------------------------------------------------------- */

Test(topology, a_device_is_near_the_node_that_sysfs_says, .init = open_plain, .fini = close_plain)
{
	uint16_t ids[WF_NODES_MAX];

	topo.source = "sysfs";
	give_cpus(0, 4);
	for (uint32_t i = 0; i < 4; i++)
		topo.cpus[i].node = i < 2 ? 3 : 5;
	wf_topology_group(&topo, -1, ids);
	cr_assert(topo.node_count == 2 && topo.node_id[0] == 3 && topo.node_id[1] == 5);
	fake_file("/sys/bus/pci/devices/0000:c1:00.0/numa_node", "5\n");
	fake_file("/sys/bus/pci/devices/0000:c2:00.0/numa_node", "-1\n");
	fake_file("/sys/bus/pci/devices/0000:c3:00.0/numa_node", "4\n");
	fake_file("/sys/bus/pci/devices/0000:c4:00.0/numa_node", "?\n");
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, "0000:c1:00.0"), 1);
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, "0000:c2:00.0"), WF_NODE_UNKNOWN);
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, "0000:c3:00.0"), WF_NODE_UNKNOWN,
	             "none of our CPUs is there");
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, "0000:c4:00.0"), WF_NODE_UNKNOWN);
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, "0000:c5:00.0"), WF_NODE_UNKNOWN);
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, ""), WF_NODE_UNKNOWN);
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, "../c1"), WF_NODE_UNKNOWN);
	/* Another machine has not this one's devices. */
	topo.source = "synthetic";
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, "0000:c1:00.0"), WF_NODE_UNKNOWN);
}

#define XML_DEVICE(gp, bus) \
	"<object type=\"Bridge\" gp_index=\"" gp "\" bridge_type=\"0-1\" depth=\"0\" " \
	"bridge_pci=\"0000:[" bus "-" bus "]\"><object type=\"PCIDev\" gp_index=\"" gp \
	"1\" pci_busid=\"0000:" bus ":00.0\" pci_type=\"0302 [10de:2330] [10de:16c1] a1\" " \
	"pci_link_speed=\"63.0\"/></object>"
#define XML_PUS_0    XML_PU("0", "0x1", "0x1") XML_PU("1", "0x2", "0x1")
#define XML_PUS_1    XML_PU("2", "0x4", "0x2") XML_PU("3", "0x8", "0x2")
#define XML_NEAR_0   XML_GROUP("0", "0x3", "0x1", "0", XML_PUS_0 XML_DEVICE("70", "17"))
#define XML_NEAR_1   XML_GROUP("1", "0xc", "0x2", "1", XML_PUS_1 XML_DEVICE("80", "c1"))
#define XML_NEAR_ALL XML_DEVICE("90", "e1")

/* As above, with a device in each group and one beside them. */
static const char devices_xml[] =
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
	"<topology version=\"2.0\"><object type=\"Machine\" os_index=\"0\" cpuset=\"0xf\" "
	"complete_cpuset=\"0xf\" allowed_cpuset=\"0xf\" nodeset=\"0x3\" complete_nodeset=\"0x3\" "
	"allowed_nodeset=\"0x3\" gp_index=\"1\">" XML_NEAR_0 XML_NEAR_1 XML_NEAR_ALL
	"</object></topology>";

Test(topology, a_device_of_a_machine_from_a_file, .init = open_plain, .fini = close_plain)
{
	char path[128];

	if (!wf_topology_hwloc(&topo, NULL, "pu:1"))
		test_skip("built without hwloc");
	fake_file("/machine.xml", devices_xml);
	snprintf(path, sizeof(path), "%s/machine.xml", fake_root);
	setenv("HWLOC_XMLFILE", path, 1);
	wf_topology_read(&topo, fake_root);
	cr_assert_str_eq(topo.source, "hwloc");
	cr_assert_eq(topo.node_count, 2);
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, "0000:17:00.0"), 0);
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, "0000:c1:00.0"), 1);
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, "0000:e1:00.0"), WF_NODE_UNKNOWN,
	             "near both");
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, "0000:c2:00.0"), WF_NODE_UNKNOWN);
	wf_fault_arm(WF_FAULT_FILE, 1);
	cr_assert_eq(wf_topology_pci_find(&topo, fake_root, "0000:c1:00.0"), WF_NODE_UNKNOWN);
	wf_fault_arm(-1, 0);
}

Test(topology, memory_near_a_node_is_a_wish, .init = open_plain, .fini = close_plain)
{
	const struct wf_topology *here = wf_topology();
	struct wf_memory_policy before = { .changed = true };

	wf_memory_near_begin(&before, here->node_count);
	cr_assert_not(before.changed, "there is no such node");
	wf_memory_near_end(&before);
	wf_memory_near_begin(&before, 0);
	cr_assert(!before.changed || here->node_count > 1);
	wf_memory_near_end(&before);
	setenv("HWLOC_SYNTHETIC", "node:2 pu:2", 1);
	wf_topology_reload();
	wf_memory_near_begin(&before, 1);
	cr_assert_not(before.changed, "another machine's node");
	wf_memory_near_end(&before);
	unsetenv("HWLOC_SYNTHETIC");
	wf_topology_reload();
}

Test(topology, limits_are_kept_and_noted, .init = open_plain, .fini = close_plain)
{
	cr_assert(wf_topology_synthetic(&topo, "node:2 pu:600"));
	wf_topology_cut(&topo, 0);
	check_consistent(&topo);
	cr_assert_eq(topo.cpu_count, WF_CPUS_MAX);
	cr_assert_null(topo.note);
	cr_assert(wf_topology_synthetic(&topo, "node:65 pu:2"));
	wf_topology_cut(&topo, 0);
	check_consistent(&topo);
	cr_assert_eq(topo.node_count, WF_NODES_MAX);
	cr_assert_eq(topo.cpu_count, 2 * WF_NODES_MAX);
	cr_assert_not_null(topo.note);
}

Test(topology, every_file_may_be_missing, .init = open_plain, .fini = close_plain)
{
	uint64_t points;

	wf_fault_arm(WF_FAULT_FILE, UINT64_MAX);
	wf_topology_read(&topo, "");
	points = wf_fault_count();
	cr_assert_gt(points, 1);
	for (uint64_t nth = 1; nth <= points; nth++) {
		wf_fault_arm(WF_FAULT_FILE, nth);
		wf_topology_read(&topo, "");
		cr_assert(wf_fault_fired());
		check_consistent(&topo);
		/* Only the affinity is worth a line: without it the answer is a guess. */
		cr_assert_eq(topo.note != NULL, nth == 1);
		cr_assert_eq(topo.bindable, nth != 1);
	}
}

Test(topology, binding_moves_this_thread, .init = open_plain, .fini = close_plain)
{
	const struct wf_topology *t;
	cpu_set_t now;

	wf_topology_reload();
	t = wf_topology();
	for (uint32_t i = 0; i < t->allowed_count; i++) {
		cr_assert_eq(wf_bind_cpu(t, i), 0);
		cr_assert_eq(sched_getaffinity(0, sizeof(now), &now), 0);
		cr_assert(CPU_COUNT(&now) == 1 && CPU_ISSET(t->cpus[i].os_index, &now));
		cr_assert_eq(sched_getcpu(), t->cpus[i].os_index);
	}
	for (uint32_t node = 0; node < t->node_count; node++) {
		cr_assert_eq(wf_bind_node(t, node), 0);
		cr_assert_eq(sched_getaffinity(0, sizeof(now), &now), 0);
		for (uint32_t i = 0; i < t->allowed_count; i++)
			cr_assert_eq(!!CPU_ISSET(t->cpus[i].os_index, &now),
			             t->cpus[i].node == node);
	}
	cr_assert_eq(wf_bind_cpu(t, t->allowed_count), -EINVAL);
	cr_assert_eq(wf_bind_node(t, t->node_count), -EINVAL);
}

Test(topology, binding_to_a_cpu_that_is_gone_is_an_error, .init = open_plain, .fini = close_plain)
{
	give_cpus(8000, 1);
	topo.cpus[0].node = 0;
	topo.cpu_count = topo.node_count = 1;
	topo.bindable = true;
	cr_assert_eq(wf_bind_cpu(&topo, 0), -EINVAL);
	cr_assert_eq(wf_bind_node(&topo, 0), -EINVAL);
}
