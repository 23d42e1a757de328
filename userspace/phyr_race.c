// SPDX-License-Identifier: GPL-2.0
/*
 * Pins and unpins, registers and deregisters memory while other threads change how
 * it is mapped and where it lies. A pin may fail for want of memory or access; what
 * may not happen is that one is lost or given back twice, that it holds another
 * page than the one that is mapped, or that bytes change which nobody wrote.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "race.h"

/* Without a call coming back for so long, a racer hangs; -w. */
static unsigned long stuck_seconds = 240;

struct ibv_device *race_device;
struct ibv_pd *race_pd;
atomic_bool race_over;
atomic_uint race_faults;

static struct racer *racers[32];
static size_t racers_nr;

void fault(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* The first ones tell what has happened. */
	if (atomic_fetch_add(&race_faults, 1) < 20)
		ktap_note("FAULT: %s", text);
	atomic_store(&race_over, true);
}

void failed(struct racer *racer, const char *call)
{
	int err = errno;

	racer->vain++;
	for (int i = 0; i < MAX_EXCUSES && racer->excuses[i].err; i++) {
		if (racer->excuses[i].err == err) {
			racer->excused[i]++;
			return;
		}
	}
	fault("%s: %s: unexpected %s", racer->name, call, errno_name(err));
}

static uint64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

static void rest(uint64_t us)
{
	for (uint64_t nap; us && !atomic_load(&race_over); us -= nap) {
		nap = us < 100000 ? us : 100000;
		usleep(nap);
	}
}

static void *run(void *arg)
{
	struct racer *racer = arg;

	racer->tid = gettid();
	while (!atomic_load(&race_over)) {
		uint64_t us = clock_us(CLOCK_THREAD_CPUTIME_ID);

		racer->once(racer);
		atomic_fetch_add(&racer->done, 1);
		us = clock_us(CLOCK_THREAD_CPUTIME_ID) - us;
		racer->cpu_us += us;
		rest(us * racer->rest);
	}
	return NULL;
}

static void add_racers(struct racer *some, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++) {
		struct racer *racer = &some[i];

		racer->rng = rng_named(seed, racer->name);
		racer->absent = racer->start ? racer->start(racer) : NULL;
		racers[racers_nr++] = racer;
	}
}

static unsigned long operations(void)
{
	unsigned long sum = 0;

	for (size_t i = 0; i < racers_nr; i++)
		sum += atomic_load(&racers[i]->done);
	return sum;
}

static void show(pid_t tid, const char *file)
{
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, file);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		ktap_note("    %s", line);
	}
	if (f)
		fclose(f);
}

/* A thread that hangs can't be joined: say where it is, and leave the rest to the runner. */
static void end_stuck(const struct racer *racer, unsigned long seconds)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

	printf("Bail out! %s has been in one call for %lu s\n", racer->name, seconds);
	for (size_t i = 0; i < racers_nr; i++) {
		if (racers[i]->absent)
			continue;
		ktap_note("  %s, %lu calls:", racers[i]->name, atomic_load(&racers[i]->done));
		show(racers[i]->tid, "syscall");
		show(racers[i]->tid, "stack");
	}
	ktap_note("blocked tasks are on the console");
	if (fd < 0 || write(fd, "w", 1) != 1)
		ktap_note("or would be, if /proc/sysrq-trigger let us: %s", errno_name(errno));
	_exit(2);
}

/* Until there were @ops calls or @seconds are over, or something is wrong. */
static time_t watch(unsigned long seconds, unsigned long ops)
{
	struct { unsigned long done; time_t since; } last[ARRAY_SIZE(racers)];
	time_t start = clock_us(CLOCK_MONOTONIC) / 1000000, t = start, told = start;

	for (size_t i = 0; i < racers_nr; i++)
		last[i].done = -1UL;
	while (!atomic_load(&race_over)) {
		usleep(200000);
		t = clock_us(CLOCK_MONOTONIC) / 1000000;
		if ((seconds && t - start >= (time_t)seconds) || (ops && operations() >= ops))
			break;
		for (size_t i = 0; i < racers_nr; i++) {
			unsigned long done = atomic_load(&racers[i]->done);

			if (racers[i]->absent)
				continue;
			if (done != last[i].done) {
				last[i].done = done;
				last[i].since = t;
			} else if (t - last[i].since > (time_t)stuck_seconds) {
				end_stuck(racers[i], t - last[i].since);
			}
		}
		if (t - told >= 60) {
			ktap_note("%ld s: %lu operations", (long)(t - start), operations());
			told = t;
		}
	}
	return t - start;
}

static void report(const struct racer *racer)
{
	unsigned long done = atomic_load(&racer->done);

	if (racer->absent) {
		ktap_skip(racer->absent, "%s raced", racer->name);
		return;
	}
	ktap_result(done > racer->vain, "%s raced: %lu times, %lu of them in vain (%.1f s of CPU)",
		    racer->name, done, racer->vain, racer->cpu_us / 1e6);
	for (int i = 0; i < MAX_EXCUSES && racer->excuses[i].err; i++)
		if (racer->excused[i])
			ktap_note("  %lu times %s: %s", racer->excused[i],
				  errno_name(racer->excuses[i].err), racer->excuses[i].why);
}

static unsigned long of_kind(enum racer_kind kind)
{
	unsigned long sum = 0;

	for (size_t i = 0; i < racers_nr; i++)
		if (racers[i]->kind == kind)
			sum += atomic_load(&racers[i]->done);
	return sum;
}

static struct ibv_device *device_named(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);

	for (int i = 0; list && list[i]; i++)
		if (!strcmp(ibv_get_device_name(list[i]), name))
			return list[i];
	die("no RDMA device %s", name);
}

static void usage(void)
{
	die("usage: phyr_race [-d DEVICE] [-s SEED] [-w SECONDS] [-B byte|pin] {-t SECONDS|-n OPERATIONS}...\n"
	    "  ends after SECONDS or OPERATIONS, whichever comes first\n"
	    "  -w  how long a call may take (240 s): compacting all memory takes minutes on a busy host\n"
	    "  -B  spoil a byte or keep a pin: must be noticed");
}

int main(int argc, char **argv)
{
	unsigned long seconds = 0, ops = 0, left, pins, regs;
	uint64_t seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
	const char *device = "rxe0", *spoil = "";
	struct pin_counters before, after;
	time_t took;
	size_t i;
	int c;

	while ((c = getopt(argc, argv, "d:t:n:s:w:B:")) != -1) {
		switch (c) {
		case 'd':
			device = optarg;
			break;
		case 't':
			seconds = strtoul(optarg, NULL, 0);
			break;
		case 'n':
			ops = strtoul(optarg, NULL, 0);
			break;
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'w':
			stuck_seconds = strtoul(optarg, NULL, 0);
			break;
		case 'B':
			spoil = optarg;
			break;
		default:
			usage();
		}
	}
	if (!seconds && !ops)
		usage();

	ktap_start();
	ktap_note("seed=%llu seconds=%lu operations=%lu", (unsigned long long)seed, seconds, ops);
	race_device = device_named(device);
	race_pd = ibv_alloc_pd(device_open(device));
	if (!race_pd)
		die("ibv_alloc_pd: %m");
	fields_create(seed, !access("/sys/kernel/mm/hugepages/hugepages-2048kB", F_OK));
	before = pin_counters_read();
	add_racers(pin_racers, pin_racers_nr, seed);
	add_racers(witness_racers, witness_racers_nr, seed);
	add_racers(map_racers, map_racers_nr, seed);
	add_racers(poison_racers, poison_racers_nr, seed);

	for (i = 0; i < racers_nr; i++)
		if (!racers[i]->absent && pthread_create(&racers[i]->thread, NULL, run, racers[i]))
			die("pthread_create");
	took = watch(seconds, ops);
	atomic_store(&race_over, true);
	if (!strcmp(spoil, "byte"))
		witness_corrupt(&(struct rng){ seed });
	for (i = 0; i < racers_nr; i++)
		if (!racers[i]->absent)
			pthread_join(racers[i]->thread, NULL);
	for (i = 0; i < racers_nr; i++) {
		if (!racers[i]->absent && racers[i]->finish && strcmp(spoil, "pin"))
			racers[i]->finish(racers[i]);
		report(racers[i]);
	}
	after = pin_counters_read();

	left = atomic_load(&race_faults);
	ktap_result(!left, "nothing unexpected: %lu faults", left);
	i = witnesses_check();
	ktap_result(i == witness.len, "%zu bytes of %zu are as they were written", i, witness.len);
	left = unpoison_all();
	ktap_result(!left, "poisoned pages are back in use, but for %lu", left);
	ktap_result(after.acquired - before.acquired == after.released - before.released,
		    "every pin was given back: %llu of %llu",
		    (unsigned long long)(after.released - before.released),
		    (unsigned long long)(after.acquired - before.acquired));
	ktap_result(!vmpin_kb(), "nothing is accounted as pinned");
	pins = of_kind(PINS);
	regs = of_kind(REGISTERS);
	ops = operations();
	ktap_note("ops=%lu pins=%lu registrations=%lu share=%lu%% seconds=%ld seed=%llu", ops,
		  pins, regs, (pins + regs) * 100 / (ops ? ops : 1), (long)took,
		  (unsigned long long)seed);
	return ktap_finish();
}
