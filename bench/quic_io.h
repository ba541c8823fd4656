/* SPDX-License-Identifier: MIT */
/*
 * Other ways for examples/quic.c to move its packets. The example is compiled once
 * more for each of them, with this header before its first line. The program is then
 * the same but for the calls that send and receive.
 *
 * QUIC_IO_TRAINS 0: each datagram has a system call of its own, sendmsg(2) or
 * recvmsg(2).
 *
 * QUIC_IO_TRAINS 1: GSO and GRO by hand, that is sendmmsg(2) with UDP_SEGMENT and
 * recvmmsg(2) with UDP_GRO.
 *
 * Both have IPv4 only, and none of the library's rules for errors: a message that is
 * refused is lost. Both carry ECN marks, and answer from the address that was asked.
 */
#ifndef BENCH_QUIC_IO_H
#define BENCH_QUIC_IO_H

#define ug_send_trains	     quic_io_send
#define ug_receive_trains    quic_io_receive
#define ug_get_send_stats    quic_io_get_send_stats
#define ug_get_receive_stats quic_io_get_receive_stats

#endif /* BENCH_QUIC_IO_H */
