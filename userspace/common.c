// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

void die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

const char *errno_name(int err)
{
	const char *name = err ? strerrorname_np(err) : "0";

	return name ? name : "unknown";
}

uint64_t rng_next(struct rng *rng)
{
	uint64_t z = (rng->state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

struct rng rng_named(uint64_t seed, const char *name)
{
	struct rng rng = { .state = seed };

	for (; *name; name++)
		rng.state = rng_next(&rng) ^ (unsigned char)*name;
	return rng;
}

uint64_t rng_between(struct rng *rng, uint64_t lo, uint64_t hi)
{
	uint64_t span = hi - lo + 1;

	return span ? lo + rng_next(rng) % span : rng_next(rng);
}

void rng_fill(struct rng *rng, void *buf, size_t len)
{
	unsigned char *p = buf;

	for (; len; ) {
		uint64_t word = rng_next(rng);
		size_t n = len < sizeof(word) ? len : sizeof(word);

		memcpy(p, &word, n);
		p += n;
		len -= n;
	}
}

static struct {
	unsigned int count;
	unsigned int failed;
} ktap;

void ktap_start(void)
{
	/* A killed program must not lose the lines it has printed. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("KTAP version 1");
}

void ktap_result(bool pass, const char *fmt, ...)
{
	va_list ap;

	ktap.count++;
	ktap.failed += !pass;
	printf("%s %u ", pass ? "ok" : "not ok", ktap.count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void ktap_skip(const char *reason, const char *fmt, ...)
{
	va_list ap;

	printf("ok %u ", ++ktap.count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" # SKIP %s\n", reason);
}

void ktap_note(const char *fmt, ...)
{
	va_list ap;

	fputs("# ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

int ktap_finish(void)
{
	printf("1..%u\n", ktap.count);
	return ktap.failed ? 1 : 0;
}

struct pin_counters pin_counters_read(void)
{
	struct pin_counters pins = { 0 };
	char line[128];
	FILE *f;

	f = fopen("/proc/sys/vm/stat_refresh", "w");
	if (!f || fputs("1\n", f) < 0 || fclose(f))
		die("can't refresh the VM statistics: %m");

	f = fopen("/proc/vmstat", "r");
	if (!f)
		die("/proc/vmstat: %m");
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "nr_foll_pin_acquired %" SCNu64, &pins.acquired);
		sscanf(line, "nr_foll_pin_released %" SCNu64, &pins.released);
	}
	fclose(f);
	return pins;
}

uint64_t pins_held_since(struct pin_counters before)
{
	struct pin_counters now = pin_counters_read();

	return (now.acquired - before.acquired) - (now.released - before.released);
}

uint64_t vmpin_kb(void)
{
	uint64_t kb = 0;
	char line[128];
	FILE *f = fopen("/proc/self/status", "r");

	if (!f)
		die("/proc/self/status: %m");
	while (fgets(line, sizeof(line), f))
		sscanf(line, "VmPin: %" SCNu64, &kb);
	fclose(f);
	return kb;
}
