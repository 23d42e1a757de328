/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef __UMEM_TEST_H
#define __UMEM_TEST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define UMEM_TEST_MEASURE	_IOWR('u', 1, struct umem_test)
#define UMEM_TEST_COMPARE	_IOWR('u', 2, struct umem_test)

/* The device is one that does DMA, not one that is a program. */
#define UMEM_TEST_DMA		1
/* Remote and local write access. */
#define UMEM_TEST_WRITE		2

/* Smaller blocks would be more than one wants to wait for. */
#define UMEM_TEST_PGSZ_MIN	512

/* What memory is held as, for UMEM_TEST_MEASURE. */
enum umem_test_form {
	UMEM_TEST_SGT,		/* the scatterlist of ib_umem_get_va() */
	UMEM_TEST_PHYRS,	/* the ranges of ib_umem_get_va_phyrs() */
	UMEM_TEST_PAGES,	/* the scatterlist, made of pages */
};

/* Where the forms differ, from each other or from what is true. */
enum umem_test_mismatch {
	UMEM_TEST_SAME,
	UMEM_TEST_ERROR,	/* errno */
	UMEM_TEST_START,	/* ib_umem_start_dma_addr() */
	UMEM_TEST_PGSZ,		/* ib_umem_find_best_pgsz() */
	UMEM_TEST_PGSZ_KEPT,	/* asked again, after another iova */
	UMEM_TEST_CONTIGUOUS,	/* ib_umem_is_contiguous() */
	UMEM_TEST_NR_BLOCKS,	/* ib_umem_num_dma_blocks() */
	UMEM_TEST_BLOCKS,	/* rdma_umem_for_each_dma_block() */
	UMEM_TEST_CONTENT,	/* ib_umem_copy_from() */
};

/*
 * Page sizes are of UMEM_TEST_PGSZ_MIN bytes or more.  Both forms are pinned at
 * once, so that RLIMIT_MEMLOCK has to allow for twice the memory.
 */
struct umem_test {
	__u64 addr;
	__u64 size;
	__u64 iova;
	__u64 pgsz_bitmap;
	/* Of the DMA device: bytes in a segment, and what none of them crosses. */
	__u64 max_segment;
	__u64 boundary_mask;
	__u32 flags;
	__u32 form;
	/* Out: of UMEM_TEST_MEASURE */
	__u64 get_nsec;
	__u64 put_nsec;
	/* Out: of both */
	__u64 nr_sgs;
	__u64 nr_phyrs;
	__u64 nr_dma_phyrs;
	__u64 pgsz;
	/* Out: of UMEM_TEST_COMPARE */
	__s32 error;		/* of the scatterlist, 0 or -errno */
	__u32 mismatch;
};

#endif	/* __UMEM_TEST_H */
