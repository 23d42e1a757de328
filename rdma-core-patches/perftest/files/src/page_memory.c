/* SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB */
/*
 * Host memory mapped by pages of a chosen size.
 *
 * The cost of registering memory depends on how the page table maps it, so a
 * test has to be able to say so and to rely on it: 4K pages are protected from
 * becoming transparent hugepages, transparent hugepages are counted after the
 * buffer was touched, and hugetlb pages come from the pool of the size asked
 * for or not at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include "page_memory.h"

/* For C libraries that lack them; the values are the kernel's ABI */
#ifndef MFD_HUGETLB
#define MFD_HUGETLB 4U
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

#define THP_SYSFS "/sys/kernel/mm/transparent_hugepage"
#define HUGETLB_SYSFS "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s"

static const struct {
	const char *name;
	unsigned int shift;
} kinds[PAGE_MEMORY_KINDS] = {
	[PAGE_MEMORY_4K]	= { "4K", 12 },
	[PAGE_MEMORY_THP]	= { "thp", 21 },
	[PAGE_MEMORY_2M]	= { "2M", 21 },
	[PAGE_MEMORY_1G]	= { "1G", 30 },
};

const char *page_memory_name(enum page_memory_kind kind)
{
	return kinds[kind].name;
}

bool page_memory_parse(const char *name, enum page_memory_kind *kind)
{
	unsigned int i;

	for (i = 0; i < PAGE_MEMORY_KINDS; i++) {
		if (!strcmp(name, kinds[i].name)) {
			*kind = i;
			return true;
		}
	}
	return false;
}

static bool is_hugetlb(enum page_memory_kind kind)
{
	return kind == PAGE_MEMORY_2M || kind == PAGE_MEMORY_1G;
}

static bool read_number(const char *path, uint64_t *value)
{
	FILE *f = fopen(path, "r");
	bool ok;

	if (!f)
		return false;
	ok = fscanf(f, "%" SCNu64, value) == 1;
	fclose(f);
	return ok;
}

static bool hugetlb_number(const struct page_memory_ctx *ctx, const char *file,
			   uint64_t *value)
{
	char path[128];

	snprintf(path, sizeof(path), HUGETLB_SYSFS, ctx->page_size >> 10, file);
	return read_number(path, value);
}

static void explain_no_hugepages(const struct page_memory_ctx *ctx, int error)
{
	const char *name = kinds[ctx->kind].name;
	uint64_t needed = ctx->flags & PAGE_MEMORY_ONE_PAGE ? 1 : ctx->mapped / ctx->page_size;
	uint64_t total, unused, reserved;

	fprintf(stderr, " --page_size=%s: couldn't map %" PRIu64 " hugepage(s): %s\n",
		name, needed, strerror(error));

	if (!hugetlb_number(ctx, "nr_hugepages", &total) ||
	    !hugetlb_number(ctx, "free_hugepages", &unused) ||
	    !hugetlb_number(ctx, "resv_hugepages", &reserved)) {
		fprintf(stderr, " This machine has no hugepages of %s: choose another --page_size\n",
			name);
		return;
	}

	unused -= reserved < unused ? reserved : unused;
	fprintf(stderr, " %" PRIu64 " needed, %" PRIu64 " free.", needed, unused);
	if (unused >= needed) {
		fprintf(stderr, " Look at vm.max_map_count, ulimit -v and the hugetlb cgroup\n");
		return;
	}

	/* Those in use stay in use: the pool has to grow by what is missing */
	total += needed - unused;
	fprintf(stderr, " Reserve them with\n"
		"   echo %" PRIu64 " > " HUGETLB_SYSFS "\n"
		" or, as memory in one piece gets scarce after boot, with\n"
		"   hugepagesz=%s hugepages=%" PRIu64 "\n"
		" on the kernel command line\n",
		total, ctx->page_size >> 10, "nr_hugepages", name, total);
}

/* An address range that begins at a multiple of the page size */
static void *map_aligned(const struct page_memory_ctx *ctx, int prot)
{
	uint64_t slack = ctx->page_size - sysconf(_SC_PAGESIZE);
	uint64_t length = ctx->mapped + slack;
	uint64_t head;
	char *map;

	if (length < ctx->mapped || length > SIZE_MAX) {
		errno = ENOMEM;
		return MAP_FAILED;
	}

	map = mmap(NULL, length, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return map;

	head = -(uintptr_t)map & (ctx->page_size - 1);
	if (head)
		munmap(map, head);
	if (head < slack)
		munmap(map + head + ctx->mapped, slack - head);
	return map + head;
}

uint64_t page_memory_available(void)
{
	uint64_t total = 0, kb;
	bool known = false;
	char line[128];
	FILE *f;

	f = fopen("/proc/meminfo", "r");
	if (!f)
		return UINT64_MAX;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemAvailable: %" SCNu64 " kB", &kb) == 1)
			known = true;
		else if (sscanf(line, "SwapFree: %" SCNu64 " kB", &kb) != 1)
			continue;
		total += kb << 10;
	}
	fclose(f);
	return known ? total : UINT64_MAX;
}

static void *map_anonymous(const struct page_memory_ctx *ctx)
{
	bool thp = ctx->kind == PAGE_MEMORY_THP;
	uint64_t available = page_memory_available();
	void *map;

	/* The kernel would map it, and kill when it is touched */
	if (ctx->mapped > available) {
		fprintf(stderr, " -s, --size: %" PRIu64 " bytes are to be mapped, and %" PRIu64 " are available: ask for less\n",
			ctx->mapped, available);
		return MAP_FAILED;
	}
	map = map_aligned(ctx, PROT_READ | PROT_WRITE);
	if (map == MAP_FAILED) {
		fprintf(stderr, " -s, --size: couldn't map %" PRIu64 " bytes: %s: ask for less, or look at ulimit -v\n",
			ctx->mapped, strerror(errno));
		return map;
	}
	/* A kernel without THP refuses both, which is right for 4K and is told
	 * of when the hugepages are counted.
	 */
	madvise(map, ctx->mapped, thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return map;
}

static void *map_hugetlb(const struct page_memory_ctx *ctx)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
		    kinds[ctx->kind].shift << MAP_HUGE_SHIFT;
	void *map = mmap(NULL, ctx->mapped, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (map == MAP_FAILED)
		explain_no_hugepages(ctx, errno);
	return map;
}

static void *map_one_page(const struct page_memory_ctx *ctx)
{
	unsigned int flags = MFD_CLOEXEC | MFD_HUGETLB |
			     kinds[ctx->kind].shift << MAP_HUGE_SHIFT;
	void *map = MAP_FAILED;
	uint64_t offset;
	int fd;

	fd = memfd_create("perftest", flags);
	if (fd < 0 || ftruncate(fd, ctx->page_size))
		goto fail;

	map = map_aligned(ctx, PROT_NONE);
	if (map == MAP_FAILED)
		goto fail;

	for (offset = 0; offset < ctx->mapped; offset += ctx->page_size)
		if (mmap((char *)map + offset, ctx->page_size,
			 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 fd, 0) == MAP_FAILED)
			goto fail;

	close(fd);
	return map;
fail:
	explain_no_hugepages(ctx, errno);
	if (map != MAP_FAILED)
		munmap(map, ctx->mapped);
	if (fd >= 0)
		close(fd);
	return MAP_FAILED;
}

/*
 * Pages that are touched in the order of their addresses are taken from the
 * kernel's free memory as it lies there, which may be in runs. In an order that
 * is random, and the same each time, they are not.
 */
static int touch_scattered(const struct page_memory_ctx *ctx, void *addr)
{
	uint64_t pages = ctx->mapped / ctx->page_size, state = 1, i, j, page;
	uint64_t *order = calloc(pages, sizeof(*order));
	volatile char *byte = addr;

	if (!order) {
		fprintf(stderr, " Out of memory\n");
		return 1;
	}
	for (i = 0; i < pages; i++) {
		state = state * UINT64_C(6364136223846793005) + 1;
		j = (state >> 33) % (i + 1);
		order[i] = order[j];
		order[j] = i;
	}
	for (i = 0; i < pages; i++) {
		page = order[i];
		byte[page * ctx->page_size] = 1;
	}
	free(order);
	return 0;
}

/* One write a page makes it present and writable in the page table */
static void touch(const struct page_memory_ctx *ctx, void *addr)
{
	uint64_t step = ctx->page_size, offset;
	volatile char *byte = addr;

	/* Where there is no transparent hugepage there are base pages */
	if (ctx->kind == PAGE_MEMORY_THP)
		step = sysconf(_SC_PAGESIZE);

	for (offset = 0; offset < ctx->mapped; offset += step)
		byte[offset] = 1;
}

/* The page frame at addr, 0 if unknown */
static uint64_t page_frame(int pagemap, uintptr_t addr)
{
	const uint64_t present = UINT64_C(1) << 63, mask = (UINT64_C(1) << 55) - 1;
	off_t offset = addr / sysconf(_SC_PAGESIZE) * sizeof(uint64_t);
	uint64_t entry;

	if (pread(pagemap, &entry, sizeof(entry), offset) != sizeof(entry) ||
	    !(entry & present))
		return 0;
	return entry & mask;
}

uint64_t page_memory_ranges(const struct page_memory_ctx *ctx, const void *addr,
			    uint64_t size)
{
	uint64_t step = ctx->page_size, ranges = 0, next = 0, frame;
	uintptr_t end = (uintptr_t)addr + size, page;
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (pagemap < 0)
		return 0;
	if (ctx->kind == PAGE_MEMORY_THP && ctx->thp < ctx->mapped)
		step = sysconf(_SC_PAGESIZE);
	for (page = (uintptr_t)addr & ~(step - 1); page < end; page += step) {
		frame = page_frame(pagemap, page);
		if (!frame) {
			ranges = 0;
			break;
		}
		ranges += frame != next;
		next = frame + step / sysconf(_SC_PAGESIZE);
	}
	close(pagemap);
	return ranges;
}

static uint64_t count_thp(const void *addr, uint64_t size)
{
	uintptr_t start = (uintptr_t)addr, lo, hi;
	uint64_t total = 0, kb;
	bool inside = false;
	char line[512];
	FILE *f;

	f = fopen("/proc/self/smaps", "r");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR, &lo, &hi) == 2)
			inside = lo < start + size && hi > start;
		else if (inside &&
			 sscanf(line, "AnonHugePages: %" SCNu64 " kB", &kb) == 1)
			total += kb << 10;
	}
	fclose(f);
	return total;
}

static void check_thp(struct page_memory_ctx *ctx, const void *addr)
{
	ctx->thp = count_thp(addr, ctx->mapped);
	if (ctx->thp < ctx->mapped)
		fprintf(stderr, " Warning: only %" PRIu64 " of %" PRIu64
			" bytes are in transparent hugepages: look at "
			THP_SYSFS "/enabled and at free memory\n",
			ctx->thp, ctx->mapped);
}

static uint64_t kind_page_size(enum page_memory_kind kind)
{
	uint64_t size;

	/* The size of a transparent hugepage is the architecture's choice */
	if (kind == PAGE_MEMORY_THP &&
	    read_number(THP_SYSFS "/hpage_pmd_size", &size) &&
	    size && !(size & (size - 1)))
		return size;
	return UINT64_C(1) << kinds[kind].shift;
}

static int page_memory_init(struct memory_ctx *base)
{
	struct page_memory_ctx *ctx = page_memory(base);
	long page = sysconf(_SC_PAGESIZE);

	ctx->page_size = kind_page_size(ctx->kind);
	if (ctx->kind == PAGE_MEMORY_4K && page != (long)ctx->page_size) {
		fprintf(stderr, " --page_size=4K: the pages of this kernel are %ld bytes, choose another\n", page);
		return 1;
	}
	return 0;
}

static int page_memory_destroy(struct memory_ctx *base)
{
	free(page_memory(base));
	return 0;
}

static int page_memory_allocate_buffer(struct memory_ctx *base, int alignment,
				       uint64_t size, int *dmabuf_fd,
				       uint64_t *dmabuf_offset, void **addr,
				       bool *can_init)
{
	struct page_memory_ctx *ctx = page_memory(base);
	void *map;

	(void)dmabuf_fd;
	(void)dmabuf_offset;

	ctx->mapped = (size + ctx->page_size - 1) & ~(ctx->page_size - 1);
	if (!size || ctx->mapped < size || ctx->mapped > SIZE_MAX ||
	    alignment > (int64_t)ctx->page_size) {
		fprintf(stderr, " -s, --size: can't map %" PRIu64 " bytes by pages of %s: ask for less\n",
			size, kinds[ctx->kind].name);
		return 1;
	}

	if (!is_hugetlb(ctx->kind))
		map = map_anonymous(ctx);
	else if (ctx->flags & PAGE_MEMORY_ONE_PAGE)
		map = map_one_page(ctx);
	else
		map = map_hugetlb(ctx);
	if (map == MAP_FAILED)
		return 1;

	if (!(ctx->flags & PAGE_MEMORY_SCATTERED))
		touch(ctx, map);
	else if (touch_scattered(ctx, map)) {
		munmap(map, ctx->mapped);
		return 1;
	}
	if (ctx->kind == PAGE_MEMORY_THP)
		check_thp(ctx, map);
	*addr = map;
	*can_init = true;
	return 0;
}

static int page_memory_free_buffer(struct memory_ctx *base, int dmabuf_fd,
				   void *addr, uint64_t size)
{
	(void)dmabuf_fd;
	(void)size;

	/* All of the mapping, not just the size that was asked for */
	return munmap(addr, page_memory(base)->mapped);
}

struct memory_ctx *page_memory_create(enum page_memory_kind kind,
				      unsigned int flags)
{
	struct page_memory_ctx *ctx = calloc(1, sizeof(*ctx));

	if (!ctx) {
		fprintf(stderr, " Out of memory\n");
		return NULL;
	}

	ctx->base.init = page_memory_init;
	ctx->base.destroy = page_memory_destroy;
	ctx->base.allocate_buffer = page_memory_allocate_buffer;
	ctx->base.free_buffer = page_memory_free_buffer;
	ctx->base.copy_host_to_buffer = memcpy;
	ctx->base.copy_buffer_to_host = memcpy;
	ctx->base.copy_buffer_to_buffer = memcpy;
	ctx->kind = kind;
	if (!is_hugetlb(kind))
		flags &= ~PAGE_MEMORY_ONE_PAGE;
	if (kind != PAGE_MEMORY_4K)
		flags &= ~PAGE_MEMORY_SCATTERED;
	ctx->flags = flags;
	return &ctx->base;
}
