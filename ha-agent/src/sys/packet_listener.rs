//! A packet socket that hears protocol 112: whole frames, of the interfaces of this network namespace, with the moment at
//! which the kernel received them. A tap hears one interface, ARP and what this node sends as well.

use std::io;
use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{setsockopt, sockopt::ReceiveTimestampns};
use socket2::{Domain, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

/// Hears nothing before it [listens](PacketListener::listen). Never blocks.
#[derive(Debug)]
pub struct PacketListener {
    socket: Socket,
    /// Whether what this node sends is heard, too.
    hears_own: bool,
}

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
    /// How long it was, in bytes, without that tag.
    pub length: usize,
    /// Whether this node sent it.
    pub outgoing: bool,
}

impl PacketListener {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_RAW`.
    pub fn open() -> io::Result<Self> {
        let listener = Self::new(&filter(), false)?;
        // Since 4.20; what this node sends is left out below, too.
        let _ = set(&listener.socket, PACKET_IGNORE_OUTGOING, &ON);
        Ok(listener)
    }

    /// Begins to hear protocol 112, ARP and neighbour advertisements on the interface with this index: also what it is not meant to hear (it is
    /// promiscuous for as long as this lives), and what this node sends there.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_RAW`, `ENODEV` if the interface is gone.
    pub fn tap(ifindex: u32) -> io::Result<Self> {
        let listener = Self::new(&tap_filter(), true)?;
        let index = i32::try_from(ifindex).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
        let wish = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: u16::try_from(libc::PACKET_MR_PROMISC).unwrap_or_default(),
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set(&listener.socket, libc::PACKET_ADD_MEMBERSHIP, &wish)?;
        listener.bind(index)?;
        Ok(listener)
    }

    fn new(filter: &[SockFilter], hears_own: bool) -> io::Result<Self> {
        // Protocol 0, so that no frame comes before the filter.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(filter)?;
        setsockopt(&socket, ReceiveTimestampns, &true)?;
        set(&socket, libc::PACKET_AUXDATA, &ON)?;
        Ok(Self { socket, hears_own })
    }

    /// Begins to hear.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn listen(&self) -> io::Result<()> {
        self.bind(0)
    }

    /// To the interface with this index; 0 for all.
    fn bind(&self, index: i32) -> io::Result<()> {
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: the storage is as large as any socket address, zeroed, and sockaddr_ll is plain integers, for
        // which zero is valid.
        let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
        link.sll_family = u16::try_from(libc::AF_PACKET).unwrap_or_default();
        link.sll_protocol = ALL.to_be();
        link.sll_ifindex = index;
        let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
        // SAFETY: the storage holds a sockaddr_ll of this length, written just above.
        self.socket.bind(&unsafe { SockAddr::new(storage, length) })
    }

    /// Another handle of the same socket.
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, hears_own: self.hears_own })
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
            let length = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
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
            let outgoing = link.sll_pkttype == libc::PACKET_OUTGOING;
            if outgoing && !self.hears_own {
                continue;
            }
            let Told { wall_ns, tag, whole } = told(&message);
            let ifindex = link.sll_ifindex.unsigned_abs();
            return Ok(Some(Frame {
                bytes: buffer.get(..length).unwrap_or_default(),
                ifindex,
                tag,
                wall_ns,
                length: whole.unwrap_or(length),
                outgoing,
            }));
        }
    }
}

impl AsFd for PacketListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Memory for control messages, aligned as they are.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// What the control messages say.
#[derive(Default)]
struct Told {
    wall_ns: Option<u64>,
    tag: Option<u16>,
    /// The length of the whole frame.
    whole: Option<usize>,
}

fn told(message: &libc::msghdr) -> Told {
    let mut told = Told::default();
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
                    told.wall_ns = seconds.ok().zip(nanos.ok()).map(|(s, ns)| s * 1_000_000_000 + ns);
                }
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => {
                    let status = data.cast::<u32>().read_unaligned();
                    let whole = data.add(offset_of!(libc::tpacket_auxdata, tp_len));
                    told.whole = usize::try_from(whole.cast::<u32>().read_unaligned()).ok();
                    let control = data.add(offset_of!(libc::tpacket_auxdata, tp_vlan_tci));
                    told.tag = (status & libc::TP_STATUS_VLAN_VALID != 0)
                        .then(|| control.cast::<u16>().read_unaligned());
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    told
}

/// Sets an option of packet sockets, whose value is plain integers.
fn set<T>(socket: &Socket, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default();
    // SAFETY: the kernel reads so many bytes of the value, which lives longer than the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The same filter, behind one that lets ARP and neighbour advertisements through.
fn tap_filter() -> Vec<SockFilter> {
    let load = |size: u32, offset| op(libc::BPF_LD | size | libc::BPF_ABS, 0, 0, offset);
    let equals = |value, yes, no| op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value);
    let neighbours = [
        load(libc::BPF_H, 12),
        equals(0x0806, 5, 0),
        equals(0x86dd, 0, 5),
        // ICMPv6, without extension headers.
        load(libc::BPF_B, 20),
        equals(58, 0, 3),
        load(libc::BPF_B, 54),
        equals(136, 0, 1),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, SNAP_U32),
    ];
    neighbours.into_iter().chain(filter()).collect()
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
/// Switches an option on.
const ON: libc::c_int = 1;
/// `ETH_P_ALL` (`linux/if_ether.h`).
const ALL: u16 = 3;
/// `PACKET_IGNORE_OUTGOING` (`linux/if_packet.h`).
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
