/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What every guest program shares: fatal errors, KTAP lines, random numbers
 * that can be replayed, errno names, and the kernel's pin counters.
 */
#ifndef PHYR_COMMON_H
#define PHYR_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KiB (1ULL << 10)
#define MiB (1ULL << 20)
#define GiB (1ULL << 30)

#define PAGE_4K (4 * KiB)
#define PAGE_64K (64 * KiB)
#define PAGE_2M (2 * MiB)
#define PAGE_1G (1 * GiB)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

__attribute__((noreturn, format(printf, 1, 2)))
void die(const char *fmt, ...);

/* "EFAULT" for EFAULT; "0" for no error. */
const char *errno_name(int err);

/* splitmix64: a whole generator in eight bytes, so a seed is all of its state. */
struct rng {
	uint64_t state;
};

/* A generator of its own for one named part of a run with @seed. */
struct rng rng_named(uint64_t seed, const char *name);
uint64_t rng_next(struct rng *rng);
/* Uniform in [lo, hi], both ends included. */
uint64_t rng_between(struct rng *rng, uint64_t lo, uint64_t hi);
void rng_fill(struct rng *rng, void *buf, size_t len);

/* KTAP: tests are numbered as they come, the plan is printed at the end. */
void ktap_start(void);
__attribute__((format(printf, 2, 3)))
void ktap_result(bool pass, const char *fmt, ...);
__attribute__((format(printf, 2, 3)))
void ktap_skip(const char *reason, const char *fmt, ...);
__attribute__((format(printf, 1, 2)))
void ktap_note(const char *fmt, ...);
/* Prints the plan; returns the exit status: 0, or 1 if a test failed. */
int ktap_finish(void);

/* Long-term pins the kernel has taken and given back since boot. */
struct pin_counters {
	uint64_t acquired;
	uint64_t released;
};

/* Needs root: per-CPU remainders are folded in before reading. */
struct pin_counters pin_counters_read(void);

/* Pins taken since @before and not yet given back. */
uint64_t pins_held_since(struct pin_counters before);

/* VmPin of this process, in kB. */
uint64_t vmpin_kb(void);

#endif
