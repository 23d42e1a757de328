// SPDX-License-Identifier: GPL-2.0
/*
 * Witnesses hold what was written, whoever looks: the CPU, a pin, the device.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "gup_test.h"
#include "race.h"

void content(const struct plot *plot, size_t off, size_t len, unsigned int generation, void *to)
{
	struct rng rng = { .state = (uint64_t)generation << 40 ^ (uintptr_t)plot->addr };
	uint64_t *word = to;

	/* splitmix64 adds before it mixes: any word by its offset. */
	rng.state += off / sizeof(*word) * 0x9e3779b97f4a7c15ULL;
	for (size_t i = 0; i < len / sizeof(*word); i++)
		word[i] = rng_next(&rng);
}

bool content_is(const struct plot *plot, size_t off, size_t len, const void *buf, const char *how)
{
	static _Thread_local unsigned char want[SLICE];
	unsigned int generation = plot->slices[off / SLICE].generation;
	const unsigned char *got = buf;
	size_t at = 0;

	content(plot, off, len, generation, want);
	if (!memcmp(want, got, len))
		return true;
	while (want[at] == got[at])
		at++;
	fault("%s at offset %#zx, read by %s, holds %#x and not %#x (generation %u)",
	      plot->name, off + at, how, got[at], want[at], generation);
	return false;
}

struct slice *lock_slice(struct rng *rng, struct plot **plot, size_t *off)
{
	struct slice *slice;
	size_t i;

	*plot = &witness.plot[rng_between(rng, 0, witness.plots - 1)];
	i = rng_between(rng, 0, (*plot)->len / SLICE - 1);
	slice = &(*plot)->slices[i];
	pthread_mutex_lock(&slice->lock);
	*off = i * SLICE;
	return slice;
}

/* Through the kernel, which gets EFAULT where we would get a signal: try again
 * until the one who has moved it, or made it inaccessible, has put it back. */
static void cpu_copy(unsigned char *addr, void *buf, size_t len, bool write)
{
	for (size_t done = 0; done < len; ) {
		struct iovec here = { (char *)buf + done, len - done };
		struct iovec there = { addr + done, len - done };
		ssize_t n = write ? process_vm_writev(getpid(), &here, 1, &there, 1, 0) :
				    process_vm_readv(getpid(), &here, 1, &there, 1, 0);

		if (n > 0)
			done += n;
		else if (n < 0 && errno != EFAULT)
			return fault("process_vm_%sv: %s", write ? "write" : "read", errno_name(errno));
		else
			sched_yield();
	}
}

static void looks(struct racer *racer)
{
	static unsigned char buf[SLICE];
	struct plot *plot;
	size_t off, from, len;
	struct slice *slice = lock_slice(&racer->rng, &plot, &off);

	len = pick_len(&racer->rng, SLICE, 8);
	from = off + rng_between(&racer->rng, 0, (SLICE - len) / 8) * 8;
	cpu_copy(plot->addr + from, buf, len, false);
	content_is(plot, from, len, buf, "the CPU");
	pthread_mutex_unlock(&slice->lock);
}

struct device {
	struct rc rc;
	struct ibv_mr *mr;
	unsigned char buf[SLICE];
};

static const char *device_start(struct racer *racer)
{
	struct device *dev = calloc(1, sizeof(*dev));

	if (!dev)
		die("out of memory");
	rc_open(&dev->rc, ibv_get_device_name(race_device));
	/*
	 * Nothing gets lost here, but much is late.  With a timer, a transfer over
	 * stock rxe now and then never completed; why is not known.
	 */
	dev->rc.timeout = 0;
	rc_connect(&dev->rc, dev->rc.active_mtu);
	dev->mr = ibv_reg_mr(dev->rc.pd, dev->buf, SLICE, IBV_ACCESS_LOCAL_WRITE);
	if (!dev->mr)
		die("ibv_reg_mr: %m");
	racer->private = dev;
	return NULL;
}

static void device_finish(struct racer *racer)
{
	struct device *dev = racer->private;

	ibv_dereg_mr(dev->mr);
	rc_close(&dev->rc);
	free(dev);
}

static void show_counters(void)
{
	char path[128], line[32];
	struct dirent *entry;
	DIR *dir;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/hw_counters",
		 ibv_get_device_name(race_device));
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		f = entry->d_name[0] == '.' ? NULL : fdopen(openat(dirfd(dir), entry->d_name, O_RDONLY), "r");
		if (f && fgets(line, sizeof(line), f))
			ktap_note("  %s %lu", entry->d_name, strtoul(line, NULL, 10));
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
}

/* Between the device's own buffer and @addr, an address in @mr. */
static bool device_copy(struct racer *racer, struct ibv_mr *mr, unsigned char *addr,
			enum ibv_wr_opcode opcode)
{
	struct device *dev = racer->private;
	struct ibv_sge sge = { (uintptr_t)dev->buf, SLICE, dev->mr->lkey };
	struct ibv_send_wr *bad, wr = {
		.sg_list = &sge, .num_sge = 1, .opcode = opcode,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { (uintptr_t)addr, mr->rkey },
	};
	time_t limit = time(NULL) + 120;
	struct ibv_wc wc;
	int n;

	if (ibv_post_send(dev->rc.qp[0], &wr, &bad)) {
		fault("ibv_post_send: %m");
		return false;
	}
	while (!(n = ibv_poll_cq(dev->rc.cq[0], 1, &wc)) && time(NULL) < limit)
		sched_yield();
	if (n == 1 && wc.status == IBV_WC_SUCCESS)
		return true;
	fault("RDMA: %s", n == 1 ? ibv_wc_status_str(wc.status) : "no completion for two minutes");
	show_counters();
	return false;
}

/* One side writes, the other one reads what it wrote. */
static void rewrite(struct racer *racer, struct ibv_mr *mr, struct plot *plot,
		    struct slice *slice, size_t off)
{
	unsigned char *buf = ((struct device *)racer->private)->buf;
	unsigned char *addr = plot->addr + off;
	bool by_device = rng_next(&racer->rng) & 1;

	content(plot, off, SLICE, slice->generation + 1, buf);
	if (by_device && !device_copy(racer, mr, addr, IBV_WR_RDMA_WRITE)) {
		/* How much of it has arrived? None may be missing at the end. */
		cpu_copy(addr, buf, SLICE, true);
		slice->generation++;
		return;
	}
	if (!by_device)
		cpu_copy(addr, buf, SLICE, true);
	slice->generation++;
	memset(buf, 0, SLICE);
	if (by_device)
		cpu_copy(addr, buf, SLICE, false);
	else if (!device_copy(racer, mr, addr, IBV_WR_RDMA_READ))
		return;
	content_is(plot, off, SLICE, buf, by_device ? "the CPU" : "the device");
}

static void device(struct racer *racer)
{
	struct device *dev = racer->private;
	int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
	size_t off, before, after, most;
	struct plot *plot;
	struct slice *slice = lock_slice(&racer->rng, &plot, &off);
	struct ibv_mr *mr;

	if (chance(&racer->rng, 4))
		access |= IBV_ACCESS_PAGE_LIST;
	most = chance(&racer->rng, 8) ? plot->len : SLICE;
	before = rng_between(&racer->rng, 0, off < most ? off : most);
	after = plot->len - off - SLICE;
	after = rng_between(&racer->rng, 0, after < most ? after : most);
	mr = ibv_reg_mr(dev->rc.pd, plot->addr + off - before, before + SLICE + after, access);
	if (!mr) {
		failed(racer, "ibv_reg_mr");
	} else {
		if (device_copy(racer, mr, plot->addr + off, IBV_WR_RDMA_READ) &&
		    content_is(plot, off, SLICE, dev->buf, "the device") &&
		    rng_next(&racer->rng) & 1)
			rewrite(racer, mr, plot, slice, off);
		if (ibv_dereg_mr(mr))
			fault("ibv_dereg_mr: %m");
	}
	pthread_mutex_unlock(&slice->lock);
}

static __u32 hold_flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE | PIN_LONGTERM_TEST_FLAG_USE_FAST;

static const char *hold_start(struct racer *racer)
{
	racer->fd = open("/sys/kernel/debug/gup_test", O_RDWR | O_CLOEXEC);
	if (racer->fd < 0)
		die("/sys/kernel/debug/gup_test: %m");
	racer->private = mmap(NULL, SLICE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (racer->private == MAP_FAILED)
		die("mmap: %m");
	if (race_has_phyrs(racer->fd))
		hold_flags |= PIN_LONGTERM_TEST_FLAG_USE_PHYRS;
	return NULL;
}

/* What a pin holds, read through the pin. */
static void holds(struct racer *racer)
{
	struct pin_longterm_test test = { .size = SLICE, .flags = rng_next(&racer->rng) & hold_flags };
	__u64 buf = (uintptr_t)racer->private;
	size_t off;
	struct plot *plot;
	struct slice *slice = lock_slice(&racer->rng, &plot, &off);

	test.addr = (uintptr_t)plot->addr + off;
	if (ioctl(racer->fd, PIN_LONGTERM_TEST_START, &test)) {
		failed(racer, "PIN_LONGTERM_TEST_START");
	} else {
		if (ioctl(racer->fd, PIN_LONGTERM_TEST_READ, &buf))
			fault("PIN_LONGTERM_TEST_READ: %s", errno_name(errno));
		else
			content_is(plot, off, SLICE, racer->private,
				   test.flags & PIN_LONGTERM_TEST_FLAG_USE_PHYRS ? "a pin of ranges" :
										   "a pin of pages");
		if (ioctl(racer->fd, PIN_LONGTERM_TEST_STOP))
			fault("PIN_LONGTERM_TEST_STOP: %s", errno_name(errno));
	}
	pthread_mutex_unlock(&slice->lock);
}

size_t witnesses_check(void)
{
	size_t checked = 0;

	for (unsigned int i = 0; i < witness.plots; i++) {
		struct plot *plot = &witness.plot[i];

		for (size_t off = 0; off < plot->len; off += SLICE)
			if (content_is(plot, off, SLICE, plot->addr + off, "the CPU, at the end"))
				checked += SLICE;
	}
	return checked;
}

void witness_corrupt(struct rng *rng)
{
	struct plot *plot;
	size_t off;
	struct slice *slice = lock_slice(rng, &plot, &off);
	unsigned char byte;

	off += rng_between(rng, 0, SLICE - 1);
	cpu_copy(plot->addr + off, &byte, 1, false);
	byte ^= 1;
	cpu_copy(plot->addr + off, &byte, 1, true);
	pthread_mutex_unlock(&slice->lock);
}

struct racer witness_racers[] = {
	{ .name = "look", .once = looks, .rest = 5 },
	{
		.name = "device", .kind = REGISTERS,
		.start = device_start, .once = device, .rest = 2, .finish = device_finish,
		.excuses = {
			{ EFAULT, "just moved, or inaccessible" },
			{ ENOMEM, "couldn't be moved out of the movable zone" },
		},
	},
	{
		.name = "hold", .kind = PINS, .start = hold_start, .once = holds,
		.excuses = {
			{ EFAULT, "just moved, or inaccessible" },
			{ ENOMEM, "couldn't be moved out of the movable zone" },
		},
	},
};
const size_t witness_racers_nr = ARRAY_SIZE(witness_racers);
