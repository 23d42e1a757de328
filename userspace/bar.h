/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A PCI device's BAR, by sysfs or by vfio, or what else a file maps that has no
 * struct page.
 */
#ifndef PHYR_BAR_H
#define PHYR_BAR_H

#include "common.h"

struct bar {
	const char *pci;
	int index;
	size_t len;
	/* Of vfio: the device, and where the BAR and the config space lie in its file. */
	int device;
	uint64_t offset;
	uint64_t config;
	int group;
	int container;
	/* Of sysfs, resourceN, or the file. */
	int resource;
};

/* @pci is an address like 0000:00:04.0; the device is bound to no driver. */
void bar_open_sysfs(struct bar *bar, const char *pci, int index);
/* The device is bound to vfio-pci. */
void bar_open_vfio(struct bar *bar, const char *pci, int index);
/* The same for a device of iommufd's, attached to an IOAS of it. */
void bar_open_cdev(struct bar *bar, const char *pci, int index, int iommufd, uint32_t ioas);
/* All of a file that can be mapped, from its first byte to where lseek() finds the end. */
void bar_open_file(struct bar *bar, const char *path);
void bar_close(struct bar *bar);

/*
 * @len bytes from @off on, at an address that is to 1 GiB as @off is, so that they
 * can be mapped by large pages. Returns NULL and errno if they can't be mapped.
 */
unsigned char *bar_map(const struct bar *bar, size_t off, size_t len);

/* A dma-buf of @len bytes from @off on, in @pieces of one length; vfio only. */
int bar_dmabuf(const struct bar *bar, size_t off, size_t len, unsigned int pieces);

/* Lets the device answer to its BARs, or no more, which revokes them; vfio only. */
void bar_enable(const struct bar *bar, bool enable);

/*
 * A dma-buf of @len bytes of pages of @page bytes, hugetlb pages if they are large, over
 * and over for @times, and where they are mapped, once.
 */
int udmabuf_create(size_t len, size_t page, unsigned int times, unsigned char **addr);

#endif
