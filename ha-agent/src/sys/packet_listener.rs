//! A packet socket that hears protocol 112: whole frames, of the interfaces of this network namespace, with the moment at
//! which the kernel received them.

use std::io;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt::ReceiveTimestampns};
use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

/// Hears nothing before it [listens](PacketListener::listen). Never blocks.
#[derive(Debug)]
pub struct PacketListener(Socket);

/// A frame that was heard.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its first bytes, without a tag that the kernel has taken off.
    pub bytes: &'a [u8],
    /// The index of the interface.
    pub ifindex: u32,
    /// The control bytes of a tag that was taken off.
    pub tag: Option<u16>,
    /// When it was received, in ns of `CLOCK_REALTIME`.
    pub wall_ns: Option<u64>,
}

impl PacketListener {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        // Protocol 0, so that no frame comes before the filter.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&filter())?;
        setsockopt(&socket, ReceiveTimestampns, &true)?;
        set(&socket, libc::PACKET_AUXDATA)?;
        // Since 4.20; what this node sends is left out below, too.
        let _ = set(&socket, PACKET_IGNORE_OUTGOING);
        Ok(Self(socket))
    }

    /// Begins to hear.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn listen(&self) -> io::Result<()> {
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: the storage is as large as any socket address, zeroed, and sockaddr_ll is plain integers, for
        // which zero is valid.
        let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
        link.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
        link.sll_protocol = ALL.to_be();
        let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
        // SAFETY: the storage holds a sockaddr_ll of this length, written just above.
        self.0.bind(&unsafe { SockAddr::new(storage, length) })
    }

    /// Another handle of the same socket.
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// The oldest frame that was not read, if there is one.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn receive<'a>(&self, buffer: &'a mut [u8; SNAP]) -> io::Result<Option<Frame<'a>>> {
        loop {
            let mut link = MaybeUninit::<libc::sockaddr_ll>::zeroed();
            let mut control = Control([0; 128]);
            let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: SNAP };
            // SAFETY: a msghdr is plain integers and pointers, for which zero is valid.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            message.msg_name = link.as_mut_ptr().cast();
            message.msg_namelen =
                libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = size_of::<Control>() as _;
            // SAFETY: all pointers are to memory of the lengths given, which lives longer than the call.
            let length = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
            let Ok(length) = usize::try_from(length) else {
                let error = io::Error::last_os_error();
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(None),
                    io::ErrorKind::Interrupted => continue,
                    _ => Err(error),
                };
            };
            // SAFETY: it was zeroed, and the kernel wrote an address or nothing into it.
            let link = unsafe { link.assume_init() };
            if link.sll_pkttype == libc::PACKET_OUTGOING {
                continue;
            }
            let (wall_ns, tag) = told(&message);
            let ifindex = link.sll_ifindex.unsigned_abs();
            return Ok(Some(Frame {
                bytes: buffer.get(..length).unwrap_or_default(),
                ifindex,
                tag,
                wall_ns,
            }));
        }
    }
}

impl AsFd for PacketListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Memory for control messages, aligned as they are.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// What the control messages say: when, and which tag.
fn told(message: &libc::msghdr) -> (Option<u64>, Option<u16>) {
    let (mut wall_ns, mut tag) = (None, None);
    // SAFETY: the kernel has filled in the control buffer and its length; CMSG_FIRSTHDR and CMSG_NXTHDR stay inside, and the
    // kernel wrote whole structures of the kinds that are compared with. They may lie unaligned.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let data = libc::CMSG_DATA(header);
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let time = data.cast::<libc::timespec>().read_unaligned();
                    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
                    wall_ns = seconds.ok().zip(nanos.ok()).map(|(s, ns)| s * 1_000_000_000 + ns);
                }
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                    let status = data.cast::<u32>().read_unaligned();
                    let control = data.add(offset_of!(libc::tpacket_auxdata, tp_vlan_tci));
                    tag = (status & libc::TP_STATUS_VLAN_VALID != 0)
                        .then(|| control.cast::<u16>().read_unaligned());
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    (wall_ns, tag)
}

/// Switches an option of packet sockets on.
fn set(socket: &Socket, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or_default();
    // SAFETY: the value is an int of this length, as these options have it.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const on).cast(), length)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Protocol 112 over IPv4 and IPv6, with a tag or without: one that was taken off does not count.
fn filter() -> [SockFilter; 17] {
    let load = |size: u32, offset| op(libc::BPF_LD | size | libc::BPF_ABS, 0, 0, offset);
    let equals = |value, yes, no| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value);
    let go = |steps| op(libc::BPF_JMP | libc::BPF_JA, 0, 0, steps);
    let end = |length| op(libc::BPF_RET | libc::BPF_K, 0, 0, length);
    let (half, byte) = (libc::BPF_H, libc::BPF_B);
    [
        load(half, 12),
        equals(0x8100, 0, 3),
        // Behind a tag.
        load(half, 16),
        equals(0x0800, 3, 0),
        equals(0x86dd, 4, 11),
        // Without one.
        equals(0x0800, 5, 0),
        equals(0x86dd, 6, 9),
        // The protocol.
        load(byte, 27),
        go(5),
        load(byte, 24),
        go(3),
        load(byte, 23),
        go(1),
        load(byte, 20),
        equals(112, 0, 1),
        end(SNAP_U32),
        end(0),
    ]
}

fn op(code: u32, yes: u8, no: u8, value: u32) -> SockFilter {
    SockFilter::new(u16::try_from(code).unwrap_or_default(), yes, no, value)
}

/// How much of a frame is heard, in bytes: more than all headers and CARP.
pub const SNAP: usize = 128;
const SNAP_U32: u32 = 128;
/// `ETH_P_ALL` (`linux/if_ether.h`).
const ALL: u16 = 3;
/// `PACKET_IGNORE_OUTGOING` (`linux/if_packet.h`).
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
