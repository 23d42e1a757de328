// SPDX-License-Identifier: GPL-2.0
/*
 * The pair of QPs connected by rdma_cm, which is the only way on iWARP: there a QP
 * is a TCP connection, and who has the address knows the device.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <rdma/rdma_cma.h>

#include "rc.h"

#define CM_TIMEOUT_MS 5000
#define READ_DEPTH 16

/* librdmacm has contexts of its own, and its QPs want a PD of the same. */
struct ibv_context *rc_cm_device(const char *name)
{
	struct ibv_context **list = rdma_get_devices(NULL), *ctx = NULL;

	for (int i = 0; list && list[i]; i++)
		if (!strcmp(ibv_get_device_name(list[i]->device), name))
			ctx = list[i];
	if (!ctx)
		die("rdma_cm knows no RDMA device %s", name);
	rdma_free_devices(list);
	return ctx;
}

static struct rdma_cm_id *create_id(void)
{
	struct rdma_event_channel *channel = rdma_create_event_channel();
	struct rdma_cm_id *id;

	if (!channel || rdma_create_id(channel, &id, NULL, RDMA_PS_TCP))
		die("rdma_create_id: %m");
	return id;
}

/* Waits for the next event of @id's channel; returns the ID that it is about. */
static struct rdma_cm_id *expect(struct rdma_cm_id *id, enum rdma_cm_event_type want)
{
	struct rdma_cm_event *event;
	struct rdma_cm_id *about;

	if (rdma_get_cm_event(id->channel, &event))
		die("rdma_get_cm_event: %m");
	if (event->event != want)
		die("%s (status %d), expected %s", rdma_event_str(event->event),
		    event->status, rdma_event_str(want));
	about = event->id;
	rdma_ack_cm_event(event);
	return about;
}

static void create_qp(struct rc *rc, int side, struct rdma_cm_id *id)
{
	struct ibv_qp_init_attr init = {
		.send_cq = rc->cq[side],
		.recv_cq = rc->cq[side],
		.cap = {
			.max_send_wr = RC_QUEUE_DEPTH,
			.max_recv_wr = RC_QUEUE_DEPTH,
			.max_send_sge = rc->max_sge,
			.max_recv_sge = rc->max_sge,
		},
		.qp_type = IBV_QPT_RC,
	};

	if (rdma_create_qp(id, rc->pd, &init))
		die("rdma_create_qp: %m");
	rc->id[side] = id;
	rc->qp[side] = id->qp;
}

void rc_cm_connect(struct rc *rc)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct rdma_conn_param param = {
		.responder_resources = READ_DEPTH,
		.initiator_depth = READ_DEPTH,
	};
	struct rdma_cm_id *listener = create_id(), *id = create_id(), *peer;

	if (inet_pton(AF_INET, rc->address, &address.sin_addr) != 1)
		die("not an IPv4 address: %s", rc->address);
	if (rdma_bind_addr(listener, (struct sockaddr *)&address) || rdma_listen(listener, 1))
		die("can't listen at %s: %m", rc->address);
	address.sin_port = rdma_get_src_port(listener);

	if (rdma_resolve_addr(id, NULL, (struct sockaddr *)&address, CM_TIMEOUT_MS))
		die("rdma_resolve_addr: %m");
	expect(id, RDMA_CM_EVENT_ADDR_RESOLVED);
	if (id->verbs != rc->ctx)
		die("%s belongs to another RDMA device", rc->address);
	if (rdma_resolve_route(id, CM_TIMEOUT_MS))
		die("rdma_resolve_route: %m");
	expect(id, RDMA_CM_EVENT_ROUTE_RESOLVED);

	create_qp(rc, 0, id);
	if (rdma_connect(id, &param))
		die("rdma_connect: %m");
	peer = expect(listener, RDMA_CM_EVENT_CONNECT_REQUEST);
	create_qp(rc, 1, peer);
	if (rdma_accept(peer, &param))
		die("rdma_accept: %m");
	expect(id, RDMA_CM_EVENT_ESTABLISHED);
	expect(listener, RDMA_CM_EVENT_ESTABLISHED);
	rc->id[2] = listener;
}

/* The peer's channel is the listener's. */
void rc_cm_disconnect(struct rc *rc)
{
	if (!rc->id[2])
		return;
	for (int i = 0; i < 3; i++) {
		struct rdma_event_channel *channel = rc->id[i]->channel;

		if (i < 2)
			rdma_destroy_qp(rc->id[i]);
		if (rdma_destroy_id(rc->id[i]))
			die("rdma_destroy_id: %m");
		if (i != 1)
			rdma_destroy_event_channel(channel);
		rc->id[i] = NULL;
	}
	rc->qp[0] = NULL;
	rc->qp[1] = NULL;
}
