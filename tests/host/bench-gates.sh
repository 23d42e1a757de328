# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by the tests that hold what a benchmark has measured against its gates.

# measured RAW GUEST...: have all been measured, on the kernels that are there now?
measured() {
	local raw=$1 guest
	[[ -r $raw/versions ]] || return 1
	for guest in "${@:2}"; do
		cmp -s "$BUILD/kernel/${guest%-*}/inputs" "$raw/$guest.instructions/inputs" || return 1
	done
}

# gates SUMMARY FIGURE...: the named figure lines, and each gate as a case.
gates() {
	local summary=$1 n=0 failed=0 verdict text
	shift
	sed -nE "s/^($(IFS='|' && echo "$*")):/# figure: &/p" "$summary"
	while read -r verdict text; do
		case $verdict in
		ok) echo "ok $((++n)) $text" ;;
		FAILED) failed=1 && echo "not ok $((++n)) $text" ;;
		esac
	done <"$summary"
	echo "1..$n"
	return "$failed"
}

not_measured() {
	echo "not ok 1 measure"
	echo "1..1"
	exit 1
}
