# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2154 # BIN is tests/guest/selftests.sh's
#
# Sourced by tests/guest/selftests.sh: the scripts of selftests/rdma, as TAP.

# What these would load is built in.
shim_modules() {
	mkdir -p /run/shims
	printf '#!/bin/sh\n' >/run/shims/modprobe
	chmod +x /run/shims/modprobe
	ln -sfn modprobe /run/shims/modinfo
	PATH=/run/shims:$PATH
}

# as_tap SCRIPT: one result by its exit status, unless it prints its own. These give a
# server a second to come up and a device none to go, too little on a busy host: three
# tries.
as_tap() {
	local try status
	for try in 1 2 3; do
		status=0
		bash "$1" >/run/script.out 2>&1 </dev/null || status=$?
		! pkill -KILL -x rping || sleep 1
		[[ $status != [04] ]] || break
		sed "s/^/# try $try: /" /run/script.out
	done
	if grep -q '^1\.\.' /run/script.out; then
		cat /run/script.out
		return "$status"
	fi
	sed 's/^/# /' /run/script.out
	case $status in
	0) echo "ok 1 ${1##*/}" ;;
	4) echo "ok 1 ${1##*/} # SKIP" ;;
	*) echo "not ok 1 ${1##*/}" ;;
	esac
	echo "1..1"
	return "$status"
}

rdma_scripts() {
	local file
	shim_modules
	export -f as_tap
	# Once, so that it's in the page cache when a script gives it a second.
	timeout 10 rping -c -a 127.0.0.1 >/dev/null 2>&1 || :
	for file in "$BIN"/rdma/*.sh; do
		run "rdma-$(basename "$file" .sh)" bash -c 'as_tap "$0"' "$file"
	done
}
