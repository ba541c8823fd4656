// SPDX-License-Identifier: MIT
//! Bindings to libudpgather. This module has the declarations of udpgather.h, whose
//! contracts are there and in the manual pages. [`safe`] has a small layer over them,
//! for programs that do not want `unsafe`.
//!
//! The crate has no dependencies. So the types of the C library that are needed are
//! declared here, for Linux.
#![allow(non_camel_case_types)]

pub mod safe;

use std::os::raw::{c_char, c_int, c_uint, c_void};

/// `struct sockaddr_in`: family and bytes in network order.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sockaddr_in {
    pub sin_family: u16,
    pub sin_port: u16,
    pub sin_addr: [u8; 4],
    pub sin_zero: [u8; 8],
}

/// `struct sockaddr_in6`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct sockaddr_in6 {
    pub sin6_family: u16,
    pub sin6_port: u16,
    pub sin6_flowinfo: u32,
    pub sin6_addr: [u8; 16],
    pub sin6_scope_id: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub union ug_address {
    pub family: u16,
    pub v4: sockaddr_in,
    pub v6: sockaddr_in6,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ug_source {
    pub addr: [u8; 16],
    pub ifindex: u32,
    pub state: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ug_endpoint {
    pub addr: ug_address,
    pub source: ug_source,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct iovec {
    pub iov_base: *mut c_void,
    pub iov_len: usize,
}

#[repr(C)]
pub struct ug_socket {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct ug_batch {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct ug_receiver {
    _opaque: [u8; 0],
}

pub type ug_notice_fn =
    unsafe extern "C" fn(*mut c_void, c_uint, *const ug_endpoint, c_int, c_int);

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ug_options {
    pub size: usize,
    pub families: c_uint,
    pub port: u16,
    pub bind4: *const ug_endpoint,
    pub bind6: *const ug_endpoint,
    pub device: *const c_char,
    pub mark: u32,
    pub buffer_len: usize,
    pub pmtu4: c_uint,
    pub pmtu6: c_uint,
    pub notice: Option<ug_notice_fn>,
    pub notice_arg: *mut c_void,
    pub side_sockets: c_uint,
    pub want: u32,
    pub copy_below: usize,
    pub max_pacing_rate: u64,
    pub txtime_clock: c_uint,
    pub rcvbuf_len: usize,
    pub sndbuf_len: usize,
    pub reuse_port: bool,
    pub clear_tos: bool,
    pub follow_interface: bool,
    pub retry_eperm: bool,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ug_datagram {
    pub iov: *const iovec,
    pub n_iov: u32,
    pub tos: u8,
    pub to: *const ug_endpoint,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ug_train {
    pub to: *const ug_endpoint,
    pub iov: *const iovec,
    pub time_ns: u64,
    pub n_iov: u32,
    pub n_sent: u32,
    pub status: c_int,
    pub segment_len: u16,
    pub tos: u8,
    pub ttl: u8,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ug_view {
    pub data: *mut c_void,
    pub from: *const ug_endpoint,
    pub len: u32,
    pub tos: u8,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ug_received {
    pub data: *mut c_void,
    pub len: usize,
    pub cap: usize,
    pub from: *const ug_endpoint,
    pub time_ns: u64,
    pub segment_len: u32,
    pub n: u32,
    pub ifindex: u32,
    pub destination: [u8; 16],
    pub tos: u8,
    pub ttl: u8,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ug_error {
    pub to: ug_endpoint,
    pub offender: ug_endpoint,
    pub mtu: u32,
    pub err: c_int,
    pub origin: u8,
    pub icmp_type: u8,
    pub icmp_code: u8,
    pub quote_len: u8,
    pub quote: [u8; 32],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ug_socket_stats {
    pub drops_v4: [u64; 9],
    pub drops_v6: [u64; 9],
    pub errors: u64,
    pub errors_lost: u64,
}

pub const UG_MAX_SEGMENTS: usize = 64;
pub const UG_MAX_BATCH: c_uint = 1024;
pub const UG_MAX_SLOTS: c_uint = 1024;
pub const UG_ENDPOINT_TEXT: usize = 80;
pub const UG_BOTH: c_uint = 0;
pub const UG_IPV4_ONLY: c_uint = 1;
pub const UG_IPV6_ONLY: c_uint = 2;
pub const UG_BUFFER_KEEP: usize = usize::MAX;
pub const UG_WANT_ERRORS: u32 = 1;
pub const UG_WANT_TIME: u32 = 2;
pub const UG_WANT_TTL: u32 = 4;
pub const UG_WANT_DESTINATION: u32 = 8;
pub const UG_SENT: c_int = 0;
pub const UG_UNSENT: c_int = 1;

extern "C" {
    pub fn ug_version() -> *const c_char;
    pub fn ug_endpoint_parse(ep: *mut ug_endpoint, text: *const c_char) -> c_int;
    pub fn ug_endpoint_print(ep: *const ug_endpoint, buf: *mut c_char, cap: usize) -> c_int;
    pub fn ug_endpoint_compare(a: *const ug_endpoint, b: *const ug_endpoint) -> c_int;
    pub fn ug_endpoint_hash(ep: *const ug_endpoint, seed: u64) -> u64;
    pub fn ug_endpoint_set_source(ep: *mut ug_endpoint, from: *const ug_endpoint) -> c_int;
    pub fn ug_endpoint_print_numeric(
        ep: *const ug_endpoint,
        buf: *mut c_char,
        cap: usize,
    ) -> c_int;
    pub fn ug_endpoint_pin_source(
        ep: *mut ug_endpoint,
        sa: *const c_void,
        len: u32,
        ifindex: u32,
    ) -> c_int;
    pub fn ug_endpoint_pin_address(
        ep: *mut ug_endpoint,
        addr: *const c_void,
        ifindex: u32,
    ) -> c_int;
    pub fn ug_endpoint_get_source(
        ep: *const ug_endpoint,
        port: u16,
        sa: *mut c_void,
        len: *mut u32,
    ) -> c_int;
    pub fn ug_endpoint_clear_source(ep: *mut ug_endpoint);
    pub fn ug_open(
        out: *mut *mut ug_socket,
        opt: *const ug_options,
        report: *mut c_void,
    ) -> c_int;
    pub fn ug_open_fds(
        out: *mut *mut ug_socket,
        fd4: c_int,
        fd6: c_int,
        opt: *const ug_options,
        report: *mut c_void,
    ) -> c_int;
    pub fn ug_open_group(
        out: *mut *mut ug_socket,
        n: c_uint,
        opt: *const ug_options,
        report: *mut c_void,
    ) -> c_int;
    pub fn ug_connect(sock: *mut ug_socket, to: *const ug_endpoint) -> c_int;
    pub fn ug_set_steering_fd(sock: *mut ug_socket, family: c_int, bpf_fd: c_int) -> c_int;
    pub fn ug_close(sock: *mut ug_socket);
    pub fn ug_fd(sock: *const ug_socket, family: c_int) -> c_int;
    pub fn ug_port(sock: *const ug_socket) -> u16;
    pub fn ug_set_mark(sock: *mut ug_socket, mark: u32) -> c_int;
    pub fn ug_network_changed(sock: *mut ug_socket);
    pub fn ug_paths_changed(sock: *mut ug_socket);
    pub fn ug_wake(sock: *mut ug_socket);
    pub fn ug_set_segments(sock: *mut ug_socket, max: c_uint) -> c_int;
    pub fn ug_get_segments(sock: *const ug_socket, family: c_int, reason: *mut c_uint) -> c_int;
    pub fn ug_set_merging(sock: *mut ug_socket, on: bool) -> c_int;
    pub fn ug_batch_new(out: *mut *mut ug_batch, cap: c_uint) -> c_int;
    pub fn ug_batch_free(batch: *mut ug_batch);
    pub fn ug_batch_set_segments(batch: *mut ug_batch, max: c_uint) -> c_int;
    pub fn ug_send(
        sock: *mut ug_socket,
        batch: *mut ug_batch,
        to: *const ug_endpoint,
        dgrams: *const ug_datagram,
        n: usize,
        status: *mut c_int,
        timeout_ms: c_int,
    ) -> usize;
    pub fn ug_send_trains(
        sock: *mut ug_socket,
        batch: *mut ug_batch,
        trains: *mut ug_train,
        size: usize,
        n: usize,
        timeout_ms: c_int,
    ) -> usize;
    pub fn ug_receiver_new(out: *mut *mut ug_receiver, n_slots: c_uint) -> c_int;
    pub fn ug_receiver_free(rcv: *mut ug_receiver);
    pub fn ug_receive(
        rcv: *mut ug_receiver,
        sock: *mut ug_socket,
        family: c_int,
        views: *mut ug_view,
        n: usize,
        timeout_ms: c_int,
    ) -> c_int;
    pub fn ug_receive_trains(
        rcv: *mut ug_receiver,
        sock: *mut ug_socket,
        family: c_int,
        out: *mut ug_received,
        size: usize,
        n: usize,
        timeout_ms: c_int,
    ) -> c_int;
    pub fn ug_receive_errors(
        sock: *mut ug_socket,
        out: *mut ug_error,
        size: usize,
        n: usize,
    ) -> c_int;
    pub fn ug_path_mtu(sock: *const ug_socket, ep: *const ug_endpoint) -> c_int;
    pub fn ug_get_socket_stats(
        sock: *const ug_socket,
        stats: *mut ug_socket_stats,
        size: usize,
    ) -> c_int;
}
