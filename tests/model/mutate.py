#!/usr/bin/env python3
"""Planted bugs: each must be found by the model test of its structure.

Goal: the explorer and the scenarios are worth their name. Method: weaken one line of a shipped
source at a time (in a copy), build the model test against the copy and demand that it fails. A
mutation whose text no longer occurs exactly once is an error too, so the list cannot rot.

Usage: tests/model/mutate.py [substring of a description]. Compiler from CC (default cc).
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
QUEUE = os.path.join(ROOT, "engine", "queue")
SOURCES = {"deque": ["deque.c"], "injector": ["injector.c"], "mpsc": ["parker.c"],
           "parker": ["parker.c"]}
TIME_LIMIT_S = 120

# (model test, file, what is planted, old text, new text)
MUTATIONS = [
    ("deque", "deque.c", "the owner takes the last public item without a CAS",
     "return wf_cas_relaxed(&d->word, &w, make_word(tail + 1, b));",
     "return wf_store_relaxed(&d->word, make_word(tail + 1, b)), 1;"),
    ("deque", "deque.c", "the forcing thief confirms without looking at bottom again",
     "if ((int32_t)(b - (split + n)) < 0) {", "if (0 && b) {"),
    ("deque", "deque.c", "the forcing thief looks at bottom before the tentative word",
     "	wf_membarrier();\n	/* acquire [D2]: with [D1]; the slots and items below the bottom that is "
     "seen. */\n	uint32_t b = wf_load_acquire(&d->bottom);\n",
     "	uint32_t b = split + n;\n	wf_membarrier();\n"),
    ("deque", "deque.c", "two thieves may force at a time",
     "if (wf_swap_acquire(&d->forcing, 1))", "if (0)"),
    ("deque", "deque.c", "a thief steals tentative items",
     "if (w & WF_DEQUE_TENTATIVE || n == 0 || max == 0)", "if (n == 0 || max == 0)"),
    ("deque", "deque.c", "a stolen batch is claimed by a plain store",
     "			if (!wf_cas_release(&d->word, &w, next))\n				return 0;",
     "			wf_store_release(&d->word, next);"),
    ("deque", "deque.c", "the slots are read after the claim",
     "			uint64_t next = make_word(tail + k, wf_deque_word_split(w));\n",
     "			uint64_t next = make_word(tail + k, wf_deque_word_split(w));\n"
     "			if (!wf_cas_release(&d->word, &w, next))\n				return 0;\n"
     "			for (uint32_t i = 0; i < k; i++)\n"
     "				out[i] = (void *)wf_load_relaxed(\n"
     "					&ring->slots[(tail + i) & ring->mask]);\n"
     "			w = next;\n"),
    ("deque", "deque.c", "reclaim publishes before the copies are written",
     "	for (uint32_t i = 0; i < n - 1; i++)\n"
     "		slot_store(d, b + i, slot_load(d, b - n + i));\n"
     "	/* release [D3]: the copies are visible to the thief that loads the word [D4]. */\n"
     "	if (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2)))\n"
     "		return 0;\n",
     "	if (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2)))\n"
     "		return 0;\n"
     "	for (uint32_t i = 0; i < n - 1; i++)\n"
     "		slot_store(d, b + i, slot_load(d, b - n + i));\n"),
    ("deque", "deque.c", "reclaim raises bottom before its CAS",
     "	if (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2)))\n		return 0;\n",
     "	wf_store_release(&d->bottom, b + n - 1);\n"
     "	if (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2))) {\n"
     "		wf_store_release(&d->bottom, b);\n		return 0;\n	}\n"),
    ("deque", "deque.c", "reclaim forgets the limit", "	d->limit = b + capacity(d);\n", ""),
    ("deque", "deque.c", "reclaim does not look at the room",
     "if (2 * n - 1 > capacity(d) && grow(d, b - n, b) != 0)",
     "if (0 && grow(d, b - n, b) != 0)"),
    ("deque", "deque.c", "split is lowered although thieves take several",
     "	if (d->asymmetric)\n		return reclaim(d, w, b);\n",
     "	if (0)\n		return reclaim(d, w, b);\n"),
    ("deque", "deque.c", "without asymmetry thieves take several with one CAS",
     "if (!d->asymmetric_mt) {\n			taken", "if (0) {\n			taken"),
    ("deque", "deque.c", "push uses a slot again before the thief has left it",
     "if (b - tail == capacity(d)) {", "if (b - tail > capacity(d)) {"),
    ("deque", "deque.c", "a new ring is shown without its items",
     "	for (uint32_t i = tail; i != bottom; i++)\n",
     "	for (uint32_t i = tail + 1; i != bottom; i++)\n"),
    ("deque", "deque.c", "an old ring is freed when it is replaced",
     "	d->rings = ring;\n	d->slots = ring->slots;\n	d->mask = ring->mask;\n"
     "	d->limit = tail + capacity(d);\n",
     "	wf_free(d->rings);\n	ring->older = NULL;\n	d->rings = ring;\n"
     "	d->slots = ring->slots;\n	d->mask = ring->mask;\n"
     "	d->limit = tail + capacity(d);\n"),
    ("deque", "deque.c", "remove does not check that the item was private",
     "if (!lower(d, b - i)) {", "if (!lower(d, b - i) && 0) {"),
    ("deque", "deque.c", "remove leaves the hole where thieves see bottom all the time",
     "		if (!lower(d, b - i)) {\n			raise(d, b);\n			continue;\n		}\n"
     "		if (i == 1)\n			return true;\n",
     "		if (i == 1 && !lower(d, b - i)) {\n			raise(d, b);\n"
     "			continue;\n		}\n		if (i == 1)\n			return true;\n"),
    ("deque", "deque.c", "the owner leaves a tentative word alone and takes the item",
     "	return (int32_t)(b - wf_deque_word_split(w)) >= 0;",
     "	return (int32_t)(b - wf_deque_word_split(settled(w))) >= 0;"),
    ("deque", "deque.c", "an answer exposes more than there is",
     "uint32_t k = n < private_count ? n : private_count;", "uint32_t k = n;"),
    ("deque", "deque.c", "the answer forgets that a word is tentative",
     "		uint64_t base = settled(w);\n",
     "		uint64_t base = w & ~WF_DEQUE_TENTATIVE;\n"),
    ("deque", "deque.h", "pop looks at the word before it lowers bottom",
     "	wf_store_release(&d->bottom, b);\n"
     "	/* Store before load: the processor's half of this fence is the thief's membarrier [F1]. */\n"
     "	wf_fence_compiler();\n"
     "	/* relaxed: a private item was stored by the owner itself. */\n"
     "	uint64_t w = wf_load_relaxed(&d->word);\n",
     "	uint64_t w = wf_load_relaxed(&d->word);\n	wf_store_release(&d->bottom, b);\n"),
    ("deque", "deque.h", "push shows the new bottom before the slot is written",
     "	wf_store_relaxed(&d->slots[b & d->mask], (uintptr_t)item);\n"
     "	/* release [D1]: a forcing thief that sees the new bottom in [D2] sees slot and item. */\n"
     "	wf_store_release(&d->bottom, b + 1);\n",
     "	wf_store_release(&d->bottom, b + 1);\n"
     "	wf_store_relaxed(&d->slots[b & d->mask], (uintptr_t)item);\n"),
    ("deque", "deque.h", "take trusts the slot of an empty deque",
     "	if (WF_UNLIKELY((int32_t)(b - wf_deque_word_split(w)) < 0)) {\n		/* release",
     "	if (0 && w) {\n		/* release"),
    ("deque", "deque.h", "a count that wraps is taken for full",
     "return (wf_deque_word_split(word) - (uint32_t)(word >> 32)) & WF_DEQUE_TAIL_MASK;",
     "return wf_deque_word_split(word) - ((uint32_t)(word >> 32) & WF_DEQUE_TAIL_MASK);"),

    ("injector", "injector.c", "the producers' claim is a plain store",
     "if (!wf_cas_relaxed(&q->tail, &tail, edges ? edge : after))",
     "if (wf_store_relaxed(&q->tail, edges ? edge : after), 0)"),
    ("injector", "injector.c", "the consumers' claim is a plain store",
     "if (!wf_cas_relaxed(&q->head, &head, head + k))",
     "if (wf_store_relaxed(&q->head, head + k), 0)"),
    ("injector", "injector.c", "a consumer does not wait for the slot",
     "while (!(out[i] = (void *)wf_load_acquire(&block->slots[slot + i])))",
     "if (!(out[i] = (void *)wf_load_acquire(&block->slots[slot + i])))"),
    ("injector", "injector.c", "the consumer of the last slot frees the block",
     "if (read_count == WF_INJECTOR_CAP)\n			wf_free",
     "if (slot + k == WF_INJECTOR_CAP)\n			wf_free"),
    ("injector", "injector.c", "the block is counted before its slots are read",
     "		if (slot + k == WF_INJECTOR_CAP)\n			cross_edge(",
     "		uint32_t read_count = wf_add_acq_rel(&block->read_count, k) + k;\n"
     "		if (read_count == WF_INJECTOR_CAP && slot + k != WF_INJECTOR_CAP)\n"
     "			wf_free(block);\n"
     "		if (slot + k == WF_INJECTOR_CAP)\n			cross_edge("),
    ("injector", "injector.c", "the tail moves on before its block is there",
     "		wf_store_release(&q->tail_block, (uintptr_t)last);\n"
     "		/* release [I3]: who sees this index [I4] sees the block stored just before. */\n"
     "		wf_store_release(&q->tail, after);\n",
     "		wf_store_release(&q->tail, after);\n"
     "		wf_store_release(&q->tail_block, (uintptr_t)last);\n"),
    ("injector", "injector.c", "the head moves on before its block is there",
     "	wf_store_release(&q->head_block, next);\n"
     "	/* release [I7]: who sees this index [I8] sees the block stored just before. */\n"
     "	wf_store_release(&q->head, after);\n",
     "	wf_store_release(&q->head, after);\n	wf_store_release(&q->head_block, next);\n"),
    ("injector", "injector.c", "producers do not stop at the edge",
     "		if (tail % WF_LAP == WF_INJECTOR_CAP) {\n			wait_turn(&tries);\n"
     "			continue;\n		}\n", ""),
    ("injector", "injector.c", "the next block is made after the claim",
     "		if (edges && !*spare)\n			return NULL;\n", ""),
    ("injector", "injector.c", "what is left of the spare blocks is forgotten",
     "	fill(block, at, items, n);\n	chain_destroy(spare);\n",
     "	fill(block, at, items, n);\n"),
    ("injector", "injector.c", "a failed batch keeps the blocks it got",
     "			while (first) {", "			while (first && 0) {"),
    ("injector", "injector.c", "a batch is filled from its end",
     "(uintptr_t)items[i]);", "(uintptr_t)items[k - 1 - i]);"),

    ("mpsc", "mpsc.h", "push is a load and a store",
     "while (!wf_cas_release(&q->head, &head, (uintptr_t)node));",
     "while (wf_store_release(&q->head, (uintptr_t)node), 0);"),
    ("mpsc", "mpsc.h", "a failed push keeps its old next",
     "	do {\n		/* relaxed: published by [M1]. */\n"
     "		wf_store_relaxed(&node->next, head);\n",
     "	wf_store_relaxed(&node->next, head);\n	do {\n"),
    ("mpsc", "mpsc.h", "next is written after the push",
     "	return head == 0;", "	wf_store_relaxed(&node->next, head);\n	return head == 0;"),
    ("mpsc", "mpsc.h", "take is a load and a store",
     "(struct wf_mpsc_node *)wf_swap_acquire(&q->head, 0);",
     "(struct wf_mpsc_node *)wf_load_acquire(&q->head);\n	wf_store_relaxed(&q->head, 0);"),
    ("mpsc", "mpsc.h", "the chain is not turned round",
     "		wf_store_relaxed(&node->next, (uintptr_t)oldest);\n		oldest = node;\n",
     "		if (!oldest)\n			oldest = node;\n"),
    ("mpsc", "mpsc.h", "push says `was empty` by an older look",
     "	uintptr_t head = wf_load_relaxed(&q->head);\n",
     "	uintptr_t head = wf_load_relaxed(&q->head);\n	bool was_empty = head == 0;\n"),

    ("parker", "parker.c", "falling asleep overwrites a token",
     "if (!wf_cas_relaxed(&p->state, &seen, WF_PARKER_ASLEEP)) {",
     "if (seen = wf_load_relaxed(&p->state), seen != WF_PARKER_EMPTY ||\n"
     "	    (wf_store_relaxed(&p->state, WF_PARKER_ASLEEP), false)) {"),
    ("parker", "parker.c", "unpark leaves a token and does not wake",
     "	wf_futex_wake(&p->state, 1);\n", ""),
    ("parker", "parker.c", "unpark is a load and a store",
     "uint32_t seen = wf_swap_release(&p->state, WF_PARKER_TOKEN);",
     "uint32_t seen = wf_load_relaxed(&p->state);\n"
     "	wf_store_release(&p->state, WF_PARKER_TOKEN);"),
    ("parker", "parker.c", "a token that comes with the deadline is dropped",
     "return seen == WF_PARKER_TOKEN ? 0 : -ETIMEDOUT;",
     "return rc == 0 ? 0 : -ETIMEDOUT;"),
    ("parker", "parker.c", "a wait that ended by itself counts as a token",
     "if (rc == 0 && wf_load_relaxed(&p->state) == WF_PARKER_ASLEEP)\n			continue;\n",
     "if (0)\n			continue;\n"),
    ("parker", "parker.c", "a park that times out stays `asleep`",
     "		seen = wf_swap_acquire(&p->state, WF_PARKER_EMPTY);\n"
     "		WF_CHECK(seen != WF_PARKER_EMPTY);\n",
     "		seen = wf_load_acquire(&p->state);\n"
     "		if (seen == WF_PARKER_TOKEN)\n"
     "			wf_store_relaxed(&p->state, WF_PARKER_EMPTY);\n"),
]
# Needs a second edit of the same file to have an effect.
SECOND = {
    "the block is counted before its slots are read": (
        "		uint32_t read_count = wf_add_acq_rel(&block->read_count, k) + k;\n"
        "		WF_CHECK(read_count <= WF_INJECTOR_CAP);\n"
        "		if (read_count == WF_INJECTOR_CAP)\n",
        "		if (read_count == WF_INJECTOR_CAP && slot + k == WF_INJECTOR_CAP)\n"),
    "push says `was empty` by an older look": ("	return head == 0;", "	return was_empty;"),
}


def compile_and_run(scratch, test):
    program = os.path.join(scratch, "program")
    command = [os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-DWF_SIM", "-O1", "-g",
               "-w", "-I" + scratch, "-I" + os.path.join(ROOT, "engine", "base"),
               "-I" + os.path.join(ROOT, "tests", "support"),
               os.path.join(ROOT, "tests", "model", test + ".c"),
               os.path.join(ROOT, "tests", "support", "explore.c")]
    command += [os.path.join(scratch, source) for source in SOURCES[test]]
    command += ["-o", program, "-pthread"]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode != 0:
        return None, built.stderr
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WEFT_")}
    try:
        ran = subprocess.run([program], capture_output=True, text=True, timeout=TIME_LIMIT_S,
                             env=environment)
    except subprocess.TimeoutExpired:
        return 0, "no verdict in time"
    lines = ran.stderr.strip().splitlines()
    return ran.returncode, lines[0] if lines else ""


def try_mutation(mutation):
    test, name, what, old, new = mutation
    edits = [(old, new)]
    if what in SECOND:
        edits.append(SECOND[what])
    with tempfile.TemporaryDirectory(prefix="weft-mutate-") as scratch:
        for entry in os.listdir(QUEUE):
            if entry.endswith((".c", ".h")):
                shutil.copy(os.path.join(QUEUE, entry), scratch)
        path = os.path.join(scratch, name)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for before, after in edits:
            if text.count(before) != 1:
                return False, "the text occurs %d times in %s" % (text.count(before), name)
            text = text.replace(before, after)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        code, said = compile_and_run(scratch, test)
    if code is None:
        return False, "does not compile: " + said
    return code == 1 and "FAILED" in said, said


def main():
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    missed = 0
    chosen = [mutation for mutation in MUTATIONS if wanted in mutation[2]]
    with concurrent.futures.ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        verdicts = list(pool.map(try_mutation, chosen))
    for mutation, (caught, said) in zip(chosen, verdicts):
        print("%s %s: %s\n      %s" % ("found " if caught else "MISSED", mutation[1], mutation[2],
                                      re.sub(r"\S*/(?=[a-z]+\.[ch])", "", said)))
        missed += not caught
    print("%d planted, %d missed" % (len(chosen), missed))
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
