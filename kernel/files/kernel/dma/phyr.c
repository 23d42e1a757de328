// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA mappings of physical ranges
 *
 * What is mapped is user memory that is pinned for as long as the mapping lasts,
 * so the process and the device have it at the same time, and there is no moment
 * to synchronise caches or to copy from and to a bounce buffer.  Every mapping is
 * therefore made with DMA_ATTR_REQUIRE_COHERENT: a device that isn't coherent, or
 * can't reach a range, is refused.
 *
 * A buffer's ranges come in any number of arrays, which need not be at hand again
 * when the mapping ends.  Where unmapping takes more than to forget the mapping,
 * it keeps what it needs for that.
 */
#include <linux/dma-phyr.h>
#include <linux/export.h>
#include <linux/sched.h>
#include <linux/slab.h>

/* By ranges, not by bytes: an IOMMU maps a long one in large pages. */
#define RESCHED_RANGES	512

/**
 * dma_phyr_map_init - start a DMA mapping
 * @map: the mapping
 * @dev: who will access the memory, with its DMA mask set
 * @bytes: length of the whole buffer
 * @dir: what @dev may do with it
 * @attrs: DMA_ATTR_* of the whole buffer
 *
 * The memory of another device is mapped with DMA_ATTR_MMIO, and whether @dev can
 * reach it that way is for the caller to know.  For all else
 * DMA_ATTR_REQUIRE_COHERENT is implied.
 *
 * Nothing is mapped or allocated yet.
 *
 * Context: Any context.
 */
void dma_phyr_map_init(struct dma_phyr_map *map, struct device *dev,
		       size_t bytes, enum dma_data_direction dir,
		       unsigned long attrs)
{
	/* Nothing caches it, so a device that isn't coherent may have it. */
	if (!(attrs & DMA_ATTR_MMIO))
		attrs |= DMA_ATTR_REQUIRE_COHERENT;

	*map = (struct dma_phyr_map){
		.dev = dev,
		.bytes = bytes,
		.dir = dir,
		.attrs = attrs,
	};
}
EXPORT_SYMBOL_GPL(dma_phyr_map_init);

/*
 * May the range that starts @off bytes into the buffer be a part of one IOVA?  Only
 * the ends of the buffer may lie within one of the IOMMU's pages.
 */
static bool dma_phyr_fits_iova(const struct dma_phyr_map *map,
			       const struct phyr *phyr, size_t off)
{
	phys_addr_t end = phyr->addr + phyr->len;

	return (!off || !(phyr->addr & map->iommu_mask)) &&
	       (phyr->len == map->bytes - off || !(end & map->iommu_mask));
}

/* With the first ranges in hand: should the buffer have one IOVA? */
static bool dma_phyrs_try_iova(struct dma_phyr_map *map,
			       const struct phyr *phyrs, unsigned long nr)
{
	unsigned long i;
	size_t off = 0;

	if (!map->iommu_mask || !map->bytes)
		return false;

	for (i = 0; i < nr && off < map->bytes; i++) {
		if (!dma_phyr_fits_iova(map, &phyrs[i], off))
			return false;
		off += phyrs[i].len;
	}
	return dma_iova_try_alloc(map->dev, &map->iova, phyrs[0].addr,
				  map->bytes);
}

static int dma_phyrs_add_chunk(struct dma_phyr_map *map)
{
	struct dma_phyr *chunk;

	if (map->nr_chunks == map->max_chunks) {
		unsigned int max = max(8, 2 * map->max_chunks);
		struct dma_phyr **chunks;

		chunks = kvrealloc(map->chunks, array_size(max, sizeof(*chunks)),
				   GFP_KERNEL_ACCOUNT);
		if (!chunks)
			return -ENOMEM;
		map->chunks = chunks;
		map->max_chunks = max;
	}

	chunk = kmalloc_array(DMA_PHYRS_CHUNK, sizeof(*chunk),
			      GFP_KERNEL_ACCOUNT);
	if (!chunk)
		return -ENOMEM;
	map->chunks[map->nr_chunks++] = chunk;
	return 0;
}

static struct dma_phyr *dma_phyr_entry(struct dma_phyr_map *map, unsigned long i)
{
	return (struct dma_phyr *)__dma_phyr_entry(map, i);
}

static int dma_phyrs_list(struct dma_phyr_map *map, dma_addr_t addr, size_t len)
{
	unsigned long i = map->nr - map->nr_same;

	if (i == DMA_PHYRS_FIRST + map->nr_chunks * DMA_PHYRS_CHUNK) {
		int ret = dma_phyrs_add_chunk(map);

		if (ret)
			return ret;
	}
	*dma_phyr_entry(map, i) = (struct dma_phyr){ addr, len };
	return 0;
}

static int dma_map_phyr(struct dma_phyr_map *map, const struct phyr *phyr)
{
	dma_addr_t addr;
	int ret;

	addr = dma_map_phys(map->dev, phyr->addr, phyr->len, map->dir,
			    map->attrs);
	if (dma_mapping_error(map->dev, addr))
		return -EIO;

	if (addr == phyr->addr && map->nr_same == map->nr && !map->list_all) {
		map->nr_same++;
		return 0;
	}

	ret = dma_phyrs_list(map, addr, phyr->len);
	if (ret)
		dma_unmap_phys(map->dev, addr, phyr->len, map->dir, map->attrs);
	return ret;
}

static int dma_link_phyr(struct dma_phyr_map *map, const struct phyr *phyr)
{
	if (!dma_phyr_fits_iova(map, phyr, map->mapped))
		return -EINVAL;
	return dma_iova_link(map->dev, &map->iova, phyr->addr, map->mapped,
			     phyr->len, map->dir, map->attrs);
}

/**
 * dma_map_phyrs - map a buffer, or the next part of it, for DMA
 * @map: the mapping
 * @phyrs: the ranges that follow those mapped so far
 * @nr: number of them, 0 for none
 *
 * A device can use the mapping once the ranges of all calls add up to the length
 * given to dma_phyr_map_init(); see dma_phyrs_nr() and dma_phyr_at().
 *
 * Behind an IOMMU that translates, the buffer becomes one range, if all borders
 * between @phyrs but the ends of the buffer are aligned to the pages of the
 * IOMMU.  They are if pin_user_phyrs() has made them.  What the first call sees
 * decides.  Where there is no IOMMU, no room in its address space, or such a
 * border, each range is mapped alone.
 *
 * Ranges are neither split nor merged otherwise.  The limits of a device on its
 * segments, as dma_get_max_seg_size() and dma_get_seg_boundary() have them, are its
 * driver's to observe, when it uses the ranges.
 *
 * On an error all of the mapping is undone, whichever call has made it, and @map
 * is as dma_phyr_map_init() left it: it may be dropped as it is.
 *
 * The caller keeps the memory pinned until dma_unmap_phyrs(), and @phyrs for as
 * long as it calls dma_phyr_at().  A list is charged to the memory cgroup of the
 * caller, as it lives as long as a process likes.
 *
 * Context: Process context.  May sleep.
 * Return:
 * * 0: @phyrs are mapped
 * * -EIO: the device can't reach a range without a bounce buffer, or is not
 *   coherent; and where each range is mapped alone, whatever the reason is, such
 *   as no room in an IOMMU's address space: dma_map_phys() gives none
 * * -EPERM, -EOPNOTSUPP: the same reasons behind an IOMMU, which doesn't let an
 *   untrusted device have a part of a page
 * * -EINVAL: @phyrs are longer than what is left of the buffer, one is empty, or
 *   they have a border that doesn't go with what the first call had
 * * -ENOMEM: memory is short, or the limit of the memory cgroup reached
 */
int dma_map_phyrs(struct dma_phyr_map *map, const struct phyr *phyrs,
		  unsigned long nr)
{
	unsigned long i;
	int ret = 0;

	might_sleep();
	if (!nr)
		return 0;

	if (!map->nr) {
		map->iommu_mask = dma_get_merge_boundary(map->dev);
		/*
		 * The answer to dma_need_unmap() is final only after mapping, as
		 * the first buffer that is bounced changes it.  None of these may
		 * be, and for them unmapping does nothing even then.
		 */
		map->list_all = map->iommu_mask || dma_need_unmap(map->dev);
		map->one = dma_phyrs_try_iova(map, phyrs, nr);
	}

	for (i = 0; i < nr; i++) {
		const struct phyr *phyr = &phyrs[i];

		if (!phyr->len || phyr->len > map->bytes - map->mapped) {
			ret = -EINVAL;
			break;
		}
		ret = map->one ? dma_link_phyr(map, phyr) :
				 dma_map_phyr(map, phyr);
		if (ret)
			break;
		map->mapped += phyr->len;
		map->nr++;
		if (!(i % RESCHED_RANGES))
			cond_resched();
	}

	if (!ret && map->one && map->mapped == map->bytes)
		ret = dma_iova_sync(map->dev, &map->iova, 0, map->bytes);
	if (ret)
		dma_unmap_phyrs(map);
	return ret;
}
EXPORT_SYMBOL_GPL(dma_map_phyrs);

/**
 * dma_unmap_phyrs - undo a DMA mapping
 * @map: the mapping, of a whole buffer or of a part, or of nothing
 *
 * The device must have stopped using it.  Afterwards @map is as
 * dma_phyr_map_init() left it, so that it may be dropped or used again, and the
 * memory may be unpinned.
 *
 * Context: Process context.  May sleep.
 */
void dma_unmap_phyrs(struct dma_phyr_map *map)
{
	unsigned long nr = map->nr - map->nr_same;
	unsigned long i;

	if (map->one) {
		dma_iova_destroy(map->dev, &map->iova, map->mapped, map->dir,
				 map->attrs);
		nr = 0;
	}

	for (i = 0; i < nr; i++) {
		const struct dma_phyr *phyr = __dma_phyr_entry(map, i);

		dma_unmap_phys(map->dev, phyr->addr, phyr->len, map->dir,
			       map->attrs);
		if (!(i % RESCHED_RANGES))
			cond_resched();
	}

	for (i = 0; i < map->nr_chunks; i++)
		kfree(map->chunks[i]);
	kvfree(map->chunks);
	dma_phyr_map_init(map, map->dev, map->bytes, map->dir, map->attrs);
}
EXPORT_SYMBOL_GPL(dma_unmap_phyrs);
