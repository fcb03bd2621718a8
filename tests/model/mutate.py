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
     "\twf_membarrier();\n"
     "\t/* acquire [D2]: with [D1]; the slots and items below the bottom that is "
     "seen. */\n\tuint32_t b = wf_load_acquire(&d->bottom);\n",
     "\tuint32_t b = split + n;\n\twf_membarrier();\n"),
    ("deque", "deque.c", "two thieves may force at a time",
     "if (wf_swap_acquire(&d->forcing, 1))", "if (0)"),
    ("deque", "deque.c", "a thief steals tentative items",
     "if (w & WF_DEQUE_TENTATIVE || n == 0 || max == 0)", "if (n == 0 || max == 0)"),
    ("deque", "deque.c", "a stolen batch is claimed by a plain store",
     "\t\t\tif (!wf_cas_release(&d->word, &w, next))\n\t\t\t\treturn 0;",
     "\t\t\twf_store_release(&d->word, next);"),
    ("deque", "deque.c", "the slots are read after the claim",
     "\t\t\tuint64_t next = make_word(tail + k, wf_deque_word_split(w));\n",
     "\t\t\tuint64_t next = make_word(tail + k, wf_deque_word_split(w));\n"
     "\t\t\tif (!wf_cas_release(&d->word, &w, next))\n\t\t\t\treturn 0;\n"
     "\t\t\tfor (uint32_t i = 0; i < k; i++)\n"
     "\t\t\t\tout[i] = (void *)wf_load_relaxed(\n"
     "\t\t\t\t\t&ring->slots[(tail + i) & ring->mask]);\n"
     "\t\t\tw = next;\n"),
    ("deque", "deque.c", "reclaim publishes before the copies are written",
     "\tfor (uint32_t i = 0; i < n - 1; i++)\n"
     "\t\tslot_store(d, b + i, slot_load(d, b - n + i));\n"
     "\t/* release [D3]: the copies are visible to the thief that loads the word [D4]. */\n"
     "\tif (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2)))\n"
     "\t\treturn 0;\n",
     "\tif (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2)))\n"
     "\t\treturn 0;\n"
     "\tfor (uint32_t i = 0; i < n - 1; i++)\n"
     "\t\tslot_store(d, b + i, slot_load(d, b - n + i));\n"),
    ("deque", "deque.c", "reclaim raises bottom before its CAS",
     "\tif (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2)))\n\t\treturn 0;\n",
     "\twf_store_release(&d->bottom, b + n - 1);\n"
     "\tif (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2))) {\n"
     "\t\twf_store_release(&d->bottom, b);\n\t\treturn 0;\n\t}\n"),
    ("deque", "deque.c", "reclaim forgets the limit", "\td->limit = b + capacity(d);\n", ""),
    ("deque", "deque.c", "reclaim does not look at the room",
     "if (2 * n - 1 > capacity(d) && grow(d, b - n, b) != 0)",
     "if (0 && grow(d, b - n, b) != 0)"),
    ("deque", "deque.c", "split is lowered although thieves take several",
     "\tif (d->asymmetric)\n\t\treturn reclaim(d, w, b);\n",
     "\tif (0)\n\t\treturn reclaim(d, w, b);\n"),
    ("deque", "deque.c", "without asymmetry thieves take several with one CAS",
     "if (!d->asymmetric_mt) {\n\t\t\ttaken", "if (0) {\n\t\t\ttaken"),
    ("deque", "deque.c", "push uses a slot again before the thief has left it",
     "if (b - tail == capacity(d)) {", "if (b - tail > capacity(d)) {"),
    ("deque", "deque.c", "a new ring is shown without its items",
     "\tfor (uint32_t i = tail; i != bottom; i++)\n",
     "\tfor (uint32_t i = tail + 1; i != bottom; i++)\n"),
    ("deque", "deque.c", "an old ring is freed when it is replaced",
     "\td->rings = ring;\n\td->slots = ring->slots;\n\td->mask = ring->mask;\n"
     "\td->limit = tail + capacity(d);\n",
     "\twf_free(d->rings);\n\tring->older = NULL;\n\td->rings = ring;\n"
     "\td->slots = ring->slots;\n\td->mask = ring->mask;\n"
     "\td->limit = tail + capacity(d);\n"),
    ("deque", "deque.c", "remove does not check that the item was private",
     "if (!lower(d, b - i)) {", "if (!lower(d, b - i) && 0) {"),
    ("deque", "deque.c", "remove leaves the hole where thieves see bottom all the time",
     "\t\tif (!lower(d, b - i)) {\n\t\t\traise(d, b);\n\t\t\tcontinue;\n\t\t}\n"
     "\t\tif (i == 1)\n\t\t\treturn true;\n",
     "\t\tif (i == 1 && !lower(d, b - i)) {\n\t\t\traise(d, b);\n"
     "\t\t\tcontinue;\n\t\t}\n\t\tif (i == 1)\n\t\t\treturn true;\n"),
    ("deque", "deque.c", "the owner leaves a tentative word alone and takes the item",
     "\treturn (int32_t)(b - wf_deque_word_split(w)) >= 0;",
     "\treturn (int32_t)(b - wf_deque_word_split(settled(w))) >= 0;"),
    ("deque", "deque.c", "an answer exposes more than there is",
     "uint32_t k = n < private_count ? n : private_count;", "uint32_t k = n;"),
    ("deque", "deque.c", "the answer forgets that a word is tentative",
     "\t\tuint64_t base = settled(w);\n",
     "\t\tuint64_t base = w & ~WF_DEQUE_TENTATIVE;\n"),
    ("deque", "deque.h", "pop looks at the word before it lowers bottom",
     "\twf_store_release(&d->bottom, b);\n"
     "\t/* Store before load: the processor's half of this fence is the thief's membarrier "
     "[F1]. */\n"
     "\twf_fence_compiler();\n"
     "\t/* relaxed: a private item was stored by the owner itself. */\n"
     "\tuint64_t w = wf_load_relaxed(&d->word);\n",
     "\tuint64_t w = wf_load_relaxed(&d->word);\n\twf_store_release(&d->bottom, b);\n"),
    ("deque", "deque.h", "push shows the new bottom before the slot is written",
     "\twf_store_relaxed(&d->slots[b & d->mask], (uintptr_t)item);\n"
     "\t/* release [D1]: a forcing thief that sees the new bottom in [D2] sees slot and item. "
     "*/\n"
     "\twf_store_release(&d->bottom, b + 1);\n",
     "\twf_store_release(&d->bottom, b + 1);\n"
     "\twf_store_relaxed(&d->slots[b & d->mask], (uintptr_t)item);\n"),
    ("deque", "deque.h", "take trusts the slot of an empty deque",
     "\tif (WF_LIKELY((int32_t)(b - 1 - wf_deque_word_split(w)) >= 0))",
     "\tif (w || 1)"),
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
     "if (read_count == WF_INJECTOR_CAP)\n\t\t\twf_free",
     "if (slot + k == WF_INJECTOR_CAP)\n\t\t\twf_free"),
    ("injector", "injector.c", "the block is counted before its slots are read",
     "\t\tif (slot + k == WF_INJECTOR_CAP)\n\t\t\tcross_edge(",
     "\t\tuint32_t read_count = wf_add_acq_rel(&block->read_count, k) + k;\n"
     "\t\tif (read_count == WF_INJECTOR_CAP && slot + k != WF_INJECTOR_CAP)\n"
     "\t\t\twf_free(block);\n"
     "\t\tif (slot + k == WF_INJECTOR_CAP)\n\t\t\tcross_edge("),
    ("injector", "injector.c", "the tail moves on before its block is there",
     "\t\twf_store_release(&q->tail_block, (uintptr_t)last);\n"
     "\t\t/* release [I3]: who sees this index [I4] sees the block stored just before. */\n"
     "\t\twf_store_release(&q->tail, after);\n",
     "\t\twf_store_release(&q->tail, after);\n"
     "\t\twf_store_release(&q->tail_block, (uintptr_t)last);\n"),
    ("injector", "injector.c", "the head moves on before its block is there",
     "\twf_store_release(&q->head_block, next);\n"
     "\t/* release [I7]: who sees this index [I8] sees the block stored just before. */\n"
     "\twf_store_release(&q->head, after);\n",
     "\twf_store_release(&q->head, after);\n\twf_store_release(&q->head_block, next);\n"),
    ("injector", "injector.c", "producers do not stop at the edge",
     "\t\tif (tail % WF_LAP == WF_INJECTOR_CAP) {\n\t\t\twait_turn(&tries);\n"
     "\t\t\tcontinue;\n\t\t}\n", ""),
    ("injector", "injector.c", "the next block is made after the claim",
     "\t\tif (edges && !*spare)\n\t\t\treturn NULL;\n", ""),
    ("injector", "injector.c", "what is left of the spare blocks is forgotten",
     "\tfill(block, at, items, n);\n\tchain_destroy(spare);\n",
     "\tfill(block, at, items, n);\n"),
    ("injector", "injector.c", "a failed batch keeps the blocks it got",
     "\t\t\twhile (first) {", "\t\t\twhile (first && 0) {"),
    ("injector", "injector.c", "a batch is filled from its end",
     "(uintptr_t)items[i]);", "(uintptr_t)items[k - 1 - i]);"),

    ("mpsc", "mpsc.h", "push is a load and a store",
     "while (!wf_cas_release(&q->head, &head, (uintptr_t)node));",
     "while (wf_store_release(&q->head, (uintptr_t)node), 0);"),
    ("mpsc", "mpsc.h", "a failed push keeps its old next",
     "\tdo {\n\t\t/* relaxed: published by [M1]. */\n"
     "\t\twf_store_relaxed(&node->next, head);\n",
     "\twf_store_relaxed(&node->next, head);\n\tdo {\n"),
    ("mpsc", "mpsc.h", "next is written after the push",
     "\treturn head == 0;", "\twf_store_relaxed(&node->next, head);\n\treturn head == 0;"),
    ("mpsc", "mpsc.h", "take is a load and a store",
     "(struct wf_mpsc_node *)wf_swap_acquire(&q->head, 0);",
     "(struct wf_mpsc_node *)wf_load_acquire(&q->head);\n\twf_store_relaxed(&q->head, 0);"),
    ("mpsc", "mpsc.h", "the chain is not turned round",
     "\t\twf_store_relaxed(&node->next, (uintptr_t)oldest);\n\t\toldest = node;\n",
     "\t\tif (!oldest)\n\t\t\toldest = node;\n"),
    ("mpsc", "mpsc.h", "push says `was empty` by an older look",
     "\tuintptr_t head = wf_load_relaxed(&q->head);\n",
     "\tuintptr_t head = wf_load_relaxed(&q->head);\n\tbool was_empty = head == 0;\n"),

    ("parker", "parker.c", "falling asleep overwrites a token",
     "if (!wf_cas_relaxed(&p->state, &seen, WF_PARKER_ASLEEP)) {",
     "if (seen = wf_load_relaxed(&p->state), seen != WF_PARKER_EMPTY ||\n"
     "\t    (wf_store_relaxed(&p->state, WF_PARKER_ASLEEP), false)) {"),
    ("parker", "parker.c", "unpark leaves a token and does not wake",
     "\twf_futex_wake(&p->state, 1);\n", ""),
    ("parker", "parker.c", "unpark is a load and a store",
     "uint32_t seen = wf_swap_release(&p->state, WF_PARKER_TOKEN);",
     "uint32_t seen = wf_load_relaxed(&p->state);\n"
     "\twf_store_release(&p->state, WF_PARKER_TOKEN);"),
    ("parker", "parker.c", "a token that comes with the deadline is dropped",
     "return seen == WF_PARKER_TOKEN ? 0 : -ETIMEDOUT;",
     "return rc == 0 ? 0 : -ETIMEDOUT;"),
    ("parker", "parker.c", "a wait that ended by itself counts as a token",
     "if (rc == 0 && wf_load_relaxed(&p->state) == WF_PARKER_ASLEEP)\n\t\t\tcontinue;\n",
     "if (0)\n\t\t\tcontinue;\n"),
    ("parker", "parker.c", "a park that times out stays `asleep`",
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
