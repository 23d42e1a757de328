/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM phyr

#if !defined(_TRACE_PHYR_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_PHYR_H

#include <linux/tracepoint.h>
#include <linux/types.h>

/* One call: what it was asked for, and what it added to its pin session. */
TRACE_EVENT(pin_user_phyrs,
	    TP_PROTO(unsigned long start, size_t len, unsigned int gup_flags,
		     unsigned int ranges, u64 bytes, u64 ns, int ret),

	    TP_ARGS(start, len, gup_flags, ranges, bytes, ns, ret),

	    TP_STRUCT__entry(__field(unsigned long, start)
			     __field(size_t, len)
			     __field(u64, bytes)
			     __field(u64, ns)
			     __field(unsigned int, gup_flags)
			     __field(unsigned int, ranges)
			     __field(int, ret)),

	    TP_fast_assign(__entry->start = start;
			   __entry->len = len;
			   __entry->bytes = bytes;
			   __entry->ns = ns;
			   __entry->gup_flags = gup_flags;
			   __entry->ranges = ranges;
			   __entry->ret = ret;),

	    TP_printk("start=%#lx len=%zu gup_flags=%#x ranges=%u bytes=%llu ns=%llu ret=%d",
		      __entry->start, __entry->len, __entry->gup_flags,
		      __entry->ranges, __entry->bytes, __entry->ns, __entry->ret)
);

TRACE_EVENT(unpin_user_phyrs,
	    TP_PROTO(unsigned long ranges, u64 bytes, bool make_dirty, u64 ns),

	    TP_ARGS(ranges, bytes, make_dirty, ns),

	    TP_STRUCT__entry(__field(u64, bytes)
			     __field(u64, ns)
			     __field(unsigned long, ranges)
			     __field(bool, make_dirty)),

	    TP_fast_assign(__entry->bytes = bytes;
			   __entry->ns = ns;
			   __entry->ranges = ranges;
			   __entry->make_dirty = make_dirty;),

	    TP_printk("ranges=%lu bytes=%llu make_dirty=%d ns=%llu",
		      __entry->ranges, __entry->bytes, __entry->make_dirty,
		      __entry->ns)
);

#endif /* _TRACE_PHYR_H */

#include <trace/define_trace.h>
