// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * User memory as physical ranges
 *
 * For drivers that ask for it by ib_umem_get_va_phyrs().  The buffer is pinned in
 * one pin session, which gets a further chunk of the list whenever it has filled
 * what it has.  No scatterlist is built and nothing is DMA mapped.
 */

#include <linux/export.h>
#include <linux/mm.h>
#include <linux/phyr_pin.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>

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

/* The rest of ib_umem_release(), which is what drivers call. */
void ib_umem_release_phyrs(struct ib_umem_phyrs *list)
{
	struct ib_umem *umem = &list->umem;

	ib_umem_unpin_phyrs(list, umem->writable);
	atomic64_sub(ib_umem_num_pages(umem), &umem->owning_mm->pinned_vm);
	mmdrop(umem->owning_mm);
	kfree(list);
}

/**
 * ib_umem_get_va_phyrs - pin user memory as physical ranges
 * @device: IB device
 * @addr: user virtual address of the first byte
 * @size: bytes
 * @access: IB access flags
 *
 * The counterpart of ib_umem_get_va(), with the same checks, accounting and
 * errors, for a driver that reaches the memory by CPU.  What it returns is part
 * of a struct ib_umem_phyrs, see to_ib_umem_phyrs() and ib_umem_phyr().
 *
 * Context: Process context.  May sleep.
 * Return: a umem with is_phyr set, for ib_umem_release(), or an ERR_PTR() with
 * nothing left pinned or accounted.
 */
struct ib_umem *ib_umem_get_va_phyrs(struct ib_device *device,
				     unsigned long addr, size_t size,
				     int access)
{
	unsigned int gup_flags = FOLL_LONGTERM;
	struct mm_struct *mm = current->mm;
	unsigned long npages, lock_limit;
	struct ib_umem_phyrs *list;
	struct ib_umem *umem;
	int ret;

	if (device->cc_dma_bounce)
		return ERR_PTR(-EOPNOTSUPP);

	if (addr + size < addr || PAGE_ALIGN(addr + size) < addr + size)
		return ERR_PTR(-EINVAL);

	if (!can_do_mlock())
		return ERR_PTR(-EPERM);

	if (access & IB_ACCESS_ON_DEMAND)
		return ERR_PTR(-EOPNOTSUPP);

	list = kzalloc_obj(*list);
	if (!list)
		return ERR_PTR(-ENOMEM);
	umem = &list->umem;
	umem->ibdev = device;
	umem->length = size;
	umem->address = addr;
	umem->iova = addr;
	umem->writable = ib_access_writable(access);
	umem->is_phyr = 1;
	umem->owning_mm = mm;

	npages = ib_umem_num_pages(umem);
	if (npages == 0 || npages > UINT_MAX) {
		ret = -EINVAL;
		goto err_free;
	}

	lock_limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	if (atomic64_add_return(npages, &mm->pinned_vm) > lock_limit &&
	    !capable(CAP_IPC_LOCK)) {
		ret = -ENOMEM;
		goto err_account;
	}

	if (umem->writable)
		gup_flags |= FOLL_WRITE;
	ret = ib_umem_pin_phyrs(list, gup_flags);
	if (ret)
		goto err_unpin;

	mmgrab(mm);
	return umem;

err_unpin:
	ib_umem_unpin_phyrs(list, false);
err_account:
	atomic64_sub(npages, &mm->pinned_vm);
err_free:
	kfree(list);
	return ERR_PTR(ret);
}
EXPORT_SYMBOL(ib_umem_get_va_phyrs);
