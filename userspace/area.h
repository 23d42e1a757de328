/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An area is a region, two MRs over the same odd-edged part of it, and a shadow:
 * plain memory that holds what the region should hold. A test fills both with the
 * same bytes, lets the device change the region, makes the same change to the
 * shadow, and compares. What was never filled is zero in both.
 *
 * Offsets of a test count from the MR's first byte.
 */
#ifndef PHYR_AREA_H
#define PHYR_AREA_H

#include "memory.h"
#include "rc.h"

#define MAX_SEGMENTS 8
/* Bytes on either side of a span that must keep what they hold. */
#define GUARD 512

struct area {
	struct region region;
	unsigned char *shadow;
	size_t mr_off;
	size_t mr_len;
	/* mr[0] has its own address as IOVA, mr[1] another one. */
	struct ibv_mr *mr[2];
	uint64_t iova[2];
};

/* One end of a transfer: pieces of an area in the order they are used. */
struct span {
	struct area *area;
	int which;
	unsigned int n;
	struct {
		size_t off;
		size_t len;
	} seg[MAX_SEGMENTS];
	/* The least and the first greater offset that the pieces touch. */
	size_t lo;
	size_t hi;
};

const char *area_create(struct area *a, const char *kind, size_t len,
			size_t mr_off, size_t mr_len, struct rng *rng);
/* Registers both MRs; returns 0 or the errno. */
int area_register(struct area *a, struct ibv_pd *pd, int access, struct rng *rng);
void area_deregister(struct area *a);
void area_destroy(struct area *a);

/* Compares all of the region; returns the offset of a difference, or -1. */
long long area_first_difference(const struct area *a);

size_t pick_length(struct rng *rng, size_t max);
/* Where @len bytes go: mostly across a page border, or at an end of the MR. */
size_t pick_offset(const struct area *a, struct rng *rng, size_t len);

/* @len bytes of @a in up to @max_segments pieces, newly filled, guards included. */
struct span span_pick(struct area *a, struct rng *rng, size_t len,
		      unsigned int max_segments);
uint64_t span_addr(const struct span *s, unsigned int seg);
unsigned int span_sges(const struct span *s, struct ibv_sge *sge);
/* The shadow of the transfer of @len bytes from @src to @dst. */
void span_copy_shadow(const struct span *dst, const struct span *src);
/* True if the span and its guards hold what the shadow says. */
bool span_intact(const struct span *s);
/* Puts a wrong byte into the span, to prove that it will be seen. */
void span_corrupt(const struct span *s, struct rng *rng);

#endif
