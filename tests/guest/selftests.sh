# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Run in the guest by tests/host/selftests: the kernel's selftests in BIN, the output
# of each into OUT.PROGRAM.tap, with a last line that says how the program ended.
#   bash tests/guest/selftests.sh BIN OUT pages|ranges|others|migration
set -euo pipefail
# shellcheck source=tests/guest/ktap.sh
. "${BASH_SOURCE[0]%/*}/ktap.sh"
# shellcheck source=tests/guest/selftests-rdma.sh
. "${BASH_SOURCE[0]%/*}/selftests-rdma.sh"

# gup_longterm and hugetlb_dio want files of a file system that is on a disk, and cow
# wants something to swap to.
make_disks() {
	local swap
	truncate -s 256M /run/{disk,swap}
	mkfs.ext4 -q /run/disk
	mount -o loop /run/disk /tmp
	cd /tmp
	[[ $1 == pages || $1 == ranges ]] || return 0
	swap=$(losetup -f --show /run/swap)
	mkswap -q "$swap"
	swapon "$swap"
}

held() { echo $(($(pins acquired) - $(pins released))); }

# run PROGRAM CMD...: all that it prints, and how it ended. In tmpfs first: a line at
# a time is slow over 9p.
run() {
	local name=$1 status=0 before
	shift
	before=$(held)
	echo "selftests: $name" >/dev/kmsg
	timeout -k 5 1000 "$@" >/run/tap 2>/run/tap.err </dev/null || status=$?
	sed 's/^/# stderr: /' /run/tap.err >>/run/tap
	echo "# end: exit status $status, pins left $(($(held) - before))" >>/run/tap
	cp /run/tap "$OUT.$name.tap"
	echo "$name: exit status $status, $SECONDS s since the start" >&2
}

# On the stock kernel a child now and then gets zeros where its parent has a page of
# 1G, so that what cow says of these differs from one run to the next.
hide_1G() {
	local sizes=/sys/kernel/mm/hugepages
	mkdir -p /run/sizes/hugepages-2048kB
	mount --bind "$sizes/hugepages-2048kB" /run/sizes/hugepages-2048kB
	mount --rbind /run/sizes "$sizes"
}

# The matrix of run_vmtests.sh on less memory. gup_test always says "ioctl status", so
# the case is named by the options, and by how far the pin got; a range command has the
# name of the page command that it stands for.
gup_matrix() {
	local n=0 huge cmd write share num
	for huge in -t -T -H; do
		for cmd; do
			for write in -w -W; do
				for share in -S ''; do
					for num in 1 512 123 -1; do
						gup_case "$((++n))" "$cmd" "$huge -m $SIZE $write $share -n $num"
					done
				done
			done
		done
	done
	echo "1..$n"
}

gup_case() {
	local cmd=$2 output verdict='not ok' what='no result'
	case $BY$cmd in
	ranges-a) cmd=-y ;;
	ranges-L) cmd=-Y ;;
	esac
	# shellcheck disable=SC2086 # options
	output=$("$BIN/gup_test" $cmd $3 2>&1) || :
	if [[ $output =~ (^|$'\n')((not )?ok)\ 1\ ([^$'\n']*) ]]; then
		verdict=${BASH_REMATCH[2]} what=${BASH_REMATCH[4]}
		[[ ! $output =~ [Tt]runcated\ \([^\)]*\) ]] || what+=", ${BASH_REMATCH[0],}"
	fi
	echo "$verdict $1 gup_test $2 $3: $what"
	echo "# ${output//$'\n'/$'\n'# }"
}

# What pins through gup_test, which has calls that ranges have no counterpart of.
pinning() {
	local by=()
	[[ $BY == pages ]] || by=(-y)
	export -f gup_matrix gup_case
	export BIN BY SIZE
	run gup_test-pin bash -c 'gup_matrix -a -L'
	[[ $BY != pages ]] || run gup_test bash -c 'gup_matrix -u -U -b'
	run gup_longterm "$BIN/gup_longterm" "${by[@]}"
	hide_1G
	run cow "$BIN/cow" "${by[@]}"
}

migration() { run migration "$BIN/migration${PHYR_SOAK:+-long}"; }

# Not here: uffd-unit-tests, which takes longer than all of these under TCG, and
# ksm_functional_tests, which waits for ksmd to get round.
others() {
	local name
	rdma_scripts
	for name in hugetlb-{madvise,mmap,mremap,shm} hugetlb_{dio,fault_after_madv,madv_vs_map} \
		memfd_secret split_huge_page_test; do
		run "$name" "$BIN/$name"
	done
	migration
	# These leave broken pages behind.
	run hugetlb-soft-offline "$BIN/hugetlb-soft-offline"
	run hugetlb-read-hwpoison "$BIN/hugetlb-read-hwpoison"
}

main() {
	BIN=$1 OUT=$2 BY=$3 SIZE=${PHYR_SOAK:+12}8
	make_disks "$BY"
	case $BY in
	others) others ;;
	migration) migration ;;
	*) pinning ;;
	esac
}

main "$@"
