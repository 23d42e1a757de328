// SPDX-License-Identifier: GPL-2.0
/*
 * What pinning costs elsewhere: everything that can hold a buffer for a device, on one
 * and the same buffer of each kind, one line of JSON for each way and size.
 *
 *   pages, phyr          ibv_reg_mr() on rxe, by the array of pages and by ranges
 *   odp                  ibv_reg_mr() for on-demand paging, on rxe: looks up the pages
 *                        that are there, which is all of them, and pins none
 *   odp-prefetch         the same, and ibv_advise_mr() to have all pages for writing
 *   io_uring             IORING_REGISTER_BUFFERS of one buffer, IORING_UNREGISTER_BUFFERS
 *   udmabuf              UDMABUF_CREATE of a memfd, close(): memfd_pin_folios()
 *   pin_user_pages_fast  by gup_test, FOLL_WRITE | FOLL_LONGTERM, without a description
 *   pin_user_phyrs       the same by ranges, the list included
 *
 * All memory is touched before. udmabuf takes a file and no address, so its memory is a
 * memfd, of the same pages touched in the same order.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "gup.h"
#include "memory.h"
#include "rc.h"
#include "samples.h"

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE)

static const struct {
	size_t len;
	unsigned int runs;
} sizes[] = {
	{ PAGE_4K, 101 }, { PAGE_2M, 51 }, { 64 * MiB, 11 }, { GiB, 3 }, { 2 * GiB, 3 },
};

static struct ibv_pd *pd;
static int gup, ring, udmabuf;

/* What is to be held. */
struct buffer {
	struct region region;
	size_t len;
	int memfd;
};

/* Of libibverbs, for providers: rxe's in rdma-core 56 has no ibv_advise_mr(). */
int ibv_cmd_advise_mr(struct ibv_pd *pd, enum ibv_advise_mr_advice advice,
		      uint32_t flags, struct ibv_sge *sg_list, uint32_t num_sge);

static int by_mr(const struct buffer *b, int access, bool prefetch, uint64_t cost[VERBS])
{
	struct ibv_sge sge = { (uintptr_t)b->region.addr, b->len, 0 };
	uint64_t start = ticks();
	struct ibv_mr *mr = ibv_reg_mr(pd, b->region.addr, b->len, ACCESS | access);
	int err = mr ? 0 : errno;

	if (err)
		return err;
	if (prefetch) {
		sge.lkey = mr->lkey;
		err = ibv_cmd_advise_mr(pd, IBV_ADVISE_MR_ADVICE_PREFETCH_WRITE,
					IBV_ADVISE_MR_FLAG_FLUSH, &sge, 1);
	}
	cost[REG] = ticks() - start;
	start = ticks();
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr: %m");
	cost[DEREG] = ticks() - start;
	return err;
}

static int by_pages(const struct buffer *b, uint64_t cost[VERBS])
{
	return by_mr(b, IBV_ACCESS_PAGE_LIST, false, cost);
}

static int by_phyr(const struct buffer *b, uint64_t cost[VERBS])
{
	return by_mr(b, 0, false, cost);
}

static int by_odp(const struct buffer *b, uint64_t cost[VERBS])
{
	return by_mr(b, IBV_ACCESS_ON_DEMAND, false, cost);
}

static int by_odp_prefetch(const struct buffer *b, uint64_t cost[VERBS])
{
	return by_mr(b, IBV_ACCESS_ON_DEMAND, true, cost);
}

static int by_io_uring(const struct buffer *b, uint64_t cost[VERBS])
{
	struct iovec iov = { b->region.addr, b->len };
	uint64_t start = ticks();

	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1))
		return errno;
	cost[REG] = ticks() - start;
	start = ticks();
	if (syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0))
		die("IORING_UNREGISTER_BUFFERS: %m");
	cost[DEREG] = ticks() - start;
	return 0;
}

static int by_udmabuf(const struct buffer *b, uint64_t cost[VERBS])
{
	struct udmabuf_create create = {
		.memfd = b->memfd, .flags = UDMABUF_FLAGS_CLOEXEC, .size = b->len,
	};
	uint64_t start = ticks();
	int fd = ioctl(udmabuf, UDMABUF_CREATE, &create);

	if (fd < 0)
		return errno;
	cost[REG] = ticks() - start;
	start = ticks();
	close(fd);
	cost[DEREG] = ticks() - start;
	return 0;
}

static int by_gup(const struct buffer *b, enum gup_arm arm, uint64_t cost[VERBS])
{
	struct gup_cost took;
	int err = gup_run(gup, arm, b->region.addr, b->len, &took);

	cost[REG] = took.pin_ns;
	cost[DEREG] = took.unpin_ns;
	if (!err && took.bytes != b->len)
		die("%s: pinned %llu of %zu bytes", gup_arm_name(arm),
		    (unsigned long long)took.bytes, b->len);
	return err;
}

static int by_pin_pages(const struct buffer *b, uint64_t cost[VERBS])
{
	return by_gup(b, GUP_PIN_LONGTERM, cost);
}

static int by_pin_phyrs(const struct buffer *b, uint64_t cost[VERBS])
{
	return by_gup(b, GUP_PHYRS_LONGTERM, cost);
}

static const struct peer {
	const char *name;
	/* Returns 0 or an errno, and then holds nothing. */
	int (*hold)(const struct buffer *b, uint64_t cost[VERBS]);
	/* The stock kernel has it, and tells its cost to the instruction. */
	bool stock;
	bool memfd;
} peers[] = {
	{ "pages", by_pages, .stock = true },
	{ .name = "phyr", .hold = by_phyr },
	{ "odp", by_odp, .stock = true },
	{ "odp-prefetch", by_odp_prefetch, .stock = true },
	{ "io_uring", by_io_uring, .stock = true },
	{ .name = "pin_user_pages_fast", .hold = by_pin_pages },
	{ .name = "pin_user_phyrs", .hold = by_pin_phyrs },
	{ "udmabuf", by_udmabuf, .stock = true, .memfd = true },
};

static void print_head(const struct peer *peer, const char *kind, size_t len)
{
	printf("{\"path\": \"%s\", \"page_size\": \"%s\", \"bytes\": %zu", peer->name, kind, len);
}

static void print_error(const char *error)
{
	printf(", \"ranges\": null, \"pins\": null, \"reg\": null, \"dereg\": null");
	printf(", \"error\": \"%s\"}\n", error);
}

static void measure(const struct peer *peer, const char *kind, const struct buffer *b,
		    unsigned int runs)
{
	static struct samples samples;
	struct pin_counters before = pin_counters_read(), after;
	uint64_t cost[VERBS];
	/* The first time is not like the others. */
	int err = peer->hold(b, cost);

	after = pin_counters_read();
	if (!err && pins_held_since(before))
		die("%s: pins left", peer->name);
	samples.n = 0;
	for (unsigned int i = 0; i < runs && !err; i++) {
		err = peer->hold(b, cost);
		if (!err)
			samples_add(&samples, cost);
	}
	print_head(peer, kind, b->len);
	if (err) {
		print_error(errno_name(err));
		return;
	}
	printf(", \"ranges\": %zu, \"pins\": %llu", count_ranges(b->region.addr, b->len),
	       (unsigned long long)(after.acquired - before.acquired));
	samples_print(&samples);
	puts(", \"error\": null}");
}

static void measure_all(const char *kind, bool memfd, bool stock)
{
	struct rng rng = { 1 };
	struct buffer b = { .memfd = -1 };
	size_t most = sizes[ARRAY_SIZE(sizes) - 1].len;
	const char *why = memfd ? region_create_memfd(&b.region, &b.memfd, kind, most, &rng) :
				  region_create(&b.region, kind, most, &rng);

	/* Without it, the others could be measured; a kind that is not there is no result. */
	if (why)
		die("%s%s: %s", kind, memfd ? " by a memfd" : "", why);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		b.len = sizes[i].len;
		for (size_t p = 0; p < ARRAY_SIZE(peers); p++)
			if (peers[p].memfd == memfd && (peers[p].stock || !stock))
				measure(&peers[p], kind, &b, sizes[i].runs);
	}
	region_destroy(&b.region);
	if (memfd)
		close(b.memfd);
}

int main(int argc, char **argv)
{
	struct io_uring_params params = { 0 };
	bool stock;

	if (argc != 2 || !kind_page_size(argv[1]))
		die("usage: phyr_peers 4K|thp|2M|1G");
	setvbuf(stdout, NULL, _IOLBF, 0);
	pd = ibv_alloc_pd(device_open("rxe0"));
	if (!pd)
		die("ibv_alloc_pd: %m");
	gup = gup_open();
	stock = gup_counts_microseconds(gup);
	ring = syscall(SYS_io_uring_setup, 4, &params);
	if (ring < 0)
		die("io_uring_setup: %m (a kernel with CONFIG_IO_URING has it)");
	udmabuf = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	if (udmabuf < 0)
		die("/dev/udmabuf: %m (a kernel with CONFIG_UDMABUF has it)");
	measure_all(argv[1], false, stock);
	measure_all(argv[1], true, stock);
	return 0;
}
