#!/bin/sh
# erlang.sh: Erlang's rows of actors (erlang_rows.erl, compiled beside this), as many schedulers as
# threads. Exit status 77 where there is no Erlang when it runs.
command -v erl > /dev/null 2>&1 || exit 77
if [ $# -ne 3 ] || [ "$2" -lt 1 ] || [ "$3" -lt 1 ]; then
	echo "usage: $0 ROW THREADS REPS" >&2
	exit 2
fi
exec erl +S "$2:$2" +P 2000000 -noinput -pa "$(dirname "$0")" -run erlang_rows main "$@"
