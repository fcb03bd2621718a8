#!/usr/bin/env python3
"""header: each public header stands alone, in both languages, with every compiler at hand.

Goal: a program may include <weft.h> first, in strict C11 or C++17, under the usual warnings made
errors. Method: a file that holds nothing but the include (twice: the guard) and a use of the
inline functions and macros is compiled by gcc, clang, g++ and clang++ as far as they are there.

usage: header.py INCLUDE_DIR...
"""
import glob
import os
import shutil
import subprocess
import sys
import tempfile

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wundef", "-Wconversion", "-Wcast-qual", "-Werror"]
C_USE = """
#include <%(header)s>
#include <%(header)s>
static int body(weft_task *self) { return weft_return(self, "x", 1); }
int use(weft *rt, weft_ref in, weft_ref *out);
int use(weft *rt, weft_ref in, weft_ref *out)
{
	int value = 3, status = weft_submit(rt, WEFT_TASK(body, WEFT_ARG(value), WEFT_INPUTS(in),
		.opts = WEFT_TASK_OPTIONS(.name = "n", .retries = WEFT_RETRIES_NONE)), out);
	weft_ref none = WEFT_NONE;
	return status + (int)none.bits + weft_open(&rt, WEFT_OPTIONS(.workers = 1)) +
		(int)weft_after_ms(rt, 5);
}
"""
CPP_USE = """
#include <%(header)s>
#include <%(header)s>
static int body(weft_task *self) { return weft_return(self, "x", 1); }
int use(weft *rt, weft_ref *out);
int use(weft *rt, weft_ref *out)
{
	struct weft_call call = {};
	call.fn = body;
	return weft_submit(rt, &call, out) + static_cast<int>(weft_after_ms(rt, 5));
}
"""
ALONE = "#include <%(header)s>\nint alone;\n"


def compile_one(compiler, flags, suffix, text, includes):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "use" + suffix)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        command = [compiler, *flags, *WARNINGS, *["-I" + i for i in includes], "-c", path, "-o",
                   os.path.join(folder, "use.o")]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            print(" ".join(command), run.stderr, sep="\n", file=sys.stderr)
        return run.returncode == 0


def main(includes):
    headers = sorted(os.path.basename(p) for i in includes for p in glob.glob(i + "/*.h"))
    if not headers:
        print("no public header found", file=sys.stderr)
        return 1
    ran, good = 0, True
    for compiler, standard, suffix, use in (("gcc", "c11", ".c", C_USE),
                                            ("clang", "c11", ".c", C_USE),
                                            ("g++", "c++17", ".cpp", CPP_USE),
                                            ("clang++", "c++17", ".cpp", CPP_USE)):
        if not shutil.which(compiler):
            continue
        flags = ["-std=" + standard]
        if suffix == ".c":
            # Not in C++: there a function named like a struct (as stat() is) counts as shadowing.
            flags.append("-Wshadow")
        if compiler.startswith("clang") and suffix == ".c":
            # Clang calls __VA_ARGS__ left empty an extension of C11; users pass at least a comma.
            flags.append("-Wno-gnu-zero-variadic-macro-arguments")
        for header in headers:
            texts = [ALONE] + ([use] if header == "weft.h" else [])
            for text in texts:
                ran += 1
                good &= compile_one(compiler, flags, suffix, text % {"header": header}, includes)
    if ran == 0:
        print("no compiler found")
        return 77
    print("%d compilations" % ran)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
