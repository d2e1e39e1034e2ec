//! Netlink requests, each of which is answered before the next: for the executor, which does one thing at a time.
//!
//! The kernel carries a request out within the system call that sends it. So its answer is there already when that
//! returns, and to wait for it on a runtime would only add wake-ups.

use std::io;
use std::time::Duration;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_ALIGNTO, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};
use socket2::SockRef;

/// A connection to the kernel, in the network namespace that the calling thread is in.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    answer: Vec<u8>,
}

impl Netlink {
    /// Connects.
    ///
    /// # Errors
    ///
    /// If the process has no file descriptor left.
    pub fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        socket.connect(&SocketAddr::new(0, 0))?;
        SockRef::from(&socket).set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0, answer: Vec::with_capacity(ANSWER_LEN) })
    }

    /// Has the kernel do something, with flags like `NLM_F_CREATE` that say how.
    ///
    /// # Errors
    ///
    /// The kernel's; `TimedOut` if it has none within 2 s.
    pub fn order(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(message, flags | NLM_F_ACK, |_| {})
    }

    /// Asks for all things of a kind.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn list(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut found = Vec::new();
        self.request(message, NLM_F_DUMP, |message| found.push(message))?;
        Ok(found)
    }

    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut found: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        loop {
            self.answer.clear();
            self.socket.recv(&mut self.answer, 0).map_err(named)?;
            let mut rest = self.answer.as_slice();
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                let length = usize::try_from(answer.header.length).unwrap_or(usize::MAX);
                rest = rest.get(length.next_multiple_of(ALIGNED)..).unwrap_or_default();
                // Else the answer to a question that was given up.
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::InnerMessage(message) => found(message),
                    _ => {}
                }
            }
        }
    }
}

fn named(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        let text = format!("the kernel did not answer within {} s", PATIENCE.as_secs());
        return io::Error::new(io::ErrorKind::TimedOut, text);
    }
    error
}

/// How long the kernel may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The kernel makes no part of a list longer than this (`netlink_dump`).
const ANSWER_LEN: usize = 32 << 10;
const ALIGNED: usize = NLMSG_ALIGNTO as usize;
