// SPDX-License-Identifier: GPL-2.0
/*
 * Maps a dma-buf of a BAR for a device's DMA, by iommufd, and takes it away: vfio
 * waits until iommufd has given it back, so what is not given back is waited for
 * for ever. What iommufd can't map is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bar.h"

#define LEN (16 * MiB)

/* Newer than some systems' headers. */
#define IOAS_ALLOC _IO(';', 0x81)
#define IOAS_UNMAP _IO(';', 0x86)
#define IOAS_MAP_FILE _IO(';', 0x8f)
#define MAP_WRITEABLE 2
#define MAP_READABLE 4

struct ioas_alloc {
	uint32_t size;
	uint32_t flags;
	uint32_t out_ioas_id;
};

struct ioas_map_file {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas_id;
	int32_t fd;
	uint64_t start;
	uint64_t length;
	uint64_t iova;
};

struct ioas_unmap {
	uint32_t size;
	uint32_t ioas_id;
	uint64_t iova;
	uint64_t length;
};

struct test {
	int iommufd;
	uint32_t ioas;
	struct bar bar;
};

/* Returns an errno. */
static int map(const struct test *t, int fd, size_t len, uint64_t *iova)
{
	struct ioas_map_file arg = {
		.size = sizeof(arg), .flags = MAP_WRITEABLE | MAP_READABLE, .ioas_id = t->ioas,
		.fd = fd, .length = len,
	};

	if (ioctl(t->iommufd, IOAS_MAP_FILE, &arg))
		return errno;
	*iova = arg.iova;
	return 0;
}

static int unmap(const struct test *t, uint64_t iova, size_t len)
{
	struct ioas_unmap arg = { .size = sizeof(arg), .ioas_id = t->ioas, .iova = iova, .length = len };

	return ioctl(t->iommufd, IOAS_UNMAP, &arg) ? errno : 0;
}

static void open_all(struct test *t, const char *pci, int index)
{
	struct ioas_alloc alloc = { .size = sizeof(alloc) };

	t->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (t->iommufd < 0 || ioctl(t->iommufd, IOAS_ALLOC, &alloc))
		die("/dev/iommu: %m");
	t->ioas = alloc.out_ioas_id;
	bar_open_cdev(&t->bar, pci, index, t->iommufd, t->ioas);
	if (t->bar.len < LEN)
		die("BAR %d of %s has %zu bytes, fewer than %llu", index, pci, t->bar.len, LEN);
}

static void refuses(const struct test *t, const char *name, int fd, size_t len)
{
	uint64_t iova;
	int err = map(t, fd, len, &iova);

	ktap_result(err == EOPNOTSUPP, "%s: %s", name, errno_name(err));
	close(fd);
}

/* One is unmapped before the BAR goes and two are not, of which one is the user's to unmap. */
static bool revokes(const struct test *t, int fd)
{
	uint64_t iova[3], again;
	int err;

	for (int i = 0; i < 3; i++) {
		err = map(t, fd, LEN, &iova[i]);
		if (err)
			ktap_note("mapping: %s", errno_name(err));
		if (err)
			return false;
	}
	err = unmap(t, iova[0], LEN);
	bar_enable(&t->bar, false);
	if (map(t, fd, LEN, &again) != ENODEV)
		err = EEXIST;
	bar_enable(&t->bar, true);
	for (int i = 1; i < 3; i++)
		err = err ? err : unmap(t, iova[i], LEN);
	if (err)
		ktap_note("revoked: %s", errno_name(err));
	return !err;
}

int main(int argc, char **argv)
{
	unsigned int rounds, ok = 0;
	unsigned char *addr;
	uint64_t iova = 0;
	struct test t;
	int fd, err;

	if (argc != 3 || atoi(argv[2]) < 1)
		die("usage: phyr_iommufd PCI-ADDRESS ROUNDS");
	rounds = atoi(argv[2]);
	ktap_start();
	open_all(&t, argv[1], 2);

	refuses(&t, "a BAR in two pieces", bar_dmabuf(&t.bar, 0, LEN, 2), LEN);
	refuses(&t, "memory of the system's", udmabuf_create(PAGE_4K, PAGE_4K, 1, &addr), PAGE_4K);

	fd = bar_dmabuf(&t.bar, 0, LEN, 1);
	for (unsigned int i = 0; i < rounds; i++)
		ok += revokes(&t, fd);
	ktap_result(ok == rounds, "mapped, taken away and mapped again: %u of %u times", ok, rounds);

	/* Nobody else holds it by now. */
	err = map(&t, fd, LEN, &iova);
	close(fd);
	ktap_result(!err && !unmap(&t, iova, LEN), "unmapped after the dma-buf is closed: %s", errno_name(err));

	/* Both are left to the end of the process. */
	fd = bar_dmabuf(&t.bar, 0, LEN, 1);
	err = map(&t, fd, LEN, &iova);
	ktap_result(!err, "and left mapped: %s", errno_name(err));
	return ktap_finish();
}
