#!/bin/sh
# check.sh: the weft-bench command itself. Goal: every way in which a run, a report or an argument
# can be wrong gives the documented exit status and one clear line. Method: the program is copied
# beside scripted stand-ins for its peers, which answer wrongly, crash, hang or talk nonsense; it
# runs rows of the serial twin's name, so no figure matters.
set -u
bench=$1
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failures=0

# expect STATUS PATTERN COMMAND...: exit status and a line of the output (both streams).
expect() {
	want=$1 pattern=$2
	shift 2
	"$@" > "$dir/out" 2>&1
	got=$?
	if [ "$got" -ne "$want" ]; then
		echo "FAIL: $* exited $got, not $want"
		sed 's/^/  | /' "$dir/out"
		failures=$((failures + 1))
	elif [ -n "$pattern" ] && ! grep -q -e "$pattern" "$dir/out"; then
		echo "FAIL: $* did not say '$pattern'"
		sed 's/^/  | /' "$dir/out"
		failures=$((failures + 1))
	fi
}

# peer NAME BODY: a stand-in beside the copy.
peer() {
	printf '#!/bin/sh\n%s\n' "$2" > "$dir/weft-bench-$1"
	chmod +x "$dir/weft-bench-$1"
}

cp "$bench" "$dir/weft-bench" || exit 1
run="$dir/weft-bench run fib --tiny --threads 1"

# The heap that the build says: a linker may drop a library that is only used behind its back.
if [ "${2-}" = jemalloc ] && ! LD_TRACE_LOADED_OBJECTS=1 "$bench" | grep -q libjemalloc; then
	echo "FAIL: $bench does not load jemalloc"
	failures=$((failures + 1))
fi

# Arguments.
expect 2 'a command is needed' "$bench"
expect 2 'unknown command' "$bench" fly
expect 2 'no row matches' "$bench" run no_such_row
expect 2 'bad value' "$bench" run --threads 0
expect 2 'bad value' "$bench" run --threads 1,x
expect 2 'bad value' "$bench" run --reps 0
expect 2 'bad value' "$bench" run --min-time -1
expect 2 'unknown or incomplete' "$bench" run --wrong
expect 2 'usage:' "$bench" engine fib 0 1
expect 77 '' "$bench" engine no_such_row 1 1
expect 2 'one JSON file' "$bench" report
expect 0 'usage: weft-bench' "$bench" --help
expect 0 'churn_rss' "$bench" list

# A peer with a right answer (fib(5) = 5), then all the ways of being wrong.
peer serial 'echo "rep - 2.5 5 5"'
expect 0 'serial *1 *2.50' $run
peer serial 'echo "rep - 2.5 5 6"'
expect 1 'WRONG ANSWER: fib on serial, 1 threads, size 5: 6 instead of 5' $run
peer serial 'echo "rep _other 2.5 5 5"'
expect 1 "unknown figure '_other'" $run
peer serial 'echo nonsense'
expect 0 'printed a line that is no figure' $run
peer serial 'exit 3'
expect 0 'failed with status 3' $run
peer serial 'kill -9 $$'
expect 0 'died of signal 9' $run
peer serial 'exit 77'
expect 0 'fib *weft' $run
peer serial 'exec sleep 100'
expect 0 'did not end in time' $run --timeout 2

peer serial 'exit 77'

# A limit is run without being asked for, is checked, and stands behind weft's figure.
peer limit 'echo "rep - 2.5 5 5"'
expect 0 'store_get_1k *weft *1 .* of limit' $dir/weft-bench run store_get_1k --tiny --threads 1
expect 0 'store_get_1k *limit *1 *2.50' $dir/weft-bench run store_get_1k --tiny --threads 1
peer limit 'echo "rep - 2.5 5 6"'
expect 1 'WRONG ANSWER: store_get_1k on limit' $dir/weft-bench run store_get_1k --tiny --threads 1
rm "$dir/weft-bench-limit"

# Ray's published figure stands beside weft's row, Ray itself where it is; nobody misses it.
ray="$dir/weft-bench run ray_get --tiny --threads 1"
expect 0 'ray_get *weft *1 .* x ray-published' $ray
expect 0 'ray_get *ray-published *1 *91116' $ray
peer ray 'exit 77'
expect 0 'ray_get *weft *1 .* x ray-published' $ray --peers
cp "$dir/out" "$dir/said"
expect 1 '' grep 'weft-bench: ' "$dir/said"
peer ray 'echo "rep - 2.5 5 5"'
expect 0 'ray_get *weft *1 .* x ray ' $ray --peers
rm "$dir/weft-bench-ray"

# Files.
peer serial 'echo "rep - 2.5 5 5"'
expect 1 'No such file' $run --json "$dir/none/file.json"
expect 0 'fib *weft' $run --json "$dir/good.json"
expect 0 '"name":"fib","engine":"serial","threads":1,"unit":"ns","median":2.5' cat "$dir/good.json"
expect 0 '' "$bench" report "$dir/good.json" -o "$dir/page.html"
expect 0 '</svg>' cat "$dir/page.html"
expect 1 'No such file' "$bench" report "$dir/none.json"
expect 1 'No such file' "$bench" report "$dir/good.json" -o "$dir/none/page.html"
for bad in 'x' '{' '{"rows":3}' '{"rows":[{"name":"a"}]}' '{"rows":[]}' '{"rows":[{"name":"a' \
	'{"machine":{"a":[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]}}' \
	'{"rows":[{"name":"a","engine":"b","median":"x"}]}' '{"machine":{}} x'; do
	printf '%s' "$bad" > "$dir/bad.json"
	expect 1 'bad.json:1: ' "$bench" report "$dir/bad.json" -o "$dir/bad.html"
done
if [ -e "$dir/bad.html" ] || [ -e "$dir/bad.html.tmp" ]; then
	echo "FAIL: a refused report left a page"
	failures=$((failures + 1))
fi
printf '{"later":{"a":[1,"\\u0041",null]},"machine":{"cpu":"<&>"},"rows":[{"name":"x<y",' \
	> "$dir/new.json"
printf '"engine":"weft","threads":1,"new":true,"median":1e3,"checked":true}]}' >> "$dir/new.json"
expect 0 '' "$bench" report "$dir/new.json" -o "$dir/new.html"
expect 0 'x&lt;y' cat "$dir/new.html"

[ "$failures" -eq 0 ] || exit 1
echo "the command behaves"
