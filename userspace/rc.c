// SPDX-License-Identifier: GPL-2.0
#include <sched.h>
#include <string.h>
#include <time.h>

#include "rc.h"

/* Bits of device_cap_flags_ex that verbs.h of rdma-core 56 has no name for. */
#define CAP_FLUSH_GLOBAL (1ULL << 38)
#define CAP_ATOMIC_WRITE (1ULL << 40)

/* The debug kernel on a busy host takes more than 10 for a few MB. */
#define WAIT_SECONDS 120

struct ibv_context *device_open(const char *name)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *ctx = NULL;

	for (int i = 0; list && list[i]; i++) {
		if (!strcmp(ibv_get_device_name(list[i]), name)) {
			ctx = ibv_open_device(list[i]);
			break;
		}
	}
	if (!ctx)
		die("can't open RDMA device %s", name);
	ibv_free_device_list(list);
	return ctx;
}

/* The last GID is the most routable one: link-local comes first on rxe. */
static void find_gid(struct rc *rc, int entries)
{
	static const union ibv_gid none;

	rc->gid_index = -1;
	for (int i = 0; i < entries; i++) {
		union ibv_gid gid;

		if (!ibv_query_gid(rc->ctx, 1, i, &gid) &&
		    memcmp(&gid, &none, sizeof(gid))) {
			rc->gid = gid;
			rc->gid_index = i;
		}
	}
	if (rc->gid_index < 0)
		die("port 1 has no GID");
}

static void set_up(struct rc *rc, const char *device)
{
	struct ibv_device_attr_ex attr;
	struct ibv_port_attr port;

	if (ibv_query_device_ex(rc->ctx, NULL, &attr))
		die("ibv_query_device_ex: %m");
	if (ibv_query_port(rc->ctx, 1, &port))
		die("ibv_query_port: %m");
	if (port.state != IBV_PORT_ACTIVE)
		die("port 1 of %s is %s", device, ibv_port_state_str(port.state));
	rc->active_mtu = port.active_mtu;
	rc->timeout = 17;
	if (!rc->address)
		find_gid(rc, port.gid_tbl_len);

	rc->max_sge = attr.orig_attr.max_sge;
	rc->max_sge_rd = attr.orig_attr.max_sge_rd;
	rc->atomic_write = attr.device_cap_flags_ex & CAP_ATOMIC_WRITE;
	rc->flush = attr.device_cap_flags_ex & CAP_FLUSH_GLOBAL;
	rc->windows = attr.orig_attr.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B;

	rc->pd = ibv_alloc_pd(rc->ctx);
	if (!rc->pd)
		die("ibv_alloc_pd: %m");
	for (int i = 0; i < 2; i++) {
		rc->cq[i] = ibv_create_cq(rc->ctx, 4 * RC_QUEUE_DEPTH, NULL, NULL, 0);
		if (!rc->cq[i])
			die("ibv_create_cq: %m");
	}
}

void rc_open(struct rc *rc, const char *device)
{
	*rc = (struct rc) { .ctx = device_open(device) };
	set_up(rc, device);
}

void rc_open_cm(struct rc *rc, const char *device, const char *address)
{
	*rc = (struct rc) { .ctx = rc_cm_device(device), .address = address };
	set_up(rc, device);
}

static struct ibv_qp *create_qp(struct rc *rc, struct ibv_cq *cq)
{
	struct ibv_qp_init_attr_ex init = {
		.send_cq = cq,
		.recv_cq = cq,
		.cap = {
			.max_send_wr = RC_QUEUE_DEPTH,
			.max_recv_wr = RC_QUEUE_DEPTH,
			.max_send_sge = rc->max_sge,
			.max_recv_sge = rc->max_sge,
		},
		.qp_type = IBV_QPT_RC,
		.sq_sig_all = 1,
		.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS,
		.pd = rc->pd,
		.send_ops_flags = IBV_QP_EX_WITH_RDMA_WRITE,
	};
	struct ibv_qp *qp;

	if (rc->atomic_write)
		init.send_ops_flags |= IBV_QP_EX_WITH_ATOMIC_WRITE;
	if (rc->flush)
		init.send_ops_flags |= IBV_QP_EX_WITH_FLUSH;
	qp = ibv_create_qp_ex(rc->ctx, &init);
	if (!qp)
		die("ibv_create_qp_ex: %m");
	return qp;
}

static void modify_qp(struct rc *rc, int side, enum ibv_mtu mtu)
{
	struct ibv_qp_attr attr = {
		.qp_state = IBV_QPS_INIT,
		.port_num = 1,
		.qp_access_flags = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ |
				   IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC,
	};

	if (rc->flush)
		attr.qp_access_flags |= IBV_ACCESS_FLUSH_GLOBAL | IBV_ACCESS_FLUSH_PERSISTENT;
	if (ibv_modify_qp(rc->qp[side], &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
			  IBV_QP_PORT | IBV_QP_ACCESS_FLAGS))
		die("QP to INIT: %m");

	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTR,
		.path_mtu = mtu,
		.dest_qp_num = rc->qp[!side]->qp_num,
		.max_dest_rd_atomic = 16,
		.min_rnr_timer = 12,
		.ah_attr = {
			.is_global = 1,
			.port_num = 1,
			.grh = {
				.dgid = rc->gid,
				.sgid_index = rc->gid_index,
				.hop_limit = 1,
			},
		},
	};
	if (ibv_modify_qp(rc->qp[side], &attr, IBV_QP_STATE | IBV_QP_AV |
			  IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
			  IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER))
		die("QP to RTR: %m");

	attr = (struct ibv_qp_attr) {
		.qp_state = IBV_QPS_RTS,
		.timeout = rc->timeout,
		.retry_cnt = 7,
		.rnr_retry = 7,
		.max_rd_atomic = 16,
	};
	if (ibv_modify_qp(rc->qp[side], &attr, IBV_QP_STATE | IBV_QP_TIMEOUT |
			  IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
			  IBV_QP_MAX_QP_RD_ATOMIC))
		die("QP to RTS: %m");
}

static void destroy_qps(struct rc *rc)
{
	rc_cm_disconnect(rc);
	for (int i = 0; i < 2; i++) {
		struct ibv_wc wc;

		if (rc->qp[i] && ibv_destroy_qp(rc->qp[i]))
			die("ibv_destroy_qp: %m");
		rc->qp[i] = NULL;
		while (ibv_poll_cq(rc->cq[i], 1, &wc) > 0)
			;
	}
}

void rc_connect(struct rc *rc, enum ibv_mtu mtu)
{
	destroy_qps(rc);
	if (rc->address) {
		rc_cm_connect(rc);
		return;
	}
	for (int i = 0; i < 2; i++)
		rc->qp[i] = create_qp(rc, rc->cq[i]);
	for (int i = 0; i < 2; i++)
		modify_qp(rc, i, mtu);
}

void rc_close(struct rc *rc)
{
	destroy_qps(rc);
	for (int i = 0; i < 2; i++)
		ibv_destroy_cq(rc->cq[i]);
	if (ibv_dealloc_pd(rc->pd))
		die("ibv_dealloc_pd: %m");
	if (!rc->address)
		ibv_close_device(rc->ctx);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec * 1e-9;
}

struct ibv_wc rc_wait(struct rc *rc, int side)
{
	double deadline = now() + WAIT_SECONDS;
	struct ibv_wc wc;
	int n;

	for (;;) {
		n = ibv_poll_cq(rc->cq[side], 1, &wc);
		if (n < 0)
			die("ibv_poll_cq failed");
		if (n)
			return wc;
		if (now() > deadline)
			die("no completion on side %d for %d s", side, WAIT_SECONDS);
		/* rxe works in a kernel thread, which may want this very CPU. */
		sched_yield();
	}
}
