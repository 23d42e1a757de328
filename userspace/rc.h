/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two RC queue pairs in one process, connected to each other through a device.
 * Side 0 posts the requests and side 1 is the target, by habit and not by rule.
 */
#ifndef PHYR_RC_H
#define PHYR_RC_H

#include <infiniband/verbs.h>

#include "common.h"

#ifndef IBV_ACCESS_PAGE_LIST
/* The last bit of the optional range: register through the page array. */
#define IBV_ACCESS_PAGE_LIST (1 << 29)
#endif

#define RC_QUEUE_DEPTH 32

struct rdma_cm_id;

struct rc {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq[2];
	struct ibv_qp *qp[2];
	int max_sge;
	int max_sge_rd;
	bool atomic_write;
	bool flush;
	bool windows;
	union ibv_gid gid;
	int gid_index;
	enum ibv_mtu active_mtu;
	/* Of the QPs, in IB's encoding; 0 is never. */
	int timeout;
	/* Of a connection by rdma_cm: where, and side 0, side 1 and the listener. */
	const char *address;
	struct rdma_cm_id *id[3];
};

struct ibv_context *device_open(const char *name);

void rc_open(struct rc *rc, const char *device);
/* To be connected by rdma_cm, at an IPv4 address of the device: iWARP wants that. */
void rc_open_cm(struct rc *rc, const char *device, const char *address);
/* A new pair of QPs in the place of the old one, if there was one. */
void rc_connect(struct rc *rc, enum ibv_mtu mtu);
void rc_close(struct rc *rc);

/* rc_cm.c, for rc.c alone */
struct ibv_context *rc_cm_device(const char *name);
void rc_cm_connect(struct rc *rc);
void rc_cm_disconnect(struct rc *rc);

/* The next completion on @side; dies if there is none for ten seconds. */
struct ibv_wc rc_wait(struct rc *rc, int side);

#endif
