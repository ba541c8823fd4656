// SPDX-License-Identifier: MIT
//! Sockets, batches and receivers that free themselves, and errors as
//! [`std::io::Error`]. A timeout is in milliseconds: 0 never sleeps, -1 waits without
//! end.
use std::ffi::{CStr, CString};
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::os::raw::{c_int, c_uint};
use std::ptr;

use crate as sys;

const AF_UNSPEC: c_int = 0;

/// What [`io::Error::raw_os_error`] of an error is that came by [`Socket::wake`]: that
/// is ECANCELED.
pub const WAKE_ERROR: i32 = if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
    158
} else if cfg!(target_arch = "sparc64") {
    127
} else {
    125
};

fn check(r: c_int) -> io::Result<c_int> {
    if r < 0 {
        Err(io::Error::from_raw_os_error(-r))
    } else {
        Ok(r)
    }
}

/// A remote address and port, with the local address that answers it.
#[derive(Clone, Copy)]
pub struct Endpoint(pub sys::ug_endpoint);

impl Endpoint {
    /// Reads "1.2.3.4:51820" or "[fe80::1%eth0]:51820".
    pub fn parse(text: &str) -> io::Result<Endpoint> {
        let text = CString::new(text)?;
        // An endpoint is plain data, so one of zeroes is valid.
        let mut ep = unsafe { mem::zeroed() };

        check(unsafe { sys::ug_endpoint_parse(&mut ep, text.as_ptr()) })?;
        Ok(Endpoint(ep))
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = [0u8; sys::UG_ENDPOINT_TEXT];
        let r = unsafe {
            sys::ug_endpoint_print(&self.0, text.as_mut_ptr().cast(), text.len())
        };

        if r < 0 {
            return Err(std::fmt::Error);
        }
        f.write_str(&String::from_utf8_lossy(&text[..r as usize]))
    }
}

impl PartialEq for Endpoint {
    /// The source does not count.
    fn eq(&self, other: &Endpoint) -> bool {
        unsafe { sys::ug_endpoint_compare(&self.0, &other.0) == 0 }
    }
}

/// A UDP port. Any number of threads may use it at once.
pub struct Socket(*mut sys::ug_socket);

unsafe impl Send for Socket {}
unsafe impl Sync for Socket {}

impl Socket {
    /// Opens a port in both families; 0 is one of the kernel's choice.
    pub fn open(port: u16) -> io::Result<Socket> {
        let mut opt: sys::ug_options = unsafe { mem::zeroed() };
        let mut sock = ptr::null_mut();

        opt.size = mem::size_of_val(&opt);
        opt.port = port;
        check(unsafe { sys::ug_open(&mut sock, &opt, ptr::null_mut()) })?;
        Ok(Socket(sock))
    }

    pub fn port(&self) -> u16 {
        unsafe { sys::ug_port(self.0) }
    }

    /// Has all threads return that wait on this socket. A [`Receiver`] that waits next
    /// returns at once, too; its error is [`WAKE_ERROR`].
    pub fn wake(&self) {
        unsafe { sys::ug_wake(self.0) }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        unsafe { sys::ug_close(self.0) }
    }
}

/// What one sending thread needs.
pub struct Batch(*mut sys::ug_batch);

unsafe impl Send for Batch {}

impl Batch {
    /// `cap`: how many datagrams are looked at together, 1 to 1,024.
    pub fn new(cap: u32) -> io::Result<Batch> {
        let mut batch = ptr::null_mut();

        check(unsafe { sys::ug_batch_new(&mut batch, cap as c_uint) })?;
        Ok(Batch(batch))
    }

    /// Sends datagrams to one endpoint. The status of each is 0 if it was sent, 1 if
    /// the socket took no more, else a negative errno.
    pub fn send(
        &mut self,
        sock: &Socket,
        to: &Endpoint,
        payloads: &[&[u8]],
        timeout_ms: i32,
    ) -> Vec<i32> {
        let iov: Vec<sys::iovec> = payloads.iter().map(|p| vector(p)).collect();
        let dgrams: Vec<sys::ug_datagram> = iov
            .iter()
            .map(|v| sys::ug_datagram { iov: v, n_iov: 1, tos: 0, to: ptr::null() })
            .collect();
        let mut status = vec![0; dgrams.len()];

        unsafe {
            sys::ug_send(
                sock.0,
                self.0,
                &to.0,
                dgrams.as_ptr(),
                dgrams.len(),
                status.as_mut_ptr(),
                timeout_ms,
            )
        };
        status
    }

    /// Sends a buffer as datagrams of `segment_len` bytes, of which the last may be
    /// shorter. Returns how many were sent.
    pub fn send_train(
        &mut self,
        sock: &Socket,
        to: &Endpoint,
        payload: &[u8],
        segment_len: u16,
        timeout_ms: i32,
    ) -> io::Result<usize> {
        let iov = vector(payload);
        let mut train = sys::ug_train {
            to: &to.0,
            iov: &iov,
            time_ns: 0,
            n_iov: 1,
            n_sent: 0,
            status: 0,
            segment_len,
            tos: 0,
            ttl: 0,
        };

        unsafe {
            sys::ug_send_trains(
                sock.0,
                self.0,
                &mut train,
                mem::size_of::<sys::ug_train>(),
                1,
                timeout_ms,
            )
        };
        check(train.status)?;
        Ok(train.n_sent as usize)
    }
}

fn vector(bytes: &[u8]) -> sys::iovec {
    // The library only reads.
    sys::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() }
}

impl Drop for Batch {
    fn drop(&mut self) {
        unsafe { sys::ug_batch_free(self.0) }
    }
}

/// A received message: one datagram, or several of one size that the kernel merged.
pub struct Train<'a> {
    raw: sys::ug_received,
    memory: PhantomData<&'a mut Receiver>,
}

impl Train<'_> {
    pub fn from(&self) -> Endpoint {
        Endpoint(unsafe { *self.raw.from })
    }

    /// The datagrams, in order.
    pub fn datagrams(&self) -> Vec<&[u8]> {
        if self.raw.len == 0 {
            return vec![&[]];
        }
        let all =
            unsafe { std::slice::from_raw_parts(self.raw.data as *const u8, self.raw.len) };
        let step = match self.raw.segment_len {
            0 => all.len(),
            len => len as usize,
        };

        all.chunks(step).collect()
    }
}

/// Memory to receive into. It belongs to one thread at a time.
pub struct Receiver {
    raw: *mut sys::ug_receiver,
    n_slots: usize,
}

unsafe impl Send for Receiver {}

impl Receiver {
    /// `n_slots`: messages that one system call takes at most, 1 to 1,024.
    pub fn new(n_slots: u32) -> io::Result<Receiver> {
        let mut raw = ptr::null_mut();

        check(unsafe { sys::ug_receiver_new(&mut raw, n_slots as c_uint) })?;
        Ok(Receiver { raw, n_slots: n_slots as usize })
    }

    /// Takes messages of either family. They are borrowed until the next call. The
    /// error is `WouldBlock` if there is nothing, `TimedOut` if the time is over,
    /// `Interrupted` after a signal, [`WAKE_ERROR`] after [`Socket::wake`].
    pub fn receive(&mut self, sock: &Socket, timeout_ms: i32) -> io::Result<Vec<Train<'_>>> {
        let mut out = vec![unsafe { mem::zeroed::<sys::ug_received>() }; self.n_slots];
        let n = check(unsafe {
            sys::ug_receive_trains(
                self.raw,
                sock.0,
                AF_UNSPEC,
                out.as_mut_ptr(),
                mem::size_of::<sys::ug_received>(),
                out.len(),
                timeout_ms,
            )
        })?;

        out.truncate(n as usize);
        Ok(out.into_iter().map(|raw| Train { raw, memory: PhantomData }).collect())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        unsafe { sys::ug_receiver_free(self.raw) }
    }
}

/// The version of the library that runs.
pub fn version() -> String {
    unsafe { CStr::from_ptr(sys::ug_version()) }.to_string_lossy().into_owned()
}
