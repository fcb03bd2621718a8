#!/usr/bin/env python3
"""Planted bugs: each must be found by the model test of its structure.

Goal: the explorer and the scenarios are worth their name. Method: weaken one line of a shipped
source at a time (in a copy), build the model test against the copy and demand that it fails. A
mutation whose text no longer occurs exactly once is an error too, so the list cannot rot.

Usage: tests/model/mutate.py [substring of a description]. Compiler from CC (default cc).
"""
import os
import shutil
import sys

import planted

QUEUE = os.path.join(planted.ROOT, "engine", "queue")
SOURCES = {"deque": ["deque.c"], "injector": ["injector.c"], "mpsc": ["parker.c"],
           "parker": ["parker.c"]}
FOLDERS = ["engine/base", "tests/support"]
TIME_LIMIT_S = 120

# (model test, what is planted, file, old text, new text)
MUTATIONS = [
    ("deque", "the owner takes the last public item without a CAS", "deque.c",
     "return wf_cas_relaxed(&d->word, &w, make_word(tail + 1, b));",
     "return wf_store_relaxed(&d->word, make_word(tail + 1, b)), 1;"),
    ("deque", "the forcing thief confirms without looking at bottom again", "deque.c",
     "if ((int32_t)(b - (split + n)) < 0) {", "if (0 && b) {"),
    ("deque", "the forcing thief looks at bottom before the tentative word", "deque.c",
     "\twf_membarrier();\n"
     "\t/* acquire [D2]: with [D1]; the slots and items below the bottom that is "
     "seen. */\n\tuint32_t b = wf_load_acquire(&d->bottom);\n",
     "\tuint32_t b = split + n;\n\twf_membarrier();\n"),
    ("deque", "two thieves may force at a time", "deque.c",
     "if (wf_swap_acquire(&d->forcing, 1))", "if (0)"),
    ("deque", "a thief steals tentative items", "deque.c",
     "if (w & WF_DEQUE_TENTATIVE || n == 0 || max == 0)", "if (n == 0 || max == 0)"),
    ("deque", "a stolen batch is claimed by a plain store", "deque.c",
     "\t\t\tif (!wf_cas_release(&d->word, &w, next))\n\t\t\t\treturn 0;",
     "\t\t\twf_store_release(&d->word, next);"),
    ("deque", "the slots are read after the claim", "deque.c",
     "\t\t\tuint64_t next = make_word(tail + k, wf_deque_word_split(w));\n",
     "\t\t\tuint64_t next = make_word(tail + k, wf_deque_word_split(w));\n"
     "\t\t\tif (!wf_cas_release(&d->word, &w, next))\n\t\t\t\treturn 0;\n"
     "\t\t\tfor (uint32_t i = 0; i < k; i++)\n"
     "\t\t\t\tout[i] = (void *)wf_load_relaxed(\n"
     "\t\t\t\t\t&ring->slots[(tail + i) & ring->mask]);\n"
     "\t\t\tw = next;\n"),
    ("deque", "reclaim publishes before the copies are written", "deque.c",
     "\tfor (uint32_t i = 0; i < n - 1; i++)\n"
     "\t\tslot_store(d, b + i, slot_load(d, b - n + i));\n"
     "\t/* release [D3]: the copies are visible to the thief that loads the word [D4]. */\n"
     "\tif (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2)))\n"
     "\t\treturn 0;\n",
     "\tif (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2)))\n"
     "\t\treturn 0;\n"
     "\tfor (uint32_t i = 0; i < n - 1; i++)\n"
     "\t\tslot_store(d, b + i, slot_load(d, b - n + i));\n"),
    ("deque", "reclaim raises bottom before its CAS", "deque.c",
     "\tif (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2)))\n\t\treturn 0;\n",
     "\twf_store_release(&d->bottom, b + n - 1);\n"
     "\tif (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2))) {\n"
     "\t\twf_store_release(&d->bottom, b);\n\t\treturn 0;\n\t}\n"),
    ("deque", "reclaim forgets the limit", "deque.c", "\td->limit = b + capacity(d);\n", ""),
    ("deque", "reclaim does not look at the room", "deque.c",
     "if (2 * n - 1 > capacity(d) && grow(d, b - n, b) != 0)",
     "if (0 && grow(d, b - n, b) != 0)"),
    ("deque", "split is lowered although thieves take several", "deque.c",
     "\tif (d->asymmetric)\n\t\treturn reclaim(d, w, b);\n",
     "\tif (0)\n\t\treturn reclaim(d, w, b);\n"),
    ("deque", "without asymmetry thieves take several with one CAS", "deque.c",
     "if (!d->asymmetric_mt) {\n\t\t\ttaken", "if (0) {\n\t\t\ttaken"),
    ("deque", "push uses a slot again before the thief has left it", "deque.c",
     "if (b - tail == capacity(d)) {", "if (b - tail > capacity(d)) {"),
    ("deque", "a new ring is shown without its items", "deque.c",
     "\tfor (uint32_t i = tail; i != bottom; i++)\n",
     "\tfor (uint32_t i = tail + 1; i != bottom; i++)\n"),
    ("deque", "an old ring is freed when it is replaced", "deque.c",
     "\td->rings = ring;\n\td->slots = ring->slots;\n\td->mask = ring->mask;\n"
     "\td->limit = tail + capacity(d);\n",
     "\twf_free(d->rings);\n\tring->older = NULL;\n\td->rings = ring;\n"
     "\td->slots = ring->slots;\n\td->mask = ring->mask;\n"
     "\td->limit = tail + capacity(d);\n"),
    ("deque", "remove does not check that the item was private", "deque.c",
     "if (!lower(d, b - i)) {", "if (!lower(d, b - i) && 0) {"),
    ("deque", "remove leaves the hole where thieves see bottom all the time", "deque.c",
     "\t\tif (!lower(d, b - i)) {\n\t\t\traise(d, b);\n\t\t\tcontinue;\n\t\t}\n"
     "\t\tif (i == 1)\n\t\t\treturn true;\n",
     "\t\tif (i == 1 && !lower(d, b - i)) {\n\t\t\traise(d, b);\n"
     "\t\t\tcontinue;\n\t\t}\n\t\tif (i == 1)\n\t\t\treturn true;\n"),
    ("deque", "the owner leaves a tentative word alone and takes the item", "deque.c",
     "\treturn (int32_t)(b - wf_deque_word_split(w)) >= 0;",
     "\treturn (int32_t)(b - wf_deque_word_split(settled(w))) >= 0;"),
    ("deque", "an answer exposes more than there is", "deque.c",
     "uint32_t k = n < private_count ? n : private_count;", "uint32_t k = n;"),
    ("deque", "the answer forgets that a word is tentative", "deque.c",
     "\t\tuint64_t base = settled(w);\n",
     "\t\tuint64_t base = w & ~WF_DEQUE_TENTATIVE;\n"),
    ("deque", "pop looks at the word before it lowers bottom", "deque.h",
     "\twf_store_release(&d->bottom, b);\n"
     "\t/* Store before load: the processor's half of this fence is the thief's membarrier "
     "[F1]. */\n"
     "\twf_fence_compiler();\n"
     "\t/* relaxed: a private item was stored by the owner itself. */\n"
     "\tuint64_t w = wf_load_relaxed(&d->word);\n",
     "\tuint64_t w = wf_load_relaxed(&d->word);\n\twf_store_release(&d->bottom, b);\n"),
    ("deque", "push shows the new bottom before the slot is written", "deque.h",
     "\twf_store_relaxed(&d->slots[b & d->mask], (uintptr_t)item);\n"
     "\t/* release [D1]: a forcing thief that sees the new bottom in [D2] sees slot and item. "
     "*/\n"
     "\twf_store_release(&d->bottom, b + 1);\n",
     "\twf_store_release(&d->bottom, b + 1);\n"
     "\twf_store_relaxed(&d->slots[b & d->mask], (uintptr_t)item);\n"),
    ("deque", "take trusts the slot of an empty deque", "deque.h",
     "\tif (WF_LIKELY((int32_t)(b - 1 - wf_deque_word_split(w)) >= 0))",
     "\tif (w || 1)"),
    ("deque", "a count that wraps is taken for full", "deque.h",
     "return (wf_deque_word_split(word) - (uint32_t)(word >> 32)) & WF_DEQUE_TAIL_MASK;",
     "return wf_deque_word_split(word) - ((uint32_t)(word >> 32) & WF_DEQUE_TAIL_MASK);"),

    ("injector", "the producers' claim is a plain store", "injector.c",
     "if (!wf_cas_relaxed(&q->tail, &tail, edges ? edge : after))",
     "if (wf_store_relaxed(&q->tail, edges ? edge : after), 0)"),
    ("injector", "the consumers' claim is a plain store", "injector.c",
     "if (!wf_cas_relaxed(&q->head, &head, head + k))",
     "if (wf_store_relaxed(&q->head, head + k), 0)"),
    ("injector", "a consumer does not wait for the slot", "injector.c",
     "while (!(out[i] = (void *)wf_load_acquire(&block->slots[slot + i])))",
     "if (!(out[i] = (void *)wf_load_acquire(&block->slots[slot + i])))"),
    ("injector", "the consumer of the last slot frees the block", "injector.c",
     "if (read_count == WF_INJECTOR_CAP)\n\t\t\twf_free",
     "if (slot + k == WF_INJECTOR_CAP)\n\t\t\twf_free"),
    ("injector", "the block is counted before its slots are read", "injector.c",
     "\t\tif (slot + k == WF_INJECTOR_CAP)\n\t\t\tcross_edge(",
     "\t\tuint32_t read_count = wf_add_acq_rel(&block->read_count, k) + k;\n"
     "\t\tif (read_count == WF_INJECTOR_CAP && slot + k != WF_INJECTOR_CAP)\n"
     "\t\t\twf_free(block);\n"
     "\t\tif (slot + k == WF_INJECTOR_CAP)\n\t\t\tcross_edge("),
    ("injector", "the tail moves on before its block is there", "injector.c",
     "\t\twf_store_release(&q->tail_block, (uintptr_t)last);\n"
     "\t\t/* release [I3]: who sees this index [I4] sees the block stored just before. */\n"
     "\t\twf_store_release(&q->tail, after);\n",
     "\t\twf_store_release(&q->tail, after);\n"
     "\t\twf_store_release(&q->tail_block, (uintptr_t)last);\n"),
    ("injector", "the head moves on before its block is there", "injector.c",
     "\twf_store_release(&q->head_block, next);\n"
     "\t/* release [I7]: who sees this index [I8] sees the block stored just before. */\n"
     "\twf_store_release(&q->head, after);\n",
     "\twf_store_release(&q->head, after);\n\twf_store_release(&q->head_block, next);\n"),
    ("injector", "producers do not stop at the edge", "injector.c",
     "\t\tif (tail % WF_LAP == WF_INJECTOR_CAP) {\n\t\t\twait_turn(&tries);\n"
     "\t\t\tcontinue;\n\t\t}\n", ""),
    ("injector", "the next block is made after the claim", "injector.c",
     "\t\tif (edges && !*spare)\n\t\t\treturn NULL;\n", ""),
    ("injector", "what is left of the spare blocks is forgotten", "injector.c",
     "\tfill(block, at, items, n);\n\tchain_destroy(spare);\n",
     "\tfill(block, at, items, n);\n"),
    ("injector", "a failed batch keeps the blocks it got", "injector.c",
     "\t\t\twhile (first) {", "\t\t\twhile (first && 0) {"),
    ("injector", "a batch is filled from its end", "injector.c",
     "(uintptr_t)items[i]);", "(uintptr_t)items[k - 1 - i]);"),

    ("mpsc", "push is a load and a store", "mpsc.h",
     "while (!wf_cas_release(&q->head, &head, (uintptr_t)node));",
     "while (wf_store_release(&q->head, (uintptr_t)node), 0);"),
    ("mpsc", "a failed push keeps its old next", "mpsc.h",
     "\tdo {\n\t\t/* relaxed: published by [M1]. */\n"
     "\t\twf_store_relaxed(&node->next, head);\n",
     "\twf_store_relaxed(&node->next, head);\n\tdo {\n"),
    ("mpsc", "next is written after the push", "mpsc.h",
     "\treturn head == 0;", "\twf_store_relaxed(&node->next, head);\n\treturn head == 0;"),
    ("mpsc", "take is a load and a store", "mpsc.h",
     "(struct wf_mpsc_node *)wf_swap_acquire(&q->head, 0);",
     "(struct wf_mpsc_node *)wf_load_acquire(&q->head);\n\twf_store_relaxed(&q->head, 0);"),
    ("mpsc", "the chain is not turned round", "mpsc.h",
     "\t\twf_store_relaxed(&node->next, (uintptr_t)oldest);\n\t\toldest = node;\n",
     "\t\tif (!oldest)\n\t\t\toldest = node;\n"),
    ("mpsc", "push says `was empty` by an older look", "mpsc.h",
     "\tuintptr_t head = wf_load_relaxed(&q->head);\n",
     "\tuintptr_t head = wf_load_relaxed(&q->head);\n\tbool was_empty = head == 0;\n"),

    ("parker", "falling asleep overwrites a token", "parker.c",
     "if (!wf_cas_relaxed(&p->state, &seen, WF_PARKER_ASLEEP)) {",
     "if (seen = wf_load_relaxed(&p->state), seen != WF_PARKER_EMPTY ||\n"
     "\t    (wf_store_relaxed(&p->state, WF_PARKER_ASLEEP), false)) {"),
    ("parker", "unpark leaves a token and does not wake", "parker.c",
     "\twf_futex_wake(&p->state, 1);\n", ""),
    ("parker", "unpark is a load and a store", "parker.c",
     "uint32_t seen = wf_swap_release(&p->state, WF_PARKER_TOKEN);",
     "uint32_t seen = wf_load_relaxed(&p->state);\n"
     "\twf_store_release(&p->state, WF_PARKER_TOKEN);"),
    ("parker", "a token that comes with the deadline is dropped", "parker.c",
     "return seen == WF_PARKER_TOKEN ? 0 : -ETIMEDOUT;",
     "return rc == 0 ? 0 : -ETIMEDOUT;"),
    ("parker", "a wait that ended by itself counts as a token", "parker.c",
     "if (rc == 0 && wf_load_relaxed(&p->state) == WF_PARKER_ASLEEP)\n\t\t\tcontinue;\n",
     "if (0)\n\t\t\tcontinue;\n"),
    ("parker", "a park that times out stays `asleep`", "parker.c",
     "\t\tseen = wf_swap_acquire(&p->state, WF_PARKER_EMPTY);\n"
     "\t\tWF_CHECK(seen != WF_PARKER_EMPTY);\n",
     "\t\tseen = wf_load_acquire(&p->state);\n"
     "\t\tif (seen == WF_PARKER_TOKEN)\n"
     "\t\t\twf_store_relaxed(&p->state, WF_PARKER_EMPTY);\n"),
]
# Needs a second edit of the same file to have an effect.
SECOND = {
    "the block is counted before its slots are read": (
        "\t\tuint32_t read_count = wf_add_acq_rel(&block->read_count, k) + k;\n"
        "\t\tWF_CHECK(read_count <= WF_INJECTOR_CAP);\n"
        "\t\tif (read_count == WF_INJECTOR_CAP)\n",
        "\t\tif (read_count == WF_INJECTOR_CAP && slot + k == WF_INJECTOR_CAP)\n"),
    "push says `was empty` by an older look": ("\treturn head == 0;", "\treturn was_empty;"),
}


def attempt(scratch, mutation):
    test, what, name, old, new = mutation
    edits = [(old, new)]
    if what in SECOND:
        edits.append(SECOND[what])
    for entry in os.listdir(QUEUE):
        if entry.endswith((".c", ".h")):
            shutil.copy(os.path.join(QUEUE, entry), scratch)
    why = planted.plant(os.path.join(QUEUE, name), scratch, edits)
    if why:
        return None, why
    files = [os.path.join(planted.ROOT, "tests", "model", test + ".c")]
    files += [os.path.join(scratch, source) for source in SOURCES[test]]
    return planted.verdict(scratch, FOLDERS, files, TIME_LIMIT_S)


if __name__ == "__main__":
    sys.exit(planted.main(MUTATIONS, attempt))
