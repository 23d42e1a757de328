/* SPDX-License-Identifier: GPL-2.0 */
/* What the makers of memory share. */
#ifndef PHYR_ORACLE_MAKERS_H
#define PHYR_ORACLE_MAKERS_H

#include <sys/mman.h>

#include "oracle_memory.h"

#define RW (PROT_READ | PROT_WRITE)

/* Two 2M slots to make something in that is then moved or mapped elsewhere. */
extern unsigned char *makers_scratch;

static inline bool map_at(unsigned char *at, size_t len, int prot, int flags, int fd, off_t off)
{
	return mmap(at, len, prot, MAP_FIXED | flags, fd, off) != MAP_FAILED;
}

static inline void clear_scratch(void)
{
	map_at(makers_scratch, 2 * PAGE_2M, PROT_NONE,
	       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

static inline void touch(unsigned char *at, size_t off)
{
	*(volatile unsigned char *)(at + off) = 1;
}

/* Memory with a file behind it; hugetlb pages have one as well. */
void files_open(const char *disk);
const char *make_shmem(unsigned char *at, size_t len, bool huge);
const char *make_file(enum kind kind, unsigned char *at, size_t len, struct rng *rng);
const char *make_alias(unsigned char *at, size_t len, bool huge, struct rng *rng);
const char *make_secret(unsigned char *at, size_t len);
const char *make_pfnmap(unsigned char *at, size_t len);
const char *make_huge(enum kind kind, unsigned char *at, size_t len);

#endif
