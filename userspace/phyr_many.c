// SPDX-License-Identifier: GPL-2.0
/*
 * Very many MRs over one and the same hugepage of 1 GiB. Through ranges each of
 * them is one pin of one folio; through the page array it is 262,144, of which a
 * reference count of 31 bits holds 8,191 times.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "gup_test.h"
#include "memory.h"
#include "rc.h"

#define SAMPLE (64 * KiB)

static struct region region;
static struct rc rc;
static struct ibv_mr **mrs;
static unsigned long count = 10000;
static int path;

static unsigned long long pins_before;

static struct ibv_mr *reg(void)
{
	return ibv_reg_mr(rc.pd, region.addr, region.len,
			  IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | path);
}

static bool dereg(struct ibv_mr **mr)
{
	int err = ibv_dereg_mr(*mr);

	*mr = NULL;
	if (err)
		ktap_note("ibv_dereg_mr: %s", errno_name(err));
	return !err;
}

/* At the ends of the page and somewhere between. */
static bool reads_right(struct ibv_mr *mr, struct ibv_mr *sink, struct rng *rng)
{
	size_t offs[] = {
		0, rng_between(rng, 0, (region.len - SAMPLE) / PAGE_4K) * PAGE_4K, region.len - SAMPLE,
	};

	for (size_t i = 0; i < ARRAY_SIZE(offs); i++) {
		unsigned char *from = region.addr + offs[i];
		struct ibv_sge sge = { (uintptr_t)sink->addr, SAMPLE, sink->lkey };
		struct ibv_send_wr *bad, wr = {
			.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_READ,
			.send_flags = IBV_SEND_SIGNALED,
			.wr.rdma = { (uintptr_t)from, mr->rkey },
		};
		struct ibv_wc wc;

		rng_fill(rng, from, SAMPLE);
		memset(sink->addr, 0, SAMPLE);
		if (ibv_post_send(rc.qp[0], &wr, &bad))
			die("ibv_post_send: %m");
		wc = rc_wait(&rc, 0);
		if (wc.status || memcmp(sink->addr, from, SAMPLE)) {
			ktap_note("at offset %#zx: %s", offs[i], wc.status ?
				  ibv_wc_status_str(wc.status) : "another content");
			return false;
		}
	}
	return true;
}

/* The stock kernel's struct gup_test ends before what our patches add to it. */
#define DUMP_USER_PAGES_STOCK \
	_IOC(_IOC_READ | _IOC_WRITE, 'g', _IOC_NR(DUMP_USER_PAGES_TEST), offsetof(struct gup_test, nr_phyrs))

/* Into the kernel log, where the caller looks for refcount and pincount. */
static void dump_folio(void)
{
	struct gup_test test = {
		.addr = (uintptr_t)region.addr, .size = PAGE_4K, .nr_pages_per_call = 1,
		.which_pages = { 1 },
	};
	int fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);

	if (fd < 0 || (ioctl(fd, DUMP_USER_PAGES_TEST, &test) && ioctl(fd, DUMP_USER_PAGES_STOCK, &test)))
		die("gup_test: %m");
	close(fd);
}

static unsigned long long pins_now(void)
{
	struct pin_counters now = pin_counters_read();

	return now.acquired - now.released - pins_before;
}

struct churn {
	pthread_t thread;
	struct ibv_mr **mr;
	unsigned long n;
	unsigned long failed;
};

static void *register_all(void *arg)
{
	struct churn *churn = arg;

	for (unsigned long i = 0; i < churn->n; i++) {
		churn->mr[i] = reg();
		churn->failed += !churn->mr[i];
	}
	return NULL;
}

static void shuffle(struct ibv_mr **mr, unsigned long n, struct rng *rng)
{
	for (unsigned long i = n - 1; i > 0; i--) {
		unsigned long j = rng_between(rng, 0, i);
		struct ibv_mr *t = mr[i];

		mr[i] = mr[j];
		mr[j] = t;
	}
}

/* One half goes, in random order, while as many new ones come. */
static void churn_half(struct rng *rng)
{
	unsigned long half = count / 2, gone = 0;
	struct churn churn = { .n = half };

	churn.mr = calloc(half, sizeof(*churn.mr));
	if (!churn.mr)
		die("out of memory");
	shuffle(mrs, count, rng);
	if (pthread_create(&churn.thread, NULL, register_all, &churn))
		die("pthread_create");
	for (unsigned long i = 0; i < half; i++)
		gone += dereg(&mrs[i]);
	pthread_join(churn.thread, NULL);
	ktap_result(gone == half && !churn.failed,
		    "%lu deregistered in random order, while %lu were registered", gone, half - churn.failed);
	memcpy(mrs, churn.mr, half * sizeof(*mrs));
	free(churn.mr);
}

static void check_live(unsigned long pins_each, const char *when)
{
	unsigned long long pins = pins_now(), kb = vmpin_kb();

	/* The sink's pages are in both. */
	ktap_result(pins == count * pins_each + SAMPLE / PAGE_4K, "%s: %llu pins, %lu for each MR",
		    when, pins - SAMPLE / PAGE_4K, pins_each);
	ktap_result(kb == (count * region.len + SAMPLE) / KiB, "%s: %llu kB accounted", when, kb);
}

int main(int argc, char **argv)
{
	unsigned long pins_each = 1, live;
	struct rng rng = { 1 };
	struct ibv_mr *sink;
	const char *why;
	void *buf;
	int c, err = 0;

	while ((c = getopt(argc, argv, "n:p:s:")) != -1) {
		switch (c) {
		case 'n':
			count = strtoul(optarg, NULL, 0);
			break;
		case 'p':
			if (!strcmp(optarg, "pages")) {
				path = IBV_ACCESS_PAGE_LIST;
				pins_each = PAGE_1G / PAGE_4K;
			}
			break;
		case 's':
			rng.state = strtoull(optarg, NULL, 0);
			break;
		default:
			die("usage: phyr_many [-n MRS] [-p pages|phyr] [-s SEED]");
		}
	}

	ktap_start();
	why = region_create(&region, "1G", PAGE_1G, &rng);
	if (why)
		die("1G: %s", why);
	rc_open(&rc, "rxe0");
	rc_connect(&rc, rc.active_mtu);
	mrs = calloc(count, sizeof(*mrs));
	/* Pages of its own, all there: its pins can be foretold. */
	buf = aligned_alloc(PAGE_4K, SAMPLE);
	if (!mrs || !buf)
		die("out of memory");
	memset(buf, 1, SAMPLE);
	pins_before = pins_now();
	sink = ibv_reg_mr(rc.pd, buf, SAMPLE, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_PAGE_LIST);
	if (!sink)
		die("ibv_reg_mr: %m");

	for (live = 0; live < count; live++) {
		mrs[live] = reg();
		if (!mrs[live]) {
			err = errno;
			break;
		}
	}
	ktap_result(live == count, "%lu MRs of %zu bytes each, then %s", live, region.len, errno_name(err));
	count = live;
	check_live(pins_each, "all live");
	dump_folio();
	ktap_result(reads_right(mrs[0], sink, &rng), "reads through the first MR");
	ktap_result(reads_right(mrs[count - 1], sink, &rng), "reads through the last MR");
	churn_half(&rng);
	check_live(pins_each, "half of them new");
	ktap_result(reads_right(mrs[0], sink, &rng) && reads_right(mrs[count - 1], sink, &rng),
		    "reads through an old MR and through a new one");
	shuffle(mrs, count, &rng);
	for (live = 0; live < count && dereg(&mrs[live]); live++)
		;
	ktap_result(live == count && !ibv_dereg_mr(sink), "all deregistered");
	ktap_result(!pins_now() && !vmpin_kb(), "no pin is left, and nothing accounted");
	return ktap_finish();
}
