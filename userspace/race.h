/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of phyr_race share. Racers are threads that do one thing to one
 * of two fields of memory, over and over:
 *
 *   raced    whatever is in it may be lost: unmapped, thrown away, written over
 *   witness  changed in how it is mapped and where it lies, but its bytes have to
 *            stay, a function of their offset and of how often they were rewritten
 *
 * and to a small field of its own that is poisoned. A field is a row of plots, one
 * for each kind of memory, so that a span of a field may cross from kind to kind.
 */
#ifndef PHYR_RACE_H
#define PHYR_RACE_H

#include <pthread.h>
#include <stdatomic.h>

#include "memory.h"
#include "rc.h"

enum plot_kind { PLOT_THP, PLOT_SMALL, PLOT_SHMEM, PLOT_HUGETLB };

/* Witnesses are compared and rewritten in slices, each under its lock. */
#define SLICE (64 * KiB)

struct slice {
	pthread_mutex_t lock;
	unsigned int generation;
};

struct plot {
	const char *name;
	enum plot_kind kind;
	bool witness;
	unsigned char *addr;
	size_t len;
	/* What a part must be aligned to. */
	size_t grain;
	int fd;
	/* Whoever changes how a witness is mapped puts it back before another may. */
	pthread_mutex_t layout;
	struct slice *slices;
};

struct field {
	unsigned char *addr;
	size_t len;
	struct plot plot[4];
	unsigned int plots;
};

extern struct field raced, witness;
extern unsigned char *poisoned;
#define POISONED_LEN (256 * KiB)

/* An errno that a racer may get, and why that is in order. */
struct excuse {
	int err;
	const char *why;
};

#define MAX_EXCUSES 8

enum racer_kind { MAPS, PINS, REGISTERS };

struct racer {
	const char *name;
	enum racer_kind kind;
	/* Returns NULL, or why it can't race here. */
	const char *(*start)(struct racer *racer);
	void (*once)(struct racer *racer);
	void (*finish)(struct racer *racer);
	struct excuse excuses[MAX_EXCUSES];
	/* After a call, as many times the CPU time that it took: a dear one may not
	 * starve all others, on a slow kernel least of all. */
	unsigned int rest;

	struct rng rng;
	pthread_t thread;
	pid_t tid;
	const char *absent;
	atomic_ulong done;
	unsigned long vain;
	uint64_t cpu_us;
	unsigned long excused[MAX_EXCUSES];
	int fd;
	void *private;
};

extern struct racer pin_racers[], map_racers[], poison_racers[], witness_racers[];
extern const size_t pin_racers_nr, map_racers_nr, poison_racers_nr, witness_racers_nr;

extern struct ibv_device *race_device;
extern struct ibv_pd *race_pd;
extern atomic_bool race_over;
extern atomic_uint race_faults;

/* Something is wrong: says so, and ends the race. */
__attribute__((format(printf, 1, 2)))
void fault(const char *fmt, ...);
/* @call failed with errno: in vain if the racer has an excuse, else a fault. */
void failed(struct racer *racer, const char *call);
static inline bool chance(struct rng *rng, unsigned int one_in)
{
	return rng_next(rng) % one_in == 0;
}
/* Most lengths are short, and some are as long as @most. */
size_t pick_len(struct rng *rng, size_t most, size_t align);

/* race_field.c */
void fields_create(uint64_t seed, bool hugetlb);
/* Maps a part of a plot of the raced field anew. */
bool plot_map(const struct plot *plot, unsigned char *at, size_t len);
struct plot *pick_plot(struct rng *rng, bool witnesses_too);
/* A part of a plot in grains, at most @most bytes unless a grain is more. */
unsigned char *pick_part(struct rng *rng, const struct plot *plot, size_t most, size_t *len);
/* A span of any field, that may cross plots. */
unsigned char *pick_span(struct rng *rng, size_t most, size_t align, size_t *len);

/* race_witness.c */
void content(const struct plot *plot, size_t off, size_t len, unsigned int generation, void *to);
/* Compares @buf with what @plot should hold at @off; the slice is locked. */
bool content_is(const struct plot *plot, size_t off, size_t len, const void *buf, const char *how);
struct slice *lock_slice(struct rng *rng, struct plot **plot, size_t *off);
/* All of it, by the CPU, when no racer runs any more; returns the bytes. */
size_t witnesses_check(void);
void witness_corrupt(struct rng *rng);

/* race_pins.c: does gup_test, open as @fd, know of ranges? */
bool race_has_phyrs(int fd);

/* race_poison.c: pages still poisoned after bringing back all that can be. */
unsigned long unpoison_all(void);

#endif
