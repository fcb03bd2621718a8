#!/usr/bin/env bash
# install.sh: what tools/run does on machines that lack something.
#
# Goal: it installs only what is missing, as root or through sudo; without either, or without a
# network, it goes on when the build is possible and else says in one line what to install; a try
# that failed is not made again. Method: tools/common.sh in an empty folder, with the package
# tools replaced by functions that answer from variables and write down that they were called.
set -eu
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir build
# shellcheck source=tools/common.sh
. "$TOP/tools/common.sh"

present='gcc meson' user=0 network=yes absent='' log=$work/calls

dpkg-query() {
	shift 3
	local package
	for package in "$@"; do
		case " $present " in
		*" $package "*) echo "installed $package" ;;
		*) echo "not-installed $package" ;;
		esac
	done
}
apt-get() {
	echo "apt-get $1" >>"$log"
	[ "$network" = yes ] || return 100
	if [ "$1" = install ]; then
		echo "$*" >>"$work/words"
		shift
		for word in "$@"; do
			case $word in -*) ;; *) echo "$word" >>"$work/got" ;; esac
		done
	fi
}
id() {
	echo "$user"
}
sudo() {
	return 1
}
need_programs() {
	printf '%s' "$absent"
}
fails=0
expect() {
	local what=$1
	shift
	if ! "$@"; then
		echo "wrong: $what" >&2
		fails=$((fails + 1))
	fi
}
fresh() {
	rm -f build/.packages-tried "$log" "$work/got" "$work/words"
	: >"$log"
}

fresh
out=$(install_packages gcc meson)
expect 'nothing missing, nothing said' [ -z "$out" ]
expect 'nothing missing, apt not called' [ ! -s "$log" ]

fresh
out=$(install_packages gcc meson liburing-dev libhwloc-dev)
expect 'only the missing are installed' \
	[ "$(tr '\n' ' ' <"$work/got")" = 'liburing-dev libhwloc-dev ' ]

fresh
network=no
out=$(install_packages gcc liburing-dev)
expect 'no network: goes on and says so' grep -q 'apt-get install liburing-dev' <<<"$out"
: >"$log"
out=$(install_packages gcc liburing-dev)
expect 'no network: not tried twice' [ ! -s "$log" ]
expect 'no network: said again' grep -q 'liburing-dev' <<<"$out"

fresh
user=1000
out=$(install_packages gcc liburing-dev)
expect 'no root, no sudo: apt not called' [ ! -s "$log" ]
expect 'no root, no sudo: says what' grep -q 'apt-get install liburing-dev' <<<"$out"

fresh
absent=' ninja'
status=0
out=$(install_packages gcc ninja-build 2>&1) || status=$?
expect 'cannot build: fails' [ "$status" -eq 1 ]
expect 'cannot build: one line' [ "$(wc -l <<<"$out")" -eq 1 ]
expect 'cannot build: the line to type' grep -q 'apt-get install ninja-build' <<<"$out"

status=0
"$TOP/tools/run" --build extra >/dev/null 2>&1 || status=$?
expect 'wrong usage of tools/run is 2' [ "$status" -eq 2 ]
status=0
"$TOP/tools/test" --suite nonsense >/dev/null 2>&1 || status=$?
expect 'wrong usage of tools/test is 2' [ "$status" -eq 2 ]
expect 'tools/run --help' grep -q 'usage' <<<"$("$TOP/tools/run" --help)"
[ "$fails" -eq 0 ]
