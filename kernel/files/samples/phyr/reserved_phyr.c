// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sample: RAM that the kernel does not use, mapped to user space
 *
 * A hypervisor may keep most of the RAM from the kernel that it runs on, by
 * "memmap=SIZE$ADDRESS" on the command line, and give it to its guests.  There is
 * no struct page for it; a process that has it mapped has it by PFN.  This driver
 * does that mapping, so that it can be tried what else takes such memory: register
 * it with an RDMA device, say.
 *
 * It is RAM, so it is mapped cached.  What an earlier kernel left there can be read.
 * What the firmware has reserved for itself looks the same, so who loads this module
 * has to know what is there; a locked-down kernel does not take the address.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/fs.h>
#include <linux/init.h>
#include <linux/ioport.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/overflow.h>

static unsigned long addr;
module_param_hw(addr, ulong, iomem, 0444);
MODULE_PARM_DESC(addr, "Physical address of RAM that memmap= has reserved");

static unsigned long size;
module_param(size, ulong, 0444);
MODULE_PARM_DESC(size, "Bytes of it");

static loff_t reserved_llseek(struct file *file, loff_t offset, int whence)
{
	return fixed_size_llseek(file, offset, whence, size);
}

static int reserved_mmap_prepare(struct vm_area_desc *desc)
{
	unsigned long pages = size >> PAGE_SHIFT;

	if (desc->pgoff > pages || vma_desc_pages(desc) > pages - desc->pgoff)
		return -EINVAL;

	mmap_action_remap_full(desc, PHYS_PFN(addr) + desc->pgoff);
	return 0;
}

static const struct file_operations reserved_fops = {
	.owner = THIS_MODULE,
	.llseek = reserved_llseek,
	.mmap_prepare = reserved_mmap_prepare,
};

static struct miscdevice reserved_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "reserved-phyr",
	.fops = &reserved_fops,
	.mode = 0600,
};

static int __init reserved_init(void)
{
	unsigned long end;
	int ret;

	/* Built in, and not asked for. */
	if (!size)
		return -ENODEV;

	if (!PAGE_ALIGNED(addr) || !PAGE_ALIGNED(size) ||
	    check_add_overflow(addr, size, &end)) {
		pr_err("%#lx bytes at %#lx are not whole pages, or too many\n", size, addr);
		return -EINVAL;
	}

	/* Not System RAM, which the kernel uses. */
	if (region_intersects(addr, size, IORESOURCE_MEM,
			      IORES_DESC_RESERVED) != REGION_INTERSECTS) {
		pr_err("not reserved, use memmap=%#lx$%#lx\n", size, addr);
		return -EINVAL;
	}

	/* It fails for what is reserved in part. */
	if (!request_mem_region(addr, size, KBUILD_MODNAME)) {
		pr_err("%#lx bytes at %#lx are in use\n", size, addr);
		return -EBUSY;
	}

	ret = misc_register(&reserved_misc);
	if (ret)
		release_mem_region(addr, size);
	return ret;
}
module_init(reserved_init);

static void __exit reserved_exit(void)
{
	misc_deregister(&reserved_misc);
	release_mem_region(addr, size);
}
module_exit(reserved_exit);

MODULE_DESCRIPTION("Sample: reserved RAM, mapped to user space by PFN");
MODULE_LICENSE("GPL");
