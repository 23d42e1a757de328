// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Measure and compare the forms that ib_umem holds user memory in, by ioctls on
 * /sys/kernel/debug/umem_test.  There is no RDMA device behind it: ib_umem asks
 * for no more of one than whether and where to map for DMA.
 */
#include <linux/debugfs.h>
#include <linux/device/faux.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <rdma/ib_umem.h>
#include <rdma/ib_verbs.h>
#include <rdma/iter.h>

#include "umem_test.h"

#define UMEM_TEST_COPY	SZ_64K

static struct dentry *umem_test_file;
static struct faux_device *umem_test_faux;
/* The longest segment is a property of the device: one caller at a time. */
static DEFINE_MUTEX(umem_test_lock);

static struct ib_umem *umem_test_get(struct ib_device *ibdev,
				     const struct umem_test *test, u32 form)
{
	int access = test->flags & UMEM_TEST_WRITE ?
		     IB_ACCESS_LOCAL_WRITE | IB_ACCESS_REMOTE_WRITE : 0;

	switch (form) {
	case UMEM_TEST_SGT:
		return ib_umem_get_va(ibdev, test->addr, test->size, access);
	case UMEM_TEST_PHYRS:
		return ib_umem_get_va_phyrs(ibdev, test->addr, test->size,
					    access);
	case UMEM_TEST_PAGES:
		return ib_umem_get_va(ibdev, test->addr, test->size,
				      access | IB_ACCESS_PAGE_LIST);
	default:
		return ERR_PTR(-EINVAL);
	}
}

static void umem_test_describe(struct umem_test *test, struct ib_umem *umem)
{
	if (umem->is_phyr) {
		test->nr_phyrs = to_ib_umem_phyrs(umem)->nr;
		test->nr_dma_phyrs =
			ib_umem_nr_dma_phyrs(to_ib_umem_phyrs(umem));
	} else {
		test->nr_sgs = umem->sgt_append.sgt.orig_nents;
	}
}

static int umem_test_measure(struct ib_device *ibdev, struct umem_test *test)
{
	struct ib_umem *umem;
	ktime_t start;

	start = ktime_get();
	umem = umem_test_get(ibdev, test, test->form);
	test->get_nsec = ktime_to_ns(ktime_sub(ktime_get(), start));
	if (IS_ERR(umem))
		return PTR_ERR(umem);

	umem_test_describe(test, umem);
	test->pgsz = ib_umem_find_best_pgsz(umem, test->pgsz_bitmap,
					    test->iova);
	/* A driver's iova has the offset in the page of the address. */
	umem->iova = test->addr;

	start = ktime_get();
	ib_umem_release(umem);
	test->put_nsec = ktime_to_ns(ktime_sub(ktime_get(), start));
	return 0;
}

/* Can a page table with pages of @pgsz give @umem at @iova? */
static bool umem_test_fits(struct ib_umem *umem, u64 iova, u64 pgsz)
{
	dma_addr_t end = ib_umem_start_dma_addr(umem);
	u64 off = ib_umem_offset(umem);
	struct scatterlist *sg;
	u64 va = iova;
	int i;

	for_each_sgtable_dma_sg(&umem->sgt_append.sgt, sg, i) {
		dma_addr_t addr = sg_dma_address(sg) + off;
		u64 len = sg_dma_len(sg) - off;

		/* Only the start of a page may be far from its neighbour. */
		if (addr != end && (va & (pgsz - 1)))
			return false;
		if ((addr & (pgsz - 1)) != (va & (pgsz - 1)))
			return false;
		end = addr + len;
		va += len;
		off = 0;
	}
	return true;
}

/* By definition: the smallest size that needs the fewest pages, and fits. */
static u64 umem_test_true_pgsz(struct ib_umem *umem, u64 bitmap, u64 iova)
{
	u64 last, best = 0;
	unsigned int bit;

	if (check_add_overflow(umem->length - 1, iova, &last))
		return 0;

	for (bit = 0; bit < BITS_PER_LONG; bit++) {
		if (!(bitmap & BIT_ULL(bit)))
			continue;
		if (!umem_test_fits(umem, iova, BIT_ULL(bit)))
			break;
		best = BIT_ULL(bit);
		/* One page is enough. */
		if (iova >> bit == last >> bit)
			break;
	}
	return best;
}

static u32 umem_test_blocks(struct ib_umem *sgt, struct ib_umem *phyrs,
			    unsigned long pgsz)
{
	struct ib_block_iter a, b;
	size_t nr = 0;

	if (ib_umem_num_dma_blocks(sgt, pgsz) !=
	    ib_umem_num_dma_blocks(phyrs, pgsz))
		return UMEM_TEST_NR_BLOCKS;

	__rdma_umem_block_iter_start(&b, phyrs, pgsz);
	rdma_umem_for_each_dma_block(sgt, &a, pgsz) {
		if (!__rdma_umem_block_iter_next(&b) ||
		    rdma_block_iter_dma_address(&a) !=
		    rdma_block_iter_dma_address(&b))
			return UMEM_TEST_BLOCKS;
		nr++;
		if (!(nr % SZ_4K))
			cond_resched();
		if (fatal_signal_pending(current))
			return UMEM_TEST_SAME;
	}
	if (__rdma_umem_block_iter_next(&b))
		return UMEM_TEST_BLOCKS;
	return nr == ib_umem_num_dma_blocks(sgt, pgsz) ? UMEM_TEST_SAME :
							 UMEM_TEST_NR_BLOCKS;
}

/* @bufs has room for UMEM_TEST_COPY twice. */
static u32 umem_test_content(struct ib_umem *sgt, struct ib_umem *phyrs,
			     size_t offset, void *bufs)
{
	size_t len = min(UMEM_TEST_COPY, sgt->length - offset);
	void *a = bufs, *b = bufs + UMEM_TEST_COPY;

	if (ib_umem_copy_from(a, sgt, offset, len) ||
	    ib_umem_copy_from(b, phyrs, offset, len) || memcmp(a, b, len))
		return UMEM_TEST_CONTENT;
	/* The user's own eyes, unless the memory can't be read there. */
	if (!copy_from_user(b, (void __user *)sgt->address + offset, len) &&
	    memcmp(a, b, len))
		return UMEM_TEST_CONTENT;
	return UMEM_TEST_SAME;
}

static u32 umem_test_differ(struct umem_test *test, struct ib_umem *sgt,
			    struct ib_umem *phyrs, void *bufs)
{
	/* As far into a page, on another border of larger pages. */
	u64 other = test->iova ^ PAGE_SIZE;
	unsigned long pgsz, again;
	u32 mismatch;

	if (ib_umem_start_dma_addr(sgt) != ib_umem_start_dma_addr(phyrs))
		return UMEM_TEST_START;
	if (ib_umem_is_contiguous(sgt) != ib_umem_is_contiguous(phyrs))
		return UMEM_TEST_CONTIGUOUS;

	pgsz = ib_umem_find_best_pgsz(sgt, test->pgsz_bitmap, test->iova);
	test->pgsz = ib_umem_find_best_pgsz(phyrs, test->pgsz_bitmap,
					    test->iova);
	if (test->pgsz != pgsz ||
	    pgsz != umem_test_true_pgsz(sgt, test->pgsz_bitmap, test->iova))
		return UMEM_TEST_PGSZ;
	/* Kept for an iova, and no good for another one. */
	again = ib_umem_find_best_pgsz(phyrs, test->pgsz_bitmap, other);
	if (again != umem_test_true_pgsz(sgt, test->pgsz_bitmap, other))
		return UMEM_TEST_PGSZ_KEPT;
	again = ib_umem_find_best_pgsz(phyrs, test->pgsz_bitmap, test->iova);
	if (again != pgsz)
		return UMEM_TEST_PGSZ_KEPT;

	if (pgsz) {
		mismatch = umem_test_blocks(sgt, phyrs, pgsz);
		if (mismatch)
			return mismatch;
	}

	/* Pages are counted from here on, also those to be accounted for. */
	sgt->iova = test->addr;
	phyrs->iova = test->addr;
	mismatch = umem_test_blocks(sgt, phyrs, PAGE_SIZE);
	if (!mismatch)
		mismatch = umem_test_content(sgt, phyrs, 0, bufs);
	if (!mismatch)
		mismatch = umem_test_content(sgt, phyrs, test->size / 3, bufs);
	if (!mismatch)
		mismatch = umem_test_content(sgt, phyrs, test->size - 1, bufs);
	return mismatch;
}

static int umem_test_compare(struct ib_device *ibdev, struct umem_test *test)
{
	struct ib_umem *sgt, *phyrs;
	void *bufs;

	if (!test->size)
		return -EINVAL;
	bufs = kvmalloc(2 * UMEM_TEST_COPY, GFP_KERNEL);
	if (!bufs)
		return -ENOMEM;

	sgt = umem_test_get(ibdev, test, UMEM_TEST_SGT);
	phyrs = umem_test_get(ibdev, test, UMEM_TEST_PHYRS);
	test->error = PTR_ERR_OR_ZERO(sgt);
	if (test->error != PTR_ERR_OR_ZERO(phyrs)) {
		test->mismatch = UMEM_TEST_ERROR;
	} else if (!test->error) {
		umem_test_describe(test, sgt);
		umem_test_describe(test, phyrs);
		test->mismatch = umem_test_differ(test, sgt, phyrs, bufs);
	}
	if (!IS_ERR(sgt))
		sgt->iova = test->addr;
	if (!IS_ERR(phyrs))
		phyrs->iova = test->addr;
	ib_umem_release(phyrs);
	ib_umem_release(sgt);
	kvfree(bufs);
	return 0;
}

static long umem_test_ioctl(struct file *file, unsigned int cmd,
			    unsigned long arg)
{
	struct ib_device *ibdev;
	struct umem_test test;
	int ret;

	if (cmd != UMEM_TEST_MEASURE && cmd != UMEM_TEST_COMPARE)
		return -ENOTTY;
	if (copy_from_user(&test, (void __user *)arg, sizeof(test)))
		return -EFAULT;
	if (overflows_type(test.addr, unsigned long) ||
	    overflows_type(test.size, size_t) ||
	    overflows_type(test.boundary_mask, unsigned long) ||
	    test.max_segment > UINT_MAX || test.max_segment < PAGE_SIZE ||
	    test.boundary_mask < PAGE_SIZE - 1 ||
	    (test.boundary_mask & (test.boundary_mask + 1)) ||
	    (test.pgsz_bitmap & (UMEM_TEST_PGSZ_MIN - 1)) ||
	    test.flags & ~(UMEM_TEST_DMA | UMEM_TEST_WRITE))
		return -EINVAL;

	ibdev = kzalloc_obj(*ibdev);
	if (!ibdev)
		return -ENOMEM;
	if (test.flags & UMEM_TEST_DMA)
		ibdev->dma_device = &umem_test_faux->dev;

	test.nr_sgs = 0;
	test.nr_phyrs = 0;
	test.nr_dma_phyrs = 0;
	test.pgsz = 0;
	test.error = 0;
	test.mismatch = UMEM_TEST_SAME;

	if (mutex_lock_killable(&umem_test_lock)) {
		kfree(ibdev);
		return -EINTR;
	}
	dma_set_max_seg_size(&umem_test_faux->dev, test.max_segment);
	dma_set_seg_boundary(&umem_test_faux->dev, test.boundary_mask);
	if (cmd == UMEM_TEST_MEASURE)
		ret = umem_test_measure(ibdev, &test);
	else
		ret = umem_test_compare(ibdev, &test);
	mutex_unlock(&umem_test_lock);
	kfree(ibdev);

	if (!ret && copy_to_user((void __user *)arg, &test, sizeof(test)))
		ret = -EFAULT;
	return ret;
}

static const struct file_operations umem_test_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.unlocked_ioctl = umem_test_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static int __init umem_test_init(void)
{
	static struct device_dma_parameters dma_parms;
	struct device *dev;

	umem_test_faux = faux_device_create("umem_test", NULL, NULL);
	if (!umem_test_faux)
		return -ENODEV;
	dev = &umem_test_faux->dev;
	dev->dma_parms = &dma_parms;
	if (dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(64))) {
		faux_device_destroy(umem_test_faux);
		return -EIO;
	}

	umem_test_file = debugfs_create_file_unsafe("umem_test", 0600, NULL,
						    NULL, &umem_test_fops);
	return 0;
}

static void __exit umem_test_exit(void)
{
	debugfs_remove(umem_test_file);
	faux_device_destroy(umem_test_faux);
}

module_init(umem_test_init);
module_exit(umem_test_exit);
MODULE_DESCRIPTION("Test and measure ib_umem");
MODULE_LICENSE("GPL");
