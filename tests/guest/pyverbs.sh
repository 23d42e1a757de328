# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Run in the guest by tests/host/pyverbs: the test suite of the rdma-core in PREFIX,
# a line for each case into OUT, and a last one that says how it ended.
#   bash tests/guest/pyverbs.sh PREFIX OUT [CASE...]
set -euo pipefail
HERE=${BASH_SOURCE[0]%/*}
# shellcheck source=tests/guest/ktap.sh
. "$HERE/ktap.sh"
# shellcheck source=tests/guest/pair.sh
. "$HERE/pair.sh"

main() {
	local prefix=$1 out=$2 status=0 tests gid
	shift 2
	gid=$(ipv4_gid rxe0)
	if [[ -d $prefix/obj ]]; then
		tests=$prefix/src/tests
		export LD_LIBRARY_PATH=$prefix/obj/lib PYTHONPATH=$prefix/obj/python
	else
		tests=$prefix/share/doc/rdma-core/tests
		export LD_LIBRARY_PATH=$prefix/lib PYTHONPATH=$prefix/lib/python3/dist-packages
	fi
	export TMPDIR=/run PYTHONDONTWRITEBYTECODE=1
	timeout -k 5 1000 python3 "$HERE/pyverbs-cases.py" "$tests" /run/verdicts "$gid" "$@" || status=$?
	echo "end: exit status $status, pins left $(($(pins acquired) - $(pins released)))" >>/run/verdicts
	cp /run/verdicts "$out"
}

main "$@"
