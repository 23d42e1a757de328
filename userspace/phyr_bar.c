// SPDX-License-Identifier: GPL-2.0
/*
 * Registers memory that has no struct page, a whole BAR at once, or hugepages by
 * a dma-buf; moves data between it and ordinary memory; and compares every byte
 * through a mapping of the CPU's own.
 *
 *   dmabuf    the BAR as a dma-buf of vfio's, by ibv_reg_dmabuf_mr()
 *   vfio      the BAR as vfio maps it, by ibv_reg_mr()
 *   sysfs     the BAR as sysfs maps it, by ibv_reg_mr()
 *   reserved  RAM that the kernel does not use, as a driver maps it, by ibv_reg_mr()
 *   udmabuf   hugepages of a memfd as a dma-buf, by ibv_reg_dmabuf_mr()
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bar.h"
#include "memory.h"
#include "rc.h"

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | \
		IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)
#define MAX_BLOCK (64 * KiB)
/*
 * Registrations, of which the median counts. A number, not a time: the kernel numbers
 * MRs one after the other in xarrays, and where that takes another node, as at the
 * 64th, each is dearer by 300 instructions. Every run is to meet that at the same one.
 */
#define REPEATS 15
/* Of the kernel's samples, for RAM that memmap= has reserved. */
#define RESERVED "/dev/reserved-phyr"
#define PARAMETER "/sys/module/ib_core/parameters/mr_times"

static struct options {
	const char *device;
	const char *way;
	const char *pci;
	int index;
	size_t len;
	size_t page;
	unsigned int pieces;
	unsigned int times;
	unsigned int blocks;
	uint64_t seed;
} opt = {
	.device = "rxe0", .way = "dmabuf", .index = 2, .page = PAGE_1G, .pieces = 1, .times = 1, .blocks = 32,
};

struct memory {
	struct bar bar;
	size_t len;
	/* To register: a dma-buf, or -1 and an address. */
	int fd;
	unsigned char *addr;
	/* To look at. */
	unsigned char *cpu;
};

struct cost {
	uint64_t total;
	uint64_t map;
	uint64_t dereg;
};

static bool is(const char *way)
{
	return !strcmp(opt.way, way);
}

/* Where atomic operations are done, as they are on any RAM. */
static bool is_ram(void)
{
	return is("udmabuf") || is("reserved");
}

static void memory_open(struct memory *m)
{
	*m = (struct memory) { .fd = -1 };
	if (is("udmabuf")) {
		m->len = opt.len;
		m->fd = udmabuf_create(m->len / opt.times, opt.page, opt.times, &m->cpu);
		return;
	}
	if (is("reserved"))
		bar_open_file(&m->bar, RESERVED);
	else if (is("sysfs"))
		bar_open_sysfs(&m->bar, opt.pci, opt.index);
	else
		bar_open_vfio(&m->bar, opt.pci, opt.index);
	m->len = opt.len ? opt.len : m->bar.len;
	if (m->len > m->bar.len)
		die("%s has %zu bytes", opt.pci ? opt.pci : RESERVED, m->bar.len);
	m->cpu = bar_map(&m->bar, 0, m->len);
	if (!m->cpu)
		die("mapping %zu bytes: %m", m->len);
	if (is("dmabuf"))
		m->fd = bar_dmabuf(&m->bar, 0, m->len, opt.pieces);
	else
		m->addr = bar_map(&m->bar, 0, m->len);
	if (m->fd < 0 && !m->addr)
		die("mapping %zu bytes again: %m", m->len);
}

static void memory_close(struct memory *m)
{
	munmap(m->cpu, m->len / opt.times);
	if (m->addr)
		munmap(m->addr, m->len);
	if (m->fd >= 0)
		close(m->fd);
	if (!is("udmabuf"))
		bar_close(&m->bar);
}

/* The IOVA of a byte is its offset, but for the address of the first one. */
static struct ibv_mr *memory_register(const struct memory *m, struct ibv_pd *pd, size_t len)
{
	if (m->fd >= 0)
		return ibv_reg_dmabuf_mr(pd, 0, len, 0, m->fd, ACCESS);
	return ibv_reg_mr_iova(pd, m->addr, len, 0, ACCESS);
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static int by_total(const void *a, const void *b)
{
	const struct cost *x = a, *y = b;

	return x->total < y->total ? -1 : x->total > y->total;
}

static int by_dereg(const void *a, const void *b)
{
	const struct cost *x = a, *y = b;

	return x->dereg < y->dereg ? -1 : x->dereg > y->dereg;
}

/* With @m NULL, 4 KiB of ordinary memory. Returns an errno. */
static int measure(const struct memory *m, struct ibv_pd *pd, size_t len,
		   struct cost *median, struct ibv_mr_layout *layout)
{
	static unsigned char page[PAGE_4K] __attribute__((aligned(4096)));
	struct cost cost[REPEATS];
	int i;

	memset(page, 1, sizeof(page));
	for (i = 0; i < REPEATS; i++) {
		struct cost *c = &cost[i];
		uint64_t t = now();
		struct ibv_mr *mr = m ? memory_register(m, pd, len) :
					ibv_reg_mr(pd, page, sizeof(page), ACCESS);
		int err = errno;

		c->total = now() - t;
		if (!mr)
			return err;
		err = ibv_query_mr_layout(mr, layout, 0);
		if (err)
			die("ibv_query_mr_layout: %s", errno_name(err));
		c->map = layout->map_ns;
		t = now();
		if (ibv_dereg_mr(mr))
			die("ibv_dereg_mr: %m");
		c->dereg = now() - t;
	}
	qsort(cost, REPEATS, sizeof(*cost), by_total);
	*median = cost[REPEATS / 2];
	qsort(cost, REPEATS, sizeof(*cost), by_dereg);
	median->dereg = cost[REPEATS / 2].dereg;
	return 0;
}

static bool transfer(struct rc *rc, enum ibv_wr_opcode opcode, struct ibv_mr *local,
		     struct ibv_mr *remote, size_t off, size_t len, enum ibv_wc_status want)
{
	struct ibv_sge sge = { (uintptr_t)local->addr, len, local->lkey };
	struct ibv_send_wr *bad, wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = opcode, .send_flags = IBV_SEND_SIGNALED,
	};
	struct ibv_wc wc;

	if (opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		wr.wr.atomic.remote_addr = off;
		wr.wr.atomic.rkey = remote->rkey;
		wr.wr.atomic.compare_add = 1;
	} else {
		wr.wr.rdma.remote_addr = off;
		wr.wr.rdma.rkey = remote->rkey;
	}
	if (ibv_post_send(rc->qp[0], &wr, &bad))
		die("ibv_post_send failed");
	wc = rc_wait(rc, 0);
	if (wc.status != want)
		ktap_note("%zu bytes at %#zx: %s", len, off, ibv_wc_status_str(wc.status));
	if (wc.status)
		rc_connect(rc, rc->active_mtu);
	return wc.status == want;
}

/* A dma-buf of pieces has them in reverse, and one of the same pages for some times
 * has them all here. */
static unsigned char *cpu_at(const struct memory *m, size_t off)
{
	size_t piece = m->len / opt.pieces;

	if (opt.times > 1)
		return m->cpu + off % (m->len / opt.times);
	return m->cpu + (opt.pieces - 1 - off / piece) * piece + off % piece;
}

static bool block(struct rc *rc, const struct memory *m, struct ibv_mr *local, struct ibv_mr *mr,
		  struct rng *rng, size_t off, size_t len)
{
	unsigned char *cpu = cpu_at(m, off), *buf = local->addr, want[MAX_BLOCK];

	rng_fill(rng, want, len);
	memcpy(buf, want, len);
	if (!transfer(rc, IBV_WR_RDMA_WRITE, local, mr, off, len, IBV_WC_SUCCESS) || memcmp(cpu, want, len))
		return false;
	rng_fill(rng, want, len);
	memcpy(cpu, want, len);
	memset(buf, 0, len);
	return transfer(rc, IBV_WR_RDMA_READ, local, mr, off, len, IBV_WC_SUCCESS) && !memcmp(buf, want, len);
}

/* The first bytes, the last ones, and blocks in between that stay in one piece. */
static unsigned int move_data(struct rc *rc, const struct memory *m, struct ibv_mr *local,
			      struct ibv_mr *mr, struct rng *rng)
{
	size_t piece = m->len / (opt.pieces * opt.times), len, off;
	unsigned int bad = 0;

	for (unsigned int i = 0; i < opt.blocks; i++) {
		len = rng_between(rng, 1, MAX_BLOCK);
		off = rng_between(rng, 0, opt.pieces * opt.times - 1) * piece + rng_between(rng, 0, piece - len);
		if (i == 0)
			off = 0;
		else if (i == 1)
			off = m->len - len;
		bad += !block(rc, m, local, mr, rng, off, len);
	}
	return bad;
}

static bool crosses(struct rc *rc, const struct memory *m, struct ibv_mr *local, struct ibv_mr *mr,
		    struct rng *rng)
{
	size_t piece = m->len / opt.pieces;
	unsigned char *buf = local->addr, want[2 * KiB];

	for (unsigned int i = 1; i < opt.pieces; i++) {
		rng_fill(rng, want, sizeof(want));
		memcpy(buf, want, sizeof(want));
		if (!transfer(rc, IBV_WR_RDMA_WRITE, local, mr, i * piece - KiB, sizeof(want), IBV_WC_SUCCESS) ||
		    memcmp(cpu_at(m, i * piece - KiB), want, KiB) ||
		    memcmp(cpu_at(m, i * piece), want + KiB, KiB))
			return false;
	}
	return true;
}

static bool atomics(struct rc *rc, const struct memory *m, struct ibv_mr *local, struct ibv_mr *mr)
{
	uint64_t value = 41;

	memcpy(cpu_at(m, 64), &value, sizeof(value));
	if (!transfer(rc, IBV_WR_ATOMIC_FETCH_AND_ADD, local, mr, 64, sizeof(value),
		      is_ram() ? IBV_WC_SUCCESS : IBV_WC_REM_ACCESS_ERR))
		return false;
	memcpy(&value, cpu_at(m, 64), sizeof(value));
	return value == (is_ram() ? 42 : 41);
}

static int register_part(const struct memory *m, struct ibv_pd *pd, int prot, int access)
{
	struct ibv_mr *mr;
	int err;

	if (mprotect(m->addr, PAGE_4K, prot))
		die("mprotect: %m");
	mr = ibv_reg_mr(pd, m->addr, PAGE_4K, access);
	err = mr ? 0 : errno;
	if (mr)
		ibv_dereg_mr(mr);
	if (mprotect(m->addr, PAGE_4K, PROT_READ | PROT_WRITE))
		die("mprotect: %m");
	return err;
}

/* A write to it by the CPU would be to a copy that has a page. */
static void check_private(const struct memory *m, struct ibv_pd *pd)
{
	unsigned char *copy = mmap(NULL, PAGE_4K, PROT_READ | PROT_WRITE, MAP_PRIVATE, m->bar.resource, 0);
	struct ibv_mr *mr;

	if (copy == MAP_FAILED)
		die("a private mapping: %m");
	mr = ibv_reg_mr(pd, copy, PAGE_4K, IBV_ACCESS_REMOTE_READ);
	ktap_result(!mr && errno == EFAULT, "a private mapping that can be written to: %s", errno_name(mr ? 0 : errno));
	munmap(copy, PAGE_4K);
}

/* Nobody gains a right by registering. */
static void check_rights(const struct memory *m, struct ibv_pd *pd)
{
	static const struct {
		const char *name;
		int prot;
		int access;
		int want;
	} cases[] = {
		{ "may be read, to be read", PROT_READ, IBV_ACCESS_REMOTE_READ, 0 },
		{ "may be read, to be written", PROT_READ, ACCESS, EFAULT },
		{ "may not be accessed, to be read", PROT_NONE, IBV_ACCESS_REMOTE_READ, EFAULT },
		{ "may be written, to be written", PROT_READ | PROT_WRITE, ACCESS, 0 },
	};
	unsigned char *end = m->addr + m->len - PAGE_4K;
	struct ibv_mr *mr;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int err = register_part(m, pd, cases[i].prot, cases[i].access);

		ktap_result(err == cases[i].want, "memory that %s: %s", cases[i].name, errno_name(err));
	}
	mr = ibv_reg_mr(pd, end, 2 * PAGE_4K, ACCESS);
	ktap_result(!mr && errno == EFAULT, "a page more than there is: %s", errno_name(mr ? 0 : errno));
	/* vfio has no private mappings. */
	if (m->bar.resource >= 0)
		check_private(m, pd);
	mr = ibv_reg_mr(pd, m->addr, PAGE_4K, ACCESS | IBV_ACCESS_PAGE_LIST);
	ktap_result(!mr && errno == EFAULT, "by the page array, which it has no pages for: %s", errno_name(mr ? 0 : errno));
}

static bool is_mapped(const unsigned char *addr)
{
	int fd[2];
	bool mapped;

	if (pipe(fd))
		die("pipe: %m");
	mapped = write(fd[1], addr, 1) == 1;
	close(fd[0]);
	close(fd[1]);
	return mapped;
}

/* Of what one page table entry maps. */
static void check_moved(struct rc *rc, const struct memory *m, struct ibv_mr *local)
{
	static const struct {
		const char *name;
		size_t len;
	} cases[] = {
		{ "1 GiB", PAGE_1G },
		{ "one page of 1 GiB", PAGE_4K },
	};
	unsigned char *space = mmap(NULL, 2 * PAGE_1G, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned char *to = (unsigned char *)(((uintptr_t)space + PAGE_1G - 1) & -PAGE_1G);

	if (space == MAP_FAILED)
		die("mmap: %m");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t off = (i + 1) * PAGE_1G, len = cases[i].len;
		volatile unsigned char *from = m->addr + off, *cpu = m->cpu + off, *moved = to;
		struct ibv_mr *mr = ibv_reg_mr(rc->pd, m->addr + off, PAGE_1G, ACCESS);
		bool right;

		if (!mr)
			die("ibv_reg_mr: %m");
		cpu[0] = 5 + i;
		cpu[PAGE_4K] = 7 + i;
		right = from[0] == 5 + i && from[PAGE_4K] == 7 + i;
		if (mremap(m->addr + off, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
			die("mremap: %m");
		moved[1] = 9 + i;
		right = right && moved[0] == 5 + i && cpu[1] == 9 + i;
		ktap_result(right && (len == PAGE_1G ? moved : from)[PAGE_4K] == 7 + i, "%s moved, with what it maps",
			    cases[i].name);
		ktap_result(!is_mapped(m->addr + off), "%s moved, and nothing left behind", cases[i].name);
		ktap_result(transfer(rc, IBV_WR_RDMA_READ, local, mr, (uintptr_t)mr->addr, 8, IBV_WC_REM_ACCESS_ERR),
			    "%s moved from an MR, which is dead", cases[i].name);
		ibv_dereg_mr(mr);
	}
	munmap(space, 2 * PAGE_1G);
}

/* What a dma-buf does not have, and what is no dma-buf. */
static void check_dmabuf(const struct memory *m, struct ibv_pd *pd)
{
	static const struct {
		const char *name;
		/* From the end. */
		size_t off;
		size_t len;
		uint64_t iova;
		int want;
	} cases[] = {
		{ "a page more than there is", PAGE_4K, 2 * PAGE_4K, 0, EINVAL },
		{ "no bytes", PAGE_4K, 0, 0, EINVAL },
		{ "a length that wraps around", PAGE_4K, -PAGE_4K, 0, EINVAL },
		{ "another offset into the page", PAGE_4K, 100, 1, EINVAL },
		{ "odd bytes", PAGE_4K - 77, 100, 77, 0 },
	};
	struct ibv_mr *mr;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		mr = ibv_reg_dmabuf_mr(pd, m->len - cases[i].off, cases[i].len, cases[i].iova, m->fd, ACCESS);
		ktap_result((mr ? 0 : errno) == cases[i].want, "%s: %s", cases[i].name,
			    errno_name(mr ? 0 : errno));
		if (mr)
			ibv_dereg_mr(mr);
	}
	mr = ibv_reg_dmabuf_mr(pd, 0, PAGE_4K, 0, STDIN_FILENO, ACCESS);
	ktap_result(!mr && errno == EINVAL, "a file that is no dma-buf: %s", errno_name(mr ? 0 : errno));
}

static bool times(void)
{
	FILE *f = fopen(PARAMETER, "w");
	bool on = f && fputs("1", f) >= 0;

	return f && !fclose(f) && on;
}

static void report(const struct memory *m, const struct cost *page, const struct cost *whole,
		   const struct ibv_mr_layout *layout, unsigned int bad)
{
	uint64_t rest = whole->total - whole->map;

	ktap_note("figure: %s: way=%s bytes=%zu ranges=%llu reg=%llu map=%llu reg_ratio_to_4K=%.3f dereg=%llu description=%llu mismatches=%u",
		  is_ram() ? opt.way : "bar", opt.way, m->len,
		  (unsigned long long)layout->num_ranges, (unsigned long long)whole->total,
		  (unsigned long long)whole->map, (double)rest / (page->total - page->map),
		  (unsigned long long)whole->dereg, (unsigned long long)layout->desc_bytes, bad);
}

static void usage(void)
{
	die("usage: phyr_bar [-d DEVICE] [-w dmabuf|vfio|sysfs|reserved|udmabuf] [-b PCI-ADDRESS] [-i BAR]\n"
	    "  [-l BYTES] [-g PAGE-BYTES] [-t TIMES] [-P PIECES] [-n BLOCKS] [-s SEED]\n"
	    "  -t  the same pages for so many times make up BYTES (udmabuf)");
}

static void parse(int argc, char **argv)
{
	int c;

	opt.seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
	while ((c = getopt(argc, argv, "d:w:b:i:l:g:t:P:n:s:")) != -1) {
		switch (c) {
		case 'd':
			opt.device = optarg;
			break;
		case 'w':
			opt.way = optarg;
			break;
		case 'b':
			opt.pci = optarg;
			break;
		case 'i':
			opt.index = atoi(optarg);
			break;
		case 'l':
			opt.len = strtoull(optarg, NULL, 0);
			break;
		case 'g':
			opt.page = strtoull(optarg, NULL, 0);
			break;
		case 't':
			opt.times = strtoul(optarg, NULL, 0);
			break;
		case 'P':
			opt.pieces = strtoul(optarg, NULL, 0);
			break;
		case 'n':
			opt.blocks = strtoul(optarg, NULL, 0);
			break;
		case 's':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		default:
			usage();
		}
	}
	if ((!is_ram() && !opt.pci) || (is("udmabuf") && !opt.len) || !opt.pieces || !opt.times ||
	    !opt.blocks)
		usage();
	if (!is("dmabuf") && !is("vfio") && !is("sysfs") && !is_ram())
		usage();
}

int main(int argc, char **argv)
{
	struct ibv_mr_layout layout = {}, of_page = {};
	struct cost page, whole;
	struct ibv_mr *local, *mr;
	unsigned int bad;
	struct memory m;
	struct rng rng;
	struct rc rc;
	void *buf;
	int err;

	parse(argc, argv);
	ktap_start();
	ktap_note("seed=%#llx", (unsigned long long)opt.seed);
	rng = rng_named(opt.seed, opt.way);
	ktap_result(times(), "the kernel measures");
	memory_open(&m);
	rc_open(&rc, opt.device);
	rc_connect(&rc, rc.active_mtu);
	if (posix_memalign(&buf, PAGE_4K, MAX_BLOCK))
		die("out of memory");
	local = ibv_reg_mr(rc.pd, buf, MAX_BLOCK, IBV_ACCESS_LOCAL_WRITE);
	if (!local || measure(NULL, rc.pd, 0, &page, &of_page))
		die("ibv_reg_mr: %m");

	err = measure(&m, rc.pd, m.len, &whole, &layout);
	ktap_result(!err, "%s: %zu bytes register: %s", opt.way, m.len, errno_name(err));
	if (err)
		return ktap_finish();
	ktap_note("4 KiB of memory: %llu", (unsigned long long)page.total);
	ktap_result(layout.path == IBV_MR_PATH_PHYR && layout.num_ranges <= (is("udmabuf") ? m.len / opt.page : opt.pieces),
		    "as %llu ranges, described by %llu bytes", (unsigned long long)layout.num_ranges,
		    (unsigned long long)layout.desc_bytes);
	mr = memory_register(&m, rc.pd, m.len);
	if (!mr)
		die("registering again: %m");
	bad = move_data(&rc, &m, local, mr, &rng);
	ktap_result(!bad, "%u blocks, written and read: %u wrong", opt.blocks, bad);
	if (opt.pieces > 1)
		ktap_result(crosses(&rc, &m, local, mr, &rng), "over the borders of %u pieces", opt.pieces);
	ktap_result(atomics(&rc, &m, local, mr), "an atomic operation is %s",
		    is_ram() ? "done" : "refused and nothing changed");
	ktap_result(transfer(&rc, IBV_WR_RDMA_READ, local, mr, m.len - 8, 16, IBV_WC_REM_ACCESS_ERR),
		    "a read that goes on behind the end is refused");
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr: %m");
	if (m.fd >= 0)
		check_dmabuf(&m, rc.pd);
	else
		check_rights(&m, rc.pd);
	if (is("vfio") && m.len >= 4 * PAGE_1G)
		check_moved(&rc, &m, local);
	report(&m, &page, &whole, &layout, bad);
	ibv_dereg_mr(local);
	rc_close(&rc);
	memory_close(&m);
	return ktap_finish();
}
