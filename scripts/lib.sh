# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by every script: where things are, how progress is told, how two runs
# keep out of each other's way.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$(realpath -m "${BUILD:-$TOP/build}")
LOGS=$BUILD/log
export BUILD
mkdir -p "$BUILD/lock" "$LOGS"

# A user's git settings (hooks, signing, renames, autocrlf) must not change what is made.
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null

note() { printf '%s\n' "$*" >&2; }
die() { note "${0##*/}: $*"; exit 1; }

STEP=0 STEPS=0
steps() { STEPS=$1 STEP=0; }

# stage NAME CMD...: a step that does its own talking.
stage() {
	local name=$1
	shift
	STEP=$((STEP + 1))
	note "[$STEP/$STEPS] $name"
	"$@"
}

# step NAME CMD...: CMD's output goes to a log; a failure shows its tail. CMD gets a
# process group of its own, so that a Ctrl-C ends all that it started.
step() {
	local name=$1 log=$LOGS/$1.log t0=$SECONDS pid rc=0 head
	shift
	STEP=$((STEP + 1))
	head="[$STEP/$STEPS] $name ... (log: ${log#"$TOP"/})"
	set -m
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	set +m
	trap 'kill -TERM -- -"$pid" 2>/dev/null; exit 130' INT TERM
	if [[ -t 2 ]]; then
		while kill -0 "$pid" 2>/dev/null; do
			printf '\r%s %ds ' "$head" $((SECONDS - t0)) >&2
			sleep 1
		done
		printf '\r%s %ds\n' "$head" $((SECONDS - t0)) >&2
	else
		note "$head"
	fi
	wait "$pid" || rc=$?
	trap - INT TERM
	[[ -t 2 ]] || note "[$STEP/$STEPS] $name: $((SECONDS - t0))s"
	[[ $rc == 0 ]] && return
	tail -n 30 "$log" >&2
	note "$name failed (exit $rc); all of its output: $log"
	exit "$rc"
}

# lock NAME: held until this process ends. Children that outlive it must close fd 9.
lock() {
	exec 9>"$BUILD/lock/$1"
	flock -n 9 && return
	note "waiting for another run ($1)"
	flock 9
}

COMPONENTS=(kernel rdma-core perftest)

# part_dir COMPONENT: where its BASE, files/ and patches/ are.
part_dir() {
	case $1 in
	kernel) echo "$TOP/kernel" ;;
	rdma-core | perftest) echo "$TOP/rdma-core-patches/$1" ;;
	*) die "unknown component '$1': one of ${COMPONENTS[*]}" ;;
	esac
}

# base COMPONENT KEY: a value from its BASE file.
base() {
	local file
	file=$(part_dir "$1")/BASE
	sed -n "s/^$2=//p" "$file" | grep . || die "$file has no '$2'"
}

# tree_hash DIR: what git would record for DIR as it is now, edits and new files included.
tree_hash() {
	local index rc=0
	index=$(mktemp)
	cp "$(git -C "$1" rev-parse --absolute-git-dir)/index" "$index"
	GIT_INDEX_FILE=$index git -C "$1" add -A && GIT_INDEX_FILE=$index git -C "$1" write-tree || rc=$?
	rm -f "$index"
	return "$rc"
}

# The same source gives the same object in every tree, so that the second kernel
# comes from the cache: relative paths, no dates, no names.
build_environment() {
	JOBS=${JOBS:-$(nproc)}
	export LC_ALL=C CCACHE_NOHASHDIR=1
	export CCACHE_SLOPPINESS=time_macros,include_file_mtime,include_file_ctime,file_stat_matches,locale
	export KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' KBUILD_BUILD_USER=phyr KBUILD_BUILD_HOST=phyr
	CACHED=()
	# shellcheck disable=SC2034 # for those who source this
	! command -v ccache >/dev/null || CACHED=(ccache)
}

# Options of our kernel alone, for make's command line: see kernel/configs/phyr.config.
own_options() { grep '^CONFIG_' "$TOP/kernel/configs/phyr.config" || true; }
