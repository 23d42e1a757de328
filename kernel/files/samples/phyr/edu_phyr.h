/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * What the sample driver of QEMU's edu device and its users share.
 */
#ifndef _SAMPLES_EDU_PHYR_H
#define _SAMPLES_EDU_PHYR_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The DMA addresses are the physical ones, and there is no list of them. */
#define EDU_PHYR_IDENTITY	1

/**
 * struct edu_phyr_side - how the memory of one side of a copy was held
 * @phyrs: number of physical ranges
 * @dma_phyrs: number of ranges for DMA
 * @flags: EDU_PHYR_IDENTITY or 0
 * @reserved: 0
 */
struct edu_phyr_side {
	__u64	phyrs;
	__u64	dma_phyrs;
	__u32	flags;
	__u32	reserved;
};

/* Pin and map both sides, and copy nothing. */
#define EDU_PHYR_MAP_ONLY	1

/**
 * struct edu_phyr_copy - let the device copy memory of this process
 * @src: address of the first byte to copy
 * @dst: address of the first byte to copy to
 * @len: bytes, at least one
 * @flags: EDU_PHYR_MAP_ONLY or 0
 * @reserved: must be 0
 * @src_side: is filled with what became of @src
 * @dst_side: is filled with what became of @dst
 */
struct edu_phyr_copy {
	__u64	src;
	__u64	dst;
	__u64	len;
	__u32	flags;
	__u32	reserved;
	struct edu_phyr_side	src_side;
	struct edu_phyr_side	dst_side;
};

#define EDU_PHYR_COPY	_IOWR('e', 0xd0, struct edu_phyr_copy)

#endif /* _SAMPLES_EDU_PHYR_H */
