// SPDX-License-Identifier: GPL-2.0
/*
 * Registers and deregisters parts of an area while other threads change how it is
 * mapped: fork() write-protects it in the middle of a pin, pages are thrown away,
 * split out of hugepages, collapsed into them and made inaccessible. A
 * registration may fail for want of access; what may not happen is that a pin is
 * lost or given back twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"
#include "rc.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define AREA (4 * PAGE_2M)

static unsigned char *area;
static struct ibv_pd *pd;
static int zero;
static uint64_t seed;
static atomic_bool stop;

static struct racer {
	const char *name;
	void (*once)(struct racer *racer);
	struct rng rng;
	pthread_t thread;
	unsigned long done, failed;
} racers[];

/* A part of the area, page aligned if it has to be. */
static unsigned char *part(struct rng *rng, size_t most, size_t align, size_t *len)
{
	size_t start = rng_between(rng, 0, AREA / align - 1) * align;

	*len = rng_between(rng, 1, most / align) * align;
	if (*len > AREA - start)
		*len = AREA - start;
	return area + start;
}

static void reg(struct racer *racer)
{
	int access = rng_next(&racer->rng) & 1 ? IBV_ACCESS_LOCAL_WRITE : 0;
	struct ibv_mr *mr;
	unsigned char *p;
	size_t len;

	if (!(rng_next(&racer->rng) & 7))
		access |= IBV_ACCESS_PAGE_LIST;
	p = part(&racer->rng, rng_next(&racer->rng) & 1 ? 64 * KiB : AREA, 1, &len);
	mr = ibv_reg_mr(pd, p, len, access);
	if (!mr) {
		/* Inaccessible, or an unlucky migration. */
		if (errno != EFAULT && errno != ENOMEM && errno != EBUSY)
			die("ibv_reg_mr: %s", errno_name(errno));
		racer->failed++;
		return;
	}
	if (ibv_dereg_mr(mr))
		die("ibv_dereg_mr: %s", errno_name(errno));
}

static void forks(struct racer *racer)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	if (pid < 0) {
		racer->failed++;
		return;
	}
	waitpid(pid, NULL, 0);
}

static void touches(struct racer *racer)
{
	size_t len;
	unsigned char *p = part(&racer->rng, 64 * PAGE_4K, PAGE_4K, &len);

	/* The kernel writes: a page that is inaccessible just now is no crash. */
	for (; len; len -= PAGE_4K, p += PAGE_4K)
		if (read(zero, p, 1) != 1)
			racer->failed++;
}

static void advises(struct racer *racer)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_COLLAPSE, MADV_PAGEOUT, MADV_COLD,
	};
	int a = advice[rng_between(&racer->rng, 0, ARRAY_SIZE(advice) - 1)];
	size_t len;
	unsigned char *p = part(&racer->rng, 32 * PAGE_4K, PAGE_4K, &len);

	if (a == MADV_COLLAPSE) {
		p = area + rng_between(&racer->rng, 0, AREA / PAGE_2M - 1) * PAGE_2M;
		len = PAGE_2M;
	}
	/* Pinned pages stay where they are, so failing is in order. */
	if (madvise(p, len, a))
		racer->failed++;
}

static void protects(struct racer *racer)
{
	static const int prot[] = { PROT_NONE, PROT_READ };
	size_t len;
	unsigned char *p = part(&racer->rng, 8 * PAGE_4K, PAGE_4K, &len);

	if (mprotect(p, len, prot[rng_next(&racer->rng) & 1]) ||
	    mprotect(p, len, PROT_READ | PROT_WRITE))
		racer->failed++;
}

static struct racer racers[] = {
	{ .name = "reg", .once = reg }, { .name = "reg2", .once = reg },
	{ .name = "fork", .once = forks }, { .name = "touch", .once = touches },
	{ .name = "advise", .once = advises }, { .name = "protect", .once = protects },
};

static void *run(void *arg)
{
	struct racer *racer = arg;

	while (!atomic_load(&stop)) {
		racer->once(racer);
		racer->done++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned long seconds = 10, ops = 0;
	const char *device = "rxe0";
	struct pin_counters before, after;
	struct rng rng;
	size_t i;
	int c;

	seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
	while ((c = getopt(argc, argv, "d:t:s:")) != -1) {
		switch (c) {
		case 'd':
			device = optarg;
			break;
		case 't':
			seconds = strtoul(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		default:
			die("usage: phyr_race [-d DEVICE] [-t SECONDS] [-s SEED]");
		}
	}

	ktap_start();
	ktap_note("seed=%llu seconds=%lu", (unsigned long long)seed, seconds);
	pd = ibv_alloc_pd(device_open(device));
	if (!pd)
		die("ibv_alloc_pd: %m");
	zero = open("/dev/zero", O_RDONLY);
	if (zero < 0)
		die("/dev/zero: %m");
	area = mmap(NULL, AREA + PAGE_2M, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		die("mmap: %m");
	area = (unsigned char *)(((uintptr_t)area + PAGE_2M - 1) & ~(PAGE_2M - 1));
	if (madvise(area, AREA / 2, MADV_HUGEPAGE) ||
	    madvise(area + AREA / 2, AREA / 2, MADV_NOHUGEPAGE))
		die("madvise: %m");
	rng = rng_named(seed, "fill");
	rng_fill(&rng, area, AREA);

	before = pin_counters_read();
	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		racers[i].rng = rng_named(seed + i, racers[i].name);
		if (pthread_create(&racers[i].thread, NULL, run, &racers[i]))
			die("pthread_create");
	}
	sleep(seconds);
	atomic_store(&stop, true);
	for (i = 0; i < ARRAY_SIZE(racers); i++)
		pthread_join(racers[i].thread, NULL);
	after = pin_counters_read();

	for (i = 0; i < ARRAY_SIZE(racers); i++) {
		ops += racers[i].done;
		ktap_result(racers[i].done > racers[i].failed,
			    "%s raced: %lu times, %lu of them in vain",
			    racers[i].name, racers[i].done, racers[i].failed);
	}
	ktap_note("figure: race: ops=%lu pins=%llu", ops,
		  (unsigned long long)(after.acquired - before.acquired));
	ktap_result(after.acquired - before.acquired ==
		    after.released - before.released, "every pin was given back");
	ktap_result(!vmpin_kb(), "nothing is accounted as pinned");
	return ktap_finish();
}
