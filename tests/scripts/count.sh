#!/usr/bin/env bash
# count.sh: the last line of tools/test can be believed.
#
# Goal: tools/count adds up what the runners print, and a program that failed is never counted as
# passed. Method: logs written by hand with known sums.
set -eu
TOP=${TOP:-$(cd "$(dirname "$0")/../.." && pwd)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fails=0
expect() {
	local want=$1 have
	shift
	printf '%s\n' "$@" >"$work/log"
	have=$(python3 "$TOP/tools/count" "$work/log")
	if [ "$have" != "$want" ]; then
		echo "wanted '$want', have '$have' for: $*" >&2
		fails=$((fails + 1))
	fi
}

expect '1 0 0' '{"result": "OK", "stdout": "hello"}'
expect '0 1 0' '{"result": "FAIL"}'
expect '0 1 0' '{"result": "TIMEOUT", "stdout": ""}'
expect '0 0 1' '{"result": "SKIP", "stdout": "no GPU"}'
expect '5 0 0' \
	'{"result": "OK", "stderr": "Sum: Tested: 5 | Passing: 5 | Failing: 0 | Crashing: 0 "}'
expect '2 3 0' '{"result": "FAIL", "stderr": "Tested: 5 | Passing: 2 | Failing: 2 | Crashing: 1"}'
expect '2 0 1' \
	'{"result": "OK", "stderr": "[SKIP] a\nTested: 2 | Passing: 2 | Failing: 0 | Crashing: 0"}'
expect '2 0 1' '{"result": "OK", "stderr": "Tested: 3 | Passing: 2 | Failing: 0\n"}'
# The runner was content and the program still failed: a leak found at exit.
expect '2 1 0' '{"result": "FAIL", "stderr": "Tested: 3 | Passing: 3 | Failing: 0\n"}'
expect '3 1 1' '{"result": "OK"}' '{"result": "ERROR"}' '{"result": "SKIP"}' \
	'{"result": "OK", "stdout": "Tested: 2 | Passing: 2 | Failing: 0"}'
[ "$fails" -eq 0 ]
