#!/usr/bin/env python3
"""rules: a checker that finds nothing proves nothing.

Goal: each rule of tools/tidy finds its planted offence and leaves the clean twin alone. Method:
small sources given to the rules directly, under the path of the room the rule is about.
"""
import importlib.machinery
import importlib.util
import os
import sys

sys.dont_write_bytecode = True
TIDY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "tidy")
LOADER = importlib.machinery.SourceFileLoader("tidy", TIDY)
tidy = importlib.util.module_from_spec(importlib.util.spec_from_loader("tidy", LOADER))
LOADER.exec_module(tidy)

SLASHES = "/" + "/"
LONG = "static int f(int x)\n{\n%s\treturn x;\n}\n"
# rule, path, bad text, good text
SOURCES = [
    ("long_function", "engine/base/a.c", LONG % ("\tx++;\n" * 70), LONG % ("\tx++;\n" * 69)),
    ("line_comment", "engine/base/a.c", "int a; %s why\n" % SLASHES,
     "/* see http:%sx */ const char *a = \"%s\";\n" % (SLASHES, SLASHES)),
    ("raw_atomic", "engine/queue/a.c", "int f(void)\n{\n\treturn atomic_load(&x);\n}\n",
     "int f(void)\n{\n\treturn 1; /* atomic_load */\n}\n"),
    ("raw_atomic", "store/a.c", "static _Atomic int x;\n", "static struct wf_a32 x;\n"),
    ("order_comment", "engine/queue/a.c",
     "void f(void)\n{\n\t/* why */\n\twf_store_release(&x, 1);\n}\n",
     "void f(void)\n{\n\t/* release [D1]: to [D2]. */\n\twf_store_release(&x, 1);\n}\n"),
    ("order_comment", "engine/queue/a.c", "void f(void)\n{\n\twf_load_relaxed(&x);\n}\n",
     "void f(void)\n{\n\t/* relaxed: a hint. */\n\twf_load_relaxed(&x);\n}\n"),
    ("order_comment", "store/a.c", "void f(void)\n{\n\twf_fence_seq_cst();\n}\n",
     "void f(void)\n{\n\twf_fence_seq_cst(); /* [S1] with [S2] */\n}\n"),
    ("order_comment", "engine/task/a.c", "void f(void)\n{\n\twf_cas_acq_rel(&x, &y, 1);\n}\n",
     "void f(void)\n{\n\twf_cell_release(x);\n}\n"),
    ("open_end", "engine/base/a.c", "/* TO" + "DO more */\n", "/* TO" + "DO #12 more */\n"),
    ("public_doc", "engine/include/weft.h", "/* Does it. */\nWEFT_API int weft_x(void);\n",
     "/* Does it. Any thread. -EINVAL. */\nWEFT_API int weft_x(void);\n"),
]


def count(rule, path, text):
    return len(list(tidy.SOURCE_RULES[rule](tidy.Source(path, text))))


def tree(rule, function, path, good, bad):
    for text, wanted in ((good, False), (bad, True)):
        found = {name: [] for name in list(tidy.SOURCE_RULES) + tidy.TREE_RULES}
        function(path, text, found)
        if bool(found[rule]) != wanted:
            return ["%s on %r: found %d" % (rule, text, len(found[rule]))]
    return []


def as_sources(function):
    return lambda path, text, found: function([tidy.Source(path, text)], found)


def with_texts(function):
    """The file beside one test of the suite and one room; None: the file is not there."""
    others = [("tests/unit/deque.c", ""), ("store/meson.build", "")]
    return lambda path, text, found: function(
        others + ([(path, text)] if text is not None else []), found)


def main():
    wrong = []
    for rule, path, bad, good in SOURCES:
        if count(rule, path, bad) == 0:
            wrong.append("%s misses %r" % (rule, bad))
        if count(rule, path, good) != 0:
            wrong.append("%s blames %r" % (rule, good))
    tidy.HEADERS.update({"sched.h": ("engine/sched", 2), "base.h": ("engine/base", 0)})
    if count("include_direction", "engine/queue/a.c", '#include "sched.h"\n') != 1 or \
            count("include_direction", "engine/queue/a.c", '#include "base.h"\n') != 0:
        wrong.append("include_direction")
    wrong += tree("long_file", tidy.text_rules, "a.c", "x\n" * 800, "x\n" * 801)
    wrong += tree("long_line", tidy.text_rules, "a.c", "x" * 100, "\t" + "x" * 93)
    wrong += tree("trailing_space", tidy.text_rules, "a.c", "x\n", "x \n")
    wrong += tree("workplace", tidy.text_rules, "a.c", "/tmp/x", "/" + "home/someone")
    wrong += tree("meson_direction", tidy.rule_meson_direction, "engine/queue/meson.build",
                  "queue_dep = x\nbase_dep", "dependencies: fiber_dep.and(weft_dep)")
    wrong += tree("unlisted_test", with_texts(tidy.rule_unlisted_test), "tests/unit/meson.build",
                  "  'deque': 'queue',", "  'queue': 'base',")
    wrong += tree("no_readme", with_texts(tidy.rule_no_readme), "store/README.md", "x", None)
    body = "static int f(int x)\n{\n" + "\tx++;\n" * 20 + "%s\treturn x;\n}\n"
    wrong += tree("few_asserts", as_sources(tidy.rule_few_asserts), "engine/base/a.c",
                  body % "\tWF_CHECK(x > 1);\n\tWF_DEBUG(x);\n", body % "\tWF_CHECK(x);\n")
    door = "int wait_a(int x) WF_SUSPENDS;\n\n"
    wrong += tree("suspends", as_sources(tidy.rule_suspends), "engine/sched/a.c",
                  door + "int WF_SUSPENDS g(void)\n{\n\treturn wait_a(1);\n}\n",
                  door + "int g(void)\n{\n\treturn wait_a(1);\n}\n")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
