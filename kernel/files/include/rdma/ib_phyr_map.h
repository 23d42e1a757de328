/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * From an offset into user memory to a kernel address
 *
 * For drivers that reach the memory by CPU and have it as physical ranges, see
 * ib_umem_get_va_phyrs().  A list of ranges can't be searched by offset, so a
 * map keeps what it takes, in one of three forms:
 *
 * one range	its address; nothing to search and nothing to allocate.
 * blocks	a table with the address of each block, where all borders between
 *		ranges lie on a grid of one block size.  What counts are the
 *		borders' offsets into the memory: the CPU, unlike hardware with
 *		page tables, does not ask for physical alignment.
 * ranges	the offset at which each range starts, for a binary search, and
 *		the place of the last hit.
 *
 * Addresses are those of the kernel's linear mapping, so a range can be copied
 * to or from at one go, over any page border.  It takes a kernel without highmem:
 * drivers have to depend on INFINIBAND_VIRT_DMA.
 *
 * Memory of a device is not in the linear mapping.  Each range gets a mapping of
 * its own, which lives as long as the map, and a map of several ranges has the
 * last form, with the addresses beside the offsets.  Such addresses are for
 * memcpy_fromio() and the like.
 */
#ifndef IB_PHYR_MAP_H
#define IB_PHYR_MAP_H

#include <linux/io.h>
#include <rdma/ib_umem.h>

enum ib_phyr_map_form {
	IB_PHYR_MAP_NONE,
	IB_PHYR_MAP_ONE,
	IB_PHYR_MAP_BLOCKS,
	IB_PHYR_MAP_RANGES,
};

/**
 * struct ib_phyr_map - how memory held as physical ranges is found by offset
 * @form: which of the forms; NONE in a map of zeroes
 * @block_shift: log2 of the bytes in a block
 * @block_mask: bytes in a block, less one
 * @block_offset: of the first byte of the memory in the first block
 * @va: address of the one range
 * @blocks: address of each block
 * @remapped: the memory is not in the linear mapping, but mapped for this map
 * @io: and the addresses are __iomem
 * @vas: if @remapped and several ranges, the address of each
 * @starts: offset of each range, and behind them where the last one ends
 * @last_hit: index of a range, a hint
 * @length: bytes of memory
 * @list: the ranges
 */
struct ib_phyr_map {
	enum ib_phyr_map_form		form;
	unsigned int			block_shift;
	bool				remapped;
	bool				io;
	size_t				block_mask;
	u64				block_offset;
	union {
		void			*va;
		void			**blocks;
		size_t			*starts;
	};
	unsigned long			last_hit;
	void				**vas;
	size_t				length;
	const struct ib_umem_phyrs	*list;
};

int ib_phyr_map_init(struct ib_phyr_map *map, const struct ib_umem_phyrs *list);
void ib_phyr_map_free(struct ib_phyr_map *map);
unsigned long ib_phyr_map_search(struct ib_phyr_map *map, size_t off,
				 unsigned long miss);
size_t ib_phyr_map_bytes(const struct ib_phyr_map *map);
u64 ib_phyr_map_block_size(const struct ib_phyr_map *map);

/**
 * ib_phyr_map_va - kernel address of a byte of user memory
 * @map: the map
 * @off: offset of the byte, which has to be less than @map->length: there is
 *	no further check
 * @len: returns the number of bytes that lie in a row from there on, at least
 *	one; it may be more than what is left of the memory, and is SIZE_MAX
 *	where there is just one range
 *
 * Context: Any context, and from any number of threads at once.
 * Return: the address.
 */
static __always_inline void *ib_phyr_map_va(struct ib_phyr_map *map, u64 off,
					    size_t *len)
{
	const size_t *starts;
	unsigned long i;

	switch (map->form) {
	case IB_PHYR_MAP_ONE:
		*len = SIZE_MAX;
		return map->va + off;
	case IB_PHYR_MAP_BLOCKS:
		off += map->block_offset;
		i = off >> map->block_shift;
		off &= map->block_mask;
		*len = map->block_mask + 1 - off;
		return map->blocks[i] + off;
	default:
		starts = map->starts;
		i = READ_ONCE(map->last_hit);
		if (off < starts[i] || off >= starts[i + 1])
			i = ib_phyr_map_search(map, off, i);
		*len = starts[i + 1] - off;
		if (unlikely(map->remapped))
			return map->vas[i] + (off - starts[i]);
		return phys_to_virt(ib_umem_phyr(map->list, i)->addr) +
		       (off - starts[i]);
	}
}

#endif /* IB_PHYR_MAP_H */
