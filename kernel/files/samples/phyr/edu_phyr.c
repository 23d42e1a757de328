// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sample: DMA to and from a user's memory by physical ranges
 *
 * A driver for the educational device that QEMU has ("-device edu"), for authors of
 * drivers to look at.  A process asks by ioctl() for memory of its own to be copied,
 * and the device does that: by DMA into its internal buffer and by DMA out of it.
 * Both sides are pinned by pin_user_phyrs() and mapped by dma_map_phyrs(), whatever
 * pages they are made of.  There is no struct page and no scatterlist.
 *
 * The life of a buffer, which is the part to copy, is edu_buffer_pin() and
 * edu_buffer_map(), edu_buffer_unmap() and edu_buffer_unpin().  The device is slow: it
 * takes 100 ms for each transfer.
 */
#include <linux/dma-phyr.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/iopoll.h>
#include <linux/kref.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/phyr_pin.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "edu_phyr.h"

#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_CMD	0x98
#define EDU_DMA_RUN		BIT(0)
#define EDU_DMA_TO_MEMORY	BIT(1)

#define EDU_BUF		0x40000
/* To QEMU 7.2 and others the last byte is beyond the end, and they abort. */
#define EDU_BUF_SIZE	(SZ_4K - 1)

#define EDU_MAX_LEN	SZ_1G

/* The device drops the address bits that it hasn't got, without a word. */
static unsigned int dma_bits = 28;
module_param(dma_bits, uint, 0444);
MODULE_PARM_DESC(dma_bits, "Address bits, 28 unless \"-device edu,dma_mask=\" says otherwise");

static unsigned int timeout_ms = 10000;
module_param(timeout_ms, uint, 0644);
MODULE_PARM_DESC(timeout_ms, "Milliseconds after which a transfer is given up");

/* The name under /dev is for one device. */
static unsigned long edu_bound;

struct edu {
	struct miscdevice	misc;
	struct kref		kref;
	struct pci_dev		*pdev;
	struct mutex		lock;	/* one copy at a time; guards @mmio */
	void __iomem		*mmio;	/* NULL once the device is of no more use */
	bool			gone;	/* let a copy end; is read without @lock */
};

/* The list of ranges grows by pieces of a page each. */
struct edu_chunk {
	struct edu_chunk	*next;
	unsigned int		nr;
	struct phyr		phyrs[];
};

#define EDU_CHUNK_PHYRS \
	((SZ_4K - sizeof(struct edu_chunk)) / sizeof(struct phyr))

struct edu_buffer {
	struct edu_chunk	*chunks;
	unsigned long		nr_phyrs;
	unsigned long		locked_pages;
	size_t			len;
	enum dma_data_direction	dir;
	struct dma_phyr_map	map;
};

static struct edu_chunk *edu_chunk_add(struct edu_chunk **end)
{
	/* A process may keep it for as long as it likes. */
	*end = kzalloc_flex(**end, phyrs, EDU_CHUNK_PHYRS, GFP_KERNEL_ACCOUNT);
	return *end;
}

static int edu_chunks_pin(struct edu_buffer *buf, unsigned long addr, size_t len,
			  unsigned int gup_flags)
{
	struct edu_chunk *chunk = edu_chunk_add(&buf->chunks);
	struct phyr_pin pin;
	int ret;

	if (!chunk)
		return -ENOMEM;
	phyr_pin_init(&pin, chunk->phyrs, EDU_CHUNK_PHYRS);
	for (;;) {
		ret = pin_user_phyrs(&pin, addr + pin.bytes, len - pin.bytes,
				     gup_flags);
		/* What is pinned is to be unpinned, after an error as well. */
		chunk->nr = pin.nr;
		buf->nr_phyrs += pin.nr;
		if (ret != -ENOSPC)
			return ret;

		chunk = edu_chunk_add(&chunk->next);
		if (!chunk)
			return -ENOMEM;
		phyr_pin_continue(&pin, chunk->phyrs, EDU_CHUNK_PHYRS);
	}
}

static void edu_buffer_unpin(struct edu_buffer *buf, bool dirty)
{
	struct edu_chunk *chunk, *next;

	for (chunk = buf->chunks; chunk; chunk = next) {
		next = chunk->next;
		unpin_user_phyrs(chunk->phyrs, chunk->nr, dirty);
		kfree(chunk);
	}
	account_locked_vm(current->mm, buf->locked_pages, false);
}

/*
 * All of it, before any of it is mapped: the last range of a chunk may grow.  The
 * process can make this take for ever, so it is done without the lock.
 */
static int edu_buffer_pin(struct edu_buffer *buf, unsigned long addr, size_t len,
			  enum dma_data_direction dir)
{
	unsigned long pages = DIV_ROUND_UP(offset_in_page(addr) + len, PAGE_SIZE);
	unsigned int gup_flags = FOLL_LONGTERM;
	int ret;

	*buf = (struct edu_buffer){ .len = len, .dir = dir };

	ret = account_locked_vm(current->mm, pages, true);
	if (ret)
		return ret;
	buf->locked_pages = pages;

	if (dir == DMA_FROM_DEVICE)
		gup_flags |= FOLL_WRITE;
	ret = edu_chunks_pin(buf, addr, len, gup_flags);
	if (ret)
		edu_buffer_unpin(buf, false);
	return ret;
}

/* The lock is held for as long as the buffer is mapped: then the device is there. */
static int edu_buffer_map(struct edu_buffer *buf, struct edu *edu)
{
	struct edu_chunk *chunk;
	int ret;

	dma_phyr_map_init(&buf->map, &edu->pdev->dev, buf->len, buf->dir, 0);
	for (chunk = buf->chunks; chunk; chunk = chunk->next) {
		ret = dma_map_phyrs(&buf->map, chunk->phyrs, chunk->nr);
		/* All of it is unmapped then. */
		if (ret)
			return ret;
	}
	return 0;
}

static void edu_buffer_unmap(struct edu_buffer *buf)
{
	dma_unmap_phyrs(&buf->map);
}

/* A place in a buffer, that moves from its first byte to its last. */
struct edu_cursor {
	const struct dma_phyr_map *map;
	const struct edu_chunk	*chunk;
	unsigned int		in_chunk;	/* index of the next range there */
	unsigned long		i;		/* of all DMA ranges */
	struct dma_phyr		left;		/* of the range that it is in */
};

static void edu_cursor_init(struct edu_cursor *cur, const struct edu_buffer *buf)
{
	*cur = (struct edu_cursor){ .map = &buf->map, .chunk = buf->chunks };
}

static void edu_cursor_next_range(struct edu_cursor *cur)
{
	if (cur->in_chunk == cur->chunk->nr) {
		cur->chunk = cur->chunk->next;
		cur->in_chunk = 0;
	}
	cur->left = dma_phyr_at(cur->map, cur->i++,
				&cur->chunk->phyrs[cur->in_chunk++]);
}

static int edu_wait(struct edu *edu)
{
	u64 now, us = max(timeout_ms, 1u) * (u64)USEC_PER_MSEC;

	return readq_poll_timeout(edu->mmio + EDU_DMA_CMD, now,
				  !(now & EDU_DMA_RUN), 10 * USEC_PER_MSEC, us);
}

/* One transfer between the device's buffer, @off bytes into it, and memory. */
static int edu_dma(struct edu *edu, unsigned int off, const struct dma_phyr *mem,
		   u64 cmd)
{
	u64 in_edu = EDU_BUF + off;
	int ret;

	writeq(cmd & EDU_DMA_TO_MEMORY ? in_edu : mem->addr, edu->mmio + EDU_DMA_SRC);
	writeq(cmd & EDU_DMA_TO_MEMORY ? mem->addr : in_edu, edu->mmio + EDU_DMA_DST);
	writeq(mem->len, edu->mmio + EDU_DMA_COUNT);
	writeq(cmd | EDU_DMA_RUN, edu->mmio + EDU_DMA_CMD);

	ret = edu_wait(edu);
	if (ret) {
		/* It may still wake up, when the memory is somebody else's. */
		pci_clear_master(edu->pdev);
		edu->mmio = NULL;
		dev_err(&edu->pdev->dev, "no answer, the device is shut off\n");
	}
	return ret;
}

static int edu_move(struct edu *edu, struct edu_cursor *cur, size_t len, u64 cmd)
{
	unsigned int off = 0;
	int ret;

	while (off < len) {
		struct dma_phyr piece;

		if (!cur->left.len)
			edu_cursor_next_range(cur);
		piece = cur->left;
		piece.len = min(piece.len, len - off);

		ret = edu_dma(edu, off, &piece, cmd);
		if (ret)
			return ret;
		off += piece.len;
		cur->left.addr += piece.len;
		cur->left.len -= piece.len;
	}
	return 0;
}

static int edu_copy(struct edu *edu, const struct edu_buffer *dst,
		    const struct edu_buffer *src, size_t len)
{
	struct edu_cursor from, to;
	size_t n;
	int ret;

	edu_cursor_init(&from, src);
	edu_cursor_init(&to, dst);
	for (; len; len -= n) {
		n = min(len, EDU_BUF_SIZE);
		/* Only here: a transfer that has begun can't be called off. */
		if (signal_pending(current))
			return -EINTR;
		if (READ_ONCE(edu->gone))
			return -ENODEV;
		ret = edu_move(edu, &from, n, 0);
		if (!ret)
			ret = edu_move(edu, &to, n, EDU_DMA_TO_MEMORY);
		if (ret)
			return ret;
	}
	return 0;
}

static void edu_describe(struct edu_phyr_side *side, const struct edu_buffer *buf)
{
	*side = (struct edu_phyr_side){
		.phyrs = buf->nr_phyrs,
		.dma_phyrs = dma_phyrs_nr(&buf->map),
		.flags = dma_phyrs_identity(&buf->map) ? EDU_PHYR_IDENTITY : 0,
	};
}

static int edu_map_and_copy(struct edu *edu, struct edu_buffer *dst,
			    struct edu_buffer *src, struct edu_phyr_copy *copy)
{
	int ret;

	if (!edu->mmio)
		return -ENODEV;
	ret = edu_buffer_map(src, edu);
	if (ret)
		return ret;
	ret = edu_buffer_map(dst, edu);
	if (ret)
		goto out_src;

	edu_describe(&copy->src_side, src);
	edu_describe(&copy->dst_side, dst);
	if (!(copy->flags & EDU_PHYR_MAP_ONLY))
		ret = edu_copy(edu, dst, src, copy->len);

	edu_buffer_unmap(dst);
out_src:
	edu_buffer_unmap(src);
	return ret;
}

static int edu_pin_and_copy(struct edu *edu, struct edu_phyr_copy *copy)
{
	struct edu_buffer src, dst;
	int ret;

	ret = edu_buffer_pin(&src, copy->src, copy->len, DMA_TO_DEVICE);
	if (ret)
		return ret;
	ret = edu_buffer_pin(&dst, copy->dst, copy->len, DMA_FROM_DEVICE);
	if (ret)
		goto out_src;

	ret = mutex_lock_interruptible(&edu->lock);
	if (!ret) {
		ret = edu_map_and_copy(edu, &dst, &src, copy);
		mutex_unlock(&edu->lock);
	}

	edu_buffer_unpin(&dst, !(copy->flags & EDU_PHYR_MAP_ONLY));
out_src:
	edu_buffer_unpin(&src, false);
	return ret;
}

static struct edu *edu_of_file(struct file *file)
{
	return container_of(file->private_data, struct edu, misc);
}

static long edu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct edu *edu = edu_of_file(file);
	struct edu_phyr_copy copy;
	int ret;

	if (cmd != EDU_PHYR_COPY)
		return -ENOTTY;
	if (copy_from_user(&copy, (void __user *)arg, sizeof(copy)))
		return -EFAULT;
	if (!copy.len || copy.len > EDU_MAX_LEN || copy.reserved ||
	    copy.flags & ~EDU_PHYR_MAP_ONLY)
		return -EINVAL;

	ret = edu_pin_and_copy(edu, &copy);
	if (!ret && copy_to_user((void __user *)arg, &copy, sizeof(copy)))
		ret = -EFAULT;
	return ret;
}

static void edu_free(struct kref *kref)
{
	struct edu *edu = container_of(kref, struct edu, kref);

	pci_dev_put(edu->pdev);
	kfree(edu);
}

static int edu_open(struct inode *inode, struct file *file)
{
	kref_get(&edu_of_file(file)->kref);
	return 0;
}

static int edu_release(struct inode *inode, struct file *file)
{
	kref_put(&edu_of_file(file)->kref, edu_free);
	return 0;
}

static const struct file_operations edu_fops = {
	.owner = THIS_MODULE,
	.open = edu_open,
	.release = edu_release,
	.unlocked_ioctl = edu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static int edu_start(struct edu *edu)
{
	struct pci_dev *pdev = edu->pdev;
	int ret;

	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	ret = dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(clamp(dma_bits, 24, 64)));
	if (ret)
		return ret;

	edu->mmio = pcim_iomap_region(pdev, 0, KBUILD_MODNAME);
	if (IS_ERR(edu->mmio))
		return PTR_ERR(edu->mmio);
	/* A transfer that was given up must not get through to memory now. */
	if (edu_wait(edu))
		return -EBUSY;
	pci_set_master(pdev);
	return 0;
}

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu *edu;
	int ret;

	/* As if there were no driver for a second one, which nobody logs. */
	if (test_and_set_bit(0, &edu_bound))
		return -ENODEV;

	edu = kzalloc_obj(*edu);
	if (!edu) {
		ret = -ENOMEM;
		goto err_bound;
	}
	kref_init(&edu->kref);
	mutex_init(&edu->lock);
	edu->pdev = pci_dev_get(pdev);
	ret = edu_start(edu);
	if (ret)
		goto err;
	pci_set_drvdata(pdev, edu);

	edu->misc = (struct miscdevice){
		.minor = MISC_DYNAMIC_MINOR,
		.name = "edu-phyr",
		.fops = &edu_fops,
		.parent = &pdev->dev,
		.mode = 0600,
	};
	ret = misc_register(&edu->misc);
	if (ret)
		goto err;
	return 0;

err:
	kref_put(&edu->kref, edu_free);
err_bound:
	clear_bit(0, &edu_bound);
	return ret;
}

static void edu_remove(struct pci_dev *pdev)
{
	struct edu *edu = pci_get_drvdata(pdev);

	misc_deregister(&edu->misc);
	clear_bit(0, &edu_bound);
	/* Who has it open keeps it, but not the device. */
	WRITE_ONCE(edu->gone, true);
	mutex_lock(&edu->lock);
	edu->mmio = NULL;
	mutex_unlock(&edu->lock);
	kref_put(&edu->kref, edu_free);
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{}
};
MODULE_DEVICE_TABLE(pci, edu_ids);

static struct pci_driver edu_driver = {
	.name = KBUILD_MODNAME,
	.id_table = edu_ids,
	.probe = edu_probe,
	.remove = edu_remove,
};
module_pci_driver(edu_driver);

MODULE_DESCRIPTION("Sample: DMA to pinned user memory by QEMU's edu device");
MODULE_LICENSE("GPL");
