/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * DMA mappings of physical ranges
 *
 * A struct phyr is memory as the CPU sees it, a struct dma_phyr is memory as one
 * device sees it.  They are two types so that one can't be taken for the other,
 * although on many machines the numbers are the same.  Then there is no second
 * list: the ranges of the first serve, see dma_phyr_at().
 */
#ifndef _LINUX_DMA_PHYR_H
#define _LINUX_DMA_PHYR_H

#include <linux/dma-mapping.h>
#include <linux/phyr.h>
#include <linux/sizes.h>

/**
 * struct dma_phyr - a range of memory in a device's address space
 * @addr: DMA address of its first byte
 * @len: bytes in it, never zero
 */
struct dma_phyr {
	dma_addr_t	addr;
	size_t		len;
};

#define DMA_PHYRS_FIRST	4
#define DMA_PHYRS_CHUNK	(SZ_4K / sizeof(struct dma_phyr))

/**
 * struct dma_phyr_map - the DMA mapping of one buffer for one device
 *
 * Set up by dma_phyr_map_init(), filled by dma_map_phyrs() in one call or in
 * many, undone by dma_unmap_phyrs().  One thread at a time may do so.
 *
 * A mapping has one of these forms:
 *
 * - one range, where an IOMMU makes the whole buffer contiguous;
 * - a range for each of the CPU's, with the same numbers in it, and so without
 *   a list of its own;
 * - a range for each of the CPU's, in a list.  It starts with the first one that
 *   has another address for the device, unless the ranges have to be known for
 *   unmapping them.
 */
struct dma_phyr_map {
	/* private: */
	struct device		*dev;
	enum dma_data_direction	dir;
	unsigned long		attrs;
	size_t			bytes;		/* in the buffer */
	size_t			mapped;		/* of them so far */
	unsigned long		nr;		/* CPU ranges so far */
	unsigned long		nr_same;	/* of them in front, not listed */
	unsigned long		iommu_mask;	/* of offsets in the IOMMU's pages */
	bool			one;		/* all of it is in @iova */
	bool			list_all;
	struct dma_iova_state	iova;

	struct dma_phyr		first[DMA_PHYRS_FIRST];
	struct dma_phyr		**chunks;
	unsigned int		nr_chunks;
	unsigned int		max_chunks;
};

void dma_phyr_map_init(struct dma_phyr_map *map, struct device *dev,
		       size_t bytes, enum dma_data_direction dir,
		       unsigned long attrs);
int dma_map_phyrs(struct dma_phyr_map *map, const struct phyr *phyrs,
		  unsigned long nr);
void dma_unmap_phyrs(struct dma_phyr_map *map);

/**
 * dma_phyrs_nr - number of DMA ranges of a mapping
 * @map: the mapping
 *
 * Context: Any context.
 * Return: 1 or the number of the CPU's ranges, as soon as the whole buffer is
 * mapped; until then 0, since there is nothing that a device could use.
 */
static inline unsigned long dma_phyrs_nr(const struct dma_phyr_map *map)
{
	if (map->mapped < map->bytes)
		return 0;
	return map->one ? 1 : map->nr;
}

/**
 * dma_phyrs_identity - are the DMA ranges the CPU's, number for number?
 * @map: the mapping of a whole buffer
 *
 * For statistics and tests.  It is false also where the numbers are the same but
 * had to be kept in a list.
 *
 * Context: Any context.
 * Return: true if the mapping has no ranges of its own.
 */
static inline bool dma_phyrs_identity(const struct dma_phyr_map *map)
{
	return !map->one && map->nr_same == map->nr;
}

/* Where the list has, or will have, entry @i. */
static inline const struct dma_phyr *
__dma_phyr_entry(const struct dma_phyr_map *map, unsigned long i)
{
	if (i < DMA_PHYRS_FIRST)
		return &map->first[i];
	i -= DMA_PHYRS_FIRST;
	return &map->chunks[i / DMA_PHYRS_CHUNK][i % DMA_PHYRS_CHUNK];
}

/**
 * dma_phyr_at - one of the DMA ranges of a mapping
 * @map: the mapping of a whole buffer
 * @i: index, less than dma_phyrs_nr()
 * @phyr: entry @i of the CPU's ranges, wherever the caller keeps it
 *
 * Takes the same time for every @i.
 *
 * Context: Any context.
 * Return: the range.  The ranges are in the order of the buffer, and all of them
 * together are as long as it.
 */
static inline struct dma_phyr dma_phyr_at(const struct dma_phyr_map *map,
					  unsigned long i,
					  const struct phyr *phyr)
{
	if (map->one)
		return (struct dma_phyr){ map->iova.addr, map->bytes };
	if (i < map->nr_same)
		return (struct dma_phyr){ phyr->addr, phyr->len };
	return *__dma_phyr_entry(map, i - map->nr_same);
}

#endif /* _LINUX_DMA_PHYR_H */
