/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Physical ranges
 *
 * A phyr names a stretch of physical memory in bytes.  It is what the memory
 * manager and a driver that wants a user's buffer pass to each other instead
 * of one struct page pointer for every PAGE_SIZE: a 1 GiB hugepage is one
 * phyr.
 *
 * A list of phyrs describes a buffer in the order of its virtual addresses.
 * The first range starts at the first byte of the buffer, the last one ends
 * at its last byte, and every border in between is page aligned if the buffer
 * was pinned by one call.
 *
 * A phyr is an address as the CPU sees it.  It is neither a DMA address nor a
 * promise that there is a struct page behind it.
 */
#ifndef _LINUX_PHYR_H
#define _LINUX_PHYR_H

#include <linux/build_bug.h>
#include <linux/limits.h>
#include <linux/pfn.h>
#include <linux/stddef.h>
#include <linux/types.h>
#include <asm/page.h>

/**
 * struct phyr - a range of physical memory
 * @addr: physical address of its first byte
 * @len: bytes in it, never zero
 *
 * The last byte, @addr + @len - 1, is representable; one past it need not be
 * where the range ends at the top of the physical address space.
 */
struct phyr {
	phys_addr_t	addr;
	size_t		len;
};

/* The dma-buf side calls the same thing a phys_vec. */
static_assert(sizeof(struct phyr) == sizeof(struct phys_vec));
static_assert(offsetof(struct phyr, addr) == offsetof(struct phys_vec, paddr));
static_assert(offsetof(struct phyr, len) == offsetof(struct phys_vec, len));

/**
 * phyr_pfn - page frame of a range's first byte
 * @phyr: the range
 *
 * Context: Any context.
 * Return: the first page frame that @phyr touches.
 */
static inline unsigned long phyr_pfn(const struct phyr *phyr)
{
	return PHYS_PFN(phyr->addr);
}

/**
 * phyr_end_pfn - page frame behind a range's last byte
 * @phyr: the range
 *
 * Context: Any context.
 * Return: the page frame after the last one that @phyr touches.
 */
static inline unsigned long phyr_end_pfn(const struct phyr *phyr)
{
	return PHYS_PFN(phyr->addr + phyr->len - 1) + 1;
}

/**
 * phyr_mergeable - may a range be extended by what follows?
 * @phyr: the range
 * @addr: physical address of the first byte behind it in the buffer
 * @len: bytes from @addr on
 *
 * Looks at addresses and lengths only.  Whether both sides belong to the same
 * device or page map is for the caller to find out.
 *
 * Context: Any context.
 * Return: true if @addr follows @phyr without a gap and the sum of the lengths
 * fits a size_t, which on 32-bit it may not.
 */
static inline bool phyr_mergeable(const struct phyr *phyr, phys_addr_t addr,
				  size_t len)
{
	/* A range at the top of the address space ends at 0; nothing follows. */
	return addr && phyr->addr + phyr->len == addr &&
	       len <= SIZE_MAX - phyr->len;
}

struct scatterlist;
struct sg_append_table;

int sg_map_phyrs(struct sg_append_table *sgt, const struct phyr *phyrs,
		 unsigned long nr, unsigned int max_segment,
		 unsigned long boundary_mask, unsigned long left, gfp_t gfp);

#if IS_ENABLED(CONFIG_KUNIT)
struct scatterlist *sg_append_chunk(struct sg_append_table *table,
				    struct scatterlist *link,
				    unsigned int nents, gfp_t gfp_mask);
#endif

#endif /* _LINUX_PHYR_H */
