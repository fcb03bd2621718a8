# common.sh: what tools/run and tools/test share. Sourced by bash, never run.
#
# Packages are installed only when one is missing, once per list: a try that failed is remembered
# in build/.packages-tried, so that a machine without a network does not wait for it every time.

say() {
	printf '%s\n' "$*"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# The packages of "$@" that are not installed. Where there is no dpkg, nothing is known: the check
# for the programs below decides.
missing_packages() {
	command -v dpkg-query >/dev/null 2>&1 || return 0
	local installed package
	installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
		sed -n 's/^installed //p' || true)
	for package in "$@"; do
		grep -qxF "$package" <<<"$installed" || printf '%s ' "$package"
	done
}

# Without these nothing can be built.
need_programs() {
	local program missing=''
	for program in cc meson ninja pkg-config python3; do
		command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
	done
	printf '%s' "$missing"
}

# install_packages PACKAGE...: by apt as root or through sudo. When that cannot be, goes on if the
# build is possible without them and says what to install.
install_packages() {
	local missing root='' tried=build/.packages-tried lacking
	missing=$(missing_packages "$@")
	if [ -n "$missing" ] && ! { [ -f "$tried" ] && [ "$(cat "$tried")" = "$missing" ]; }; then
		if [ "$(id -u)" -ne 0 ]; then
			if command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
				root=sudo
			else
				root=none
			fi
		fi
		if [ "$root" != none ] && command -v apt-get >/dev/null 2>&1; then
			say "Installing: $missing"
			# The words of the lists are split on purpose.
			# shellcheck disable=SC2086
			{ $root apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				$root apt-get install -y -qq --no-install-recommends $missing; } \
				>build/apt.log 2>&1 || say "apt failed; its words are in build/apt.log"
		fi
		missing=$(missing_packages "$@")
		printf '%s' "$missing" >"$tried"
	fi
	lacking=$(need_programs)
	if [ -n "$lacking" ]; then
		die "cannot build without$lacking; install as root: apt-get install ${missing:-$*}"
	fi
	if [ -n "$missing" ]; then
		say "Going on without these; to add them, as root: apt-get install $missing"
	fi
}

# configure NAME [meson options]: build/NAME, again when its options changed.
configure() {
	local name=$1 stamp="build/$1/.options"
	shift
	if [ -f "build/$name/build.ninja" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$*" ]; then
		return 0
	fi
	rm -rf "build/${name:?}"
	if ! meson setup "build/$name" "$@" >"build/$name.log" 2>&1; then
		cat "build/$name.log"
		return 1
	fi
	sed -n '/^weft /,/^$/p; /^  weft$/,/^$/p' "build/$name.log"
	printf '%s' "$*" >"$stamp"
}

# Used by the scripts that source this.
# shellcheck disable=SC2034
{
	RUN_PACKAGES=(gcc libc6-dev meson ninja-build pkg-config python3 liburing-dev
		libjemalloc-dev libhwloc-dev libxxhash-dev)
	TEST_PACKAGES=("${RUN_PACKAGES[@]}" libcriterion-dev libjpeg62-turbo-dev libpng-dev)
	LONG_PACKAGES=("${TEST_PACKAGES[@]}" clang libclang-rt-dev valgrind qemu-user
		gcc-aarch64-linux-gnu libc6-dev-arm64-cross)
	RELEASE_OPTIONS=(--buildtype=release -Db_lto=true -Dtests=disabled)
	DEBUG_OPTIONS=(--buildtype=debugoptimized)
}
