// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * From an offset into user memory to a kernel address
 *
 * What has to be made and searched for that; include/rdma/ib_phyr_map.h has the
 * forms and the look-up itself.
 */

#include <linux/export.h>
#include <linux/io.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <rdma/ib_phyr_map.h>

#include "uverbs.h"

/* Entries to go over before others may have the CPU. */
#define IB_PHYR_MAP_BATCH	4096

/* Of all maps of memory that is not in the linear mapping */
static atomic_long_t remapped_pages;

/**
 * ib_phyr_map_search - find the range that holds a byte
 * @map: a map in the form of ranges
 * @off: offset of the byte, less than @map->length
 * @miss: index of a range that does not hold it, where to look first
 *
 * For ib_phyr_map_va(), which is what drivers call.  @miss is what it found in
 * @map->last_hit, which may be another range by now.
 *
 * Context: Any context, and from any number of threads at once.
 * Return: index of the range.
 */
unsigned long ib_phyr_map_search(struct ib_phyr_map *map, size_t off,
				 unsigned long miss)
{
	const size_t *starts = map->starts;
	unsigned long lo = 0, hi = map->list->nr;
	unsigned long i;

	if (off < starts[miss]) {
		hi = miss;
	} else {
		lo = miss + 1;
		if (off < starts[lo + 1])
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
EXPORT_SYMBOL(ib_phyr_map_search);

static int ib_phyr_map_fill_blocks(struct ib_phyr_map *map,
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
			if (block % IB_PHYR_MAP_BATCH == IB_PHYR_MAP_BATCH - 1)
				cond_resched();
			map->blocks[block] = va;
			va += size;
		}
	}
	map->block_mask = size - 1;
	map->form = IB_PHYR_MAP_BLOCKS;
	return 0;
}

static int ib_phyr_map_fill_starts(struct ib_phyr_map *map,
				   const struct ib_umem_phyrs *list)
{
	unsigned long i;
	size_t off = 0;

	map->starts = kvmalloc_array(list->nr + 1, sizeof(*map->starts),
				     GFP_KERNEL | __GFP_NOWARN);
	if (!map->starts)
		return -ENOMEM;

	for (i = 0; i < list->nr; i++) {
		if (i % IB_PHYR_MAP_BATCH == IB_PHYR_MAP_BATCH - 1)
			cond_resched();
		map->starts[i] = off;
		off += ib_umem_phyr(list, i)->len;
	}
	map->starts[i] = off;
	map->last_hit = 0;
	map->form = IB_PHYR_MAP_RANGES;
	return 0;
}

static void *ib_phyr_map_remap(const struct ib_phyr_map *map,
			       const struct phyr *phyr)
{
	void __iomem *va;

	if (map->list->cpu == IB_UMEM_CPU_CACHED)
		return memremap(phyr->addr, phyr->len, MEMREMAP_WB);
	if (map->list->cpu == IB_UMEM_CPU_WC)
		va = ioremap_wc(phyr->addr, phyr->len);
	else
		va = ioremap(phyr->addr, phyr->len);
	return (void __force *)va;
}

static void ib_phyr_map_unmap(const struct ib_phyr_map *map, void *va)
{
	if (map->io)
		iounmap((void __iomem __force *)va);
	else
		memunmap(va);
}

/* Of several ranges, those that have been mapped: they are the first ones. */
static void ib_phyr_map_unmap_ranges(struct ib_phyr_map *map)
{
	unsigned long i;

	for (i = 0; i < map->list->nr && map->vas[i]; i++) {
		ib_phyr_map_unmap(map, map->vas[i]);
		cond_resched();
	}
	kvfree(map->vas);
}

static int ib_phyr_map_remap_ranges(struct ib_phyr_map *map)
{
	const struct ib_umem_phyrs *list = map->list;
	unsigned long i;
	int ret;

	map->remapped = true;
	map->io = list->cpu != IB_UMEM_CPU_CACHED;
	if (list->nr == 1) {
		map->va = ib_phyr_map_remap(map, ib_umem_phyr(list, 0));
		if (!map->va)
			return -ENOMEM;
		map->form = IB_PHYR_MAP_ONE;
		return 0;
	}

	map->vas = kvzalloc_objs(*map->vas, list->nr);
	if (!map->vas)
		return -ENOMEM;

	for (i = 0; i < list->nr; i++) {
		map->vas[i] = ib_phyr_map_remap(map, ib_umem_phyr(list, i));
		if (!map->vas[i]) {
			ret = -ENOMEM;
			goto err_unmap;
		}
		cond_resched();
	}

	ret = ib_phyr_map_fill_starts(map, list);
	if (ret)
		goto err_unmap;
	return 0;

err_unmap:
	ib_phyr_map_unmap_ranges(map);
	return ret;
}

/*
 * Room for the kernel's mappings is not without end, and not for us alone.  Who may
 * register a BAR can do so over and over.
 */
static unsigned long ib_phyr_map_room(const struct ib_phyr_map *map)
{
	unsigned long offset = offset_in_page(map->list->umem.address);

	/* Each range has a guard page. */
	return PFN_UP(offset + map->length) + map->list->nr;
}

static bool ib_phyr_map_reserve(const struct ib_phyr_map *map)
{
	unsigned long room = ib_phyr_map_room(map);

	if (atomic_long_add_return(room, &remapped_pages) <=
	    VMALLOC_TOTAL / PAGE_SIZE / 4)
		return true;
	atomic_long_sub(room, &remapped_pages);
	return false;
}

static void ib_phyr_map_unreserve(const struct ib_phyr_map *map)
{
	atomic_long_sub(ib_phyr_map_room(map), &remapped_pages);
}

static int ib_phyr_map_remap_list(struct ib_phyr_map *map)
{
	int ret;

	if (!ib_phyr_map_reserve(map))
		return -ENOMEM;
	ret = ib_phyr_map_remap_ranges(map);
	if (ret)
		ib_phyr_map_unreserve(map);

	/* For who measures it is part of mapping, as with a device's DMA. */
	ib_umem_add_time((struct ib_umem *)&map->list->umem, IB_UMEM_MAP);
	return ret;
}

/**
 * ib_phyr_map_init - make a map of user memory
 * @map: the map, which need not be initialised
 * @list: the ranges; they stay the caller's and have to outlive the map
 *
 * A table can't be larger than INT_MAX bytes, in whichever form.  Memory of more
 * ranges than that has entries for, on 64-bit just short of 2^28, is -ENOMEM:
 * 1 TiB of 4 KiB pages no two of which are in a row, or 512 TiB of such hugepages
 * of 2 MiB.
 *
 * A device's memory is mapped here, as one piece for each range and with large
 * pages where the architecture has them.  All such mappings together can take a
 * quarter of the room that there is for those of the kernel, 8 TiB on x86-64 with
 * four levels of page tables; more is -ENOMEM.
 *
 * Context: Process context.  May sleep.
 * Return: 0, or -ENOMEM with nothing to free.
 */
int ib_phyr_map_init(struct ib_phyr_map *map, const struct ib_umem_phyrs *list)
{
	const struct phyr *first = ib_umem_phyr(list, 0);
	u64 nr_blocks, bits = 0;
	unsigned long i;

	*map = (struct ib_phyr_map){ .length = list->umem.length, .list = list };

	if (list->cpu != IB_UMEM_CPU_LINEAR)
		return ib_phyr_map_remap_list(map);

	if (list->nr == 1) {
		map->va = phys_to_virt(first->addr);
		map->form = IB_PHYR_MAP_ONE;
		return 0;
	}

	/*
	 * The first border may be anywhere on the grid, so what the block size
	 * has to divide is the lengths between borders.  With one border there
	 * are none, and blocks that either side fits in make do.
	 */
	for (i = 1; i + 1 < list->nr; i++) {
		if (i % IB_PHYR_MAP_BATCH == IB_PHYR_MAP_BATCH - 1)
			cond_resched();
		bits |= ib_umem_phyr(list, i)->len;
	}
	if (list->nr == 2)
		map->block_shift = fls64(max(first->len,
					     ib_umem_phyr(list, 1)->len) - 1);
	else
		map->block_shift = __ffs64(bits);
	map->block_offset = -(u64)first->len & (BIT_ULL(map->block_shift) - 1);
	nr_blocks = ((map->block_offset + map->length - 1) >>
		     map->block_shift) + 1;

	/*
	 * A look at a table is worth some memory, but not any amount of it.  A
	 * block is a page at least, so that with many blocks to a range it all
	 * takes fewer than the 16 bytes a page of an array of pages.
	 */
	if (map->block_shift < BITS_PER_LONG && nr_blocks <= 8 * list->nr &&
	    !ib_phyr_map_fill_blocks(map, list, nr_blocks))
		return 0;
	return ib_phyr_map_fill_starts(map, list);
}
EXPORT_SYMBOL(ib_phyr_map_init);

/**
 * ib_phyr_map_free - free what a map has allocated
 * @map: the map, or zeroes; its ranges have to be there still
 *
 * Context: As kvfree(): preemptible, or an interrupt that is not an NMI; process
 * context if it is a map of a device's memory.
 */
void ib_phyr_map_free(struct ib_phyr_map *map)
{
	if (map->remapped && map->form != IB_PHYR_MAP_NONE) {
		if (map->form == IB_PHYR_MAP_ONE)
			ib_phyr_map_unmap(map, map->va);
		else
			ib_phyr_map_unmap_ranges(map);
		ib_phyr_map_unreserve(map);
	}

	if (map->form == IB_PHYR_MAP_BLOCKS)
		kvfree(map->blocks);
	else if (map->form == IB_PHYR_MAP_RANGES)
		kvfree(map->starts);
	map->form = IB_PHYR_MAP_NONE;
}
EXPORT_SYMBOL(ib_phyr_map_free);

/**
 * ib_phyr_map_bytes - memory that a map takes besides itself
 * @map: the map
 *
 * Context: Any context.
 * Return: bytes, without those of the ranges.
 */
size_t ib_phyr_map_bytes(const struct ib_phyr_map *map)
{
	switch (map->form) {
	case IB_PHYR_MAP_BLOCKS:
		return (((map->block_offset + map->length - 1) >>
			 map->block_shift) + 1) * sizeof(*map->blocks);
	case IB_PHYR_MAP_RANGES:
		return (map->list->nr + 1) * sizeof(*map->starts) +
		       (map->remapped ? map->list->nr * sizeof(*map->vas) : 0);
	default:
		return 0;
	}
}
EXPORT_SYMBOL(ib_phyr_map_bytes);

/**
 * ib_phyr_map_block_size - bytes that can be found without looking for a border
 * @map: a map that has been initialised
 *
 * Context: Any context.
 * Return: bytes in the largest blocks that all of the memory consists of, as the
 * map has them: its length where it is in a row.
 */
u64 ib_phyr_map_block_size(const struct ib_phyr_map *map)
{
	switch (map->form) {
	case IB_PHYR_MAP_ONE:
		return map->length;
	case IB_PHYR_MAP_BLOCKS:
		return BIT_ULL(map->block_shift);
	default:
		return PAGE_SIZE;
	}
}
EXPORT_SYMBOL(ib_phyr_map_block_size);
