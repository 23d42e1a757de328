/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * The BAR of a PCI device, by vfio and as dma-bufs.
 *
 * vfio gives a device to one program at a time: two tests at once need two devices.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include "vfio_memory.h"

#define OPTION " --vfio_dmabuf"
#define ADDRESS_LEN 12		/* 0000:00:04.0 */
#define MAX_BAR 5

/* For system headers that lack it; these are the kernel's ABI */
#define FEATURE_DMA_BUF 11

struct dma_buf_range {
	uint64_t offset;
	uint64_t length;
};

struct feature_dma_buf {
	uint32_t region_index;
	uint32_t open_flags;
	uint32_t flags;
	uint32_t nr_ranges;
	struct dma_buf_range range;
};

struct vfio_memory_ctx {
	struct memory_ctx base;
	char address[ADDRESS_LEN + 1];
	unsigned int bar;
	/* Of the next buffer */
	uint64_t offset;
	int container;
	int group;
	int device;
	/* The BAR, in the device's file */
	uint64_t region;
	uint64_t size;
};

static struct vfio_memory_ctx *vfio_memory(struct memory_ctx *ctx)
{
	return container_of(ctx, struct vfio_memory_ctx, base);
}

bool vfio_memory_supported(void)
{
#ifdef HAVE_REG_DMABUF_MR
	return true;
#else
	return false;
#endif
}

static bool parse(const char *where, char address[ADDRESS_LEN + 1], unsigned int *bar)
{
	unsigned int domain, bus, slot, function;
	int end = 0;

	if (sscanf(where, "%4x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &end) != 4 ||
	    end != ADDRESS_LEN)
		return false;
	memcpy(address, where, ADDRESS_LEN);
	address[ADDRESS_LEN] = '\0';
	*bar = 0;
	where += end;
	if (!*where)
		return true;
	if (where[0] != ':' || where[1] < '0' || where[1] > '0' + MAX_BAR || where[2])
		return false;
	*bar = where[1] - '0';
	return true;
}

bool vfio_memory_valid(const char *where)
{
	char address[ADDRESS_LEN + 1];
	unsigned int bar;

	return parse(where, address, &bar);
}

static int failed(const struct vfio_memory_ctx *ctx, const char *what, const char *remedy)
{
	fprintf(stderr, OPTION "=%s: %s: %s%s\n", ctx->address, what, strerror(errno), remedy);
	return 1;
}

static int open_group(struct vfio_memory_ctx *ctx)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char path[PATH_MAX], link[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", ctx->address);
	if (access(path, F_OK))
		return failed(ctx, path, ". lspci -D lists the devices there are");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", ctx->address);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return failed(ctx, path, ". vfio needs an IOMMU that is switched on, as by intel_iommu=on on the kernel command line");
	link[n] = '\0';

	snprintf(path, sizeof(path), "/dev/vfio%s", strrchr(link, '/'));
	ctx->group = open(path, O_RDWR | O_CLOEXEC);
	if (ctx->group < 0 && errno == EBUSY)
		return failed(ctx, path, ". Another program has the device, and vfio gives it to one at a time");
	if (ctx->group < 0)
		return failed(ctx, path, errno == ENOENT ? ". Bind the device to vfio-pci" : "");
	if (ioctl(ctx->group, VFIO_GROUP_GET_STATUS, &status))
		return failed(ctx, path, "");
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
		errno = EPERM;
		return failed(ctx, path, ". All devices of the IOMMU group have to be bound to vfio-pci");
	}
	return 0;
}

static int open_device(struct vfio_memory_ctx *ctx)
{
	ctx->container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (ctx->container < 0)
		return failed(ctx, "/dev/vfio/vfio", "");
	if (ioctl(ctx->group, VFIO_GROUP_SET_CONTAINER, &ctx->container))
		return failed(ctx, "VFIO_GROUP_SET_CONTAINER", "");
	if (ioctl(ctx->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return failed(ctx, "VFIO_SET_IOMMU", errno == EPERM ? ". Without interrupt remapping, vfio_iommu_type1 has to be told allow_unsafe_interrupts=1" : "");
	ctx->device = ioctl(ctx->group, VFIO_GROUP_GET_DEVICE_FD, ctx->address);
	if (ctx->device < 0)
		return failed(ctx, "VFIO_GROUP_GET_DEVICE_FD", "");
	return 0;
}

static int vfio_memory_init(struct memory_ctx *base)
{
	struct vfio_memory_ctx *ctx = vfio_memory(base);
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = VFIO_PCI_BAR0_REGION_INDEX + ctx->bar,
	};

	if (open_group(ctx) || open_device(ctx))
		return 1;
	if (ioctl(ctx->device, VFIO_DEVICE_GET_REGION_INFO, &info))
		return failed(ctx, "VFIO_DEVICE_GET_REGION_INFO", "");
	ctx->region = info.offset;
	ctx->size = info.size;
	if (info.size && info.flags & VFIO_REGION_INFO_FLAG_MMAP)
		return 0;
	fprintf(stderr, OPTION "=%s: BAR %u, of %" PRIu64 " bytes, can't be mapped: give another one, as in %s:2\n",
		ctx->address, ctx->bar, ctx->size, ctx->address);
	return 1;
}

static int vfio_memory_destroy(struct memory_ctx *base)
{
	struct vfio_memory_ctx *ctx = vfio_memory(base);

	if (ctx->device >= 0)
		close(ctx->device);
	if (ctx->group >= 0)
		close(ctx->group);
	if (ctx->container >= 0)
		close(ctx->container);
	free(ctx);
	return 0;
}

static int export(const struct vfio_memory_ctx *ctx, uint64_t size)
{
	uint64_t space[(sizeof(struct vfio_device_feature) + sizeof(struct feature_dma_buf)) / sizeof(uint64_t)] = {};
	struct vfio_device_feature *feature = (void *)space;
	struct feature_dma_buf dma_buf = {
		.region_index = VFIO_PCI_BAR0_REGION_INDEX + ctx->bar,
		.open_flags = O_RDWR | O_CLOEXEC,
		.nr_ranges = 1,
		.range = { ctx->offset, size },
	};

	feature->argsz = sizeof(space);
	feature->flags = VFIO_DEVICE_FEATURE_GET | FEATURE_DMA_BUF;
	memcpy(feature->data, &dma_buf, sizeof(dma_buf));
	return ioctl(ctx->device, VFIO_DEVICE_FEATURE, feature);
}

static int vfio_memory_allocate_buffer(struct memory_ctx *base, int alignment,
				       uint64_t size, int *dmabuf_fd,
				       uint64_t *dmabuf_offset, void **addr,
				       bool *can_init)
{
	struct vfio_memory_ctx *ctx = vfio_memory(base);
	uint64_t page = sysconf(_SC_PAGESIZE), room, mapped;
	void *map;
	int fd;

	(void)alignment;

	if (ctx->offset & (page - 1)) {
		fprintf(stderr, OPTION "_offset: %" PRIu64 " is no multiple of the page size, %" PRIu64 "\n",
			ctx->offset, page);
		return 1;
	}
	room = ctx->offset < ctx->size ? ctx->size - ctx->offset : 0;
	if (!size || size > room) {
		fprintf(stderr, OPTION "=%s: %" PRIu64 " bytes from offset %" PRIu64 " on are needed, BAR %u has %" PRIu64
			": choose a smaller size or offset, or another BAR\n",
			ctx->address, size, ctx->offset, ctx->bar, ctx->size);
		return 1;
	}
	/* What can be mapped consists of whole pages */
	mapped = (size + page - 1) & ~(page - 1);

	fd = export(ctx, mapped);
	if (fd < 0)
		return failed(ctx, "VFIO_DEVICE_FEATURE_DMA_BUF", errno == ENOTTY ? ". This kernel's vfio-pci has no dma-bufs" : "");
	map = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, ctx->device, ctx->region + ctx->offset);
	if (map == MAP_FAILED) {
		failed(ctx, "mmap", "");
		close(fd);
		return 1;
	}
	ctx->offset += mapped;
	*addr = map;
	*dmabuf_fd = fd;
	*dmabuf_offset = 0;
	*can_init = true;
	return 0;
}

static int vfio_memory_free_buffer(struct memory_ctx *base, int dmabuf_fd,
				   void *addr, uint64_t size)
{
	(void)base;
	(void)dmabuf_fd;

	return munmap(addr, size);
}

struct memory_ctx *vfio_memory_create(const char *where, uint64_t offset)
{
	struct vfio_memory_ctx *ctx = calloc(1, sizeof(*ctx));

	if (!ctx || !parse(where, ctx->address, &ctx->bar)) {
		fprintf(stderr, ctx ? OPTION ": bad value\n" : " Out of memory\n");
		free(ctx);
		return NULL;
	}

	ctx->base.init = vfio_memory_init;
	ctx->base.destroy = vfio_memory_destroy;
	ctx->base.allocate_buffer = vfio_memory_allocate_buffer;
	ctx->base.free_buffer = vfio_memory_free_buffer;
	ctx->base.copy_host_to_buffer = memcpy;
	ctx->base.copy_buffer_to_host = memcpy;
	ctx->base.copy_buffer_to_buffer = memcpy;
	ctx->container = ctx->group = ctx->device = -1;
	ctx->offset = offset;
	return &ctx->base;
}
