# SPDX-License-Identifier: GPL-2.0
#
# Each target does all that it needs, from an empty checkout on; the work is in scripts/.

export BUILD ?= $(CURDIR)/build
# Base tarballs by hand, for when the mirror no longer has the pinned ones.
export KERNEL_TARBALL RDMA_CORE_TARBALL PERFTEST_TARBALL

help:
	@echo 'make bench   what registering memory costs on the stock kernel and on ours'
	@echo 'make bench-peers  the same for everything else that holds memory for a device,'
	@echo '             and for large buffers, many MRs and many threads'
	@echo 'make test    all tests; results in build/test/summary.txt'
	@echo 'make soak    the tests at full length: hours'
	@echo 'make shell   a shell in a guest of our kernel, with rxe0 up'
	@echo 'make check   the patches: round trip, every step builds, checkpatch, sparse, i386'
	@echo 'make figures README, docs and charts brought up to date with what was measured last'
	@echo 'make mail    the patches as mails, in build/mail'
	@echo 'make clean   remove build/; refuses while a tree has edits that are not exported'

bench bench-peers test soak shell check mail:
	@scripts/run $@

figures:
	@scripts/figures-update

# Refuses while a tree has edits that are nowhere else.
clean:
	@scripts/clean

.PHONY: help bench bench-peers test soak shell check mail figures clean
