#!/usr/bin/env python3
"""symbols: what libweft.so shows and needs.

Goal: every exported symbol starts with weft_, every function the headers promise is there, and
the library does not bring an allocator or a C++ runtime into its host. Method: nm and readelf.

usage: symbols.py LIBRARY HEADER...
"""
import re
import shutil
import subprocess
import sys


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main(library, *headers):
    if not shutil.which("nm") or not shutil.which("readelf"):
        print("no binutils")
        return 77
    bad = []
    symbols = [line.split()[-1] for line in output("nm", "-D", "--defined-only", library)
               .splitlines()]
    exported = {name.split("@")[0] for name in symbols}
    bad += ["exports " + name for name in sorted(exported) if not name.startswith("weft_")]
    code = ""
    for header in headers:
        with open(header, encoding="utf-8") as f:
            code += re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    promised = set(re.findall(r"WEFT_(?:CLIENT_)?API[^;{]*?\b(weft_\w+)\s*\(", code))
    if len(promised) < 10:
        bad.append("found only %d functions in the headers" % len(promised))
    bad += ["does not export " + name for name in sorted(promised - exported)]
    bad += ["exports %s, which no header has" % name
            for name in sorted(exported - promised) if name.startswith("weft_")]
    dynamic = output("readelf", "-d", library)
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic)
    bad += ["needs " + name for name in needed
            if re.match(r"lib(jemalloc|tcmalloc|stdc\+\+)" +
                        ("|lib(?!c[.])" if "client" in library else ""), name)]
    for line in bad:
        print("%s: %s" % (library, line), file=sys.stderr)
    print("%d exported, needs %s" % (len(exported), " ".join(needed)))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
