/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
#ifndef PAGE_MEMORY_H
#define PAGE_MEMORY_H

#include "memory.h"

/* What the page table of a buffer is made of */
enum page_memory_kind {
	PAGE_MEMORY_4K,		/* base pages, never transparent hugepages */
	PAGE_MEMORY_THP,	/* transparent hugepages, as far as there are any */
	PAGE_MEMORY_2M,		/* hugetlb pages */
	PAGE_MEMORY_1G,
	PAGE_MEMORY_KINDS,
};

enum page_memory_flags {
	/* One hugetlb page mapped over and over, however large the buffer */
	PAGE_MEMORY_ONE_PAGE	= 1 << 0,
	/* 4K pages touched in random order, so that they are not in runs */
	PAGE_MEMORY_SCATTERED	= 1 << 1,
};

struct page_memory_ctx {
	struct memory_ctx base;
	enum page_memory_kind kind;
	unsigned int flags;
	/* Set by allocate_buffer, in bytes */
	uint64_t page_size;
	uint64_t mapped;
	/* How much of a THP buffer really is in transparent hugepages */
	uint64_t thp;
};

/* The name of a kind on the command line and in reports */
const char *page_memory_name(enum page_memory_kind kind);
bool page_memory_parse(const char *name, enum page_memory_kind *kind);

/*
 * Host memory mapped by pages of one kind. A buffer is rounded up to a whole
 * number of them, starts at a multiple of their size and has been written to,
 * once a page, when allocate_buffer returns. Messages go to stderr.
 */
struct memory_ctx *page_memory_create(enum page_memory_kind kind,
				      unsigned int flags);

/* Bytes that can be had without killing anything, UINT64_MAX if unknown */
uint64_t page_memory_available(void);

/*
 * How many physically contiguous pieces size bytes at addr of a buffer are made
 * of: the kernel's work on a buffer can depend on it, and memory that was
 * used before comes back in another order. 0 if the kernel does not tell, as
 * it does to root only.
 */
uint64_t page_memory_ranges(const struct page_memory_ctx *ctx, const void *addr,
			    uint64_t size);

static inline struct page_memory_ctx *page_memory(struct memory_ctx *ctx)
{
	return container_of(ctx, struct page_memory_ctx, base);
}

#endif /* PAGE_MEMORY_H */
