// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oracle_makers.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif
#define HUGE_2M (21U << MAP_HUGE_SHIFT)
#define HUGE_1G (30U << MAP_HUGE_SHIFT)

/* Newer than the headers may be. */
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define FILE_BYTES (4 * MiB)
#define BIOS_ROM 0xf0000

static struct {
	int shmem, disk, mem, secret, huge_1g;
} files;

static int open_file(int fd, size_t bytes)
{
	if (fd < 0)
		return -1;
	if (ftruncate(fd, bytes))
		die("ftruncate: %m");
	/* Written and not only long: what reads it is to find pages of its own. */
	for (size_t off = 0; off < bytes; off += PAGE_4K)
		if (pwrite(fd, &off, sizeof(off), off) != sizeof(off))
			die("can't write a file to map: %m");
	return fd;
}

void files_open(const char *disk)
{
	char path[512];

	files.shmem = open_file(memfd_create("oracle", MFD_CLOEXEC), FILE_BYTES);
	if (files.shmem < 0)
		die("memfd_create: %m");
	files.disk = -1;
	if (disk) {
		snprintf(path, sizeof(path), "%s/oracle", disk);
		files.disk = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (files.disk < 0)
			die("%s: %m", path);
		open_file(files.disk, FILE_BYTES);
		fsync(files.disk);
	}
	files.mem = open("/dev/mem", O_RDONLY | O_CLOEXEC);
	files.secret = syscall(SYS_memfd_secret, O_CLOEXEC);
	if (files.secret >= 0 && ftruncate(files.secret, FILE_BYTES))
		die("memfd_secret: %m");
	files.huge_1g = memfd_create("oracle-1G", MFD_CLOEXEC | MFD_HUGETLB | HUGE_1G);
	if (files.huge_1g >= 0 && ftruncate(files.huge_1g, PAGE_1G))
		die("1G memfd: %m");
}

const char *make_shmem(unsigned char *at, size_t len, bool huge)
{
	int fd = memfd_create("oracle", MFD_CLOEXEC);
	bool ok = fd >= 0 && !ftruncate(fd, len) && map_at(at, len, RW, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	if (!ok)
		return strerror(errno);
	if (huge && madvise(at, len, MADV_HUGEPAGE))
		return "no huge pages in shmem";
	madvise(at, len, MADV_POPULATE_WRITE);
	return NULL;
}

const char *make_file(enum kind kind, unsigned char *at, size_t len, struct rng *rng)
{
	int fd = kind == KIND_FILE_PRIVATE || kind == KIND_FILE_COW ? files.shmem : files.disk;
	off_t off = rng_between(rng, 0, (FILE_BYTES - len) / PAGE_4K) * PAGE_4K;

	if (fd < 0)
		return "no directory on a disk (-f)";
	if (!map_at(at, len, RW, kind == KIND_DISK_SHARED ? MAP_SHARED : MAP_PRIVATE, fd, off))
		return strerror(errno);
	madvise(at, len, MADV_POPULATE_READ);
	for (size_t i = 0; i < len && kind == KIND_FILE_COW; i += PAGE_4K)
		if (!i || rng_next(rng) & 1)
			touch(at, i);
	return NULL;
}

/* Pages of one file in odd order and more than once, each piece a mapping. */
const char *make_alias(unsigned char *at, size_t len, bool huge, struct rng *rng)
{
	int fd = memfd_create("oracle", MFD_CLOEXEC);
	const char *why = NULL;

	if (fd < 0 || ftruncate(fd, PAGE_2M))
		die("memfd: %m");
	map_at(makers_scratch, PAGE_2M, RW, MAP_SHARED, fd, 0);
	if (huge && madvise(makers_scratch, PAGE_2M, MADV_HUGEPAGE))
		why = "no huge pages in shmem";
	madvise(makers_scratch, huge ? PAGE_2M : 64 * PAGE_4K, MADV_POPULATE_WRITE);
	for (size_t off = 0, n; off < len; off += n) {
		size_t first = rng_between(rng, 0, 63);

		n = rng_between(rng, 1, 16) * PAGE_4K;
		if (n > len - off)
			n = len - off;
		if (!map_at(at + off, n, RW, MAP_SHARED, fd, first * PAGE_4K))
			die("mmap: %m");
		madvise(at + off, n, MADV_POPULATE_WRITE);
	}
	clear_scratch();
	close(fd);
	return why;
}

const char *make_secret(unsigned char *at, size_t len)
{
	if (files.secret < 0)
		return "no memfd_secret() in this kernel";
	if (!map_at(at, len, RW, MAP_SHARED, files.secret, 0))
		return strerror(errno);
	madvise(at, len, MADV_POPULATE_WRITE);
	for (size_t off = 0; off < len; off += PAGE_4K)
		touch(at, off);
	return NULL;
}

const char *make_pfnmap(unsigned char *at, size_t len)
{
	if (files.mem < 0 || !map_at(at, len, PROT_READ, MAP_SHARED, files.mem, BIOS_ROM))
		return "/dev/mem can't be mapped";
	return NULL;
}

const char *make_huge(enum kind kind, unsigned char *at, size_t len)
{
	bool shared = kind == KIND_HUGE_2M_SHARED || kind == KIND_HUGE_1G_SHARED;
	bool ok;

	if (kind == KIND_HUGE_1G_SHARED || kind == KIND_HUGE_1G_PRIVATE)
		ok = files.huge_1g >= 0 &&
		     map_at(at, len, RW, shared ? MAP_SHARED : MAP_PRIVATE, files.huge_1g, 0);
	else
		ok = map_at(at, len, RW, MAP_ANONYMOUS | MAP_HUGETLB | HUGE_2M |
			    (shared ? MAP_SHARED : MAP_PRIVATE), -1, 0);
	if (!ok)
		return "too few hugepages reserved (scripts/vm --hugepages)";
	madvise(at, len, kind == KIND_HUGE_1G_PRIVATE ? MADV_POPULATE_READ : MADV_POPULATE_WRITE);
	return NULL;
}
