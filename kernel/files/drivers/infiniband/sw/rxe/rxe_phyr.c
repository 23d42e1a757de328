// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * User MRs held as physical ranges
 *
 * The umem holds the ranges and the pins.  What is kept here is what it takes
 * to find the memory at an offset into the MR, in one of three forms:
 *
 * one range	its address; nothing to search and nothing to allocate.
 * blocks	a table with the address of each block, where all borders between
 *		ranges lie on a grid of one block size.  What counts are the
 *		borders' offsets into the MR: the CPU, unlike hardware with page
 *		tables, does not ask for physical alignment.
 * ranges	the offset at which each range starts, for a binary search, and
 *		the place of the last hit.
 *
 * The memory is the kernel's linear mapping (rxe depends on !HIGHMEM), so a
 * range can be copied to or from at one go, over any page border.
 */

#include <linux/error-injection.h>
#include <linux/libnvdimm.h>

#include "rxe.h"
#include "rxe_loc.h"

/* Find the range that holds the byte at @off. */
static unsigned long rxe_phyr_search(struct rxe_mr_phyrs *map,
				     unsigned long nr, size_t off)
{
	unsigned long i = READ_ONCE(map->last_hit);
	const size_t *starts = map->starts;
	unsigned long lo = 0, hi = nr;

	if (off < starts[i]) {
		hi = i;
	} else {
		if (i + 1 == nr || off < starts[i + 1])
			return i;
		lo = i + 1;
		if (lo + 1 == nr || off < starts[lo + 1])
			hi = lo + 1;
	}

	/* The first byte of lo is at or before off, that of hi behind it. */
	while (hi - lo > 1) {
		i = lo + (hi - lo) / 2;
		if (off < starts[i])
			hi = i;
		else
			lo = i;
	}
	WRITE_ONCE(map->last_hit, lo);
	return lo;
}

/*
 * Kernel address of @iova, which the caller has checked to be in the MR, and in
 * @len the number of bytes that lie in a row from there on.
 */
static __always_inline void *rxe_phyr_va(struct rxe_mr *mr, u64 iova,
					 size_t *len)
{
	const struct ib_umem_phyrs *list = to_ib_umem_phyrs(mr->umem);
	struct rxe_mr_phyrs *map = &mr->phyrs;
	u64 off = iova - mr->ibmr.iova;
	const struct phyr *phyr;
	unsigned long i;
	size_t mask;

	switch (map->form) {
	case RXE_PHYR_ONE:
		*len = mr->ibmr.length - off;
		return map->va + off;
	case RXE_PHYR_BLOCKS:
		off += map->block_offset;
		i = off >> map->block_shift;
		mask = ((size_t)1 << map->block_shift) - 1;
		*len = mask + 1 - (off & mask);
		return map->blocks[i] + (off & mask);
	default:
		i = rxe_phyr_search(map, list->nr, off);
		phyr = ib_umem_phyr(list, i);
		off -= map->starts[i];
		*len = phyr->len - off;
		return phys_to_virt(phyr->addr) + off;
	}
}

/* The caller has checked that @iova and @length are in the MR. */
void rxe_phyr_copy(struct rxe_mr *mr, u64 iova, void *addr, unsigned int length,
		   enum rxe_mr_copy_dir dir)
{
	while (length) {
		size_t bytes;
		void *va;

		va = rxe_phyr_va(mr, iova, &bytes);
		bytes = min_t(size_t, bytes, length);

		if (dir == RXE_FROM_MR_OBJ)
			memcpy(addr, va, bytes);
		else
			memcpy(va, addr, bytes);

		addr += bytes;
		iova += bytes;
		length -= bytes;
	}
}

int rxe_phyr_flush_pmem_iova(struct rxe_mr *mr, u64 iova, u64 length)
{
	int err;

	err = mr_check_range(mr, iova, length);
	if (err)
		return err;

	while (length) {
		size_t bytes;
		void *va;

		va = rxe_phyr_va(mr, iova, &bytes);
		bytes = min3((u64)bytes, length, (u64)SZ_1M);
		arch_wb_cache_pmem(va, bytes);

		iova += bytes;
		length -= bytes;
		cond_resched();
	}
	return 0;
}

/* Returns NULL if the 8 bytes at @iova are not in the MR. */
static u64 *rxe_phyr_u64(struct rxe_mr *mr, u64 iova)
{
	size_t bytes;

	if (mr_check_range(mr, iova, sizeof(u64))) {
		rxe_dbg_mr(mr, "iova out of range\n");
		return NULL;
	}
	return rxe_phyr_va(mr, iova, &bytes);
}

enum resp_states rxe_phyr_atomic_op(struct rxe_mr *mr, u64 iova, int opcode,
				    u64 compare, u64 swap_add, u64 *orig_val)
{
	u64 *va = rxe_phyr_u64(mr, iova);

	if (!va)
		return RESPST_ERR_RKEY_VIOLATION;
	/* Aligned, all 8 bytes are in one page and so in one range. */
	if (!IS_ALIGNED((unsigned long)va, sizeof(*va))) {
		rxe_dbg_mr(mr, "iova not aligned\n");
		return RESPST_ERR_MISALIGNED_ATOMIC;
	}
	rxe_atomic_op(va, opcode, compare, swap_add, orig_val);
	return RESPST_NONE;
}

enum resp_states rxe_phyr_atomic_write(struct rxe_mr *mr, u64 iova, u64 value)
{
	/* See IBA oA19-28 */
	u64 *va = rxe_phyr_u64(mr, iova);

	if (!va)
		return RESPST_ERR_RKEY_VIOLATION;
	/* See IBA A19.4.2 */
	if (!IS_ALIGNED((unsigned long)va, sizeof(*va))) {
		rxe_dbg_mr(mr, "misaligned address\n");
		return RESPST_ERR_MISALIGNED_ATOMIC;
	}
	/* Do atomic write after all prior operations have completed */
	smp_store_release(va, value);
	return RESPST_NONE;
}

static int rxe_phyr_fill_blocks(struct rxe_mr_phyrs *map,
				const struct ib_umem_phyrs *list,
				unsigned long nr_blocks)
{
	u64 size = BIT_ULL(map->block_shift);
	u64 off = map->block_offset;
	unsigned long i, block = 0;

	map->blocks = kvmalloc_array(nr_blocks, sizeof(*map->blocks),
				     GFP_KERNEL | __GFP_NOWARN);
	if (!map->blocks)
		return -ENOMEM;

	/* Only the first range may start inside a block, the first one. */
	for (i = 0; i < list->nr; i++) {
		const struct phyr *phyr = ib_umem_phyr(list, i);
		void *va = phys_to_virt(phyr->addr) - (off & (size - 1));

		off += phyr->len;
		for (; block < nr_blocks && block * size < off; block++) {
			map->blocks[block] = va;
			va += size;
		}
	}
	map->form = RXE_PHYR_BLOCKS;
	return 0;
}

static int rxe_phyr_fill_starts(struct rxe_mr_phyrs *map,
				const struct ib_umem_phyrs *list)
{
	unsigned long i;
	size_t off = 0;

	map->starts = kvmalloc_array(list->nr, sizeof(*map->starts),
				     GFP_KERNEL | __GFP_NOWARN);
	if (!map->starts)
		return -ENOMEM;

	for (i = 0; i < list->nr; i++) {
		map->starts[i] = off;
		off += ib_umem_phyr(list, i)->len;
	}
	map->last_hit = 0;
	map->form = RXE_PHYR_RANGES;
	return 0;
}

static bool rxe_phyrs_are_pmem(const struct ib_umem_phyrs *list)
{
	unsigned long i;

	for (i = 0; i < list->nr; i++) {
		const struct phyr *phyr = ib_umem_phyr(list, i);

		if (region_intersects(phyr->addr, phyr->len, IORESOURCE_MEM,
				      IORES_DESC_PERSISTENT_MEMORY) !=
		    REGION_INTERSECTS)
			return false;
	}
	return true;
}

/**
 * rxe_phyr_init - make an MR use the physical ranges of its umem
 * @mr: MR without memory
 * @umem: umem with is_phyr set, stays the caller's
 *
 * Return: 0, -ENOMEM, or -EINVAL if the MR is for flushing to persistent memory
 * and @umem has other memory.
 */
int rxe_phyr_init(struct rxe_mr *mr, struct ib_umem *umem)
{
	const struct ib_umem_phyrs *list = to_ib_umem_phyrs(umem);
	const struct phyr *first = ib_umem_phyr(list, 0);
	struct rxe_mr_phyrs *map = &mr->phyrs;
	u64 nr_blocks, bits = 0;
	unsigned long i;

	if ((mr->access & IB_ACCESS_FLUSH_PERSISTENT) &&
	    !rxe_phyrs_are_pmem(list)) {
		rxe_dbg_mr(mr, "Page can't be persistent\n");
		return -EINVAL;
	}

	if (list->nr == 1) {
		map->va = phys_to_virt(first->addr);
		map->form = RXE_PHYR_ONE;
		return 0;
	}

	/*
	 * The first border may be anywhere on the grid, so what the block size
	 * has to divide is the lengths between borders.  With one border there
	 * are none, and blocks that either side fits in make do.
	 */
	for (i = 1; i + 1 < list->nr; i++)
		bits |= ib_umem_phyr(list, i)->len;
	if (list->nr == 2)
		map->block_shift = fls64(max(first->len,
					     ib_umem_phyr(list, 1)->len) - 1);
	else
		map->block_shift = __ffs64(bits);
	map->block_offset = -(u64)first->len & (BIT_ULL(map->block_shift) - 1);
	nr_blocks = ((map->block_offset + umem->length - 1) >>
		     map->block_shift) + 1;

	/* A look at a table is worth some memory, but not any amount of it. */
	if (map->block_shift < BITS_PER_LONG && nr_blocks <= 2 * list->nr &&
	    !rxe_phyr_fill_blocks(map, list, nr_blocks))
		return 0;
	return rxe_phyr_fill_starts(map, list);
}
ALLOW_ERROR_INJECTION(rxe_phyr_init, ERRNO);

void rxe_phyr_free(struct rxe_mr *mr)
{
	if (mr->phyrs.form == RXE_PHYR_BLOCKS)
		kvfree(mr->phyrs.blocks);
	else if (mr->phyrs.form == RXE_PHYR_RANGES)
		kvfree(mr->phyrs.starts);
	mr->phyrs.form = RXE_PHYR_NONE;
}
