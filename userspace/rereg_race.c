// SPDX-License-Identifier: GPL-2.0
/*
 * Re-registration under traffic. A thread reads and writes through an MR without a
 * pause, and this one takes the memory, or the right to it, away: not one byte may
 * change after ibv_rereg_mr() has returned, nor be read that is put there then.
 *
 * The memory is a memfd of two halves, each mapped for good. The MR's address has
 * one of them mapped, then the other, so that a new translation of the same address
 * leads elsewhere and the traffic doesn't have to know: none of it may fail.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rereg.h"

#define LEN (256 * KiB)
/* The first page of a half says which generation it is, and is only read. */
#define STAMP PAGE_4K
#define CHUNK (16 * KiB)
/* Enough packets that some of them come after a change. */
#define READ (128 * KiB)
/* What is written from, what is read to, and the stamp. */
#define LOCAL (CHUNK + READ + PAGE_4K)
#define BURST 8
#define WITNESS 0x5a
#define SECRET 0x77
#define WRITTEN 0xc3

struct field {
	struct rc rc;
	struct ibv_pd *other_pd;
	struct ibv_mr *mr;
	int access;
	int fd;
	unsigned char *half[2];
	unsigned char *window;
	const char *name;
	bool corrupt;

	/* The traffic */
	pthread_t thread;
	struct ibv_mr *local_mr;
	unsigned char *local;
	bool may_fail;
	atomic_bool stop;
	/* The generation that the MR has had since the last re-registration. */
	atomic_ulong generation;
	atomic_ulong bursts;
	atomic_ulong refused;
	atomic_ulong bad_status;
	atomic_ulong stale;
	atomic_ulong leaked;
};

static struct ibv_wc post_and_wait(struct field *f, struct ibv_send_wr *wr, int n)
{
	struct ibv_wc wc, bad = { .status = IBV_WC_SUCCESS };
	struct ibv_send_wr *bad_wr;
	int err = ibv_post_send(f->rc.qp[0], wr, &bad_wr);

	if (err)
		die("ibv_post_send: %s", strerror(err));
	for (int i = 0; i < n; i++) {
		wc = rc_wait(&f->rc, 0);
		if (bad.status == IBV_WC_SUCCESS)
			bad = wc;
	}
	return bad;
}

/* The stamp, then writes and reads of the rest. */
static void burst(struct field *f, struct rng *rng)
{
	unsigned long generation = atomic_load(&f->generation), seen;
	struct ibv_sge sge[BURST];
	struct ibv_send_wr wr[BURST];
	struct ibv_wc wc;

	for (int i = 0; i < BURST; i++) {
		bool read = !i || i == BURST / 2;
		size_t len = !i ? sizeof(seen) : read ? READ : CHUNK;
		size_t off = STAMP + rng_between(rng, 0, (LEN - STAMP - len) / 64) * 64;

		sge[i] = (struct ibv_sge) {
			/* What is read goes behind what is written. */
			.addr = (uintptr_t)f->local + (read ? CHUNK : 0),
			.length = len,
			.lkey = f->local_mr->lkey,
		};
		wr[i] = (struct ibv_send_wr) {
			.next = i + 1 < BURST ? &wr[i + 1] : NULL,
			.sg_list = &sge[i],
			.num_sge = 1,
			.opcode = read ? IBV_WR_RDMA_READ : IBV_WR_RDMA_WRITE,
			.wr.rdma.remote_addr = (uintptr_t)f->window + (i ? off : 0),
			.wr.rdma.rkey = f->mr->rkey,
		};
	}
	sge[0].addr += READ;
	wc = post_and_wait(f, wr, BURST);
	if (memchr(f->local + CHUNK, SECRET, READ))
		atomic_fetch_add(&f->leaked, 1);
	atomic_fetch_add(&f->bursts, 1);
	if (wc.status == IBV_WC_SUCCESS) {
		memcpy(&seen, f->local + CHUNK + READ, sizeof(seen));
		if (seen < generation || seen > generation + 1)
			atomic_fetch_add(&f->stale, 1);
		return;
	}
	if (f->may_fail && wc.status == IBV_WC_REM_ACCESS_ERR) {
		atomic_fetch_add(&f->refused, 1);
	} else {
		atomic_fetch_add(&f->bad_status, 1);
		ktap_note("%s: completion \"%s\"", f->name, ibv_wc_status_str(wc.status));
	}
	rc_connect(&f->rc, f->rc.active_mtu);
}

static void *traffic(void *arg)
{
	struct field *f = arg;
	struct rng rng = rng_named(1, f->name);

	while (!atomic_load(&f->stop))
		burst(f, &rng);
	return NULL;
}

/* Lets the traffic come by at least once from its first request to the last. */
static void let_pass(struct field *f)
{
	unsigned long from = atomic_load(&f->bursts);

	while (atomic_load(&f->bursts) < from + 2)
		sched_yield();
}

static void map_half(struct field *f, int h)
{
	if (mmap(f->window, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE,
		 f->fd, h * LEN) == MAP_FAILED)
		die("can't map the half: %m");
}

static void set_stamp(struct field *f, int h, unsigned long generation)
{
	memcpy(f->half[h], &generation, sizeof(generation));
}

static void set_up(struct field *f, const char *device, int path, const char *name)
{
	const int prot = PROT_READ | PROT_WRITE;
	unsigned char *both;

	f->name = name;
	f->access = ALL_ACCESS | path;
	rc_open(&f->rc, device);
	rc_connect(&f->rc, f->rc.active_mtu);
	f->other_pd = ibv_alloc_pd(f->rc.ctx);
	f->fd = memfd_create("rereg", MFD_CLOEXEC);
	if (!f->other_pd || f->fd < 0 || ftruncate(f->fd, 2 * LEN))
		die("can't set up: %m");
	both = mmap(NULL, 2 * LEN, prot, MAP_SHARED, f->fd, 0);
	f->window = mmap(NULL, LEN, prot, MAP_SHARED, f->fd, 0);
	f->local = mmap(NULL, LOCAL, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (both == MAP_FAILED || f->window == MAP_FAILED || f->local == MAP_FAILED)
		die("no memory: %m");
	f->half[0] = both;
	f->half[1] = both + LEN;
	memset(both, WITNESS, 2 * LEN);
	memset(f->local, WRITTEN, CHUNK);
	set_stamp(f, 0, 1);
	atomic_store(&f->generation, 1);
	f->mr = ibv_reg_mr(f->rc.pd, f->window, LEN, f->access);
	f->local_mr = ibv_reg_mr(f->rc.pd, f->local, LOCAL, f->access);
	if (!f->mr || !f->local_mr)
		die("ibv_reg_mr: %m");
	if (pthread_create(&f->thread, NULL, traffic, f))
		die("pthread_create: %m");
	let_pass(f);
}

static void tear_down(struct field *f)
{
	atomic_store(&f->stop, true);
	pthread_join(f->thread, NULL);
	if (ibv_dereg_mr(f->mr) || ibv_dereg_mr(f->local_mr) || ibv_dealloc_pd(f->other_pd))
		die("can't tear down: %m");
	rc_close(&f->rc);
	munmap(f->half[0], 2 * LEN);
	munmap(f->window, LEN);
	munmap(f->local, LOCAL);
	close(f->fd);
}

static void put_witness(struct field *f, int h, int byte)
{
	memset(f->half[h] + STAMP, byte, LEN - STAMP);
	if (f->corrupt)
		f->half[h][LEN / 2] = WRITTEN;
}

/* Where the first byte is that is not the witness's, or -1. */
static long long witness_lost(const struct field *f, int h, int byte)
{
	for (size_t i = STAMP; i < LEN; i++)
		if (f->half[h][i] != byte)
			return i;
	return -1;
}

static void report(struct field *f, unsigned int rounds, unsigned int want,
		   unsigned int late, unsigned int unused)
{
	ktap_note("%s: %u rounds, %lu bursts, %lu refused", f->name, rounds,
		  atomic_load(&f->bursts), atomic_load(&f->refused));
	ktap_result(rounds == want, "%s: %u re-registrations work", f->name, want);
	ktap_result(!late, "%s: nothing is written once it has returned", f->name);
	ktap_result(!unused, "%s: what is allowed works", f->name);
	ktap_result(!atomic_load(&f->bad_status), "%s: every completion is as it should be",
		    f->name);
	ktap_result(!atomic_load(&f->stale), "%s: what is read is of that time", f->name);
}

void race_translation(const char *device, int path, unsigned int rounds, bool corrupt)
{
	struct field f = { .corrupt = corrupt };
	unsigned int i, late = 0, unused = 0;
	int old = 0;

	set_up(&f, device, path, path ? "translation, pages" : "translation, phyr");
	for (i = 0; i < rounds; i++) {
		unsigned long generation = atomic_load(&f.generation) + 1;
		long long off;
		int err;

		set_stamp(&f, !old, generation);
		map_half(&f, !old);
		err = rereg(f.mr, CHANGE_TRANS, NULL, f.window, LEN, 0);
		if (err) {
			ktap_note("round %u: %s", i, errno_name(err));
			break;
		}
		put_witness(&f, old, WITNESS);
		atomic_store(&f.generation, generation);
		let_pass(&f);
		off = witness_lost(&f, old, WITNESS);
		if (off >= 0 && !late++)
			ktap_note("round %u: a late write at %lld", i, off);
		unused += witness_lost(&f, !old, WITNESS) < 0;
		old = !old;
	}
	tear_down(&f);
	report(&f, i, rounds, late, unused);
}

/* Takes the right away by @take, and gives it back by @give. */
static void race_right(struct field *f, unsigned int rounds, int flags,
		       struct ibv_pd *take_pd, int take_access)
{
	unsigned int i, late = 0, unused = 0;

	for (i = 0; i < rounds; i++) {
		long long off;
		int err;

		let_pass(f);
		unused += witness_lost(f, 0, WITNESS) < 0;
		err = rereg(f->mr, flags, take_pd, NULL, 0, take_access);
		if (err) {
			ktap_note("round %u: taken: %s", i, errno_name(err));
			break;
		}
		put_witness(f, 0, SECRET);
		let_pass(f);
		off = witness_lost(f, 0, SECRET);
		if (off >= 0 && !late++)
			ktap_note("round %u: a late write at %lld", i, off);
		put_witness(f, 0, WITNESS);
		err = rereg(f->mr, flags, f->rc.pd, NULL, 0,
			    flags & CHANGE_ACCESS ? f->access : 0);
		if (err) {
			ktap_note("round %u: given back: %s", i, errno_name(err));
			break;
		}
		/* What had been refused before has to be over. */
		let_pass(f);
	}
	tear_down(f);
	report(f, i, rounds, late, unused);
	ktap_result(atomic_load(&f->refused) >= i, "%s: what isn't allowed is refused", f->name);
	ktap_result(!atomic_load(&f->leaked), "%s: nothing is read once it has returned", f->name);
}

void race_access(const char *device, int path, unsigned int rounds, bool corrupt)
{
	struct field f = { .corrupt = corrupt, .may_fail = true };

	set_up(&f, device, path, path ? "access, pages" : "access, phyr");
	race_right(&f, rounds, CHANGE_ACCESS, NULL, IBV_ACCESS_LOCAL_WRITE);
}

void race_pd(const char *device, int path, unsigned int rounds, bool corrupt)
{
	struct field f = { .corrupt = corrupt, .may_fail = true };

	set_up(&f, device, path, path ? "PD, pages" : "PD, phyr");
	race_right(&f, rounds, CHANGE_PD, f.other_pd, 0);
}
