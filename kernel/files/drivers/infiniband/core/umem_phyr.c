// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * User memory as physical ranges
 *
 * For drivers that ask for it by ib_umem_get_va_phyrs().  The buffer is pinned in
 * one pin session, which gets a further chunk of the list whenever it has filled
 * what it has.  No scatterlist is built.
 */

#include <linux/dma-phyr.h>
#include <linux/export.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/phyr_pin.h>
#include <linux/slab.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>
#include <trace/events/rdma_core.h>

#include "uverbs.h"

/* Returns the new, empty chunk at the end of the list. */
static struct phyr *ib_umem_add_chunk(struct ib_umem_phyrs *list)
{
	struct phyr *chunk;

	if (list->nr_chunks == list->max_chunks) {
		unsigned int max = max(8, 2 * list->max_chunks);
		struct phyr **chunks;

		chunks = kvrealloc(list->chunks, array_size(max, sizeof(*chunks)),
				   GFP_KERNEL);
		if (!chunks)
			return NULL;
		list->chunks = chunks;
		list->max_chunks = max;
	}

	chunk = kmalloc_array(IB_UMEM_PHYRS_CHUNK, sizeof(*chunk), GFP_KERNEL);
	if (chunk)
		list->chunks[list->nr_chunks++] = chunk;
	return chunk;
}

static int ib_umem_pin_phyrs(struct ib_umem_phyrs *list, unsigned int gup_flags)
{
	/* No bytes at an odd address are a page nevertheless, as ever. */
	size_t length = max(list->umem.length, 1);
	struct phyr_pin pin;
	struct phyr *chunk;
	int ret;

	phyr_pin_init(&pin, list->first, IB_UMEM_PHYRS_FIRST);
	for (;;) {
		ret = pin_user_phyrs(&pin, list->umem.address + pin.bytes,
				     length - pin.bytes, gup_flags);
		list->nr += pin.nr;
		/* Chunks are full but for the last one: ib_umem_phyr() counts on it. */
		if (ret != -ENOSPC || pin.nr < pin.max)
			return ret;

		cond_resched();
		chunk = ib_umem_add_chunk(list);
		if (!chunk)
			return -ENOMEM;
		phyr_pin_continue(&pin, chunk, IB_UMEM_PHYRS_CHUNK);
	}
}

/* Unpin the ranges and free the list of them. */
static void ib_umem_unpin_phyrs(struct ib_umem_phyrs *list, bool make_dirty)
{
	unsigned long left = list->nr;
	unsigned long nr;
	unsigned int i;

	nr = min(left, IB_UMEM_PHYRS_FIRST);
	unpin_user_phyrs(list->first, nr, make_dirty);
	left -= nr;

	for (i = 0; i < list->nr_chunks; i++) {
		nr = min(left, IB_UMEM_PHYRS_CHUNK);
		unpin_user_phyrs(list->chunks[i], nr, make_dirty);
		left -= nr;
		kfree(list->chunks[i]);
		cond_resched();
	}
	kvfree(list->chunks);
}

/* Only a device that does DMA itself has anything to map. */
static int ib_umem_map_phyrs(struct ib_umem_phyrs *list)
{
	struct ib_umem *umem = &list->umem;
	unsigned long left = list->nr;
	unsigned long nr;
	unsigned int i;
	int ret;

	if (ib_uses_virt_dma(umem->ibdev))
		return 0;

	list->dma = kmalloc_obj(*list->dma);
	if (!list->dma)
		return -ENOMEM;
	dma_phyr_map_init(list->dma, umem->ibdev->dma_device,
			  max(umem->length, 1), DMA_BIDIRECTIONAL,
			  umem->dma_attrs);

	nr = min(left, IB_UMEM_PHYRS_FIRST);
	ret = dma_map_phyrs(list->dma, list->first, nr);
	left -= nr;
	for (i = 0; !ret && i < list->nr_chunks; i++) {
		nr = min(left, IB_UMEM_PHYRS_CHUNK);
		ret = dma_map_phyrs(list->dma, list->chunks[i], nr);
		left -= nr;
		cond_resched();
	}
	if (ret) {
		kfree(list->dma);
		list->dma = NULL;
	}
	return ret;
}

static void ib_umem_unmap_phyrs(struct ib_umem_phyrs *list)
{
	if (list->dma)
		dma_unmap_phyrs(list->dma);
	kfree(list->dma);
}

/* The rest of ib_umem_copy_from(), which has checked that all of it is there. */
int ib_umem_copy_from_phyrs(void *dst, const struct ib_umem_phyrs *list,
			    size_t offset, size_t length)
{
	unsigned long i;

	for (i = 0; length; i++) {
		const struct phyr *phyr = ib_umem_phyr(list, i);
		phys_addr_t addr = phyr->addr + offset;
		size_t left = phyr->len;

		if (offset >= left) {
			offset -= left;
			continue;
		}
		left = min(left - offset, length);
		offset = 0;
		length -= left;
		while (left) {
			size_t len = min(left, PAGE_SIZE - offset_in_page(addr));

			memcpy_from_page(dst, pfn_to_page(PHYS_PFN(addr)),
					 offset_in_page(addr), len);
			dst += len;
			addr += len;
			left -= len;
		}
	}
	return 0;
}

/* The rest of ib_umem_release(), which is what drivers call. */
void ib_umem_release_phyrs(struct ib_umem_phyrs *list)
{
	ib_umem_unmap_phyrs(list);
	ib_umem_unpin_phyrs(list, list->umem.writable);
	ib_umem_end_va(&list->umem);
	kfree(list);
}

static struct ib_umem *__ib_umem_get_va_phyrs(struct ib_device *device,
					      unsigned long addr, size_t size,
					      int access)
{
	unsigned int gup_flags = FOLL_LONGTERM;
	struct ib_umem_phyrs *list;
	struct ib_umem *umem;
	int ret;

	list = kzalloc_obj(*list);
	if (!list)
		return ERR_PTR(-ENOMEM);
	umem = &list->umem;
	umem->is_phyr = 1;

	ret = ib_umem_begin_va(umem, device, addr, size, access);
	if (ret)
		goto err_free;

	if (umem->writable)
		gup_flags |= FOLL_WRITE;
	ret = ib_umem_pin_phyrs(list, gup_flags);
	if (ret)
		goto err_unpin;

	ret = ib_umem_map_phyrs(list);
	if (ret)
		goto err_unpin;
	return umem;

err_unpin:
	ib_umem_unpin_phyrs(list, false);
	ib_umem_end_va(umem);
err_free:
	kfree(list);
	return ERR_PTR(ret);
}

/**
 * ib_umem_get_va_phyrs - pin user memory as physical ranges
 * @device: IB device
 * @addr: user virtual address of the first byte
 * @size: bytes
 * @access: IB access flags
 *
 * The counterpart of ib_umem_get_va(), with the same checks and accounting, for a
 * driver that takes ranges: as the CPU sees them by ib_umem_phyr(), as the device
 * does by ib_umem_dma_phyr(), see to_ib_umem_phyrs().  The helpers that answer for
 * the whole umem work on it, too, ib_umem_find_best_pgsz() and
 * rdma_umem_for_each_dma_block() among them.  What reads @sgt_append does not.
 *
 * For a device that does DMA the very bytes are mapped, not whole pages, so that
 * an untrusted device behind an IOMMU is refused memory that is not page aligned.
 * If mapping fails, the error is dma_map_phyrs()'s.
 *
 * Context: Process context.  May sleep.
 * Return: a umem with is_phyr set, for ib_umem_release(), or an ERR_PTR() with
 * nothing left pinned or accounted.
 */
struct ib_umem *ib_umem_get_va_phyrs(struct ib_device *device,
				     unsigned long addr, size_t size,
				     int access)
{
	if (trace_ib_umem_get_enabled())
		return ib_umem_get_traced(__ib_umem_get_va_phyrs, device, addr,
					  size, access);
	return __ib_umem_get_va_phyrs(device, addr, size, access);
}
EXPORT_SYMBOL(ib_umem_get_va_phyrs);
