# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by the tests that are shell scripts: KTAP lines, and what all of them ask.

results=0 failures=0

# result STATUS NAME: 0 is a pass.
result() {
	results=$((results + 1))
	if (($1)); then
		failures=$((failures + 1))
		echo "not ok $results $2"
	else
		echo "ok $results $2"
	fi
}

skip() {
	results=$((results + 1))
	echo "ok $results $1 # SKIP $2"
}

# check NAME CMD...: passes if CMD does; what CMD prints is shown either way.
check() {
	local name=$1 output rc=0
	shift
	output=$("$@" 2>&1) || rc=$?
	[[ ! $output ]] || echo "# ${output//$'\n'/$'\n'# }"
	result "$rc" "$name"
}

# subtest NAME CMD...: CMD prints KTAP of its own.
subtest() {
	local name=$1 rc=0
	shift
	echo "    # Subtest: $name"
	"$@" | sed -u 's/^/    /' || rc=$?
	result "$rc" "$name"
}

finish() {
	echo "1..$results"
	((failures == 0))
}

# A kernel without ranges answers everything through the page array.
is_stock() { ! grep -q ' pin_user_phyrs$' /proc/kallsyms; }

# The debug kernel is many times slower: tests do less there.
is_debug() { [[ $(uname -r) == *-debug ]]; }

# pyverbs DEVICE WORD: rdma-core's own tests that have WORD in their names.
pyverbs() {
	PYTHONPATH=$BUILD/userland/lib/python3/dist-packages PYTHONDONTWRITEBYTECODE=1 \
		python3 "$BUILD/src/rdma-core/tests/run_tests.py" --dev "$1" -v -k "$2" 2>&1
}

# passes DEVICE WORD: all of them, and none is skipped.
passes() {
	local output rc=0
	output=$(pyverbs "$@") || rc=$?
	echo "$output"
	((rc == 0)) && grep -q ' \.\.\. ok$' <<<"$output" && ! grep -q ' \.\.\. skipped' <<<"$output"
}

# mr_times Y|N: whether the kernel measures what registering an MR takes.
mr_times() { echo "$1" >/sys/module/ib_core/parameters/mr_times; }

# pins NAME: nr_foll_pin_NAME, with what each CPU still holds for itself.
pins() {
	echo 1 >/proc/sys/vm/stat_refresh
	sed -n "s/^nr_foll_pin_$1 //p" /proc/vmstat
}

pins_balance() {
	local acquired released
	acquired=$(pins acquired) released=$(pins released)
	echo "pins since boot: $acquired taken, $released given back"
	((acquired == released && acquired > 0))
}
