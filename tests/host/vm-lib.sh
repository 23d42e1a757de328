# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by the harness' own tests: KTAP, and a folder that goes away.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT
cases=0

plan() { printf 'KTAP version 1\n1..%d\n' "$1"; }

# check DESC COMMAND...: one case. Its output is diagnostics, shown when it fails.
check() {
	local desc=$1 said
	shift
	cases=$((cases + 1))
	if said=$("$@" 2>&1); then
		echo "ok $cases $desc"
	else
		echo "not ok $cases $desc"
		printf "# %s\n" "${said//$'\n'/$'\n'# }"
	fi
}

skip() {
	cases=$((cases + 1))
	echo "ok $cases $1 # SKIP $2"
}

# same WANTED GOT
same() {
	[[ $1 == "$2" ]] && return
	printf 'wanted: %s\ngot:    %s\n' "$1" "$2"
	return 1
}

# gone COMMAND...: within 10 s, COMMAND no longer succeeds.
gone() {
	local tries=0
	while "$@"; do
		((++tries < 100)) || return 1
		sleep 0.1
	done
}

# The VM's own ways don't depend on the kernel: take one that is built.
for KERNEL in phyr stock; do
	[[ ! -r ${BUILD:-$TOP/build}/kernel/$KERNEL/bzImage ]] || break
done

# vm [options] -- CMD...: results in $TMP/stdout, stderr and status; it always succeeds.
vm() {
	local status=0
	"$TOP/scripts/vm" --kernel "$KERNEL" --out "$TMP/vm" --mem 1G --cpus 1 "$@" >"$TMP/stdout" 2>"$TMP/stderr" ||
		status=$?
	echo "$status" >"$TMP/status"
}

status_is() { same "$1" "$(<"$TMP/status")" || { tail -n 20 "$TMP/stderr" && return 1; }; }
