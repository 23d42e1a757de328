// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * User memory that has no struct page, as physical ranges
 *
 * What a driver maps by PFN, a BAR or memory that the kernel was told to leave
 * alone, can't be pinned: nothing counts who uses it.  It can be used as long as
 * the user has it mapped, by whoever is able to stop at once.
 *
 * The ranges are read from the page tables, and a notifier watches the span of
 * addresses.  The first time that any of it is unmapped, moved, zapped by its
 * driver or given less access, all of it is revoked, once and for ever, before
 * whoever does that goes on.
 */

#include <linux/export.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/mmu_context.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>

#include "uverbs.h"

struct ib_umem_pfnmap {
	struct ib_umem_phyrs		list;
	struct mmu_interval_notifier	notifier;
	/* Either the ranges are valid and live, or there was an invalidation. */
	spinlock_t			lock;
	bool				live;
	void				(*revoke)(void *priv);
	void				*priv;
};

static bool ib_umem_pfnmap_invalidate(struct mmu_interval_notifier *notifier,
				      const struct mmu_notifier_range *range,
				      unsigned long cur_seq)
{
	struct ib_umem_pfnmap *pfnmap =
		container_of(notifier, struct ib_umem_pfnmap, notifier);

	spin_lock(&pfnmap->lock);
	mmu_interval_set_seq(notifier, cur_seq);
	/* That a write has to be noticed takes nothing away. */
	if (pfnmap->live && range->event != MMU_NOTIFY_SOFT_DIRTY) {
		pfnmap->revoke(pfnmap->priv);
		pfnmap->live = false;
	}
	spin_unlock(&pfnmap->lock);
	return true;
}

static const struct mmu_interval_notifier_ops ib_umem_pfnmap_ops = {
	.invalidate = ib_umem_pfnmap_invalidate,
};

/* A private mapping that can be written to may hold pages of its own. */
static struct vm_area_struct *ib_umem_pfnmap_vma(const struct ib_umem *umem,
						 unsigned long va)
{
	struct vm_area_struct *vma = vma_lookup(umem->owning_mm, va);

	if (!vma || !(vma->vm_flags & VM_PFNMAP) ||
	    !(vma->vm_flags & VM_READ) || vma_is_cow_mapping(vma))
		return NULL;
	if (umem->writable && !(vma->vm_flags & VM_WRITE))
		return NULL;
	if (!arch_vma_access_permitted(vma, umem->writable, false, false))
		return NULL;
	return vma;
}

static pgprotval_t ib_umem_pfnmap_wc_bits(pgprot_t prot)
{
	return pgprot_val(prot) ^ pgprot_val(pgprot_writecombine(prot));
}

/*
 * The kernel's mapping has to be cached as the user's is, which is what the page
 * table says and not the VMA.  That it is cached is for it to say, too: where what
 * tells it from write-combining is what does so for ordinary memory.
 */
static int ib_umem_pfnmap_cpu(const struct vm_area_struct *vma, pgprot_t prot,
			      enum ib_umem_cpu *cpu)
{
	pgprotval_t val = pgprot_val(prot);

	if (val == pgprot_val(pgprot_noncached(prot)) ||
	    val == pgprot_val(pgprot_device(prot)))
		*cpu = IB_UMEM_CPU_UNCACHED;
	else if (val == pgprot_val(pgprot_writecombine(prot)))
		*cpu = IB_UMEM_CPU_WC;
	else if (ib_umem_pfnmap_wc_bits(prot) ==
		 ib_umem_pfnmap_wc_bits(vm_get_page_prot(vma->vm_flags)))
		*cpu = IB_UMEM_CPU_CACHED;
	else
		return -EFAULT;
	return 0;
}

/*
 * Find the leaf that maps @va, after a fault if it takes one.  Returns -EAGAIN if
 * that has dropped the lock, and @vma with it.
 */
static int ib_umem_pfnmap_follow(struct ib_umem *umem,
				 struct follow_pfnmap_args *args)
{
	unsigned int fault_flags = umem->writable ? FAULT_FLAG_WRITE : 0;
	bool unlocked = false;
	int ret;

	ret = follow_pfnmap_start(args);
	if (!ret) {
		if (!umem->writable || args->writable)
			return 0;
		follow_pfnmap_end(args);
	}

	ret = fixup_user_fault(umem->owning_mm, args->address, fault_flags,
			       &unlocked);
	if (ret)
		return ret == -EINTR || ret == -ENOMEM ? ret : -EFAULT;
	if (unlocked)
		return -EAGAIN;

	ret = follow_pfnmap_start(args);
	if (ret)
		return -EFAULT;
	if (!umem->writable || args->writable)
		return 0;
	follow_pfnmap_end(args);
	return -EFAULT;
}

/* Leaf by leaf up to @end. Returns -EAGAIN if @vma may be gone. */
static int ib_umem_pfnmap_walk_vma(struct ib_umem_phyrs *list,
				   struct vm_area_struct *vma,
				   unsigned long *va, unsigned long end)
{
	struct follow_pfnmap_args args = { .vma = vma };
	enum ib_umem_cpu cpu;
	pgprotval_t last = 0;
	unsigned long len;
	pgprot_t prot;
	phys_addr_t addr;
	int ret;

	while (*va < end) {
		args.address = *va;
		ret = ib_umem_pfnmap_follow(&list->umem, &args);
		if (ret)
			return ret;
		addr = PFN_PHYS(args.pfn) + offset_in_page(*va);
		len = min((*va | ~args.addr_mask) - *va + 1, end - *va);
		prot = args.pgprot;
		follow_pfnmap_end(&args);

		if (pgprot_val(prot) != last) {
			ret = ib_umem_pfnmap_cpu(vma, prot, &cpu);
			if (ret)
				return ret;
			if (list->nr && cpu != list->cpu)
				return -EFAULT;
			list->cpu = cpu;
			last = pgprot_val(prot);
		}

		ret = ib_umem_add_phyr(list, addr, len);
		if (ret)
			return ret;
		*va += len;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/* The ranges as the page tables have them now; the caller holds the mmap lock. */
static int ib_umem_pfnmap_walk(struct ib_umem_phyrs *list)
{
	struct ib_umem *umem = &list->umem;
	unsigned long va = umem->address;
	unsigned long end = va + umem->length;
	struct vm_area_struct *vma;
	int ret;

	while (va < end) {
		vma = ib_umem_pfnmap_vma(umem, va);
		if (!vma)
			return -EFAULT;
		ret = ib_umem_pfnmap_walk_vma(list, vma, &va,
					      min(end, vma->vm_end));
		if (ret && ret != -EAGAIN)
			return ret;
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	return 0;
}

/* region_intersects() doesn't see a hole that nothing is said of. */
static bool ib_umem_pfnmap_is_ram(const struct phyr *phyr)
{
	unsigned long pfn = PHYS_PFN(phyr->addr);
	unsigned long last = PHYS_PFN(phyr->addr + phyr->len - 1);

	for (; pfn <= last; pfn++) {
		if (!page_is_ram(pfn))
			return false;
		if (!(pfn % 1024))
			cond_resched();
	}
	return true;
}

/*
 * Memory that the kernel has in its linear mapping can't be mapped another time.
 * Drivers map such by PFN, too; it will do if it is all like that, and cached.
 */
static int ib_umem_pfnmap_find_ram(struct ib_umem_phyrs *list)
{
	unsigned long i, ram = 0;

	for (i = 0; i < list->nr; i++) {
		const struct phyr *phyr = ib_umem_phyr(list, i);

		switch (region_intersects(phyr->addr, phyr->len,
					  IORESOURCE_SYSTEM_RAM,
					  IORES_DESC_NONE)) {
		case REGION_DISJOINT:
			break;
		case REGION_INTERSECTS:
			if (!ib_umem_pfnmap_is_ram(phyr))
				return -EFAULT;
			ram++;
			break;
		default:
			return -EFAULT;
		}
		cond_resched();
	}
	if (!ram)
		return 0;
	if (ram != list->nr || list->cpu != IB_UMEM_CPU_CACHED)
		return -EFAULT;
	list->cpu = IB_UMEM_CPU_LINEAR;
	return 0;
}

static void ib_umem_pfnmap_empty(struct ib_umem_phyrs *list)
{
	ib_umem_free_phyrs(list);
	list->chunks = NULL;
	list->nr_chunks = 0;
	list->max_chunks = 0;
	list->nr = 0;
	list->cpu = IB_UMEM_CPU_LINEAR;
}

/* Until nothing has been invalidated while the page tables were read. */
static int ib_umem_pfnmap_read(struct ib_umem_pfnmap *pfnmap)
{
	struct ib_umem_phyrs *list = &pfnmap->list;
	struct mm_struct *mm = list->umem.owning_mm;
	unsigned long seq;
	int ret;

	for (;;) {
		seq = mmu_interval_read_begin(&pfnmap->notifier);
		ret = mmap_read_lock_killable(mm);
		if (ret)
			return ret;
		ret = ib_umem_pfnmap_walk(list);
		mmap_read_unlock(mm);
		if (!ret)
			ret = ib_umem_pfnmap_find_ram(list);
		if (ret)
			return ret;

		spin_lock(&pfnmap->lock);
		pfnmap->live = !mmu_interval_read_retry(&pfnmap->notifier, seq);
		spin_unlock(&pfnmap->lock);
		if (pfnmap->live)
			return 0;
		if (fatal_signal_pending(current))
			return -EINTR;
		ib_umem_pfnmap_empty(list);
	}
}

static bool ib_umem_pfnmap_is_one(const struct ib_umem *umem)
{
	struct vm_area_struct *vma;

	mmap_read_lock(umem->owning_mm);
	vma = ib_umem_pfnmap_vma(umem, umem->address);
	mmap_read_unlock(umem->owning_mm);
	return vma;
}

/**
 * ib_umem_get_pfnmap - use memory that is mapped by PFN, as physical ranges
 * @device: IB device that reaches memory by CPU, see ib_uses_virt_dma()
 * @addr: user virtual address of the first byte, in the caller's mm
 * @size: bytes
 * @access: IB access flags
 * @revoke: called once at most, when any of the memory is no longer the user's
 * @priv: for @revoke
 *
 * For what ib_umem_get_va_phyrs() has refused with -EFAULT, and drivers that can
 * stop accessing memory at any time: no access may be in flight when @revoke
 * returns, and none may follow.  It is called where it can't sleep, with a spin
 * lock held, maybe before this function returns, and not any more when
 * ib_umem_release() does.
 *
 * All of the memory has to be in mappings that have VM_PFNMAP, are not private
 * and writable, and are cached in the same way, which &ib_umem_phyrs.cpu says;
 * for memory that is to be written to, they have to be writable.  Nothing is
 * pinned, but it is accounted as if it were: it takes some of the kernel's address
 * space and of the memory for page tables.
 *
 * Page tables that are split are a reason, too.  Who unmaps a part of what one
 * entry maps, 1 GiB maybe, revokes all MRs there.
 *
 * Context: Process context.  May sleep.
 * Return:
 * * a umem with is_phyr set, for ib_umem_release()
 * * or an ERR_PTR(), with nothing left accounted:
 * * -EFAULT: the memory is no such, @size is 0, or the device does DMA
 * * -EINTR: the process is being killed
 * * -ENOMEM: memory is short, or it is more than RLIMIT_MEMLOCK allows
 * * -EINVAL, -EPERM, -EOPNOTSUPP: as for ib_umem_get_va_phyrs()
 */
struct ib_umem *ib_umem_get_pfnmap(struct ib_device *device,
				   unsigned long addr, size_t size, int access,
				   void (*revoke)(void *priv), void *priv)
{
	struct ib_umem_pfnmap *pfnmap;
	struct ib_umem *umem;
	unsigned long first;
	int ret;

	addr = untagged_addr(addr);
	first = addr & PAGE_MASK;
	if (!ib_uses_virt_dma(device) || !size)
		return ERR_PTR(-EFAULT);

	pfnmap = kzalloc_obj(*pfnmap);
	if (!pfnmap)
		return ERR_PTR(-ENOMEM);
	spin_lock_init(&pfnmap->lock);
	pfnmap->revoke = revoke;
	pfnmap->priv = priv;

	umem = &pfnmap->list.umem;
	umem->is_phyr = 1;
	umem->is_pfnmap = 1;
	ret = ib_umem_begin_va(umem, device, addr, size, access);
	if (ret)
		goto err_free;

	/* A notifier is dear to get rid of: not for any bad address. */
	ret = -EFAULT;
	if (!ib_umem_pfnmap_is_one(umem))
		goto err_end;

	ret = mmu_interval_notifier_insert(&pfnmap->notifier, umem->owning_mm,
					   first, PAGE_ALIGN(addr + size) - first,
					   &ib_umem_pfnmap_ops);
	if (ret)
		goto err_end;

	ib_umem_start_times(umem);
	ret = ib_umem_pfnmap_read(pfnmap);
	if (ret) {
		ib_umem_pfnmap_release(&pfnmap->list);
		return ERR_PTR(ret);
	}
	ib_umem_add_time(umem, IB_UMEM_PIN);
	ib_umem_end_times(umem);
	return umem;

err_end:
	ib_umem_end_va(umem);
err_free:
	kfree(pfnmap);
	return ERR_PTR(ret);
}
EXPORT_SYMBOL(ib_umem_get_pfnmap);

/* The rest of ib_umem_release(), which is what drivers call. */
void ib_umem_pfnmap_release(struct ib_umem_phyrs *list)
{
	struct ib_umem_pfnmap *pfnmap =
		container_of(list, struct ib_umem_pfnmap, list);

	mmu_interval_notifier_remove(&pfnmap->notifier);
	ib_umem_free_phyrs(list);
	ib_umem_end_va(&list->umem);
	kfree(pfnmap);
}
