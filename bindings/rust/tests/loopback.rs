// SPDX-License-Identifier: MIT
//! The safe layer over loopback, in both families; and the layout of each struct, for
//! tests/api/rust.py, which compares it with the header's.
use std::io::ErrorKind;
use std::mem::size_of;

use udpgather_sys as sys;
use udpgather_sys::safe::{version, Batch, Endpoint, Receiver, Socket, WAKE_ERROR};

const HOSTS: [&str; 2] = ["127.0.0.1", "[::1]"];
const WAIT_MS: i32 = 10_000;

fn take(rcv: &mut Receiver, sock: &Socket, n: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();

    while found.len() < n {
        for train in rcv.receive(sock, WAIT_MS).expect("nothing has come") {
            assert!(train.from().to_string().contains(':'));
            found.extend(train.datagrams().iter().map(|d| d.to_vec()));
        }
    }
    found
}

#[test]
fn datagrams_and_trains() {
    let (a, b) = (Socket::open(0).unwrap(), Socket::open(0).unwrap());
    let mut batch = Batch::new(128).unwrap();
    let mut rcv = Receiver::new(16).unwrap();

    for host in HOSTS {
        let to = Endpoint::parse(&format!("{host}:{}", b.port())).unwrap();
        let payloads: Vec<Vec<u8>> = (0..20).map(|i| vec![i; 100 + 7 * i as usize]).collect();
        let slices: Vec<&[u8]> = payloads.iter().map(|p| p.as_slice()).collect();

        assert_eq!(batch.send(&a, &to, &slices, WAIT_MS), vec![0; 20]);
        assert_eq!(take(&mut rcv, &b, 20), payloads);
        let buffer: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();

        assert_eq!(batch.send_train(&a, &to, &buffer, 1200, WAIT_MS).unwrap(), 5);
        assert_eq!(take(&mut rcv, &b, 5).concat(), buffer);
    }
}

#[test]
fn errors() {
    let sock = Socket::open(0).unwrap();
    let mut rcv = Receiver::new(4).unwrap();

    assert_eq!(rcv.receive(&sock, 0).err().unwrap().kind(), ErrorKind::WouldBlock);
    assert_eq!(rcv.receive(&sock, 10).err().unwrap().kind(), ErrorKind::TimedOut);
    sock.wake();
    let woken = rcv.receive(&sock, -1).err().unwrap();

    assert_eq!(woken.raw_os_error(), Some(WAKE_ERROR));
    assert_eq!(Endpoint::parse("nonsense").err().unwrap().kind(), ErrorKind::InvalidInput);
    assert!(Batch::new(0).is_err());
    let parsed = Endpoint::parse("[2001:db8::1]:53").unwrap();

    assert_eq!(parsed.to_string(), "[2001:db8::1]:53");
    assert!(parsed == parsed);
    assert!(!version().is_empty());
}

/// The offset of a field; offset_of!() is newer than Rust 1.63.
macro_rules! fields {
    ($type:ident: $($field:ident),*) => {
        println!("size {} {}", stringify!($type), size_of::<sys::$type>());
        $(
            let value = std::mem::MaybeUninit::<sys::$type>::uninit();
            let base = value.as_ptr();
            let at = unsafe { std::ptr::addr_of!((*base).$field) } as usize;

            println!("field {} {} {}", stringify!($type), stringify!($field),
                     at - base as usize);
        )*
    };
}

#[test]
fn layout() {
    fields!(ug_source: addr, ifindex, state);
    fields!(ug_endpoint: addr, source);
    fields!(ug_options: size, families, port, bind4, bind6, device, mark, buffer_len, pmtu4,
            pmtu6, notice, notice_arg, side_sockets, want, copy_below, max_pacing_rate,
            txtime_clock, rcvbuf_len, sndbuf_len, reuse_port, clear_tos, follow_interface,
            retry_eperm);
    fields!(ug_datagram: iov, n_iov, tos, to);
    fields!(ug_train: to, iov, time_ns, n_iov, n_sent, status, segment_len, tos, ttl);
    fields!(ug_view: data, from, len, tos);
    fields!(ug_received: data, len, cap, from, time_ns, segment_len, n, ifindex, destination,
            tos, ttl);
    fields!(ug_error: to, offender, mtu, err, origin, icmp_type, icmp_code, quote_len, quote);
    fields!(ug_socket_stats: drops_v4, drops_v6, errors, errors_lost);
}
