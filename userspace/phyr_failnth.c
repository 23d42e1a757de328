// SPDX-License-Identifier: GPL-2.0
/*
 * Registers memory, moves data through it and deregisters it, again and again, and
 * each time the kernel fails at one place more: the first allocation, copy or pin
 * of the run, then the second, until a run comes to its end before a fault does.
 *
 * A run that fails has to say so by an errno that belongs to the fault. However it
 * ended, nothing may be left: no pin, no locked memory on the account, no object
 * that kmemleak finds; no byte of the memory changed that was not written to; and
 * the next run must be able to do what this one could not.
 */
#include <errno.h>
#include <linux/capability.h>
#include <rdma/ib_user_verbs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "area.h"
#include "fault.h"
#include "gup.h"

#define ACCESS (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | \
		IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)
/* Several packets, and bytes that belong to no page in full. */
#define TRANSFER 9001UL
#define SHORT_TRANSFER 2500UL
/* Every packet has its head from this slab cache. */
#define PACKETS "skbuff_head_cache"
#define PEER_LEN (64 * KiB)
/* A sweep that is not over by then will never be. */
#define MOST_SITES 20000

static struct rc rc;
static struct ibv_pd *other_pd;
/* The other end of all transfers, registered by either path with no fault about. */
static struct area peer;
static int gup_fd;
static uint64_t seed;
static bool lose_a_pin;

static unsigned long leaked_pins;

/* Functions that can be made to fail, and the errno that tells which one it was. */
static const struct {
	const char *name;
	int err;
	/* Called to move data: what comes of it is a completion and no errno. */
	bool moves;
} functions[] = {
	{ "pin_user_phyrs", EAGAIN, false },
	{ "gup_slow_phyrs", EINTR, false },
	{ "rxe_phyr_init", EIO, false },
	{ "mr_check_range", EINVAL, true },
	{ "rxe_mr_copy", EFAULT, true },
};

struct hole {
	size_t off;
	size_t len;
};

/* What is registered; the holes are unmapped pages, anew in each run. */
static const struct memory {
	const char *name;
	const char *kind;
	size_t len;
	/* Bytes at either end that are not part of the MR. */
	size_t before, after;
	struct hole holes[2];
	/* On how many of the paths to sweep single transfers, too. */
	unsigned int transfers;
	bool by_soak_only;
} memories[] = {
	{ .name = "4K", .kind = "4K", .len = PAGE_4K, .before = 100, .after = 77 },
	{ .name = "4K-scattered", .kind = "4K", .len = 3 * MiB, .before = 4095, .after = 1,
	  .transfers = 2 },
	{ .name = "4K-untouched", .kind = "4K", .len = 24 * PAGE_4K, .before = 1, .after = 2,
	  .holes = { { 0, 24 * PAGE_4K } } },
	/* The slow path takes 512 pages at a time: here it is needed twice. */
	{ .name = "4K-holes", .kind = "4K", .len = 3 * MiB, .before = 3, .after = 5,
	  .holes = { { PAGE_4K, 4 * PAGE_4K }, { 600 * PAGE_4K, 4 * PAGE_4K } } },
	{ .name = "64K", .kind = "64K", .len = 1 * MiB, .before = 7, .after = 4096 },
	{ .name = "thp", .kind = "thp", .len = 4 * MiB, .before = 513, .after = 9 },
	{ .name = "thp-split", .kind = "thp-split", .len = 4 * MiB, .before = 5000, .after = 11 },
	{ .name = "2M", .kind = "2M", .len = 4 * MiB, .before = 1, .after = 1,
	  .transfers = 1 },
	{ .name = "mixed", .kind = "mixed", .len = 8 * MiB, .before = 8191, .after = 13 },
	/* Too few ranges for a table of its pages: the driver has to search. */
	{ .name = "few", .kind = "mixed", .len = 8 * MiB, .before = 2 * MiB - 10 * PAGE_4K + 1,
	  .after = 2 * MiB + 13 },
	{ .name = "4K-scattered-16M", .kind = "4K", .len = 16 * MiB, .before = 17,
	  .by_soak_only = true },
	{ .name = "4K-untouched-1M", .kind = "4K", .len = 1 * MiB, .after = 19,
	  .holes = { { 0, 1 * MiB } }, .by_soak_only = true },
	{ .name = "thp-untouched", .kind = "thp", .len = 4 * MiB, .before = 21,
	  .holes = { { 0, 4 * MiB } }, .by_soak_only = true },
	{ .name = "thp-moved", .kind = "thp-moved", .len = 4 * MiB, .before = 23,
	  .by_soak_only = true },
	{ .name = "2M-untouched", .kind = "2M", .len = 4 * MiB, .before = 25,
	  .holes = { { 0, 4 * MiB } }, .by_soak_only = true },
	{ .name = "shmem", .kind = "shmem", .len = 2 * MiB, .before = 27,
	  .by_soak_only = true },
};

/* One run of a scenario. */
struct run {
	const struct memory *memory;
	struct area area;
	unsigned int path_flag;
	enum ibv_wr_opcode opcode;
	/* Where in the MR, and in the peer, the bytes of a transfer are. */
	size_t off, len;
	struct ibv_mr *mr;
	/* What it was doing when it failed. */
	const char *step;
};

static unsigned char *mr_start(const struct run *run)
{
	return run->area.region.addr + run->area.mr_off;
}

static int reg(struct run *run)
{
	run->step = "reg";
	run->mr = ibv_reg_mr(rc.pd, mr_start(run), run->area.mr_len,
			     ACCESS | run->path_flag);
	return run->mr ? 0 : errno;
}

static int dereg(struct run *run)
{
	int err;

	run->step = "dereg";
	err = ibv_dereg_mr(run->mr);
	if (!err)
		run->mr = NULL;
	return err;
}

/* Returns an errno if it could not be posted, -1 less the status if it went wrong. */
static int transfer(struct run *run, enum ibv_wr_opcode opcode)
{
	const struct ibv_mr *other = peer.mr[run->path_flag != 0];
	struct ibv_sge sge = {
		.addr = (uintptr_t)mr_start(run) + run->off,
		.length = run->len,
		.lkey = run->mr->lkey,
	};
	struct ibv_sge into = {
		.addr = (uintptr_t)peer.region.addr + run->off % PAGE_4K,
		.length = run->len,
		.lkey = other->lkey,
	};
	struct ibv_send_wr wr = {
		.sg_list = &sge,
		.num_sge = 1,
		.opcode = opcode,
		.wr.rdma = { .remote_addr = into.addr, .rkey = other->rkey },
	}, *bad;
	struct ibv_recv_wr recv = { .sg_list = &into, .num_sge = 1 }, *bad_recv;
	struct ibv_wc wc;
	int err;

	run->step = "traffic";
	if (opcode == IBV_WR_SEND) {
		err = ibv_post_recv(rc.qp[1], &recv, &bad_recv);
		if (err)
			return err;
	} else if (opcode == IBV_WR_ATOMIC_FETCH_AND_ADD) {
		wr.wr.atomic.remote_addr = (into.addr + 7) & ~7UL;
		wr.wr.atomic.rkey = other->rkey;
		wr.wr.atomic.compare_add = 1;
		sge.length = 8;
	}
	err = ibv_post_send(rc.qp[0], &wr, &bad);
	if (err)
		return err;
	wc = rc_wait(&rc, 0);
	return wc.status == IBV_WC_SUCCESS ? 0 : -1 - (int)wc.status;
}

static void reconnect(void)
{
	rc_connect(&rc, IBV_MTU_1024);
}

/* Scenarios: what comes first, with no fault; the run; and what is left to do. */

static int nothing(struct run *run)
{
	(void)run;
	return 0;
}

/* Registration, traffic both ways, deregistration. */
static int chain(struct run *run)
{
	int err = reg(run);

	if (!err)
		err = transfer(run, IBV_WR_RDMA_WRITE);
	if (!err)
		err = transfer(run, IBV_WR_RDMA_READ);
	return err ? err : dereg(run);
}

/* A request that could not be posted may still be sitting in the queue. */
static int end_chain(struct run *run)
{
	int err;

	if (!strcmp(run->step, "traffic"))
		reconnect();
	/* What failed to be deregistered can be, or is gone. */
	err = run->mr ? dereg(run) : 0;
	run->mr = NULL;
	return err == ENOENT ? 0 : err;
}

static int reg_alone(struct run *run)
{
	int err = reg(run);

	return err ? err : dereg(run);
}

/* All that can be changed. ibv_rereg_mr() has no errno to give: ask the kernel. */
static int rereg(struct run *run)
{
	struct ib_uverbs_rereg_mr_resp resp;
	struct {
		struct ib_uverbs_cmd_hdr hdr;
		struct ib_uverbs_rereg_mr body;
	} cmd = {
		.hdr = {
			.command = IB_USER_VERBS_CMD_REREG_MR,
			.in_words = sizeof(cmd) / 4,
			.out_words = sizeof(resp) / 4,
		},
		.body = {
			.response = (uintptr_t)&resp,
			.mr_handle = run->mr->handle,
			.flags = IBV_REREG_MR_CHANGE_PD | IBV_REREG_MR_CHANGE_ACCESS |
				 IBV_REREG_MR_CHANGE_TRANSLATION,
			.start = (uintptr_t)mr_start(run),
			.length = run->area.mr_len,
			.hca_va = (uintptr_t)mr_start(run),
			.pd_handle = other_pd->handle,
			.access_flags = IBV_ACCESS_LOCAL_WRITE | run->path_flag,
		},
	};

	run->step = "rereg";
	return write(rc.ctx->cmd_fd, &cmd, sizeof(cmd)) == sizeof(cmd) ? 0 : errno;
}

static int pin_alone(struct run *run, enum gup_arm arm)
{
	struct gup_cost cost;
	int err;

	run->step = "pin";
	err = gup_run(gup_fd, arm, run->area.region.addr, run->area.region.len, &cost);
	/* It says how far it came, and unpins that. */
	if (!err && cost.bytes < run->area.region.len)
		err = ENOMEM;
	return err;
}

static int pin_ranges(struct run *run)
{
	return pin_alone(run, GUP_PHYRS);
}

static int pin_ranges_longterm(struct run *run)
{
	return pin_alone(run, GUP_PHYRS_LONGTERM);
}

static int one_transfer(struct run *run)
{
	return transfer(run, run->opcode);
}

struct scenario {
	int (*before)(struct run *run);
	int (*body)(struct run *run);
	int (*after)(struct run *run);
	void (*arm)(unsigned int nth);
	bool (*disarm)(void);
	/* There may be another way to the same end. */
	bool may_succeed;
	/* The fault is in a thread of the kernel that moves data. */
	bool completions;
};

#define IN_THIS_THREAD .arm = fault_arm, .disarm = fault_disarm, .may_succeed = true
#define BY_CALLS .arm = fault_arm_calls, .disarm = fault_disarm_calls

static const struct scenario whole = {
	.before = nothing, .body = chain, .after = end_chain, IN_THIS_THREAD
};
static const struct scenario limited = {
	.before = nothing, .body = reg_alone, .after = end_chain, IN_THIS_THREAD
};
static const struct scenario rereging = {
	.before = reg, .body = rereg, .after = end_chain, IN_THIS_THREAD
};
static const struct scenario pinning = {
	.before = nothing, .body = pin_ranges, .after = nothing, IN_THIS_THREAD
};
static const struct scenario pinning_longterm = {
	.before = nothing, .body = pin_ranges_longterm, .after = nothing, IN_THIS_THREAD
};
static const struct scenario calling = {
	.before = nothing, .body = reg_alone, .after = end_chain, BY_CALLS
};
static const struct scenario copying = {
	.before = reg, .body = one_transfer, .after = end_chain, BY_CALLS,
	.completions = true,
};
static const struct scenario sending = {
	.before = reg, .body = one_transfer, .after = end_chain,
	.arm = fault_arm_objects, .disarm = fault_disarm_objects,
	.may_succeed = true, .completions = true,
};

/* What a sweep has seen. */
struct tally {
	unsigned long sites, survived, enomem, efault, functions, completions;
	unsigned long reg, traffic, dereg;
	char wrong[256];
};

static struct tally all;

__attribute__((format(printf, 3, 4)))
static void wrong(struct tally *tally, unsigned int nth, const char *fmt, ...)
{
	va_list ap;
	int n;

	/* The first one tells most. */
	if (tally->wrong[0])
		return;
	n = snprintf(tally->wrong, sizeof(tally->wrong), "fault %u: ", nth);
	va_start(ap, fmt);
	vsnprintf(tally->wrong + n, sizeof(tally->wrong) - n, fmt, ap);
	va_end(ap);
}

/* Does the errno, or the completion, belong to a fault? */
static bool count_error(struct tally *tally, const struct scenario *s, int err)
{
	if (err < 0) {
		tally->completions++;
		/* Nobody may be left to wait for an answer. */
		return s->completions && -1 - err != IBV_WC_RETRY_EXC_ERR &&
		       -1 - err != IBV_WC_RNR_RETRY_EXC_ERR;
	}
	switch (err) {
	case 0:
		tally->survived++;
		return s->may_succeed;
	case ENOMEM:
		tally->enomem++;
		return true;
	case EFAULT:
		tally->efault++;
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		if (functions[i].err == err && !functions[i].moves) {
			tally->functions++;
			return true;
		}
	}
	return false;
}

static void count_step(struct tally *tally, const char *step)
{
	if (!strcmp(step, "reg"))
		tally->reg++;
	else if (!strcmp(step, "traffic"))
		tally->traffic++;
	else if (!strcmp(step, "dereg"))
		tally->dereg++;
}

static void make_holes(const struct run *run)
{
	const struct hole *holes = run->memory->holes;

	for (size_t i = 0; i < ARRAY_SIZE(run->memory->holes) && holes[i].len; i++)
		if (madvise(run->area.region.addr + holes[i].off, holes[i].len,
			    MADV_DONTNEED))
			die("MADV_DONTNEED: %m");
}

/* A fault in the middle of a transfer leaves a part of it done. */
static void restore_target(struct run *run)
{
	size_t at = run->area.mr_off + run->off;

	memcpy(run->area.region.addr + at, run->area.shadow + at, run->len);
	memcpy(peer.region.addr, peer.shadow, run->off % PAGE_4K + run->len + 16);
}

static bool arrived(const struct run *run)
{
	return !memcmp(mr_start(run) + run->off,
		       peer.region.addr + run->off % PAGE_4K, run->len);
}

static bool moves_bytes(const struct scenario *s, const struct run *run)
{
	return s == &whole ||
	       (s->completions && run->opcode != IBV_WR_ATOMIC_FETCH_AND_ADD);
}

/* Returns true if there was a fault, so that there may be one more. */
static bool one_run(const struct scenario *s, struct run *run, unsigned int nth,
		    struct tally *tally)
{
	struct pin_counters pins;
	uint64_t held, account;
	long long where;
	bool fault;
	int err;

	make_holes(run);
	run->step = "start";
	pins = pin_counters_read();
	account = vmpin_kb();
	err = s->before(run);
	if (err)
		die("%s %s: %s, without a fault", run->memory->name, run->step,
		    errno_name(err));
	s->arm(nth);
	err = s->body(run);
	fault = s->disarm();

	if (fault) {
		tally->sites++;
		count_step(tally, run->step);
		if (!count_error(tally, s, err))
			wrong(tally, nth, err < 0 ? "%s ended with completion status %d" :
			      "%s ended with errno %d", run->step, err < 0 ? -1 - err : err);
	} else if (err) {
		wrong(tally, nth, "%s: %s %d, and no fault", run->step,
		      err < 0 ? "completion status" : "errno", err < 0 ? -1 - err : err);
	}
	if (!err && moves_bytes(s, run) && !arrived(run))
		wrong(tally, nth, "the bytes did not arrive");

	err = s->after(run);
	if (err)
		wrong(tally, nth, "%s again, without a fault: %s", run->step, errno_name(err));
	if (lose_a_pin && fault && !ibv_reg_mr(rc.pd, peer.region.addr, 1, 0))
		die("ibv_reg_mr: %m");
	held = pins_held_since(pins);
	if (held) {
		leaked_pins += held;
		wrong(tally, nth, "%lld pins not given back", (long long)held);
	}
	if (vmpin_kb() != account)
		wrong(tally, nth, "VmPin is %lld kB more than before",
		      (long long)(vmpin_kb() - account));
	if (run->len)
		restore_target(run);
	where = area_first_difference(&run->area);
	if (where >= 0)
		wrong(tally, nth, "the memory has changed at offset %lld", where);
	return fault;
}

__attribute__((format(printf, 2, 3)))
static void report(const struct tally *tally, const char *fmt, ...)
{
	char name[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	all.sites += tally->sites;
	all.survived += tally->survived;
	all.enomem += tally->enomem;
	all.efault += tally->efault;
	all.functions += tally->functions;
	all.completions += tally->completions;
	if (tally->wrong[0])
		ktap_note("%s", tally->wrong);
	if (tally->completions)
		ktap_note("%s: error completions %lu, none %lu", name,
			  tally->completions, tally->survived);
	else
		ktap_note("%s: ENOMEM %lu, EFAULT %lu, of functions %lu, none %lu; reg %lu, traffic %lu, dereg %lu",
			  name, tally->enomem, tally->efault, tally->functions,
			  tally->survived, tally->reg, tally->traffic, tally->dereg);
	/* A sweep that met no fault has shown nothing. */
	ktap_result(!tally->wrong[0] && tally->sites, "%s: sites=%lu", name, tally->sites);
}

static void sweep(const struct scenario *s, struct run *run, struct tally *tally)
{
	unsigned int nth = 1;

	while (one_run(s, run, nth, tally) && !tally->wrong[0]) {
		if (++nth > MOST_SITES)
			wrong(tally, nth, "no end");
	}
}

static void fill(struct area *area, const struct memory *memory, struct rng *rng)
{
	rng_fill(rng, area->shadow, area->region.len);
	for (size_t i = 0; memory && i < ARRAY_SIZE(memory->holes); i++)
		memset(area->shadow + memory->holes[i].off, 0, memory->holes[i].len);
	memcpy(area->region.addr, area->shadow, area->region.len);
}

static const char *prepare(struct run *run, const struct memory *memory)
{
	struct rng rng = rng_named(seed, memory->name);
	const char *why;

	memset(run, 0, sizeof(*run));
	run->memory = memory;
	why = area_create(&run->area, memory->kind, memory->len, memory->before,
			  memory->len - memory->before - memory->after, &rng);
	if (why)
		return why;
	fill(&run->area, memory, &rng);
	run->len = TRANSFER < run->area.mr_len ? TRANSFER : run->area.mr_len;
	run->off = rng_between(&rng, 0, run->area.mr_len - run->len);
	return NULL;
}

static const struct {
	const char *name;
	unsigned int flag;
} paths[] = { { "phyr", 0 }, { "pages", IBV_ACCESS_PAGE_LIST } };

static void sweep_chain(struct run *run, unsigned int path)
{
	struct tally tally = { 0 };

	run->path_flag = paths[path].flag;
	sweep(&whole, run, &tally);
	if (!tally.reg || !tally.traffic || !tally.dereg)
		wrong(&tally, 0, "no fault in one of reg, traffic and dereg");
	report(&tally, "%s %s", paths[path].name, run->memory->name);
}

/*
 * What else the thread comes by is not the same in each run, since the allocator
 * has to refill its caches now and then. Calls are, so none is left out here.
 */
static void sweep_calls(struct run *run)
{
	struct tally tally = { 0 };

	run->path_flag = 0;
	sweep(&calling, run, &tally);
	report(&tally, "calls %s", run->memory->name);
}

static void sweep_pin(const struct run *run, bool longterm)
{
	const struct scenario *s = longterm ? &pinning_longterm : &pinning;
	const char *name = longterm ? "pin-longterm" : "pin";
	struct tally tally = { 0 };
	struct run pin = *run;

	pin.len = 0;
	if (s->body(&pin) == EINVAL) {
		ktap_skip("gup_test pins no ranges in this kernel", "%s %s", name,
			  run->memory->name);
		return;
	}
	sweep(s, &pin, &tally);
	report(&tally, "%s %s", name, run->memory->name);
}

/* The copies of a transfer, and the packets that carry it. */
static void sweep_transfers(struct run *run, unsigned int path)
{
	static const struct {
		const char *name;
		enum ibv_wr_opcode opcode;
	} ops[] = {
		{ "write", IBV_WR_RDMA_WRITE }, { "read", IBV_WR_RDMA_READ },
		{ "send", IBV_WR_SEND }, { "fadd", IBV_WR_ATOMIC_FETCH_AND_ADD },
	};
	size_t len = run->len;

	run->path_flag = paths[path].flag;
	if (run->len > SHORT_TRANSFER)
		run->len = SHORT_TRANSFER;
	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		struct tally copies = { 0 }, packets = { 0 };

		run->opcode = ops[i].opcode;
		sweep(&copying, run, &copies);
		report(&copies, "%s %s %s", paths[path].name, run->memory->name,
		       ops[i].name);
		/* It answers the request that is sent again with the middle of it. */
		if (run->opcode == IBV_WR_RDMA_READ) {
			ktap_skip("without a packet for its first answer, stock rxe gets reads wrong",
				  "%s %s %s packets", paths[path].name,
				  run->memory->name, ops[i].name);
			continue;
		}
		sweep(&sending, run, &packets);
		report(&packets, "%s %s %s packets", paths[path].name,
		       run->memory->name, ops[i].name);
	}
	run->opcode = 0;
	run->len = len;
}

static void sweep_rereg(struct run *run, unsigned int path)
{
	struct tally tally = { 0 };

	run->path_flag = paths[path].flag;
	sweep(&rereging, run, &tally);
	report(&tally, "%s rereg %s", paths[path].name, run->memory->name);
}

static void sweep_memory(const struct memory *memory, bool soak)
{
	struct run run;
	const char *why = prepare(&run, memory);

	if (why) {
		ktap_skip(why, "%s", memory->name);
		return;
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(paths); i++) {
		sweep_chain(&run, i);
		if (i < memory->transfers || soak)
			sweep_transfers(&run, i);
	}
	sweep_calls(&run);
	sweep_pin(&run, false);
	sweep_pin(&run, true);
	for (unsigned int i = 0; i < ARRAY_SIZE(paths); i++)
		if (memory->transfers || soak)
			sweep_rereg(&run, i);
	area_destroy(&run.area);
}

/*
 * With nothing to spare under RLIMIT_MEMLOCK: what a failed run left on the account
 * would make the next one fail. The device file was opened with the capability, so
 * there is no traffic any more.
 */
static void sweep_limited(void)
{
	static const struct memory memory = {
		.name = "limit", .kind = "4K", .len = 64 * KiB, .before = 1, .after = 1,
	};
	struct __user_cap_header_struct hdr = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];
	struct rlimit limit;
	struct run run;
	const char *why = prepare(&run, &memory);

	if (why)
		die("64 KiB of memory: %s", why);
	if (syscall(SYS_capget, &hdr, caps))
		die("capget: %m");
	caps[CAP_TO_INDEX(CAP_IPC_LOCK)].effective &= ~CAP_TO_MASK(CAP_IPC_LOCK);
	limit.rlim_cur = limit.rlim_max = vmpin_kb() * KiB + memory.len;
	if (syscall(SYS_capset, &hdr, caps) || setrlimit(RLIMIT_MEMLOCK, &limit))
		die("can't limit locked memory: %m");
	run.len = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(paths); i++) {
		struct tally tally = { 0 };

		run.path_flag = paths[i].flag;
		if (reg(&run) || ibv_reg_mr(rc.pd, peer.region.addr, 1, run.path_flag) ||
		    errno != ENOMEM || dereg(&run))
			wrong(&tally, 0, "the limit is not where it should be");
		sweep(&limited, &run, &tally);
		report(&tally, "%s limit", paths[i].name);
	}
	area_destroy(&run.area);
}

static void set_up(const char *device)
{
	struct rng rng = rng_named(seed, "peer");
	const char *why;

	rc_open(&rc, device);
	reconnect();
	other_pd = ibv_alloc_pd(rc.ctx);
	if (!other_pd)
		die("ibv_alloc_pd: %m");
	why = area_create(&peer, "4K", PEER_LEN, 0, PEER_LEN, &rng);
	if (why)
		die("memory of the peer: %s", why);
	fill(&peer, NULL, &rng);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		peer.mr[i] = ibv_reg_mr(rc.pd, peer.region.addr, PEER_LEN,
					ACCESS | paths[i].flag);
		if (!peer.mr[i])
			die("ibv_reg_mr: %m");
	}
	gup_fd = gup_open();
}

static void look_for_leaks(void)
{
	unsigned long long bytes;
	unsigned long objects;
	const char *why = fault_leaks(&objects, &bytes);

	if (why)
		ktap_note("%s", why);
	ktap_result(!why && !objects, "kmemleak: %lu objects of %llu bytes lost",
		    objects, bytes);
	ktap_note("ENOMEM %lu, EFAULT %lu, of functions %lu, error completions %lu, none %lu",
		  all.enomem, all.efault, all.functions, all.completions, all.survived);
	ktap_note("figure: fail-nth: sites=%lu leaks=%lu", all.sites, leaked_pins + objects);
}

int main(int argc, char **argv)
{
	const char *device = "rxe0", *only = NULL, *why;
	bool soak = false;
	int c;

	seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
	while ((c = getopt(argc, argv, "d:k:s:lB")) != -1) {
		switch (c) {
		case 'd':
			device = optarg;
			break;
		case 'k':
			only = optarg;
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'l':
			soak = true;
			break;
		case 'B':
			lose_a_pin = true;
			break;
		default:
			die("usage: phyr_failnth [-d DEVICE] [-s SEED] [-k MEMORY] [-l (longer)] [-B (lose a pin)]");
		}
	}

	ktap_start();
	ktap_note("seed=%llu", (unsigned long long)seed);
	why = fault_open();
	if (why)
		die("%s", why);
	set_up(device);
	ktap_result(fault_cache(PACKETS), "%s can be made to fail", PACKETS);
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
		ktap_result(fault_function(functions[i].name, functions[i].err),
			    "%s can be made to fail", functions[i].name);
	for (size_t i = 0; i < ARRAY_SIZE(memories); i++)
		if (only ? !strcmp(only, memories[i].name) : soak || !memories[i].by_soak_only)
			sweep_memory(&memories[i], soak);
	if (!only) {
		sweep_limited();
		look_for_leaks();
	}
	return ktap_finish();
}
