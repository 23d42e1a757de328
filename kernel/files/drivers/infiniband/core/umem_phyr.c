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

/**
 * ib_umem_add_phyr - append memory to a list of ranges that are not pinned
 * @list: the list, whose umem is at least as long as all that is appended
 * @addr: physical address
 * @len: bytes, not 0
 *
 * What follows the last range becomes part of it.
 *
 * Context: Process context.  May sleep.
 * Return: 0 or -ENOMEM.  Either way the list is for ib_umem_free_phyrs().
 */
int ib_umem_add_phyr(struct ib_umem_phyrs *list, phys_addr_t addr, size_t len)
{
	unsigned long i = list->nr;
	struct phyr *phyr;

	if (i) {
		phyr = (struct phyr *)ib_umem_phyr(list, i - 1);
		if (phyr->addr + phyr->len == addr) {
			phyr->len += len;
			return 0;
		}
	}

	if (i >= IB_UMEM_PHYRS_FIRST &&
	    !((i - IB_UMEM_PHYRS_FIRST) % IB_UMEM_PHYRS_CHUNK) &&
	    !ib_umem_add_chunk(list))
		return -ENOMEM;

	phyr = (struct phyr *)ib_umem_phyr(list, i);
	*phyr = (struct phyr){ .addr = addr, .len = len };
	list->nr++;
	return 0;
}

/**
 * ib_umem_copy_phys_vec - make the ranges of a umem of a part of others
 * @list: empty list, whose umem has the length in bytes
 * @vec: ranges in a row, of any length but zero
 * @nr: number of ranges in @vec
 * @offset: of the first byte that is wanted, in bytes from the start of @vec
 *
 * Context: Process context.  May sleep.
 * Return: 0, -EINVAL if @vec ends too early, or -ENOMEM.  Either way the list is
 * for ib_umem_free_phyrs().
 */
int ib_umem_copy_phys_vec(struct ib_umem_phyrs *list,
			  const struct phys_vec *vec, size_t nr, size_t offset)
{
	size_t left = list->umem.length;
	size_t i, len;
	int ret;

	for (i = 0; i < nr && left; i++) {
		if (offset >= vec[i].len) {
			offset -= vec[i].len;
			continue;
		}
		len = min(vec[i].len - offset, left);
		ret = ib_umem_add_phyr(list, vec[i].paddr + offset, len);
		if (ret)
			return ret;
		offset = 0;
		left -= len;
		if (i % IB_UMEM_PHYRS_CHUNK == IB_UMEM_PHYRS_CHUNK - 1)
			cond_resched();
	}
	return left ? -EINVAL : 0;
}

/* Free a list of ranges that are not pinned. */
void ib_umem_free_phyrs(struct ib_umem_phyrs *list)
{
	unsigned int i;

	for (i = 0; i < list->nr_chunks; i++) {
		kfree(list->chunks[i]);
		cond_resched();
	}
	kvfree(list->chunks);
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

	/* A device's memory is for its driver to read. */
	if (list->cpu != IB_UMEM_CPU_LINEAR)
		return -EOPNOTSUPP;

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
	ib_umem_start_times(umem);
	ret = ib_umem_pin_phyrs(list, gup_flags);
	if (ret)
		goto err_unpin;

	ib_umem_add_time(umem, IB_UMEM_PIN);
	ret = ib_umem_map_phyrs(list);
	if (ret)
		goto err_unpin;

	ib_umem_end_times(umem);
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
 *
 * Context: Process context.  May sleep.
 * Return:
 * * a umem with is_phyr set, for ib_umem_release()
 * * or an ERR_PTR(), with nothing left pinned or accounted:
 * * -EINVAL: @addr + @size, rounded up to pages, wraps around, or there is no
 *   page, or more than UINT_MAX of them
 * * -EPERM: the process may not lock memory
 * * -ENOMEM: it would be more than RLIMIT_MEMLOCK allows
 * * -EOPNOTSUPP: @access asks for memory on demand, or the device's DMA has to
 *   bounce, in a confidential guest
 * * or an error of pin_user_phyrs() or dma_map_phyrs()
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
