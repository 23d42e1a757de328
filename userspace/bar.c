// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/udmabuf.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bar.h"

/* Newer than some systems' headers. */
#define FEATURE_DMA_BUF 11

#define DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#define DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

struct device_bind_iommufd {
	uint32_t argsz;
	uint32_t flags;
	int32_t iommufd;
	uint32_t out_devid;
};

struct device_attach_pt {
	uint32_t argsz;
	uint32_t flags;
	uint32_t pt_id;
};

struct dma_range {
	uint64_t offset;
	uint64_t length;
};

struct feature_dma_buf {
	uint32_t argsz;
	uint32_t flags;
	uint32_t region_index;
	uint32_t open_flags;
	uint32_t buf_flags;
	uint32_t nr_ranges;
	struct dma_range ranges[];
};

static int open_path(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd < 0)
		die("%s: %m", path);
	return fd;
}

static int open_pci(const char *pci, const char *name, int flags)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", pci, name);
	return open_path(path, flags);
}

void bar_open_file(struct bar *bar, const char *path)
{
	*bar = (struct bar) { .device = -1, .group = -1, .container = -1 };
	bar->resource = open_path(path, O_RDWR);
	bar->len = lseek(bar->resource, 0, SEEK_END);
}

void bar_open_sysfs(struct bar *bar, const char *pci, int index)
{
	char path[128];
	int fd;

	fd = open_pci(pci, "enable", O_WRONLY);
	if (write(fd, "1", 1) != 1)
		die("%s can't be enabled: %m", pci);
	close(fd);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource%d", pci, index);
	bar_open_file(bar, path);
	bar->pci = pci;
	bar->index = index;
}

static struct vfio_region_info region(const struct bar *bar, unsigned int index)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	if (ioctl(bar->device, VFIO_DEVICE_GET_REGION_INFO, &info))
		die("VFIO_DEVICE_GET_REGION_INFO: %m");
	return info;
}

static void find_regions(struct bar *bar)
{
	struct vfio_region_info info = region(bar, bar->index);

	bar->offset = info.offset;
	bar->len = info.size;
	bar->config = region(bar, VFIO_PCI_CONFIG_REGION_INDEX).offset;
}

void bar_open_vfio(struct bar *bar, const char *pci, int index)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char path[128], link[128];
	ssize_t n;

	*bar = (struct bar) { .pci = pci, .index = index, .resource = -1 };
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", pci);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		die("%s: %m (is there an IOMMU?)", path);
	link[n] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio%s", strrchr(link, '/'));
	bar->container = open_path("/dev/vfio/vfio", O_RDWR);
	bar->group = open_path(path, O_RDWR);
	if (ioctl(bar->group, VFIO_GROUP_GET_STATUS, &status) || !(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		die("%s: not all of the group is bound to vfio-pci", path);
	if (ioctl(bar->group, VFIO_GROUP_SET_CONTAINER, &bar->container) ||
	    ioctl(bar->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		die("%s: %m", path);
	bar->device = ioctl(bar->group, VFIO_GROUP_GET_DEVICE_FD, pci);
	if (bar->device < 0)
		die("VFIO_GROUP_GET_DEVICE_FD %s: %m", pci);
	find_regions(bar);
}

/* vfio-dev/vfioN tells the name of the file. */
static int open_cdev(const char *pci)
{
	char path[512];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", pci);
	dir = opendir(path);
	if (!dir)
		die("%s: %m", path);
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, "vfio", 4))
			break;
	if (!entry)
		die("%s: no device there", path);
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", entry->d_name);
	closedir(dir);
	return open_path(path, O_RDWR);
}

void bar_open_cdev(struct bar *bar, const char *pci, int index, int iommufd, uint32_t ioas)
{
	struct device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };
	struct device_attach_pt attach = { .argsz = sizeof(attach), .pt_id = ioas };

	*bar = (struct bar) { .pci = pci, .index = index, .resource = -1, .group = -1, .container = -1 };
	bar->device = open_cdev(pci);
	if (ioctl(bar->device, DEVICE_BIND_IOMMUFD, &bind))
		die("VFIO_DEVICE_BIND_IOMMUFD %s: %m", pci);
	if (ioctl(bar->device, DEVICE_ATTACH_IOMMUFD_PT, &attach))
		die("VFIO_DEVICE_ATTACH_IOMMUFD_PT %s: %m", pci);
	find_regions(bar);
}

void bar_close(struct bar *bar)
{
	int fds[] = { bar->resource, bar->device, bar->group, bar->container };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

unsigned char *bar_map(const struct bar *bar, size_t off, size_t len)
{
	int fd = bar->resource >= 0 ? bar->resource : bar->device;
	unsigned char *space, *at;

	space = mmap(NULL, len + PAGE_1G, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (space == MAP_FAILED)
		return NULL;
	at = space + ((off - (uintptr_t)space) & (PAGE_1G - 1));
	if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, bar->offset + off) == MAP_FAILED) {
		int err = errno;

		munmap(space, len + PAGE_1G);
		errno = err;
		return NULL;
	}
	if (at > space)
		munmap(space, at - space);
	if (space + PAGE_1G > at)
		munmap(at + len, space + PAGE_1G - at);
	return at;
}

int bar_dmabuf(const struct bar *bar, size_t off, size_t len, unsigned int pieces)
{
	size_t size = sizeof(struct feature_dma_buf) + pieces * sizeof(struct dma_range);
	struct feature_dma_buf *arg = calloc(1, size);
	int fd;

	if (!arg)
		die("out of memory");
	arg->argsz = size;
	arg->flags = VFIO_DEVICE_FEATURE_GET | FEATURE_DMA_BUF;
	arg->region_index = bar->index;
	arg->open_flags = O_RDWR | O_CLOEXEC;
	arg->nr_ranges = pieces;
	/* The last one first: or they would all be one. */
	for (unsigned int i = 0; i < pieces; i++) {
		arg->ranges[i].offset = off + (pieces - 1 - i) * (len / pieces);
		arg->ranges[i].length = len / pieces;
	}
	fd = ioctl(bar->device, VFIO_DEVICE_FEATURE, arg);
	if (fd < 0)
		die("VFIO_DEVICE_FEATURE_DMA_BUF of %zu bytes: %m", len);
	free(arg);
	return fd;
}

void bar_enable(const struct bar *bar, bool enable)
{
	uint16_t command;

	if (pread(bar->device, &command, sizeof(command), bar->config + PCI_COMMAND) != sizeof(command))
		die("config space: %m");
	command = enable ? command | PCI_COMMAND_MEMORY : command & ~PCI_COMMAND_MEMORY;
	if (pwrite(bar->device, &command, sizeof(command), bar->config + PCI_COMMAND) != sizeof(command))
		die("config space: %m");
}

int udmabuf_create(size_t len, size_t page, unsigned int times, unsigned char **addr)
{
	unsigned int huge = page > PAGE_4K ? MFD_HUGETLB | (unsigned int)__builtin_ctzll(page) << MAP_HUGE_SHIFT : 0;
	int memfd = memfd_create("phyr_bar", MFD_CLOEXEC | MFD_ALLOW_SEALING | huge);
	struct udmabuf_create_list *list = calloc(1, sizeof(*list) + times * sizeof(list->list[0]));
	int dev = open_path("/dev/udmabuf", O_RDWR), fd;

	if (!list)
		die("out of memory");
	if (memfd < 0 || ftruncate(memfd, len) || fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK))
		die("memfd: %m");
	*addr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (*addr == MAP_FAILED)
		die("mmap of %zu bytes of a memfd: %m", len);
	list->flags = UDMABUF_FLAGS_CLOEXEC;
	list->count = times;
	for (unsigned int i = 0; i < times; i++) {
		list->list[i].memfd = memfd;
		list->list[i].size = len;
	}
	fd = ioctl(dev, UDMABUF_CREATE_LIST, list);
	if (fd < 0)
		die("UDMABUF_CREATE_LIST of %u times %zu bytes: %m", times, len);
	free(list);
	close(dev);
	close(memfd);
	return fd;
}
