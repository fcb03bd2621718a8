/*
 * synthetic.c: another machine from a line of text, without hwloc.
 *
 * The simple form of hwloc's language: levels from the outside in, each with how many of it are in
 * one of the level above, as "node:8 core:4 pu:2". Levels other than the NUMA nodes only multiply.
 * Attributes and attached memory are refused; the caller then asks hwloc, or takes the real
 * machine.
 */
#include "topology_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LEVEL_MAX 65536

enum level { LEVEL_NONE, LEVEL_NODE, LEVEL_PU, LEVEL_OTHER };

/* By the beginning of the word, as hwloc does: "pack" and "package" are the same. */
static enum level level_of(const char *name, size_t length)
{
	static const struct {
		const char *name;
		enum level level;
	} known[] = {
		{ "numanode", LEVEL_NODE }, { "node", LEVEL_NODE },     { "pu", LEVEL_PU },
		{ "core", LEVEL_OTHER },    { "package", LEVEL_OTHER }, { "socket", LEVEL_OTHER },
		{ "die", LEVEL_OTHER },     { "group", LEVEL_OTHER },   { "machine", LEVEL_OTHER },
		{ "l1", LEVEL_OTHER },      { "l2", LEVEL_OTHER },      { "l3", LEVEL_OTHER },
		{ "l4", LEVEL_OTHER },      { "l5", LEVEL_OTHER },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (length >= 2 && length <= strlen(known[i].name) &&
		    strncasecmp(name, known[i].name, length) == 0)
			return known[i].level;
	}
	return LEVEL_NONE;
}

/* One "name:count". A level without a name is not accepted. */
static enum level parse_level(const char **text, uint32_t *count)
{
	const char *at = *text;
	size_t length = 0;
	unsigned long value;
	char *end;

	while (isalnum((unsigned char)at[length]))
		length++;
	if (at[length] != ':' || !isdigit((unsigned char)at[length + 1]))
		return LEVEL_NONE;
	value = strtoul(at + length + 1, &end, 10);
	if (value == 0 || value > LEVEL_MAX || (*end != '\0' && !isspace((unsigned char)*end)))
		return LEVEL_NONE;
	*text = end;
	*count = (uint32_t)value;
	return level_of(at, length);
}

bool wf_topology_synthetic(struct wf_topology *topo, const char *text)
{
	uint64_t node_count = 1, pu_count = 1, per_node;
	bool node_seen = false, pu_seen = false;
	uint16_t ids[WF_NODES_MAX];

	for (;;) {
		enum level level;
		uint32_t count;

		while (isspace((unsigned char)*text))
			text++;
		if (*text == '\0')
			break;
		level = parse_level(&text, &count);
		/* PUs are the innermost level, and there is one level of nodes. */
		if (level == LEVEL_NONE || pu_seen || (level == LEVEL_NODE && node_seen))
			return false;
		pu_count *= count;
		if (!node_seen)
			node_count *= count;
		node_seen = node_seen || level == LEVEL_NODE;
		pu_seen = level == LEVEL_PU;
		if (pu_count > LEVEL_MAX)
			return false;
	}
	if (!pu_seen)
		return false;
	if (!node_seen)
		node_count = 1;
	WF_CHECK(pu_count % node_count == 0);
	per_node = pu_count / node_count;
	topo->allowed_count = (uint32_t)(pu_count < WF_CPUS_MAX ? pu_count : WF_CPUS_MAX);
	for (uint32_t i = 0; i < topo->allowed_count; i++) {
		topo->cpus[i].os_index = (uint16_t)i;
		topo->cpus[i].node = (uint16_t)(i / per_node);
	}
	wf_topology_group(topo, -1, ids);
	return true;
}
